//! HTTP messages and semantics as pure functions over borrowed bytes.
//!
//! Nothing here reads a socket, a file or a clock: bytes and times come in as values, and views
//! into those bytes and small copies go out. Only a connection of HTTP/2 allocates, for what it has
//! to remember. The layers:
//!
//! - [`Request`], [`Status`], [`Fields`]: the parts that all versions of HTTP share (RFC 9110).
//! - [`h1`]: HTTP/1.1 and 1.0 on the wire (RFC 9112): [`h1::parse`] for request heads,
//!   [`h1::BodyDrain`] to skip request bodies without losing the boundary to the next request,
//!   [`h1::write_head`] for responses.
//! - [`h2`]: HTTP/2 (RFC 9113), a connection without its transport.
//! - [`semantics`]: conditional requests, ranges and content coding negotiation (RFC 9110 §12 to
//!   §14).
//!
//! The parser is strict where leniency has been used for request smuggling (line ends, framing
//! fields, field names, Host) and follows real clients where the standard is narrower than the web
//! and nothing is at stake (characters that browsers leave unescaped in a request target).

mod authority;
mod chars;
pub mod date;
mod decimal;
mod fields;
mod framing;
pub mod h1;
pub mod h2;
mod message;
pub mod semantics;

pub use chars::{is_field_value, is_token};
pub use decimal::Decimal;
pub use fields::{Field, FieldLines, Fields, TooManyFields};
pub use message::{FIELDS_MAX, Method, Rejection, Request, RequestTarget, Status, Version};
