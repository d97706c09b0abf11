//! A drain loses no request: each connection ends with its next answer, and another worker serves
//! from the same sockets meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{Engine, Server, Tls, answer_with_head, body, get, small};
use sitar_server::{
    BodyMemory, Counts, Hooks, Incident, Limits, ListenerSpec, Networks, Role, SiteSpec, Spec, TlsOffload,
    Worker,
};
use sitar_site::Options;

crate::on_every_engine! {
    idle_connections_get_their_next_answer_and_end_with_it,
    what_has_begun_is_finished,
    http2_is_told_and_loses_nothing,
    a_handshake_that_has_begun_is_served_an_answer,
    an_idle_connection_holds_a_drain_until_its_time_is_over,
    an_idle_connection_holds_a_drain_until_its_own_time_is_over,
    a_stop_goes_on_with_a_drain,
    workers_hand_over_under_load,
    a_connection_that_comes_with_a_drain_does_not_wait_for_another_one,
}

crate::on_the_polled_ring! {
    idle_connections_get_their_next_answer_and_end_with_it,
    http2_is_told_and_loses_nothing,
    workers_hand_over_under_load,
    a_connection_that_comes_with_a_drain_does_not_wait_for_another_one,
}

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);
/// The preface of HTTP/2, and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The acknowledgement of the server's SETTINGS.
const ACKNOWLEDGED: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
/// GOAWAY that names no last stream yet, and the PING behind it.
const FIRST_GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0\0\0\x08\x06\0\0\0\0\0farewell";
const FAREWELL: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0farewell";

/// Nothing but what a test does ends anything.
fn patient() -> Limits {
    let limits = small();
    Limits { handshake: HOUR, head: HOUR, idle: HOUR, send: HOUR, drain: HOUR, ..limits }
}

/// Waits for the end of a worker that drains. One that does not end is a failure, and is ended.
fn ended(worker: &Worker) -> Counts {
    thread::scope(|scope| {
        let (tell, told) = channel();
        scope.spawn(move || tell.send(worker.wait()).is_ok());
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            worker.stop();
            worker.stop();
            panic!("something holds the drain")
        })
    })
}

/// Waits until a server that drains accepts nothing more: then it has told its connections, too.
fn closed(server: &Server) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(server.address).is_ok() {
        assert!(Instant::now() < until, "it still accepts");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks for a file. Returns whether that was the last answer.
fn ask(stream: &mut (impl Read + Write), path: &str, expected: &[u8]) -> bool {
    stream.write_all(&get(path)).unwrap();
    read(stream, expected)
}

fn read(stream: &mut impl Read, expected: &[u8]) -> bool {
    let (head, body) = answer_with_head(stream);
    assert!(head.starts_with("HTTP/1.1 200 ") && body == expected, "{head}");
    head.contains("\r\nConnection: close\r\n")
}

fn is_at_end(stream: &mut impl Read) -> bool {
    stream.read(&mut [0]).unwrap() == 0
}

fn idle_connections_get_their_next_answer_and_end_with_it(engine: Engine) {
    let server = Server::plain(engine, patient());
    let mut silent = server.connect();
    let mut idle: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for stream in &mut idle {
        assert!(!ask(stream, "/small.txt", b"hello\n"));
    }
    server.worker.drain();
    closed(&server);
    for stream in &mut idle {
        assert!(ask(stream, "/small.txt", b"hello\n"), "it goes on");
        assert!(is_at_end(stream));
    }
    // Two requests at once: the answer to the second is the last one.
    silent.write_all(&[get("/small.txt"), get("/k16.bin")].concat()).unwrap();
    assert!(!read(&mut silent, b"hello\n"));
    assert!(read(&mut silent, &body(16 << 10)) && is_at_end(&mut silent));
    drop((idle, silent));
    let counts = ended(&server.worker);
    assert_eq!((counts.requests, counts.ends.drained), (42, 21), "{counts:?}");
    drop(server);

    let server = Server::tls(engine, patient());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut idle: Vec<Tls> = versions.iter().map(|version| server.connect_tls(version)).collect();
    for stream in &mut idle {
        assert!(!ask(stream, "/small.txt", b"hello\n"));
    }
    server.worker.drain();
    closed(&server);
    for stream in &mut idle {
        assert!(ask(stream, "/m1.bin", &body(1 << 20)), "it goes on");
        assert!(is_at_end(stream), "close_notify");
    }
    drop(idle);
    assert_eq!(ended(&server.worker).requests, 4);
}

fn what_has_begun_is_finished(engine: Engine) {
    let server = Server::plain(engine, patient());
    let mut half = server.connect();
    half.write_all(b"GET /small.txt HTTP/1.1\r\nHost: ").unwrap();
    let mut slow = server.connect_narrow();
    slow.write_all(&get("/m9.bin")).unwrap();
    // The answer has begun.
    assert_eq!(slow.peek(&mut [0]).unwrap(), 1);
    server.worker.drain();
    closed(&server);
    half.write_all(b"x\r\n\r\n").unwrap();
    assert!(read(&mut half, b"hello\n") && is_at_end(&mut half));
    // Its head left before.
    assert!(!read(&mut slow, &body(9 << 20)));
    assert!(ask(&mut slow, "/small.txt", b"hello\n") && is_at_end(&mut slow));
    drop((half, slow));
    assert_eq!(ended(&server.worker).requests, 3);
}

/// Reads until something has been said.
fn hears(stream: &mut TcpStream, heard: &mut Vec<u8>, expected: &[u8]) {
    while !heard.windows(expected.len()).any(|part| part == expected) {
        let mut some = [0; 4096];
        let len = stream.read(&mut some).unwrap();
        assert!(len > 0, "the end before {}: {}", expected.escape_ascii(), heard.escape_ascii());
        heard.extend_from_slice(&some[..len]);
    }
}

fn http2_is_told_and_loses_nothing(engine: Engine) {
    // GET /small.txt on a stream.
    let request = |stream: u8| {
        [b"\0\0\x11\x01\x05\0\0\0", &[stream][..], b"\x82\x86\x04\x0a/small.txt\x41\x01x"].concat()
    };
    let server = Server::plain(engine, patient());
    // This one does not begin yet. It is accepted before one that comes later is served.
    let mut new = server.connect();
    new.write_all(&PREFACE[..10]).unwrap();
    let mut idle = server.connect();
    idle.write_all(PREFACE).unwrap();
    idle.write_all(ACKNOWLEDGED).unwrap();
    idle.write_all(&request(1)).unwrap();
    let mut heard = Vec::new();
    hears(&mut idle, &mut heard, b"hello\n");
    server.worker.drain();
    hears(&mut idle, &mut heard, FIRST_GOAWAY);
    closed(&server);
    // On its way when the client heard it.
    idle.write_all(&request(3)).unwrap();
    idle.write_all(FAREWELL).unwrap();
    idle.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.windows(6).filter(|part| part == b"hello\n").count(), 2);
    let last = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x03\0\0\0\0";
    assert!(heard.windows(last.len()).any(|part| part == last), "{}", heard.escape_ascii());

    new.write_all(&PREFACE[10..]).unwrap();
    new.write_all(ACKNOWLEDGED).unwrap();
    let mut heard = Vec::new();
    hears(&mut new, &mut heard, FIRST_GOAWAY);
    new.write_all(&request(1)).unwrap();
    new.write_all(FAREWELL).unwrap();
    new.read_to_end(&mut heard).unwrap();
    assert!(heard.windows(6).any(|part| part == b"hello\n"), "{}", heard.escape_ascii());
    drop((idle, new));
    let counts = ended(&server.worker);
    assert_eq!((counts.requests, counts.ends.drained), (3, 2), "{counts:?}");
}

