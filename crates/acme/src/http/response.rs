//! Reading of answers: heads by httparse, bodies by length, by chunks or up to the end.

use std::io::Read;

use crate::problem::{Failure, Kind};

/// The most bytes of a head, of heads of interim answers and of trailers, all together.
const HEAD_MAX: usize = 64 * 1024;
/// The most bytes of a body: a chain of certificates and a list of 100 names are far smaller.
const BODY_MAX: usize = 1024 * 1024;
/// The most header fields.
const FIELDS_MAX: usize = 100;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first field of a name, which is given in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    /// Returns the fields of a name, which is given in lower case.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Reads an answer, whose first bytes have been read already. Returns it, and whether the
/// connection can be used again.
pub(crate) fn read(first: &[u8], source: &mut dyn Read, is_head: bool) -> Result<(Response, bool), Failure> {
    let mut input = Input { source, buffer: first.to_vec(), start: 0, left: HEAD_MAX };
    let (mut response, version) = loop {
        let head = input.head()?;
        // What comes before the answer itself has no body (RFC 9110 §15.2).
        if !(100..200).contains(&head.0.status) || head.0.status == 101 {
            break head;
        }
    };
    let close = response.fields("connection").any(|value| value.to_ascii_lowercase().contains("close"));
    let mut is_reusable = version == 1 && !close;
    if response.fields("content-encoding").any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Failure::garbage("the authority has encoded its answer, which it was not asked to"));
    }
    if is_head || matches!(response.status, 204 | 304) {
        return Ok((response, is_reusable && input.is_empty()));
    }
    let has_coding = response.field("transfer-encoding").is_some();
    let length = content_length(&response)?;
    response.body = match (has_coding, length) {
        (true, _) if !is_chunked(&response) => {
            return Err(Failure::garbage("the authority's answer has an unknown transfer coding"));
        }
        // Two lengths: chunks count, and the connection ends (RFC 9112 §6.3).
        (true, length) => {
            is_reusable &= length.is_none();
            input.chunks()?
        }
        (false, Some(length)) => {
            let mut body = Vec::new();
            input.exactly(length, &mut body)?;
            body
        }
        (false, None) => {
            is_reusable = false;
            input.until_the_end()?
        }
    };
    Ok((response, is_reusable && input.is_empty()))
}

fn is_chunked(response: &Response) -> bool {
    let mut codings = response.fields("transfer-encoding");
    codings.next().is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
        && codings.next().is_none()
}

fn content_length(response: &Response) -> Result<Option<usize>, Failure> {
    let mut length = None;
    for value in response.fields("content-length") {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let parsed: usize = match value.parse() {
            Ok(parsed) if is_number => parsed,
            _ if is_number => usize::MAX,
            _ => {
                return Err(Failure::garbage(
                    "the authority's answer has a Content-Length that is no number",
                ));
            }
        };
        if length.is_some_and(|length| length != parsed) {
            return Err(Failure::garbage("the authority's answer has two lengths"));
        }
        length = Some(parsed);
    }
    Ok(length)
}

/// What comes from the connection.
struct Input<'a> {
    source: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// What is before this has been taken.
    start: usize,
    /// Bytes of heads that may still come.
    left: usize,
}

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.start >= self.buffer.len()
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Reads more; returns false at the end.
    fn fill(&mut self) -> Result<bool, Failure> {
        if self.start > 0 {
            self.buffer.drain(..self.start.min(self.buffer.len()));
            self.start = 0;
        }
        let mut piece = [0; 8192];
        loop {
            match self.source.read(&mut piece) {
                Ok(count) => {
                    self.buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("the authority's answer has broken off: {error}");
                    return Err(Failure::new(Kind::Unreachable, what));
                }
            }
        }
    }

    fn fill_or_fail(&mut self) -> Result<(), Failure> {
        if self.fill()? {
            return Ok(());
        }
        Err(Failure::new(Kind::Unreachable, "the authority's answer has broken off"))
    }

    /// Takes a head. Returns it, and the minor version.
    fn head(&mut self) -> Result<(Response, u8), Failure> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut parsed = httparse::Response::new(&mut fields);
            match parsed.parse(self.rest()) {
                Ok(httparse::Status::Complete(len)) => {
                    let fields = parsed.headers.iter().map(|field| {
                        let value = String::from_utf8_lossy(field.value);
                        (field.name.to_ascii_lowercase(), value.trim().to_owned())
                    });
                    let status = parsed.code.unwrap_or_default();
                    let response = Response { status, fields: fields.collect(), body: Vec::new() };
                    let version = parsed.version.unwrap_or_default();
                    self.take_head(len)?;
                    return Ok((response, version));
                }
                Ok(httparse::Status::Partial) => {
                    if self.rest().len() > self.left {
                        return Err(too_large());
                    }
                    self.fill_or_fail()?;
                }
                Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
                Err(_) => return Err(Failure::garbage("the authority does not answer in HTTP")),
            }
        }
    }

    fn take_head(&mut self, len: usize) -> Result<(), Failure> {
        self.left = self.left.checked_sub(len).ok_or_else(too_large)?;
        self.start += len;
        Ok(())
    }

    /// Appends that many bytes to a body.
    fn exactly(&mut self, len: usize, body: &mut Vec<u8>) -> Result<(), Failure> {
        if len > BODY_MAX - body.len().min(BODY_MAX) {
            return Err(too_large());
        }
        let mut missing = len;
        loop {
            let there = self.rest();
            let taken = there.get(..missing).unwrap_or(there);
            body.extend_from_slice(taken);
            let count = taken.len();
            missing -= count;
            self.start += count;
            if missing == 0 {
                return Ok(());
            }
            self.fill_or_fail()?;
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(|&byte| byte == b';' || byte == b' ').next().unwrap_or_default();
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let len =
                if is_hex { usize::from_str_radix(digits, 16).unwrap_or(usize::MAX) } else { usize::MAX };
            match (is_hex, len) {
                (false, _) => return Err(bad_chunk()),
                (true, 0) => break,
                (true, len) => self.exactly(len, &mut body)?,
            }
            if !self.line()?.is_empty() {
                return Err(bad_chunk());
            }
        }
        // Trailers are not looked at.
        while !self.line()?.is_empty() {}
        Ok(body)
    }

    /// Takes a line without its end. Lines count as parts of heads: sizes of chunks cannot come
    /// without an end either.
    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            let rest = self.rest();
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line = rest.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.take_head(end + 1)?;
                return Ok(line);
            }
            if rest.len() > self.left {
                return Err(too_large());
            }
            self.fill_or_fail()?;
        }
    }

    fn until_the_end(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if self.rest().len() > BODY_MAX {
                return Err(too_large());
            }
            if !self.fill()? {
                let body = self.rest().to_vec();
                self.start = self.buffer.len();
                return Ok(body);
            }
        }
    }
}

fn too_large() -> Failure {
    Failure::garbage("the authority's answer is too large")
}

fn bad_chunk() -> Failure {
    Failure::garbage("the authority's answer has a chunk without a length")
}
