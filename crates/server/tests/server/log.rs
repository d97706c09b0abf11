//! The record of each answer, for one request at a time: what is in it is written out here.

mod changed;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use sitar_http::Status;
use sitar_server::{
    Host, HostContent, HostRedirect, Hosts, Limits, LogId, Network, Networks, Peer, Record, Records,
};

use crate::harness::{Engine, Server, answer, answer_with_head, get, small};

crate::on_every_engine! {
    each_answer_of_http_1_has_a_record,
    each_answer_of_http_2_has_a_record,
    a_refusal_that_is_not_read_has_a_record,
    the_handshake_is_in_the_record,
    an_answer_that_is_broken_off_says_how_much_was_sent,
    a_record_goes_to_the_log_of_its_host,
    a_client_is_who_trusted_proxies_say,
    a_log_may_come_and_go_while_serving,
    nothing_is_lost_at_the_end,
    a_full_queue_drops_and_counts,
}

crate::on_the_polled_ring! {
    each_answer_of_http_1_has_a_record,
    nothing_is_lost_at_the_end,
}

/// The records of a server, as lines.
struct Log {
    records: Records,
    lines: VecDeque<String>,
}

impl Log {
    /// Has the answers of hosts recorded in log 1, and the others in log 0.
    fn of(server: &Server) -> Log {
        let log = Log { records: server.worker.records(), lines: VecDeque::new() };
        server
            .worker
            .change(|next| {
                next.hosts = next.hosts.clone().logged(LogId(1));
                next.log = Some(LogId(0));
            })
            .unwrap();
        log
    }

    fn read(&mut self) {
        self.records.read(|record| self.lines.push_back(shown(record)));
    }

    /// The next record.
    fn next(&mut self) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            self.read();
            if let Some(line) = self.lines.pop_front() {
                return line;
            }
            assert!(Instant::now() < until, "no record");
            self.records.rest(Duration::from_millis(5));
        }
    }

    fn none(&mut self) {
        self.read();
        assert!(self.lines.is_empty(), "{:?}", self.lines);
    }
}

