//! Frames (RFC 9113 §4.1, §6) and error codes (§7).

/// Bytes of a frame header.
pub(super) const HEADER: usize = 9;
/// Bytes of the largest payload that this server accepts: the least that RFC 9113 §4.2 allows.
pub(super) const PAYLOAD_MAX: usize = 16_384;
/// The largest size of a window (RFC 9113 §6.9.1).
pub(super) const WINDOW_MAX: i64 = (1 << 31) - 1;
/// The initial size of every window (RFC 9113 §6.9.2).
pub(super) const WINDOW_INITIAL: i64 = 65_535;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The type of a frame (RFC 9113 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    Goaway,
    WindowUpdate,
    Continuation,
    /// RFC 9218 §7.1
    PriorityUpdate,
    /// Any other type, which is ignored (RFC 9113 §5.5).
    Unknown,
}

impl Kind {
    const fn from_byte(byte: u8) -> Kind {
        match byte {
            0x0 => Kind::Data,
            0x1 => Kind::Headers,
            0x2 => Kind::Priority,
            0x3 => Kind::RstStream,
            0x4 => Kind::Settings,
            0x5 => Kind::PushPromise,
            0x6 => Kind::Ping,
            0x7 => Kind::Goaway,
            0x8 => Kind::WindowUpdate,
            0x9 => Kind::Continuation,
            0x10 => Kind::PriorityUpdate,
            _ => Kind::Unknown,
        }
    }

    /// Returns the type's number; of [`Kind::Unknown`] one that is never sent.
    const fn byte(self) -> u8 {
        match self {
            Kind::Data => 0x0,
            Kind::Headers => 0x1,
            Kind::Priority => 0x2,
            Kind::RstStream => 0x3,
            Kind::Settings => 0x4,
            Kind::PushPromise => 0x5,
            Kind::Ping => 0x6,
            Kind::Goaway => 0x7,
            Kind::WindowUpdate => 0x8,
            Kind::Continuation => 0x9,
            Kind::PriorityUpdate => 0x10,
            Kind::Unknown => 0xff,
        }
    }
}

/// A frame header. The reserved bit is ignored (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEADER>()?;
        Some(Header {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind: Kind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    pub(super) fn write(self) -> [u8; HEADER] {
        let [_, a, b, c] = (self.len as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind.byte(), self.flags, s0, s1, s2, s3]
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The reason why a stream or a connection ends (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// Not an error: a graceful end.
    NoError = 0x0,
    /// The peer broke a rule that has no code of its own.
    ProtocolError = 0x1,
    /// A fault of this server.
    InternalError = 0x2,
    /// More bytes than a window allowed, or a window beyond its maximum.
    FlowControlError = 0x3,
    /// Our settings were not acknowledged in time.
    SettingsTimeout = 0x4,
    /// A frame on a stream that has ended.
    StreamClosed = 0x5,
    /// A frame with a size that its kind does not allow.
    FrameSizeError = 0x6,
    /// The request has not been looked at; it can be sent again.
    RefusedStream = 0x7,
    /// The stream is not needed any more.
    Cancel = 0x8,
    /// A header block that cannot be decoded.
    CompressionError = 0x9,
    /// The peer makes excessive load.
    EnhanceYourCalm = 0xb,
}

/// The settings of RFC 9113 §6.5.2 and RFC 9218 §2.1 that this server reads or sends.
pub(super) mod setting {
    pub(in crate::h2) const ENABLE_PUSH: u16 = 0x2;
    pub(in crate::h2) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(in crate::h2) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(in crate::h2) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(in crate::h2) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(in crate::h2) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// Reads a big-endian number at `at`; 0 where there are too few bytes, which callers rule out
/// first.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 9113 §4.1
    #[test]
    fn headers() {
        let wire = [0x00, 0x40, 0x00, 0x01, 0x25, 0x80, 0x00, 0x00, 0x03];
        let header = Header::read(&wire).unwrap();
        let expected = Header { len: 16_384, kind: Kind::Headers, flags: 0x25, stream: 3 };
        assert_eq!(header, expected, "the reserved bit is ignored");
        assert!(
            header.has(END_HEADERS) && header.has(PRIORITY) && header.has(END_STREAM) && !header.has(PADDED)
        );
        assert_eq!(header.write(), [0x00, 0x40, 0x00, 0x01, 0x25, 0x00, 0x00, 0x00, 0x03]);
        assert_eq!(Header::read(&wire[..8]), None);
        assert_eq!(Header::read(&[0, 0, 0, 0xbe, 0, 0, 0, 0, 0]).unwrap().kind, Kind::Unknown);
        for byte in (0..=9).chain([0x10]) {
            assert_eq!(Kind::from_byte(byte).byte(), byte);
        }
    }
}
