//! A header list read as a request (RFC 9113 §8.2, §8.3) or as trailers (§8.1).

use super::Limits;
use super::hpack::{Sink, TABLE_SIZE};
use super::priority::Priority;
use crate::authority::{is_authority, is_authority_with_port, is_same_authority};
use crate::chars::{self, TOKEN, is_field_value};
use crate::framing::{content_length, expectation};
use crate::{Field, Fields, Method, Rejection, Request, RequestTarget, Status};

/// Bytes that a field counts beyond its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Bytes that a field counts beyond its name and value in HTTP/1: a colon, a space, and CR LF.
const LINE_OVERHEAD: usize = 4;
/// Recognized fields, pseudo-header fields not counted.
const FIELDS_MAX: usize = 16;

/// The reason why a request is malformed: its stream ends with PROTOCOL_ERROR (§8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A range of the buffer for kept values.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn of<'k>(&self, kept: &'k [u8]) -> &'k [u8] {
        kept.get(self.start..self.end).unwrap_or(&[])
    }
}

/// A request being read. It owns no text: values that are needed later are copied to `kept`.
pub(super) struct Intake<'k> {
    kept: &'k mut [u8],
    limits: &'k Limits,
    parts: Parts,
}

/// The parts of a request, as ranges of the buffer for kept values.
#[derive(Debug)]
pub(super) struct Parts {
    used: usize,
    lines: usize,
    /// Bytes of the list as HTTP/1 would send it.
    size: usize,
    /// Bytes of the list as RFC 9113 §6.5.2 counts them.
    decoded: usize,
    /// A Cookie field has come.
    cookie: bool,
    /// A field that is no pseudo-header field has come.
    regular: bool,
    malformed: Option<Malformed>,
    rejected: Option<Rejection>,
    method: Option<Method>,
    /// The name of one that is unknown.
    method_name: Span,
    scheme: Option<Scheme>,
    path: Option<Span>,
    authority: Option<Span>,
    content_length: Option<u64>,
    priority: Option<Span>,
    fields: [(Field, Span); FIELDS_MAX],
    fields_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scheme {
    Http,
    Https,
    Other,
}

impl Scheme {
    /// The port that an authority without one means (RFC 9110 §4.2).
    fn port(self) -> Option<u16> {
        match self {
            Scheme::Http => Some(80),
            Scheme::Https => Some(443),
            Scheme::Other => None,
        }
    }
}

impl<'k> Intake<'k> {
    /// Begins a request. `kept` has room for a list of the largest allowed size.
    pub(super) fn new(kept: &'k mut [u8], limits: &'k Limits) -> Intake<'k> {
        let parts = Parts {
            used: 0,
            lines: 0,
            size: 0,
            decoded: 0,
            cookie: false,
            regular: false,
            malformed: None,
            rejected: None,
            method: None,
            method_name: Span::default(),
            scheme: None,
            path: None,
            authority: None,
            content_length: None,
            priority: None,
            fields: [(Field::Host, Span::default()); FIELDS_MAX],
            fields_len: 0,
        };
        Intake { kept, limits, parts }
    }

    pub(super) fn finish(self) -> Parts {
        self.parts
    }

    fn keep(&mut self, value: &[u8]) -> Option<Span> {
        let start = self.parts.used;
        let end = start + value.len();
        self.kept.get_mut(start..end)?.copy_from_slice(value);
        self.parts.used = end;
        Some(Span { start, end })
    }

    /// Takes a pseudo-header field (§8.3): each of these comes once, before all fields.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if self.parts.regular {
            return Err(Malformed("a pseudo-header field behind a field"));
        }
        let again = match name {
            b":method" => {
                let method = Method::from_token(value).ok_or(Malformed("a method that is no token"))?;
                if method == Method::Unknown {
                    self.parts.method_name = self.keep(value).unwrap_or_default();
                }
                self.parts.method.replace(method).is_some()
            }
            b":scheme" => self.parts.scheme.replace(scheme(value)?).is_some(),
            b":path" => {
                let kept = self.keep(value).unwrap_or_default();
                self.parts.path.replace(kept).is_some()
            }
            b":authority" => {
                let kept = self.keep(value).unwrap_or_default();
                self.parts.authority.replace(kept).is_some()
            }
            _ => return Err(Malformed("an unknown pseudo-header field")),
        };
        if again { Err(Malformed("a pseudo-header field twice")) } else { Ok(()) }
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        self.parts.regular = true;
        if let Some(field) = Field::from_name(name) {
            // Host is compared with the authority later.
            let full = Rejection::new(Status::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
            match (self.parts.fields_len, self.keep(value)) {
                (at @ ..FIELDS_MAX, Some(span)) => {
                    self.parts.fields[at] = (field, span);
                    self.parts.fields_len += 1;
                }
                _ => self.reject(full),
            }
            return Ok(());
        }
        match name {
            b"content-length" => match content_length(value) {
                Some(length) if self.parts.content_length.is_none() => {
                    self.parts.content_length = Some(length);
                }
                _ => return Err(Malformed("Content-Length is not one number")),
            },
            b"expect" => {
                if let Err(rejection) = expectation(value) {
                    self.reject(rejection);
                }
            }
            // Of several lines the last counts; RFC 8941 would join them, where the last member of
            // a name counts too.
            b"priority" => self.parts.priority = self.keep(value),
            _ => check_regular(name, value)?,
        }
        Ok(())
    }

    /// Refuses the request; the first reason counts.
    fn reject(&mut self, rejection: Rejection) {
        self.parts.rejected.get_or_insert(rejection);
    }
}

