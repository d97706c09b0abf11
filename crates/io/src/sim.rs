//! The simulated engine: a kernel, a network and peers, in this process and in virtual time, with
//! faults by the seed.
//!
//! A [`World`] holds the clock, the network and the peers. [`Ring::sim`](crate::Ring::sim) makes a
//! ring on it, and whatever runs on that ring runs as on a real one, except that time moves only
//! inside [`Ring::wait`](crate::Ring::wait), to the next thing that happens or to the deadline,
//! that nothing ever sleeps, and that the same seed gives the same run to the last byte.
//!
//! ```
//! use std::io::{Read, Write};
//! use sitar_io::{Config, Event, Key, Ring, sim::World};
//!
//! # fn main() -> std::io::Result<()> {
//! let world = World::new(42);
//! let config = Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };
//! let mut ring = Ring::sim(&config, &world)?;
//! let listener = ring.sim_listener(Key(7));
//! let _ = ring.accept(&listener);
//!
//! let mut peer = world.connect(Key(7));
//! peer.write_all(b"hello")?;
//! ring.wait(None)?;
//! let Some(Event::Accepted { conn, .. }) = ring.next() else { panic!("no connection came") };
//! let _ = ring.recv(&conn);
//! ring.wait(None)?;
//! let Some(Event::Recv { buf, .. }) = ring.next() else { panic!("nothing came") };
//! assert_eq!(&buf[..], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! Peers can also be [scripts](World::script) that are called from inside `wait`, for programs that
//! keep their thread.

mod engine;
mod faults;
mod kernel;
mod net;
mod sealing;
mod socket;
mod state;
mod stream;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BinaryHeap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use self::engine::Sim;
pub use self::faults::{Faults, Lie, Rng};
use self::kernel::Kernel;
use self::net::Link;
pub use self::sealing::Seal;
pub use self::socket::Socket;
use self::state::{Alarm, Due, State};
pub use self::stream::Stream;
use crate::file::File;
use crate::key::Key;
use crate::sockopt::TlsTx;

/// Time that passes between two waits at least, so that a program that never sleeps gets on in
/// time.
const TICK: Duration = Duration::from_micros(1);
/// Steps of one wait at most: more means that scripts keep themselves busy for ever.
const STEPS_MAX: usize = 10_000_000;
/// Connections that wait for being accepted, of one listener; what comes on top is refused.
const BACKLOG_MAX: usize = 4096;
/// The listener whose connections [`Ring::adopt`](crate::Ring::adopt) adopts, one after another,
/// whatever the socket is that it is given: another program accepts them.
pub const PASSED: Key = Key(u64::MAX);
/// Lines of a trace that are kept.
const TRACE_MAX: usize = 100_000;

/// The event that a [script](World::script) waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Something new on one of its streams: bytes, their end, a reset, or room to write.
    News,
    /// The same, or this moment, whichever comes first.
    At(Instant),
    /// Nothing: it has finished and is dropped, with the streams that it holds.
    Done,
}

type Script = Box<dyn FnMut(&World) -> Next>;

/// A world for one ring at a time: clock, network, peers. Clones are handles to the same world.
#[derive(Clone)]
pub struct World(Rc<Inner>);

struct Inner {
    epoch: Instant,
    state: RefCell<State>,
    /// Apart from the state, because a script that runs uses it. `None` while it runs, and for ever
    /// when it has finished.
    scripts: RefCell<Vec<Option<Script>>>,
}

/// Counts of what a world's kernel holds, to be compared with
/// [`Ring::stats`](crate::Ring::stats).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Census {
    /// Places of the file table in use.
    pub connections: usize,
    /// Operations queued or in flight, those not counted whose end is on its way to the ring.
    pub ops: usize,
    /// Files that were opened and not handed over yet.
    pub files: usize,
    /// Scripts that have not finished.
    pub scripts: usize,
}

