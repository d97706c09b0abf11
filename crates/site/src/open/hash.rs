//! SHA-256, which identifies contents.

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of some content.
pub type Hash = [u8; 32];

/// Returns the SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
