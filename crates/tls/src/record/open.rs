//! The receiving half.

use super::cipher::{AdditionalData, Start, TrafficKey};
use super::{
    EXPLICIT_NONCE, HEADER, PLAINTEXT_MAX, RECORD_MAX, RecordError, TAG, Version, content_type, key_update,
};
use crate::alert;

/// The extent of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The record has not arrived whole.
    Incomplete {
        /// Bytes of the whole record, or of its header while that is not complete.
        need: usize,
    },
    /// All of it: this many bytes from the start.
    Whole(usize),
}

/// The content of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// Application data, at least one byte, where the ciphertext was.
    Data(&'a mut [u8]),
    /// Nothing for the caller: an empty record, a KeyUpdate without a request, or an alert without
    /// effect.
    Nothing,
    /// The peer changed its key and wants us to change ours: answer with
    /// [`Records::seal_key_update`](super::Records::seal_key_update) before the next data.
    KeyUpdateRequested,
    /// The peer will send nothing more. Later bytes must be ignored (RFC 8446 §6.1).
    CloseNotify,
    /// The peer gives up; [`Alert::name`](crate::Alert::name) names the code. Nothing may be sent
    /// in answer.
    Alert(u8),
}

/// See [`Records::frame`](super::Records::frame).
pub(super) fn frame(version: Version, bytes: &[u8]) -> Result<Frame, RecordError> {
    let Some(&header) = bytes.first_chunk::<HEADER>() else {
        return Ok(Frame::Incomplete { need: HEADER });
    };
    let [content_type, major, minor, high, low] = header;
    match (version, content_type) {
        // RFC 8446 §5.2: a protected record is application_data on the outside. An alert in the
        // clear or a change_cipher_spec is not acceptable after the handshake.
        (Version::Tls13, content_type::APPLICATION_DATA) => {}
        (Version::Tls12, content_type::ALERT | content_type::HANDSHAKE | content_type::APPLICATION_DATA) => {}
        _ => return Err(RecordError::UnexpectedType(content_type)),
    }
    if [major, minor] != [3, 3] {
        return Err(RecordError::BadVersion([major, minor]));
    }
    let total = HEADER + usize::from(u16::from_be_bytes([high, low]));
    if total > RECORD_MAX {
        return Err(RecordError::TooLong);
    }
    if bytes.len() < total { Ok(Frame::Incomplete { need: total }) } else { Ok(Frame::Whole(total)) }
}

pub(super) struct Receiving {
    version: Version,
    /// `None` once nothing more will be opened.
    key: Option<TrafficKey>,
    /// The sequence number of the next record.
    seq: u64,
    /// Records since the last data that carried nothing.
    empty: u8,
    /// KeyUpdates since the last data.
    key_updates: u8,
    fragment: Fragment,
}

impl Receiving {
    /// Returns a half without a key, which [`begin`](Self::begin) puts there.
    pub(super) fn blank(version: Version) -> Self {
        Self { version, key: None, seq: 0, empty: 0, key_updates: 0, fragment: Fragment::default() }
    }

    pub(super) fn begin(&mut self, start: &Start<'_>) -> Result<(), RecordError> {
        self.seq = start.seq;
        self.key.insert(TrafficKey::blank(start.aead)).begin(start)
    }

    pub(super) fn close(&mut self) {
        self.key = None;
    }

    pub(super) fn fold_key(&mut self) {
        if let Some(key) = &mut self.key {
            key.fold();
        }
    }

    /// Returns whether the next record is the first under its key.
    pub(super) fn is_fresh(&self) -> bool {
        self.seq == 0
    }

