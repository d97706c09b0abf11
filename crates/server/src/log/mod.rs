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
mod queue;
mod reader;
mod record;
mod recorder;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

pub(crate) use self::answer::{Answer, Cut, Requested};
use self::queue::{Reader, Writer};
pub use self::reader::{Records, RecordsWaker};
pub use self::record::{FIELD_MAX, HOST_MAX, LogId, LogTls, Record, TARGET_MAX};
pub(crate) use self::recorder::{OpenAnswer, Recorder, Watched};
use crate::access::Networks;

/// What a snapshot says of logs.
pub(crate) struct Wants {
    /// The log of each host, in the order of their numbers.
    pub(crate) hosts: Box<[Option<LogId>]>,
    /// The log of answers that no host gives.
    pub(crate) others: Option<LogId>,
    /// Whom the fields are believed that name a client.
    pub(crate) trusted: Arc<Networks>,
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
}

/// What shards and a thread that waits for them share: the reader beside its queues, or the one
/// that tells of [refusals](crate::Refusals).
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// The reader sleeps until it is called.
    is_asleep: AtomicBool,
    /// The next rest of the reader ends at once.
    is_interrupted: AtomicBool,
    reader: Mutex<Option<Thread>>,
    /// Records that there was no room for.
    dropped: AtomicU64,
}

impl Queues {
    pub(crate) fn new(epoch: Instant) -> Queues {
        Queues { epoch, new: Mutex::default(), wake: Arc::default() }
    }

    /// Makes a queue, and returns the side that a shard writes.
    fn add(&self) -> (Writer, Arc<Wake>) {
        let (writer, reader) = queue::queue();
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        (writer, Arc::clone(&self.wake))
    }

    fn epoch(&self) -> Instant {
        self.epoch
    }

    fn dropped(&self) -> u64 {
        self.wake.dropped.load(Ordering::Relaxed)
    }

    /// Whether there are some that the reader has not taken yet.
    fn has_new(&self) -> bool {
        !self.new.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take_new(&self) -> Vec<Reader> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake {
    fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Wakes the reader, if it sleeps until it is called.
    #[inline]
    pub(crate) fn call(&self) {
        // What was written before is seen by a reader that says after this that it sleeps.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::Relaxed)
            && let Some(reader) = &*self.reader.lock().unwrap_or_else(PoisonError::into_inner)
        {
            reader.unpark();
        }
    }

    /// Ends the rest of the reader, or its next one.
    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        self.call();
    }

    /// Whether this rest ends at once.
    fn is_interrupted(&self) -> bool {
        self.is_interrupted.swap(false, Ordering::Relaxed)
    }

    /// This thread sleeps from now on, until it is called.
    pub(crate) fn fall_asleep(&self) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }
}

/// Returns nanoseconds, of which 64 bits last for 584 years.
fn since(epoch: Instant, time: Instant) -> u64 {
    let time = time.saturating_duration_since(epoch);
    time.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests;
