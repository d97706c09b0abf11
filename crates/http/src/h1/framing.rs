//! The fields that concern the connection and not the resource: the end of the body, and whether
//! the connection stays open after it.

use super::{Framing, Rejection};
use crate::chars::trim;
use crate::framing::{Expectation, content_length, expectation};
use crate::{Method, Status, Version};

/// The content of Content-Length, Transfer-Encoding, Connection and Expect, read line by line.
#[derive(Default)]
pub(super) struct Hop {
    content_length: Option<u64>,
    transfer: Option<Transfer>,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
}

/// All Transfer-Encoding lines as one list (RFC 9112 §6.1).
#[derive(Default)]
struct Transfer {
    codings: usize,
    ends_in_chunked: bool,
    goes_on_after_chunked: bool,
}

/// The conclusion from these fields, for a whole head.
pub(super) struct Outcome {
    pub(super) body: Framing,
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
}

impl Hop {
    /// Takes a field line; one of another name is ignored.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Rejection> {
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(trim) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer.get_or_insert_default().add(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Concludes (RFC 9112 §6.3, and §9.3 for the connection).
    pub(super) fn finish(self, method: Method, version: Version) -> Result<Outcome, Rejection> {
        let body = match (self.transfer, self.content_length) {
            // A proxy in front of us may have gone by either of the two: this is how requests are
            // smuggled.
            (Some(_), Some(_)) => {
                return Err(Rejection::bad("Transfer-Encoding and Content-Length exclude each other"));
            }
            (Some(_), None) if version == Version::Http10 => {
                return Err(Rejection::bad("HTTP/1.0 has no Transfer-Encoding"));
            }
            (Some(transfer), None) => transfer.framing()?,
            (None, Some(0)) => Framing::None,
            (None, Some(length)) => Framing::Length(length),
            // RFC 1945 §8.3 requires a length of such HTTP/1.0 requests; without it a body may
            // follow unannounced. In HTTP/1.1 the same request has no body (RFC 9112 §6.3), so
            // there 411 would be wrong.
            (None, None)
                if version == Version::Http10
                    && matches!(method, Method::Post | Method::Put | Method::Patch) =>
            {
                return Err(Rejection::new(Status::LENGTH_REQUIRED, "HTTP/1.0 needs a Content-Length here"));
            }
            (None, None) => Framing::None,
        };
        let keep_alive = match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        };
        // RFC 9110 §10.1.1: ignored in HTTP/1.0, pointless without content.
        let expect_continue = self.expect_continue && version == Version::Http11 && body != Framing::None;
        Ok(Outcome { body, keep_alive, expect_continue })
    }

    /// RFC 9110 §8.6. A second line or a list is refused even with equal numbers: no client has a
    /// use for it.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        if self.content_length.is_some() {
            return Err(Rejection::bad("more than one Content-Length"));
        }
        self.content_length =
            Some(content_length(value).ok_or(Rejection::bad("Content-Length is not a number"))?);
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Rejection> {
        self.expect_continue |= expectation(value)? == Expectation::Continue;
        Ok(())
    }
}

impl Transfer {
    fn add(&mut self, value: &[u8]) {
        // A comma in a quoted parameter would be split too. That only makes more codings, and more
        // than one is refused.
        for coding in value.split(|&byte| byte == b',').map(trim).filter(|one| !one.is_empty()) {
            self.goes_on_after_chunked |= self.ends_in_chunked;
            self.ends_in_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.codings += 1;
        }
    }

    fn framing(&self) -> Result<Framing, Rejection> {
        if !self.ends_in_chunked || self.goes_on_after_chunked {
            // RFC 9112 §6.3: then the length cannot be determined.
            return Err(Rejection::bad("chunked is not the last transfer coding, or not the only chunked"));
        }
        if self.codings > 1 {
            // RFC 9112 §6.1
            return Err(Rejection::new(Status::NOT_IMPLEMENTED, "the only transfer coding known is chunked"));
        }
        Ok(Framing::Chunked)
    }
}
