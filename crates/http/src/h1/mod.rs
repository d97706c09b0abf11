//! HTTP/1.1 and HTTP/1.0 messages on the wire (RFC 9112).
//!
//! ```
//! use sitar_http::{h1, date};
//!
//! let limits = h1::Limits::default();
//! let received = b"GET /x HTTP/1.1\r\nHost: example.org\r\n\r\nGET /next";
//! let head = h1::parse(received, &limits).unwrap().expect("a whole head");
//! assert_eq!(head.request.target.path, b"/x");
//! assert_eq!(&received[head.len..head.len + 9], b"GET /next");
//! assert!(h1::BodyDrain::new(head.body, &limits).unwrap().is_none(), "no body to skip");
//!
//! let mut out = [0; 256];
//! let answer = h1::ResponseHead {
//!     version: head.version,
//!     status: sitar_http::Status::OK,
//!     date: &date::write_imf(784_111_777),
//!     fields: &[b"ETag: \"1\"\r\n"],
//!     content_length: Some(5),
//!     close: !head.keep_alive,
//! };
//! let len = h1::write_head(&mut out, &answer).expect("room enough");
//! assert_eq!(
//!     &out[..len],
//!     b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\
//!       ETag: \"1\"\r\n\r\n"
//! );
//! ```

mod drain;
mod framing;
mod head;
mod response;

pub use drain::{BodyDrain, Drained};
pub use head::{RequestHead, begins_request, first_line, is_head, parse, parse_from};
pub use response::{HEAD_OVERHEAD_MAX, REJECTION_MAX, ResponseHead, write_head, write_rejection};

pub use crate::Rejection;

/// The limits of a request; past one of them the response is a [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head: request line, field lines and the empty lines around them. By
    /// default 16 KiB; else 431.
    pub head: usize,
    /// Bytes of a request target. By default 8 KiB; else 414. RFC 9112 §3 recommends at least
    /// 8,000.
    pub target: usize,
    /// Field lines in a head. By default 100; else 431.
    pub fields: usize,
    /// Bytes of a request body that are read and thrown away to keep the connection. By default 64
    /// KiB; else 413.
    pub body: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { head: 16 * 1024, target: 8 * 1024, fields: 100, body: 64 * 1024 }
    }
}

/// The way in which the end of a request's body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body; the next request follows the head. Also for `Content-Length: 0`.
    None,
    /// A body of this many bytes, at least one.
    Length(u64),
    /// Chunks, which end with the one of size zero and the trailer section (RFC 9112 §7.1).
    Chunked,
}
