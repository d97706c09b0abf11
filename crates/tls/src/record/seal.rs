//! The sending half.
//!
//! This is the half that a kernel can take over ([`kernel`](super::kernel)). It needs the version,
//! the key and the next sequence number, all of which live here and nowhere else.

use super::cipher::{AdditionalData, Start, TrafficKey, suffix};
use super::kernel::SealingKey;
use super::{EXPLICIT_NONCE, HEADER, PLAINTEXT_MAX, RecordError, Version, content_type, key_update};
use crate::alert::Alert;

pub(super) struct Sending {
    version: Version,
    /// `None` once an alert went out: nothing may follow it (RFC 8446 §6).
    key: Option<TrafficKey>,
    holder: KeyHolder,
    /// The sequence number of the next record; where the kernel seals, a bound from above.
    seq: u64,
    prefix: usize,
    /// Records that one key may seal, should that be fewer than its AEAD allows.
    seals_max: u64,
    /// Bytes of data that are still to be sent in small records.
    early: usize,
}

/// The side that seals the next record, as long as there is a key. The key is not in here, as it
/// would be moved with each change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyHolder {
    User,
    /// The kernel has been given the key and has not answered.
    Offered,
    /// The kernel has this key; the one behind it may still be needed.
    Kernel,
}

impl Sending {
    /// Returns a half without a key, which [`begin`](Self::begin) puts there.
    pub(super) fn blank(version: Version) -> Self {
        let (key, holder) = (None, KeyHolder::User);
        Self { version, key, holder, seq: 0, prefix: HEADER, seals_max: u64::MAX, early: EARLY }
    }

    pub(super) fn begin(&mut self, start: &Start<'_>) -> Result<(), RecordError> {
        self.prefix = HEADER + start.aead.explicit_nonce(self.version);
        self.seq = start.seq;
        self.key.insert(TrafficKey::blank(start.aead)).begin(start)
    }

    fn close(&mut self) {
        (self.key, self.holder) = (None, KeyHolder::User);
    }

    pub(super) fn limit_seals(&mut self, max: u64) {
        self.seals_max = max;
    }

    pub(super) fn restart_small_records(&mut self) {
        self.early = EARLY;
    }

    pub(super) fn size_hint(&self) -> usize {
        if self.early > 0 { SMALL_RECORD - self.prefix - self.suffix() } else { PLAINTEXT_MAX }
    }

    pub(super) fn fold_key(&mut self) {
        if let Some(key) = &mut self.key {
            key.fold();
        }
    }

    #[cfg(test)]
    pub(super) fn is_folded(&self) -> bool {
        self.key.as_ref().is_some_and(TrafficKey::is_folded)
    }

    pub(super) fn prefix(&self) -> usize {
        self.prefix
    }

    pub(super) fn suffix(&self) -> usize {
        match self.holder {
            KeyHolder::Kernel => 0,
            KeyHolder::User | KeyHolder::Offered => suffix(self.version),
        }
    }

    pub(super) fn left(&self) -> u64 {
        let Some(key) = &self.key else { return 0 };
        let limit = key.aead().confidentiality_limit().min(self.seals_max) - RESERVED;
        limit.saturating_sub(self.seq)
    }

    fn is_spent(&self) -> bool {
        self.holder == KeyHolder::User && self.key.is_some() && self.left() == 0
    }

    pub(super) fn seal_data_in_place(&mut self, record: &mut [u8], len: usize) -> Result<usize, RecordError> {
        if self.is_spent() {
            return Err(RecordError::KeyExhausted);
        }
        self.seal(content_type::APPLICATION_DATA, None, len, record)
    }

    pub(super) fn seal_data(&mut self, plain: &[u8], record: &mut [u8]) -> Result<usize, RecordError> {
        if self.is_spent() {
            return Err(RecordError::KeyExhausted);
        }
        self.seal(content_type::APPLICATION_DATA, Some(plain), plain.len(), record)
    }

    pub(super) fn seal_alert(&mut self, alert: Alert, record: &mut [u8]) -> Result<usize, RecordError> {
        let message = alert.encode();
        let len = self.seal(content_type::ALERT, Some(&message), message.len(), record)?;
        if alert != Alert::NoRenegotiation {
            self.close();
        }
        Ok(len)
    }

    pub(super) fn seal_key_update(&mut self, record: &mut [u8]) -> Result<usize, RecordError> {
        let len = self.seal(content_type::HANDSHAKE, Some(&KEY_UPDATE), KEY_UPDATE.len(), record)?;
        self.step()?;
        Ok(len)
    }

    /// Goes on with the next key. The old one is gone, also when the next one cannot be derived.
    pub(super) fn step(&mut self) -> Result<(), RecordError> {
        let (KeyHolder::User, Some(key)) = (self.holder, &mut self.key) else {
            return Err(RecordError::Closed);
        };
        let stepped = key.step();
        self.seq = 0;
        if stepped.is_err() {
            self.close();
        }
        stepped
    }

    // Sealing by the kernel.

