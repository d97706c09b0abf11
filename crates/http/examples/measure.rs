//! How long the HTTP part of a warm request takes: `cargo run --release -p sitar-http --example measure`.
//! With a number as argument it does so many rounds of the first case only, for counting instructions.

use std::hint::black_box;
use std::time::Instant;

use sitar_http::h1::{self, Answer, Limits};
use sitar_http::semantics::{Accept, Coding, Validators, Verdict, preconditions, range};
use sitar_http::{Status, date};

const CURL: &[u8] =
    b"GET /index.html HTTP/1.1\r\nHost: localhost:8443\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
const BROWSER: &[u8] = b"GET /assets/app-4f3a9c.js HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
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
    let coding = Accept::of(&head.request).best(&[Coding::Br, Coding::Identity]);
    let verdict = preconditions(&head.request, &validators);
    let span = range(&head.request, &validators, 1024);
    let status = if verdict == Verdict::Proceed { Status::OK } else { Status::NOT_MODIFIED };
    black_box((coding, span));
    let answer = Answer {
        version: head.version,
        status,
        date,
        fields: &[FIELDS],
        content_length: (status == Status::OK).then_some(1024),
        close: !head.keep_alive,
    };
    h1::write_head(out, &answer)
}

fn main() {
    let limits = Limits::default();
    let date = date::write_imf(784_111_777);
    let mut out = [0; 1024];
    if let Some(rounds) = std::env::args().nth(1).and_then(|argument| argument.parse::<u32>().ok()) {
        for _ in 0..rounds {
            black_box(request(black_box(CURL), &limits, &date, &mut out));
        }
        return;
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
}
