//! Whatever a client has sent, the client that the last trusted proxy has seen is found.

use std::net::IpAddr;

use sitar_http::semantics::forwarded;
use sitar_http::{Field, Method, Request, RequestTarget};

fn is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(ip) if ip.octets()[0] == 10)
}

/// `data` is one field line to a line, of Forwarded where it has a `=`.
pub(crate) fn check(data: &[u8]) {
    let mut sent = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    for line in data.split(|&byte| byte == b'\n').take(12) {
        let field = if line.contains(&b'=') { Field::Forwarded } else { Field::XForwardedFor };
        let _ = sent.fields.push(field, line);
    }
    let client = forwarded(&sent, is_trusted);
    assert_eq!(client, forwarded(&sent, is_trusted), "the same request");
    assert_eq!(client.map(|address| address.to_canonical()), client, "an address of IPv4 is one");
    let nearest = forwarded(&sent, |_| false);
    if let Some(nearest) = nearest.filter(|nearest| !is_trusted(*nearest)) {
        assert_eq!(client, Some(nearest), "the nearest one is not trusted");
    }
    // A trusted proxy adds the address that it was connected from.
    let mut passed = sent;
    for (field, line) in [
        (Field::Forwarded, &b"for=\"[2001:db8::1]:80\";by=_x;host=\"a,\\\"b\""[..]),
        (Field::XForwardedFor, b"2001:db8::1"),
    ] {
        assert!(passed.fields.push(field, line).is_ok(), "there is room");
    }
    assert_eq!(forwarded(&passed, is_trusted), "2001:db8::1".parse().ok(), "both fields name it");
    for line in [&b"for=10.0.0.7"[..], b"for=10.0.0.8"] {
        assert!(passed.fields.push(Field::Forwarded, line).is_ok(), "there is room");
    }
    assert_eq!(forwarded(&passed, is_trusted), "2001:db8::1".parse().ok(), "two more trusted proxies");
}
