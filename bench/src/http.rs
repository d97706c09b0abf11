//! `cargo xtask bench http`: the time of the HTTP part of a warm request.

use crate::Result;
use clap::Args;
use std::hint::black_box;
use std::time::Instant;

use sitar_http::h1::{self, Limits, ResponseHead};
use sitar_http::h2;
use sitar_http::semantics::{AcceptEncoding, Coding, PreconditionResult, Validators, preconditions, range};
use sitar_http::{Status, date};

const CURL: &[u8] =
    b"GET /index.html HTTP/1.1\r\nHost: localhost:8443\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
const BROWSER: &[u8] = b"GET /assets/app-4f3a9c.js HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/140.0.0.0 Safari/537.36\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Dest: script\r\nReferer: https://example.org/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\nIf-None-Match: \"pVwk1kzqQ8mPzJv0Xc2b3w\"\r\n\
    If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
const FIELDS: &[u8] = b"Content-Type: text/html; charset=utf-8\r\nETag: \"pVwk1kzqQ8mPzJv0Xc2b3w\"\r\n\
    Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\nVary: Accept-Encoding\r\n\
    X-Content-Type-Options: nosniff\r\n";

fn request(wire: &[u8], limits: &Limits, date: &[u8; 29], out: &mut [u8]) -> Option<usize> {
    let head = h1::parse(wire, limits).ok()??;
    let validators =
        Validators { etag: Some(b"\"pVwk1kzqQ8mPzJv0Xc2b3w\""), last_modified: Some(784_111_777) };
    let coding = AcceptEncoding::of(&head.request).best(&[Coding::Br, Coding::Identity]);
    let verdict = preconditions(&head.request, &validators);
    let span = range(&head.request, &validators, 1024);
    let status = if verdict == PreconditionResult::Proceed { Status::OK } else { Status::NOT_MODIFIED };
    black_box((coding, span));
    let answer = ResponseHead {
        version: head.version,
        status,
        date,
        fields: &[FIELDS],
        content_length: (status == Status::OK).then_some(1024),
        close: !head.keep_alive,
    };
    h1::write_head(out, &answer)
}

/// A warm connection of HTTP/2: the fields of a client that repeats its request are in its table.
struct Warm {
    connection: h2::Connection<Nothing>,
    shared: h2::SharedBuffers<Nothing>,
    block: Box<[u8]>,
    stream: u32,
    now: Instant,
}

/// Every answer is small enough to leave at once.
struct Nothing;

impl h2::ContentSource for Nothing {
    fn ready(&self) -> usize {
        0
    }

    fn fill(&mut self, _: &mut [u8]) {}
}

impl Warm {
    fn new(out: &mut [u8]) -> Warm {
        let limits = h2::Limits::default();
        let (mut shared, now) = (h2::SharedBuffers::new(&limits), Instant::now());
        let connection = h2::Connection::new(&limits, &mut shared, now);
        let mut warm = Warm { connection, shared, block: h2::field_block(FIELDS), stream: 1, now };
        let mut wire = h2::PREFACE.to_vec();
        wire.extend(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0");
        // A window for a great many answers.
        wire.extend(b"\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0");
        wire.extend(b"\0\0\x23\x01\x05\0\0\0\x01\x82\x87\x44\x0b/index.html\x41\x05a.org\x7a\x0bcurl/7.88.1");
        assert!(warm.request(&wire, out) > 0);
        warm
    }

    /// Receives `wire`, and answers the request in it.
    fn request(&mut self, wire: &[u8], out: &mut [u8]) -> usize {
        let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let received = self.connection.receive(&mut self.shared, wire, self.now);
        let Some(h2::StreamRequest { stream, request: Ok(request), .. }) = received.request else { return 0 };
        let validators =
            Validators { etag: Some(b"\"pVwk1kzqQ8mPzJv0Xc2b3w\""), last_modified: Some(784_111_777) };
        let coding = AcceptEncoding::of(&request).best(&[Coding::Br, Coding::Identity]);
        black_box((coding, preconditions(&request, &validators), range(&request, &validators, 1024)));
        let answer = h2::ResponseHead {
            status: Status::OK,
            date,
            block: &self.block,
            fields: &[],
            content_length: Some(1024),
        };
        self.stream += 2;
        self.connection.respond_now(&mut self.shared, stream, &answer, &[0; 1024], out).unwrap_or(0)
    }

    /// The next request of the same kind: `:method`, `:scheme`, and three fields from the table.
    fn next(&mut self, out: &mut [u8]) -> usize {
        let [a, b, c, d] = self.stream.to_be_bytes();
        let wire = [0, 0, 5, 1, 5, a, b, c, d, 0x82, 0x87, 0xc0, 0xbf, 0xbe];
        self.request(&wire, out)
    }
}

/// Arguments of `http`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this number of rounds of the first case, without a clock: for a tool that counts
    /// instructions
    rounds: Option<u32>,
}

/// Prints the times, the best of several rounds.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let limits = Limits::default();
    let date = date::write_imf(784_111_777);
    let mut out = [0; 1024];
    if let Some(rounds) = arguments.rounds {
        for _ in 0..rounds {
            black_box(request(black_box(CURL), &limits, &date, &mut out));
        }
        return Ok(());
    }
    for (name, wire) in [("curl", CURL), ("browser, 304", BROWSER)] {
        const ROUNDS: u32 = 1_000_000;
        let mut best = f64::INFINITY;
        let mut parse_best = f64::INFINITY;
        for _ in 0..7 {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                black_box(request(black_box(wire), &limits, &date, &mut out));
            }
            best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
            let start = Instant::now();
            for _ in 0..ROUNDS {
                let _ = black_box(h1::parse(black_box(wire), &limits));
            }
            parse_best = parse_best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
        }
        println!("{name}: {} bytes, whole {best:.0} ns, of which parse {parse_best:.0} ns", wire.len());
    }
    let mut best = f64::INFINITY;
    let mut out = [0; 4096];
    for _ in 0..7 {
        const ROUNDS: u32 = 500_000;
        let mut warm = Warm::new(&mut out);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            assert!(black_box(warm.next(&mut out)) > 1024);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    println!("HTTP/2, 1 KiB of content copied: whole {best:.0} ns");
    Ok(())
}