/// The fields of a record that a test can foretell, in one line.
fn shown(record: &Record<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let field = |value: Option<&[u8]>| value.map_or("-".into(), text);
    assert_eq!(record.peer, Some(Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    assert!(record.duration < Duration::from_secs(300) && record.start.elapsed() < Duration::from_secs(300));
    format!(
        "{:?} {} '{}' '{}' '{}' {} {} {} {} {}",
        record.version,
        record.log.0,
        text(record.method),
        text(record.host),
        text(record.target),
        record.status.code(),
        record.length,
        field(record.referer),
        field(record.user_agent),
        record.cut.unwrap_or("whole"),
    )
}

/// Reads an answer; returns the bytes of its content.
fn received(stream: &mut impl Read, is_head: bool) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed inside a head: {}", head.escape_ascii());
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = if is_head { 0 } else { length.map_or(0, |length| length.parse().unwrap()) };
    let mut content = vec![0; length];
    stream.read_exact(&mut content).unwrap();
    content.len()
}

fn each_answer_of_http_1_has_a_record(engine: Engine) {
    let server = Server::plain(engine, Limits { head: Duration::from_millis(300), ..small() });
    let mut log = Log::of(&server);
    let mut stream = server.connect();
    stream.write_all(&get("/k16.bin")).unwrap();
    let (head, _) = answer_with_head(&mut stream);
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
    assert_eq!(log.next(), "Http11 1 'GET' 'localhost' '/k16.bin' 200 16384 - - whole");
    drop(stream);
    let with = |fields: &str| format!("GET /k16.bin HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
    let long = format!("/{}", "x".repeat(9000));
    let long_agent = "a".repeat(3000);
    let cases = [
        ("GET / HTTP/1.0\r\nHost: a.test:8\r\n\r\n".into(), "Http10 1 'GET' 'a.test:8' '/' 404", "- -"),
        ("GET /small.txt?a=b HTTP/1.0\r\n\r\n".into(), "Http10 1 'GET' '' '/small.txt?a=b' 200", "- -"),
        (
            "GET http://b.test/small.txt?? HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            "Http11 1 'GET' 'b.test' '/small.txt??' 200",
            "- -",
        ),
        ("HEAD /k16.bin HTTP/1.1\r\nHost: a\r\n\r\n".into(), "Http11 1 'HEAD' 'a' '/k16.bin' 200", "- -"),
        ("GET /nothing?x HTTP/1.1\r\nHost: a\r\n\r\n".into(), "Http11 1 'GET' 'a' '/nothing?x' 404", "- -"),
        (with("Range: bytes=5-14"), "Http11 1 'GET' 'localhost' '/k16.bin' 206", "- -"),
        (with("Range: bytes=99999-"), "Http11 1 'GET' 'localhost' '/k16.bin' 416", "- -"),
        (with("Range: bytes=0-0,5-6"), "Http11 1 'GET' 'localhost' '/k16.bin' 206", "- -"),
        (with(&format!("If-None-Match: {etag}")), "Http11 1 'GET' 'localhost' '/k16.bin' 304", "- -"),
        (with("If-Match: \"other\""), "Http11 1 'GET' 'localhost' '/k16.bin' 412", "- -"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(), "Http11 1 'OPTIONS' 'a' '*' 204", "- -"),
        (
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".into(),
            "Http11 1 'POST' 'a' '/p' 405",
            "- -",
        ),
        ("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n".into(), "Http11 1 'BREW' 'a' '/pot' 501", "- -"),
        // Fields: no other is there.
        (
            with(
                "Referer: http://r.test/?\"\r\nUser-Agent: one \\ \u{e9}\r\nUser-Agent: two\r\nCookie: secret\r\n\
               Authorization: Basic c2VjcmV0",
            ),
            "Http11 1 'GET' 'localhost' '/k16.bin' 200",
            "http://r.test/?\\\" one \\\\ \\xc3\\xa9",
        ),
        (with("Referer:\r\nUser-Agent:"), "Http11 1 'GET' 'localhost' '/k16.bin' 200", " "),
        // What could not be read: the first line, as far as it has come.
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), "Http11 0 'GET' '' '/a b' 400", "- -"),
        ("GET /\x01\"\\ HTTP/1.1\r\n\r\n".into(), "Http11 0 'GET' '' '/\\x01\\\"\\\\' 400", "- -"),
        ("GET /x HTTP/9.9\r\nHost: a\r\n\r\n".into(), "Http11 0 'GET' '' '/x' 505", "- -"),
        ("GET /x HTTP/1.1\r\n\r\n".into(), "Http11 0 'GET' '' '/x' 400", "- -"),
        ("no\x00thing at all\r\n\r\n".into(), "Http11 0 '' '' 'no\\x00thing at all' 400", "- -"),
        ("GET /slow HTTP/1.1\r\nHost: ".into(), "Http11 0 'GET' '' '/slow' 408", "- -"),
        ("HEAD /slow HTT".into(), "Http11 0 'HEAD' '' '/slow HTT' 408", "- -"),
    ];
    for (request, expected, fields) in cases {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let length = received(&mut stream, request.starts_with("HEAD"));
        assert_eq!(log.next(), format!("{expected} {length} {fields} whole"), "{request:?}");
        drop(stream);
        log.none();
    }
    // Long ones are cut.
    for (request, target, agent) in [
        (format!("GET {long} HTTP/1.1\r\n\r\n"), &long[..8192], "-"),
        (with(&format!("User-Agent: {long_agent}")), "/k16.bin", &long_agent[..2048]),
    ] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        received(&mut stream, false);
        let line = log.next();
        assert!(
            line.contains(&format!(" '{target}' ")) && line.ends_with(&format!(" - {agent} whole")),
            "{line}"
        );
    }
    assert_eq!(log.records.dropped(), 0);
}

/// A client of HTTP/2 that writes each field as a literal (RFC 7541 §6.2.2).
struct H2<S> {
    stream: S,
    next: u32,
}

impl<S: Read + Write> H2<S> {
    fn new(mut stream: S) -> H2<S> {
        // SETTINGS with an initial window of 1 MiB.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\x10\0\0").unwrap();
        let mut client = H2 { stream, next: 1 };
        // The acknowledgement of the server's, and a window of 16 MiB for the connection.
        client.frame(4, 1, 0, b"");
        client.frame(8, 0, 0, &[1, 0, 0, 0]);
        client
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
    }

