//! Datagrams through a network that loses, doubles and reorders: what arrives is what was sent, and
//! nothing stays behind.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sitar_io::sim::{Faults, Next, Rng, World};
use sitar_io::{Config, DATAGRAM_HEAD, Errno, Event, Key, RecvEnd, Ring, Segment};

use crate::peer::pattern;
use crate::{on_all_cores, seeds};

const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 443);
/// The longest datagram.
const LEN: usize = 200;
const TURNS_MAX: usize = 20_000;

/// A datagram: the sender's number, its own, and a pattern of a length that follows from both.
fn datagram(sender: u8, number: u8) -> Vec<u8> {
    let len = 2 + (usize::from(sender) * 31 + usize::from(number) * 57) % (LEN - 1);
    (0..len)
        .map(|at| match at {
            0 => sender,
            1 => number,
            _ => pattern(sender ^ number, at),
        })
        .collect()
}

/// Counts of each datagram that came back, by peer.
type Answers = HashMap<(u8, u8), usize>;

/// A peer that sends `count` datagrams and takes what comes back, until it has had two answers for
/// each or the time is over.
fn spawn(world: &World, sender: u8, count: u8, answers: &Rc<RefCell<Answers>>, end: Duration) {
    let server = SocketAddr::from(SERVER);
    let mut socket = world.socket(([198, 51, 100, sender], 1000).into());
    let answers = Rc::clone(answers);
    let (mut sent, mut got, over) = (0, 0, world.now() + end);
    world.script(move |world| {
        while let Some((from, bytes)) = socket.recv_from() {
            assert_eq!(from, server);
            assert_eq!(bytes, datagram(sender, bytes[1]), "peer {sender}");
            *answers.borrow_mut().entry((sender, bytes[1])).or_default() += 1;
            got += 1;
        }
        if sent < count {
            socket.send_to(&datagram(sender, sent), server);
            sent += 1;
        }
        // What comes after that is not received.
        if got == 2 * usize::from(count) || world.now() >= over {
            return Next::Done;
        }
        let pause = if sent < count { Duration::from_micros(700) } else { end };
        Next::At((world.now() + pause).min(over))
    });
}

