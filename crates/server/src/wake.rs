//! Wakes a thread that waits for shards, which share nothing else: no lock and no system call while
//! that does not sleep.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};

/// What shards and a thread that waits for them share: the reader beside its queues, or the one
/// that tells of [refusals](crate::Refusals).
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// The reader sleeps until it is called.
    pub(crate) is_asleep: AtomicBool,
    /// The next rest of the reader ends at once.
    is_interrupted: AtomicBool,
    reader: Mutex<Option<Thread>>,
}

impl Wake {
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
    pub(crate) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        self.call();
    }

    /// Whether this rest ends at once.
    pub(crate) fn is_interrupted(&self) -> bool {
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
