//! Alerts, with which one side ends a connection or reports an error (RFC 8446 §6, RFC 5246 §7.2).

use std::fmt;

/// An alert that this crate sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Alert {
    /// Nothing more will be sent. Without this alert the peer cannot tell the end from a cut
    /// connection.
    CloseNotify = 0,
    /// A record or message that has no place here.
    UnexpectedMessage = 10,
    /// A record that did not authenticate.
    BadRecordMac = 20,
    /// A record longer than the protocol allows.
    RecordOverflow = 22,
    /// No acceptable set of parameters.
    HandshakeFailure = 40,
    /// A certificate that is not valid any more.
    CertificateExpired = 45,
    /// A field with a value that is not allowed.
    IllegalParameter = 47,
    /// A message that cannot be parsed.
    DecodeError = 50,
    /// A version that is not supported.
    ProtocolVersion = 70,
    /// A fault of this side.
    InternalError = 80,
    /// TLS 1.2: the peer wanted to renegotiate. This is a warning; close_notify follows.
    NoRenegotiation = 100,
}

impl Alert {
    /// Returns the AlertDescription on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the message on the wire. RFC 5246 §7.2.2: no_renegotiation is always a warning.
    pub(crate) const fn encode(self) -> [u8; 2] {
        let level = match self {
            Self::CloseNotify | Self::NoRenegotiation => WARNING,
            _ => FATAL,
        };
        [level, self as u8]
    }

    /// Returns the name of an alert code in the TLS registry, ours or the peer's.
    #[must_use]
    pub const fn name(code: u8) -> &'static str {
        match code {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed_RESERVED",
            22 => "record_overflow",
            30 => "decompression_failure_RESERVED",
            40 => "handshake_failure",
            41 => "no_certificate_RESERVED",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            60 => "export_restriction_RESERVED",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable_RESERVED",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value_RESERVED",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => "unassigned",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::name(self.code()))
    }
}

pub(crate) const WARNING: u8 = 1;
pub(crate) const FATAL: u8 = 2;
pub(crate) const CLOSE_NOTIFY: u8 = 0;
pub(crate) const USER_CANCELED: u8 = 90;