impl World {
    /// Makes a world whose faults and whose course depend on `seed` alone.
    #[must_use]
    pub fn new(seed: u64) -> World {
        World::with(seed, Faults::drawn(seed))
    }

    /// Makes a world with these faults. The seed decides when they strike.
    #[must_use]
    pub fn with(seed: u64, faults: Faults) -> World {
        let state = State {
            now: Duration::ZERO,
            rng: Rng::new(seed),
            faults,
            kernel: Kernel::default(),
            links: Vec::new(),
            backlogs: Vec::new(),
            inboxes: std::collections::BTreeMap::new(),
            datagrams: Vec::new(),
            timeline: BinaryHeap::new(),
            scheduled: 0,
            alarms: Vec::new(),
            running: None,
            outside: Duration::ZERO,
            lie: None,
            lied: false,
            lose: false,
            blamed: None,
            has_ring: false,
            kernel_tls: None,
            hash: 0xcbf2_9ce4_8422_2325,
            trace: None,
        };
        World(Rc::new(Inner {
            epoch: Instant::now(),
            state: RefCell::new(state),
            scripts: RefCell::new(Vec::new()),
        }))
    }

    /// Returns the time. Only differences mean anything: the beginning is that of the real clock
    /// when the world was made.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.epoch + self.0.state.borrow().now
    }

    /// Returns the time since the world was made: the same in each run of a seed.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.state.borrow().now
    }

    /// Lets time pass. What falls due meanwhile happens at the next wait, or when a stream is
    /// looked at. It is cut to half of what an [`Instant`] can express, and to a minute once that
    /// much has passed.
    pub fn advance(&self, time: Duration) {
        let state = &mut *self.0.state.borrow_mut();
        state.pass_to(state.now.saturating_add(time));
    }

    /// Replaces the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.state.borrow_mut().faults = faults;
    }

    /// Sets how long, in real time, a wait that would let virtual time jump first waits for a
    /// [`Waker`](crate::Waker) used by another thread. Zero at first: a world without other
    /// threads. With other threads a run depends on more than the seed.
    pub fn set_outside(&self, time: Duration) {
        self.0.state.borrow_mut().outside = time;
    }

    /// Gives the kernel TLS: `make` says how records are sealed with what a [`TlsTx`] holds;
    /// `rekey`, whether a connection takes another key later (Linux 6.14). Without this, setting
    /// TCP_ULP is ENOENT.
    pub fn set_kernel_tls(&self, rekey: bool, make: impl Fn(&TlsTx) -> Seal + 'static) {
        self.0.state.borrow_mut().kernel_tls = Some(sealing::TlsSupport { make: Rc::new(make), rekey });
    }

    /// Connects to a listener by its key. As with TCP it succeeds before it is accepted; the
    /// connection waits. One above the limit (4,096 waiting) is reset.
    #[must_use = "dropping a stream closes it"]
    pub fn connect(&self, listener: Key) -> Stream {
        let state = &mut *self.0.state.borrow_mut();
        let link = Link::new(&mut state.rng, &state.faults);
        let index = state.links.len();
        state.links.push(link);
        state.note("connect", index as u64, 0);
        let backlog = state.backlog(listener);
        if backlog.len() < BACKLOG_MAX {
            backlog.push_back(index);
        } else {
            state.with_link(index, |link, _| link.break_off());
        }
        Stream::new(Rc::downgrade(&self.0), index)
    }

    /// The same from that address.
    #[must_use = "dropping a stream closes it"]
    pub fn connect_from(&self, source: IpAddr, listener: Key) -> Stream {
        let stream = self.connect(listener);
        if let Some(link) = self.0.state.borrow_mut().links.last_mut() {
            link.source = Some(source);
        }
        stream
    }

    /// Adds a peer that acts by itself: `script` is called from inside
    /// [`Ring::wait`](crate::Ring::wait), first of all at once, then when what it last returned
    /// comes true. Streams report to the script that used them last.
    pub fn script(&self, script: impl FnMut(&World) -> Next + 'static) {
        let mut scripts = self.0.scripts.borrow_mut();
        let state = &mut *self.0.state.borrow_mut();
        let index = scripts.len();
        scripts.push(Some(Box::new(script)));
        state.alarms.push(Alarm::default());
        state.alert(Some(index));
    }

    /// Makes a file with these bytes, in memory.
    ///
    /// # Errors
    /// Those of memfd_create(2) and write(2).
    pub fn file(bytes: &[u8]) -> io::Result<File> {
        let file = nameless()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        Ok(file.into())
    }

    /// Tells one lie to the ring, after `after` completions and at the first one that lends itself
    /// to it.
    pub fn lie(&self, lie: Lie, after: u32) {
        self.0.state.borrow_mut().lie = Some((lie, after));
    }

    /// The next completion never reaches the ring: an operation that does not end. Nothing but the
    /// limit on a ring's drop helps against that (I3), after which the memory is leaked and the
    /// world has no room for another ring.
    pub fn lose_completion(&self) {
        self.0.state.borrow_mut().lose = true;
    }

    /// Returns whether the kernel has lied.
    #[must_use]
    pub fn has_lied(&self) -> bool {
        self.0.state.borrow().lied
    }

    /// The first promise that the ring has broken towards its kernel, if any: a close with
    /// operations in flight, an operation that reached another connection, a slot given twice,
    /// memory given up too early.
    #[must_use]
    pub fn blamed(&self) -> Option<&'static str> {
        self.0.state.borrow().blamed
    }

    /// Returns the counts.
    #[must_use]
    pub fn census(&self) -> Census {
        let state = self.0.state.borrow();
        Census {
            connections: state.kernel.open(),
            ops: state.kernel.in_flight(),
            files: state.kernel.unclaimed(),
            scripts: self.0.scripts.borrow().iter().flatten().count(),
        }
    }

    /// Returns a hash of all that has happened: equal for equal runs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.state.borrow().hash
    }

    /// Keeps a line for each thing that happens from now on (100,000 at most).
    pub fn start_trace(&self) {
        self.0.state.borrow_mut().trace.get_or_insert_default();
    }

    /// Takes the lines kept so far.
    #[must_use]
    pub fn take_trace(&self) -> Vec<String> {
        self.0.state.borrow_mut().trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts something of the program's own into trace and hash.
    pub fn note(&self, what: &str, number: u64) {
        self.0.state.borrow_mut().note(what, number, 0);
    }

    /// Calls one script.
    fn run(&self, index: usize) {
        let Some(mut script) = self.0.scripts.borrow_mut().get_mut(index).and_then(Option::take) else {
            return;
        };
        self.0.state.borrow_mut().running = Some(index);
        // One that panics is dropped, and streams report to it no more.
        let next = catch_unwind(AssertUnwindSafe(|| script(self))).unwrap_or_else(|why| {
            self.0.state.borrow_mut().running = None;
            resume_unwind(why)
        });
        let mut state = self.0.state.borrow_mut();
        state.running = None;
        state.note("script", index as u64, i64::from(next == Next::Done));
        match next {
            Next::Done => {
                // Streams report their end to the state when they are dropped.
                drop(state);
                drop(script);
                return;
            }
            Next::News => state.alarms[index].at = None,
            Next::At(moment) => {
                let at = moment.saturating_duration_since(self.0.epoch).max(state.now + TICK);
                state.alarms[index].at = Some(at);
                state.schedule(at, Due::Script(index));
            }
        }
        drop(state);
        self.0.scripts.borrow_mut()[index] = Some(script);
    }
}

#[cfg(not(miri))]
fn nameless() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("sitar-sim", rustix::fs::MemfdFlags::CLOEXEC)?)
}

/// Miri has no memfd_create.
#[cfg(miri)]
fn nameless() -> io::Result<OwnedFd> {
    let path = std::env::temp_dir().join(format!("sitar-sim-{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}