    fn ask(&mut self, fields: &[(&str, &str)]) -> u32 {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.extend([0, name.len() as u8]);
            block.extend(name.bytes());
            block.push(value.len() as u8);
            block.extend(value.bytes());
        }
        let stream = self.next;
        self.next += 2;
        self.frame(1, 5, stream, &block);
        stream
    }

    /// Kind, flags, stream and length of the next frame.
    fn read(&mut self) -> (u8, u8, u32, usize) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        assert!(!matches!(head[3], 3 | 7), "reset or GOAWAY: {head:?} {payload:?}");
        (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), len)
    }

    /// Bytes of content up to the end of a stream.
    fn received(&mut self, wanted: u32) -> usize {
        let mut content = 0;
        loop {
            let (kind, flags, stream, len) = self.read();
            content += if kind == 0 && stream == wanted { len } else { 0 };
            if stream == wanted && flags & 1 != 0 && kind < 2 {
                return content;
            }
        }
    }

    /// Ends a stream, and waits until the server has read that: while it sends, it does not.
    fn reset(&mut self, stream: u32) {
        self.frame(3, 0, stream, &[0, 0, 0, 8]);
        self.frame(6, 0, 0, b"eight by");
        while self.read().0 != 6 {}
    }
}

fn each_answer_of_http_2_has_a_record(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut log = Log::of(&server);
    let mut client = H2::new(server.connect());
    let request =
        |method, path| [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)];
    for (method, path, status) in [
        ("GET", "/small.txt", 200),
        ("GET", "/k16.bin?q", 200),
        ("HEAD", "/k16.bin", 200),
        ("GET", "/m1.bin", 200),
        ("GET", "/none", 404),
        ("DELETE", "/small.txt", 405),
        ("BREW", "/small.txt", 501),
    ] {
        let mut fields = request(method, path).to_vec();
        fields.extend([("user-agent", "u \"q\""), ("referer", "http://r/"), ("cookie", "c=secret")]);
        let stream = client.ask(&fields);
        let length = client.received(stream);
        let expected =
            format!("Http2 1 '{method}' 'a.test' '{path}' {status} {length} http://r/ u \\\"q\\\" whole");
        assert_eq!(log.next(), expected);
    }
    // Of a method that is unknown no more is kept than HTTP/1 can have.
    let long = "x".repeat(40);
    let stream = client.ask(&request(&long, "/"));
    let length = client.received(stream);
    assert_eq!(log.next(), format!("Http2 1 '{}' 'a.test' '/' 501 {length} - - whole", &long[..32]));
    // A request that is refused before all of it is read: of it the method is known.
    let mut fields = request("GET", "/small.txt").to_vec();
    fields.resize(200, ("x", "y"));
    let stream = client.ask(&fields);
    let length = client.received(stream);
    assert_eq!(log.next(), format!("Http2 0 'GET' '' '' 431 {length} - - whole"));
    // One that is taken back while it is answered, and one whose connection goes.
    let stream = client.ask(&request("GET", "/m9.bin"));
    while client.read().2 != stream {}
    let other = client.ask(&request("GET", "/small.txt"));
    client.received(other);
    assert_eq!(log.next(), "Http2 1 'GET' 'a.test' '/small.txt' 200 6 - - whole");
    client.reset(stream);
    let line = log.next();
    let (sent, cut) = cut_at(&line, "Http2 1 'GET' 'a.test' '/m9.bin' 200 ");
    assert!(sent < 9 << 20 && cut == "stream_reset", "{line}");
    let stream = client.ask(&request("GET", "/m9.bin"));
    while client.read().2 != stream {}
    log.none();
    drop(client);
    let line = log.next();
    let (sent, cut) = cut_at(&line, "Http2 1 'GET' 'a.test' '/m9.bin' 200 ");
    assert!(sent <= 1 << 20 && cut == "peer_left", "{line}");
}

/// A peer could hide others that way: as many answers as are under way at a time is limited.
fn a_refusal_that_is_not_read_has_a_record(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut log = Log::of(&server);
    let mut client = H2::new(server.connect());
    let path = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];
    let mut refused = path.to_vec();
    refused.resize(200, ("x", "y"));
    let stream = client.ask(&refused);
    let length = client.received(stream);
    let expected = format!("Http2 0 'GET' '' '' 431 {length} - - whole");
    assert_eq!(log.next(), expected);
    // No window for streams from now on.
    client.frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.ask(&refused);
    assert_eq!(log.next(), expected);
    drop(client);
    server.stop();
    log.none();
}

