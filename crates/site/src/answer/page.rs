//! Answers that no site gives: pages made beforehand, and redirects to other hosts.

use std::io;
use std::time::Duration;

use sitar_http::{Decimal, Method, Request, Status};
use sitar_io::Region;

use crate::answer::fixed_lines::PLAIN;
use crate::answer::hsts::Hsts;
use crate::answer::reply::{Body, Reply, Scratch};
use crate::open::site::Site;

/// A page that answers every request alike, such as the operator's own for an error.
#[derive(Debug)]
pub struct Page {
    status: Status,
    fields: Box<[u8]>,
    /// Bytes of `fields` in front of HSTS.
    without_hsts: usize,
    encoded: Box<[u8]>,
    content: Region,
}

impl Page {
    /// Bytes that a page may have: 256 KiB.
    pub const MAX: usize = 256 << 10;

    /// Makes a page of HTML. A 503 asks clients to come back in half a minute.
    ///
    /// # Errors
    /// It is larger than [`Page::MAX`], or there is no memory for it.
    pub fn html(status: Status, content: &[u8], hsts: Option<&Hsts>) -> io::Result<Page> {
        Page::new(status, "text/html; charset=utf-8", content, hsts)
    }

    /// Makes a page of plain text, like [`html`](Page::html).
    ///
    /// # Errors
    /// It is larger than [`Page::MAX`], or there is no memory for it.
    pub fn text(status: Status, content: &[u8], hsts: Option<&Hsts>) -> io::Result<Page> {
        Page::new(status, "text/plain; charset=utf-8", content, hsts)
    }

    /// Makes a page of plain text with more header lines, each `name: value\r\n`, instead of the
    /// one that a 503 has otherwise.
    ///
    /// # Errors
    /// It is larger than [`Page::MAX`], or there is no memory for it.
    pub fn text_with(status: Status, content: &[u8], lines: &[u8], hsts: Option<&Hsts>) -> io::Result<Page> {
        Page::with_lines(status, "text/plain; charset=utf-8", content, lines, hsts)
    }

    /// Makes a page of bytes of no known type, with 200.
    ///
    /// # Errors
    /// It is larger than [`Page::MAX`], or there is no memory for it.
    pub fn bytes(content: &[u8]) -> io::Result<Page> {
        Page::new(Status::OK, "application/octet-stream", content, None)
    }

    fn new(status: Status, media_type: &str, content: &[u8], hsts: Option<&Hsts>) -> io::Result<Page> {
        let is_unavailable = status == Status::SERVICE_UNAVAILABLE;
        let lines: &[u8] = if is_unavailable { b"Retry-After: 30\r\n" } else { b"" };
        Page::with_lines(status, media_type, content, lines, hsts)
    }

    fn with_lines(
        status: Status,
        media_type: &str,
        content: &[u8],
        lines: &[u8],
        hsts: Option<&Hsts>,
    ) -> io::Result<Page> {
        if content.len() > Page::MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("a page has at most {} KiB", Page::MAX >> 10),
            ));
        }
        let mut fields = format!("Content-Type: {media_type}\r\n").into_bytes();
        fields.extend_from_slice(b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n");
        fields.extend_from_slice(lines);
        let without_hsts = fields.len();
        fields.extend_from_slice(&hsts_line(hsts));
        Ok(Page {
            status,
            without_hsts,
            encoded: sitar_http::h2::field_block(&fields),
            fields: fields.into(),
            content: Region::copy_of(content)?,
        })
    }

    /// Returns the answer to a request.
    #[must_use]
    pub fn reply<'r>(&'r self, request: &Request<'_>, scratch: &'r mut Scratch) -> Reply<'r> {
        scratch.lines.clear();
        let range = 0..self.content.len();
        let is_sent = request.method != Method::Head && !range.is_empty();
        Reply {
            status: self.status,
            fields: &self.fields,
            encoded: &self.encoded,
            more: &mut scratch.lines,
            headers: None,
            content_length: Some(self.content.len() as u64),
            body: if is_sent { Body::Memory { region: &self.content, range } } else { Body::Empty },
        }
    }

    /// Returns the answer as it may leave over plain HTTP (RFC 6797 §7.2).
    #[must_use]
    pub fn reply_without_hsts<'r>(&'r self, request: &Request<'_>, scratch: &'r mut Scratch) -> Reply<'r> {
        let fields = &self.fields[..self.without_hsts];
        Reply { fields, encoded: &[], ..self.reply(request, scratch) }
    }
}

/// Returns the field lines of redirects, for [`Reply::moved`]. RFC 6797 §7.1 wants the
/// policy on them as well.
#[must_use]
pub fn redirect_fields(hsts: Option<&Hsts>) -> Box<[u8]> {
    [PLAIN, &hsts_line(hsts)].concat().into()
}

fn hsts_line(hsts: Option<&Hsts>) -> Box<[u8]> {
    hsts.map(Hsts::line).unwrap_or_default()
}

