//! The requirements that RFC 9110 §8, §12 to §15 and RFC 9111 §5 have of an origin server of files,
//! one row in `semantics.txt` for each requirement: the bytes sent and the bytes expected, through
//! parsing, routing, loading, answering and writing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this file is a test, its functions too")]

mod ask;
#[path = "semantics/mod.rs"]
mod table;

use sitar_site::{Budget, Options, Site};

fn site() -> (tempfile::TempDir, Site) {
    let folder = tempfile::tempdir().unwrap();
    table::build(folder.path());
    let site = Site::open(folder.path(), &Options::default()).unwrap();
    (folder, site)
}

#[test]
fn every_requirement() {
    let (_folder, site) = site();
    let cases = table::cases();
    assert!(cases.len() > 100, "{} rows", cases.len());
    for case in cases {
        let answer = ask::wire_with_date(&site, &case.request, table::DATE, table::now());
        assert_eq!(
            answer.escape_ascii().to_string(),
            case.answer.escape_ascii().to_string(),
            "{}",
            case.name
        );
    }
}

/// HTTP/2 keeps a copy of a request whose file is not in memory yet. The copy leaves fields out,
/// and the answer must not show it.
#[test]
fn a_request_that_waited_for_its_file_is_answered_as_any_other() {
    let (_folder, site) = site();
    for case in table::cases() {
        let answer = ask::wire_of_parked(&site, &case.request, table::DATE, table::now());
        assert_eq!(
            answer.escape_ascii().to_string(),
            case.answer.escape_ascii().to_string(),
            "{}",
            case.name
        );
    }
}

/// RFC 9110 §9.3.2, for every row at once.
#[test]
fn head_has_the_fields_of_get() {
    let (_folder, site) = site();
    for case in table::cases() {
        // Range is for GET (§14.2).
        let ranges = case.request.windows(8).any(|window| window == b"\r\nRange:");
        let Some(rest) = case.request.strip_prefix(b"GET ").filter(|_| !ranges) else { continue };
        let answer = ask::wire_with_date(&site, &[b"HEAD ", rest].concat(), table::DATE, table::now());
        let end = case.answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(
            answer.escape_ascii().to_string(),
            case.answer[..end].escape_ascii().to_string(),
            "{}",
            case.name
        );
    }
}

/// A request for several parts of content that is not in memory gets the first of them; everything
/// else is the same but for the tag.
#[test]
fn several_parts_of_a_file_that_is_not_in_memory() {
    let (_folder, site) = site();
    let request = b"GET /digits.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=10-12,500-600\r\n\r\n";
    let text = String::from_utf8(ask::wire_within(&site, request, &Budget::new(0, 0))).unwrap();
    assert!(
        text.contains("\r\nContent-Range: bytes 10-12/1000\r\n") && text.ends_with("\r\n\r\n012"),
        "{text}"
    );
}
