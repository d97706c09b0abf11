use proptest::prelude::*;

use super::*;

/// Made by crypt(3) of glibc and by `openssl passwd`.
const SECRET: [&str; 6] = [
    "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    "$6$rounds=1000$saltstring$2BkAo106CG84raQcWpAlhyy6TSSkAsL1nfvBCoezLYyerUzY2l8axTvq6NynEt7SQAx3/cdop9ds0po8uaeHq0",
    "$5$rounds=1234$salt$Wmg4z916IEmzueSGM6nAMfu1U2QfEnLkEX0e7ziwZcB",
    "$5$abcd$BgCbKzckrgGdFcL/gWllSOkKJCXQV5rwJeTh9xnsJ1D",
];

fn users(text: &str) -> Result<Users, String> {
    Users::parse(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn hashes_of_other_programs_are_verified() {
    for hash in SECRET {
        let users = users(&format!("ann:{hash}\n")).unwrap();
        assert!(users.verify(b"ann", b"secret"), "{hash}");
        for (name, password) in [
            ("ann", "Secret"),
            ("ann", "secret "),
            ("ann", ""),
            ("Ann", "secret"),
            ("", "secret"),
            ("bob", "secret"),
        ] {
            assert!(!users.verify(name.as_bytes(), password.as_bytes()), "{hash}: {name}:{password}");
        }
    }
    let text = "ann:$6$abcdefgh$i3g8hExOlS2s.nHIusTtLu8HSrYgmVHKa1tSsyMksB2z8xRYAPWM9BMPcCSndYhWj/08XzteuaTpLLUFrD1Yf1\n\
                long:$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i\n\
                empty:$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq";
    let users = users(text).unwrap();
    assert!(users.verify(b"ann", "p\u{e4}ssword 1".as_bytes()));
    assert!(
        users.verify(b"long", &[b'x'; 80]) && users.verify(b"long", &[b'x'; 72]),
        "the rest does not count"
    );
    assert!(!users.verify(b"long", &[b'x'; 71]));
    assert!(users.verify(b"empty", b"") && !users.verify(b"empty", b"x"));
}

#[test]
fn lines_that_are_none_are_passed_over() {
    let text = format!("# users\n\r\nann:{}\r\n\n#bob:x\nc d\u{e9}:{}", SECRET[0], SECRET[4]);
    let users = users(&text).unwrap();
    assert!(users.verify(b"ann", b"secret") && users.verify("c d\u{e9}".as_bytes(), b"secret"));
    assert!(!users.verify(b"#bob", b"x"));
}

#[test]
fn what_is_refused_says_where_and_what_to_write() {
    let good = format!("ann:{}", SECRET[0]);
    let long = format!("{}:{}", "a".repeat(256), SECRET[0]);
    let salt = format!("bob:$6$12345678901234567${}", "a".repeat(86));
    let rest = SECRET[0].strip_prefix("$2b$04$").unwrap();
    let cost = |cost: &str| format!("bob:$2y${cost}${rest}");
    let cases: [(&str, &str); 17] = [
        (
            "bob:$apr1$abcdefgh$0123456789012345678901",
            "hashes of the kind apr1 (MD5) are not taken; make another line: htpasswd -nB bob",
        ),
        (
            "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "hashes of the kind {SHA} are not taken; make another line: htpasswd -nB bob",
        ),
        (
            "bob:secret",
            "what stands behind the name is no hash of bcrypt or SHA-crypt; make another line: htpasswd -nB bob",
        ),
        (
            "bob:abJnggxhB/yWI",
            "what stands behind the name is no hash of bcrypt or SHA-crypt; make another line: htpasswd -nB bob",
        ),
        (
            "b o'b:x",
            "what stands behind the name is no hash of bcrypt or SHA-crypt; make another line: htpasswd -nB NAME",
        ),
        (
            "-x:x",
            "what stands behind the name is no hash of bcrypt or SHA-crypt; make another line: htpasswd -nB NAME",
        ),
        ("bob:$1$a$b", "hashes of the kind $1$ (MD5) are not taken; make another line: htpasswd -nB bob"),
        (
            "bob:$argon2id$v=19$m=1$a$b",
            "hashes of this kind are not taken; make another line: htpasswd -nB bob",
        ),
        ("bob", "a line is a name, a colon and a hash; make one: htpasswd -nB NAME"),
        (":x", "a line is a name, a colon and a hash; make one: htpasswd -nB NAME"),
        (&long, "a name has at most 255 bytes"),
        ("b\u{1}b:x", "a name has no control characters"),
        (&cost("15"), "the cost of bcrypt is not between 4 and 14; make another line: htpasswd -nB bob"),
        (&cost("03"), "the cost of bcrypt is not between 4 and 14; make another line: htpasswd -nB bob"),
        (
            "bob:$6$rounds=1000001$a$b",
            "the rounds of SHA-crypt are not between 1000 and 1000000; make another line: htpasswd -nB bob",
        ),
        (&salt, "the hash of SHA-crypt is damaged; make another line: htpasswd -nB bob"),
        ("bob:$2y$10$cut", "the hash of bcrypt is damaged; make another line: htpasswd -nB bob"),
    ];
    for (line, why) in cases {
        assert_eq!(users(&format!("{good}\n\n{line}\n")).unwrap_err(), format!("line 3: {why}"), "{line}");
    }
    assert_eq!(users(&format!("{good}\n{good}")).unwrap_err(), "line 2: the user 'ann' is there twice");
    assert_eq!(users("# none\n").unwrap_err(), "it has no user; add one: htpasswd -B FILE NAME");
    let large = Users::parse(&vec![b'\n'; (1 << 20) + 1]).unwrap_err();
    assert_eq!(large.to_string(), "it has more than 1 MiB; a file of users has a line for each user");
}

#[test]
fn a_stranger_costs_what_most_users_do() {
    let text = format!("a:{}\nb:{}\nc:{}\nd:{}", SECRET[1], SECRET[4], SECRET[0], SECRET[2]);
    let most = users(&text).unwrap().stand_in.unwrap();
    assert!(matches!(most, Hash::Bcrypt { cost: 4, .. }));
    let first = users(&format!("a:{}\nb:{}", SECRET[1], SECRET[4])).unwrap().stand_in.unwrap();
    assert!(matches!(first, Hash::Bcrypt { cost: 5, .. }), "the first of those that are equally common");
}

#[test]
fn nothing_of_a_hash_is_shown() {
    assert_eq!(format!("{:?}", users(&format!("ann:{}", SECRET[0])).unwrap()), "Users { .. }");
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Users::parse(&text);
    }

    #[test]
    fn any_hash_is_read_or_refused(
        kind in "(2a|2b|2y|5|6|apr1)",
        rest in r"(\$rounds=[0-9]{0,8})?(\$[./0-9A-Za-z]{0,90}){0,3}",
    ) {
        let _ = Users::parse(format!("ann:${kind}{rest}").as_bytes());
    }
}
