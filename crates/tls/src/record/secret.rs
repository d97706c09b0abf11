//! TLS 1.3 traffic secrets, from which keys are derived, and the next secrets (RFC 8446 §7).

use super::{Aead, RecordError};
use aws_lc_rs::hkdf::{self, KeyType, Prk};
use zeroize::Zeroizing;

/// An application_traffic_secret_N, or a place for one. `Debug` is left out on purpose.
///
/// It is written where it will stay, because a move would leave a copy behind.
pub(crate) struct Secret {
    bytes: Zeroizing<[u8; Secret::MAX]>,
    hash: Hash,
}

/// The hash of a cipher suite.
#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
}

impl Secret {
    /// Bytes of the longest secret, that of SHA-384.
    pub(crate) const MAX: usize = 48;

    /// Returns a place for a secret of the hash that goes with `aead`.
    pub(crate) fn blank(aead: Aead) -> Self {
        // RFC 8446 §B.4.
        let hash = match aead {
            Aead::Aes128Gcm | Aead::ChaCha20Poly1305 => Hash::Sha256,
            Aead::Aes256Gcm => Hash::Sha384,
        };
        Self { bytes: Zeroizing::new([0; Self::MAX]), hash }
    }

    /// Sets the secret. Fails when `bytes` has not the length of the hash.
    pub(crate) fn set(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        if bytes.len() != self.hash.len() {
            return Err(RecordError::Crypto);
        }
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.hash.len()]
    }

    /// Puts the secret that follows this one (RFC 8446 §7.2) in its place.
    pub(crate) fn step(&mut self) -> Result<(), RecordError> {
        let mut next = Zeroizing::new([0; Self::MAX]);
        let next = &mut next[..self.hash.len()];
        self.expand(b"traffic upd", next)?;
        self.set(next)
    }

    /// HKDF-Expand-Label with an empty context (RFC 8446 §7.1). The library leaves copies of this
    /// secret on the stack.
    pub(crate) fn expand(&self, label: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
        let algorithm = match self.hash {
            Hash::Sha256 => hkdf::HKDF_SHA256,
            Hash::Sha384 => hkdf::HKDF_SHA384,
        };
        let prk = Prk::new_less_safe(algorithm, self.bytes());
        // Lengths here are those of keys and labels: a few dozen.
        let len = (out.len() as u16).to_be_bytes();
        let label_len = [(PREFIX.len() + label.len()) as u8];
        let info = [&len[..], &label_len, PREFIX, label, &[0]];
        let okm = prk.expand(&info, Len(out.len())).map_err(|_| RecordError::Crypto)?;
        okm.fill(out).map_err(|_| RecordError::Crypto)
    }
}

impl Hash {
    fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

/// Before every label (RFC 8446 §7.1).
const PREFIX: &[u8] = b"tls13 ";

/// Bytes to derive.
struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}
