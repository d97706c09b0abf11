//! Errors of the record layer, and whose fault they are.

use crate::alert::Alert;
use crate::fault::{Fault, PeerFault};
use std::fmt;

/// The reason why a record could not be opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    // Faults of the peer.
    /// A content type that has no place here: change_cipher_spec after the handshake, or an unknown
    /// one.
    UnexpectedType(u8),
    /// A handshake message that has no place after the handshake.
    UnexpectedHandshake(u8),
    /// A version other than 3.3 in the header.
    BadVersion([u8; 2]),
    /// A record or its plaintext is longer than the protocol allows.
    TooLong,
    /// The record does not authenticate.
    BadMac,
    /// TLS 1.3: the plaintext is all padding (RFC 8446 §5.4), or a fragment of a message is empty
    /// (§5.1).
    Empty,
    /// More records in a row that carry nothing than a peer has reason to send.
    TooManyEmpty,
    /// More KeyUpdates in a row than a peer has reason to send.
    TooManyKeyUpdates,
    /// Something follows a KeyUpdate in its record, under a key that is no longer valid (RFC 8446
    /// §5.1).
    KeyUpdateNotLast,
    /// An alert or a KeyUpdate that cannot be parsed.
    Malformed,
    /// A KeyUpdate with a request_update, or an alert with a level, that does not exist.
    IllegalValue,
    /// TLS 1.2: a handshake message after the handshake.
    Renegotiation,

    // Faults of this side.
    /// The bytes given to open are not exactly one record.
    Misframed,
    /// The buffer cannot hold the record, which is `need` bytes long.
    BufferTooSmall {
        /// Bytes.
        need: usize,
    },
    /// More than [`PLAINTEXT_MAX`](crate::PLAINTEXT_MAX) bytes.
    PlaintextTooLong,
    /// The key has been used as often as is safe.
    KeyExhausted,
    /// This direction is over: an alert was sent or received in it, or it failed.
    Closed,
    /// TLS 1.2 has no KeyUpdate.
    NotInThisVersion,
    /// The cryptographic library failed.
    Crypto,
}

impl RecordError {
    /// Returns whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Peer(match self {
            Self::UnexpectedType(_) | Self::UnexpectedHandshake(_) | Self::Empty | Self::KeyUpdateNotLast => {
                PeerFault::UnexpectedMessage
            }
            Self::TooManyEmpty | Self::TooManyKeyUpdates => PeerFault::TooMuch,
            Self::BadVersion(_) => PeerFault::BadVersion,
            Self::TooLong => PeerFault::RecordTooLong,
            Self::BadMac => PeerFault::BadRecordMac,
            Self::Malformed => PeerFault::Malformed,
            Self::IllegalValue => PeerFault::IllegalValue,
            Self::Renegotiation => PeerFault::Renegotiation,
            Self::Misframed
            | Self::BufferTooSmall { .. }
            | Self::PlaintextTooLong
            | Self::KeyExhausted
            | Self::Closed
            | Self::NotInThisVersion
            | Self::Crypto => return Fault::Ours,
        })
    }

    /// Returns the alert to send before closing; `None` where there is none to send.
    #[must_use]
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Self::UnexpectedType(_)
            | Self::UnexpectedHandshake(_)
            | Self::Empty
            | Self::TooManyEmpty
            | Self::TooManyKeyUpdates
            | Self::KeyUpdateNotLast => Some(Alert::UnexpectedMessage),
            Self::BadVersion(_) => Some(Alert::ProtocolVersion),
            Self::TooLong => Some(Alert::RecordOverflow),
            Self::BadMac => Some(Alert::BadRecordMac),
            Self::Malformed => Some(Alert::DecodeError),
            Self::IllegalValue => Some(Alert::IllegalParameter),
            Self::Renegotiation => Some(Alert::NoRenegotiation),
            Self::Misframed | Self::Crypto => Some(Alert::InternalError),
            Self::BufferTooSmall { .. }
            | Self::PlaintextTooLong
            | Self::KeyExhausted
            | Self::Closed
            | Self::NotInThisVersion => None,
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedType(code) => write!(f, "peer sent a record of unexpected type {code}"),
            Self::UnexpectedHandshake(code) => {
                write!(f, "peer sent handshake message {code} after the handshake")
            }
            Self::BadVersion([major, minor]) => write!(f, "peer sent a record of version {major}.{minor}"),
            Self::TooLong => f.write_str("peer sent a record that is too long"),
            Self::BadMac => f.write_str("peer sent a record that does not authenticate"),
            Self::Empty => f.write_str("peer sent a record without content"),
            Self::TooManyEmpty => f.write_str("peer sent too many records that carry nothing"),
            Self::TooManyKeyUpdates => f.write_str("peer sent too many key updates"),
            Self::KeyUpdateNotLast => f.write_str("peer sent more in the record of a key update"),
            Self::Malformed => f.write_str("peer sent a message that cannot be parsed"),
            Self::IllegalValue => f.write_str("peer sent a message with an illegal value"),
            Self::Renegotiation => f.write_str("peer tried to renegotiate"),
            Self::Misframed => f.write_str("not exactly one record was given to open"),
            Self::BufferTooSmall { need } => {
                write!(f, "the buffer is smaller than the record ({need} bytes)")
            }
            Self::PlaintextTooLong => f.write_str("more plaintext than fits in a record"),
            Self::KeyExhausted => f.write_str("the key has been used as often as is safe"),
            Self::Closed => f.write_str("this direction of the connection is closed"),
            Self::NotInThisVersion => f.write_str("TLS 1.2 has no key update"),
            Self::Crypto => f.write_str("the cryptographic library failed"),
        }
    }
}

impl std::error::Error for RecordError {}
