//! Peers: clients that speak HTTP/1.1 or HTTP/2, plain or over TLS, in the ways of real ones and of
//! bad ones.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use sitar_io::Key;
use sitar_io::sim::{Next, Rng, Stream, World};

use super::asks::{Expected, ask_for_end, malformed, request, wrong};
use super::received::Received;
use super::streams::Streams;
use crate::shard::FIRST_KEY;

/// The sums over all peers.
pub(super) struct Tally {
    /// Over every byte that each peer received (opened, where it was sealed), in order, and how it
    /// ended.
    pub(super) received: digest::Context,
    /// Answers that were complete and exactly right.
    pub(super) answers: u64,
    /// Of these, those of HTTP/2.
    pub(super) streams: u64,
    /// Of all, refusals of what was wrong on purpose.
    pub(super) refused: u64,
    /// Conversations that ended before all was answered.
    pub(super) lost: u64,
    /// Ends with close_notify, of those that were waited for.
    pub(super) ended: u64,
    /// Ends without it.
    pub(super) cut: u64,
    /// Answers from a site that was not the first.
    pub(super) swapped: u64,
    /// The site that was put up last, and the one that the shard was seen to serve last.
    pub(super) put_up: u64,
    pub(super) taken_up: u64,
    /// Whether the server drains.
    pub(super) draining: bool,
    /// Peers that have connected.
    pub(super) connected: u64,
    /// Conversations that ended before all was asked, because the server drained and said so.
    pub(super) told: u64,
    /// Answers since the drain began.
    pub(super) late: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            received: digest::Context::new(&digest::SHA256),
            answers: 0,
            streams: 0,
            refused: 0,
            lost: 0,
            ended: 0,
            cut: 0,
            swapped: 0,
            put_up: 0,
            taken_up: 0,
            draining: false,
            connected: 0,
            told: 0,
            late: 0,
        }
    }
}

pub(super) struct Peer {
    number: u64,
    digest: Received,
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
    /// The conversation in HTTP/2, in place of those requests.
    streams: Option<Streams>,
    /// The body that the head in front of the inbox announces, and which site it is from; found out
    /// once.
    announced: Option<Option<(Vec<u8>, u64)>>,
    /// Bytes read at a time, and how long it rests in between.
    appetite: usize,
    rest: Duration,
    /// It stopped reading although there may have been more.
    sated: bool,
    /// Bytes read until it breaks off.
    breaks_at: Option<usize>,
    read: usize,
    half_closes: bool,
    finished: bool,
    /// Some text has come.
    heard: bool,
    /// Times that it has asked for new keys.
    updates: usize,
    /// It has asked for the end of the connection, and waits for close_notify (RFC 8446 §6.1).
    awaits_end: bool,
    has_ended: bool,
    /// The last answer said that it is the last.
    told: bool,
    until: Instant,
    /// Where it is idle between requests: says for how long.
    pace: Option<Rng>,
    idle_until: Instant,
    is_idle: bool,
}

impl Peer {
    pub(super) fn new(
        world: &World,
        number: u64,
        tls: Option<&Arc<rustls::ClientConfig>>,
        mut rng: Rng,
        stays: bool,
        streams: bool,
        tally: &Rc<RefCell<Tally>>,
    ) -> Peer {
        tally.borrow_mut().connected += 1;
        let tls = tls.map(|config| {
            let name = "localhost".try_into().unwrap();
            let alpn = if streams { vec![b"h2".to_vec()] } else { vec![] };
            rustls::ClientConnection::new_with_alpn(Arc::clone(config), name, alpn).unwrap()
        });
        let streams = streams.then(|| {
            let count = 1 + rng.below(12);
            let mut asks: VecDeque<_> = (0..count).map(|_| request(&mut rng)).collect();
            if rng.chance(200) {
                asks.insert(rng.below(count), malformed(&mut rng));
            }
            Streams::new(&mut rng, asks, stays)
        });
        let count = if streams.is_some() { 0 } else { 1 + rng.below(6) };
        let mut requests: VecDeque<_> = (0..count).map(|_| request(&mut rng).written()).collect();
        if rng.chance(150) && streams.is_none() {
            requests.push_back(wrong(&mut rng));
        }
        // From a generator of its own, so that older seeds keep their meaning.
        let awaits_end = tls.is_some()
            && Rng::new(rng.clone().next() ^ 0xe4d).chance(400)
            && (streams.is_some() || ask_for_end(&mut requests));
        Peer {
            number,
            digest: Received::default(),
            stream: Some(world.connect(Key(FIRST_KEY))),
            tls,
            pipelines: rng.chance(400),
            requests,
            // A peer that closes its side opens no window any more, and may be left without the
            // rest.
            half_closes: rng.chance(200) && (streams.is_none() || !stays),
            streams,
            text: VecDeque::new(),
            wire: VecDeque::new(),
            inbox: Vec::new(),
            expected: VecDeque::new(),
            announced: None,
            // Slower than the server has patience for, some of them, unless all have to be
            // answered.
            appetite: [1 << 20, 5000, 700, 50][rng.below(if stays { 2 } else { 4 })],
            rest: Duration::from_millis([0, 0, 1, 300][rng.below(if stays { 3 } else { 4 })]),
            sated: false,
            breaks_at: (rng.chance(100) && !stays).then(|| rng.below(30_000)),
            read: 0,
            finished: false,
            heard: false,
            updates: 0,
            awaits_end,
            has_ended: false,
            told: false,
            until: world.now() + Duration::from_secs(100),
            pace: None,
            idle_until: world.now(),
            is_idle: false,
            tally: Rc::clone(tally),
            rng,
        }
    }

