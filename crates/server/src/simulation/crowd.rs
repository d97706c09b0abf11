//! A crowd at one address that takes every place it gets, and a visitor from another one, who comes
//! again and again, and then comes back to an idle connection.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitar_io::Key;
use sitar_io::sim::{Faults, Next, Rng, Stream, World};

use super::lab::fixture;
use super::served::{Served, serve};
use crate::Limits;
use crate::shard::FIRST_KEY;

const CROWD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const VISITOR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const GET: &[u8] = b"GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n";
/// The longest that a visitor may have to try: where nothing is broken off, and where the kernel
/// refuses what it likes, accepts included.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_IN_ROUGH_WEATHER: Duration = Duration::from_secs(600);
/// Visits in each world, before the one that comes back.
const VISITS: usize = 3;
/// The time for which the visitor's connection is idle.
const IDLE: Duration = Duration::from_secs(10);
/// The server's own limits: none of them frees a place in time.
const LONG: Duration = Duration::from_secs(6000);

/// The connections of one address: half of them have asked for something, or nothing, and stay; the
/// other half are in the middle of a handshake or of a request.
struct Crowd {
    streams: Vec<Option<Stream>>,
    tls: bool,
    rng: Rng,
    /// Connections that it opens in all.
    left: usize,
    /// The visitor has been served.
    is_over: Rc<Cell<bool>>,
}

impl Crowd {
    fn act(&mut self, world: &World) -> Next {
        if self.is_over.get() {
            self.streams.clear();
            return Next::Done;
        }
        for nth in 0..self.streams.len() {
            let is_open = self.streams[nth].as_mut().is_some_and(stays);
            // Some go by themselves, so that there are newcomers all the time.
            if !is_open || self.rng.chance(20) {
                self.streams[nth] = self.open(world, nth % 2 == 0);
            }
        }
        Next::At(world.now() + Duration::from_millis(50 + self.rng.below(300) as u64))
    }

    fn open(&mut self, world: &World, is_half: bool) -> Option<Stream> {
        if self.left == 0 || self.rng.chance(300) {
            return None;
        }
        self.left -= 1;
        let mut stream = world.connect_from(CROWD, Key(FIRST_KEY));
        let first: &[u8] = match (self.tls, is_half) {
            (true, _) => &[22, 3, 1, 2, 0, 1, 0],
            (false, true) => b"GET / HT",
            (false, false) if self.rng.chance(500) => GET,
            (false, false) => b"",
        };
        // What finds no room is as good as half of it.
        let _ = stream.write(first);
        Some(stream)
    }
}

/// Whether the other end has not closed it. Reads what has come.
fn stays(stream: &mut Stream) -> bool {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// A client that asks for a small file, again and again until it has come.
struct Visitor {
    stream: Option<(Stream, rustls::ClientConnection)>,
    tls: bool,
    received: Vec<u8>,
    asked: bool,
    since: Instant,
    visits: usize,
    /// The network breaks nothing off.
    is_calm: bool,
    is_over: Rc<Cell<bool>>,
}

impl Visitor {
    fn act(&mut self, world: &World) -> Next {
        let waited = world.now() - self.since;
        let patience = if self.is_calm { PATIENCE } else { PATIENCE_IN_ROUGH_WEATHER };
        assert!(waited <= patience, "not served for {waited:?}, after {} visits", self.visits);
        match self.go_on(world) {
            Ok(true) => {
                self.visits += 1;
                self.since = world.now();
                if self.visits > VISITS {
                    self.is_over.set(true);
                    return Next::Done;
                }
                if self.visits < VISITS {
                    self.stream = None;
                    return Next::At(world.now() + Duration::from_millis(300));
                }
                // The last time on the same connection, after it has been idle for long.
                (self.asked, self.received) = (false, Vec::new());
                Next::At(world.now() + IDLE)
            }
            Ok(false) => Next::At(world.now() + Duration::from_millis(30)),
            Err(error) => {
                let is_back = self.visits == VISITS && self.is_calm;
                assert!(!is_back, "its idle connection was given up: {error}");
                self.stream = None;
                Next::At(world.now() + Duration::from_millis(100))
            }
        }
    }

    /// Returns whether the answer has come.
    fn go_on(&mut self, world: &World) -> std::io::Result<bool> {
        let (stream, tls) = self.stream.get_or_insert_with(|| {
            self.received.clear();
            self.asked = false;
            let name = "localhost".try_into().unwrap();
            let tls = rustls::ClientConnection::new(Arc::clone(&fixture().client), name).unwrap();
            (world.connect_from(VISITOR, Key(FIRST_KEY)), tls)
        });
        let mut buf = [0; 4096];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) if self.tls => {
                    let mut bytes = &buf[..count];
                    while !bytes.is_empty() {
                        tls.read_tls(&mut bytes)?;
                        tls.process_new_packets().map_err(std::io::Error::other)?;
                    }
                }
                Ok(count) => self.received.extend_from_slice(&buf[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.tls {
            if !tls.is_handshaking() && !std::mem::replace(&mut self.asked, true) {
                tls.writer().write_all(GET)?;
            }
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out)?;
            }
            stream.write_all(&out)?;
            let _ = tls.reader().read_to_end(&mut self.received);
        } else if !std::mem::replace(&mut self.asked, true) {
            stream.write_all(GET)?;
        }
        Ok(self.received.starts_with(b"HTTP/1.1 200 ") && self.received.ends_with(tiny()))
    }
}

