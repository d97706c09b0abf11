//! The choice of the engine, and of its cores.
//!
//! Whether io_uring works here is found out by making a small ring and using it, before anything is
//! bound: a kernel's version says little where a container's profile decides.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sitar_io::{Queues, Ring, SqPoll, Unavailable, Uring};

use crate::error::Error;
use crate::settings::EngineChoice;

pub mod rings;

use self::rings::{Memory, NoRing};

/// The time for which a shard watches for completions when `--spin` is not given.
pub const SPIN: Duration = Duration::from_millis(1);
/// A polling thread stays awake at least so long without work: waking it takes a system call.
const POLLER_IDLE_MIN: Duration = Duration::from_millis(10);
/// Linux shortens the names of threads to 15 bytes; these are `iou-sqp-` and the number of the
/// thread that made it.
const POLLER_NAME: &str = "iou-sqp-";

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

/// The cores that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// The number that can be busy at a time. A container's quota may allow fewer than there are
    /// numbers.
    pub count: usize,
    /// Their numbers; empty when the kernel does not give them.
    pub numbers: Vec<u32>,
}

impl Cores {
    /// Asks the kernel.
    #[must_use]
    pub fn of_this_process() -> Cores {
        let numbers = sched_getaffinity(None).map(|set| {
            (0..CpuSet::MAX_CPU)
                .filter(|cpu| set.is_set(*cpu))
                .filter_map(|cpu| u32::try_from(cpu).ok())
                .collect()
        });
        Cores {
            count: thread::available_parallelism().map_or(1, usize::from),
            numbers: numbers.unwrap_or_default(),
        }
    }
}

impl Engine {
    /// Chooses; `probe` finds out whether io_uring works. It is not asked for a polling thread,
    /// whatever is wanted: the kernel ends that one some time after its ring is gone, and until
    /// then it would take a core from the real ones.
    ///
    /// # Errors
    /// The engine that was asked for cannot run here, or io_uring fails for no reason that another
    /// engine would avoid.
    pub fn choose(
        wanted: EngineChoice,
        probe: impl FnOnce() -> Result<(), NoRing>,
        polling: impl FnOnce() -> Result<Polling, Error>,
    ) -> Result<Engine, Error> {
        match wanted {
            EngineChoice::Epoll => Ok(Engine::Epoll(None)),
            EngineChoice::Auto => match probe() {
                Ok(()) => Ok(Engine::Uring),
                Err(why) if lets_epoll_run(&why) => Ok(Engine::Epoll(Some(Because::from(&why)))),
                Err(why) => Err(explain(&why)),
            },
            EngineChoice::Uring => probe().map(|()| Engine::Uring).map_err(|why| explain(&why)),
            EngineChoice::Sqpoll => {
                let polling = polling()?;
                probe().map(|()| Engine::SqPoll(polling)).map_err(|why| explain(&why))
            }
        }
    }
}

/// Whether io_uring is not to be had here and epoll is, as opposed to a failure that would end
/// both.
#[must_use]
pub fn lets_epoll_run(why: &NoRing) -> bool {
    why.why.is_out_of_memory()
        || matches!(why.why, Unavailable::KernelTooOld(_) | Unavailable::Missing | Unavailable::Forbidden)
}

/// Returns the error for an operator who asked for io_uring where it cannot run.
#[must_use]
pub fn explain(why: &NoRing) -> Error {
    let error = Error::new("cannot start the io_uring engine").cause(why);
    match &why.why {
        _ if why.is_limit() => error
            .hint(rings::RAISE)
            .hint("or make fewer rings: --shards")
            .hint("or do without: --engine epoll, which --engine auto chooses by itself"),
        Unavailable::KernelTooOld(_) | Unavailable::Missing => error
            .hint("io_uring needs Linux 6.1 or newer; without it there is --engine epoll, which --engine auto chooses by itself"),
        Unavailable::Forbidden => error
            .hint(
                "check `sysctl kernel.io_uring_disabled` (0 allows it); in a container, allow io_uring_setup, io_uring_enter and \
                 io_uring_register in its seccomp profile",
            )
            .hint("or do without: --engine epoll, which --engine auto chooses by itself"),
        Unavailable::FileLimit { .. } => error.hint("raise `ulimit -n`, or lower --connections"),
        why => match why.system_error() {
            Some(cause) => hint_for(error, cause),
            None => error,
        },
    }
}

