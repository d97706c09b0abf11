//! The sending half.
//!
//! This is the half that a kernel could take over: it would need the version, the key and the next sequence number, all
//! of which live here and nowhere else.

use super::cipher::{AdditionalData, TrafficKey, suffix};
use super::{EXPLICIT_NONCE, HEADER, MAX_PLAINTEXT, RecordError, Version, content, key_update};
use crate::alert::Alert;
use crate::engine::KeySchedule;

pub(super) struct Sending {
    version: Version,
    /// `None` once an alert went out: nothing may follow it (RFC 8446 §6).
    key: Option<TrafficKey>,
    /// Of the next record.
    seq: u64,
    prefix: usize,
}

impl Sending {
    pub(super) fn new(version: Version, (seq, key): (u64, TrafficKey)) -> Self {
        let prefix = HEADER + key.aead().explicit_nonce(version);
        Self { version, key: Some(key), seq, prefix }
    }

    pub(super) fn prefix(&self) -> usize {
        self.prefix
    }

    pub(super) fn suffix(&self) -> usize {
        suffix(self.version)
    }

    pub(super) fn left(&self) -> u64 {
        self.key.as_ref().map_or(0, |key| data_limit(key).saturating_sub(self.seq))
    }

    pub(super) fn seal_data_in_place(&mut self, record: &mut [u8], len: usize) -> Result<usize, RecordError> {
        if self.key.is_some() && self.left() == 0 {
            return Err(RecordError::KeyExhausted);
        }
        self.seal(content::APPLICATION_DATA, None, len, record)
    }

    pub(super) fn seal_data(&mut self, plain: &[u8], record: &mut [u8]) -> Result<usize, RecordError> {
        if self.key.is_some() && self.left() == 0 {
            return Err(RecordError::KeyExhausted);
        }
        self.seal(content::APPLICATION_DATA, Some(plain), plain.len(), record)
    }

    pub(super) fn seal_alert(&mut self, alert: Alert, record: &mut [u8]) -> Result<usize, RecordError> {
        let message = alert.encode();
        let len = self.seal(content::ALERT, Some(&message), message.len(), record)?;
        self.key = None;
        Ok(len)
    }

    pub(super) fn seal_key_update(
        &mut self,
        schedule: &mut KeySchedule,
        record: &mut [u8],
    ) -> Result<usize, RecordError> {
        let message: [u8; key_update::LEN] = [key_update::TYPE, 0, 0, 1, key_update::NOT_REQUESTED];
        let len = self.seal(content::HANDSHAKE, Some(&message), message.len(), record)?;
        // The old key is spent from here on, also when the next one cannot be had.
        self.key = None;
        let (seq, key) = schedule.next_sending()?;
        (self.seq, self.key) = (seq, Some(key));
        Ok(len)
    }

    /// Seals `plain`, or what lies in place, as one record.
    fn seal(
        &mut self,
        content_type: u8,
        plain: Option<&[u8]>,
        len: usize,
        record: &mut [u8],
    ) -> Result<usize, RecordError> {
        let key = self.key.as_ref().ok_or(RecordError::Closed)?;
        if self.seq >= key.aead().confidentiality_limit() {
            return Err(RecordError::KeyExhausted);
        }
        if len > MAX_PLAINTEXT {
            return Err(RecordError::PlaintextTooLong);
        }
        let total = self.prefix + len + suffix(self.version);
        let record = record.get_mut(..total).ok_or(RecordError::BufferTooSmall { need: total })?;

        let (head, rest) = record.split_at_mut(self.prefix);
        let (body, tail) = rest.split_at_mut(len);
        let (outer_type, inner_type): (u8, &[u8]) = match self.version {
            // RFC 8446 §5.2: the real type is encrypted, every record looks like data.
            Version::Tls13 => (content::APPLICATION_DATA, &[content_type]),
            Version::Tls12 => (content_type, &[]),
        };
        // `total` is at most MAX_SEALED, which fits by the assertion beside it.
        let [high, low] = ((total - HEADER) as u16).to_be_bytes();
        let header = [outer_type, 3, 3, high, low];
        let nonce = key.nonce(self.seq);
        let aad = AdditionalData::new(self.version, self.seq, header, len as u16);

        head[..HEADER].copy_from_slice(&header);
        if head.len() > HEADER {
            head[HEADER..].copy_from_slice(&nonce[nonce.len() - EXPLICIT_NONCE..]);
        }
        if let Err(error) = key.seal(nonce, aad, plain, body, inner_type, tail) {
            // Ciphertext may have been written, so this nonce must not be used for anything else.
            self.key = None;
            return Err(error);
        }
        self.seq += 1;
        Ok(total)
    }
}

/// Seals kept back from data, so that a KeyUpdate or an alert is still possible when data is not.
const RESERVED: u64 = 2;

fn data_limit(key: &TrafficKey) -> u64 {
    key.aead().confidentiality_limit() - RESERVED
}
