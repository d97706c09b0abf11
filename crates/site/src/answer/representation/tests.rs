use super::*;
use crate::answer::lifetime::Lifetime;
use crate::answer::media;
use crate::open::index::FileId;
use sitar_http::h1;
use sitar_http::semantics::Coding;

fn entry(coding: Coding, vary: bool) -> Entry {
    let media = media::media_type(b"a.js");
    Entry { source: 0, media, coding, vary, decoded: None, lifetime: Lifetime::Revalidate }
}

fn request(text: &str, check: impl FnOnce(&Request<'_>)) {
    let text = text.replace('\n', "\r\n");
    check(&h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap().request);
}

fn get(representation: &Representation, lines: &str, check: impl FnOnce(Reply<'_>)) {
    request(&format!("GET / HTTP/1.1\nHost: h\n{lines}\n"), |request| {
        check(representation.respond(request, Target::plain(FileId(0), &mut Scratch::new())));
    });
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// SHA-256 of "hello" starts 2cf24dba5fb0a30e26e83b2ac5b9e29e1b16, that as base64url.
const HELLO: &str = "\"LPJNul-wow4m6DsqxbninhsW\"";

fn hello(entry: &Entry, modified: Option<u64>) -> Representation {
    let budget = Budget::new(5, 5);
    let mut region = sitar_io::RegionMut::new(5).unwrap();
    region.copy_from_slice(b"hello");
    let content = Content::Resident(region.freeze_with(budget.reserve(5).unwrap()));
    in_memory(content, entry, modified)
}

fn in_memory(content: Content, entry: &Entry, modified: Option<u64>) -> Representation {
    let identity = || unreachable!("it is hashed");
    Representation::new(content, identity, entry, Dates::new(modified, 0), None).unwrap()
}

#[test]
fn the_whole_answer() {
    get(&hello(&entry(Coding::Identity, false), Some(1_700_000_000)), "", |reply| {
        assert_eq!(reply.status, Status::OK);
        assert_eq!(reply.content_length, Some(5));
        assert!(reply.more.is_empty());
        assert_eq!(
            text(reply.fields),
            "Content-Type: text/javascript; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Cache-Control: no-cache\r\n\
             Accept-Ranges: bytes\r\n\
             Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n\
             ETag: \"LPJNul-wow4m6DsqxbninhsW\"\r\n"
        );
        assert!(
            matches!(reply.body, Body::Memory { range: Range { start: 0, end: 5 }, region } if &region[..] == b"hello")
        );
    });
}

#[test]
fn an_encoding_says_so() {
    get(&hello(&entry(Coding::Br, true), None), "", |reply| {
        assert_eq!(
            text(reply.fields),
            "Content-Type: text/javascript; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Content-Encoding: br\r\n\
             Vary: Accept-Encoding\r\n\
             Cache-Control: no-cache\r\n\
             Accept-Ranges: bytes\r\n\
             ETag: \"LPJNul-wow4m6DsqxbninhsW.br\"\r\n"
        );
    });
}

#[test]
fn head_says_the_length_without_the_body() {
    request("HEAD / HTTP/1.1\nHost: h\n\n", |request| {
        let representation = hello(&entry(Coding::Identity, false), None);
        let mut scratch = Scratch::new();
        let reply = representation.respond(request, Target::plain(FileId(0), &mut scratch));
        assert_eq!((reply.status, reply.content_length), (Status::OK, Some(5)));
        assert!(matches!(reply.body, Body::Empty));
    });
}

#[test]
fn not_modified() {
    let representation = hello(&entry(Coding::Identity, true), Some(1_700_000_000));
    for lines in [
        format!("If-None-Match: {HELLO}\n"),
        format!("If-None-Match: \"x\", W/{HELLO}\n"),
        "If-None-Match: *\n".to_owned(),
        "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\n".to_owned(),
    ] {
        get(&representation, &lines, |reply| {
            assert_eq!(reply.status, Status::NOT_MODIFIED, "{lines}");
            assert_eq!(
                text(reply.fields),
                "Vary: Accept-Encoding\r\nCache-Control: no-cache\r\nETag: \"LPJNul-wow4m6DsqxbninhsW\"\r\n"
            );
            assert_eq!(reply.content_length, None);
            assert!(matches!(reply.body, Body::Empty));
        });
    }
    // Another encoding's tag is another tag.
    get(&representation, "If-None-Match: \"LPJNul-wow4m6DsqxbninhsW.br\"\n", |reply| {
        assert_eq!(reply.status, Status::OK);
    });
    get(&representation, "If-Match: \"other\"\n", |reply| {
        assert_eq!(reply.status, Status::PRECONDITION_FAILED);
        assert_eq!(reply.content_length, Some(24));
    });
}

#[test]
fn ranges() {
    let representation = hello(&entry(Coding::Identity, false), None);
    for (asked, line, part) in [
        ("0-0", "Content-Range: bytes 0-0/5\r\n", 0..1),
        ("1-3", "Content-Range: bytes 1-3/5\r\n", 1..4),
        ("2-", "Content-Range: bytes 2-4/5\r\n", 2..5),
        ("-2", "Content-Range: bytes 3-4/5\r\n", 3..5),
        ("3-99", "Content-Range: bytes 3-4/5\r\n", 3..5),
    ] {
        get(&representation, &format!("Range: bytes={asked}\n"), |reply| {
            assert_eq!(reply.status, Status::PARTIAL_CONTENT, "{asked}");
            assert_eq!(text(reply.more), line);
            assert_eq!(reply.content_length, Some(part.len() as u64));
            assert!(matches!(reply.body, Body::Memory { range, .. } if range == part));
        });
    }
    get(&representation, "Range: bytes=5-\n", |reply| {
        assert_eq!(reply.status, Status::RANGE_NOT_SATISFIABLE);
        assert_eq!(text(reply.more), "Content-Range: bytes */5\r\n");
        assert!(matches!(reply.body, Body::Static(b"416 Range Not Satisfiable\n")));
        assert_eq!(reply.content_length, Some(26));
    });
}

/// A representation that is sent from a file. The hash that stands for its version is one of zeros.
fn streamed(coding: Coding, dates: Dates, until: Option<SystemTime>) -> Representation {
    let file = sitar_io::File::from(tempfile::tempfile().unwrap());
    let stat = rustix::fs::fstat(&file).unwrap();
    let content = Content::File { file: Streamed::new(file, &stat, true), range: 1000..10_737_419_240 };
    let identity = || Ok(Identity::Version { version: [0; 32], until });
    Representation::new(content, identity, &entry(coding, false), dates, None).unwrap()
}

#[test]
fn a_file_too_large_is_sent_from_where_it_lies() {
    let representation = streamed(Coding::Identity, Dates::new(Some(1_700_000_000), 0), None);
    get(&representation, "", |reply| {
        assert!(text(reply.fields).contains("ETag: \"AAAAAAAAAAAAAAAAAAAAAAAA\"\r\n"));
        assert_eq!(reply.content_length, Some(10_737_418_240));
        assert!(matches!(reply.body, Body::File { range: Range { start: 1000, end: 10_737_419_240 }, .. }));
    });
    get(&representation, "Range: bytes=5000000000-5000000009\n", |reply| {
        assert_eq!(text(reply.more), "Content-Range: bytes 5000000000-5000000009/10737418240\r\n");
        assert!(matches!(
            reply.body,
            Body::File { range: Range { start: 5_000_001_000, end: 5_000_001_010 }, .. }
        ));
    });
    get(&representation, "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\n", |reply| {
        assert_eq!(text(reply.fields), "Cache-Control: no-cache\r\nETag: \"AAAAAAAAAAAAAAAAAAAAAAAA\"\r\n");
    });
    // What stands for content that is not read is no digest of it.
    get(&representation, "Want-Repr-Digest: sha-256=1\n", |reply| assert!(reply.more.is_empty()));
    get(&streamed(Coding::Br, Dates::new(None, 0), None), "", |reply| {
        assert!(text(reply.fields).contains("ETag: \"AAAAAAAAAAAAAAAAAAAAAAAA.br\"\r\n"));
    });
    assert!(representation.resident_bytes() < 1000);
}

#[test]
fn a_date_proves_nothing_about_the_time_before_it_could_be_vouched_for() {
    // Modified at 22:13:20; another site was served until 22:13:30.
    let taken_over = streamed(Coding::Identity, Dates::new(Some(1_700_000_000), 1_700_000_010), None);
    let at = |second: u32| format!("Tue, 14 Nov 2023 22:13:{second} GMT");
    for (condition, second, status) in [
        ("If-Modified-Since", 20, Status::OK),
        ("If-Modified-Since", 29, Status::OK),
        ("If-Modified-Since", 30, Status::NOT_MODIFIED),
        ("If-Unmodified-Since", 20, Status::PRECONDITION_FAILED),
        ("If-Unmodified-Since", 29, Status::PRECONDITION_FAILED),
        ("If-Unmodified-Since", 30, Status::OK),
    ] {
        get(&taken_over, &format!("{condition}: {}\n", at(second)), |reply| {
            assert_eq!(reply.status, status, "{condition} {second}");
        });
    }
    // What it was modified at is said all the same, and with no date there is none to compare.
    get(&taken_over, "", |reply| {
        assert!(text(reply.fields).contains("Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"));
    });
    get(
        &streamed(Coding::Identity, Dates::NEVER, None),
        "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\n",
        |reply| assert_eq!(reply.status, Status::OK),
    );
    // A part is sent for an ETag, and for no date.
    for (value, status) in [
        ("\"AAAAAAAAAAAAAAAAAAAAAAAA\"", Status::PARTIAL_CONTENT),
        ("W/\"AAAAAAAAAAAAAAAAAAAAAAAA\"", Status::OK),
        ("\"AAAAAAAAAAAAAAAAAAAAAAAB\"", Status::OK),
        ("Tue, 14 Nov 2023 22:13:20 GMT", Status::OK),
        ("Tue, 14 Nov 2023 22:13:30 GMT", Status::OK),
    ] {
        for since in [0, 1_700_000_010] {
            let representation = streamed(Coding::Identity, Dates::new(Some(1_700_000_000), since), None);
            get(&representation, &format!("Range: bytes=0-9\nIf-Range: {value}\n"), |reply| {
                assert_eq!(reply.status, status, "{value}");
            });
        }
    }
}

#[test]
fn content_is_sent_for_what_is_no_head_and_meets_its_conditions() {
    let loaded = hello(&entry(Coding::Identity, false), Some(1_700_000_000));
    let is_sent = |method: &str, lines: &str, status| {
        let mut sent = false;
        request(&format!("{method} / HTTP/1.1\nHost: h\n{lines}\n"), |request| {
            sent = loaded.is_sent(request, status);
        });
        sent
    };
    let known = format!("If-None-Match: {HELLO}\n");
    assert!(is_sent("GET", "", Status::OK) && !is_sent("HEAD", "", Status::OK));
    assert!(!is_sent("GET", &known, Status::OK) && is_sent("GET", "If-None-Match: \"x\"\n", Status::OK));
    assert!(!is_sent("GET", "If-Match: \"x\"\n", Status::OK));
    assert!(!is_sent("GET", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\n", Status::OK));
    // Conditions are for successes.
    assert!(is_sent("GET", &known, Status::NOT_FOUND) && !is_sent("HEAD", "", Status::NOT_FOUND));
}

#[test]
fn a_makeshift_is_over_at_its_time() {
    let at = |second| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
    let representation = streamed(Coding::Identity, Dates::new(None, 0), Some(at(10)));
    assert_eq!([9, 10, 11].map(|second| representation.is_makeshift(|| at(second))), [false, true, true]);
    assert!(!streamed(Coding::Identity, Dates::new(None, 0), None).is_makeshift(|| at(99)));
}

#[test]
fn nothing_is_a_body_too() {
    let representation = in_memory(Content::Static(b""), &entry(Coding::Identity, false), None);
    get(&representation, "", |reply| {
        assert_eq!((reply.status, reply.content_length), (Status::OK, Some(0)));
        assert!(matches!(reply.body, Body::Empty));
        assert!(text(reply.fields).contains("ETag: \"47DEQpj8HBSa-_TImW-5JCeu\"\r\n"));
    });
}

#[test]
fn dates_that_mean_nothing() {
    for time in [0, 1, 315_532_800, 315_532_801, 315_619_199, 318_211_200, 253_402_300_800, u64::MAX] {
        assert!(!is_meaningful(time), "{time}");
    }
    for time in [315_619_200, 1_700_000_000, 253_402_300_799] {
        assert!(is_meaningful(time), "{time}");
    }
}

#[test]
fn the_budget_comes_back() {
    let budget = Budget::new(10, 6);
    assert!(budget.reserve(7).is_none());
    let first = budget.reserve(6).unwrap();
    assert!(budget.reserve(5).is_none());
    // A clone is the same account.
    let clone = budget.clone();
    let second = clone.reserve(4).unwrap();
    assert_eq!(budget.left(), 0);
    assert!(budget.reserve(0).is_some());
    drop(first);
    assert_eq!(budget.left(), 6);
    drop(second);
    assert_eq!(budget.left(), 10);
}
