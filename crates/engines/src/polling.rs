//! Polling threads of the kernel, and the cores that they and the shards run on.

use std::cell::Cell;
use std::fs;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sitar_io::{Queues, Ring, SqPoll, Uring};

use crate::rings::{Memory, NoRing};

/// The time for which a shard watches for completions when `--spin` is not given.
pub const SPIN: Duration = Duration::from_millis(1);
/// A polling thread stays awake at least so long without work: waking it takes a system call.
const POLLER_IDLE_MIN: Duration = Duration::from_millis(10);
/// Linux shortens the names of threads to 15 bytes; these are `iou-sqp-` and the number of the
/// thread that made it.
const POLLER_NAME: &str = "iou-sqp-";

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
    /// Returns `None` where shard and poller would have one core: each would wait for the other to
    /// be scheduled away.
    #[must_use]
    pub fn new(spin: Option<Duration>, shards: NonZeroU16, cores: Cores) -> Option<Polling> {
        if cores.count < 2 {
            return None;
        }
        let shards = usize::from(shards.get());
        let fit = shards.saturating_mul(2) <= cores.count.min(cores.numbers.len());
        let pollers = if fit { cores.numbers[cores.numbers.len() - shards..].to_vec() } else { Vec::new() };
        Some(Polling { spin: spin.unwrap_or(SPIN), cores, pollers })
    }

    fn settings(&self, cpu: Option<u32>) -> SqPoll {
        SqPoll { spin: self.spin, idle: self.spin.max(POLLER_IDLE_MIN), cpu }
    }

    /// Makes a ring for the calling shard, and keeps the shard away from the polling threads'
    /// cores. `next` counts the shards that have come; `sized` may change the queues.
    ///
    /// # Errors
    /// The errors of [`Ring::sqpoll`].
    pub fn ring(
        &self,
        config: &sitar_io::Config,
        memory: &Memory,
        next: &AtomicUsize,
        sized: impl Fn(Queues) -> Queues,
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
        memory.make(config, |queues| Ring::sqpoll_with(config, sized(queues), &settings))
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
