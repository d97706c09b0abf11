//! One answer to each request, and none to anything else: a proxy that keeps its connection would
//! give a second one to another client.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::harness::{Engine, Server, answer, answer_with_head, get, small};
use rustls::version::TLS13;
use sitar_server::Limits;

crate::on_every_engine! {
    a_bad_body_behind_an_answer_ends_the_connection_in_silence,
    a_body_that_stops_ends_the_connection_in_silence,
    line_ends_behind_an_answer_are_not_answered,
    half_a_record_behind_an_answer_is_not_answered,
    a_request_that_has_begun_is_answered,
    a_head_request_never_gets_content,
}

/// Limits for many connections at the same time.
fn roomy() -> Limits {
    Limits { connections: 128, ..small() }
}

/// The same, but that requests are late soon.
fn hasty() -> Limits {
    Limits { head: Duration::from_millis(300), ..roomy() }
}

const CHUNKED: &str = "HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Chunked bodies that are malformed, or larger than is skipped.
fn bad_bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "-1\r\nabc",
        "3\r\nhello\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n\r\n",
        "GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        "3;a=\x01\r\nabc\r\n0\r\n\r\n",
        "900000\r\n",
        "FFFFFFFF\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n: empty\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\n\n",
    ]
    .map(|body| body.as_bytes().to_vec())
    .into();
    bodies.push([b"9C40\r\n", &[b'x'; 40_000][..], b"\r\n9C40\r\n"].concat());
    bodies.push(format!("3;a={}\r\nabc\r\n0\r\n\r\n", "x".repeat(9000)).into_bytes());
    bodies.push(format!("0\r\nA: {}\r\n\r\n", "x".repeat(9000)).into_bytes());
    bodies
}

/// Everything up to an orderly end, without which this panics.
fn rest(stream: &mut impl Read, what: &str) -> String {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{what}: {error}"));
    rest.escape_ascii().to_string()
}

/// Sends `first` and reads its answer; then `later` leads to nothing but the end.
fn one_answer(mut stream: impl Read + Write, head: &[u8], later: &[u8], status: u16) {
    let what = format!("{} {}", head.escape_ascii(), later[..later.len().min(60)].escape_ascii());
    stream.write_all(head).unwrap();
    let (first, _) = answer_with_head(&mut Headless { stream: &mut stream, head: head.starts_with(b"HEAD") });
    assert_eq!(first[9..12], status.to_string(), "{what}");
    // It may have ended already.
    let _ = stream.write_all(later);
    assert_eq!(rest(&mut stream, &what), "", "{what}");
}

/// Takes the length out of the answer to a HEAD, behind which no content comes.
struct Headless<'s, S> {
    stream: &'s mut S,
    head: bool,
}

impl<S: Read> Read for Headless<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.head && buf.len() > 1 {
            return Ok(buf.len());
        }
        self.stream.read(buf)
    }
}

fn a_bad_body_behind_an_answer_ends_the_connection_in_silence(engine: Engine) {
    let (plain, tls) = (Server::plain(engine, roomy()), Server::tls(engine, roomy()));
    for body in bad_bodies() {
        for (line, status) in [
            ("POST /", 405),
            ("GET /small.txt", 200),
            ("HEAD /small.txt", 200),
            ("GET /nope", 404),
            ("OPTIONS /", 204),
            ("BREW /", 501),
        ] {
            let head = format!("{line} {CHUNKED}").into_bytes();
            // Behind the answer.
            one_answer(plain.connect(), &head, &body, status);
            // With the head in one segment, and what may look like a request behind it.
            let all = [&head[..], &body, &get("/small.txt")].concat();
            let mut stream = plain.connect();
            stream.write_all(&all).unwrap();
            let got = rest(&mut stream, line);
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
            assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{line} {}: {got}", body.escape_ascii());
        }
        let head = format!("POST / {CHUNKED}").into_bytes();
        one_answer(tls.connect_tls(&TLS13), &head, &body, 405);
    }
}

