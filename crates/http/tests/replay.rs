//! Replays the seed corpus of the fuzz targets on a stable compiler: every file under
//! `fuzz/corpus/<target>` goes through the property that the target checks, and so do seeded
//! mutations of them for a few seconds. A crash found by fuzzing is kept by putting its input
//! there.

#[path = "properties/accept.rs"]
mod accept;
#[path = "properties/accept_encoding.rs"]
mod accept_encoding;
#[path = "properties/conditionals.rs"]
mod conditionals;
#[path = "properties/forwarded.rs"]
mod forwarded;
#[path = "properties/h1_drain.rs"]
mod h1_drain;
#[path = "properties/h1_request.rs"]
mod h1_request;
#[path = "properties/h2.rs"]
mod h2;
#[path = "properties/hpack.rs"]
mod hpack;
#[path = "../../../fuzz/mutation.rs"]
mod mutation;
#[path = "replay/mutator.rs"]
mod mutator;
#[path = "properties/range.rs"]
mod range;
#[path = "../../../fuzz/replay.rs"]
mod seeds;

use seeds::replay;

#[test]
fn h1_request() {
    replay("h1_request", 5, h1_request::check);
}

#[test]
fn h1_drain() {
    replay("h1_drain", 5, h1_drain::check);
}

#[test]
fn accept() {
    replay("accept", 5, accept::check);
}

#[test]
fn accept_encoding() {
    replay("accept_encoding", 5, accept_encoding::check);
}

#[test]
fn forwarded() {
    replay("forwarded", 5, forwarded::check);
}

#[test]
fn range() {
    replay("range", 5, range::check);
}

#[test]
fn conditionals() {
    replay("conditionals", 5, conditionals::check);
}

#[test]
fn h2() {
    replay("h2", 5, h2::check);
}

#[test]
fn hpack() {
    replay("hpack", 5, hpack::check);
}

mutation::targets! {
    h1_request: h1_request::check, HTTP1;
    h1_drain: h1_drain::check, CHUNKED;
    accept: accept::check, MEDIA;
    accept_encoding: accept_encoding::check, CODINGS;
    forwarded: forwarded::check, HOPS;
    range: range::check, RANGES;
    conditionals: conditionals::check, CONDITIONS;
    h2: h2::check, HTTP2;
    hpack: hpack::check, HPACK;
}

const MEDIA: &[&[u8]] = &[
    b"application/json",
    b"text/html",
    b"application/*",
    b"text/*",
    b"*/*",
    b";q=0.9",
    b";q=0",
    b";q=1.000",
    b"; charset=utf-8",
    b",",
    b";",
    b"/",
    b"*",
    b" ",
    b"\n",
];

const HOPS: &[&[u8]] = &[
    b"for=",
    b"by=_x",
    b"unknown",
    b"192.0.2.1",
    b"10.0.0.1",
    b"[2001:db8::1]",
    b"::ffff:10.0.0.1",
    b":80",
    b"\"",
    b"\\\"",
    b";",
    b",",
    b" ",
    b"\n",
];

const HTTP1: &[&[u8]] = &[
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"OPTIONS ",
    b"CONNECT ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"http://a.example",
    b"https://",
    b"*",
    b"/",
    b"?",
    b"#",
    b"%00",
    b"%2e%2e/",
    b"Host: a\r\n",
    b"Host: [::1]:80\r\n",
    b"Content-Length: 1\r\n",
    b"Content-Length: 1, 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: h2c\r\n",
    b"Range: bytes=0-1\r\n",
    b"If-None-Match: *\r\n",
    b"Accept-Encoding: br\r\n",
    b": ",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"\x80",
    b", ",
    b"x: y\r\n",
];

const CHUNKED: &[&[u8]] = &[
    b"\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"1\r\na\r\n",
    b"a\r\n",
    b"A;x=y\r\n",
    b";",
    b"=\"x\"",
    b"\"",
    b"\\",
    b"\n",
    b"\r",
    b"ffffffff",
    b"00000000",
    b"x: y\r\n",
    b"Content-Length: 1\r\n",
    b" ",
    b"\t",
    b"\0",
];

const CODINGS: &[&[u8]] = &[
    b"br",
    b"gzip",
    b"x-gzip",
    b"zstd",
    b"identity",
    b"deflate",
    b"*",
    b";q=0",
    b";q=1",
    b";q=0.5",
    b";q=1.000",
    b";q=0.001",
    b"; q = 0.1",
    b",",
    b", ",
    b"\n",
    b" ",
    b"\t",
    b"Q=",
];

const RANGES: &[&[u8]] = &[
    b"bytes=",
    b"Bytes=",
    b"0-",
    b"-1",
    b"-0",
    b"0-0",
    b"999-",
    b"1-2,3-4",
    b",",
    b", ",
    b"-",
    b"\n",
    b"18446744073709551615",
    b"18446744073709551616",
    b"0\n",
    b"\"x\"",
    b"W/\"x\"",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b" ",
    b"\t",
];

const CONDITIONS: &[&[u8]] = &[
    b"\n0",
    b"\n1",
    b"\n2",
    b"\n3",
    b"*",
    b"\"x\"",
    b"W/\"x\"",
    b", ",
    b",",
    b"\"",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b" ",
];

/// A frame of each kind, of the right size, and blocks for HEADERS.
const HTTP2: &[&[u8]] = &[
    b"\0\0\x03\0\x01\0\0\0\x01abc",
    b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84A\x01a",
    b"\0\0\x06\x01\x05\0\0\0\x03\x82\x86\x84A\x01a",
    b"\0\0\x01\x01\0\0\0\0\x01\x82",
    b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x10",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0",
    b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x82",
    b"\0\0\x08\x06\0\0\0\0\0ping!!!!",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\x04\x08\0\0\0\0\0\0\x01\0\0",
    b"\0\0\x04\x08\0\0\0\0\x01\x7f\xff\xff\xff",
    b"\0\0\x05\x09\x04\0\0\0\x01\x87\x84A\x01a",
    b"\0\0\x07\x10\0\0\0\0\0\0\0\0\x01u=1",
    b"\0\0\x01\x20\0\0\0\0\x01x",
    b"\x82",
    b"\x83",
    b"\x84",
    b"\x86",
    b"\x87",
    b"A\x01a",
    b"\x40\x01x\x01y",
    b"\x20",
    b"\x3f\xe1\x1f",
    b"\0\0\0\x01",
    b"\0\0\0\x03",
];

const HPACK: &[&[u8]] = &[
    b"\x82",
    b"\x84",
    b"\x87",
    b"\xbe",
    b"\xff\0",
    b"\x40\x01x\x01y",
    b"\x40\x81\xf3\x81\xf5",
    b"\0\x01x\x01y",
    b"\x10\x01x\x01y",
    b"\x20",
    b"\x3f\xe1\x1f",
    b"\x7f\x80\x01",
    b"\x0f\x80",
    b"\xff\xff\xff\xff",
    b"\0\x01",
    b"\0\x05",
    b"\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
];
