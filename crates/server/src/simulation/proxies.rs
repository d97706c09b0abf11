//! Clients behind a proxy, which names them by a header of the PROXY protocol.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitar_io::Key;
use sitar_io::sim::{Faults, Next, Stream, World};

use super::lab::fixture;
use super::served::{Served, serve_first};
use crate::access::{Network, Networks};
use crate::peer::Peer;
use crate::shard::FIRST_KEY;
use crate::snapshot::{Hosts, Listener, Role, Snapshot};
use crate::{Counts, Ends, Limits};

const GET: &[u8] = b"GET /tiny.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x03\xe8\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Serves a site behind the proxies at 10.0.0.0/8.
fn snapshot(tls: bool, limits: Limits) -> Snapshot {
    let proxies: Networks = [Network::parse("10.0.0.0/8").unwrap()].into_iter().collect();
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    let listener = Listener::behind(proxies, if tls { Role::Https } else { Role::Http }, vec![socket]);
    let own = tls.then(|| fixture().server.clone());
    Snapshot::new(Hosts::one(Arc::clone(&fixture().sites()[0])), vec![listener], own, limits)
}

/// What one connection sends, and how.
struct Sender {
    from: IpAddr,
    /// The bytes in front of what the client says.
    header: Vec<u8>,
    tls: bool,
    /// Bytes at a time, and how long after each other.
    step: usize,
    pause: Duration,
    /// It asks for something behind the header; else it is silent.
    asks: bool,
    /// It closes its side when all is sent.
    finishes: bool,
}

impl Sender {
    fn new(header: &[u8], tls: bool) -> Sender {
        let (from, header) = (ip("10.1.2.3"), header.to_vec());
        let (step, pause) = (usize::MAX, Duration::from_millis(1));
        Sender { from, header, tls, step, pause, asks: true, finishes: false }
    }
}

/// A connection under way.
struct Talk {
    sender: Sender,
    stream: Option<Stream>,
    tls: Option<rustls::ClientConnection>,
    /// Bytes to be sent.
    out: Vec<u8>,
    /// Not before then.
    due: Option<Instant>,
    answer: Rc<RefCell<Vec<u8>>>,
}

impl Talk {
    fn new(sender: Sender) -> Talk {
        let tls = (sender.tls && sender.asks).then(|| {
            let name = "localhost".try_into().unwrap();
            let mut tls = rustls::ClientConnection::new(Arc::clone(&fixture().client), name).unwrap();
            tls.writer().write_all(GET).unwrap();
            tls
        });
        let mut out = sender.header.clone();
        if sender.asks && !sender.tls {
            out.extend(GET);
        }
        Talk { sender, stream: None, tls, out, due: None, answer: Rc::default() }
    }

    fn act(&mut self, world: &World) -> Next {
        let from = self.sender.from;
        let stream = self.stream.get_or_insert_with(|| world.connect_from(from, Key(FIRST_KEY)));
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            tls.write_tls(&mut self.out).unwrap();
        }
        let step = self.sender.step.min(self.out.len());
        // It is called for news, too.
        if step > 0 && self.due.is_none_or(|due| due <= world.now()) {
            self.due = Some(world.now() + self.sender.pause);
            match stream.write(&self.out[..step]) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Next::Done,
            }
            if self.out.is_empty() && self.sender.finishes {
                stream.finish();
            }
        }
        let mut buf = [0; 4096];
        while let Ok(count) = stream.read(&mut buf) {
            if count == 0 {
                stream.finish();
                return Next::Done;
            }
            let Some(tls) = &mut self.tls else {
                self.answer.borrow_mut().extend(&buf[..count]);
                continue;
            };
            let mut bytes = &buf[..count];
            while !bytes.is_empty() {
                tls.read_tls(&mut bytes).unwrap();
                if tls.process_new_packets().is_err() {
                    return Next::Done;
                }
                let mut text = Vec::new();
                let _ = tls.reader().read_to_end(&mut text);
                self.answer.borrow_mut().extend(text);
            }
        }
        let wants_write = self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        match self.due {
            Some(due) if !self.out.is_empty() => Next::At(due),
            _ if wants_write => Next::At(world.now()),
            _ => Next::News,
        }
    }
}

