//! A file ready to be sent: bytes in a region (or a range of a file), validators, and header lines
//! built once.

use crate::answer::field_buf::FieldBuf;
use crate::answer::fields::{self, Blocks, Lines};
use crate::answer::lifetime::Lifetime;
use crate::answer::media::Media;
use crate::answer::multipart::Plan;
use crate::answer::reply::{Body, Multipart, Reply, Scratch};
use crate::answer::route::Target;
use crate::open::budget::Budget;
use crate::open::entry::Entry;
use crate::open::hash::{Hash, sha256};
use crate::open::origin::Origin;
use crate::open::streamed::Streamed;
use crate::rules::HeaderSet;
pub(crate) use dates::{Dates, is_meaningful, no_later};
use sitar_http::semantics::{
    Coding, PreconditionResult, RangeParts, RangeSelection, Validators, preconditions, range, wants_sha256,
};
use sitar_http::{Method, Request, Status};
use sitar_io::Region;
use std::ops::Range;
use std::time::SystemTime;

/// A body that does not have the hash that its pack says.
#[derive(Debug)]
pub(crate) struct Mismatch;

/// The bytes of a representation.
#[derive(Debug)]
pub(crate) enum Content {
    Static(&'static [u8]),
    /// The region's lease is its part of the budget.
    Resident(Region),
    File {
        file: Streamed,
        range: Range<u64>,
    },
}

impl Content {
    /// Bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Content::Static(bytes) => bytes.len() as u64,
            Content::Resident(region) => region.len() as u64,
            Content::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }
}

/// Tells the content of a representation from any other, and becomes its ETag.
#[derive(Debug)]
pub(crate) enum Identity {
    /// SHA-256 of the content.
    Content(Hash),
    /// The version of the file that it is sent from, and the place in it ([`Origin::version`]):
    /// where hashing would cost a whole read. `until`: the file is younger than the grain of its
    /// times, and then there is to be another.
    Version { version: Hash, until: Option<SystemTime> },
}

/// A file that has been loaded.
#[derive(Debug)]
pub struct Representation {
    content: Content,
    /// The origin of the bytes, to compare whether they are still the same; `None`: that
    /// cannot be told.
    origin: Option<Origin>,
    length: u64,
    etag: Box<[u8]>,
    /// The time from which the ETag is made again.
    until: Option<SystemTime>,
    dates: Dates,
    vary: bool,
    /// SHA-256 of the content; `None` where it is sent from the file, and no pack knows it.
    pub(crate) hash: Option<Hash>,
    /// The type; `None` for encoded content.
    media: Option<Media>,
    /// The type of what it decodes to, if a rule says that it is encoded.
    decoded: Option<Media>,
    /// Header lines of 200 and 206.
    content_fields: Lines,
    /// Bytes of them that only say what the content is: all that an error carries.
    described: usize,
    /// Bytes of the line of HSTS, with which those end.
    hsts: usize,
    /// Header lines of 304.
    not_modified_fields: Lines,
}

impl Representation {
    /// `identity` is that of content which is sent from a file; any other is hashed.
    pub(crate) fn new(
        content: Content,
        identity: impl FnOnce() -> std::io::Result<Identity>,
        entry: &Entry,
        dates: Dates,
        origin: Option<Origin>,
    ) -> std::io::Result<Representation> {
        let identity = match &content {
            Content::Static(bytes) => Identity::Content(sha256(bytes)),
            Content::Resident(region) => Identity::Content(sha256(region)),
            Content::File { .. } => identity()?,
        };
        let made = Representation::assemble(content, &identity, Blocks::of(entry), entry, dates);
        Ok(Representation { origin, ..made })
    }

    /// Out of a pack, which knows the hash and may know the header lines.
    ///
    /// # Errors
    /// The body is not the one that was packed.
    pub(crate) fn packed(
        content: Content,
        hash: &Hash,
        blocks: Option<&Blocks>,
        entry: &Entry,
        dates: Dates,
    ) -> Result<Representation, Mismatch> {
        if let Content::Resident(region) = &content
            && sha256(region) != *hash
        {
            return Err(Mismatch);
        }
        Ok(Representation::checked(content, hash, blocks, entry, dates))
    }

