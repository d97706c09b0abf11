//! 304 is for reading only, and without conditions nothing is refused.

use sitar_http::semantics::{PreconditionResult, Validators, preconditions};
use sitar_http::{Field, Method, Request, RequestTarget};

/// `data` is one field line to a line, each begun by a digit that says which field: 0 If-Match, 1
/// If-None-Match, 2 If-Modified-Since, 3 If-Unmodified-Since.
pub(crate) fn check(data: &[u8]) {
    let mut get = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    let mut conditions = 0;
    for line in data.split(|&byte| byte == b'\n') {
        let (field, value) = match line {
            [b'0', value @ ..] => (Field::IfMatch, value),
            [b'1', value @ ..] => (Field::IfNoneMatch, value),
            [b'2', value @ ..] => (Field::IfModifiedSince, value),
            [b'3', value @ ..] => (Field::IfUnmodifiedSince, value),
            _ => continue,
        };
        if get.fields.push(field, value).is_err() {
            break;
        }
        conditions += 1;
    }

    let validators = Validators { etag: Some(b"\"x\""), last_modified: Some(784_111_777) };
    let verdict = |method| preconditions(&Request { method, ..get }, &validators);
    let read = verdict(Method::Get);
    assert_eq!(verdict(Method::Head), read);
    assert_eq!(verdict(Method::Options), PreconditionResult::Proceed);
    if conditions == 0 {
        assert_eq!(read, PreconditionResult::Proceed);
    }
    let write = verdict(Method::Put);
    assert_ne!(write, PreconditionResult::NotModified);
    if read == PreconditionResult::Failed {
        assert_eq!(write, PreconditionResult::Failed);
    }
    if read == PreconditionResult::NotModified {
        assert!(get.fields.has(Field::IfNoneMatch) || get.fields.has(Field::IfModifiedSince));
    }

    // A representation of which nothing is known is never called unmodified by its date.
    let nothing = Validators { etag: None, last_modified: None };
    if !get.fields.has(Field::IfNoneMatch) {
        assert_ne!(preconditions(&get, &nothing), PreconditionResult::NotModified);
    }
}