/// The bytes and the end of a record that begins so.
fn cut_at<'l>(line: &'l str, start: &str) -> (usize, &'l str) {
    let rest = line.strip_prefix(start).unwrap_or_else(|| panic!("{line}"));
    let (sent, rest) = rest.split_once(' ').unwrap();
    (sent.parse().unwrap(), rest.strip_prefix("- - ").unwrap())
}

fn the_handshake_is_in_the_record(engine: Engine) {
    let server = Server::tls(engine, small());
    let mut log = Log::of(&server);
    let mut seen = Vec::new();
    for version in [&TLS13, &TLS12] {
        let mut stream = server.connect_tls(version);
        stream.write_all(&get("/small.txt")).unwrap();
        answer(&mut stream);
        let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
        let until = Instant::now() + Duration::from_secs(60);
        let mut tls = None;
        while tls.is_none() {
            log.records.read(|record| tls = Some(record.tls.unwrap()));
            assert!(Instant::now() < until, "no record");
            log.records.rest(Duration::from_millis(5));
        }
        let tls = tls.unwrap();
        assert_eq!(tls.cipher_suite, u16::from(suite));
        seen.push((tls.version, tls.resumed));
    }
    assert_eq!(seen, [(0x0304, false), (0x0303, false)]);
    // Who speaks HTTP to it gets an answer, too.
    let mut stream = server.connect();
    stream.write_all(&get("/small.txt")).unwrap();
    let length = received(&mut stream, false);
    assert_eq!(log.next(), format!("Http11 0 '' '' '' 400 {length} - - whole"));
}

fn an_answer_that_is_broken_off_says_how_much_was_sent(engine: Engine) {
    let server = Server::plain(engine, Limits { send: Duration::from_millis(300), ..small() });
    let mut log = Log::of(&server);
    let start = "Http11 1 'GET' 'localhost' '/m9.bin' 200 ";
    // The client goes.
    let mut stream = server.connect_narrow();
    stream.write_all(&get("/m9.bin")).unwrap();
    let mut some = [0; 1000];
    stream.read_exact(&mut some).unwrap();
    log.none();
    drop(stream);
    let line = log.next();
    let (sent, cut) = cut_at(&line, start);
    assert!((800..9 << 20).contains(&sent) && cut == "peer_left", "{line}");
    // It takes nothing.
    let mut stream = server.connect_narrow();
    stream.write_all(&get("/m9.bin")).unwrap();
    let line = log.next();
    let (sent, cut) = cut_at(&line, start);
    assert!(sent < 9 << 20 && cut == "send_timeouts", "{line}");
    drop(stream);
    // The server stops, for the second time.
    let server = Server::plain(engine, small());
    let mut log = Log::of(&server);
    let mut stream = server.connect_narrow();
    stream.write_all(&get("/m9.bin")).unwrap();
    stream.read_exact(&mut some).unwrap();
    server.worker.stop();
    server.worker.stop();
    server.worker.wait();
    let line = log.next();
    let (sent, cut) = cut_at(&line, start);
    assert!(sent < 9 << 20 && cut == "drained", "{line}");
    log.none();
    assert!(log.records.is_over());
}

