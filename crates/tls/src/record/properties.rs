//! Properties of the record layer that hold for any input, stated once for fuzzing and for the
//! replay of its corpus.

#![allow(
    clippy::panic,
    reason = "a property that does not hold is reported by a panic; no server calls this"
)]

use super::{Aead, Frame, Opened, PLAINTEXT_MAX, RecordError, Records, SEALED_MAX, TrafficKey};
use super::{Version, content_type, key_update};
use std::collections::HashSet;

/// Takes any bytes as a conversation between two record layers, in which one peer also sends
/// records that it must not.
///
/// Data that one side seals, the other opens as the same data, whatever was sealed, refused or
/// changed before. A half that is over stays so, nothing costs more than its limits, and no nonce
/// of TLS 1.2 is sent twice.
///
/// # Panics
/// If one of these properties does not hold.
pub fn records(program: &[u8]) {
    let mut program = Program(program);
    let mut pair = Pair::new(program.byte());
    while let Some(step) = program.next() {
        pair.step(step, &mut program);
    }
}

/// The bytes that determine the conversation; zeros when they are used up.
struct Program<'p>(&'p [u8]);

impl<'p> Program<'p> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn bytes(&mut self) -> &'p [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    /// Returns data of any size that may be asked for, and a few bytes more; its content follows
    /// from the length.
    fn data(&mut self) -> Vec<u8> {
        let len = (usize::from(self.byte()) << 8 | usize::from(self.byte())) % (PLAINTEXT_MAX + 3);
        (0..len).map(|at| (at % 251) as u8).collect()
    }
}

struct Pair {
    version: Version,
    server: Records,
    peer: Records,
    nonces: HashSet<[u8; 8]>,
    /// The peer has sent its last record: a forbidden one, an alert, or an end.
    is_over: bool,
    /// Bytes of a message of which the peer has sent a part.
    midway: usize,
    /// Records since the last data that the server has opened.
    without_data: usize,
}

impl Pair {
    fn new(kind: u8) -> Self {
        let version = if kind & 1 == 0 { Version::Tls13 } else { Version::Tls12 };
        let aead = match kind >> 1 & 3 {
            0 => Aead::Aes128Gcm,
            1 => Aead::Aes256Gcm,
            _ => Aead::ChaCha20Poly1305,
        };
        let half = |fill: u8| {
            let secret = vec![fill; if aead == Aead::Aes256Gcm { 48 } else { 32 }];
            let mut key = TrafficKey::blank(aead);
            key.derive_from(&secret).expect("the length is right");
            key
        };
        let (client, server, seq) = (half(1), half(2), u64::from(kind >> 3));
        let records = |receiving: &TrafficKey, sending: &TrafficKey| {
            Records::new(version, &receiving.start(seq), &sending.start(seq)).expect("the keys are right")
        };
        Self {
            version,
            server: records(&client, &server),
            peer: records(&server, &client),
            nonces: HashSet::new(),
            is_over: false,
            midway: 0,
            without_data: 0,
        }
    }

    fn step(&mut self, step: u8, program: &mut Program<'_>) {
        match step % 8 {
            0 => self.wild(program.bytes()),
            1 => self.crafted(program.byte(), program.bytes()),
            2 => self.crafted(content_type::APPLICATION_DATA, &program.data()),
            3 => self.answer(&program.data(), step & 8 == 0),
            4 => self.key_update(program.byte()),
            5 => self.answer_key_update(),
            6 if step & 8 == 0 => self.server.drop_expanded_keys(),
            6 => self.peer.drop_expanded_keys(),
            _ => self.crafted(content_type::ALERT, &[program.byte(), program.byte()]),
        }
    }

    /// Bytes as they come: whatever they are, they do not authenticate.
    fn wild(&mut self, bytes: &[u8]) {
        if let Ok(Frame::Whole(len)) = self.server.frame(bytes) {
            assert!(len <= bytes.len(), "a record longer than what is there");
            assert!(self.server.open(&mut bytes[..len].to_vec()).is_err(), "a forged record");
            self.is_over = true;
        }
    }

