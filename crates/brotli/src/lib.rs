//! Brotli (RFC 7932).
//!
//! It is a crate of its own because `brotli` is generic over its allocators: each caller compiles
//! all of it, and again with its own tests. As a module of sitar-publish it took twice the time for
//! the same files in the dev profile.

use std::io::{self, Read};

/// Encodes `content` in a quality from 0, the fastest, to 11, the best. The same bytes give the
/// same bytes on every machine.
///
/// # Errors
/// There is not enough memory.
pub fn compress(content: &[u8], quality: u8) -> io::Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: i32::from(quality),
        // As far back as the content reaches, within what every decoder takes (RFC 7932 §9.1).
        lgwin: content.len().next_power_of_two().ilog2().clamp(16, 24).cast_signed(),
        size_hint: content.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut &*content, &mut out, &params)?;
    Ok(out)
}

/// Decodes brotli, piece by piece.
pub struct Decoder<'e>(brotli::Decompressor<&'e [u8]>);

impl<'e> Decoder<'e> {
    /// Begins at the first byte of `encoded`.
    #[must_use]
    pub fn new(encoded: &'e [u8]) -> Decoder<'e> {
        Decoder(brotli::Decompressor::new(encoded, 4096))
    }
}

impl Read for Decoder<'_> {
    /// # Errors
    /// `InvalidData`: the bytes are not brotli, end too early, or go on behind the end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buf)?;
        if length > 0 || buf.is_empty() {
            return Ok(length);
        }
        if !self.0.get_ref().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there are bytes behind the end"));
        }
        // Asked once more, the library reports bytes that it has taken and not used.
        self.0.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for content in [&b""[..], b"x", &b"the same words again and again. ".repeat(4000)] {
            let encoded = compress(content, 11).unwrap();
            let mut decoded = Vec::new();
            Decoder::new(&encoded).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, content);
            assert!(encoded.len() < 100, "{}", encoded.len());
            assert!(Decoder::new(&encoded[..encoded.len() - 1]).read_to_end(&mut Vec::new()).is_err());
        }
    }

    #[test]
    fn bytes_behind_the_end_are_an_error() {
        // Around the length of the decoder's buffer too.
        let noise: Vec<u8> =
            (0_u32..4200).map(|n| (n.wrapping_mul(2_654_435_761).rotate_left(n % 32) >> 11) as u8).collect();
        for length in (0..5).chain(4070..4110) {
            let encoded = compress(&noise[..length], 5).unwrap();
            for more in [&b"\0"[..], b"x", &encoded, &[0; 5000]] {
                let encoded = [&encoded, more].concat();
                let mut decoded = Vec::new();
                assert!(Decoder::new(&encoded).read_to_end(&mut decoded).is_err(), "{length}");
            }
            let mut decoded = Vec::new();
            Decoder::new(&encoded).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, noise[..length]);
        }
    }

    #[test]
    fn what_is_not_brotli_is_an_error() {
        assert!(Decoder::new(b"<!doctype html>").read_to_end(&mut Vec::new()).is_err());
    }
}
