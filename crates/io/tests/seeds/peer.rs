//! Peers as scripts: they ask, check every byte that comes back, and misbehave when they are asked
//! to.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use sitar_io::Waker;
use sitar_io::sim::{Next, Rng, Stream, World};

use crate::program::LISTENER;

/// The request of a peer, in its first byte. The second one is its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ask {
    /// Everything that follows is to come back.
    Echo = b'E' as isize,
    /// A file, read and sent piece by piece.
    File = b'F' as isize,
    /// A region, sent behind a head.
    Region = b'R' as isize,
}

pub(crate) const FILE_LEN: usize = 3000;
pub(crate) const REGION_LEN: usize = 5000;

/// Byte `at` of what peer `number` sends.
pub(crate) fn pattern(number: u8, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8) ^ usize::from(number).wrapping_mul(77)) as u8
}

/// The results of a seed's peers.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) failures: Vec<String>,
    pub(crate) complete: usize,
    pub(crate) broken: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Plan {
    pub(crate) number: u8,
    pub(crate) ask: Ask,
    /// Bytes to send besides the two of the head.
    pub(crate) len: usize,
    /// It says that it has finished only when it has got everything: like a connection kept alive,
    /// it ends by the other side's close or not at all.
    pub(crate) lingers: bool,
    /// Nothing may break: an early end is a failure.
    pub(crate) exact: bool,
    /// It pauses for up to so long between two steps.
    pub(crate) pause: Duration,
    /// The number of steps after which it leaves, with a reset.
    pub(crate) leaves: Option<u32>,
    pub(crate) seed: u64,
}

struct Peer {
    plan: Plan,
    rng: Rng,
    stream: Option<Stream>,
    sent: usize,
    finished: bool,
    got: usize,
    steps: u32,
    report: Rc<RefCell<Report>>,
}

/// Adds a peer that connects after `delay`, and wakes the ring when it has finished, so that its
/// program can see whether there is still something to wait for.
pub(crate) fn spawn(world: &World, waker: Waker, delay: Duration, plan: Plan, report: &Rc<RefCell<Report>>) {
    let start = world.now() + delay;
    let rng = Rng::new(plan.seed);
    let mut peer = Peer {
        plan,
        rng,
        stream: None,
        sent: 0,
        finished: false,
        got: 0,
        steps: 0,
        report: Rc::clone(report),
    };
    world.script(move |world| {
        if world.now() < start {
            return Next::At(start);
        }
        if peer.stream.is_none() {
            peer.stream = Some(world.connect(LISTENER));
        }
        let next = peer.step(world);
        if next == Next::Done {
            waker.wake();
        }
        next
    });
}

impl Peer {
    fn expected_len(&self) -> usize {
        match self.plan.ask {
            Ask::Echo => self.plan.len,
            Ask::File => FILE_LEN,
            Ask::Region => 4 + REGION_LEN,
        }
    }

    fn expected(&self, at: usize) -> u8 {
        match self.plan.ask {
            Ask::Echo => pattern(self.plan.number, at),
            Ask::File => pattern(200, at),
            Ask::Region => match at {
                0..4 => b"head"[at],
                _ => pattern(201, at - 4),
            },
        }
    }

    fn fail(&self, what: &str) {
        let (number, got, len) = (self.plan.number, self.got, self.expected_len());
        self.report.borrow_mut().failures.push(format!("peer {number}, {got} of {len} bytes: {what}"));
    }

    fn broken(&mut self) -> Next {
        if self.plan.exact {
            self.fail("broken off");
        }
        self.report.borrow_mut().broken += 1;
        self.stream = None;
        Next::Done
    }

    fn step(&mut self, world: &World) -> Next {
        self.steps += 1;
        if self.plan.leaves.is_some_and(|leaves| self.steps > leaves) {
            match self.stream.take() {
                Some(stream) if self.rng.chance(500) => stream.reset(),
                stream => drop(stream),
            }
            self.report.borrow_mut().broken += 1;
            return Next::Done;
        }
        let Some(mut stream) = self.stream.take() else { return Next::Done };
        let mut again = self.plan.leaves.is_some();
        let total = 2 + if self.plan.ask == Ask::Echo { self.plan.len } else { 0 };
        if self.sent < total {
            let chunk = 1 + self.rng.below((total - self.sent).min(700));
            let (ask, number) = (self.plan.ask as u8, self.plan.number);
            let bytes: Vec<u8> = (self.sent..self.sent + chunk)
                .map(|at| match at {
                    0 => ask,
                    1 => number,
                    _ => pattern(number, at - 2),
                })
                .collect();
            match stream.write(&bytes) {
                Ok(n) => {
                    self.sent += n;
                    again |= n == chunk;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.broken(),
            }
        }
        if self.sent == total && !self.finished && (!self.plan.lingers || self.got == self.expected_len()) {
            self.finished = true;
            stream.finish();
        }
        let mut buf = [0; 900];
        let want = 1 + self.rng.below(buf.len());
        match stream.read(&mut buf[..want]) {
            Ok(0) => {
                if self.got == self.expected_len() {
                    self.report.borrow_mut().complete += 1;
                } else if self.plan.exact {
                    self.fail("the end came early");
                } else {
                    self.report.borrow_mut().broken += 1;
                }
                return Next::Done;
            }
            Ok(n) => {
                for byte in &buf[..n] {
                    if self.got >= self.expected_len() || *byte != self.expected(self.got) {
                        self.fail("a wrong byte");
                        return Next::Done;
                    }
                    self.got += 1;
                }
                self.report.borrow_mut().bytes += n;
                again = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.broken(),
        }
        self.stream = Some(stream);
        if again {
            let micros = 1 + self.rng.below(self.plan.pause.as_micros() as usize + 1);
            return Next::At(world.now() + Duration::from_micros(micros as u64));
        }
        Next::News
    }
}