    /// A record of any content type and content, under the right key.
    fn crafted(&mut self, content_type: u8, content: &[u8]) {
        let mut record = vec![0; SEALED_MAX];
        let Ok(len) = self.peer.0.sending.seal_as(content_type, content, &mut record) else {
            assert!(content.len() > PLAINTEXT_MAX, "a peer that cannot seal");
            return;
        };
        let inner = [content, &[content_type]].concat();
        // RFC 8446 §5.4: the type is the last byte that is not zero.
        let (content_type, content) = match self.version {
            Version::Tls12 => (content_type, content),
            Version::Tls13 => match inner.iter().rposition(|byte| *byte != 0) {
                Some(at) => (inner[at], &inner[..at]),
                None => (0, &[][..]),
            },
        };
        let is_data = content_type == content_type::APPLICATION_DATA && !content.is_empty();
        match self.server.open(&mut record[..len]) {
            Ok(Opened::Data(data)) => {
                assert!(is_data && data == content, "data that was not sent");
                assert!(!self.is_over && self.midway == 0, "data where there must be none");
                self.without_data = 0;
            }
            Ok(Opened::Nothing | Opened::KeyUpdateRequested) => {
                assert!(!self.is_over && !is_data, "data that was lost");
                self.without_data += 1;
                assert!(self.without_data <= WITHOUT_DATA_MAX, "records without end");
                let is_updated = self.server.0.receiving.is_fresh();
                let is_message = content_type == content_type::HANDSHAKE;
                let sent = if is_message { self.midway + content.len() } else { 0 };
                // RFC 8446 §5.1: nothing follows in the record after which the key changes.
                let is_whole = self.version == Version::Tls13 && sent >= key_update::LEN;
                assert_eq!(is_updated, is_whole, "a key that changed elsewhere than behind a message");
                assert!(!is_whole || sent == key_update::LEN, "bytes behind a key update");
                self.midway = if is_whole { 0 } else { sent };
                if is_updated {
                    self.peer.0.sending.step().expect("a key that follows");
                }
            }
            Ok(Opened::CloseNotify | Opened::Alert(_)) => {
                assert!(!self.is_over && content_type == content_type::ALERT, "an end that was not said");
                self.is_over = true;
            }
            Err(error) => {
                assert!(self.is_over || self.midway > 0 || !is_data, "refused data: {error}");
                assert!(!self.is_over || error == RecordError::Closed, "not closed: {error}");
                self.is_over = true;
            }
        }
    }

    fn key_update(&mut self, request: u8) {
        let message = [key_update::TYPE, 0, 0, 1, request & 1];
        // In one piece or in two.
        let cut = usize::from(request >> 1) % (message.len() + 1);
        for piece in [&message[..cut], &message[cut..]] {
            if !piece.is_empty() {
                self.crafted(content_type::HANDSHAKE, piece);
            }
        }
    }

    fn answer(&mut self, data: &[u8], in_place: bool) {
        let mut record = vec![0; SEALED_MAX + 1];
        let prefix = self.server.prefix();
        let sealed = if in_place {
            record.iter_mut().skip(prefix).zip(data).for_each(|(place, byte)| *place = *byte);
            self.server.seal_in_place(&mut record, data.len())
        } else {
            self.server.seal_from(data, &mut record)
        };
        match sealed {
            Ok(len) => {
                assert_eq!(len, prefix + data.len() + self.server.suffix());
                if prefix > super::HEADER {
                    let nonce = record.get(super::HEADER..prefix).and_then(|nonce| nonce.try_into().ok());
                    assert!(self.nonces.insert(nonce.expect("eight bytes")), "a nonce was sent twice");
                }
                match self.peer.open(&mut record[..len]) {
                    Ok(Opened::Data(opened)) => assert!(opened == data, "another answer"),
                    Ok(Opened::Nothing) | Err(RecordError::TooManyEmpty) => assert!(data.is_empty()),
                    other => assert_eq!(other, Err(RecordError::Closed), "an answer that cannot be read"),
                }
            }
            Err(error) => assert!(
                error == RecordError::PlaintextTooLong && data.len() > PLAINTEXT_MAX,
                "an answer that cannot be sealed: {error}"
            ),
        }
    }

    fn answer_key_update(&mut self) {
        let mut record = [0; 64];
        match self.server.seal_key_update(&mut record) {
            Ok(len) => match self.peer.open(&mut record[..len]) {
                Ok(Opened::Nothing) => {}
                Err(RecordError::TooManyKeyUpdates | RecordError::Closed) => {}
                other => panic!("a key update that is {other:?}"),
            },
            Err(error) => assert!(error == RecordError::NotInThisVersion && self.version == Version::Tls12),
        }
    }
}

/// 32 that carry nothing, and 32 KeyUpdates in up to five pieces each.
const WITHOUT_DATA_MAX: usize = 32 + 32 * key_update::LEN;
