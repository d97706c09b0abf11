//! An answer: status, header lines, body. Nothing here allocates.

use crate::answer::field_buf::FieldBuf;
use crate::answer::fields::VALIDATORS_MAX;
use crate::answer::fixed_lines::{FOLDER, PLAIN, PLAIN_ALLOW, PLAIN_VARY};
use crate::answer::hsts::HSTS_LINE_MAX;
use crate::answer::multipart::Plan;
use crate::open::pack;
use crate::open::path::NAME_MAX;
use crate::open::streamed::Streamed;
use crate::rules::{FIXED_BYTES_MAX, HEADER_LINES_MAX, HeaderSet, Occasion, PIECES_MAX};
use sitar_http::{FIELDS_MAX, Request, Status};
use sitar_io::Region;
use std::ops::Range;

/// A response as far as the site knows it. The server adds Date, Connection and Content-Length.
#[derive(Debug)]
pub struct Reply<'r> {
    /// The status.
    pub status: Status,
    /// Prebuilt header lines, each `name: value\r\n`; what is sent are the
    /// [`pieces`](Reply::pieces).
    pub(crate) fields: &'r [u8],
    /// The same as a header block of HTTP/2; empty where none has been made.
    pub(crate) encoded: &'r [u8],
    /// Further header lines that depend on the request (Content-Range, Location with a query), in
    /// the same form.
    pub(crate) more: &'r mut FieldBuf,
    /// The site's own rules about headers, as far as they concern this answer.
    pub(crate) headers: Option<HeaderSet<'r>>,
    /// The value of Content-Length, for HEAD too (RFC 9110 §8.6); `None` where there must be none
    /// (204) or need be none (304).
    pub content_length: Option<u64>,
    /// The content; [`Body::Empty`] for HEAD.
    pub body: Body<'r>,
}

/// The place of the content.
#[derive(Clone, Debug)]
pub enum Body<'r> {
    /// Nothing to send.
    Empty,
    /// Bytes that are part of the program.
    Static(&'static [u8]),
    /// A part of a region.
    Memory {
        /// The region.
        region: &'r Region,
        /// The bytes of it.
        range: Range<usize>,
    },
    /// Several parts of what lies in memory.
    Multipart(Multipart<'r>),
    /// A part of a file too large for memory.
    File {
        /// The file.
        file: &'r Streamed,
        /// The bytes of it, for [`Streamed::place`] to find.
        range: Range<u64>,
    },
}

/// The body of an answer of several parts: where its bytes are, and which of them are sent.
#[derive(Clone, Copy, Debug)]
pub enum Multipart<'r> {
    /// Of bytes that are part of the program.
    Static(&'static [u8], &'r Plan),
    /// Of a region.
    Memory(&'r Region, &'r Plan),
}

/// Memory that is lent to an answer for what depends on the request. It serves one answer after
/// another.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Header lines.
    pub(crate) lines: FieldBuf,
    /// The parts of a body with several ranges.
    pub(crate) plan: Option<Plan>,
}

impl Scratch {
    /// Memory in which nothing is written.
    #[must_use]
    pub const fn new() -> Scratch {
        Scratch { lines: FieldBuf::new(), plan: None }
    }
}

impl<'r> Reply<'r> {
    /// Returns the bytes of content that are sent.
    #[must_use]
    pub fn content(&self) -> u64 {
        if matches!(self.body, Body::Empty) { 0 } else { self.content_length.unwrap_or(0) }
    }

    /// Calls `send` with the header lines of this answer, each `name: value\r\n`, in pieces: whole
    /// lines, or a part of one line that ends with the first piece behind it that ends in LF.
    pub fn pieces<T>(&self, send: impl FnOnce(&[&[u8]]) -> T) -> T {
        match &self.headers {
            None => send(&[self.fields, self.more]),
            Some(headers) => {
                let mut pieces = [&b""[..]; PIECES_MAX + 1];
                let len = headers.gather(self.occasion(), self.fields, &mut pieces[..PIECES_MAX]);
                pieces[len] = self.more;
                send(&pieces[..=len])
            }
        }
    }

