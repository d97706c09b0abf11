//! TLS 1.3 traffic secrets, from which keys are derived, and the next secrets (RFC 8446 §7).

use super::{Aead, RecordError};
use aws_lc_rs::hkdf::{self, KeyType, Prk};
use zeroize::Zeroizing;

/// An application_traffic_secret_N. `Debug` is left out on purpose.
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

    /// Fails when `bytes` has not the length of the hash that goes with `aead`.
    pub(crate) fn new(aead: Aead, bytes: &[u8]) -> Result<Self, RecordError> {
        // RFC 8446 §B.4.
        let hash = match aead {
            Aead::Aes128Gcm | Aead::ChaCha20Poly1305 => Hash::Sha256,
            Aead::Aes256Gcm => Hash::Sha384,
        };
        let mut secret = Self { bytes: Zeroizing::new([0; Self::MAX]), hash };
        if bytes.len() != hash.len() {
            return Err(RecordError::Crypto);
        }
        secret.bytes[..bytes.len()].copy_from_slice(bytes);
        Ok(secret)
    }

    /// The secret that follows this one (RFC 8446 §7.2).
    pub(crate) fn next(&self) -> Result<Self, RecordError> {
        let mut next = Self { bytes: Zeroizing::new([0; Self::MAX]), hash: self.hash };
        self.expand(b"traffic upd", &mut next.bytes[..self.hash.len()])?;
        Ok(next)
    }

    /// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
    pub(crate) fn expand(&self, label: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
        let algorithm = match self.hash {
            Hash::Sha256 => hkdf::HKDF_SHA256,
            Hash::Sha384 => hkdf::HKDF_SHA384,
        };
        let prk = Prk::new_less_safe(algorithm, &self.bytes[..self.hash.len()]);
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
