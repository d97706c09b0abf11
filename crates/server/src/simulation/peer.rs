//! Peers: clients that speak HTTP/1.1, plain or over TLS, in the ways of real ones and of bad ones.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitar_io::Key;
use sitar_io::sim::{Next, Rng, Stream, World};

use super::lab::{FILES, VERSIONS, body, length};

/// What became of all peers together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    /// Answers that were complete and exactly right.
    pub(super) answers: u64,
    /// Of these, refusals of what was wrong on purpose.
    pub(super) refused: u64,
    /// Conversations that ended before all was answered.
    pub(super) lost: u64,
    /// Ends with close_notify, of those that were waited for.
    pub(super) ended: u64,
    /// Ends without.
    pub(super) cut: u64,
    /// Answers from a site that was not the first.
    pub(super) swapped: u64,
    /// The site that was put up last, and the one that the shard was seen to serve last.
    pub(super) put_up: u64,
    pub(super) taken_up: u64,
}

/// What a request must be answered by.
#[derive(Clone, Debug)]
struct Expected {
    status: u16,
    content: Content,
    head_only: bool,
    /// The site that was served when it was asked for: the answer is from this one or a later one.
    since: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Any,
    Exactly(Vec<u8>),
    /// A file, or a part of it, as it is in one of the sites.
    File {
        name: &'static str,
        len: usize,
        part: Option<(usize, usize)>,
    },
}

impl Expected {
    fn new(status: u16, content: Content) -> Expected {
        Expected { status, content, head_only: false, since: 0 }
    }

    /// The body that belongs to a head, and the site it is from; panics where no site that it may be from has such an
    /// answer. `None`: nothing is known about it.
    fn body(&self, head: &str, put_up: u64) -> Option<(Vec<u8>, u64)> {
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        match &self.content {
            Content::Any => None,
            Content::Exactly(bytes) => Some((bytes.clone(), 0)),
            Content::File { name, len, part } => {
                let said = field("Content-Length: ").and_then(|length| length.parse::<usize>().ok());
                // All versions once, the newest first.
                let turns = (self.since..=put_up).rev().take(VERSIONS);
                for turn in turns {
                    let whole = length(name, *len, turn);
                    let found = match part {
                        None => (said == Some(whole)).then(|| body(name, *len, turn)),
                        Some((first, last)) => {
                            let range = format!("bytes {first}-{last}/{whole}");
                            (field("Content-Range: ") == Some(&range))
                                .then(|| body(name, *len, turn)[*first..=*last].to_vec())
                        }
                    };
                    if let Some(found) = found {
                        return Some((found, turn));
                    }
                }
                panic!("of none of the sites {} to {put_up}, {self:?}: {head}", self.since);
            }
        }
    }
}

pub(super) struct Peer {
    stream: Option<Stream>,
    tls: Option<rustls::ClientConnection>,
    rng: Rng,
    tally: Rc<RefCell<Tally>>,
    /// Requests still to be written: bytes and what is expected.
    requests: VecDeque<(Vec<u8>, Expected)>,
    pipelines: bool,
    /// Text on its way into TLS or the wire.
    text: VecDeque<u8>,
    /// Wire bytes that the stream has not taken yet.
    wire: VecDeque<u8>,
    /// Text received and not yet understood.
    inbox: Vec<u8>,
    expected: VecDeque<Expected>,
    /// The body that the head in front of the inbox announces, and which site it is from; found out once.
    announced: Option<Option<(Vec<u8>, u64)>>,
    /// Bytes read at a time, and how long it rests in between.
    appetite: usize,
    rest: Duration,
    /// It stopped reading although there may have been more.
    sated: bool,
    /// Breaks off when so many bytes have been read.
    breaks_at: Option<usize>,
    read: usize,
    half_closes: bool,
    finished: bool,
    /// It has asked for the end of the connection, and waits for close_notify (RFC 8446 §6.1).
    awaits_end: bool,
    has_ended: bool,
    until: Instant,
}

impl Peer {
    pub(super) fn new(
        world: &World,
        listener: Key,
        tls: Option<&Arc<rustls::ClientConfig>>,
        mut rng: Rng,
        stays: bool,
        tally: &Rc<RefCell<Tally>>,
    ) -> Peer {
        let tls = tls.map(|config| {
            rustls::ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap()
        });
        let count = 1 + rng.below(6);
        let mut requests: VecDeque<_> = (0..count).map(|_| request(&mut rng)).collect();
        if rng.chance(150) {
            requests.push_back(wrong(&mut rng));
        }
        // Drawn apart, so that the seeds from before it mean what they did.
        let awaits_end =
            tls.is_some() && Rng::new(rng.clone().next() ^ 0xe4d).chance(400) && ask_for_end(&mut requests);
        Peer {
            stream: Some(world.connect(listener)),
            tls,
            pipelines: rng.chance(400),
            requests,
            text: VecDeque::new(),
            wire: VecDeque::new(),
            inbox: Vec::new(),
            expected: VecDeque::new(),
            announced: None,
            // Slower than the server has patience for, some of them, unless all shall be answered.
            appetite: [1 << 20, 5000, 700, 50][rng.below(if stays { 2 } else { 4 })],
            rest: Duration::from_millis([0, 0, 1, 300][rng.below(if stays { 3 } else { 4 })]),
            sated: false,
            breaks_at: (rng.chance(100) && !stays).then(|| rng.below(30_000)),
            read: 0,
            half_closes: rng.chance(200),
            finished: false,
            awaits_end,
            has_ended: false,
            until: world.now() + Duration::from_secs(100),
            tally: Rc::clone(tally),
            rng,
        }
    }