fn a_body_that_stops_ends_the_connection_in_silence(engine: Engine) {
    let (plain, tls) = (&Server::plain(engine, hasty()), &Server::tls(engine, hasty()));
    let cases = [
        (format!("POST / {CHUNKED}"), &b""[..]),
        (format!("GET /small.txt {CHUNKED}"), b"5\r\nab"),
        (format!("GET /small.txt {CHUNKED}"), b"0\r\n"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n".into(), b"12345"),
        ("GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n".into(), b"1"),
    ];
    // All at the same time, because each waits for its deadline.
    std::thread::scope(|scope| {
        for (head, body) in &cases {
            let status = if head.starts_with("POST") { 405 } else { 200 };
            scope.spawn(move || one_answer(plain.connect(), head.as_bytes(), body, status));
            scope.spawn(move || one_answer(tls.connect_tls(&TLS13), head.as_bytes(), body, status));
        }
    });
}

fn line_ends_behind_an_answer_are_not_answered(engine: Engine) {
    let (plain, tls) = (&Server::plain(engine, hasty()), &Server::tls(engine, hasty()));
    let ask = &get("/small.txt");
    let lines: [&[u8]; 7] =
        [b"\r", b"\r\n", b"\r\n\r", b"\r\n\r\n", b"\n", b"\r\n\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\n"];
    std::thread::scope(|scope| {
        for line in lines {
            scope.spawn(move || one_answer(plain.connect(), ask, line, 200));
            scope.spawn(move || one_answer(tls.connect_tls(&TLS13), ask, line, 200));
            // The same where there was a body.
            let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
            scope.spawn(move || one_answer(plain.connect(), post, &[b"ab", line].concat(), 405));
        }
    });
    // RFC 9112 §2.2: one empty line before a request is skipped, in one piece or two.
    let server = Server::plain(engine, roomy());
    let mut stream = server.connect();
    stream.write_all(&[&ask[..], b"\r\n", ask].concat()).unwrap();
    assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    stream.write_all(b"\r").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(&[b"\n", &ask[..]].concat()).unwrap();
    assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    // Where nothing has been asked, silence is not answered either; what is no request is.
    for (first, expected) in
        [(&b"\r\n"[..], ""), (b"\r", ""), (b"\n", "HTTP/1.1 400 "), (b"\r\n\r\n", "HTTP/1.1 400 ")]
    {
        let mut stream = plain.connect();
        stream.write_all(first).unwrap();
        let got = rest(&mut stream, expected);
        assert!(got.starts_with(expected) && got.is_empty() == expected.is_empty(), "{got}");
    }
}

fn half_a_record_behind_an_answer_is_not_answered(engine: Engine) {
    let server = Server::tls(engine, hasty());
    for asked in [true, false] {
        for piece in [&b"\x17"[..], b"\x17\x03\x03\x00\x20", b"\x17\x03\x03\x00\x20abcdef"] {
            let mut stream = server.connect_tls(&TLS13);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            if asked {
                stream.write_all(&get("/small.txt")).unwrap();
                assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
            }
            stream.sock.write_all(piece).unwrap();
            // rustls calls an end without close_notify UnexpectedEof.
            assert_eq!(rest(&mut stream, "half a record"), "");
        }
    }
}

fn a_request_that_has_begun_is_answered(engine: Engine) {
    let (plain, tls) = (&Server::plain(engine, hasty()), &Server::tls(engine, hasty()));
    for (later, status) in [
        (&b"G"[..], "408"),
        (b"\r\nGET /small.txt HTTP/1.1\r\nHos", "408"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"\x01", "400"),
    ] {
        for asked in [true, false] {
            let mut stream = plain.connect();
            let mut secret = tls.connect_tls(&TLS13);
            for stream in [&mut stream as &mut dyn ReadWrite, &mut secret] {
                if asked {
                    stream.write_all(&get("/small.txt")).unwrap();
                    assert_eq!(answer(&mut { &mut *stream }), (200, b"hello\n".to_vec()));
                }
                stream.write_all(later).unwrap();
                let got = rest(&mut { &mut *stream }, status);
                assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {got}", later.escape_ascii());
                assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
            }
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn a_head_request_never_gets_content(engine: Engine) {
    let (plain, tls) = (Server::plain(engine, roomy()), Server::tls(engine, roomy()));
    let long = format!("HEAD /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let large = format!("HEAD / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("HEAD / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(200));
    for (request, status) in [
        (&b"HEAD / HTTP/1.1\r\n\r\n"[..], 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\nHost: a\n\n", 400),
        (b"HEAD x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nA b\r\n\r\n", 400),
        (b"\r\nHEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 413),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"HEAD / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (long.as_bytes(), 414),
        (large.as_bytes(), 431),
        (many.as_bytes(), 431),
    ] {
        for pieces in [request.len(), 10] {
            let mut stream = plain.connect();
            for piece in request.chunks(pieces) {
                // Refused before it is whole.
                let _ = stream.write_all(piece);
            }
            let got = rest(&mut stream, &request[..request.len().min(80)].escape_ascii().to_string());
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
            assert!(got.ends_with(r"\r\n\r\n") && !got.contains("Content-Length: 0"), "{got}");
        }
        let mut stream = tls.connect_tls(&TLS13);
        stream.write_all(request).unwrap();
        let got = rest(&mut stream, "over TLS");
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")) && got.ends_with(r"\r\n\r\n"), "{got}");
    }
    // In part, and then nothing.
    let got = Server::plain(engine, hasty()).exchange(b"HEAD / HTTP/1.1\r\nHost: a\r\n");
    assert!(got.starts_with(b"HTTP/1.1 408 ") && got.ends_with(b"\r\n\r\n"), "{}", got.escape_ascii());
    // Without TLS at a port that wants it.
    for pieces in [100, 5, 1] {
        let mut stream = tls.connect();
        for piece in b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".chunks(pieces) {
            let _ = stream.write_all(piece);
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = stream.shutdown(Shutdown::Write);
        let got = rest(&mut stream, "plain text");
        assert!(got.starts_with("HTTP/1.1 400 ") && got.ends_with(r"\r\n\r\n"), "{got}");
    }
}
