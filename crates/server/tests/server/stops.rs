//! A stop waits for answers under way, and for nothing else.
//!
//! All limits are an hour, so a connection that held a stop would hold it for longer than these
//! tests wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Engine, Server, answer, body, get, small};
use sitar_server::{Counts, Limits};

crate::on_every_engine! {
    nothing_but_answers_holds_a_stop,
    half_a_handshake_or_request_over_tls_holds_no_stop,
    answers_under_way_are_counted,
    content_of_an_answered_request_holds_no_stop,
    an_answer_that_has_arrived_is_not_counted,
    an_answer_in_the_socket_survives_window_updates,
    a_farewell_is_no_answer,
    shards_that_turn_are_told_from_those_that_do_not,
}

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);
/// The preface of HTTP/2, and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The acknowledgement of the farewell's PING, so that the server need not wait until it may close.
const FAREWELL: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0farewell";
/// The acknowledgement of the server's SETTINGS.
const ACKNOWLEDGED: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

fn patient() -> Limits {
    let limits = small();
    Limits { handshake: HOUR, head: HOUR, idle: HOUR, send: HOUR, linger: HOUR, drain: HOUR, ..limits }
}

/// Waits for the end of a worker that has been asked to stop. One that does not end is a failure,
/// and is ended.
fn ended(server: &Server) -> Counts {
    thread::scope(|scope| {
        let (tell, told) = channel();
        scope.spawn(move || tell.send(server.worker.wait()).is_ok());
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let answering = server.worker.answering();
            server.worker.stop();
            panic!("something holds the stop; {answering} answers are under way")
        })
    })
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the server has done something that is visible: one that is asked later has seen what
/// came before.
fn asks(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
    stream
}

/// Its end, after whatever the server had to say.
fn ends(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too: of a connection on which nothing was asked.
    let _ = stream.read_to_end(&mut rest);
}

fn nothing_but_answers_holds_a_stop(engine: Engine) {
    let server = Server::plain(engine, patient());
    let silent = server.connect();
    let mut half = server.connect();
    half.write_all(b"GET /small.txt HTTP/1.1\r\nHost: ").unwrap();
    let mut half_later = asks(&server);
    half_later.write_all(b"G").unwrap();
    let mut greeting = server.connect();
    greeting.write_all(&PREFACE[..10]).unwrap();
    let mut preface = server.connect();
    preface.write_all(PREFACE).unwrap();
    // It never answers the PING of the farewell.
    let mut open = server.connect();
    open.write_all(PREFACE).unwrap();
    open.write_all(ACKNOWLEDGED).unwrap();
    let mut frame = server.connect();
    frame.write_all(PREFACE).unwrap();
    frame.write_all(b"\0\0\x20\x01\x04\0\0\0\x01\x82").unwrap();
    let idle = asks(&server);
    server.worker.stop();
    let counts = ended(&server);
    assert_eq!((counts.accepted, counts.requests), (8, 2));
    assert_eq!(server.worker.answering(), 0);
    for stream in [&silent, &half, &half_later, &greeting, &preface, &open, &frame, &idle] {
        ends(stream);
    }
}

fn half_a_handshake_or_request_over_tls_holds_no_stop(engine: Engine) {
    let server = Server::tls(engine, patient());
    let silent = server.connect();
    let mut half = server.connect();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    let mut request = server.connect_tls(&rustls::version::TLS13);
    request.write_all(b"GET /small.txt HTTP/1.1\r\n").unwrap();
    // Half a record.
    let mut record = server.connect_tls(&rustls::version::TLS12);
    record.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut record).0, 200);
    record.sock.write_all(b"\x17\x03\x03\x01\x00\x00").unwrap();
    let mut idle = server.connect_tls(&rustls::version::TLS13);
    idle.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(&mut idle).0, 200);
    server.worker.stop();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "close_notify");
    assert_eq!(request.read(&mut [0]).unwrap(), 0, "close_notify");
    assert_eq!(ended(&server).requests, 2);
    ends(&silent);
    ends(&half);
}

fn answers_under_way_are_counted(engine: Engine) {
    let server = Server::plain(engine, Limits { linger: Duration::from_millis(500), ..patient() });
    let idle = asks(&server);
    let mut slow: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = server.connect_narrow();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&get("/m9.bin")).unwrap();
            // The answer has begun.
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            stream
        })
        .collect();
    assert_eq!(server.worker.answering(), 0, "not before a stop");
    server.worker.stop();
    ends(&idle);
    eventually("three answers under way", || server.worker.answering() == 3);
    eventually("closed doors", || TcpStream::connect(server.address).is_err());
    drop(slow.pop());
    eventually("two answers under way", || server.worker.answering() == 2);
    slow.clear();
    let counts = ended(&server);
    assert_eq!((counts.requests, server.worker.answering()), (4, 0));
}

