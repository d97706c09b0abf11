//! Plain HTTP over real sockets: the connection's states, one by one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{Engine, Server, answer, body, get, small};
use sitar_server::{BodyMemory, Counts, Limits};

crate::on_every_engine! {
    bodies_of_every_size_arrive_whole,
    pipelined_requests_are_answered_in_order,
    a_request_may_come_byte_by_byte,
    an_unwanted_body_is_skipped_and_the_next_request_is_found,
    refusals_arrive_although_the_client_is_still_sending,
    bad_requests_get_their_status_and_then_the_end,
    a_slow_head_gets_408_and_an_idle_connection_nothing,
    a_half_closed_client_gets_its_answers,
    close_is_announced_and_done,
    slow_readers_cannot_take_all_send_buffers,
    slow_readers_hold_no_send_buffers,
    unfinished_requests_cannot_take_all_memory,
    thousands_of_requests_in_one_write_are_all_answered,
    a_refused_head_request_gets_no_body,
    a_peer_that_does_not_read_is_closed_in_the_end,
    more_than_the_memory_holds_is_served_all_the_same,
    a_file_that_vanished_is_404_and_its_return_is_seen,
    a_stop_finishes_what_was_asked_for,
    a_second_stop_does_not_wait,
    a_panic_restarts_the_shard,
    answers_are_counted_by_what_they_are,
}

crate::on_the_polled_ring! {
    bodies_of_every_size_arrive_whole,
    pipelined_requests_are_answered_in_order,
    a_request_may_come_byte_by_byte,
    an_unwanted_body_is_skipped_and_the_next_request_is_found,
    bad_requests_get_their_status_and_then_the_end,
    a_half_closed_client_gets_its_answers,
    close_is_announced_and_done,
    thousands_of_requests_in_one_write_are_all_answered,
    more_than_the_memory_holds_is_served_all_the_same,
    a_stop_finishes_what_was_asked_for,
    a_panic_restarts_the_shard,
}

fn bodies_of_every_size_arrive_whole(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut stream = server.connect();
    for _ in 0..2 {
        crate::harness::asks_for_every_size(&mut stream);
    }
}

fn pipelined_requests_are_answered_in_order(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut stream = server.connect();
    let mut requests = Vec::new();
    for i in 0..300 {
        requests.extend_from_slice(&get(["/small.txt", "/k16.bin", "/nope"][i % 3]));
    }
    let mut writer = stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || writer.write_all(&requests).unwrap());
    for i in 0..300 {
        let expected =
            [(200, b"hello\n".to_vec()), (200, body(16 << 10)), (404, b"404 Not Found\n".to_vec())];
        assert!(answer(&mut stream) == expected[i % 3], "answer {i}");
    }
    thread.join().unwrap();
}