    /// Is idle between requests from now on, as `rng` says.
    pub(super) fn set_pace(&mut self, rng: Rng) {
        self.pace = Some(rng);
    }

    /// Acts on news, or because its time has come.
    pub(super) fn act(&mut self, world: &World) -> Next {
        if self.stream.is_none() || world.now() >= self.until {
            self.end(world);
            return Next::Done;
        }
        self.is_idle = world.now() < self.idle_until;
        let left = self.left();
        self.ask();
        let mut alive = self.write() && self.take_in() && self.understand();
        if alive {
            // An answer may have made room for the next request.
            self.ask();
            alive = self.write();
        }
        let has_asked = self.left() < left;
        if let (Some(rng), true) = (&mut self.pace, has_asked) {
            self.idle_until = world.now() + Duration::from_millis(rng.below(800) as u64);
        }
        let answered = match &self.streams {
            Some(streams) => streams.is_answered(),
            None => self.requests.is_empty() && self.expected.is_empty(),
        } && self.text.is_empty();
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
            Duration::ZERO if self.streams.as_ref().is_some_and(Streams::is_narrow) => {
                Next::At(world.now() + Duration::from_millis(5))
            }
            Duration::ZERO if self.sated => Next::At(world.now() + Duration::from_millis(1)),
            Duration::ZERO if self.idle_until > world.now() => Next::At(self.idle_until),
            Duration::ZERO => Next::At(self.until),
            rest => Next::At(world.now() + rest),
        }
    }

    /// Returns how many requests have not been asked.
    fn left(&self) -> usize {
        self.requests.len() + self.streams.as_ref().map_or(0, Streams::left)
    }

    fn end(&mut self, world: &World) {
        let mut tally = self.tally.borrow_mut();
        let missing =
            self.expected.len() + self.requests.len() + self.streams.as_ref().map_or(0, Streams::missing);
        let told = self.told || self.streams.as_ref().is_some_and(Streams::is_told);
        if missing > 0 && told && tally.draining {
            tally.told += 1;
        } else if missing > 0 {
            // Into the trace, as a hint to the cause.
            world.note("lost", missing as u64);
            tally.lost += 1;
        } else if let (true, true, Some(tls)) = (self.awaits_end, self.has_ended, &mut self.tls) {
            // rustls: 0 after close_notify, an error after an end without one.
            match tls.reader().read(&mut [0]) {
                Ok(0) => tally.ended += 1,
                _ => tally.cut += 1,
            }
        }
        let end = [u8::from(self.stream.is_some()), u8::from(self.has_ended), u8::from(self.heard)];
        self.digest.end(&mut tally.received, self.number, missing, end);
        self.stream = None;
        self.requests.clear();
        self.expected.clear();
        self.streams = None;
    }

    /// Puts requests into the text: all at once, or one at a time.
    fn ask(&mut self) {
        if let Some(streams) = &mut self.streams {
            streams.set_idle(self.is_idle);
            return streams.ask(&mut self.text, &mut self.rng, &self.tally, self.awaits_end);
        }
        while !self.told && !self.is_idle && (self.pipelines || self.expected.is_empty()) {
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
                    // Not so often that it takes the answers for a flood, nor again after a
                    // failure.
                    if self.rng.chance(30) && self.heard && self.updates < 12 {
                        self.updates += 1;
                        if tls.refresh_traffic_keys().is_err() {
                            self.updates = usize::MAX;
                        }
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
            && self.streams.as_ref().is_none_or(Streams::is_asked)
            && self.text.is_empty()
            && self.wire.is_empty()
        {
            self.finished = true;
            stream.finish();
        }
        true
    }

    /// Reads as much as it has appetite for. `false`: the connection is over and nothing more is to
    /// be understood.
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
                        None => {
                            self.digest.add(&mut self.tally.borrow_mut().received, self.number, n, &buf[..n]);
                            self.inbox.extend_from_slice(&buf[..n]);
                        }
                        Some(tls) => {
                            let mut bytes = &buf[..n];
                            while !bytes.is_empty() {
                                if tls.read_tls(&mut bytes).is_err() {
                                    over = true;
                                    break;
                                }
                                // An alert or a broken record: what was understood before it
                                // counts.
                                over |= tls.process_new_packets().is_err();
                                let mut text = Vec::new();
                                let _ = tls.reader().read_to_end(&mut text);
                                self.heard |= !text.is_empty();
                                self.digest.add(&mut self.tally.borrow_mut().received, self.number, n, &text);
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
        if let Some(streams) = &mut self.streams {
            return streams.understand(&mut self.inbox, &mut self.text, &self.tally);
        }
        while let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(self.inbox[..end].to_vec()).expect("a head is ASCII");
            let status: u16 = head[9..12].parse().unwrap();
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let expected =
                self.expected.front().unwrap_or_else(|| panic!("an answer that was not asked for: {head}"));
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
            tally.late += u64::from(tally.draining);
            if expected.status >= 400 {
                tally.refused += 1;
            }
            if let Some(Some((_, 1..))) = self.announced.take() {
                tally.swapped += 1;
            }
            drop(tally);
            if field("Connection: ") == Some("close") {
                assert!(self.inbox.is_empty(), "something behind the last answer");
                self.told = true;
                return self.awaits_end;
            }
            self.ask();
        }
        true
    }
}