    /// Calls `send` with the header lines of this answer as HTTP/2 has them: a header block that
    /// was made beforehand ([`sitar_http::h2::field_block`]), and lines in pieces that belong
    /// behind it.
    pub fn encoded<T>(&self, send: impl FnOnce(&[u8], &[&[u8]]) -> T) -> T {
        match &self.headers {
            None if !self.encoded.is_empty() => send(self.encoded, &[self.more]),
            _ => self.pieces(|pieces| send(&[], pieces)),
        }
    }

    /// The same answer, which is no file's, with the line of HSTS. Where a Location leaves no room
    /// for it, the request's target was too long.
    pub(crate) fn with_hsts(self, line: &[u8], head: bool) -> Reply<'r> {
        if self.more.push(line) {
            return self;
        }
        let reply = Reply::uri_too_long(self.more, head);
        // What was written has been taken back.
        reply.more.push(line);
        reply
    }

    /// The same answer without the line of HSTS that was added to it.
    pub(crate) fn without_hsts(mut self, line: &[u8]) -> Reply<'r> {
        self.more.remove(line);
        let found = self.fields.windows(line.len().max(1)).position(|lines| lines == line);
        // What stands behind it in a block moves; the answers that this is for have short ones.
        if let Some(start) = found
            && self.more.push(&self.fields[start + line.len()..])
        {
            self.fields = &self.fields[..start];
            self.encoded = &[];
        }
        self
    }

    /// The same answer with the site's own header rules.
    pub(crate) fn ruled(mut self, headers: Option<HeaderSet<'r>>, request: &Request<'_>) -> Reply<'r> {
        self.headers = headers;
        let occasion = self.occasion();
        if let Some(set) = &mut self.headers {
            set.fill(occasion, request, self.more);
        }
        self
    }

    pub(crate) fn occasion(&self) -> Occasion {
        match self.status {
            Status::OK | Status::PARTIAL_CONTENT => Occasion::Content,
            Status::NOT_MODIFIED => Occasion::NotModified,
            Status::NO_CONTENT
            | Status::MOVED_PERMANENTLY
            | Status::FOUND
            | Status::SEE_OTHER
            | Status::TEMPORARY_REDIRECT
            | Status::PERMANENT_REDIRECT => Occasion::Bare,
            _ => Occasion::Failure,
        }
    }

    /// A short answer in plain text. The header lines must say so.
    pub(crate) fn text(
        status: Status,
        fields: &'r [u8],
        body: &'static [u8],
        more: &'r mut FieldBuf,
        head: bool,
    ) -> Reply<'r> {
        Reply {
            status,
            fields,
            encoded: &[],
            more,
            headers: None,
            content_length: Some(body.len() as u64),
            body: if head { Body::Empty } else { Body::Static(body) },
        }
    }

    pub(crate) fn bad_request(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(Status::BAD_REQUEST, PLAIN, b"400 Bad Request: the path is malformed\n", more, head)
    }

    pub(crate) fn not_found(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(Status::NOT_FOUND, PLAIN, b"404 Not Found\n", more, head)
    }

    /// The error that a rule answers with and has no page for.
    pub(crate) fn error(status: Status, more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(status, PLAIN, status.as_line(), more, head)
    }

    /// There is a representation, but only in encodings that this client does not take.
    pub(crate) fn not_found_encoded(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(
            Status::NOT_FOUND,
            PLAIN_VARY,
            b"404 Not Found: only a compressed form exists\n",
            more,
            head,
        )
    }

    /// RFC 9110 §15.5.6: Allow lists what the resource supports.
    pub(crate) fn method_not_allowed(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(Status::METHOD_NOT_ALLOWED, PLAIN_ALLOW, b"405 Method Not Allowed\n", more, head)
    }

    pub(crate) fn not_implemented(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(Status::NOT_IMPLEMENTED, PLAIN, b"501 Not Implemented\n", more, head)
    }

    /// RFC 9110 §9.3.7; a 204 has no Content-Length (§8.6).
    pub(crate) fn options(more: &'r mut FieldBuf) -> Reply<'r> {
        Reply {
            status: Status::NO_CONTENT,
            fields: b"Allow: GET, HEAD, OPTIONS\r\n",
            encoded: &[],
            more,
            headers: None,
            content_length: None,
            body: Body::Empty,
        }
    }

    /// Adds the slash of a directory. 301 and not 308: only GET and HEAD get here, for which both
    /// mean the same, and older clients know only 301.
    ///
    /// `block` comes from [`redirect_block`](crate::answer::fixed_lines::redirect_block): its path
    /// was made from the index's own name, so it is the same whatever the client wrote, and starts
    /// with exactly one slash (`//host` cannot become another host).
    pub(crate) fn redirect(
        block: &'r [u8],
        query: Option<&[u8]>,
        more: &'r mut FieldBuf,
        head: bool,
    ) -> Reply<'r> {
        let body = b"301 Moved Permanently\n";
        let Some(query) = query else {
            return Reply::text(Status::MOVED_PERMANENTLY, block, body, more, head);
        };
        let location = block.split(|&byte| byte == b'\r').next().unwrap_or(block);
        if more.push(location) && more.push(b"?") && more.push_query(query) && more.push(b"\r\n") {
            Reply::text(Status::MOVED_PERMANENTLY, FOLDER, body, more, head)
        } else {
            // A shortened query would be another query.
            Reply::uri_too_long(more, head)
        }
    }

    /// Leads to the address of a page, which is not the one that was asked. `key` is its path
    /// without the first slash: made from names of the index, so it does not begin with another
    /// one.
    pub(crate) fn redirect_to_page(
        key: &[u8],
        query: Option<&[u8]>,
        more: &'r mut FieldBuf,
        head: bool,
    ) -> Reply<'r> {
        let written = more.push(b"Location: /")
            && more.push_path(key)
            && query.is_none_or(|query| more.push(b"?") && more.push_query(query))
            && more.push(b"\r\n");
        if !written {
            return Reply::uri_too_long(more, head);
        }
        Reply::text(Status::MOVED_PERMANENTLY, FOLDER, b"301 Moved Permanently\n", more, head)
    }

    pub(crate) fn uri_too_long(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        // What has been written of a Location.
        more.clear();
        Reply::text(Status::URI_TOO_LONG, PLAIN, b"414 URI Too Long: to be redirected\n", more, head)
    }

    /// A redirect by a rule. `block` comes from
    /// [`location_block`](crate::answer::fixed_lines::location_block); or it is empty, and the
    /// Location stands in `more`.
    pub(crate) fn redirect_to(
        status: Status,
        block: &'r [u8],
        more: &'r mut FieldBuf,
        head: bool,
    ) -> Reply<'r> {
        let fields = if block.is_empty() { PLAIN } else { block };
        Reply::text(status, fields, status.as_line(), more, head)
    }

    pub(crate) fn precondition_failed(more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        Reply::text(Status::PRECONDITION_FAILED, PLAIN, b"412 Precondition Failed\n", more, head)
    }

    /// RFC 9110 §15.5.17: says how long the content is.
    pub(crate) fn unsatisfiable(length: u64, vary: bool, more: &'r mut FieldBuf, head: bool) -> Reply<'r> {
        let fields = if vary { PLAIN_VARY } else { PLAIN };
        // 26 bytes and a number of at most 20: fits.
        more.push(b"Content-Range: bytes */");
        more.push_number(length);
        more.push(b"\r\n");
        Reply::text(Status::RANGE_NOT_SATISFIABLE, fields, b"416 Range Not Satisfiable\n", more, head)
    }
}

// An answer's header lines stay within what every version of HTTP can send. What a site brings is
// held against these bounds when it opens: a pack's header blocks, and rules that can meet on one
// path. The lines of a file: its block and validators, those of rules, and those that depend on the
// request.
const _: () = assert!(
    pack::LINES_MAX + HSTS_LINE_MAX + VALIDATORS_MAX + FIXED_BYTES_MAX + FieldBuf::CAPACITY <= FIELDS_MAX,
    "a file's answer with rules"
);
// The redirect to a folder, whose name may be escaped byte by byte; rules add to it what there is
// room for.
const _: () = assert!(
    b"Location: //\r\n".len() + 3 * NAME_MAX + FOLDER.len() + FieldBuf::CAPACITY <= FIELDS_MAX,
    "a redirect to a folder"
);
// Each line of a file may become a piece of its own, when a rule replaces others.
const _: () = assert!(pack::LINES_COUNT_MAX + 1 + 2 + HEADER_LINES_MAX <= PIECES_MAX);