/// Has connections made until all have ended, or `until` holds. Returns what was counted, what each
/// received, and all peers that a connection had.
fn run(
    world: &World,
    first: Snapshot,
    senders: Vec<Sender>,
    until: impl Fn(&Counts) -> bool,
) -> (Counts, Vec<String>, HashSet<Peer>) {
    let Served { mut shard, mut loader_worker, .. } = serve_first(world, first);
    let mut answers = Vec::new();
    for sender in senders {
        let mut talk = Talk::new(sender);
        answers.push(Rc::clone(&talk.answer));
        world.script(move |world| talk.act(world));
    }
    let is_over = Rc::new(Cell::new(false));
    let ended = Rc::clone(&is_over);
    world.script(move |world| {
        while loader_worker.work_once() {}
        if ended.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    let mut peers = HashSet::new();
    for _ in 0..20_000 {
        let counts = shard.counts();
        if counts.ends.sum() == answers.len() as u64 || until(&counts) {
            break;
        }
        shard.turn().unwrap();
        shard.check();
        peers.extend(shard.peers());
    }
    is_over.set(true);
    let text = |answer: &Rc<RefCell<Vec<u8>>>| String::from_utf8_lossy(&answer.borrow()).into_owned();
    (shard.counts(), answers.iter().map(text).collect(), peers)
}

/// Has one connection made.
fn one(world: &World, sender: Sender) -> (Counts, String, HashSet<Peer>) {
    let tls = sender.tls;
    let (counts, mut answers, peers) = run(world, snapshot(tls, Limits::default()), vec![sender], |_| false);
    (counts, answers.remove(0), peers)
}

/// In one segment with what the client says, or byte by byte; and whatever the kernel is late with.
#[test]
fn a_header_names_the_peer_of_a_connection() {
    let (client, proxy) = (ip("192.0.2.7"), ip("10.1.2.3"));
    for seed in 0..20 {
        for (header, peer) in [(V1, client), (V2, client), (LOCAL, proxy), (UNKNOWN, proxy)] {
            for (tls, step) in [(false, usize::MAX), (false, 1), (true, usize::MAX), (true, 1), (true, 30)] {
                let mut faults = Faults::none();
                (faults.late, faults.reorder) = (300, 300);
                let sender = Sender { step, ..Sender::new(header, tls) };
                let (counts, answer, peers) = one(&World::with(seed, faults), sender);
                assert!(answer.starts_with("HTTP/1.1 200 "), "seed {seed}, {header:?}, {step}: {answer}");
                assert_eq!((counts.requests, counts.ends.finished), (1, 1), "seed {seed}");
                assert_eq!(peers, HashSet::from([Peer::Ip(proxy), Peer::Ip(peer)]), "{header:?}");
            }
        }
    }
}

#[test]
fn a_proxy_that_sends_no_header_or_a_forged_one_is_not_served() {
    let long_v1 = [b"PROXY UNKNOWN " as &[u8], &[b'f'; 92], b"\r\n"].concat();
    let long_v2 = [&LOCAL[..14], &[16, 1], &[0; 4097]].concat();
    let sum = [&V2[..14], &[0, 19], &V2[16..], &[3, 0, 4, 1, 2, 3, 4]].concat();
    let forged: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 443000\r\n";
    for header in [b"", forged, &V1[1..], &[V2, &V2[..12]].concat()[12..], &long_v1, &long_v2, &sum] {
        for (tls, step) in [(false, usize::MAX), (true, usize::MAX), (false, 7)] {
            let sender = Sender { step, ..Sender::new(header, tls) };
            let (counts, answer, _) = one(&World::with(1, Faults::none()), sender);
            assert_eq!((answer.as_str(), counts.requests, counts.handshakes), ("", 0, 0), "{header:?}");
            assert_eq!(counts.ends, Ends { peer_faults: 1, ..Ends::default() }, "{header:?}");
        }
    }
}

#[test]
fn a_header_that_is_slow_or_cut_ends_the_connection() {
    for header in [V1, V2] {
        for tls in [false, true] {
            let mut slow = Sender { step: 1, pause: Duration::from_secs(5), ..Sender::new(header, tls) };
            let (counts, answer, _) = one(&World::with(1, Faults::none()), slow);
            assert_eq!((answer.as_str(), counts.requests), ("", 0));
            assert_eq!(counts.ends, Ends { handshake_timeouts: 1, ..Ends::default() });
            slow = Sender { asks: false, ..Sender::new(b"", tls) };
            let (counts, _, _) = one(&World::with(1, Faults::none()), slow);
            assert_eq!(counts.ends, Ends { handshake_timeouts: 1, ..Ends::default() }, "silence");
            let part = &header[..header.len() - 1];
            let cut = Sender { asks: false, finishes: true, ..Sender::new(part, tls) };
            let (counts, _, _) = one(&World::with(1, Faults::none()), cut);
            assert_eq!(counts.ends, Ends { peer_left: 1, ..Ends::default() });
        }
    }
}

#[test]
fn who_is_no_proxy_is_served_as_usual_and_names_no_one() {
    let other = ip("198.51.100.9");
    for tls in [false, true] {
        let sender = Sender { from: other, ..Sender::new(b"", tls) };
        let (counts, answer, peers) = one(&World::with(1, Faults::none()), sender);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!((counts.ends.finished, peers), (1, HashSet::from([Peer::Ip(other)])));
        for header in [V1, V2] {
            let sender = Sender { from: other, ..Sender::new(header, tls) };
            let (counts, answer, peers) = one(&World::with(1, Faults::none()), sender);
            assert!(!answer.contains(" 200 "), "{answer}");
            assert_eq!((counts.ends.peer_faults, peers), (1, HashSet::from([Peer::Ip(other)])));
        }
    }
}

/// The share of an address is two of the table's 32 places.
#[test]
fn clients_have_shares_and_their_proxy_has_none() {
    let limits = Limits { connections: 32, ..Limits::default() };
    let run = |client: &dyn Fn(usize) -> usize| {
        let senders = (0..30).map(|number| {
            let header =
                format!("PROXY TCP4 192.0.2.{} 10.0.0.1 1 443\r\nGET / HTTP/1.1\r\n", client(number));
            Sender { asks: false, ..Sender::new(header.as_bytes(), false) }
        });
        let world = World::with(1, Faults::none());
        let start = world.now();
        let later = start + Duration::from_secs(5);
        let is_late = |_: &Counts| world.now() > later;
        run(&world, snapshot(false, limits.clone()), senders.collect(), is_late).0
    };
    let counts = run(&|number| number);
    assert_eq!((counts.accepted, counts.refused, counts.shed), (30, 0, 0), "one each");
    let counts = run(&|_| 7);
    assert_eq!(counts.accepted, 30);
    assert_eq!(counts.refused, 14, "half of the table is for all who come");
}