fn tiny() -> &'static [u8] {
    static TINY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    TINY.get_or_init(|| super::lab::body("tiny.txt", 11, 0))
}

/// Returns whether places ran out: where the network breaks most connections off they do not.
fn run(seed: u64) -> bool {
    let mut rng = Rng::new(seed ^ 0xc_0c0d);
    let is_calm = rng.chance(500);
    let world = if is_calm { World::with(seed, Faults::none()) } else { World::new(seed) };
    let tls = rng.chance(300);
    let connections = [8, 16, 32, 48][rng.below(4)];
    let limits = Limits {
        connections,
        closing: [8, 64][rng.below(2)],
        handshake: LONG,
        head: LONG,
        idle: LONG,
        send: LONG,
        held_max: [400_000, 4 << 20][rng.below(2)],
        ..Limits::default()
    };
    let Served { mut shard, mut loader_worker, inbox, .. } =
        serve(&world, &fixture().sites()[0], tls, limits);
    let is_over = Rc::new(Cell::new(false));
    let many = 2 * connections as usize;
    let mut crowd = Crowd {
        streams: (0..many).map(|_| None).collect(),
        tls,
        rng: Rng::new(rng.next()),
        left: 20 * many,
        is_over: Rc::clone(&is_over),
    };
    world.script(move |world| crowd.act(world));
    // The crowd is there first.
    let mut first = Some(world.now() + Duration::from_millis(500 + rng.below(3000) as u64));
    let (over, mut visitor) = (Rc::clone(&is_over), None);
    world.script(move |world| {
        if let Some(at) = first.take() {
            return Next::At(at);
        }
        let visitor = visitor.get_or_insert_with(|| Visitor {
            stream: None,
            tls,
            received: Vec::new(),
            asked: false,
            since: world.now(),
            visits: 0,
            is_calm,
            is_over: Rc::clone(&over),
        });
        visitor.act(world)
    });
    let ended = Rc::new(Cell::new(false));
    let has_ended = Rc::clone(&ended);
    world.script(move |world| {
        while loader_worker.work_once() {}
        if world.census().scripts == 0 {
            inbox.wake();
        }
        if has_ended.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    for turn in 0.. {
        if world.census().scripts == 1 {
            break;
        }
        shard.turn().unwrap();
        shard.check();
        assert!(turn < 1_000_000, "the crowd is still there");
    }
    ended.set(true);
    for _ in 0..100_000 {
        if shard.is_idle() && world.census().connections == 0 {
            break;
        }
        shard.turn().unwrap();
    }
    shard.check_idle();
    let counts = shard.counts();
    assert_eq!(counts.ends.sum(), counts.accepted, "{counts:?}");
    assert_eq!(world.blamed(), None, "the ring broke a promise");
    counts.shed + counts.refused > 0
}

#[test]
fn a_crowd_at_one_address_leaves_places_to_others() {
    if let Some(seed) = super::number("SITAR_SEED") {
        run(seed);
        return;
    }
    // Where others are sampled, fewer of these: a crowd takes long.
    let seeds = if super::number("SITAR_SAMPLE").is_some() { super::seeds() / 2 } else { super::seeds() };
    let crowded = super::on_all_cores(seeds, run, |seed| format!("SITAR_SEED={seed} failed"));
    let crowded = crowded.into_iter().filter(|is_crowded| *is_crowded).count() as u64;
    assert!(crowded > seeds / 10 * 9, "so few crowds prove nothing: {crowded}");
}
