//! HTTP/2 (RFC 9113) without I/O: bytes and time go in, requests come out; answers go in, bytes come out.
//!
//! A [`Connection`] is told what has arrived ([`receive`](Connection::receive)) and hands out one request at a time, which
//! is answered at once ([`answer_now`](Connection::answer_now), head and content written straight to where they are sent from) or later
//! ([`answer`](Connection::answer), the content as a value that can be asked for its bytes when there is room for them). Whenever
//! something can be sent, [`poll_send`](Connection::poll_send) fills a buffer with frames, the most urgent first (RFC 9218). What the
//! request means is none of its business: [`crate::Request`] is the same as for HTTP/1.
//!
//! A connection owns little: what is being received stays with the caller until a frame is whole, and what many
//! connections need in turn is in [`Shared`]. Everything that a peer can make grow has a bound: streams, header
//! lists ([`Limits`]), the dynamic table (4 KiB), what waits to be sent; and whoever makes work that leads nowhere is
//! disconnected ([`Flood`]).
//!
//! ```
//! use std::time::Instant;
//! use sitar_http::h2::{Answer, Connection, Content, Limits, PREFACE, Shared, block};
//!
//! struct Text(&'static [u8]);
//! impl Content for Text {
//!     fn ready(&self) -> usize { self.0.len() }
//!     fn fill(&mut self, out: &mut [u8]) {
//!         let (now, later) = self.0.split_at(out.len());
//!         out.copy_from_slice(now);
//!         self.0 = later;
//!     }
//! }
//!
//! let limits = Limits::default();
//! let mut shared = Shared::new(&limits);
//! let mut connection = Connection::new(&limits, &mut shared, Instant::now());
//!
//! // A client's preface, empty SETTINGS, and GET https://a/ on stream 1.
//! let mut wire = PREFACE.to_vec();
//! wire.extend(b"\0\0\0\x04\0\0\0\0\0");
//! wire.extend(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01a");
//! let received = connection.receive(&mut shared, &wire, Instant::now());
//! assert_eq!(received.used, wire.len());
//! let ask = received.ask.expect("a request");
//! assert_eq!(ask.request.unwrap().target.path, b"/");
//!
//! let date = sitar_http::date::write_imf(784_111_777);
//! let fields = block(b"Content-Type: text/plain\r\n");
//! let answer = Answer { status: sitar_http::Status::OK, date: &date, block: &fields, fields: &[], content_length: Some(5) };
//! let stream = ask.stream;
//! connection.answer(&mut shared, stream, &answer, Text(b"hello"));
//! let mut out = [0; 1024];
//! let len = connection.poll_send(&mut shared, &mut out);
//! assert!(out[..len].ends_with(b"\0\0\x05\0\x01\0\0\0\x01hello"));
//! ```

mod answer;
#[doc(hidden)]
pub mod checks;
mod connection;
mod control;
mod flood;
mod frame;
mod headers;
mod hpack;
mod parked;
mod priority;
mod receive;
mod request;
mod send;
mod stream;

pub use answer::Answer;
pub use connection::{Connection, Fault, Shared};
pub use flood::Flood;
pub use frame::ErrorCode;
pub use hpack::block;
pub use parked::Parked;
pub use receive::{Ask, Received};
pub use stream::Content;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a client that speaks in plain text begins with HTTP/2 (RFC 9113 §3.3); `None` as long as it may.
#[must_use]
pub fn is_preface(bytes: &[u8]) -> Option<bool> {
    let len = bytes.len().min(PREFACE.len());
    if bytes[..len] != PREFACE[..len] {
        return Some(false);
    }
    (len == PREFACE.len()).then_some(true)
}

/// What a peer may ask of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams at a time; more are refused. 100.
    pub streams: u32,
    /// Bytes of a header block as it is sent. 64 KiB; more ends the connection.
    pub block: usize,
    /// Bytes of a header list, counted as the head of the same request in HTTP/1. 16 KiB; else 431.
    /// More than twice as much, from a block that is too short to have held it, ends the
    /// connection.
    pub list: usize,
    /// Size of a header list beyond `list`, as RFC 9113 §6.5.2 counts it. 256 KiB; more ends the
    /// connection.
    pub list_decoded: usize,
    /// Field lines in a header list, counted as in HTTP/1: all parts of Cookie (RFC 9113 §8.2.3) as
    /// one, and `:authority`, but not `:method`, `:scheme` and `:path`. 100; else 431.
    pub fields: usize,
    /// Bytes of a request target. 8 KiB; else 414.
    pub target: usize,
    /// How long the peer may take to acknowledge our settings (RFC 9113 §6.5.3).
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
