//! Header lines that do not depend on a request: of the program's own answers, and of redirects,
//! which are built when a site is opened.

pub(crate) const PLAIN: &[u8] =
    b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
pub(crate) const PLAIN_VARY: &[u8] =
    b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nVary: Accept-Encoding\r\n";
pub(crate) const PLAIN_ALLOW: &[u8] =
    b"Allow: GET, HEAD, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
/// Of a redirect that adds or removes a slash. A cache may keep a 301 as long as it likes (RFC 9110
/// §15.4.2), and browsers do; but what is a folder today may be a page tomorrow, as in a site built
/// again with other names, and then `/x/` is nowhere. Without a validator there would be nothing to
/// ask about, so it is not stored at all.
pub(crate) const FOLDER: &[u8] =
    b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n";

/// The header lines of the redirect to a directory, Location first.
pub(crate) fn redirect_block(key: &[u8]) -> Box<[u8]> {
    let mut path = b"/".to_vec();
    crate::open::path::encode(key, &mut path);
    if !key.is_empty() {
        path.push(b'/');
    }
    [b"Location: ", &path[..], b"\r\n", FOLDER].concat().into_boxed_slice()
}

/// The header lines of a redirect, Location first. The target's bytes have been checked.
pub(crate) fn location_block(target: &[&[u8]]) -> Box<[u8]> {
    [b"Location: ", &target.concat()[..], b"\r\n", PLAIN].concat().into_boxed_slice()
}
