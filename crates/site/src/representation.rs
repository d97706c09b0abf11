//! A file ready to be sent: bytes in a region (or a range of a file), validators, and header lines built once.

use crate::index::Entry;
use crate::reply::{Body, FieldBuf, Reply};
use aws_lc_rs::digest::{SHA256, digest};
use sitar_http::semantics::{Coding, Span, Validators, Verdict, preconditions, range};
use sitar_http::{Method, Request, Status, date};
use sitar_io::{File, Region};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes of bodies the whole process may keep in memory. Clones share one account.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicU64>,
    per_file: u64,
}

impl Budget {
    /// A budget of `total` bytes of which no file may take more than `per_file`.
    #[must_use]
    pub fn new(total: u64, per_file: u64) -> Budget {
        Budget { left: Arc::new(AtomicU64::new(total)), per_file }
    }

    /// Bytes that are not taken.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or nothing.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        if bytes > self.per_file {
            return None;
        }
        // Only the sum matters, not what else was written when: relaxed is enough.
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.is_ok().then(|| Reservation { left: Arc::clone(&self.left), bytes })
    }
}

/// Bytes taken from a budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    left: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes of a representation.
#[derive(Debug)]
pub(crate) enum Content {
    Static(&'static [u8]),
    Resident {
        region: Region,
        /// Held for its `Drop`.
        _reservation: Reservation,
    },
    File {
        file: File,
        range: Range<u64>,
    },
}

/// A file that has been loaded.
#[derive(Debug)]
pub struct Representation {
    content: Content,
    length: u64,
    etag: Option<Box<[u8]>>,
    last_modified: Option<u64>,
    vary: bool,
    /// Header lines of 200 and 206.
    content_fields: Box<[u8]>,
    /// Header lines of 304.
    not_modified_fields: Box<[u8]>,
}

impl Representation {
    pub(crate) fn new(content: Content, entry: &Entry, modified: Option<u64>) -> Representation {
        let (length, etag) = match &content {
            Content::Static(bytes) => (bytes.len() as u64, Some(etag(bytes, entry.coding))),
            Content::Resident { region, .. } => (region.len() as u64, Some(etag(region, entry.coding))),
            // Its hash would cost a whole read; the date has to do.
            Content::File { range, .. } => (range.end.saturating_sub(range.start), None),
        };
        let last_modified = modified.filter(|&time| is_meaningful(time));
        let content_fields = content_fields(entry, etag.as_deref(), last_modified);
        let not_modified_fields = not_modified_fields(entry, etag.as_deref(), last_modified);
        Representation {
            content,
            length,
            etag,
            last_modified,
            vary: entry.vary,
            content_fields,
            not_modified_fields,
        }
    }

    /// The answer to a GET or HEAD that was routed here: 200, 206, 304, 412 or 416. Allocates nothing.
    #[must_use]
    pub fn respond<'r>(&'r self, request: &Request<'_>) -> Reply<'r> {
        let head = request.method == Method::Head;
        let validators = Validators { etag: self.etag.as_deref(), last_modified: self.last_modified };
        match preconditions(request, &validators) {
            Verdict::Proceed => {}
            Verdict::NotModified => return self.not_modified(),
            Verdict::PreconditionFailed => return Reply::precondition_failed(head),
        }
        match range(request, &validators, self.length) {
            // `range` promises this order; a mistake there must not become a read out of bounds here.
            Span::Part { first, last } if first <= last && last < self.length => {
                let mut more = FieldBuf::new();
                // 27 bytes and three numbers of at most 20: fits.
                more.push(b"Content-Range: bytes ");
                more.push_number(first);
                more.push(b"-");
                more.push_number(last);
                more.push(b"/");
                more.push_number(self.length);
                more.push(b"\r\n");
                Reply { more, ..self.part(Status::PARTIAL_CONTENT, first..last + 1, head) }
            }
            Span::Unsatisfiable => Reply::unsatisfiable(self.length, self.vary, head),
            Span::Whole | Span::Part { .. } => self.part(Status::OK, 0..self.length, head),
        }
    }

    /// Bytes of memory that this representation holds, its body included (not one that is part of the program).
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let body = match &self.content {
            Content::Resident { region, .. } => region.len(),
            Content::Static(_) | Content::File { .. } => 0,
        };
        let etag = self.etag.as_deref().map_or(0, <[u8]>::len);
        size_of::<Self>() + body + etag + self.content_fields.len() + self.not_modified_fields.len()
    }

    /// How large the body is, if it is sent from the file only because the budget had no room for it just then.
    #[must_use]
    pub fn displaced(&self, budget: &Budget) -> Option<u64> {
        (matches!(self.content, Content::File { .. }) && self.length <= budget.per_file)
            .then_some(self.length)
    }

