//! HTTPS over real sockets, with rustls' client as the other side.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{Engine, Server, Tls, answer, body, get, small};
use rustls::version::{TLS12, TLS13};
use sitar_server::{BodyMemory, Limits};

crate::on_every_engine! {
    bodies_of_every_size_arrive_whole_in_both_versions,
    files_beyond_the_memory_arrive_whole,
    pipelined_requests_in_one_record_and_in_many_are_answered_in_order,
    the_end_is_announced_by_close_notify,
    the_peers_close_notify_is_answered,
    key_updates_are_answered,
    a_tampered_record_is_answered_by_an_alert,
    plain_http_is_told_to_use_https,
    garbage_gets_an_alert_and_silence_gets_nothing,
    a_stop_says_goodbye,
    a_reset_in_every_state_leaves_nothing_behind,
    receiving_goes_on_wherever_a_record_is_cut,
    key_updates_buy_no_time,
    slow_readers_do_not_stop_handshakes,
    slow_readers_hold_no_send_buffers,
    keys_are_changed_before_they_are_worn,
    keys_are_changed_within_a_body,
    tls12_ends_before_its_key_is_worn,
    records_are_small_until_a_connection_is_warm,
    many_handshakes_at_once_are_all_completed,
}

crate::on_the_polled_ring! {
    bodies_of_every_size_arrive_whole_in_both_versions,
    files_beyond_the_memory_arrive_whole,
    pipelined_requests_in_one_record_and_in_many_are_answered_in_order,
    the_end_is_announced_by_close_notify,
    key_updates_are_answered,
    a_tampered_record_is_answered_by_an_alert,
    a_reset_in_every_state_leaves_nothing_behind,
    receiving_goes_on_wherever_a_record_is_cut,
    a_stop_says_goodbye,
}

fn bodies_of_every_size_arrive_whole_in_both_versions(engine: Engine) {
    let server = Server::tls(engine, small());
    for version in [&TLS12, &TLS13] {
        let mut stream = server.connect_tls(version);
        crate::harness::asks_for_every_size(&mut stream);
    }
}

fn files_beyond_the_memory_arrive_whole(engine: Engine) {
    let server = Server::start(engine, small(), true, BodyMemory::new(0, 0));
    // Content lies elsewhere in a record of either version, and is read to there.
    for version in [&TLS12, &TLS13] {
        let mut stream = server.connect_tls(version);
        for (path, len) in [("/m1.bin", 1 << 20), ("/k16.bin", 16 << 10), ("/m9.bin", 9 << 20)] {
            stream.write_all(&get(path)).unwrap();
            assert!(answer(&mut stream) == (200, body(len)), "{path}");
        }
    }
}

