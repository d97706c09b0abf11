//! Negotiation chooses the best of what is there, and nothing that was refused.

use sitar_http::semantics::{AcceptEncoding, Coding};
use sitar_http::{Field, Method, Request, RequestTarget};

/// `data` is one field line to a line.
pub(crate) fn check(data: &[u8]) {
    let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    for line in data.split(|&byte| byte == b'\n') {
        if request.fields.push(Field::AcceptEncoding, line).is_err() {
            break;
        }
    }
    let accept = AcceptEncoding::of(&request);
    let all = [Coding::Br, Coding::Zstd, Coding::Gzip, Coding::Identity];
    let best = accept.best(&all);
    let most = all.iter().map(|&coding| accept.quality(coding)).max();
    assert!(most <= Some(1000));
    match best {
        Some(best) => assert!(accept.quality(best) > 0 && Some(accept.quality(best)) == most),
        None => assert_eq!(most, Some(0)),
    }
    // Order decides between equals only.
    let mut reversed = all;
    reversed.reverse();
    let last = accept.best(&reversed);
    assert_eq!(last.map(|coding| accept.quality(coding)), best.map(|coding| accept.quality(coding)));
}
