//! The shards on each engine: io_uring, io_uring with polling threads, and epoll.
//!
//! [`start`] is not generic, so the code of the shards is compiled here, once for each engine, and
//! neither with the command nor with its tests. Errors here are for programs; what an operator
//! reads about them is the command's.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use sitar_io::{Queues, Ring, Unavailable, Uring};
use sitar_server::{Hooks, Spec, StartError, Worker};

pub mod polling;
pub mod rings;

use self::polling::Polling;
use self::rings::{Memory, NoRing};

/// The engine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// io_uring, operations handed over together.
    Uring,
    /// io_uring with polling threads.
    SqPoll(Polling),
    /// epoll, and why not io_uring where that was wanted.
    Epoll(Option<Because>),
}

/// The reason that io_uring is not used, as the end of a sentence, and the remedy where one line
/// can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// The reason.
    pub why: String,
    /// The remedy.
    pub remedy: Option<&'static str>,
}

impl From<&NoRing> for Because {
    fn from(why: &NoRing) -> Because {
        Because { why: why.to_string(), remedy: why.is_limit().then_some(rings::RAISE) }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy {
            Some(remedy) => write!(f, "{}: {remedy}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// The rings of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rings {
    /// There are none, with epoll.
    None,
    /// The kernel holds all of them to the operations of the engine.
    Restricted,
    /// It does not, or was not asked to.
    Unrestricted,
}

/// No ring can be made in this process any more.
static NO_MORE_RINGS: AtomicBool = AtomicBool::new(false);

/// Notes that no ring can be made in this process any more. A shard that has failed does not try
/// then: where a sandbox ends a process that tries, the other shards would end with it.
pub fn make_no_more_rings() {
    NO_MORE_RINGS.store(true, Ordering::Relaxed);
}

fn may_make_rings() -> Result<(), Failed> {
    if NO_MORE_RINGS.load(Ordering::Relaxed) {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "no ring can be made here any more");
        return Err(Failed::Start(StartError::Io(error)));
    }
    Ok(())
}

/// Starts the shards on the engine: the only place that knows all engines. `is_restricted`: rings
/// are to be held to the operations of the engine, as far as the kernel does so.
///
/// # Errors
/// The ring or the worker that could not be made. Nothing is left running then.
pub fn start(
    spec: &Spec,
    hooks: &Hooks,
    engine: &Engine,
    memory: Memory,
    is_restricted: bool,
) -> Result<(Worker, Rings), Failed> {
    let others = Arc::new(AtomicBool::new(false));
    let found = Arc::clone(&others);
    let note = move |ring: Ring<Uring>| {
        HIDES_PEERS.store(!ring.has_peer(), Ordering::Relaxed);
        if !ring.is_restricted() {
            found.store(true, Ordering::Relaxed);
        }
        ring
    };
    let sized = move |queues: Queues| if is_restricted { queues } else { queues.unrestricted() };
    let worker = match engine {
        Engine::Uring => Worker::start(spec, hooks, move |ring| {
            may_make_rings()?;
            let made = memory.make(ring, |queues| Ring::uring_with(ring, sized(queues)));
            made.map(&note).map_err(Failed::Ring)
        }),
        Engine::SqPoll(polling) => {
            let (polling, next) = (polling.clone(), AtomicUsize::new(0));
            Worker::start(spec, hooks, move |ring| {
                may_make_rings()?;
                polling.ring(ring, &memory, &next, sized).map(&note).map_err(Failed::Ring)
            })
        }
        Engine::Epoll(_) => {
            let worker = Worker::start(spec, hooks, |ring| {
                Ring::epoll(ring).map_err(|error| Failed::Start(StartError::Io(error)))
            });
            return worker.map(|worker| (worker, Rings::None));
        }
    };
    // All shards have their rings now.
    let rings = if others.load(Ordering::Relaxed) { Rings::Unrestricted } else { Rings::Restricted };
    worker.map(|worker| (worker, rings))
}

/// The rings of this process do not tell the addresses of clients.
static HIDES_PEERS: AtomicBool = AtomicBool::new(false);

/// Returns whether the engine that runs in this process cannot tell the addresses of clients:
/// io_uring before Linux 6.7.
#[must_use]
pub fn hides_peers() -> bool {
    HIDES_PEERS.load(Ordering::Relaxed)
}

/// Finds out whether a ring here tells the addresses of clients, which takes Linux 6.7.
///
/// # Errors
/// It does not, or there is no ring.
pub fn probe_peers() -> Result<(), NoRing> {
    let ring = Ring::uring_with(&SMALL, Queues::within(&SMALL, 0))?;
    if ring.has_peer() { Ok(()) } else { Err(NoRing::hiding_peers()) }
}

/// The reason that the worker did not start.
#[derive(Debug)]
pub enum Failed {
    /// A shard has no ring.
    Ring(NoRing),
    /// Anything else.
    Start(StartError),
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Failed {
        Failed::Start(error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Ring(why) => why.fmt(f),
            Failed::Start(error) => error.fmt(f),
        }
    }
}

/// The smallest ring that there is a use for.
pub const SMALL: sitar_io::Config =
    sitar_io::Config { connections: 8, rx_count: 8, rx_len: 256, tx_count: 8, tx_len: 256 };

/// Makes a small ring and uses it once. What it locks is counted for some time after that, so it
/// has the smallest queues.
///
/// # Errors
/// The reason that io_uring cannot be used here.
pub fn probe(memory: &Memory) -> Result<(), NoRing> {
    Memory { shards: 1, ..*memory }.make(&SMALL, |_| {
        let mut ring = Ring::uring_with(&SMALL, Queues::within(&SMALL, 0))?;
        // A profile may allow the making of a ring and not its use.
        ring.wait(Some(Instant::now())).map(drop).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unavailable::Forbidden,
            io::ErrorKind::Unsupported => Unavailable::Missing,
            _ => Unavailable::Failed("io_uring_enter", error),
        })
    })
}

/// Whether a ring here sets options of sockets, which takes Linux 6.7.
///
/// # Errors
/// There is no ring.
pub fn has_set_opt() -> Result<bool, Unavailable> {
    Ring::uring_with(&SMALL, Queues::within(&SMALL, 0)).map(|ring| ring.has_set_opt())
}

/// Whether the kernel restricts a ring here to the operations of the engine.
///
/// # Errors
/// There is no ring.
pub fn has_restrictions() -> Result<bool, Unavailable> {
    Ring::uring_with(&SMALL, Queues::within(&SMALL, 0)).map(|ring| ring.is_restricted())
}

/// Makes the rings that `sitar serve` would make with this configuration, all at a time, and closes
/// them.
///
/// # Errors
/// The first ring that could not be made.
pub fn try_all(memory: &Memory, config: &sitar_io::Config) -> Result<(), NoRing> {
    // Queues and table of receive slots, which the kernel counts, as they would be; the rest is
    // small.
    let like = sitar_io::Config { rx_count: config.rx_count, ..SMALL };
    let made = |_| memory.make(config, |queues| Ring::uring_with(&like, queues));
    (0..memory.shards).map(made).collect::<Result<Vec<_>, _>>().map(drop)
}
