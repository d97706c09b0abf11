//! Sidecars, decoded and compared with the files that they lie beside.
//!
//! A sidecar is only said to hold the file. It goes wrong when the file is edited and the sidecar
//! is not made again.

use libdeflater::{DecompressionError, Decompressor};
use sitar_http::semantics::Coding;
use std::io::Read;

/// The relation of a sidecar to the file that it lies beside.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The same content, encoded.
    Same,
    /// Another content, encoded: most often an older version of it.
    Other,
    /// Nothing that a client could decode to the end, or bytes behind the end.
    Broken,
    /// Not compared, because it is far larger than the file.
    Oversized,
}

/// Compares what `encoded` decodes to with `content`, and stops at the first byte that differs: a
/// few bytes that decode to gigabytes cost no more than the file is long.
pub(crate) fn compare(coding: Coding, encoded: &[u8], content: &[u8]) -> Comparison {
    if encoded.is_empty() {
        return Comparison::Broken;
    }
    match coding {
        Coding::Br => same(sitar_brotli::Decoder::new(encoded), content),
        Coding::Zstd => zstd::Decoder::new(encoded)
            .and_then(|mut decoder| decoder.window_log_max(WINDOW_LOG_MAX).map(|()| decoder))
            .map_or(Comparison::Broken, |decoder| same(decoder, content)),
        Coding::Gzip => gzip(encoded, content),
        Coding::Identity => Comparison::Broken,
    }
}

fn gzip(encoded: &[u8], content: &[u8]) -> Comparison {
    // One byte more than wanted, so that more is noticed.
    let mut decoded = vec![0; content.len() + 1];
    let mut decode = |encoded: &[u8]| {
        let length = Decompressor::new().gzip_decompress(encoded, &mut decoded)?;
        Ok(decoded[..length] == *content)
    };
    match decode(encoded) {
        // Of several members (RFC 1952 §2.2) the first one is decoded, as browsers do; curl fails
        // at whatever follows it. One that is there to its last byte cannot do without that byte.
        Ok(true) => match decode(&encoded[..encoded.len() - 1]) {
            Ok(_) => Comparison::Broken,
            Err(_) => Comparison::Same,
        },
        Ok(false) | Err(DecompressionError::InsufficientSpace) => Comparison::Other,
        Err(DecompressionError::BadData) => Comparison::Broken,
    }
}

fn same(mut decoded: impl Read, mut content: &[u8]) -> Comparison {
    let mut buffer = [0; 16 << 10];
    loop {
        match decoded.read(&mut buffer) {
            Ok(0) if content.is_empty() => return Comparison::Same,
            Ok(0) => return Comparison::Other,
            Ok(length) => match content.strip_prefix(&buffer[..length]) {
                Some(rest) => content = rest,
                None => return Comparison::Other,
            },
            Err(_) => return Comparison::Broken,
        }
    }
}

/// Returns whether a sidecar of `encoded` bytes is too large to be an encoding of `content` bytes,
/// so that it need not be read.
pub(crate) fn is_oversized(encoded: u64, content: u64) -> bool {
    encoded > content + content / 8 + OVERHEAD_MAX
}

/// Windows above 8 MiB are not for HTTP (RFC 9659 §3): browsers refuse them.
const WINDOW_LOG_MAX: u32 = 23;
/// Bytes of headers, names and comments that an encoding may carry beside the content.
const OVERHEAD_MAX: u64 = 64 << 10;
/// Bytes of a file above which its sidecars are not decoded: both are held in memory for that.
/// Their times count.
pub(crate) const COMPARED_MAX: u64 = 64 << 20;

#[cfg(test)]
pub(crate) mod tests;
