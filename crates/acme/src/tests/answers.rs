//! Answers over HTTP, byte by byte.

use std::io::Read;

use proptest::prelude::*;

use crate::Kind;
use crate::http::read;

/// A source that gives a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.len().min(self.1).min(buf.len());
        buf[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

fn read_all(bytes: &[u8], is_head: bool) -> Result<(u16, Vec<u8>, bool), Kind> {
    let read = |step| {
        let result = read(&bytes[..1], &mut Slow(&bytes[1..], step), is_head);
        result
            .map(|(response, reusable)| (response.status, response.body, reusable))
            .map_err(|error| error.kind)
    };
    let at_once = read(usize::MAX);
    assert_eq!(
        read(1).map(|(status, body, _)| (status, body)),
        at_once.clone().map(|(status, body, _)| (status, body))
    );
    at_once
}

#[test]
fn bodies() {
    let ok = |body: &str, reusable: bool| Ok((200, body.as_bytes().to_vec(), reusable));
    for (bytes, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", ok("abc", true)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\nabc", ok("abc", true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: Close\r\n\r\nabc", ok("abc", false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", ok("abc", false)),
        // More than was announced: the rest belongs to nothing.
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", ok("abc", false)),
        ("HTTP/1.1 200 OK\r\n\r\nabc", ok("abc", false)),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ok("", true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok("abc", true)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=\"y\"\r\na\r\n02\r\nbc\r\n0\r\nX: y\r\n\r\n",
            ok("abc", true),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ok("abc", false),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Err(Kind::Unreachable)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", Err(Kind::Garbage)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", Err(Kind::Unreachable)),
        ("SSH-2.0-OpenSSH_9.2\r\n", Err(Kind::Garbage)),
        ("HTTP/2 200\r\n\r\n", Err(Kind::Garbage)),
    ] {
        assert_eq!(read_all(bytes.as_bytes(), false), expected, "{bytes}");
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(read_all(head, true), Ok((200, Vec::new(), true)));
    assert_eq!(read_all(b"HTTP/1.1 204 No Content\r\n\r\n", false), Ok((204, Vec::new(), true)));
}

/// A source without an end: a head, and then the same bytes for ever.
struct Endless(&'static [u8], &'static [u8], usize);

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.2 += 1;
        assert!(self.2 < 100_000, "it is read for ever");
        if !self.0.is_empty() {
            let (len, rest) = (self.0.len(), self.0);
            buf[..len].copy_from_slice(rest);
            self.0 = b"";
            return Ok(len);
        }
        let copies = buf.len() / self.1.len();
        for (place, byte) in buf[..copies * self.1.len()].iter_mut().enumerate() {
            *byte = self.1[place % self.1.len()];
        }
        Ok(copies * self.1.len())
    }
}

#[test]
fn answers_without_an_end_are_left() {
    for (head, rest) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b"x"[..]),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n80000\r\n", b"xxxxxxxx"),
    ] {
        let failure = read(&head[..1], &mut Endless(&head[1..], rest, 0), false).unwrap_err();
        assert_eq!(failure.kind, Kind::Garbage, "{}", String::from_utf8_lossy(rest));
    }
}

proptest! {
    #[test]
    fn a_body_arrives_as_it_was_sent(
        body in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1usize..40, 1..20),
        step in 1usize..50,
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let (mut rest, mut sizes) = (&body[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            bytes.extend(format!("{:X}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
            rest = after;
        }
        bytes.extend(b"0\r\n\r\n");
        let (response, reusable) = read(&bytes[..1], &mut Slow(&bytes[1..], step), false).unwrap();
        prop_assert!(reusable);
        prop_assert_eq!(response.body, body);
    }

    #[test]
    fn any_answer(data in prop::collection::vec(any::<u8>(), 0..400)) {
        crate::properties::acme_answer(&data);
    }
}