    /// Called when there is news or the time has come.
    pub(super) fn act(&mut self, world: &World) -> Next {
        if self.stream.is_none() || world.now() >= self.until {
            self.end(world);
            return Next::Done;
        }
        self.ask();
        let alive = self.write() && self.take_in() && self.understand() && self.write();
        let answered = self.requests.is_empty() && self.expected.is_empty() && self.text.is_empty();
        if !alive || (answered && !self.awaits_end) {
            self.end(world);
            return Next::Done;
        }
        if self.breaks_at.is_some_and(|at| self.read >= at) {
            if let (true, Some(stream)) = (self.rng.chance(500), self.stream.take()) {
                stream.reset();
            }
            self.end(world);
            return Next::Done;
        }
        // A slow peer looks again after a rest, whatever arrives meanwhile.
        match self.rest {
            Duration::ZERO if self.sated => Next::At(world.now() + Duration::from_millis(1)),
            Duration::ZERO => Next::At(self.until),
            rest => Next::At(world.now() + rest),
        }
    }

    fn end(&mut self, world: &World) {
        let mut tally = self.tally.borrow_mut();
        if !self.expected.is_empty() || !self.requests.is_empty() {
            // (Into the trace, for whoever wonders why.)
            world.note("lost", self.expected.len() as u64);
            tally.lost += 1;
        } else if let (true, true, Some(tls)) = (self.awaits_end, self.has_ended, &mut self.tls) {
            // rustls: 0 after close_notify, an error after an end without one.
            match tls.reader().read(&mut [0]) {
                Ok(0) => tally.ended += 1,
                _ => tally.cut += 1,
            }
        }
        self.stream = None;
        self.requests.clear();
        self.expected.clear();
    }

    /// Puts requests into the text: all at once, or one at a time.
    fn ask(&mut self) {
        while self.pipelines || self.expected.is_empty() {
            let Some((bytes, expected)) = self.requests.pop_front() else { return };
            self.text.extend(bytes);
            let since = self.tally.borrow().taken_up;
            self.expected.push_back(Expected { since, ..expected });
        }
    }

