use super::*;
use crate::RequestTarget;
use proptest::prelude::*;

use Field::{IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
use PreconditionResult::{Failed, NotModified, Proceed};

const BEFORE: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";
const BOTH: Validators<'_> = Validators { etag: Some(b"\"a\""), last_modified: Some(784_111_777) };
const DATE_ONLY: Validators<'_> = Validators { etag: None, ..BOTH };
const TAG_ONLY: Validators<'_> = Validators { last_modified: None, ..BOTH };

fn verdict(method: Method, lines: &[(Field, &[u8])], validators: &Validators<'_>) -> PreconditionResult {
    let mut request = Request::new(method, RequestTarget { path: b"/", query: None });
    for (field, value) in lines {
        request.fields.push(*field, value).unwrap();
    }
    preconditions(&request, validators)
}

type Case<'a> = (&'a [(Field, &'a [u8])], Validators<'a>, PreconditionResult);

fn check(cases: &[Case<'_>]) {
    for (lines, validators, expected) in cases {
        for method in [Method::Get, Method::Head] {
            assert_eq!(verdict(method, lines, validators), *expected, "{method:?} {lines:?}");
        }
        for method in [Method::Put, Method::Post, Method::Delete, Method::Patch, Method::Unknown] {
            let only_reads = lines.iter().all(|(field, _)| *field == IfModifiedSince);
            let expected = match expected {
                NotModified if only_reads => Proceed,
                NotModified => Failed,
                other => *other,
            };
            assert_eq!(verdict(method, lines, validators), expected, "{method:?} {lines:?}");
        }
        for method in [Method::Options, Method::Connect, Method::Trace] {
            assert_eq!(verdict(method, lines, validators), Proceed, "{method:?} {lines:?}");
        }
    }
}

#[test]
fn nothing_asked() {
    check(&[(&[], BOTH, Proceed), (&[], Validators { etag: None, last_modified: None }, Proceed)]);
}

// RFC 9110 §13.1.1
#[test]
fn if_match() {
    check(&[
        (&[(IfMatch, b"\"a\"")], BOTH, Proceed),
        (&[(IfMatch, b"\"b\", \"a\"")], BOTH, Proceed),
        (&[(IfMatch, b"\"b\""), (IfMatch, b"\"a\"")], BOTH, Proceed),
        (&[(IfMatch, b"*")], BOTH, Proceed),
        (&[(IfMatch, b"*")], DATE_ONLY, Proceed),
        (&[(IfMatch, b"\"b\"")], BOTH, Failed),
        // strong comparison
        (&[(IfMatch, b"W/\"a\"")], BOTH, Failed),
        (&[(IfMatch, b"\"a\"")], DATE_ONLY, Failed),
        (&[(IfMatch, b"")], BOTH, Failed),
        (&[(IfMatch, b"a")], BOTH, Failed),
        (&[(IfMatch, b"\"A\"")], BOTH, Failed),
        (&[(IfMatch, b"\"a\"\"b\"")], BOTH, Failed),
    ]);
}

// RFC 9110 §13.1.2
#[test]
fn if_none_match() {
    check(&[
        (&[(IfNoneMatch, b"\"a\"")], BOTH, NotModified),
        // weak comparison
        (&[(IfNoneMatch, b"W/\"a\"")], BOTH, NotModified),
        (&[(IfNoneMatch, b"\"b\" ,, W/\"a\"")], TAG_ONLY, NotModified),
        (&[(IfNoneMatch, b"\"b\""), (IfNoneMatch, b"\"a\"")], BOTH, NotModified),
        (&[(IfNoneMatch, b"\",\",\"a\"")], BOTH, NotModified),
        (&[(IfNoneMatch, b"\"a\", garbage")], BOTH, NotModified),
        (&[(IfNoneMatch, b"*")], BOTH, NotModified),
        (&[(IfNoneMatch, b"*")], DATE_ONLY, NotModified),
        (&[(IfNoneMatch, b"\"b\"")], BOTH, Proceed),
        (&[(IfNoneMatch, b"\"a\"")], DATE_ONLY, Proceed),
        (&[(IfNoneMatch, b"w/\"a\"")], BOTH, Proceed),
        (&[(IfNoneMatch, b"W/ \"a\"")], BOTH, Proceed),
        (&[(IfNoneMatch, b"a")], BOTH, Proceed),
        (&[(IfNoneMatch, b"\"a")], BOTH, Proceed),
        (&[(IfNoneMatch, b"garbage, \"a\"")], BOTH, Proceed),
        (&[(IfNoneMatch, b"\"x,\"a\"")], BOTH, Proceed),
        (&[(IfNoneMatch, b"")], BOTH, Proceed),
    ]);
}

// RFC 9110 §13.1.3
#[test]
fn if_modified_since() {
    check(&[
        (&[(IfModifiedSince, SAME)], BOTH, NotModified),
        (&[(IfModifiedSince, AFTER)], DATE_ONLY, NotModified),
        (&[(IfModifiedSince, b"Sunday, 06-Nov-94 08:49:37 GMT")], BOTH, NotModified),
        (&[(IfModifiedSince, b"Sun Nov  6 08:49:37 1994")], BOTH, NotModified),
        (&[(IfModifiedSince, BEFORE)], BOTH, Proceed),
        (&[(IfModifiedSince, AFTER)], TAG_ONLY, Proceed),
        (&[(IfModifiedSince, b"tomorrow")], BOTH, Proceed),
        (&[(IfModifiedSince, b"784111777")], BOTH, Proceed),
        (&[(IfModifiedSince, SAME), (IfModifiedSince, SAME)], BOTH, Proceed),
        (&[(IfModifiedSince, b"Fri, 01 Jan 1960 00:00:00 GMT")], BOTH, Proceed),
    ]);
}

// RFC 9110 §13.1.4
#[test]
fn if_unmodified_since() {
    check(&[
        (&[(IfUnmodifiedSince, SAME)], BOTH, Proceed),
        (&[(IfUnmodifiedSince, AFTER)], BOTH, Proceed),
        (&[(IfUnmodifiedSince, BEFORE)], BOTH, Failed),
        (&[(IfUnmodifiedSince, b"Fri, 01 Jan 1960 00:00:00 GMT")], BOTH, Failed),
        (&[(IfUnmodifiedSince, BEFORE)], TAG_ONLY, Proceed),
        (&[(IfUnmodifiedSince, b"yesterday")], BOTH, Proceed),
        (&[(IfUnmodifiedSince, BEFORE), (IfUnmodifiedSince, BEFORE)], BOTH, Proceed),
    ]);
}

// RFC 9110 §13.2.2
#[test]
fn order_of_evaluation() {
    check(&[
        // If-Match goes before everything, and turns If-Unmodified-Since off.
        (&[(IfMatch, b"\"b\""), (IfNoneMatch, b"\"a\"")], BOTH, Failed),
        (&[(IfMatch, b"\"a\""), (IfUnmodifiedSince, BEFORE)], BOTH, Proceed),
        (&[(IfMatch, b"\"a\""), (IfNoneMatch, b"\"a\"")], BOTH, NotModified),
        (&[(IfUnmodifiedSince, BEFORE), (IfNoneMatch, b"\"a\"")], BOTH, Failed),
        (&[(IfUnmodifiedSince, SAME), (IfNoneMatch, b"\"a\"")], BOTH, NotModified),
        // If-None-Match turns If-Modified-Since off, whatever it says.
        (&[(IfNoneMatch, b"\"b\""), (IfModifiedSince, AFTER)], BOTH, Proceed),
        (&[(IfNoneMatch, b"\"a\""), (IfModifiedSince, BEFORE)], BOTH, NotModified),
        (&[(IfNoneMatch, b""), (IfModifiedSince, AFTER)], BOTH, Proceed),
        (&[(IfNoneMatch, b"\"a\""), (IfModifiedSince, AFTER)], DATE_ONLY, Proceed),
    ]);
    assert_eq!(
        verdict(Method::Get, &[(IfUnmodifiedSince, SAME), (IfModifiedSince, SAME)], &BOTH),
        NotModified
    );
    assert_eq!(verdict(Method::Put, &[(IfUnmodifiedSince, SAME), (IfModifiedSince, SAME)], &BOTH), Proceed);
}

proptest! {
    // Lists written from a list of tags; the oracle looks at the tags.
    #[test]
    fn lists_of_tags(
        tags in proptest::collection::vec(("[a-c,;]{0,2}", any::<bool>(), 0..3_usize), 0..8),
        etag in "[a-c,;]{0,2}",
        get: bool,
    ) {
        let mut text = String::new();
        for (tag, weak, style) in &tags {
            text += if text.is_empty() { "" } else { [",", " , ", ",,\t"][*style] };
            text += if *weak { "W/" } else { "" };
            text += &format!("\"{tag}\"");
        }
        let quoted = format!("\"{etag}\"");
        let validators = Validators { etag: Some(quoted.as_bytes()), last_modified: None };
        let method = if get { Method::Get } else { Method::Put };

        let known = tags.iter().any(|(tag, ..)| *tag == etag);
        let expected = match (known, get) {
            (false, _) => Proceed,
            (true, true) => NotModified,
            (true, false) => Failed,
        };
        prop_assert_eq!(verdict(method, &[(IfNoneMatch, text.as_bytes())], &validators), expected);

        let strongly_known = tags.iter().any(|(tag, weak, _)| *tag == etag && !weak);
        let expected = if strongly_known { Proceed } else { Failed };
        prop_assert_eq!(verdict(method, &[(IfMatch, text.as_bytes())], &validators), expected);
    }

    #[test]
    fn anything_can_be_read(
        first in proptest::collection::vec(any::<u8>(), 0..40),
        second in "[\"aW/*, ]{0,12}",
    ) {
        for field in [IfMatch, IfNoneMatch, IfModifiedSince, IfUnmodifiedSince] {
            let _ = verdict(Method::Get, &[(field, &first), (field, second.as_bytes())], &BOTH);
        }
    }
}