    pub(super) fn is_sealed_by_kernel(&self) -> bool {
        self.holder == KeyHolder::Kernel
    }

    pub(super) fn offer_key(&mut self) -> Result<SealingKey, RecordError> {
        if self.version == Version::Tls12 {
            return Err(RecordError::NotInThisVersion);
        }
        let (KeyHolder::User, Some(key)) = (self.holder, &self.key) else {
            return Err(RecordError::Closed);
        };
        self.holder = KeyHolder::Offered;
        Ok(SealingKey::new(key, self.seq))
    }

    pub(super) fn key_taken(&mut self, taken: bool) {
        if self.holder != KeyHolder::Offered {
            return;
        }
        self.holder = if taken { KeyHolder::Kernel } else { KeyHolder::User };
        if taken {
            self.fold_key();
            self.prefix = 0;
        }
    }

    pub(super) fn count_kernel_send(&mut self, len: usize) {
        if self.is_sealed_by_kernel() {
            // Each call ends a record, and may have had to end another one before.
            self.seq = self.seq.saturating_add(len.div_ceil(PLAINTEXT_MAX) as u64 + 1);
        }
    }

    pub(super) fn kernel_alert(&mut self, alert: Alert) -> Result<[u8; 2], RecordError> {
        if !self.is_sealed_by_kernel() {
            return Err(RecordError::Closed);
        }
        self.close();
        Ok(alert.encode())
    }

    pub(super) fn kernel_key_update(&mut self) -> Result<([u8; key_update::LEN], SealingKey), RecordError> {
        let (KeyHolder::Kernel, Some(key)) = (self.holder, &mut self.key) else {
            return Err(RecordError::Closed);
        };
        self.seq = 0;
        if let Err(error) = key.step() {
            self.close();
            return Err(error);
        }
        Ok((KEY_UPDATE, SealingKey::new(key, 0)))
    }

    /// Seals a record of any type.
    pub(super) fn seal_as(
        &mut self,
        content_type: u8,
        plain: &[u8],
        record: &mut [u8],
    ) -> Result<usize, RecordError> {
        self.seal(content_type, Some(plain), plain.len(), record)
    }

    /// Seals `plain`, or the plaintext in place, as one record.
    fn seal(
        &mut self,
        content_type: u8,
        plain: Option<&[u8]>,
        len: usize,
        record: &mut [u8],
    ) -> Result<usize, RecordError> {
        let (KeyHolder::User, Some(key)) = (self.holder, &mut self.key) else {
            return Err(RecordError::Closed);
        };
        if self.seq >= key.aead().confidentiality_limit() {
            return Err(RecordError::KeyExhausted);
        }
        if len > PLAINTEXT_MAX {
            return Err(RecordError::PlaintextTooLong);
        }
        let total = self.prefix + len + suffix(self.version);
        let record = record.get_mut(..total).ok_or(RecordError::BufferTooSmall { need: total })?;

        let (head, sealed) = record.split_at_mut(self.prefix);
        let (outer_type, inner_type): (u8, &[u8]) = match self.version {
            // RFC 8446 §5.2: the real type is encrypted, every record looks like data.
            Version::Tls13 => (content_type::APPLICATION_DATA, &[content_type]),
            Version::Tls12 => (content_type, &[]),
        };
        // `total` is at most SEALED_MAX, which fits by the assertion beside it.
        let [high, low] = ((total - HEADER) as u16).to_be_bytes();
        let header = [outer_type, 3, 3, high, low];
        let nonce = key.nonce(self.seq);
        let aad = AdditionalData::new(self.version, self.seq, header, len as u16);

        head[..HEADER].copy_from_slice(&header);
        if head.len() > HEADER {
            head[HEADER..].copy_from_slice(&nonce[nonce.len() - EXPLICIT_NONCE..]);
        }
        if let Err(error) = key.seal(nonce, aad, plain, sealed, inner_type) {
            // Ciphertext may have been written, so this nonce must not be used for anything else.
            self.close();
            return Err(error);
        }
        self.seq += 1;
        self.early = self.early.saturating_sub(len);
        Ok(total)
    }
}

/// Seals kept back from data, so that a KeyUpdate or an alert is still possible when data is not.
const RESERVED: u64 = 2;

/// [`Records::limit_seals`](super::Records::limit_seals) sets no lower limit than this.
pub(super) const SEALS_MIN: u64 = 2 * RESERVED;

/// Bytes of a small record, header and tag included: it fits into one segment of TCP on any path
/// that is usual (1500 bytes less the headers of IPv6, TCP with timestamps, and of a tunnel), so
/// that the peer can read it when that has arrived.
const SMALL_RECORD: usize = 1400;

/// Bytes of data that go in small records after a pause: while TCP finds out about the path, every
/// segment counts. Behind that, full records cost less.
const EARLY: usize = 64 << 10;

/// A KeyUpdate that asks for nothing: type, length, update_not_requested.
const KEY_UPDATE: [u8; key_update::LEN] = [key_update::TYPE, 0, 0, 1, key_update::NOT_REQUESTED];