    /// Writes in pieces of random sizes. `false`: the connection is over.
    fn write(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        loop {
            if let Some(tls) = &mut self.tls {
                if !tls.is_handshaking() && !self.text.is_empty() {
                    // Records of random sizes.
                    let piece = 1 + self.rng.below(self.text.len().min(2000));
                    let piece: Vec<u8> = self.text.drain(..piece).collect();
                    tls.writer().write_all(&piece).unwrap();
                    if self.rng.chance(30) {
                        let _ = tls.refresh_traffic_keys();
                    }
                }
                let mut out = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut out).unwrap();
                }
                self.wire.extend(out);
            } else {
                self.wire.extend(self.text.drain(..));
            }
            while !self.wire.is_empty() {
                let piece = 1 + self.rng.below(self.wire.len().min(3000));
                let bytes = &self.wire.make_contiguous()[..piece];
                match stream.write(bytes) {
                    Ok(0) => break,
                    Ok(n) => drop(self.wire.drain(..n)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    // It may still have sent an answer before it closed.
                    Err(_) => {
                        self.wire.clear();
                        self.text.clear();
                        break;
                    }
                }
            }
            if self.text.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                break;
            }
        }
        if self.half_closes
            && !self.finished
            && self.requests.is_empty()
            && self.text.is_empty()
            && self.wire.is_empty()
        {
            self.finished = true;
            stream.finish();
        }
        true
    }

    /// Reads as much as it has appetite for. `false`: the connection is over and nothing more is to be understood.
    fn take_in(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut left = self.appetite;
        let mut buf = [0; 4096];
        let mut over = false;
        while left > 0 {
            let room = buf.len().min(left);
            match stream.read(&mut buf[..room]) {
                Ok(0) => {
                    over = true;
                    self.has_ended = true;
                    if let Some(tls) = &mut self.tls {
                        let _ = tls.read_tls(&mut &[][..]);
                    }
                }
                Ok(n) => {
                    self.read += n;
                    left -= n;
                    match &mut self.tls {
                        None => self.inbox.extend_from_slice(&buf[..n]),
                        Some(tls) => {
                            let mut bytes = &buf[..n];
                            while !bytes.is_empty() {
                                if tls.read_tls(&mut bytes).is_err() {
                                    over = true;
                                    break;
                                }
                                // An alert or a broken record: what was understood before it counts.
                                over |= tls.process_new_packets().is_err();
                                let mut text = Vec::new();
                                let _ = tls.reader().read_to_end(&mut text);
                                self.inbox.extend(text);
                            }
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => over = true,
            }
            if over {
                self.understand();
                return false;
            }
        }
        self.sated = left == 0;
        true
    }

    /// Compares what has come with what was expected, byte for byte.
    fn understand(&mut self) -> bool {
        while let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(self.inbox[..end].to_vec()).expect("a head is ASCII");
            let status: u16 = head[9..12].parse().unwrap();
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let expected =
                self.expected.front().unwrap_or_else(|| panic!("an answer that nobody asked for: {head}"));
            let length: usize = match field("Content-Length: ") {
                Some(length) if !expected.head_only => length.parse().unwrap(),
                _ => 0,
            };
            // A refusal that any request may meet: too slow.
            let timed_out = status == 408;
            assert!(status == expected.status || timed_out, "expected {expected:?}, got {head}");
            let there = &self.inbox[end + 4..];
            if !timed_out {
                let put_up = self.tally.borrow().put_up;
                let announced = self.announced.get_or_insert_with(|| expected.body(&head, put_up));
                if let (Some((body, _)), false) = (announced, expected.head_only) {
                    assert_eq!(length, body.len(), "{head}");
                    let prefix = there.len().min(length);
                    assert!(there[..prefix] == body[..prefix], "a body differs: {head}");
                }
            }
            if there.len() < length {
                return true;
            }
            self.inbox.drain(..end + 4 + length);
            let expected = self.expected.pop_front().unwrap();
            let mut tally = self.tally.borrow_mut();
            tally.answers += 1;
            if expected.status >= 400 {
                tally.refused += 1;
            }
            if let Some(Some((_, 1..))) = self.announced.take() {
                tally.swapped += 1;
            }
            drop(tally);
            if field("Connection: ") == Some("close") {
                assert!(self.inbox.is_empty(), "something behind the last answer");
                return self.awaits_end;
            }
            self.ask();
        }
        true
    }
}

/// Makes the last request one after which the connection ends, if it is of that kind.
fn ask_for_end(requests: &mut VecDeque<(Vec<u8>, Expected)>) -> bool {
    match requests.back_mut() {
        Some((text, expected)) if text.ends_with(b"\r\n\r\n") && expected.status < 400 => {
            text.truncate(text.len() - 2);
            text.extend_from_slice(b"Connection: close\r\n\r\n");
            true
        }
        _ => false,
    }
}

/// A request that is right, and its answer.
fn request(rng: &mut Rng) -> (Vec<u8>, Expected) {
    let (name, len) = FILES[rng.below(FILES.len())];
    let get = |more: &str| format!("GET /{name} HTTP/1.1\r\nHost: a\r\n{more}\r\n").into_bytes();
    let file = |part| Content::File { name, len, part };
    match rng.below(8) {
        0 => {
            let text = format!("HEAD /{name} HTTP/1.1\r\nHost: a\r\n\r\n");
            (text.into_bytes(), Expected { head_only: true, ..Expected::new(200, file(None)) })
        }
        1 => {
            let first = rng.below(len);
            let last = first + rng.below(len - first);
            let text = get(&format!("Range: bytes={first}-{last}\r\n"));
            (text, Expected::new(206, file(Some((first, last)))))
        }
        2 => {
            let text = format!("GET /{name}/nothing HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
            (text, Expected::new(404, Content::Exactly(b"404 Not Found\n".to_vec())))
        }
        3 => {
            // An unwanted body, which must be skipped exactly.
            let unwanted = "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n".repeat(rng.below(20));
            let length = unwanted.len();
            let text =
                format!("POST /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{unwanted}");
            let refusal = Content::Exactly(b"405 Method Not Allowed\n".to_vec());
            (text.into_bytes(), Expected::new(405, refusal))
        }
        _ => (get(""), Expected::new(200, file(None))),
    }
}

/// A request that is wrong, after which the server ends the conversation.
fn wrong(rng: &mut Rng) -> (Vec<u8>, Expected) {
    let (text, status): (&[u8], u16) = [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nwhatever", 413),
        (b"GET / HTTP/9.1\r\nHost: a\r\n\r\n", 505),
    ][rng.below(5)];
    (text.to_vec(), Expected::new(status, Content::Any))
}