fn a_request_may_come_byte_by_byte(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut stream = server.connect();
    for byte in get("/small.txt") {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
}

fn an_unwanted_body_is_skipped_and_the_next_request_is_found(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut stream = server.connect();
    stream
        .write_all(b"POST /small.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET /evil HTTP/1.1\r\n")
        .unwrap();
    assert_eq!(answer(&mut stream).0, 405);
    stream.write_all(b"Host: b\r\n\r").unwrap();
    stream
        .write_all(
            b"GET /small.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        )
        .unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    stream.write_all(&get("/k16.bin")).unwrap();
    assert!(answer(&mut stream) == (200, body(16 << 10)));
}

fn refusals_arrive_although_the_client_is_still_sending(engine: Engine) {
    let server = Server::plain(engine, small());
    for _ in 0..20 {
        let mut stream = server.connect();
        let mut writer = stream.try_clone().unwrap();
        // A reset would destroy the answer; a lingering close does not.
        let thread = std::thread::spawn(move || {
            let _ = writer.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
            let _ = writer.write_all(&vec![b'x'; 1_000_000]);
            let _ = writer.shutdown(Shutdown::Write);
        });
        assert_eq!(answer(&mut stream).0, 413);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        thread.join().unwrap();
    }
}

fn bad_requests_get_their_status_and_then_the_end(engine: Engine) {
    let server = Server::plain(engine, small());
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(200));
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "400"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        (b"\x16\x03\x01\x00\x05hello", "400"),
        (long.as_bytes(), "414"),
        (many.as_bytes(), "431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\n\r\n", "417"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
    ] {
        let got = server.exchange(request);
        let text = String::from_utf8_lossy(&got);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{} gave {text}", request.escape_ascii());
        assert!(text.contains("Connection: close\r\n"), "{text}");
    }
}

fn a_slow_head_gets_408_and_an_idle_connection_nothing(engine: Engine) {
    let (head, idle) = (Duration::from_millis(600), Duration::from_millis(1500));
    let server = Server::plain(engine, Limits { head, idle, ..small() });
    let start = Instant::now();
    let got = server.exchange(b"GET / HTTP/1.1\r\nHost:");
    assert!(got.starts_with(b"HTTP/1.1 408 "), "{}", got.escape_ascii());
    let spent = start.elapsed();
    assert!(spent >= head, "{spent:?}");
    assert_eq!(server.exchange(b""), b"");
    // Trickling does not buy time.
    let mut stream = server.connect();
    let start = Instant::now();
    for byte in get("/small.txt").iter().cycle() {
        if stream.write_all(&[*byte]).is_err() || start.elapsed() > Duration::from_secs(40) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() < Duration::from_secs(30));
}

fn a_half_closed_client_gets_its_answers(engine: Engine) {
    let server = Server::plain(engine, small());
    for path in ["/small.txt", "/m1.bin", "/m9.bin"] {
        let mut stream = server.connect();
        stream.write_all(&[get(path), get("/k16.bin")].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
        assert!(answer(&mut stream) == (200, body(16 << 10)));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

fn close_is_announced_and_done(engine: Engine) {
    let server = Server::plain(engine, small());
    for (request, kept) in [
        (&b"GET /small.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..], false),
        (b"GET /small.txt HTTP/1.0\r\n\r\n", false),
        (b"GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        (b"GET /small.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", false),
    ] {
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
        if kept {
            stream.write_all(request).unwrap();
            assert_eq!(answer(&mut stream).0, 200);
        } else {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{}", request.escape_ascii());
        }
    }
}

/// Send buffers run out while clients do not read, and the kernel does not take a whole one: the
/// others go on, the slowest readers are closed.
fn slow_readers_cannot_take_all_send_buffers(engine: Engine) {
    let limits = Limits { tx_buffers: 8, connections: 256, ..small() };
    let server = Server::narrow(engine, limits, false, BodyMemory::new(64 << 20, 8 << 20), 1);
    let slow = readers_that_do_not_read(&server, 30);
    for _ in 0..3 {
        let mut stream = server.connect();
        stream.write_all(&get("/small.txt")).unwrap();
        assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    }
    // Meanwhile those who wait for a buffer get one in the end.
    std::thread::sleep(Duration::from_millis(1500));
    drop(slow);
    assert!(server.stop().shed > 0);
}

fn slow_readers_hold_no_send_buffers(engine: Engine) {
    crate::harness::slow_readers_hold_no_send_buffers(engine, false, Server::connect);
}

/// Clients that ask for 9 MiB, with windows of a few KiB.
fn readers_that_do_not_read(server: &Server, count: usize) -> Vec<TcpStream> {
    let readers = (0..count).map(|_| {
        let mut stream = server.connect_narrow();
        stream.write_all(&get("/m9.bin")).unwrap();
        stream
    });
    let readers = readers.collect();
    std::thread::sleep(Duration::from_millis(300));
    readers
}

/// Memory for input runs out while clients do not finish their requests: those who hold most of it
/// are closed.
fn unfinished_requests_cannot_take_all_memory(engine: Engine) {
    let limits = Limits { connections: 256, held_max: 128 << 10, ..small() };
    let server = Server::plain(engine, limits);
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = server.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").unwrap();
        stream.write_all(&[b'x'; 7000]).unwrap();
        held.push(stream);
    }
    for _ in 0..3 {
        let mut stream = server.connect();
        stream.write_all(b"GET /small.txt HT").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    }
    assert!(server.stop().shed > 0);
}

fn thousands_of_requests_in_one_write_are_all_answered(engine: Engine) {
    let server = Server::plain(engine, Limits::default());
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    let requests = get("/small.txt").repeat(16_000);
    let thread = std::thread::spawn(move || writer.write_all(&requests).unwrap());
    let mut reader = std::io::BufReader::new(&mut stream);
    for i in 0..16_000 {
        assert_eq!(answer(&mut reader), (200, b"hello\n".to_vec()), "answer {i}");
    }
    thread.join().unwrap();
}

fn a_refused_head_request_gets_no_body(engine: Engine) {
    let server = Server::plain(engine, small());
    let got = server.exchange(b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n");
    assert!(got.starts_with(b"HTTP/1.1 413 ") && got.ends_with(b"\r\n\r\n"), "{}", got.escape_ascii());
}

fn a_peer_that_does_not_read_is_closed_in_the_end(engine: Engine) {
    let server = Server::plain(engine, Limits { send: Duration::from_millis(800), ..small() });
    let mut stream = server.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
    stream.write_all(&get("/m9.bin").repeat(4)).unwrap();
    let start = Instant::now();
    // What it sends meanwhile does not move the deadline.
    while stream.write_all(b"GET / HTTP/1.1\r\n").is_ok() {
        // A guard against a hang: a busy machine with many polling threads takes its time.
        assert!(start.elapsed() < Duration::from_secs(60), "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn more_than_the_memory_holds_is_served_all_the_same(engine: Engine) {
    let server = Server::start(engine, small(), false, BodyMemory::new(2 << 20, 2 << 20));
    let mut stream = server.connect();
    for _ in 0..3 {
        for (path, len) in [("/m1.bin", 1 << 20), ("/k16.bin", 16 << 10), ("/m9.bin", 9 << 20)] {
            stream.write_all(&get(path)).unwrap();
            assert!(answer(&mut stream) == (200, body(len)), "{path}");
        }
    }
}

fn a_file_that_vanished_is_404_and_its_return_is_seen(engine: Engine) {
    let server = Server::plain(engine, small());
    let path = server.directory().join("small.txt");
    std::fs::remove_file(&path).unwrap();
    let mut stream = server.connect();
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 404);
    std::fs::write(&path, "again\n").unwrap();
    let mut stream = server.connect();
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream), (200, b"again\n".to_vec()));
}

fn a_stop_finishes_what_was_asked_for(engine: Engine) {
    let server = Server::plain(engine, Limits { drain: Duration::from_secs(20), ..small() });
    let mut idle = server.connect();
    idle.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut idle).0, 200);
    let mut busy = server.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&busy, 256 << 10).unwrap();
    busy.write_all(&get("/m9.bin")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    server.worker.stop();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "idle connections end at once");
    let late = TcpStream::connect(server.address).map_err(|error| error.kind());
    assert_eq!(late.err(), Some(ErrorKind::ConnectionRefused), "a closed listener refuses at once");
    assert!(answer(&mut busy) == (200, body(9 << 20)), "busy ones when they are done");
    assert_eq!(busy.read(&mut [0]).unwrap(), 0);
    drop((idle, busy));
    assert_eq!(server.worker.wait().requests, 2);
    assert_eq!(TcpStream::connect(server.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn a_second_stop_does_not_wait(engine: Engine) {
    let server = Server::plain(engine, Limits { drain: Duration::from_secs(60), ..small() });
    let mut busy = server.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&busy, 4096).unwrap();
    busy.write_all(&get("/m9.bin")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    server.worker.stop();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(30));
}

fn a_panic_restarts_the_shard(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut stream = server.connect();
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    // What a shard counts can be read while it runs.
    let counts = server.worker.counts();
    assert_eq!((counts.accepted, counts.requests, counts.open()), (1, 1, 1), "{counts:?}");
    server.panics.store(1, std::sync::atomic::Ordering::SeqCst);
    // The clock is asked once a second, in a wake-up; its panic ends the connection.
    let start = Instant::now();
    let mut ended = false;
    while !ended && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
        ended =
            stream.write_all(&get("/small.txt")).is_err() || stream.read(&mut [0; 4096]).unwrap_or(0) == 0;
    }
    assert!(ended);
    let mut stream = server.connect();
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream), (200, b"hello\n".to_vec()));
    // A shard that is started again counts on: nothing is lost, and nothing counted twice.
    let counts = server.worker.counts();
    assert_eq!((counts.accepted, counts.ends.own_faults, counts.open()), (2, 1, 1), "{counts:?}");
    drop(stream);
    // Requests before the panic are in the sum, and so are those after it. The connection that the
    // panic ended has its reason, as the other one has.
    let counts = server.stop();
    assert_eq!(counts.accepted, 2, "{counts:?}");
    assert_eq!(counts.ends.own_faults, 1, "{counts:?}");
    let ends = Counts { ends: counts.ends, ..Counts::default() };
    assert_eq!(ends.named().into_iter().map(|(_, count)| count).sum::<u64>(), 2, "{counts:?}");
    assert!(counts.requests >= 2, "{counts:?}");
    let incidents = server.incidents.lock().unwrap().clone();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert!(incidents[0].contains("shard 0") && incidents[0].contains("a panic on request"), "{incidents:?}");
}

fn answers_are_counted_by_what_they_are(engine: Engine) {
    let server = Server::plain(engine, small());
    let requests = [
        "GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /m9.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nRange: bytes=0-99\r\n\r\n",
        "HEAD /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /small.txt HTTP/1.0\r\n\r\n",
        "GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-None-Match: *\r\n\r\n",
        "POST /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        // What cannot be read is of no site, whatever came before it on its connection.
        "GET /small.txt HTTP/1.1\r\nHost: localhost\r\n\r\nGET /\u{1} HTTP/1.1\r\n\r\n",
    ];
    let mut refusal = 0;
    for request in requests {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        refusal = answer.rsplit("\r\n\r\n").next().unwrap().len() as u64;
    }
    let numbers = server.worker.numbers();
    let shown: Vec<String> = numbers
        .sites
        .iter()
        .flat_map(|site| {
            site.answers.iter().map(move |one| {
                let (method, version) = (one.method.name(), one.version.name());
                format!("{} {} {method} {version}: {}", site.name, one.status.code(), one.count)
            })
        })
        .collect();
    let expected = [
        " 400 other 1.1: 1",
        "default 200 get 1.0: 1",
        "default 200 get 1.1: 3",
        "default 200 head 1.1: 1",
        "default 206 get 1.1: 1",
        "default 304 get 1.1: 1",
        "default 404 get 1.1: 1",
        "default 405 other 1.1: 1",
    ];
    assert_eq!(shown, expected);
    let bodies = 4 * b"hello\n".len() + 100 + b"404 Not Found\n".len() + b"405 Method Not Allowed\n".len();
    let content: Vec<u64> = numbers.sites.iter().map(|site| site.content).collect();
    assert_eq!(content, [refusal, bodies as u64]);
    assert_eq!((numbers.counts.requests, numbers.counts.accepted), (10, 9));
    assert!(numbers.calls > 0 && numbers.send_buffers_free <= numbers.send_buffers, "{numbers:?}");
    server.stop();
    let numbers = server.worker.numbers();
    assert_eq!((numbers.send_buffers, numbers.held, numbers.counts.open()), (0, 0, 0));
}