    #[cfg(test)]
    pub(super) fn is_folded(&self) -> bool {
        self.key.as_ref().is_some_and(TrafficKey::is_folded)
    }

    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<Opened<'a>, RecordError> {
        let (content_type, plain) = self.decrypt(record)?;
        // RFC 8446 §5.1: nothing comes between the fragments of a message.
        if content_type != content_type::HANDSHAKE && self.fragment.len > 0 {
            return Err(RecordError::UnexpectedType(content_type));
        }
        match content_type {
            content_type::APPLICATION_DATA if plain.is_empty() => self.nothing(),
            content_type::APPLICATION_DATA => {
                self.empty = 0;
                self.key_updates = 0;
                Ok(Opened::Data(plain))
            }
            content_type::ALERT => self.on_alert(plain),
            content_type::HANDSHAKE => self.on_handshake(plain),
            other => Err(RecordError::UnexpectedType(other)),
        }
    }

    /// Decrypts in place; returns the content type and the plaintext without its padding.
    fn decrypt<'a>(&mut self, record: &'a mut [u8]) -> Result<(u8, &'a mut [u8]), RecordError> {
        let key = self.key.as_mut().ok_or(RecordError::Closed)?;
        match frame(self.version, record)? {
            Frame::Whole(total) if total == record.len() => {}
            Frame::Whole(_) | Frame::Incomplete { .. } => return Err(RecordError::Misframed),
        }
        let next = self.seq.checked_add(1).ok_or(RecordError::KeyExhausted)?;

        let Some((&mut header, body)) = record.split_first_chunk_mut::<HEADER>() else {
            return Err(RecordError::Misframed);
        };
        let explicit = key.aead().explicit_nonce(self.version);
        // Too short to hold what every record holds. RFC 8446 §5.2 and RFC 5246 §7.2.2 know only
        // bad_record_mac for it.
        let Some(plain_len) = body.len().checked_sub(explicit + TAG) else {
            return Err(RecordError::BadMac);
        };
        let (sent_nonce, body) = body.split_at_mut(explicit);
        let nonce = match sent_nonce.first_chunk::<EXPLICIT_NONCE>() {
            Some(sent) => key.nonce_with(sent),
            None => key.nonce(self.seq),
        };
        // `frame` bounds the record, so the length fits.
        let aad = AdditionalData::new(self.version, self.seq, header, plain_len as u16);
        let len = key.open(nonce, aad, body)?;
        self.seq = next;

        let (content_type, len) = match self.version {
            Version::Tls12 => (header[0], len),
            Version::Tls13 => strip_padding(&body[..len])?,
        };
        if len > PLAINTEXT_MAX {
            return Err(RecordError::TooLong);
        }
        Ok((content_type, &mut body[..len]))
    }

    fn on_alert(&mut self, plain: &[u8]) -> Result<Opened<'static>, RecordError> {
        // RFC 8446 §5.1: an alert is neither fragmented nor coalesced.
        let &[level, code] = plain else {
            return Err(if plain.is_empty() { RecordError::Empty } else { RecordError::Malformed });
        };
        match (self.version, level, code) {
            (_, _, alert::CLOSE_NOTIFY) => Ok(Opened::CloseNotify),
            // RFC 8446 §6: the level can be ignored; all that is not a close is an error, except
            // user_canceled, which announces a close.
            (Version::Tls13, _, alert::USER_CANCELED) | (Version::Tls12, alert::WARNING, _) => self.nothing(),
            (Version::Tls13, _, _) | (Version::Tls12, alert::FATAL, _) => Ok(Opened::Alert(code)),
            (Version::Tls12, _, _) => Err(RecordError::IllegalValue),
        }
    }

    fn on_handshake(&mut self, plain: &[u8]) -> Result<Opened<'static>, RecordError> {
        if self.version == Version::Tls12 {
            return Err(RecordError::Renegotiation);
        }
        // A server that asks for no certificate after the handshake can only be sent a KeyUpdate.
        let Some(message) = self.fragment.push(plain)? else {
            return Ok(Opened::Nothing);
        };
        let answer = match message {
            [_, 0, 0, 1, key_update::NOT_REQUESTED] => Opened::Nothing,
            [_, 0, 0, 1, key_update::REQUESTED] => Opened::KeyUpdateRequested,
            _ => return Err(RecordError::IllegalValue),
        };
        if self.key_updates >= IN_A_ROW_MAX {
            return Err(RecordError::TooManyKeyUpdates);
        }
        self.key_updates += 1;
        self.key.as_mut().ok_or(RecordError::Closed)?.step()?;
        self.seq = 0;
        Ok(answer)
    }

    /// Counts a record that carries nothing: it costs us a decryption, and the peer hardly
    /// anything.
    fn nothing(&mut self) -> Result<Opened<'static>, RecordError> {
        if self.empty >= IN_A_ROW_MAX {
            return Err(RecordError::TooManyEmpty);
        }
        self.empty += 1;
        Ok(Opened::Nothing)
    }
}

/// The start of a KeyUpdate: RFC 8446 §5.1 lets a peer cut even five bytes into several records.
#[derive(Default)]
struct Fragment {
    bytes: [u8; key_update::LEN],
    len: usize,
}

impl Fragment {
    /// Adds the content of a record; returns the message once it is whole.
    fn push(&mut self, plain: &[u8]) -> Result<Option<[u8; key_update::LEN]>, RecordError> {
        // RFC 8446 §5.1: a fragment of a handshake message is never empty.
        if plain.is_empty() {
            return Err(RecordError::Empty);
        }
        let taken = plain.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&plain[..taken]);
        self.len += taken;
        if self.bytes[0] != key_update::TYPE {
            return Err(RecordError::UnexpectedHandshake(self.bytes[0]));
        }
        // A wrong length is refused at once; the rest of a long message is not waited for.
        if !self.bytes[1..self.len.clamp(1, 4)].iter().zip([0, 0, 1]).all(|(have, want)| *have == want) {
            return Err(RecordError::Malformed);
        }
        if self.len < self.bytes.len() {
            return Ok(None);
        }
        if taken < plain.len() {
            return Err(RecordError::KeyUpdateNotLast);
        }
        self.len = 0;
        Ok(Some(self.bytes))
    }
}

/// Returns the content type and the length of the content. Zeros at the end are padding, and the
/// byte before them is the content type (RFC 8446 §5.4).
fn strip_padding(inner: &[u8]) -> Result<(u8, usize), RecordError> {
    // RFC 8446 §5.4: padding must not push the inner plaintext past 2^14 + 1.
    if inner.len() > PLAINTEXT_MAX + 1 {
        return Err(RecordError::TooLong);
    }
    match inner.iter().rposition(|byte| *byte != 0) {
        Some(at) => Ok((inner[at], at)),
        None => Err(RecordError::Empty),
    }
}

/// Records without data that are accepted in a row, and KeyUpdates in a row.
const IN_A_ROW_MAX: u8 = 32;