/// The answer is there; what comes of the request's content, on HTTP/1 and on HTTP/2, is not waited
/// for.
fn content_of_an_answered_request_holds_no_stop(engine: Engine) {
    let server = Server::plain(engine, Limits { linger: Duration::from_millis(500), ..patient() });
    let mut old = server.connect();
    old.write_all(b"POST /small.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc").unwrap();
    assert_eq!(answer(&mut old).0, 405);
    // GET / of localhost without END_STREAM: :method GET, :scheme http, :path /, :authority x.
    let mut new = server.connect();
    new.write_all(PREFACE).unwrap();
    new.write_all(ACKNOWLEDGED).unwrap();
    new.write_all(b"\0\0\x06\x01\x04\0\0\0\x01\x82\x86\x84\x41\x01x").unwrap();
    let mut head = [0; 9];
    // SETTINGS, their acknowledgement, perhaps more, and the answer's HEADERS.
    loop {
        new.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        new.read_exact(&mut payload).unwrap();
        if head[3] == 1 {
            break;
        }
    }
    server.worker.stop();
    assert_eq!(ended(&server).requests, 2);
}

/// The client has everything, and keeps its end open: the connection lingers, and nothing more
/// happens on it.
fn an_answer_that_has_arrived_is_not_counted(engine: Engine) {
    let server = Server::plain(engine, patient());
    let mut slow = server.connect_narrow();
    slow.write_all(&get("/m9.bin")).unwrap();
    assert_eq!(slow.read(&mut [0]).unwrap(), 1);
    server.worker.stop();
    eventually("the answer under way", || server.worker.answering() == 1);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&body(9 << 20)));
    eventually("no answer under way", || server.worker.answering() == 0);
    // The second signal: nothing is cut off.
    server.worker.stop();
    assert_eq!((ended(&server).requests, server.worker.answering()), (1, 0));
}

/// A client of HTTP/2 sends WINDOW_UPDATE while it receives; what it has not yet received is not
/// lost to a reset.
fn an_answer_in_the_socket_survives_window_updates(engine: Engine) {
    const UPDATE: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";
    let server = Server::plain(engine, patient());
    let mut stream = server.connect_narrow();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(ACKNOWLEDGED).unwrap();
    // GET /k16.bin, all of which fits into the server's socket and not into the client's.
    stream.write_all(b"\0\0\x0f\x01\x05\0\0\0\x01\x82\x86\x04\x08/k16.bin\x41\x01x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    eventually("the request", || stream.peek(&mut [0; 4096]).unwrap() > 2000);
    server.worker.stop();
    eventually("closed doors", || TcpStream::connect(server.address).is_err());
    for _ in 0..30 {
        stream.write_all(FAREWELL).unwrap();
        stream.write_all(UPDATE).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let body = body(16 << 10);
    assert!(all.windows(body.len()).any(|part| part == body), "{} bytes", all.len());
    drop(stream);
    assert_eq!(ended(&server).requests, 1);
}

fn a_farewell_is_no_answer(engine: Engine) {
    let server = Server::plain(engine, patient());
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(ACKNOWLEDGED).unwrap();
    stream.write_all(b"\0\0\x0d\x01\x05\0\0\0\x01\x82\x86\x04\x06/small\x41\x01x").unwrap();
    // The answer's last bytes; then GOAWAY and PING, and GOAWAY again and the end.
    let said = |mut stream: &TcpStream, expected: &[u8]| {
        let mut all = Vec::new();
        eventually("what the server says", || {
            let mut some = [0; 4096];
            let len = stream.read(&mut some).unwrap_or(0);
            all.extend_from_slice(&some[..len]);
            assert_eq!(server.worker.answering(), 0);
            all.windows(expected.len()).any(|part| part == expected)
        });
    };
    said(&stream, b"\0\x01\0\0\0\x01");
    server.worker.stop();
    said(&stream, b"\0\0\x08\x06\0\0\0\0\0farewell");
    // The PING is not acknowledged: a second later the server has waited for long enough.
    said(&stream, b"\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0");
    for _ in 0..10 {
        assert_eq!(server.worker.answering(), 0);
        thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    assert_eq!(ended(&server).requests, 1);
}

fn shards_that_turn_are_told_from_those_that_do_not(engine: Engine) {
    let server = Server::plain(engine, patient());
    assert!(server.worker.turns(PATIENCE));
    assert!(server.worker.turns(PATIENCE), "a second time");
    server.worker.stop();
    ended(&server);
    assert!(!server.worker.turns(Duration::from_millis(20)));
}
