//! The errors of a handshake, and whose fault they are.

use crate::alert::Alert;
use crate::fault::{Fault, PeerFault};
use crate::record::RecordError;
use rustls::Error;
use std::fmt;

/// The reason why there is no connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer speaks HTTP without TLS; a response in plain text will reach it.
    PlainHttp {
        /// Its method is HEAD, so the response has no content (RFC 9110 §9.3.2).
        head: bool,
    },
    /// The peer sent more than a handshake can need.
    TooLarge,
    /// The peer ended the connection during the handshake.
    Closed,
    /// The peer gave up, with this alert; [`Alert::name`] names it. A browser that does not trust
    /// the certificate ends here.
    PeerAlert(u8),
    /// The peer broke the protocol, or both sides have no parameters in common.
    Peer(Reason),
    /// A fault of this side.
    Ours(Reason),
}

impl HandshakeError {
    /// Returns whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Peer(match self {
            Self::PlainHttp { .. } => PeerFault::PlainHttp,
            Self::TooLarge => PeerFault::TooMuch,
            Self::Closed => PeerFault::Closed,
            Self::PeerAlert(code) => PeerFault::Alert(*code),
            Self::Peer(reason) => reason.peer_fault(),
            Self::Ours(_) => return Fault::Ours,
        })
    }

    pub(super) const fn ours(why: &'static str) -> Self {
        Self::Ours(Reason(Cause::Ours(why)))
    }

    pub(super) fn from_rustls(error: Error) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::PeerAlert(u8::from(alert)),
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidEncryptedClientHello(_)
            | Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerIncompatible(_)
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::NoCertificatesPresented
            | Error::InvalidCertificate(_)
            | Error::NoApplicationProtocol => Self::Peer(Reason(Cause::Library(error))),
            _ => Self::Ours(Reason(Cause::Library(error))),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp { .. } => f.write_str("peer speaks HTTP without TLS"),
            Self::TooLarge => f.write_str("peer sent more than a handshake can need"),
            Self::Closed => f.write_str("peer closed the connection during the handshake"),
            Self::PeerAlert(code) => write!(f, "peer gave up: {}", Alert::name(*code)),
            Self::Peer(reason) => write!(f, "handshake failed: {reason}"),
            Self::Ours(reason) => write!(f, "handshake failed on our side: {reason}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// The details of a failed handshake, for a log. Nothing is formatted until it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason(pub(super) Cause);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// The TLS library says so.
    Library(Error),
    /// This module found it out.
    Peer(PeerFault, &'static str),
    Ours(&'static str),
    Record(RecordError),
}

impl Reason {
    /// Returns what the peer did, of an error that is its fault.
    const fn peer_fault(&self) -> PeerFault {
        match &self.0 {
            Cause::Peer(fault, _) => *fault,
            Cause::Library(error) => match error {
                Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                    PeerFault::UnexpectedMessage
                }
                Error::InvalidMessage(_) => PeerFault::Malformed,
                Error::InvalidEncryptedClientHello(_) => PeerFault::IllegalValue,
                Error::DecryptError => PeerFault::BadRecordMac,
                Error::PeerIncompatible(_) => PeerFault::NothingInCommon,
                Error::NoApplicationProtocol => PeerFault::NoApplicationProtocol,
                Error::PeerSentOversizedRecord => PeerFault::RecordTooLong,
                _ => PeerFault::Other,
            },
            Cause::Ours(_) | Cause::Record(_) => PeerFault::Other,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Library(error) => error.fmt(f),
            Cause::Peer(_, why) | Cause::Ours(why) => f.write_str(why),
            Cause::Record(error) => error.fmt(f),
        }
    }
}