fn a_record_goes_to_the_log_of_its_host(engine: Engine) {
    let server = Server::plain(engine, small());
    let log = Log::of(&server);
    let set = |hosts: Vec<(&str, Option<u16>)>| {
        let host = |(name, log): (&str, Option<u16>)| {
            let redirect = HostRedirect { status: Status::FOUND, to: "https://other.test".into() };
            let mut host = Host::new(vec![name.into()], HostContent::Redirect(redirect));
            host.log = log.map(LogId);
            host
        };
        let hosts = Hosts::new(hosts.into_iter().map(host).collect()).unwrap();
        server.worker.change(|next| next.hosts = hosts).unwrap();
    };
    let mut log = log;
    set(vec![("seven.test", Some(7)), ("none.test", None), ("eight.test", Some(8))]);
    let mut stream = server.connect();
    let mut ask = |host: &str| {
        stream.write_all(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        received(&mut stream, false)
    };
    for (host, number) in [("eight.test", 8), ("seven.test", 7), ("none.test", 0), ("seven.test:80", 7)] {
        let length = ask(host);
        if number > 0 {
            let expected = format!("Http11 {number} 'GET' '{host}' '/x' 302 {length} - - whole");
            assert_eq!(log.next(), expected);
        }
    }
    let length = ask("unknown.test");
    assert_eq!(log.next(), format!("Http11 0 'GET' 'unknown.test' '/x' 404 {length} - - whole"));
    log.none();
}

fn a_client_is_who_trusted_proxies_say(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut records = Log::of(&server).records;
    let mut ask = |field: &str| {
        let mut stream = server.connect();
        let request = format!("GET /small.txt HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream);
        let until = Instant::now() + Duration::from_secs(60);
        let mut seen = None;
        while seen.is_none() {
            records.read(|record| seen = Some((record.peer, record.client)));
            assert!(Instant::now() < until, "no record");
            records.rest(Duration::from_millis(5));
        }
        let (peer, client) = seen.unwrap();
        assert_eq!(peer, Some(Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))));
        client.map(|client| client.to_string())
    };
    assert_eq!(ask("X-Forwarded-For: 192.0.2.1"), None);
    let trusted: Networks = [Network::parse("127.0.0.0/8").unwrap()].into_iter().collect();
    server.worker.change(|next| next.trusted_proxies = Arc::new(trusted)).unwrap();
    assert_eq!(ask("X-Forwarded-For: 192.0.2.1"), Some("192.0.2.1".into()));
    assert_eq!(ask("Forwarded: for=\"[2001:db8::1]:8\""), Some("2001:db8::1".into()));
    assert_eq!(ask("X-Forwarded-For: nonsense"), None);
    assert_eq!(ask("X-Other: 192.0.2.1"), None);
}

fn a_log_may_come_and_go_while_serving(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut stream = server.connect();
    let mut ask = || {
        stream.write_all(&get("/small.txt")).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
    };
    ask();
    let mut log = Log::of(&server);
    // Of a connection from before, the peer has been asked all the same.
    ask();
    assert_eq!(log.next(), "Http11 1 'GET' 'localhost' '/small.txt' 200 6 - - whole");
    let change = |log: Option<LogId>| {
        server
            .worker
            .change(|next| {
                let hosts = next.hosts.iter().map(|(_, host)| Host { log, ..host.clone() }).collect();
                next.hosts = Hosts::new(hosts).unwrap();
                next.log = None;
            })
            .unwrap();
    };
    change(None);
    ask();
    change(Some(LogId(3)));
    ask();
    assert_eq!(log.next(), "Http11 3 'GET' 'localhost' '/small.txt' 200 6 - - whole");
    log.none();
}

fn nothing_is_lost_at_the_end(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut log = Log::of(&server);
    let mut stream = server.connect();
    for _ in 0..500 {
        stream.write_all(&get("/small.txt")).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
    }
    let counts = server.stop();
    log.read();
    assert!(log.records.is_over());
    assert_eq!((counts.requests, log.lines.len(), log.records.dropped()), (500, 500, 0));
}

/// The reader reads nothing: the shard goes on, and says how many it has dropped.
fn a_full_queue_drops_and_counts(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut log = Log::of(&server);
    // One that is under way meanwhile: its end has a place.
    let mut slow = server.connect_narrow();
    slow.write_all(&get("/m9.bin")).unwrap();
    let mut stream = server.connect();
    let request = format!("GET /small.txt?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8000));
    let mut asked = 0;
    while log.records.dropped() < 10 {
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
        asked += 1;
        assert!(asked < 1000, "nothing is dropped");
    }
    answer(&mut slow);
    // Both are settled at the end of their turn.
    stream.write_all(&get("/none")).unwrap();
    received(&mut stream, false);
    let until = Instant::now() + Duration::from_secs(60);
    while log.lines.len() + (log.records.dropped() as usize) < asked + 2 {
        log.read();
        assert!(Instant::now() < until, "{} and {}", log.lines.len(), log.records.dropped());
    }
    let slow = "Http11 1 'GET' 'localhost' '/m9.bin' 200 9437184 - - whole";
    assert_eq!(log.lines.iter().filter(|line| *line == slow).count(), 1);
    // There is room again.
    stream.write_all(&get("/small.txt")).unwrap();
    answer(&mut stream);
    log.lines.clear();
    assert_eq!(log.next(), "Http11 1 'GET' 'localhost' '/small.txt' 200 6 - - whole");
}
