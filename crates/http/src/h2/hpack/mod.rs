//! HPACK (RFC 7541): header lists to and from bytes.
//!
//! The decoder has a dynamic table, which is bounded and allocated only as far as it is used. The
//! encoder has none. The fields of a response are literals with names from the static table,
//! written once when a file is loaded ([`field_block`]), so the same bytes go to every client and
//! nothing has to be remembered for any of them.

mod decode;
mod encode;
mod huffman;
mod table;

pub(super) use decode::{Decoder, Scratch, Sink, TABLE_SIZE, TOO_MUCH};
pub use encode::field_block;
pub(super) use encode::{Writer, encoded_max, write_literal, write_pieces, write_status};

/// The reason why a field block cannot be decoded. The two sides no longer agree on the dynamic
/// table, so the connection ends with COMPRESSION_ERROR (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

#[cfg(test)]
mod tests;
