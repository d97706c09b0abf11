//! Header lines of representations: built once, in one place, for whatever the site came from.
//!
//! They come in two parts, so that a pack can keep the first for many files at once: what follows
//! from the name ([`Blocks`]), and the validators, which differ for each content
//! ([`push_validators`]).

use crate::open::entry::Entry;
use sitar_http::semantics::Coding;
use sitar_http::{date, is_field_value, is_token};

/// Header lines without validators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// For 200; RFC 9110 §15.3.7 wants the same ones on 206.
    pub content: Box<[u8]>,
    /// For 304 (RFC 9110 §15.4.5).
    pub not_modified: Box<[u8]>,
}

impl Blocks {
    pub(crate) fn of(entry: &Entry) -> Blocks {
        Blocks { content: content(entry), not_modified: not_modified(entry) }
    }
}

/// Header lines of an answer, and the same for HTTP/2, encoded once and sent often.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) text: Box<[u8]>,
    pub(crate) encoded: Box<[u8]>,
}

impl Lines {
    pub(crate) fn new(text: Vec<u8>) -> Lines {
        Lines { encoded: sitar_http::h2::field_block(&text), text: text.into_boxed_slice() }
    }

    /// Bytes of memory that both take.
    pub(crate) fn len(&self) -> usize {
        self.text.len() + self.encoded.len()
    }
}

fn content(entry: &Entry) -> Box<[u8]> {
    let mut block = Vec::with_capacity(320);
    let charset: &[u8] = if entry.media.utf8 { b"; charset=utf-8" } else { b"" };
    line(&mut block, b"Content-Type", &[entry.media.essence.as_bytes(), charset]);
    line(&mut block, b"X-Content-Type-Options", &[b"nosniff"]);
    if let Some(name) = coding_name(entry.coding) {
        line(&mut block, b"Content-Encoding", &[name]);
    }
    shared(&mut block, entry);
    line(&mut block, b"Accept-Ranges", &[b"bytes"]);
    block.into_boxed_slice()
}

fn not_modified(entry: &Entry) -> Box<[u8]> {
    let mut block = Vec::with_capacity(96);
    shared(&mut block, entry);
    block.into_boxed_slice()
}

/// Appends the lines of the 200 that a 304 repeats.
fn shared(block: &mut Vec<u8>, entry: &Entry) {
    if entry.vary {
        line(block, b"Vary", &[b"Accept-Encoding"]);
    }
    line(block, b"Cache-Control", &[entry.lifetime.cache_control()]);
}

/// Bytes of the validators, at most: a date, and an ETag of 24 characters with a coding.
pub(crate) const VALIDATORS_MAX: usize = b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"\"\r\n"
    .len()
    + ETAG_HASH_BYTES / 3 * 4
    + b".zstd".len();

/// Appends validators.
pub(crate) fn push_validators(block: &mut Vec<u8>, etag: &[u8], last_modified: Option<u64>) {
    if let Some(time) = last_modified {
        line(block, b"Last-Modified", &[&date::write_imf(time)]);
    }
    line(block, b"ETag", &[etag]);
}

/// Whether these are whole header lines that may stand in an answer: well-formed (RFC 9112 §5), and
/// none that only the connection may speak of, or that is made for each answer.
pub(crate) fn are_lines(mut block: &[u8]) -> bool {
    while !block.is_empty() {
        let Some(end) = block.iter().position(|&byte| byte == b'\n') else { return false };
        let Some(line) = block[..end].strip_suffix(b"\r") else { return false };
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name)
            || !is_field_value(value)
            || NOT_OURS.iter().any(|other| name.eq_ignore_ascii_case(other))
        {
            return false;
        }
        block = &block[end + 1..];
    }
    true
}

/// Fields that the server or the representation itself adds, and those of one connection (RFC 9110
/// §7.6.1).
const NOT_OURS: &[&[u8]] = &[
    b"Connection",
    b"Content-Length",
    b"Content-Range",
    b"Date",
    b"ETag",
    b"Keep-Alive",
    b"Last-Modified",
    b"Proxy-Connection",
    b"TE",
    b"Trailer",
    b"Transfer-Encoding",
    b"Upgrade",
];

fn line(block: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    block.extend_from_slice(name);
    block.extend_from_slice(b": ");
    for part in value {
        block.extend_from_slice(part);
    }
    block.extend_from_slice(b"\r\n");
}

/// Returns how many bytes of the header lines of 200 do no more than describe the content. Those
/// lines come first.
pub(crate) fn described(fields: &[u8]) -> usize {
    let names: [&[u8]; 4] = [b"Content-Type", b"X-Content-Type-Options", b"Content-Encoding", b"Vary"];
    let lines = fields.split_inclusive(|&byte| byte == b'\n');
    lines
        .take_while(|line| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            names.iter().any(|known| known.eq_ignore_ascii_case(name))
        })
        .map(<[u8]>::len)
        .sum()
}

/// A strong validator (RFC 9110 §8.8.3): 144 bits of a SHA-256 as base64url, of the content's or of
/// what stands for it. The coding stands behind it because the bytes alone do not tell encodings
/// apart: two empty files, or a sidecar that is a plain copy, hash alike.
pub(crate) fn etag(hash: &[u8; 32], coding: Coding) -> Box<[u8]> {
    let mut etag = Vec::with_capacity(32);
    etag.push(b'"');
    for three in hash[..ETAG_HASH_BYTES].chunks_exact(3) {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for shift in [18, 12, 6, 0] {
            etag.push(BASE64URL[(bits >> shift & 63) as usize]);
        }
    }
    if let Some(name) = coding_name(coding) {
        etag.push(b'.');
        etag.extend_from_slice(name);
    }
    etag.push(b'"');
    etag.into_boxed_slice()
}

/// A digest as a byte sequence of structured fields has it (RFC 8941 §3.3.5): base64 with padding.
pub(crate) fn base64(hash: &[u8; 32]) -> [u8; 44] {
    let mut text = [b'='; 44];
    for (three, four) in hash.chunks(3).zip(text.chunks_mut(4)) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // One byte makes two characters, two make three.
        for (place, shift) in four.iter_mut().zip([18, 12, 6, 0]).take(three.len() + 1) {
            *place = BASE64[(bits >> shift & 63) as usize];
        }
    }
    text
}

/// The name of a coding in HTTP (RFC 9110 §8.4.1).
pub(crate) fn coding_name(coding: Coding) -> Option<&'static [u8]> {
    match coding {
        Coding::Identity => None,
        Coding::Br => Some(b"br"),
        Coding::Zstd => Some(b"zstd"),
        Coding::Gzip => Some(b"gzip"),
    }
}

/// A multiple of three, so that base64 needs no padding.
const ETAG_HASH_BYTES: usize = 18;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_may_stand_in_an_answer() {
        for good in ["", "A: b\r\n", "A:\r\n", "X-Y: a\tb \u{e9}\r\nCache-Control: no-cache\r\n"] {
            assert!(are_lines(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "\r\n",
            "A: b",
            "A: b\r",
            "A: b\n",
            "A: b\n\r\n",
            "A: b\r\r\n",
            "A: b\r\n\r\n",
            "A: b\rC: d\r\n",
            "A: b\0\r\n",
            "A: b\x7f\r\n",
            "A : b\r\n",
            " A: b\r\n",
            ": b\r\n",
            "A b\r\n",
            "content-length: 1\r\n",
            "A: b\r\nTransfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "ETag: \"x\"\r\n",
            "date: now\r\n",
        ] {
            assert!(!are_lines(bad.as_bytes()), "{bad:?}");
        }
    }
}
