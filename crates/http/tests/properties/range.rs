//! A range lies within the body, and is no more than what was asked for.

use sitar_http::semantics::{PARTS_MAX, RangeSelection, Validators, range};
use sitar_http::{Field, Method, Request, RequestTarget};

/// The length of the body in decimal on the first line, Range on the second, If-Range on the third
/// if there is one.
pub(crate) fn check(data: &[u8]) {
    let mut lines = data.splitn(3, |&byte| byte == b'\n');
    let length = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or(1000);
    let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    let value = lines.next().unwrap_or_default();
    assert!(request.fields.push(Field::Range, value).is_ok());
    if let Some(line) = lines.next() {
        assert!(request.fields.push(Field::IfRange, line).is_ok());
    }

    let validators = Validators { etag: Some(b"\"x\""), last_modified: Some(784_111_777) };
    let span = range(&request, &validators, length);
    match span {
        RangeSelection::Whole | RangeSelection::Parts(_) => {}
        RangeSelection::Unsatisfiable => assert!(value.to_ascii_lowercase().starts_with(b"bytes=")),
        RangeSelection::Part { first, last } => {
            assert!(first <= last && last < length);
            // Asked for in the plainest form, the part is the same.
            let plain = format!("bytes={first}-{last}");
            let mut again = Request::new(Method::Get, request.target);
            assert!(again.fields.push(Field::Range, plain.as_bytes()).is_ok());
            assert_eq!(range(&again, &validators, length), span);
        }
    }
    if let RangeSelection::Parts(parts) = span {
        let parts = parts.as_slice();
        assert!(parts.len() > 1 && parts.len() <= PARTS_MAX);
        for (at, &(first, last)) in parts.iter().enumerate() {
            assert!(first <= last && last < length);
            assert!(
                parts[..at]
                    .iter()
                    .all(|(others_first, others_last)| last < *others_first || first > *others_last)
            );
        }
    }
    request.method = Method::Head;
    assert_eq!(range(&request, &validators, length), RangeSelection::Whole);
}