fn a_handshake_that_has_begun_is_served_an_answer(engine: Engine) {
    let server = Server::tls(engine, patient());
    let mut later = server.connect_tls(&rustls::version::TLS13);
    let mut hello = Vec::new();
    later.conn.write_tls(&mut hello).unwrap();
    later.sock.write_all(&hello[..50]).unwrap();
    // A connection that came later has been served, so this one has been accepted.
    let mut witness = server.connect_tls(&rustls::version::TLS13);
    assert!(!ask(&mut witness, "/small.txt", b"hello\n"));
    server.worker.drain();
    closed(&server);
    later.sock.write_all(&hello[50..]).unwrap();
    assert!(ask(&mut later, "/small.txt", b"hello\n") && is_at_end(&mut later));
    assert!(ask(&mut witness, "/small.txt", b"hello\n") && is_at_end(&mut witness));
    drop((later, witness));
    assert_eq!(ended(&server.worker).handshakes, 2);
}

fn an_idle_connection_holds_a_drain_until_its_time_is_over(engine: Engine) {
    let server = Server::plain(engine, Limits { hand_over: Duration::from_millis(300), ..patient() });
    let mut idle = server.connect();
    assert!(!ask(&mut idle, "/small.txt", b"hello\n"));
    server.worker.drain();
    let counts = ended(&server.worker);
    assert_eq!((counts.accepted, counts.ends.drained), (1, 1));
}

fn an_idle_connection_holds_a_drain_until_its_own_time_is_over(engine: Engine) {
    let server = Server::plain(engine, Limits { idle: Duration::from_secs(2), ..patient() });
    let mut idle = server.connect();
    assert!(!ask(&mut idle, "/small.txt", b"hello\n"));
    server.worker.drain();
    assert!(is_at_end(&mut idle));
    drop(idle);
    assert_eq!(ended(&server.worker).ends.idle_timeouts, 1);
}

