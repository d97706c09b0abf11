//! Of two media types at most one is preferred, and none that was not asked for.

use sitar_http::semantics::prefers;
use sitar_http::{Field, Method, Request, RequestTarget};

/// `data` is one field line to a line.
pub(crate) fn check(data: &[u8]) {
    let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    for line in data.split(|&byte| byte == b'\n') {
        if request.fields.push(Field::Accept, line).is_err() {
            break;
        }
    }
    let (json, html) = ("application/json", "text/html");
    let is_json = prefers(&request, json, html);
    assert!(!(is_json && prefers(&request, html, json)), "both");
    assert!(!prefers(&request, json, json) && !prefers(&request, html, html), "itself");
    let names_any = data.windows(3).any(|three| three == b"*/*" || three.eq_ignore_ascii_case(b"app"));
    assert!(!is_json || names_any, "a type that was not asked for");
}
