//! What a kernel must know to seal in this place.

use super::cipher::{Aead, KEY_MAX, TrafficKey};
use std::fmt;
use zeroize::Zeroizing;

/// A sending key on its way to the kernel; wiped when it is dropped.
///
/// The kernel's records continue where ours ended: same key, next sequence number. That is safe because the other side of the
/// offer seals nothing until it knows that the kernel has refused.
pub struct SealingKey {
    aead: Aead,
    /// The first [`Aead::key_len`] bytes are the key.
    key: Zeroizing<[u8; KEY_MAX]>,
    iv: Zeroizing<[u8; 12]>,
    sequence: u64,
}

impl SealingKey {
    pub(super) fn new(key: &TrafficKey, sequence: u64) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_MAX]);
        bytes[..key.raw().len()].copy_from_slice(key.raw());
        Self { aead: key.aead(), key: bytes, iv: Zeroizing::new(*key.iv()), sequence }
    }

    /// The AEAD.
    #[must_use]
    pub fn aead(&self) -> Aead {
        self.aead
    }

    /// The key: 16 or 32 bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key[..self.aead.key_len()]
    }

    /// The write IV of RFC 8446 §7.3, from which each record's nonce is made.
    #[must_use]
    pub fn iv(&self) -> &[u8; 12] {
        &self.iv
    }

    /// Sequence number of the next record.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl fmt::Debug for SealingKey {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("aead", &self.aead).finish_non_exhaustive()
    }
}