fn a_stop_goes_on_with_a_drain(engine: Engine) {
    let server = Server::plain(engine, patient());
    let mut idle = server.connect();
    assert!(!ask(&mut idle, "/small.txt", b"hello\n"));
    let mut slow = server.connect_narrow();
    slow.write_all(&get("/m9.bin")).unwrap();
    assert_eq!(slow.peek(&mut [0]).unwrap(), 1);
    server.worker.drain();
    server.worker.drain();
    closed(&server);
    assert_eq!(server.worker.answering(), 0, "not before a stop");
    server.worker.stop();
    assert!(is_at_end(&mut idle));
    let until = Instant::now() + PATIENCE;
    while server.worker.answering() != 1 {
        assert!(Instant::now() < until, "an answer is under way");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!read(&mut slow, &body(9 << 20)));
    assert!(is_at_end(&mut slow));
    drop((idle, slow));
    assert_eq!(ended(&server.worker).requests, 2);
    drop(server);

    let server = Server::plain(engine, patient());
    let idle = server.connect();
    server.worker.drain();
    server.worker.stop();
    server.worker.stop();
    ended(&server.worker);
    drop(idle);
}

/// Asks again and again, on one connection for as long as the server keeps it. Returns how many
/// answers there were.
fn client(address: SocketAddr, number: u64, is_over: &AtomicBool) -> u64 {
    let mut open = None;
    let mut answers = 0;
    while !is_over.load(Ordering::SeqCst) {
        let stream = open.get_or_insert_with(|| {
            let stream = TcpStream::connect(address).expect("it is refused");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        });
        let (path, expected) =
            if answers % 3 == 0 { ("/k16.bin", body(16 << 10)) } else { ("/small.txt", b"hello\n".to_vec()) };
        let is_last = ask(stream, path, &expected);
        answers += 1;
        // Some come back for each answer, others are idle in between.
        if is_last || number.is_multiple_of(3) {
            open = None;
        } else if number % 3 == 1 {
            thread::sleep(Duration::from_millis(answers % 7));
        }
    }
    answers
}

/// A site of small files in a folder, on a socket of its own.
fn small_site(folder: &Path) -> (Spec, SocketAddr) {
    std::fs::write(folder.join("small.txt"), "hello\n").unwrap();
    std::fs::write(folder.join("k16.bin"), body(16 << 10)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let spec = Spec {
        listeners: vec![ListenerSpec {
            role: Role::Http,
            is_passed: false,
            proxies: Networks::default(),
            sockets: vec![listener.into()],
        }],
        site: Some(SiteSpec { path: folder.to_owned(), options: Options::default() }),
        tls: None,
        limits: patient(),
        offload: TlsOffload::None,
        memory: BodyMemory::new(64 << 20, 8 << 20),
    };
    (spec, address)
}

/// The kernel wakes one of those that accept from a socket, and that may be the one that is just
/// giving it up. No other client connects here, which would wake the other one.
fn a_connection_that_comes_with_a_drain_does_not_wait_for_another_one(engine: Engine) {
    let _alone = engine.alone();
    let folder = tempfile::tempdir().unwrap();
    let (spec, address) = small_site(folder.path());
    let report = Arc::new(|_: Incident| ());
    let hooks = Hooks {
        clock: Arc::new(SystemTime::now),
        report,
        hosts: None,
        may_have_users: false,
        tls: None,
        log: None,
        trusted_proxies: Arc::default(),
        challenges: Arc::default(),
        times: false,
    };
    let mut worker = engine.start(&spec, &hooks);
    for _ in 0..100 {
        let next = engine.start(&spec, &hooks);
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                ask(&mut stream, "/small.txt", b"hello\n");
            });
            worker.drain();
            // What comes from here on is the other one's.
            assert!(worker.has_stopped_accepting());
            assert!(!ask(&mut TcpStream::connect(address).unwrap(), "/small.txt", b"hello\n"));
            asking.join().unwrap();
        });
        ended(&worker);
        worker = next;
    }
    worker.drain();
    ended(&worker);
}

fn workers_hand_over_under_load(engine: Engine) {
    let _alone = engine.alone();
    let folder = tempfile::tempdir().unwrap();
    let (spec, address) = small_site(folder.path());
    let incidents = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&incidents);
    let hooks = Hooks {
        may_have_users: false,
        clock: Arc::new(SystemTime::now),
        report: Arc::new(move |incident: Incident| told.lock().unwrap().push(incident.to_string())),
        hosts: None,
        tls: None,
        log: None,
        trusted_proxies: Arc::default(),
        challenges: Arc::default(),
        times: false,
    };
    /// Ends the clients, however the test ends.
    struct End<'b>(&'b AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let is_over = AtomicBool::new(false);
    let (mut requests, mut answers) = (0, 0);
    thread::scope(|scope| {
        let end = End(&is_over);
        let mut worker = engine.start(&spec, &hooks);
        let clients: Vec<_> = (0..9)
            .map(|number| {
                let is_over = &is_over;
                scope.spawn(move || client(address, number, is_over))
            })
            .collect();
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(30));
            let next = engine.start(&spec, &hooks);
            worker.drain();
            requests += ended(&worker).requests;
            worker = next;
        }
        drop(end);
        answers = clients.into_iter().map(|client| client.join().unwrap()).sum();
        worker.drain();
        requests += ended(&worker).requests;
    });
    assert_eq!(requests, answers, "answers that no client has read");
    assert!(requests > 100, "so few prove nothing: {requests}");
    assert_eq!(*incidents.lock().unwrap(), Vec::<String>::new());
}