fn pipelined_requests_in_one_record_and_in_many_are_answered_in_order(engine: Engine) {
    let server = Server::tls(engine, small());
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

fn the_end_is_announced_by_close_notify(engine: Engine) {
    let server = Server::tls(engine, Limits { idle: Duration::from_millis(1500), ..small() });
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

fn the_peers_close_notify_is_answered(engine: Engine) {
    let server = Server::tls(engine, small());
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn key_updates_are_answered(engine: Engine) {
    let server = Server::tls(engine, small());
    let mut stream = server.connect_tls(&TLS13);
    for _ in 0..5 {
        stream.write_all(&get("/k16.bin")).unwrap();
        assert!(answer(&mut stream) == (200, body(16 << 10)));
        stream.conn.refresh_traffic_keys().unwrap();
    }
}

fn a_tampered_record_is_answered_by_an_alert(engine: Engine) {
    let server = Server::tls(engine, small());
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    stream.sock.write_all(b"\x17\x03\x03\x00\x20................................").unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

fn plain_http_is_told_to_use_https(engine: Engine) {
    let server = Server::tls(engine, small());
    let got = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(got).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("https://"), "{text}");
}

fn garbage_gets_an_alert_and_silence_gets_nothing(engine: Engine) {
    let server = Server::tls(engine, Limits { handshake: Duration::from_millis(600), ..small() });
    assert_eq!(server.exchange(b"\x16\x03\x01\x00\x05hello"), [21, 3, 3, 0, 2, 2, 50], "decode_error");
    let start = Instant::now();
    assert_eq!(server.exchange(b""), b"");
    let half = server.exchange(b"\x16\x03\x01\x02\x00\x01\x00");
    assert_eq!(half, b"");
    assert!(start.elapsed() >= Duration::from_millis(1200), "two handshake deadlines");
}

fn a_stop_says_goodbye(engine: Engine) {
    let server = Server::tls(engine, Limits { drain: Duration::from_secs(20), ..small() });
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    server.worker.stop();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.worker.wait().handshakes, 1);
}

fn a_reset_in_every_state_leaves_nothing_behind(engine: Engine) {
    let server = Server::tls(engine, small());
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

/// While an answer is on its way, an upload fills what may be put aside; its last record is cut
/// just before its end.
fn receiving_goes_on_wherever_a_record_is_cut(engine: Engine) {
    let server = Server::tls(engine, small());
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

fn key_updates_buy_no_time(engine: Engine) {
    let server = Server::tls(engine, Limits { head: Duration::from_millis(600), ..small() });
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
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "still open: {error}"),
        }
    }
}

/// Handshakes are still made while all buffers for bodies are taken, by readers whose sockets do
/// not take a whole one.
fn slow_readers_do_not_stop_handshakes(engine: Engine) {
    let limits = Limits { tx_buffers: 16, connections: 128, ..small() };
    let server = Server::narrow(engine, limits, true, BodyMemory::new(0, 0), 1);
    let slow = readers_that_do_not_read(&server, 40);
    for _ in 0..3 {
        let mut stream = server.connect_tls(&TLS13);
        stream.write_all(&get("/k16.bin")).unwrap();
        assert!(answer(&mut stream) == (200, body(16 << 10)));
    }
    drop(slow);
    assert!(server.stop().shed > 0, "buffers did not run out");
}

/// Content that is read from a file needs two buffers here while records are small.
fn slow_readers_hold_no_send_buffers(engine: Engine) {
    crate::harness::slow_readers_hold_no_send_buffers(engine, true, |server| server.connect_tls(&TLS13));
}

fn readers_that_do_not_read(server: &Server, count: usize) -> Vec<Tls> {
    let readers = (0..count).map(|_| {
        let mut stream = server.tls_over(server.connect_narrow(), &TLS13);
        stream.write_all(&get("/m9.bin")).unwrap();
        stream
    });
    let readers = readers.collect();
    // As long as a send has to last before it may be closed in favour of others.
    std::thread::sleep(Duration::from_millis(1500));
    readers
}

/// 4,700 records under one key at most, and more than 5,000 are sent.
fn keys_are_changed_before_they_are_worn(engine: Engine) {
    let budget = BodyMemory::new(64 << 20, 8 << 20);
    let server = Server::tls_with(engine, small(), budget, |tls| tls.seals_max = Some(4_700));
    let mut stream = server.connect_tls(&TLS13);
    for (path, len, times) in [("/m9.bin", 9 << 20, 8), ("/m1.bin", 1 << 20, 10)] {
        for _ in 0..times {
            stream.write_all(&get(path)).unwrap();
            assert!(answer(&mut stream) == (200, body(len)), "{path}");
        }
    }
}

/// A body of 108 records, from memory and from a file, under keys for 60.
fn keys_are_changed_within_a_body(engine: Engine) {
    for budget in [BodyMemory::new(64 << 20, 8 << 20), BodyMemory::new(0, 0)] {
        let server = Server::tls_with(engine, small(), budget, |tls| tls.seals_max = Some(60));
        // Under so low a limit whatever is sent begins with the next key, also while the file is
        // loaded: let it be there.
        let mut first = server.connect_tls(&TLS12);
        first.write_all(b"GET /m1.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n").unwrap();
        assert!(first.read(&mut [0; 1000]).unwrap() > 100);
        let mut stream = server.connect_tls(&TLS13);
        stream.write_all(&get("/m1.bin")).unwrap();
        assert!(answer(&mut stream) == (200, body(1 << 20)));
    }
}

/// TLS 1.2 cannot change its keys: with 65,536 records left it says so, and ends.
fn tls12_ends_before_its_key_is_worn(engine: Engine) {
    let budget = BodyMemory::new(64 << 20, 8 << 20);
    let server = Server::tls_with(engine, small(), budget, |tls| tls.seals_max = Some(65_536 + 100));
    let mut stream = server.connect_tls(&TLS12);
    let mut answers = 0;
    loop {
        stream.write_all(&get("/small.txt")).unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"hello\n") {
            let mut piece = [0; 1024];
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "closed before it was announced, after {answers} answers");
            text.extend_from_slice(&piece[..n]);
        }
        answers += 1;
        if String::from_utf8(text).unwrap().contains("\r\nConnection: close\r\n") {
            break;
        }
        assert!(answers < 100, "the key is worn");
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "close_notify");
    // Two records are kept back, one was the handshake's, and the answer that says so is the first
    // with fewer than 65,536 left.
    assert_eq!(answers, 99);
}