const TARGET_TOO_LONG: Rejection = Rejection::new(Status::URI_TOO_LONG, "the request target is too long");
const LIST_TOO_LARGE: Rejection = Rejection::new(
    Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request has too many header fields, or too long ones",
);

impl Sink for Intake<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.parts.decoded += name.len() + value.len() + FIELD_OVERHEAD;
        // RFC 9113 §8.2.3: clients cut Cookie into its parts, which are one line in HTTP/1, with a
        // semicolon and a space between.
        let is_crumb = name == b"cookie" && std::mem::replace(&mut self.parts.cookie, true);
        // In HTTP/1 the first three are the request line, and the fourth is Host.
        let (is_line, size) = match name {
            b":method" | b":scheme" | b":path" => (false, value.len() + LINE_OVERHEAD),
            b":authority" => (true, value.len() + LINE_OVERHEAD),
            _ if is_crumb => (false, value.len() + 2),
            _ => (true, name.len() + value.len() + LINE_OVERHEAD),
        };
        self.parts.lines += usize::from(is_line);
        self.parts.size += size;
        // Before the size of the list: the same answer as in HTTP/1.
        if name == b":path" && value.len() > self.limits.target {
            self.reject(TARGET_TOO_LONG);
        }
        if self.parts.size > self.limits.list || self.parts.lines > self.limits.fields {
            self.reject(LIST_TOO_LARGE);
            // Wherever it stands: the answer to a HEAD has no content.
            if name == b":method" && self.parts.method.is_none() {
                self.parts.method = Method::from_token(value);
            }
            // The rest is decoded, so that the table stays in step, and thrown away.
            return self.parts.decoded <= self.limits.list_decoded;
        }
        if self.parts.malformed.is_none() {
            let read = match name.first() {
                _ if !is_trimmed_value(value) => {
                    Err(Malformed("a field value with characters that none has"))
                }
                Some(b':') => self.pseudo(name, value),
                _ if !is_field_name(name) => Err(Malformed("a field name that is none")),
                _ => self.regular(name, value),
            };
            self.parts.malformed = read.err();
        }
        true
    }
}

