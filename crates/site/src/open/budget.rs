//! The memory that bodies may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of bodies that the whole process may keep in memory. Clones share one account.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicU64>,
    per_file: u64,
}

impl Budget {
    /// A budget of `total` bytes of which no file may take more than `per_file`.
    #[must_use]
    pub fn new(total: u64, per_file: u64) -> Budget {
        Budget { left: Arc::new(AtomicU64::new(total)), per_file }
    }

    /// Bytes that are not taken.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Returns whether one file may ever take that many of them.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        bytes <= self.per_file
    }

    /// Takes `bytes`, or nothing.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        if !self.allows(bytes) {
            return None;
        }
        // Only the sum matters, not what else was written when: relaxed is enough.
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.is_ok().then(|| Reservation { left: Arc::clone(&self.left), bytes })
    }
}

/// Bytes taken from a budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    left: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
