//! Integrity fields (RFC 9530).

use crate::chars::trim;
use crate::{Field, Request};

/// Returns whether a request asks for the SHA-256 of the representation.
///
/// `Want-Repr-Digest` (RFC 9530 §4) is a dictionary of algorithms with a preference from 0, which
/// is not at all, to 10. Of an algorithm that is named twice the last one counts (RFC 8941 §3.2);
/// members with other values are ignored.
#[must_use]
pub fn wants_sha256(request: &Request<'_>) -> bool {
    let mut wanted = false;
    for line in request.fields.all(Field::WantReprDigest) {
        for member in line.split(|&byte| byte == b',').map(trim) {
            if let Some(value) = member.strip_prefix(b"sha-256=") {
                wanted = matches!(value, [b'1'..=b'9'] | b"10");
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, RequestTarget};

    #[test]
    fn preferences() {
        for (value, wanted) in [
            (&b"sha-256=1"[..], true),
            (b"sha-256=10", true),
            (b"sha-512=3, sha-256=10, unixsum=0", true),
            (b"sha-256=0", false),
            (b"sha-512=9", false),
            (b"sha-256", false),
            (b"sha-256=11", false),
            (b"sha-256=1.0", false),
            (b"SHA-256=1", false),
            (b"sha-256=1, sha-256=0", false),
            (b"", false),
        ] {
            let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
            assert!(!wants_sha256(&request));
            request.fields.push(Field::WantReprDigest, value).unwrap();
            assert_eq!(wants_sha256(&request), wanted, "{}", value.escape_ascii());
        }
    }
}
