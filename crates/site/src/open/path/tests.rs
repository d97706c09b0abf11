use super::*;
use proptest::prelude::*;

fn key(raw: &str) -> (String, bool) {
    let mut buffer = [0; NAME_MAX];
    let resolved = resolve(raw.as_bytes(), &mut buffer).unwrap();
    (String::from_utf8(resolved.key.to_vec()).unwrap(), resolved.slash)
}

fn fault(raw: &[u8]) -> PathFault {
    resolve(raw, &mut [0; NAME_MAX]).unwrap_err()
}

#[test]
fn paths_become_keys() {
    for (raw, expected, slash) in [
        ("/", "", true),
        ("/a", "a", false),
        ("/a/", "a", true),
        ("/a/b.html", "a/b.html", false),
        ("/a%20b", "a b", false),
        ("/%61", "a", false),
        ("/A", "A", false),
        ("/%C3%a9", "é", false),
        ("/a%2520b", "a%20b", false),
        ("//a", "a", false),
        ("//a///b//", "a/b", true),
        ("//evil.example/x", "evil.example/x", false),
        ("/./a/./b", "a/b", false),
        ("/a/.", "a", true),
        ("/a/b/..", "a", true),
        ("/a/../b", "b", false),
        ("/a/%2e%2E/b", "b", false),
        ("/a/b/../../c", "c", false),
        ("/..", "", true),
        ("/../../etc/passwd", "etc/passwd", false),
        ("/%2e%2e/etc/passwd", "etc/passwd", false),
        ("/a/../..", "", true),
        ("/...", "...", false),
        ("/..a", "..a", false),
        ("/a\\..\\b", "a\\..\\b", false),
        ("/%5c", "\\", false),
        ("/.well-known/x", ".well-known/x", false),
        // An escaped slash separates nothing: it is no name's, and no dot segment begins or ends at
        // it.
        ("/a%2fb", "a\0b", false),
        ("/a%2Fb/c", "a\0b/c", false),
        ("/%2f", "\0", false),
        ("/a%2F/", "a\0", true),
        ("/..%2f..%2fetc", "..\0..\0etc", false),
        ("/%2e%2e%2f%2e%2e%2Fetc", "..\0..\0etc", false),
        ("/a%252Fb", "a%2Fb", false),
    ] {
        assert_eq!(key(raw), (expected.to_owned(), slash), "{raw}");
    }
}

#[test]
fn paths_that_are_refused() {
    for raw in ["", "a", "*", "/%", "/%4", "/%4g", "/%zz/../a", "/%00", "/a%00.html", "/\0", "/%2f%zz"] {
        assert_eq!(fault(raw.as_bytes()), PathFault::Malformed, "{raw}");
    }
    for raw in ["/a%2f%00", "/%2f%", "/%2f%2"] {
        assert_eq!(fault(raw.as_bytes()), PathFault::Malformed, "{raw}");
    }
}

#[test]
fn a_name_of_4096_bytes_is_the_longest() {
    let longest = [b"/".as_slice(), &[b'a'; 4096]].concat();
    assert_eq!(resolve(&longest, &mut [0; NAME_MAX]).unwrap().key.len(), 4096);
    let longer = [b"/".as_slice(), &[b'a'; 4097]].concat();
    assert_eq!(fault(&longer), PathFault::TooLong);
    // The separator needs room too: 4095 bytes, a slash, one more byte.
    let with_segment = [b"/".as_slice(), &[b'a'; 4095], b"/b"].concat();
    assert_eq!(fault(&with_segment), PathFault::TooLong);
    let escaped = "%61".repeat(4096);
    assert_eq!(resolve(format!("/{escaped}").as_bytes(), &mut [0; NAME_MAX]).unwrap().key, &[b'a'; 4096]);
    // Trailing slashes at the limit must not step over it.
    assert!(resolve(&[longest.as_slice(), b"/"].concat(), &mut [0; NAME_MAX]).unwrap().slash);
    assert!(resolve(&[longest.as_slice(), b"///"].concat(), &mut [0; NAME_MAX]).unwrap().slash);
}

#[test]
fn plain_paths_need_no_buffer() {
    assert_eq!(plain(b"/"), Some(Resolved { key: b"", slash: true }));
    assert_eq!(plain(b"/a/b.html"), Some(Resolved { key: b"a/b.html", slash: false }));
    assert_eq!(plain(b"/a/"), Some(Resolved { key: b"a", slash: true }));
    for raw in ["", "*", "a", "/a%20b", "//a", "/a//", "/./a", "/a/..", "/.a", "/a/.b", "/\0"] {
        assert_eq!(plain(raw.as_bytes()), None, "{raw}");
    }
}