    fn part(&self, status: Status, part: Range<u64>, head: bool) -> Reply<'_> {
        let length = part.end - part.start;
        // Whatever is resident has a length that was a usize.
        let small = || (part.start as usize)..(part.end as usize);
        let body = match &self.content {
            _ if head || length == 0 => Body::Empty,
            Content::Static(bytes) => bytes.get(small()).map_or(Body::Empty, Body::Static),
            Content::Resident { region, .. } => Body::Memory { region, range: small() },
            Content::File { file, range } => {
                Body::File { file, range: range.start + part.start..range.start + part.end }
            }
        };
        Reply {
            status,
            fields: &self.content_fields,
            more: FieldBuf::new(),
            content_length: Some(length),
            body,
        }
    }

    fn not_modified(&self) -> Reply<'_> {
        Reply {
            status: Status::NOT_MODIFIED,
            fields: &self.not_modified_fields,
            more: FieldBuf::new(),
            content_length: None,
            body: Body::Empty,
        }
    }
}

/// Header lines of 200; RFC 9110 §15.3.7 wants the same ones on 206.
fn content_fields(entry: &Entry, etag: Option<&[u8]>, last_modified: Option<u64>) -> Box<[u8]> {
    let mut block = Vec::with_capacity(320);
    line(
        &mut block,
        b"Content-Type",
        &[entry.media.essence.as_bytes(), if entry.media.utf8 { b"; charset=utf-8" } else { b"" }],
    );
    line(&mut block, b"X-Content-Type-Options", &[b"nosniff"]);
    if let Some(name) = coding_name(entry.coding) {
        line(&mut block, b"Content-Encoding", &[name]);
    }
    if entry.vary {
        line(&mut block, b"Vary", &[b"Accept-Encoding"]);
    }
    line(&mut block, b"Accept-Ranges", &[b"bytes"]);
    if let Some(time) = last_modified {
        line(&mut block, b"Last-Modified", &[&date::write_imf(time)]);
    }
    if let Some(etag) = etag {
        line(&mut block, b"ETag", &[etag]);
    }
    block.into_boxed_slice()
}

/// RFC 9110 §15.4.5: what a cache needs to find its copy; a date only where there is no ETag.
fn not_modified_fields(entry: &Entry, etag: Option<&[u8]>, last_modified: Option<u64>) -> Box<[u8]> {
    let mut block = Vec::with_capacity(96);
    if entry.vary {
        line(&mut block, b"Vary", &[b"Accept-Encoding"]);
    }
    match (etag, last_modified) {
        (Some(etag), _) => line(&mut block, b"ETag", &[etag]),
        (None, Some(time)) => line(&mut block, b"Last-Modified", &[&date::write_imf(time)]),
        (None, None) => {}
    }
    block.into_boxed_slice()
}

fn line(block: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    block.extend_from_slice(name);
    block.extend_from_slice(b": ");
    for part in value {
        block.extend_from_slice(part);
    }
    block.extend_from_slice(b"\r\n");
}

/// A strong validator (RFC 9110 §8.8.3): 144 bits of SHA-256 as base64url. The coding stands behind it because the
/// bytes alone do not tell encodings apart: two empty files, or a sidecar that is a plain copy, hash alike.
fn etag(bytes: &[u8], coding: Coding) -> Box<[u8]> {
    let hash = digest(&SHA256, bytes);
    let mut etag = Vec::with_capacity(32);
    etag.push(b'"');
    for three in hash.as_ref()[..ETAG_HASH_BYTES].chunks_exact(3) {
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

fn coding_name(coding: Coding) -> Option<&'static [u8]> {
    match coding {
        Coding::Identity => None,
        Coding::Br => Some(b"br"),
        Coding::Zstd => Some(b"zstd"),
        Coding::Gzip => Some(b"gzip"),
    }
}

/// Archives made to be reproducible carry a date that says nothing: the epoch (Docker), a second later (Nix), the first
/// day of 1980 in any time zone (zip's zero), 1 February 1980 (Gradle). Nothing before 2 January 1980 is a web page.
/// A year of five digits has no HTTP date.
fn is_meaningful(time: u64) -> bool {
    const SECOND_OF_JANUARY_1980: u64 = 315_619_200;
    const GRADLE: u64 = 318_211_200;
    const YEAR_10000: u64 = 253_402_300_800;
    (SECOND_OF_JANUARY_1980..YEAR_10000).contains(&time) && time != GRADLE
}

/// A multiple of three, so that base64 needs no padding.
const ETAG_HASH_BYTES: usize = 18;
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests;
