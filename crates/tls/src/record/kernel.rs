//! What a kernel must know to seal in this place.

use super::cipher::{Aead, KEY_MAX, TrafficKey};
use std::fmt;
use zeroize::Zeroize;

/// The AEAD of a cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// A sending key on its way to the kernel; wiped when it is dropped.
///
/// The kernel's records continue where ours ended: same key, next sequence number. That is safe because the other side of the
/// offer seals nothing until it knows that the kernel has refused.
pub struct SealingKey {
    cipher: Cipher,
    raw: [u8; KEY_MAX],
    len: usize,
    iv: [u8; 12],
    sequence: u64,
}

impl SealingKey {
    pub(super) fn new(key: &TrafficKey, sequence: u64) -> Self {
        let cipher = match key.aead() {
            Aead::Aes128Gcm => Cipher::Aes128Gcm,
            Aead::Aes256Gcm => Cipher::Aes256Gcm,
            Aead::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
        };
        let mut raw = [0; KEY_MAX];
        let len = key.raw().len();
        raw[..len].copy_from_slice(key.raw());
        Self { cipher, raw, len, iv: *key.iv(), sequence }
    }

    /// The AEAD.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The key: 16 or 32 bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.raw[..self.len]
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

impl Drop for SealingKey {
    fn drop(&mut self) {
        self.raw.zeroize();
        self.iv.zeroize();
    }
}

impl fmt::Debug for SealingKey {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}