#[test]
fn member_names_become_keys() {
    assert_eq!(normalize(b"./a/b"), Ok(Some(b"a/b".to_vec())));
    assert_eq!(normalize(b"/a//b/"), Ok(Some(b"a/b".to_vec())));
    assert_eq!(normalize(b"a\xff"), Ok(Some(b"a\xff".to_vec())));
    assert_eq!(normalize(b"./"), Ok(None));
    assert_eq!(normalize(b""), Ok(None));
    assert_eq!(normalize(b"a/../b"), Err("its name contains '..'"));
    assert_eq!(normalize(b".."), Err("its name contains '..'"));
    assert_eq!(normalize(b"a\0b"), Err("its name contains a zero byte"));
    assert_eq!(normalize(&[b'a'; 4097]), Err("its name is longer than 4096 bytes"));
    assert_eq!(normalize("a/".repeat(257).as_bytes()), Err("it lies more than 256 folders deep"));
    assert!(normalize("a/".repeat(256).as_bytes()).is_ok());
}

#[test]
fn what_is_never_served() {
    for name in [
        ".git/config",
        ".env",
        "a/.htaccess",
        ".sitar/index",
        "_headers",
        "_redirects",
        "_headers.br",
        "_redirects.gz",
        "..data/x",
        "a/.well-known/x",
        ".well-known/.git",
    ] {
        assert!(!is_public(name.as_bytes()), "{name}");
    }
    for name in [".well-known/security.txt", ".well-known", "a/_headers", "a.b/c", "_headersx"] {
        assert!(is_public(name.as_bytes()), "{name}");
    }
}

#[test]
fn what_is_a_key() {
    let deepest = "a/".repeat(255) + "a";
    for name in ["a", "a/b.html", ".well-known/x", "...", "a/..b", "\u{e9}", &"a".repeat(4096), &deepest] {
        assert!(is_key(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "./a",
        "a/..",
        "a/./b",
        "a\0",
        &"a".repeat(4097),
        &format!("{deepest}/a"),
    ] {
        assert!(!is_key(name.as_bytes()), "{name}");
    }
}

#[test]
fn locations_are_escaped() {
    let mut out = Vec::new();
    encode("a b/é?\r\n\"\\%#;=\0".as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "a%20b/%C3%A9%3F%0D%0A%22%5C%25%23;=%2F");
}

/// An independent resolver with a stack of strings, for paths of at most a few hundred bytes.
fn oracle(raw: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut stack: Vec<Vec<u8>> = Vec::new();
    let mut slash = true;
    if raw.first() != Some(&b'/') {
        return None;
    }
    for segment in raw[1..].split(|&byte| byte == b'/') {
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < segment.len() {
            if segment[at] == b'%' {
                let digits = segment.get(at + 1..at + 3)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                match u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
                    0 => return None,
                    b'/' => decoded.push(0),
                    byte => decoded.push(byte),
                }
                at += 3;
            } else {
                decoded.push(segment[at]);
                at += 1;
            }
        }
        slash = true;
        if decoded == b".." {
            stack.pop();
        } else if !decoded.is_empty() && decoded != b"." {
            stack.push(decoded);
            slash = false;
        }
    }
    Some((stack.join(&b'/'), slash))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn equals_the_naive_resolver(raw in "/(\\.\\.|\\.|%2e|%2E%2e|a|bc|/|%2f|%00|%|%41|é|\\\\|%c3%a9){0,24}") {
        let mut buffer = [0xAA; NAME_MAX];
        let ours = resolve(raw.as_bytes(), &mut buffer).ok().map(|found| (found.key.to_vec(), found.slash));
        prop_assert_eq!(&ours, &oracle(raw.as_bytes()));
        if let Some(found) = plain(raw.as_bytes()) {
            prop_assert_eq!(ours, Some((found.key.to_vec(), found.slash)));
        }
    }

    #[test]
    fn a_key_is_what_normalizing_leaves_alone(name in "(\\.|\\.\\.|a|bc|/|\\.well-known|_headers|\\.gz|\0){0,8}") {
        let name = name.as_bytes();
        let is_left_alone = matches!(normalize(name), Ok(Some(key)) if key == name);
        prop_assert_eq!(is_key(name), is_left_alone);
        // Said again, without a thought for speed.
        let segments: Vec<_> = name.split(|&byte| byte == b'/').collect();
        let is_hidden = |at: usize| segments[at].starts_with(b".") && (at > 0 || segments[at] != b".well-known");
        // Encodings of encodings would bring them back as well.
        let mut stem = name;
        while let Some(original) = stem.strip_suffix(b".gz") {
            stem = original;
        }
        let rules = [&b"_headers"[..], b"_redirects"];
        prop_assert_eq!(is_public(name), !rules.contains(&stem) && !(0..segments.len()).any(is_hidden));
    }

    #[test]
    fn never_leaves_the_root(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
        crate::properties::path(&raw);
        let mut rooted = vec![b'/'];
        rooted.extend(raw);
        crate::properties::path(&rooted);
    }
}
