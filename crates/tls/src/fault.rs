//! The side whose fault an error is, as plain values for logs, counters and close reasons.

use std::fmt;

/// The side whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer's: it broke the protocol, or gave up.
    Peer(PeerFault),
    /// This side's: a mistake of the caller or of this crate, a key that is used up, or a failure
    /// of the cryptographic library.
    Ours,
}

/// A way in which a peer breaks the protocol, or ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerFault {
    /// It speaks HTTP without TLS.
    PlainHttp,
    /// It ended the connection during the handshake.
    Closed,
    /// It gave up with this alert (RFC 8446 §6.2); [`Alert::name`](crate::Alert::name) names it.
    Alert(u8),
    /// It supports no version, suite, group or signature that this server has (RFC 8446 §4.1.1).
    NothingInCommon,
    /// It offers none of the application protocols that this server has (RFC 7301 §3.2).
    NoApplicationProtocol,
    /// It sent a record or a message that has no place here (RFC 8446 §4, §5).
    UnexpectedMessage,
    /// It sent a message that cannot be parsed (RFC 8446 §6.2, decode_error).
    Malformed,
    /// It sent a field with a value that is not allowed (RFC 8446 §6.2, illegal_parameter).
    IllegalValue,
    /// It sent a record with another version than 3.3 in its header (RFC 8446 §5.1).
    BadVersion,
    /// It sent a record that does not authenticate (RFC 8446 §5.2).
    BadRecordMac,
    /// It sent a record that is longer than the protocol allows (RFC 8446 §5.1, §5.2).
    RecordTooLong,
    /// It sent more than it has reason to: a handshake of more bytes than one can need, or more
    /// records without data, or more KeyUpdates, in a row (RFC 8446 §4.6.3, §5.1).
    TooMuch,
    /// It wanted to renegotiate (RFC 5246 §7.2.2).
    Renegotiation,
    /// It broke another rule.
    Other,
}

impl Fault {
    /// Returns a short name, for logs: of the peer's fault, or `own_fault`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer(fault) => fault.name(),
            Self::Ours => "own_fault",
        }
    }
}

impl PeerFault {
    /// Returns a short name, for logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::Closed => "closed",
            Self::Alert(_) => "alert",
            Self::NothingInCommon => "nothing_in_common",
            Self::NoApplicationProtocol => "no_application_protocol",
            Self::UnexpectedMessage => "unexpected_message",
            Self::Malformed => "malformed",
            Self::IllegalValue => "illegal_value",
            Self::BadVersion => "bad_version",
            Self::BadRecordMac => "bad_record_mac",
            Self::RecordTooLong => "record_too_long",
            Self::TooMuch => "too_much",
            Self::Renegotiation => "renegotiation",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(code) => write!(f, "alert {}", crate::Alert::name(*code)),
            other => f.write_str(other.name()),
        }
    }
}