    pub(crate) fn checked(
        content: Content,
        hash: &Hash,
        blocks: Option<&Blocks>,
        entry: &Entry,
        dates: Dates,
    ) -> Representation {
        let blocks = blocks.cloned().unwrap_or_else(|| Blocks::of(entry));
        Representation::assemble(content, &Identity::Content(*hash), blocks, entry, dates)
    }

    /// Something that lies in no file, with header lines of its own.
    pub(crate) fn generated(
        content: Content,
        hash: &Hash,
        blocks: Blocks,
        media: Media,
        dates: Dates,
    ) -> Representation {
        let lifetime = Lifetime::Revalidate;
        let entry =
            Entry { source: 0, media, coding: Coding::Identity, vary: false, decoded: None, lifetime };
        Representation::assemble(content, &Identity::Content(*hash), blocks, &entry, dates)
    }

    /// The same bytes, from the same place in a directory, as an entry of another index: nothing is
    /// read or hashed, the header lines are made again. `None` unless the body is in memory.
    pub(crate) fn inherited(&self, entry: &Entry, origin: Origin, dates: Dates) -> Option<Representation> {
        let content = self.shared()?;
        let identity = Identity::Content(self.hash?);
        let made = Representation::assemble(content, &identity, Blocks::of(entry), entry, dates);
        Some(Representation { origin: Some(origin), ..made })
    }

    /// The same bytes, whose hash is `hash`, as an entry of another pack. `None` unless the body is
    /// in memory.
    pub(crate) fn repacked(
        &self,
        hash: &Hash,
        blocks: Option<&Blocks>,
        entry: &Entry,
        dates: Dates,
    ) -> Option<Representation> {
        Some(Representation::checked(self.shared()?, hash, blocks, entry, dates))
    }

