//! One traffic key: nonces and additional data.

use super::expanded::{Expanded, NONCE_LEN};
use super::secret::Secret;
use super::{EXPLICIT_NONCE, HEADER, RecordError, TAG, Version};
use zeroize::Zeroizing;

/// The AEADs of every cipher suite that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Aead {
    /// Returns the bytes of the nonce that each record carries (RFC 5288 §3); 0 in RFC 7905 and RFC
    /// 8446.
    pub(crate) fn explicit_nonce(self, version: Version) -> usize {
        match (version, self) {
            (Version::Tls12, Self::Aes128Gcm | Self::Aes256Gcm) => EXPLICIT_NONCE,
            (Version::Tls12, Self::ChaCha20Poly1305) | (Version::Tls13, _) => 0,
        }
    }

    /// Returns the records that one key may seal. RFC 8446 §5.5 allows AES-GCM 2^24.5 full records;
    /// the limit here is 2^23, which costs a KeyUpdate every 128 GiB. ChaCha20-Poly1305 is limited
    /// by the sequence number alone.
    pub(crate) fn confidentiality_limit(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 23,
            Self::ChaCha20Poly1305 => u64::MAX,
        }
    }

    /// Returns the bytes of its key, at most [`KEY_MAX`].
    pub(crate) fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

/// The key of one direction at the end of the handshake, borrowed from where it lies.
pub(crate) struct Start<'a> {
    /// The next sequence number.
    pub(crate) seq: u64,
    pub(crate) aead: Aead,
    pub(crate) key: &'a [u8],
    pub(crate) iv: &'a [u8],
    /// In TLS 1.3, the secret that key and IV must come from.
    pub(crate) secret: Option<&'a [u8]>,
}

/// A key and its IV, and in TLS 1.3 the secret behind them, or a place for these. `Debug` is left
/// out on purpose.
///
/// All of it is written where it will stay, and wiped there, because a move would leave a copy
/// behind.
///
/// The expanded key, with which an AEAD computes, takes five times the memory of the rest. It is
/// made when the first record needs it, and can be [dropped](Self::fold) while a connection is
/// idle.
pub(crate) struct TrafficKey {
    aead: Aead,
    /// The first [`Aead::key_len`] bytes are the key.
    key: Zeroizing<[u8; KEY_MAX]>,
    iv: Zeroizing<[u8; NONCE_LEN]>,
    expanded: Option<Expanded>,
    /// `None`: TLS 1.2, where no other key follows.
    secret: Option<Secret>,
}

/// Bytes of the longest key.
pub(crate) const KEY_MAX: usize = 32;

impl TrafficKey {
    /// Returns a place for a key.
    pub(crate) fn blank(aead: Aead) -> Self {
        let (key, iv) = (Zeroizing::new([0; KEY_MAX]), Zeroizing::new([0; NONCE_LEN]));
        Self { aead, key, iv, expanded: None, secret: None }
    }

    /// Sets the key. Fails when a length is wrong, and when the key does not come from the secret.
    pub(crate) fn begin(&mut self, start: &Start<'_>) -> Result<(), RecordError> {
        match start.secret {
            Some(secret) => {
                self.derive_from(secret)?;
                if self.raw() == start.key && self.iv[..] == *start.iv {
                    Ok(())
                } else {
                    Err(RecordError::Crypto)
                }
            }
            None => self.set(start.key, start.iv),
        }
    }

    /// Sets key and IV. Fails when a length is wrong.
    pub(crate) fn set(&mut self, key: &[u8], iv: &[u8]) -> Result<(), RecordError> {
        if key.len() != self.aead.key_len() || iv.len() != NONCE_LEN {
            return Err(RecordError::Crypto);
        }
        self.key[..key.len()].copy_from_slice(key);
        self.iv.copy_from_slice(iv);
        Ok(())
    }

    /// Derives the key of a TLS 1.3 traffic secret (RFC 8446 §7.3).
    pub(crate) fn derive_from(&mut self, secret: &[u8]) -> Result<(), RecordError> {
        self.secret.insert(Secret::blank(self.aead)).set(secret)?;
        self.derive()
    }

    /// Goes on with the key that follows this one in a KeyUpdate. After an error there is no key.
    pub(crate) fn step(&mut self) -> Result<(), RecordError> {
        self.secret.as_mut().ok_or(RecordError::NotInThisVersion)?.step()?;
        self.derive()
    }

