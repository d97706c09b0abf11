//! Header lines of representations: built once, in one place, for whatever the site came from.
//!
//! They come in two parts, so that a pack can keep the first for many files at once: what follows from the name
//! ([`Blocks`]), and the validators, which differ for each content ([`push_validators`]).

use crate::index::Entry;
use sitar_http::date;
use sitar_http::semantics::Coding;

/// Header lines without validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// For 200; RFC 9110 §15.3.7 wants the same ones on 206.
    pub(crate) content: Box<[u8]>,
    /// For 304 (RFC 9110 §15.4.5).
    pub(crate) not_modified: Box<[u8]>,
}

impl Blocks {
    pub(crate) fn of(entry: &Entry) -> Blocks {
        Blocks { content: content(entry), not_modified: not_modified(entry) }
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

/// What a 304 repeats of the 200.
fn shared(block: &mut Vec<u8>, entry: &Entry) {
    if entry.vary {
        line(block, b"Vary", &[b"Accept-Encoding"]);
    }
    line(block, b"Cache-Control", &[entry.lifetime.cache_control()]);
}

/// Appends the validators of a 200 or 206.
pub(crate) fn push_validators(block: &mut Vec<u8>, etag: Option<&[u8]>, last_modified: Option<u64>) {
    if let Some(time) = last_modified {
        line(block, b"Last-Modified", &[&date::write_imf(time)]);
    }
    if let Some(etag) = etag {
        line(block, b"ETag", &[etag]);
    }
}

/// Appends what a cache needs to find its copy (RFC 9110 §15.4.5): a date only where there is no ETag.
pub(crate) fn push_validator(block: &mut Vec<u8>, etag: Option<&[u8]>, last_modified: Option<u64>) {
    push_validators(block, etag, last_modified.filter(|_| etag.is_none()));
}

fn line(block: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    block.extend_from_slice(name);
    block.extend_from_slice(b": ");
    for part in value {
        block.extend_from_slice(part);
    }
    block.extend_from_slice(b"\r\n");
}

/// How many bytes of the header lines of 200 do no more than describe the content; those lines come first.
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

/// A strong validator (RFC 9110 §8.8.3): 144 bits of the content's SHA-256 as base64url. The coding stands behind it because
/// the bytes alone do not tell encodings apart: two empty files, or a sidecar that is a plain copy, hash alike.
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
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
