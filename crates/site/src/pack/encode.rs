//! Encodings made at pack time: brotli 11, Zstandard 19, gzip 12 (libdeflate), each kept only where it pays.
//!
//! What comes out depends on the bytes and the encoders alone, never on the machine, the order or the neighbours: that is
//! what makes packs reproducible, and encodings of an earlier pack as good as new ones.

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use sitar_http::semantics::Coding;
use std::io::Read;

/// The codings that are made, in the order of everything that holds one thing for each of them.
pub(super) const CODINGS: [(Coding, &[u8]); 3] =
    [(Coding::Br, b".br"), (Coding::Gzip, b".gz"), (Coding::Zstd, b".zst")];

/// What made the encodings: a pack with another text is not reused. A test holds the versions against `Cargo.lock`.
pub(super) const ENCODERS: &str =
    "brotli 9.1.1 q11, libdeflate 1.26.1 l12, zstd-sys 2.1.3+zstd.1.5.7 l19, rules 1";

/// One thing for each of [`CODINGS`].
pub(super) type Each<T> = [T; 3];

/// Whether a file is worth trying.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    Yes,
    /// The type does not say: a quick look at the bytes decides.
    Perhaps,
    /// Compressed already.
    No,
}

/// Whether a file of this name is worth trying. Sidecars and archives are not; nor are pictures, sound, films and WOFF,
/// which are compressed by themselves.
pub(super) fn worth(name: &[u8]) -> Worth {
    let media = crate::media::of(name);
    if crate::index::stored_coding(name) != Coding::Identity {
        Worth::No
    } else if media.utf8 || COMPRESSIBLE.contains(&media.essence) {
        Worth::Yes
    } else if (media.essence == "application/octet-stream" || media.essence.starts_with("model/"))
        && crate::index::sidecar(name).is_none()
    {
        Worth::Perhaps
    } else {
        Worth::No
    }
}

/// The encodings that pay: of each, `None` when it does not.
pub(super) fn encode(content: &[u8], worth: Worth) -> Each<Option<Vec<u8>>> {
    let pays = content.len() >= SIZE_MIN
        && content.len() as u64 <= SIZE_MAX
        && match worth {
            Worth::Yes => true,
            Worth::Perhaps => looks_compressible(content),
            Worth::No => false,
        };
    if !pays {
        return [None, None, None];
    }
    let gz = gzip(content, 12).filter(|gz| saves(gz.len(), content.len()));
    // Every client that takes one of these takes gzip too, so they have to be smaller than that.
    let best = gz.as_ref().map_or(usize::MAX, Vec::len);
    let smaller = |encoded: &Vec<u8>| saves(encoded.len(), content.len()) && encoded.len() < best;
    let br = sitar_brotli::compress(content, 11).ok().filter(smaller);
    let zst = zstd::bulk::compress(content, 19).ok().filter(smaller);
    [br, gz, zst]
}

/// Whether `encoded`, in the coding at this place of [`CODINGS`], is `content`.
pub(super) fn decodes_to(place: usize, encoded: &[u8], content: &[u8]) -> bool {
    match CODINGS[place].0 {
        Coding::Br => same(sitar_brotli::Decoder::new(encoded), content),
        Coding::Zstd => zstd::Decoder::new(encoded).is_ok_and(|decoder| same(decoder, content)),
        Coding::Gzip => {
            // One byte more than wanted, so that more is noticed.
            let mut decoded = vec![0; content.len() + 1];
            let done = Decompressor::new().gzip_decompress(encoded, &mut decoded);
            done.is_ok_and(|length| length == content.len() && decoded[..length] == *content)
        }
        Coding::Identity => false,
    }
}