/// A server that sends every datagram back twice, in one send. Returns what came back, and whether
/// each had to.
fn run(seed: u64) -> Result<(Answers, bool), String> {
    let world = World::new(seed);
    let rng = &mut Rng::new(seed ^ 0xda7a);
    let mut faults = Faults::drawn(seed);
    let exact = rng.chance(300);
    if exact {
        (faults.lose_datagram, faults.double_datagram) = (0, 0);
    }
    world.set_faults(faults);
    let config = Config {
        connections: 1,
        rx_count: 1 << rng.below(4),
        rx_len: (DATAGRAM_HEAD + LEN + 1) as u32,
        tx_count: 1 + rng.below(3) as u32,
        tx_len: 2 * (LEN as u32 + 1),
    };
    let mut ring = Ring::sim(&config, &world).map_err(|error| error.to_string())?;
    let udp = ring.sim_udp(SERVER.into(), Key(3));
    ring.wait(Some(ring.now())).map_err(|error| error.to_string())?;
    let answers = Rc::new(RefCell::new(Answers::new()));
    let peers = 1 + rng.below(4) as u8;
    let count = 1 + rng.below(30) as u8;
    let end = Duration::from_secs(20);
    let mut receiving = false;
    let mut started = false;
    let mut waiting: VecDeque<(SocketAddr, Segment, u16)> = VecDeque::new();
    let mut received = VecDeque::new();
    let drop_at = if exact { usize::MAX } else { rng.below(400) };
    for turn in 0.. {
        if turn == TURNS_MAX {
            return Err(format!("no end: {:?}", ring.stats()));
        }
        if turn == drop_at
            || (started && world.census().scripts == 0 && received.is_empty() && waiting.is_empty())
        {
            break;
        }
        if !receiving {
            receiving = ring.recv_from(&udp).is_ok();
        }
        if receiving && !started {
            // Now the address is there.
            (0..peers).for_each(|sender| spawn(&world, sender, count, &answers, end));
            started = true;
        }
        while let Some((from, bytes)) = received.pop_front() {
            let bytes: Vec<u8> = bytes;
            let Some(mut tx) = ring.take_tx() else {
                received.push_front((from, bytes));
                break;
            };
            let len = bytes.len();
            tx[..len].copy_from_slice(&bytes);
            tx[len..2 * len].copy_from_slice(&bytes);
            tx.set_filled(2 * len);
            waiting.push_back((from, Segment::Tx(tx), len as u16));
        }
        while let Some((to, buf, segment_size)) = waiting.pop_front() {
            if let Err(busy) = ring.send_to(&udp, buf, to, NonZeroU16::new(segment_size)) {
                waiting.push_front((to, busy.0, segment_size));
                break;
            }
        }
        let until = ring.now() + Duration::from_micros(1 + rng.below(3000) as u64);
        ring.wait(Some(until)).map_err(|error| format!("wait: {:?}: {error}", error.kind()))?;
        while let Some(event) = ring.next() {
            match event {
                Event::Datagrams { key: Key(3), from, datagrams } => {
                    for bytes in datagrams.iter() {
                        let SocketAddr::V4(peer) = from else {
                            return Err("an address of another kind".into());
                        };
                        if datagrams.is_truncated() || bytes != datagram(peer.ip().octets()[3], bytes[1]) {
                            return Err(format!("a wrong datagram from {from}"));
                        }
                        received.push_back((from, bytes.to_vec()));
                    }
                }
                Event::RecvEnded { key: Key(3), end } => {
                    receiving = false;
                    match end {
                        RecvEnd::Stopped | RecvEnd::NoBuffers | RecvEnd::Error(Errno::NOMEM) => {}
                        other => return Err(format!("receiving ended: {other:?}")),
                    }
                }
                Event::SentTo { key: Key(3), buf, result } => match (buf, result) {
                    (Segment::Tx(tx), Ok(sent)) if sent == tx.filled() => {}
                    (buf @ Segment::Tx(_), Err(Errno::NOMEM)) => {
                        let Segment::Tx(tx) = buf else { unreachable!() };
                        let (sender, len) = (tx[0], tx.filled() / 2);
                        let to = SocketAddr::from(([198, 51, 100, sender], 1000));
                        waiting.push_back((to, Segment::Tx(tx), len as u16));
                    }
                    other => return Err(format!("{other:?}")),
                },
                Event::Woken => {}
                other => return Err(format!("{other:?}, which was not asked for")),
            }
        }
    }
    let complete = exact && drop_at == usize::MAX;
    drop((waiting, udp, ring));
    let census = world.census();
    if census.ops != 0 {
        return Err(format!("left behind by the ring's drop: {census:?}"));
    }
    if let Some(blame) = world.blamed() {
        return Err(blame.into());
    }
    let answers = answers.take();
    if complete && answers.len() != usize::from(peers) * usize::from(count) {
        return Err(format!("{} of {peers} times {count} datagrams were answered", answers.len()));
    }
    Ok((answers, complete))
}

#[test]
fn no_seed_mixes_datagrams_up() {
    let (exact, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    let seeds = seeds(10_000) / 10;
    on_all_cores(seeds, |seed, _| match run(seed) {
        Ok((answers, complete)) => {
            // Sent once, doubled by the network on either way: twice to eight times.
            let most = if complete { 2 } else { 8 };
            let bad = answers.values().find(|times| **times > most || (complete && **times != 2));
            if let Some(times) = bad {
                failures.lock().unwrap().push((seed, format!("answered {times} times")));
            }
            exact.fetch_add(u64::from(complete), Ordering::Relaxed);
            answered.fetch_add(answers.len() as u64, Ordering::Relaxed);
        }
        Err(why) => failures.lock().unwrap().push((seed, why)),
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} seeds failed: {:?}", failures.len(), failures.iter().take(10));
    let (exact, answered) = (exact.into_inner(), answered.into_inner());
    assert!(exact * 5 > seeds && answered > seeds * 10, "{exact} exact, {answered} answered");
}
