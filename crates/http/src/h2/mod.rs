//! HTTP/2 (RFC 9113) without I/O: bytes and time go in, requests come out; answers go in, bytes
//! come out.
//!
//! A [`Connection`] takes what has arrived ([`receive`](Connection::receive)) and hands out one
//! request at a time. The caller responds at once ([`respond_now`](Connection::respond_now)), head
//! and content written straight to where they are sent from, or later
//! ([`respond`](Connection::respond)), with a [`ContentSource`] that is asked for bytes when there
//! is room for them. [`poll_send`](Connection::poll_send) fills a buffer with frames, the most
//! urgent first (RFC 9218). The connection does not look into requests: [`crate::Request`] is the
//! same as for HTTP/1.
//!
//! A connection owns little. Bytes stay with the caller until a frame is whole, and memory that
//! many connections need in turn is in [`SharedBuffers`]. Everything that a peer can make grow has
//! a bound: streams and header lists ([`Limits`]), the dynamic table (4 KiB), and the queue of
//! frames to send. A peer that makes useless work is disconnected ([`Flood`]).
//!
//! ```
//! use std::time::Instant;
//! use sitar_http::h2::{Connection, ContentSource, Limits, PREFACE, ResponseHead, SharedBuffers};
//! use sitar_http::{Status, date, h2};
//!
//! struct Text(&'static [u8]);
//! impl ContentSource for Text {
//!     fn ready(&self) -> usize { self.0.len() }
//!     fn fill(&mut self, out: &mut [u8]) {
//!         let (now, later) = self.0.split_at(out.len());
//!         out.copy_from_slice(now);
//!         self.0 = later;
//!     }
//! }
//!
//! let limits = Limits::default();
//! let mut shared = SharedBuffers::new(&limits);
//! let mut connection = Connection::new(&limits, &mut shared, Instant::now());
//!
//! // A client's preface, empty SETTINGS, and GET https://a/ on stream 1.
//! let mut wire = PREFACE.to_vec();
//! wire.extend(b"\0\0\0\x04\0\0\0\0\0");
//! wire.extend(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01a");
//! let received = connection.receive(&mut shared, &wire, Instant::now());
//! assert_eq!(received.used, wire.len());
//! let asked = received.request.expect("a request");
//! assert_eq!(asked.request.unwrap().target.path, b"/");
//!
//! let block = h2::field_block(b"Content-Type: text/plain\r\n");
//! let head = ResponseHead {
//!     status: Status::OK,
//!     date: &date::write_imf(784_111_777),
//!     block: &block,
//!     fields: &[],
//!     content_length: Some(5),
//! };
//! let stream = asked.stream;
//! connection.respond(&mut shared, stream, &head, Text(b"hello"));
//! let mut out = [0; 1024];
//! let len = connection.poll_send(&mut shared, &mut out);
//! assert!(out[..len].ends_with(b"\0\0\x05\0\x01\0\0\0\x01hello"));
//! ```

mod connection;
mod control;
mod flood;
mod frame;
mod headers;
mod hpack;
mod parked;
mod priority;
mod queue;
mod receive;
mod request;
mod respond;
mod send;
mod spare;
mod stream;
#[doc(hidden)]
pub mod testing;
mod window;

pub use connection::{Connection, ConnectionError, SharedBuffers};
pub use flood::Flood;
pub use frame::ErrorCode;
pub use hpack::field_block;
pub use parked::ParkedRequest;
pub use receive::{Received, StreamRequest};
pub use respond::ResponseHead;
pub use stream::ContentSource;

/// The client's connection preface (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The verdict of [`check_preface`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// The bytes begin with the whole preface.
    Whole,
    /// The bytes are the beginning of a preface; more are needed.
    Partial,
    /// The bytes begin something else.
    Other,
}

/// Returns whether a client that sends `bytes` first, in plain text, begins with HTTP/2
/// (RFC 9113 §3.3).
#[must_use]
pub fn check_preface(bytes: &[u8]) -> Preface {
    let len = bytes.len().min(PREFACE.len());
    if bytes[..len] != PREFACE[..len] {
        Preface::Other
    } else if len == PREFACE.len() {
        Preface::Whole
    } else {
        Preface::Partial
    }
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams at a time; more are refused. By default 100.
    pub streams: u32,
    /// Bytes of a field block as it is sent. By default 64 KiB; more ends the connection.
    pub block: usize,
    /// Bytes of a header list, counted as the head of the same request in HTTP/1. By default 16
    /// KiB; else 431. More than twice as many bytes, from a block that is too short to have held
    /// them, end the connection.
    pub list: usize,
    /// Size of a header list as RFC 9113 §6.5.2 counts it. By default 256 KiB; more ends the
    /// connection.
    pub list_decoded: usize,
    /// Field lines in a header list, counted as in HTTP/1: all parts of Cookie (RFC 9113 §8.2.3)
    /// are one, `:authority` is one, and `:method`, `:scheme` and `:path` are none. By default 100;
    /// else 431.
    pub fields: usize,
    /// Bytes of a request target. By default 8 KiB; else 414.
    pub target: usize,
    /// The time in which the peer has to acknowledge our settings (RFC 9113 §6.5.3). By default 10
    /// s.
    pub settings: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            streams: 100,
            block: 64 * 1024,
            list: 16 * 1024,
            list_decoded: 256 * 1024,
            fields: 100,
            target: 8 * 1024,
            settings: std::time::Duration::from_secs(10),
        }
    }
}