/// The lengths of the records that an answer comes in, told from the wire.
fn records(stream: &mut Tls, path: &str, len: usize) -> Vec<usize> {
    stream.write_all(&get(path)).unwrap();
    let (mut lengths, mut sum) = (Vec::new(), 0);
    while sum < len {
        let mut header = [0; 5];
        stream.sock.read_exact(&mut header).unwrap();
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.sock.read_exact(&mut record).unwrap();
        // The head is a record of its own. Behind the body are a content type and a tag.
        sum += if lengths.is_empty() { 0 } else { record.len() - 17 };
        lengths.push(5 + record.len());
    }
    lengths
}

fn records_are_small_until_a_connection_is_warm(engine: Engine) {
    let server = Server::tls(engine, small());
    let mut stream = server.connect_tls(&TLS13);
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    let small = |lengths: &[usize]| lengths.iter().filter(|len| **len == 1400).count();
    // 64 KiB, less what has been sent, the head first; then full records.
    let cold = records(&mut stream, "/m1.bin", 1 << 20);
    assert!((46..=48).contains(&small(&cold)), "{cold:?}");
    assert!(cold[0] < 1000 && cold[1..40].iter().all(|len| *len == 1400), "{cold:?}");
    assert!(cold[50..].iter().filter(|len| **len == 16_406).count() > 50, "{cold:?}");
    // On a busy machine the request may come as late as after a pause.
    let warm = (0..10).map(|_| records(&mut stream, "/m1.bin", 1 << 20)).find(|warm| small(warm) == 0);
    assert!(warm.is_some(), "always small");
    std::thread::sleep(Duration::from_millis(1100));
    let paused = records(&mut stream, "/m1.bin", 1 << 20);
    assert!((46..=48).contains(&small(&paused)), "{paused:?}");
}

/// More than one wake-up takes on, in pieces that wait for each other.
fn many_handshakes_at_once_are_all_completed(engine: Engine) {
    let limits = Limits { connections: 128, ..small() };
    let server = Server::tls(engine, limits);
    let mut open = server.connect_tls(&TLS13);
    open.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut open).0, 200);
    let mut streams: Vec<Tls> = (0..50).map(|_| server.connect_tls(&TLS13)).collect();
    for stream in &mut streams {
        stream.conn.write_tls(&mut stream.sock).unwrap();
    }
    open.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut open).0, 200);
    for stream in &mut streams {
        stream.write_all(&get("/k16.bin")).unwrap();
        assert!(answer(stream) == (200, body(16 << 10)));
    }
    drop((streams, open));
    assert_eq!(server.stop().handshakes, 51);
}