    /// The body, if it is in memory that can be shared.
    fn shared(&self) -> Option<Content> {
        match &self.content {
            Content::Resident(region) => Some(Content::Resident(region.clone())),
            Content::Static(_) | Content::File { .. } => None,
        }
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    pub(crate) fn dates(&self) -> Dates {
        self.dates
    }

    fn assemble(
        content: Content,
        identity: &Identity,
        blocks: Blocks,
        entry: &Entry,
        dates: Dates,
    ) -> Representation {
        let length = content.len();
        let (Identity::Content(digest) | Identity::Version { version: digest, .. }) = &identity;
        let etag = fields::etag(digest, entry.coding);
        let (hash, until) = match identity {
            Identity::Content(hash) => (Some(*hash), None),
            Identity::Version { until, .. } => (None, *until),
        };
        let dates = dates.with(dates.modified.filter(|&time| is_meaningful(time)));
        let Blocks { content: lines, not_modified } = blocks;
        let (mut content_fields, mut not_modified_fields) = (lines.into_vec(), not_modified.into_vec());
        fields::push_validators(&mut content_fields, &etag, dates.modified);
        // What a cache needs to find its copy (RFC 9110 §15.4.5).
        fields::push_validators(&mut not_modified_fields, &etag, None);
        Representation {
            content,
            origin: None,
            length,
            etag,
            until,
            dates,
            vary: entry.vary,
            hash,
            media: (entry.coding == Coding::Identity).then_some(entry.media),
            decoded: entry.decoded,
            described: fields::described(&content_fields),
            hsts: 0,
            content_fields: Lines::new(content_fields),
            not_modified_fields: Lines::new(not_modified_fields),
        }
    }

    /// The answer to a GET or HEAD that was routed here: 200, 206, 304, 412 or 416; or an error
    /// with this content. Allocates nothing.
    #[must_use]
    pub fn respond<'r>(&'r self, request: &Request<'_>, target: Target<'r>) -> Reply<'r> {
        let Target { status, mut headers, scratch, .. } = target;
        let head = request.method == Method::Head;
        // RFC 9110 §13.2.1, §14.2: conditions and ranges are for successes.
        let mut reply = if status == Status::OK {
            self.success(request, headers.as_ref(), scratch, head)
        } else {
            self.failure(status, &mut scratch.lines, head)
        };
        self.add_digest(&mut reply, request);
        if let Some(set) = &mut headers {
            self.add_decoded_type(&mut reply, set);
        }
        reply.ruled(headers, request)
    }

    /// The type of what is stored encoded is that of what it decodes to (RFC 9110 §8.4):
    /// `x.wasm.gz` with Content-Encoding is `application/wasm`. Unless the rules say otherwise.
    fn add_decoded_type(&self, reply: &mut Reply<'_>, headers: &mut HeaderSet<'_>) {
        if let Some(media) = self.decoded
            && headers.stored().is_some()
            && !headers.replaces_type()
            && matches!(reply.status, Status::OK | Status::PARTIAL_CONTENT)
        {
            headers.replace_type();
            // Some 100 bytes: there is room for them beside a range.
            reply.more.push(b"Content-Type: ");
            reply.more.push(media.essence.as_bytes());
            reply.more.push(if media.utf8 { b"; charset=utf-8\r\n" } else { b"\r\n" });
        }
    }

    /// RFC 9530 §3: the digest of the whole representation, also beside a part of it.
    fn add_digest(&self, reply: &mut Reply<'_>, request: &Request<'_>) {
        if let Some(hash) = &self.hash
            && matches!(reply.status, Status::OK | Status::PARTIAL_CONTENT)
            && wants_sha256(request)
        {
            // 70 bytes: there is room for them beside the ranges.
            reply.more.push(b"Repr-Digest: sha-256=:");
            reply.more.push(&fields::base64(hash));
            reply.more.push(b":\r\n");
        }
    }

    /// The first bytes of the content, all of them if they are in memory; and how many there are.
    ///
    /// # Errors
    /// The kernel's, or the file was changed.
    pub fn beginning(&self, at_most: usize) -> std::io::Result<(Vec<u8>, u64)> {
        let bytes = match &self.content {
            Content::Static(bytes) => bytes.to_vec(),
            Content::Resident(region) => region.to_vec(),
            Content::File { file, range } => {
                let mut bytes = vec![0; usize::try_from(self.length).map_or(at_most, |all| all.min(at_most))];
                file.read_exact_at(&mut bytes, range.start)?;
                bytes
            }
        };
        Ok((bytes, self.length))
    }

    /// The content as the text of an error: what it is, and nothing that would let a cache take it
    /// for the real thing.
    fn failure<'r>(&'r self, status: Status, more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        let fields = self.content_fields.text.get(..self.described).unwrap_or_default();
        Reply { fields, encoded: &[], ..self.part(status, 0..self.length, more, head) }
    }

    fn validators(&self) -> Validators<'_> {
        let Dates { modified, since } = self.dates;
        let last_modified = modified.map(|modified| modified.max(since));
        Validators { etag: Some(&self.etag), last_modified }
    }

    /// Whether the answer to this request with this status, that of its target, has any of the
    /// content: unlike one to HEAD, and unlike 304 and 412.
    #[must_use]
    pub fn is_sent(&self, request: &Request<'_>, status: Status) -> bool {
        request.method != Method::Head
            && (status != Status::OK
                || preconditions(request, &self.validators()) == PreconditionResult::Proceed)
    }

    fn success<'r>(
        &'r self,
        request: &Request<'_>,
        headers: Option<&HeaderSet<'_>>,
        scratch: &'r mut Scratch,
        head: bool,
    ) -> Reply<'r> {
        let validators = self.validators();
        match preconditions(request, &validators) {
            PreconditionResult::Proceed => {}
            PreconditionResult::NotModified => return self.not_modified(&mut scratch.lines),
            PreconditionResult::Failed => {
                return self.refusal(Reply::precondition_failed(&mut scratch.lines, head), headers);
            }
        }
        match range(request, &validators, self.length) {
            // `range` promises this order; a mistake there must not become a read out of bounds
            // here.
            RangeSelection::Part { first, last } if first <= last && last < self.length => {
                self.single(first, last, &mut scratch.lines, head)
            }
            RangeSelection::Parts(parts) => self.parts(parts, headers, scratch, head),
            RangeSelection::Unsatisfiable => {
                let is_stored = headers.is_some_and(|headers| headers.stored().is_some());
                let lines = &mut scratch.lines;
                self.refusal(Reply::unsatisfiable(self.length, self.vary && !is_stored, lines, head), headers)
            }
            RangeSelection::Whole | RangeSelection::Part { .. } => {
                self.part(Status::OK, 0..self.length, &mut scratch.lines, head)
            }
        }
    }

    fn single<'r>(&'r self, first: u64, last: u64, more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        more.push_content_range(first, last, self.length);
        self.part(Status::PARTIAL_CONTENT, first..last + 1, more, head)
    }

    /// Several parts, or only the first, which a client has to expect (RFC 9110 §15.3.7,
    /// §15.3.7.2). Only the first part is sent of a file that is not in memory, of an encoded one,
    /// because its encoding is not that of the parts' frame, and where a rule has the type.
    fn parts<'r>(
        &'r self,
        parts: RangeParts,
        headers: Option<&HeaderSet<'_>>,
        scratch: &'r mut Scratch,
        head: bool,
    ) -> Reply<'r> {
        let Scratch { lines: more, plan } = scratch;
        let is_ruled = headers.is_some_and(|headers| headers.replaces_type() || headers.stored().is_some());
        *plan = match &self.hash {
            Some(hash) if !is_ruled => self.media.map(|media| Plan::new(parts, media, self.length, hash)),
            _ => None,
        };
        let body = match (&self.content, &*plan) {
            (Content::Static(bytes), Some(plan)) => Some((Multipart::Static(bytes, plan), plan)),
            (Content::Resident(region), Some(plan)) => Some((Multipart::Memory(region, plan), plan)),
            _ => None,
        };
        let Some((body, plan)) = body else {
            return match parts.as_slice().first() {
                Some(&(first, last)) if first <= last && last < self.length => {
                    self.single(first, last, more, head)
                }
                _ => self.part(Status::OK, 0..self.length, more, head),
            };
        };
        plan.push_type(more);
        // The first line is the type, and the answer's is another.
        let text = &self.content_fields.text;
        let line = text.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        Reply {
            status: Status::PARTIAL_CONTENT,
            fields: text.get(line..).unwrap_or_default(),
            encoded: &[],
            more,
            headers: None,
            content_length: Some(plan.content_length()),
            body: if head { Body::Empty } else { Body::Multipart(body) },
        }
    }

    /// Bytes of memory that this representation holds, its body included (not one that is part of
    /// the program).
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let body = match &self.content {
            Content::Resident(region) => region.len(),
            Content::Static(_) | Content::File { .. } => 0,
        };
        size_of::<Self>()
            + body
            + self.etag.len()
            + self.content_fields.len()
            + self.not_modified_fields.len()
    }

    /// Whether it keeps a descriptor of its own open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(&self.content, Content::File { file, .. } if file.is_own())
    }

    /// Whether its body is to be sent from a file that has been written to since: it must be loaded
    /// again. A body in memory stays what it was. Asks the kernel about files only.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(&self.content, Content::File { file, .. } if !file.is_unchanged())
    }

    /// Whether its ETag was made for a file that had only just been changed, and that is over at
    /// this time: it must be loaded again.
    #[must_use]
    pub fn is_makeshift(&self, now: impl FnOnce() -> SystemTime) -> bool {
        self.until.is_some_and(|until| now() >= until)
    }

    /// Returns the size of the body, if it is sent from the file though there could be room for it
    /// in memory at another time.
    #[must_use]
    pub fn displaced(&self, budget: &Budget) -> Option<u64> {
        (matches!(self.content, Content::File { .. }) && budget.allows(self.length)).then_some(self.length)
    }

    fn part<'r>(&'r self, status: Status, part: Range<u64>, more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        let length = part.end - part.start;
        // Whatever is resident has a length that was a usize.
        let small = || (part.start as usize)..(part.end as usize);
        let body = match &self.content {
            _ if head || length == 0 => Body::Empty,
            Content::Static(bytes) => bytes.get(small()).map_or(Body::Empty, Body::Static),
            Content::Resident(region) => Body::Memory { region, range: small() },
            Content::File { file, range } => {
                Body::File { file, range: range.start + part.start..range.start + part.end }
            }
        };
        Reply {
            status,
            fields: &self.content_fields.text,
            encoded: &self.content_fields.encoded,
            more,
            headers: None,
            content_length: Some(length),
            body,
        }
    }

    fn not_modified<'r>(&'r self, more: &'r mut FieldBuf) -> Reply<'r> {
        Reply {
            status: Status::NOT_MODIFIED,
            fields: &self.not_modified_fields.text,
            encoded: &self.not_modified_fields.encoded,
            more,
            headers: None,
            content_length: None,
            body: Body::Empty,
        }
    }
}

mod dates;
mod secured;
#[cfg(test)]
mod tests;
