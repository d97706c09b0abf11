//! The table of requirements of RFC 9110 and 9111 through a server, each row as the bytes on the
//! wire.

#[path = "../../../site/tests/semantics/mod.rs"]
mod table;

use crate::harness::{Engine, Server, small};
use sitar_server::BodyMemory;
use std::io::{Read, Write};

crate::on_every_engine! {
    every_requirement,
    the_same_over_tls,
    parts_larger_than_a_send_buffer,
}

/// All rows on one connection: an answer that is a byte too long or too short spoils the next one.
fn on(stream: &mut (impl Read + Write)) {
    for case in table::cases() {
        stream.write_all(&case.request).unwrap();
        let mut answer = vec![0; case.answer.len()];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        table::mask(&mut answer);
        assert_eq!(
            answer.escape_ascii().to_string(),
            case.answer.escape_ascii().to_string(),
            "{}",
            case.name
        );
    }
}

fn every_requirement(engine: Engine) {
    let server =
        Server::at(table::now, engine, small(), false, BodyMemory::new(64 << 20, 8 << 20), table::build);
    on(&mut server.connect());
}

fn the_same_over_tls(engine: Engine) {
    let server =
        Server::at(table::now, engine, small(), true, BodyMemory::new(64 << 20, 8 << 20), table::build);
    on(&mut server.connect_tls(&rustls::version::TLS13));
}

/// Three parts of 100 KB and more: each is cut where buffers and records end.
fn parts_larger_than_a_send_buffer(engine: Engine) {
    for tls in [false, true] {
        let server = Server::start(engine, small(), tls, BodyMemory::new(64 << 20, 8 << 20));
        let request =
            b"GET /m1.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=900000-,0-99999,200000-499999\r\n\r\n";
        let (head, body) = if tls {
            let mut stream = server.connect_tls(&rustls::version::TLS13);
            stream.write_all(request).unwrap();
            crate::harness::answer_with_head(&mut stream)
        } else {
            let mut stream = server.connect();
            stream.write_all(request).unwrap();
            crate::harness::answer_with_head(&mut stream)
        };
        let boundary = head.split_once("boundary=").unwrap().1.split_once("\r\n").unwrap().0;
        let whole = crate::harness::body(1 << 20);
        let mut expected = Vec::new();
        for (at, range) in [900_000..1_048_576, 0..100_000, 200_000..500_000].into_iter().enumerate() {
            let start = if at == 0 { "" } else { "\r\n" };
            let lines = format!(
                "{start}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/1048576\r\n\r\n",
                range.start,
                range.end - 1
            );
            expected.extend_from_slice(lines.as_bytes());
            expected.extend_from_slice(&whole[range]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
        assert_eq!(body.len(), expected.len());
        assert!(body == expected, "parts that are not what was asked for");
    }
}
