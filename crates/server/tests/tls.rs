//! HTTPS over real sockets, with rustls' client as the other side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use harness::{Server, answer, body, get, small};
use rustls::version::{TLS12, TLS13};
use sitar_server::Limits;
use sitar_site::Budget;

#[test]
fn bodies_of_every_size_arrive_whole_in_both_versions() {
    let server = Server::tls(small());
    for version in [&TLS12, &TLS13] {
        let mut stream = server.connect_tls(version);
        for (path, len) in [("/k16.bin", 16 << 10), ("/m1.bin", 1 << 20), ("/m9.bin", 9 << 20)] {
            stream.write_all(&get(path)).unwrap();
            assert!(answer(&mut stream) == (200, body(len)), "{path}");
        }
        stream.write_all(&get("/small.txt")).unwrap();
        assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    }
}

#[test]
fn files_beyond_the_memory_arrive_whole() {
    let server = Server::start(small(), true, Budget::new(0, 0));
    let mut stream = server.connect_tls(&TLS13);
    for (path, len) in [("/m1.bin", 1 << 20), ("/k16.bin", 16 << 10), ("/m9.bin", 9 << 20)] {
        stream.write_all(&get(path)).unwrap();
        assert!(answer(&mut stream) == (200, body(len)), "{path}");
    }
}

#[test]
fn pipelined_requests_in_one_record_and_in_many_are_answered_in_order() {
    let server = Server::tls(small());
    for chunk in [1_000_000, 700, 40, 7] {
        let mut stream = server.connect_tls(&TLS13);
        let mut requests = Vec::new();
        for i in 0..60 {
            requests.extend_from_slice(&get(["/small.txt", "/k16.bin", "/nope"][i % 3]));
        }
        for piece in requests.chunks(chunk) {
            stream.write_all(piece).unwrap();
        }
        for i in 0..60 {
            let expected =
                [(200, b"hello\n".to_vec()), (200, body(16 << 10)), (404, b"404 Not Found\n".to_vec())];
            assert!(answer(&mut stream) == expected[i % 3], "answer {i}, pieces of {chunk}");
        }
    }
}

#[test]
fn the_end_is_announced_by_close_notify() {
    let server = Server::tls(small());
    for version in [&TLS12, &TLS13] {
        let mut stream = server.connect_tls(version);
        stream.write_all(b"GET /m1.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(answer(&mut stream) == (200, body(1 << 20)));
        // rustls calls an end without close_notify UnexpectedEof.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        // Idle for too long: the same.
        let mut stream = server.connect_tls(version);
        stream.write_all(&get("/small.txt")).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn the_peers_close_notify_is_answered() {
    let server = Server::tls(small());
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn key_updates_are_answered() {
    let server = Server::tls(small());
    let mut stream = server.connect_tls(&TLS13);
    for _ in 0..5 {
        stream.write_all(&get("/k16.bin")).unwrap();
        assert!(answer(&mut stream) == (200, body(16 << 10)));
        stream.conn.refresh_traffic_keys().unwrap();
    }
}

#[test]
fn a_tampered_record_is_answered_by_an_alert() {
    let server = Server::tls(small());
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    stream.sock.write_all(b"\x17\x03\x03\x00\x20................................").unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn plain_http_is_told_to_use_https() {
    let server = Server::tls(small());
    let got = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(got).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("https://"), "{text}");
}

#[test]
fn garbage_gets_an_alert_and_silence_gets_nothing() {
    let server = Server::tls(small());
    assert_eq!(server.exchange(b"\x16\x03\x01\x00\x05hello"), [21, 3, 3, 0, 2, 2, 50], "decode_error");
    let start = Instant::now();
    assert_eq!(server.exchange(b""), b"");
    let half = server.exchange(b"\x16\x03\x01\x02\x00\x01\x00");
    assert_eq!(half, b"");
    assert!(start.elapsed() >= Duration::from_millis(1200), "two handshake deadlines");
}

#[test]
fn a_stop_says_goodbye() {
    let server = Server::tls(Limits { drain: Duration::from_secs(20), ..small() });
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    server.worker.stop();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.worker.wait().handshakes, 1);
}

#[test]
fn a_reset_in_every_state_leaves_nothing_behind() {
    let server = Server::tls(small());
    for round in 0..60 {
        let mut stream = server.connect_tls(&TLS13);
        match round % 4 {
            0 => {}
            1 => stream.write_all(b"GET /sm").unwrap(),
            2 => stream.write_all(&get("/m9.bin")).unwrap(),
            _ => {
                stream.write_all(&get("/small.txt")).unwrap();
                assert_eq!(answer(&mut stream).0, 200);
            }
        }
        rustix::net::sockopt::set_socket_linger(&stream.sock, Some(Duration::ZERO)).unwrap();
    }
    // More than the table holds, so each place must have come back.
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
}

/// While an answer is on its way, an upload fills what may be put aside; its last record is cut just before its end.
#[test]
fn receiving_goes_on_wherever_a_record_is_cut() {
    let server = Server::tls(Limits { head: Duration::from_secs(20), ..small() });
    for cut in [1, 10, 100, 3000] {
        let mut stream = server.connect_tls(&TLS13);
        stream.write_all(&get("/m9.bin")).unwrap();
        let mut wire = Vec::new();
        for _ in 0..2 {
            let upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
            let text = [&upload[..], &vec![b'x'; 60_000]].concat();
            stream.conn.writer().write_all(&text).unwrap();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut wire).unwrap();
            }
        }
        let (now, later) = wire.split_at(wire.len() - cut);
        let (mut sock, now) = (stream.sock.try_clone().unwrap(), now.to_vec());
        let thread = std::thread::spawn(move || sock.write_all(&now).unwrap());
        assert!(answer(&mut stream) == (200, body(9 << 20)));
        thread.join().unwrap();
        assert_eq!(answer(&mut stream).0, 405);
        stream.sock.write_all(later).unwrap();
        assert_eq!(answer(&mut stream).0, 405, "cut {cut}");
    }
}

#[test]
fn key_updates_buy_no_time() {
    let server = Server::tls(small());
    let start = Instant::now();
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(b"GET / HT").unwrap();
    stream.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    loop {
        let _ = stream.conn.refresh_traffic_keys();
        let _ = stream.flush();
        let mut got = [0; 12];
        match stream.read_exact(&mut got) {
            Ok(()) => break assert_eq!(&got, b"HTTP/1.1 408"),
            Err(error) => assert!(start.elapsed() < Duration::from_secs(5), "still open: {error}"),
        }
    }
}

/// Handshakes are still made while all buffers for bodies are taken.
#[test]
fn slow_readers_do_not_stop_handshakes() {
    let limits = Limits { tx_buffers: 16, connections: 64, send: Duration::from_secs(60), ..small() };
    let server = Server::start(limits, true, Budget::new(0, 0));
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = server.connect_tls(&TLS13);
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream.sock, 4096).unwrap();
        stream.write_all(&get("/m9.bin")).unwrap();
        slow.push(stream);
    }
    for _ in 0..3 {
        let mut stream = server.connect_tls(&TLS13);
        stream.write_all(&get("/k16.bin")).unwrap();
        assert!(answer(&mut stream) == (200, body(16 << 10)));
    }
}
