//! The access log, as far as shards make it: a [`Record`] of each answer, in a bounded queue of its
//! shard. A thread of the worker's owner reads, formats and writes.
//!
//! A queue is memory of a fixed size that one thread writes and one reads: no lock, no allocation
//! and no system call for an answer. Where it is full, the record is dropped and counted. A shard
//! wakes the reader only where that has seen nothing for a second.

mod answer;
#[doc(hidden)]
pub mod cost;
mod entry;
pub mod format;
mod queue;
mod reader;
mod record;
mod recorder;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use self::answer::{Answer, Cut, Requested};
use self::queue::{Reader, Writer};
pub use self::reader::{Records, RecordsWaker};
pub use self::record::{FIELD_MAX, HOST_MAX, LogId, LogTls, Record, TARGET_MAX};
pub(crate) use self::recorder::{OpenAnswer, Recorder, Watched};
pub use self::trace::{TRACE_GRANT, TRACES_MAX, Trace, TraceCounts, TraceFilter, TracePath, Traces};
use crate::access::Networks;
use crate::wake::Wake;

/// What a snapshot says of logs.
#[derive(Default)]
pub(crate) struct Wants {
    /// The log of each host, in the order of their numbers.
    pub(crate) hosts: Box<[Option<LogId>]>,
    /// The log of answers that no host gives.
    pub(crate) others: Option<LogId>,
    /// Whom the fields are believed that name a client.
    pub(crate) trusted: Arc<Networks>,
    /// The label of each host, for traces.
    pub(crate) labels: Box<[Arc<str>]>,
}

impl Wants {
    /// Whether there is a log at all.
    pub(crate) fn is_any(&self) -> bool {
        self.others.is_some() || self.hosts.iter().any(Option::is_some)
    }
}

/// The queues of a worker's shards, on their way to the reader.
pub(crate) struct Queues {
    epoch: Instant,
    /// Those that the reader has not taken yet.
    new: Mutex<Vec<Reader>>,
    wake: Arc<Wake>,
    /// Records that there was no room for.
    dropped: Arc<AtomicU64>,
    traces: Mutex<trace::Table>,
}

impl Queues {
    pub(crate) fn new(epoch: Instant) -> Queues {
        Queues {
            epoch,
            new: Mutex::default(),
            wake: Arc::default(),
            dropped: Arc::default(),
            traces: Mutex::default(),
        }
    }

    /// Makes a queue, and returns the side that a shard writes.
    fn add(&self) -> (Writer, Arc<Wake>) {
        let (writer, reader) = queue::queue();
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        (writer, Arc::clone(&self.wake))
    }

    fn traces(&self) -> MutexGuard<'_, trace::Table> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self) -> Instant {
        self.epoch
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether there are some that the reader has not taken yet.
    fn has_new(&self) -> bool {
        !self.new.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take_new(&self) -> Vec<Reader> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns nanoseconds, of which 64 bits last for 584 years.
fn since(epoch: Instant, time: Instant) -> u64 {
    let time = time.saturating_duration_since(epoch);
    time.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests;