fn same(mut decoded: impl Read, mut content: &[u8]) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match decoded.read(&mut buffer) {
            Ok(0) => return content.is_empty(),
            Ok(length) => match content.strip_prefix(&buffer[..length]) {
                Some(rest) => content = rest,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

/// Less a packet's worth of trouble: an encoding brings header lines of its own.
fn saves(encoded: usize, content: usize) -> bool {
    encoded + SAVED_MIN <= content && encoded <= content - content / SAVED_SHARE
}

/// A sample from the front, in the quickest way there is.
fn looks_compressible(content: &[u8]) -> bool {
    let sample = &content[..content.len().min(SAMPLE)];
    gzip(sample, 1).is_some_and(|gz| gz.len() < sample.len() - sample.len() / 10)
}

fn gzip(content: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut compressor = Compressor::new(CompressionLvl::new(level).ok()?);
    let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
    let length = compressor.gzip_compress(content, &mut out).ok()?;
    out.truncate(length);
    Some(out)
}

/// Types that compress well, beside text.
const COMPRESSIBLE: &[&str] = &[
    "application/wasm",
    "application/x-javascript",
    "application/rtf",
    "application/x-apple-aspen-config",
    "application/x-plist",
    "application/x-sh",
    "application/x-tar",
    "application/xml-dtd",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "font/collection",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
    "model/gltf-binary",
];
/// Bytes below which nothing can be saved: all of it fits into the first packet anyway.
const SIZE_MIN: usize = 200;
/// Bytes above which nothing is encoded: brotli takes minutes for it, and memory to match.
pub(super) const SIZE_MAX: u64 = 64 << 20;
/// Bytes that an encoding must save.
const SAVED_MIN: usize = 64;
/// And this part of the content.
const SAVED_SHARE: usize = 32;
/// Bytes looked at where the type is unknown.
const SAMPLE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried() {
        for (name, expected) in [
            ("a.html", Worth::Yes),
            ("a.js", Worth::Yes),
            ("a.svg", Worth::Yes),
            ("a.wasm", Worth::Yes),
            ("a.ttf", Worth::Yes),
            ("favicon.ico", Worth::Yes),
            ("LICENSE", Worth::Perhaps),
            ("search.idx", Worth::Perhaps),
            ("a.plist", Worth::Yes),
            ("a.m3u8", Worth::Yes),
            ("a.topojson", Worth::Yes),
            ("a.obj", Worth::Perhaps),
            ("a.usdz", Worth::Perhaps),
            ("a.svgz", Worth::No),
            ("a.rpm", Worth::No),
            ("a.js.br", Worth::No),
            ("a.tar.gz", Worth::No),
            ("a.png", Worth::No),
            ("a.svgz", Worth::No),
            ("A.SVGZ", Worth::No),
            ("a.woff2", Worth::No),
            ("a.mp4", Worth::No),
            ("a.pdf", Worth::No),
            ("a.zip", Worth::No),
        ] {
            assert_eq!(worth(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn encodings_are_smaller_and_decode() {
        let text = "the same words again and again, the same words again. ".repeat(40);
        let encoded = encode(text.as_bytes(), Worth::Yes);
        let gz = encoded[1].as_ref().unwrap().len();
        for (place, encoded) in encoded.iter().enumerate() {
            let encoded = encoded.as_ref().unwrap();
            assert!(encoded.len() < 120, "{place}: {}", encoded.len());
            assert!(decodes_to(place, encoded, text.as_bytes()), "{place}");
            assert!(!decodes_to(place, encoded, &text.as_bytes()[1..]), "{place}");
            assert!(!decodes_to(place, encoded, &text.as_bytes()[..text.len() - 1]), "{place}");
            assert!(!decodes_to(place, &encoded[..encoded.len() - 1], text.as_bytes()), "{place}");
            assert!(!decodes_to((place + 1) % 3, encoded, text.as_bytes()), "{place}");
            assert!(place == 1 || encoded.len() < gz, "{place}");
        }
    }

    /// Bytes that nothing can compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_does_not_pay_is_left_out() {
        let none = [None, None, None];
        let text = "words and words ".repeat(100);
        assert_eq!(encode(&noise(5000), Worth::Yes), none);
        assert_eq!(encode(&noise(5000), Worth::Perhaps), none);
        assert_eq!(encode(text.as_bytes(), Worth::No), none);
        assert_eq!(encode(&text.as_bytes()[..199], Worth::Yes), none);
        assert!(encode(text.as_bytes(), Worth::Perhaps).iter().all(Option::is_some));
    }

    #[test]
    fn the_encoders_are_those_of_the_lock_file() {
        let lock = include_str!("../../../../Cargo.lock");
        let version = |name: &str| {
            let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        // Changed with them: the text that says which encodings of an earlier pack are still what would be made today.
        let (brotli, zstd) = (version("brotli"), version("zstd-sys"));
        let libdeflate = version("libdeflate-sys");
        assert_eq!(
            ENCODERS,
            format!("brotli {brotli} q11, libdeflate {libdeflate} l12, zstd-sys {zstd} l19, rules 1")
        );
        assert!(ENCODERS.len() <= super::super::format::ENCODERS_MAX);
    }
}