impl<'r> Reply<'r> {
    /// Returns this answer of a [`Page`] with Retry-After (RFC 9110 §10.2.3): whole seconds, at
    /// least one.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Reply<'r> {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        // A page leaves the lines empty, so there is room.
        let _ = self.more.push(b"Retry-After: ")
            && self.more.push(Decimal::new(seconds).as_bytes())
            && self.more.push(b"\r\n");
        self
    }

    /// Returns a redirect to the address that the pieces of `location` make up: bytes that an
    /// address may have. `fields` come from [`redirect_fields`]. An address that is too long is
    /// answered by 414, since a shortened one would be another.
    #[must_use]
    pub fn moved(
        status: Status,
        location: &[&[u8]],
        fields: &'r [u8],
        request: &Request<'_>,
        scratch: &'r mut Scratch,
    ) -> Reply<'r> {
        let head = request.method == Method::Head;
        let lines = &mut scratch.lines;
        lines.clear();
        let fits = lines.push(b"Location: ")
            && location.iter().all(|piece| lines.push(piece))
            && lines.push(b"\r\n");
        if fits {
            Reply::text(status, fields, status.as_line(), lines, head)
        } else {
            Reply::uri_too_long(lines, head)
        }
    }
}

impl Site {
    /// Returns an answer of this site as it may leave over plain HTTP: without HSTS (RFC 6797
    /// §7.2), unless the site's own rules set it.
    #[must_use]
    pub fn without_hsts<'r>(&self, reply: Reply<'r>) -> Reply<'r> {
        if self.hsts.is_empty() { reply } else { reply.without_hsts(&self.hsts) }
    }
}

#[cfg(test)]
mod tests {
    use sitar_http::RequestTarget;

    use super::*;

    fn request(method: Method) -> Request<'static> {
        Request::new(method, RequestTarget { path: b"/", query: None })
    }

    fn text(reply: &Reply<'_>) -> String {
        String::from_utf8(reply.pieces(|pieces| pieces.concat())).unwrap()
    }

    #[test]
    fn a_page_is_the_same_for_every_request() {
        let page = Page::html(
            Status::SERVICE_UNAVAILABLE,
            b"<p>soon</p>",
            Some(&Hsts::parse("max-age=60").unwrap()),
        )
        .unwrap();
        let mut scratch = Scratch::new();
        for (method, len) in [(Method::Get, 11), (Method::Head, 0), (Method::Post, 11)] {
            let reply = page.reply(&request(method), &mut scratch);
            assert_eq!(
                text(&reply),
                "Content-Type: text/html; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
                 Cache-Control: no-store\r\nRetry-After: 30\r\nStrict-Transport-Security: max-age=60\r\n"
            );
            assert_eq!((reply.status.code(), reply.content_length), (503, Some(11)));
            assert!(reply.encoded(|block, more| !block.is_empty() && more.concat().is_empty()));
            let sent = if let Body::Memory { range, .. } = &reply.body { range.len() } else { 0 };
            assert_eq!(sent, len, "{method:?}");
            let whole = text(&reply);
            let plain = page.reply_without_hsts(&request(method), &mut scratch);
            assert_eq!(text(&plain), whole.replace("Strict-Transport-Security: max-age=60\r\n", ""));
            assert!(plain.encoded(|block, lines| block.is_empty() && !lines.concat().is_empty()));
        }
        let bytes = Page::bytes(b"\0\xff").unwrap();
        let reply = bytes.reply(&request(Method::Get), &mut scratch);
        assert_eq!(
            text(&reply),
            "Content-Type: application/octet-stream\r\nX-Content-Type-Options: nosniff\r\n\
             Cache-Control: no-store\r\n"
        );
        assert_eq!((reply.status.code(), reply.content_length), (200, Some(2)));
        let error = Page::html(Status::INTERNAL_SERVER_ERROR, &vec![0; Page::MAX + 1], None).unwrap_err();
        assert_eq!(error.to_string(), "a page has at most 256 KiB");
    }

    #[test]
    fn a_redirect_has_its_whole_address_or_is_none() {
        let (fields, mut scratch) =
            (redirect_fields(Some(&Hsts::parse("max-age=1").unwrap())), Scratch::new());
        let get = request(Method::Get);
        let status = Status::PERMANENT_REDIRECT;
        let reply = Reply::moved(status, &[b"https://", b"a.example", b"/x"], &fields, &get, &mut scratch);
        assert_eq!(
            text(&reply),
            "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
             Strict-Transport-Security: max-age=1\r\nLocation: https://a.example/x\r\n"
        );
        assert!(matches!(reply.body, Body::Static(b"308 Permanent Redirect\n")));
        let fields = redirect_fields(None);
        let reply = Reply::moved(status, &[&[b'a'; 2000]], &fields, &get, &mut scratch);
        assert_eq!((reply.status.code(), text(&reply).contains("Location")), (414, false));
        let head = Reply::moved(status, &[b"//b"], &fields, &request(Method::Head), &mut scratch);
        assert!(matches!(head.body, Body::Empty));
    }
}