/// Adds what raises the limit that the system's error stands for.
#[must_use]
pub fn hint_for(error: Error, cause: &io::Error) -> Error {
    match Errno::from_io_error(cause) {
        Some(Errno::MFILE) => {
            error.hint("raise the limit on open files: `ulimit -n`, or LimitNOFILE= in a systemd unit")
        }
        Some(Errno::NFILE) => error.hint("this machine has no file left to open: see `sysctl fs.file-max`"),
        Some(Errno::AGAIN) => error.hint(
            "allow more threads (TasksMax= in a systemd unit, `ulimit -u`, docker run --pids-limit), or start fewer: --shards",
        ),
        Some(Errno::NOMEM) => error.hint(
            "allow more memory (MemoryMax= in a systemd unit, `ulimit -v`, docker run --memory), or start fewer shards: --shards",
        ),
        _ => error,
    }
}

/// The smallest ring that there is a use for.
const SMALL: sitar_io::Config =
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

/// Polling threads: how long they and the shards stay awake, and where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polling {
    /// The time for which a shard watches for completions before it sleeps.
    pub spin: Duration,
    /// The cores that this process may use.
    pub cores: Cores,
    /// The polling threads' CPUs, one for each shard; empty: the scheduler's choice.
    pub pollers: Vec<u32>,
}

impl Polling {
    /// Gives each polling thread a core of its own, the last ones, when shards and pollers have one
    /// each. Otherwise none is bound: a bound thread could not even move away from the shard that
    /// it disturbs.
    ///
    /// # Errors
    /// Shard and poller would have one core: each would wait for the other to be scheduled away.
    pub fn new(spin: Option<Duration>, shards: NonZeroU16, cores: Cores) -> Result<Polling, Error> {
        if cores.count < 2 {
            return Err(Error::new("the polling engine needs two cores, and this process may use one")
                .cause("a shard and its polling thread keep each other waiting on one core")
                .hint("use --engine uring, or allow more cores (taskset, or the container's limit)"));
        }
        let shards = usize::from(shards.get());
        let fit = shards.saturating_mul(2) <= cores.count.min(cores.numbers.len());
        let pollers = if fit { cores.numbers[cores.numbers.len() - shards..].to_vec() } else { Vec::new() };
        Ok(Polling { spin: spin.unwrap_or(SPIN), cores, pollers })
    }

    fn settings(&self, cpu: Option<u32>) -> SqPoll {
        SqPoll { spin: self.spin, idle: self.spin.max(POLLER_IDLE_MIN), cpu }
    }

    /// Makes a ring for the calling shard, and keeps the shard away from the polling threads'
    /// cores. `next` counts the shards that have come.
    ///
    /// # Errors
    /// The errors of [`Ring::sqpoll`].
    pub fn ring(
        &self,
        config: &sitar_io::Config,
        memory: &Memory,
        next: &AtomicUsize,
    ) -> Result<Ring<Uring>, NoRing> {
        thread_local! {
            // A shard that is started again runs on the same thread, and gets the same core for its
            // poller.
            static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let place = PLACE.get().unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed));
        PLACE.set(Some(place));
        if !self.pollers.is_empty() {
            let mut own = CpuSet::new();
            for cpu in self.cores.numbers.iter().filter(|cpu| !self.pollers.contains(cpu)) {
                own.set(*cpu as usize);
            }
            // Where this is forbidden, the scheduler usually finds out by itself.
            let _ = sched_setaffinity(None, &own);
        }
        let settings = self.settings(self.pollers.get(place).copied());
        memory.make(config, |queues| Ring::sqpoll_with(config, queues, &settings))
    }
}

/// CPU time of this process's polling threads so far, and how many there are. `tasks` is
/// `/proc/self/task`. `None` when there are none, or the kernel does not count.
#[must_use]
pub fn pollers_cpu(tasks: &Path) -> Option<(Duration, usize)> {
    let (mut sum, mut threads) = (Duration::ZERO, 0);
    for task in fs::read_dir(tasks).ok()?.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if !name.starts_with(POLLER_NAME) {
            continue;
        }
        // "run time in nanoseconds, time waited, time slices". A thread may end while its folder is
        // read.
        let Ok(times) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let Some(ran) = times.split_whitespace().next().and_then(|ran| ran.parse().ok()) else { continue };
        sum += Duration::from_nanos(ran);
        threads += 1;
    }
    (threads > 0).then_some((sum, threads))
}

#[cfg(test)]
mod tests;