impl Parts {
    /// Checks the whole request (§8.3.1).
    ///
    /// # Errors
    /// The request is malformed.
    pub(super) fn check(&self, kept: &[u8]) -> Result<Asked, Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        let mut asked = Asked {
            method: self.method.unwrap_or(Method::Unknown),
            content_length: self.content_length,
            priority: self.priority.map_or(Priority::DEFAULT, |span| Priority::parse(span.of(kept))),
            rejected: self.rejected,
        };
        // A list that was not read to its end may lack anything.
        if asked.rejected.is_some() {
            return Ok(asked);
        }
        let method = self.method.ok_or(Malformed("no method"))?;
        if method == Method::Connect {
            // §8.5
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Malformed("CONNECT with a scheme or a path"));
            }
            let authority = self.authority.ok_or(Malformed("CONNECT without an authority"))?;
            if !is_authority_with_port(authority.of(kept)) {
                return Err(Malformed("an authority that is none"));
            }
            return Ok(asked);
        }
        let scheme = self.scheme.ok_or(Malformed("no scheme"))?;
        let path = self.path.ok_or(Malformed("no path"))?.of(kept);
        self.check_authority(kept, scheme)?;
        if scheme == Scheme::Other {
            asked.rejected =
                Some(Rejection::new(Status::MISDIRECTED_REQUEST, "this server knows http and https only"));
        } else if target(method, path).is_none() {
            return Err(Malformed("a path that is none"));
        }
        Ok(asked)
    }

    /// Returns whether a list that is far too large comes from a block (of `block` bytes) that
    /// cannot have held it: it names entries of the dynamic table over and over. Huffman code is
    /// more than half as long as its text, and the table is full when it holds each entry once.
    pub(super) fn is_bomb(&self, block: usize, limits: &Limits) -> bool {
        self.size > limits.list.saturating_mul(2) && self.size > 2 * (block + TABLE_SIZE)
    }

    /// Checks `:authority` and Host (§8.3.1): one of them at least is there, and both name the
    /// same, with the scheme's port or without.
    fn check_authority(&self, kept: &[u8], scheme: Scheme) -> Result<(), Malformed> {
        let mut named = self.authority.map(|span| span.of(kept));
        for (_, span) in self.fields[..self.fields_len].iter().filter(|(field, _)| *field == Field::Host) {
            let host = span.of(kept);
            if named.is_some_and(|named| !is_same_authority(named, host, scheme.port())) {
                return Err(Malformed("two authorities"));
            }
            named = Some(host);
        }
        match named {
            Some(authority) if is_authority(authority) => Ok(()),
            Some(_) => Err(Malformed("an authority that is none")),
            None => Err(Malformed("no authority")),
        }
    }

    /// Returns the request, once it has been checked.
    pub(super) fn view<'k>(&self, kept: &'k [u8]) -> Request<'k> {
        let method = self.method.unwrap_or(Method::Unknown);
        let path = self.path.map_or(&b"*"[..], |span| span.of(kept));
        let target = target(method, path).unwrap_or(RequestTarget { path: b"*", query: None });
        let mut request = Request::new(method, target);
        request.method_name = self.method_name.of(kept);
        for (field, span) in &self.fields[..self.fields_len] {
            let value = span.of(kept);
            if *field == Field::Host {
                request.authority = Some(value);
            }
            // There are as many places in both lists.
            let _ = request.fields.push(*field, value);
        }
        request.authority = self.authority.map(|span| span.of(kept)).or(request.authority);
        request
    }
}

/// The parts of a request that the connection needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) content_length: Option<u64>,
    pub(super) priority: Priority,
    pub(super) rejected: Option<Rejection>,
}

/// Trailers, which are checked and not kept.
pub(super) struct Trailers {
    /// Bytes as RFC 9113 §6.5.2 counts them.
    decoded: usize,
    limit: usize,
    pub(super) malformed: Option<Malformed>,
}

impl Trailers {
    pub(super) fn new(limits: &Limits) -> Trailers {
        Trailers { decoded: 0, limit: limits.list_decoded, malformed: None }
    }
}

impl Sink for Trailers {
    fn field(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.decoded += name.len() + value.len() + FIELD_OVERHEAD;
        if !is_field_name(name) || !is_trimmed_value(value) {
            // §8.1: no pseudo-header fields either; a name does not begin with a colon.
            self.malformed.get_or_insert(Malformed("a trailer that is no field"));
        } else if let Err(malformed) = check_regular(name, value) {
            self.malformed.get_or_insert(malformed);
        }
        self.decoded <= self.limit
    }
}

/// Refuses fields that concern a connection of HTTP/1 (§8.2.2).
fn check_regular(name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err(Malformed("a field that belongs to a connection of HTTP/1"))
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err(Malformed("TE says more than trailers")),
        _ => Ok(()),
    }
}

/// Returns whether `name` is a field name (§8.2.1) in lower case (§8.2).
fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| chars::is(byte, TOKEN) && !byte.is_ascii_uppercase())
}

/// Returns whether `value` is a field value without whitespace at its ends (§8.2.1). All control
/// characters but tab are refused, as in HTTP/1 (RFC 9110 §5.5).
fn is_trimmed_value(value: &[u8]) -> bool {
    let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_field_value(value) && !padded(value.first()) && !padded(value.last())
}

/// Reads a scheme (RFC 3986 §3.1).
fn scheme(value: &[u8]) -> Result<Scheme, Malformed> {
    if value.eq_ignore_ascii_case(b"https") {
        return Ok(Scheme::Https);
    }
    if value.eq_ignore_ascii_case(b"http") {
        return Ok(Scheme::Http);
    }
    let is_scheme = value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    if is_scheme { Ok(Scheme::Other) } else { Err(Malformed("a scheme that is none")) }
}

/// Splits `:path` into path and query; it is `*` for OPTIONS (§8.3.1).
fn target(method: Method, path: &[u8]) -> Option<RequestTarget<'_>> {
    if path == b"*" && matches!(method, Method::Options | Method::Connect) {
        return Some(RequestTarget { path, query: None });
    }
    RequestTarget::from_origin_form(path)
}

const _: () = assert!(FIELDS_MAX == Fields::KEPT_MAX);
