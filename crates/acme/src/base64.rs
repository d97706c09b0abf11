//! base64url without padding (RFC 7515 §2), and the base64 of PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

pub(crate) fn url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends a section of PEM, with lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8], out: &mut Vec<u8>) {
    let text = Zeroizing::new(STANDARD.encode(der));
    out.reserve(text.len() + text.len() / 64 + 2 * label.len() + 40);
    for part in ["-----BEGIN ", label, "-----\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for line in text.as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    for part in ["-----END ", label, "-----\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
