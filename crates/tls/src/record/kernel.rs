//! The key material that a kernel needs to seal.

use super::cipher::{Aead, KEY_MAX, TrafficKey};
use super::expanded::NONCE_LEN;
use std::fmt;
use zeroize::Zeroizing;

/// A sending key on its way to the kernel; wiped when it is dropped, and never moved.
///
/// The kernel's records continue where ours ended: same key, next sequence number. This is safe
/// because nothing is sealed on our side until it is known that the kernel has refused.
pub struct SealingKey {
    aead: Aead,
    sequence: u64,
    material: Box<Material>,
}

struct Material {
    /// The first [`Aead::key_len`] bytes are the key.
    key: Zeroizing<[u8; KEY_MAX]>,
    iv: Zeroizing<[u8; NONCE_LEN]>,
}

impl SealingKey {
    pub(super) fn new(key: &TrafficKey, sequence: u64) -> Self {
        let (blank, iv) = (Zeroizing::new([0; KEY_MAX]), Zeroizing::new([0; NONCE_LEN]));
        let mut material = Box::new(Material { key: blank, iv });
        material.key[..key.raw().len()].copy_from_slice(key.raw());
        material.iv.copy_from_slice(key.iv());
        Self { aead: key.aead(), sequence, material }
    }

    /// Returns the AEAD.
    #[must_use]
    pub fn aead(&self) -> Aead {
        self.aead
    }

    /// Returns the key, 16 or 32 bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.material.key[..self.aead.key_len()]
    }

    /// Returns the write IV (RFC 8446 §7.3), from which each record's nonce is made.
    #[must_use]
    pub fn iv(&self) -> &[u8; NONCE_LEN] {
        &self.material.iv
    }

    /// Returns the sequence number of the next record.
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