    fn derive(&mut self) -> Result<(), RecordError> {
        self.expanded = None;
        let secret = self.secret.as_ref().ok_or(RecordError::NotInThisVersion)?;
        secret.expand(b"key", &mut self.key[..self.aead.key_len()])?;
        secret.expand(b"iv", &mut self.iv[..])
    }

    /// Lends this key out, for another one to begin with.
    pub(crate) fn start(&self, seq: u64) -> Start<'_> {
        let secret = self.secret.as_ref().map(Secret::bytes);
        Start { seq, aead: self.aead, key: self.raw(), iv: &self.iv[..], secret }
    }

    /// Drops the expanded key, which the next record makes again.
    pub(crate) fn fold(&mut self) {
        self.expanded = None;
    }

    /// Returns whether there is no expanded key.
    #[cfg(test)]
    pub(crate) fn is_folded(&self) -> bool {
        self.expanded.is_none()
    }

    fn expanded(&mut self) -> Result<&Expanded, RecordError> {
        if self.expanded.is_none() {
            self.expand()?;
        }
        self.expanded.as_ref().ok_or(RecordError::Crypto)
    }

    #[cold]
    fn expand(&mut self) -> Result<(), RecordError> {
        self.expanded = Some(Expanded::new(self.aead, self.raw())?);
        Ok(())
    }

    /// Returns the key as it was derived, for a kernel that takes over.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.key[..self.aead.key_len()]
    }

    pub(crate) fn iv(&self) -> &[u8; NONCE_LEN] {
        &self.iv
    }

    pub(crate) fn aead(&self) -> Aead {
        self.aead
    }

    /// Returns the nonce of record `seq` (RFC 8446 §5.3, RFC 7905 §2). For TLS 1.2 AES-GCM, RFC
    /// 5288 leaves the explicit part to the sender. This construction never repeats, and continues
    /// that of the handshake under the same key.
    pub(crate) fn nonce(&self, seq: u64) -> [u8; NONCE_LEN] {
        let mut nonce = *self.iv;
        for (byte, seq) in nonce[NONCE_LEN - 8..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= seq;
        }
        nonce
    }

    /// Returns the nonce of a TLS 1.2 AES-GCM record, whose second part the peer chose and sent
    /// along.
    pub(crate) fn nonce_with(&self, explicit: &[u8; EXPLICIT_NONCE]) -> [u8; NONCE_LEN] {
        let mut nonce = *self.iv;
        nonce[NONCE_LEN - EXPLICIT_NONCE..].copy_from_slice(explicit);
        nonce
    }

    /// Decrypts `body`, ciphertext and tag, in place; the plaintext is its first `body.len() - TAG`
    /// bytes.
    pub(crate) fn open(
        &mut self,
        nonce: [u8; NONCE_LEN],
        aad: AdditionalData,
        body: &mut [u8],
    ) -> Result<usize, RecordError> {
        self.expanded()?.open(nonce, aad, body)
    }

    /// Encrypts, into `sealed`, its own beginning, or `plain`, and `extra` behind it; then comes
    /// the tag, and that is all of `sealed`.
    pub(crate) fn seal(
        &mut self,
        nonce: [u8; NONCE_LEN],
        aad: AdditionalData,
        plain: Option<&[u8]>,
        sealed: &mut [u8],
        extra: &[u8],
    ) -> Result<(), RecordError> {
        self.expanded()?.seal(nonce, aad, plain, sealed, extra)
    }
}

/// The additional data of a record, which is authenticated besides the plaintext.
pub(crate) struct AdditionalData {
    bytes: [u8; 13],
    len: usize,
}

impl AdditionalData {
    /// Returns the header as it is on the wire (RFC 8446 §5.2), or the sequence number and the
    /// header with the length of the plaintext (RFC 5246 §6.2.3.3).
    pub(crate) fn new(version: Version, seq: u64, header: [u8; HEADER], plain_len: u16) -> Self {
        let mut bytes = [0; 13];
        match version {
            Version::Tls13 => {
                bytes[..HEADER].copy_from_slice(&header);
                Self { bytes, len: HEADER }
            }
            Version::Tls12 => {
                bytes[..8].copy_from_slice(&seq.to_be_bytes());
                bytes[8..11].copy_from_slice(&header[..3]);
                bytes[11..].copy_from_slice(&plain_len.to_be_bytes());
                Self { bytes, len: 13 }
            }
        }
    }
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the bytes behind the ciphertext of the caller's plaintext: the tag, and in TLS 1.3 the
/// inner content type before it.
pub(crate) const fn suffix(version: Version) -> usize {
    match version {
        Version::Tls12 => TAG,
        Version::Tls13 => 1 + TAG,
    }
}
