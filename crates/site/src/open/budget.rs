//! The memory and the open files that bodies may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The bytes of bodies that the whole process may keep in memory, and the files that it may keep
/// open because their bodies are not. Clones share one account.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicU64>,
    per_file: u64,
    files_left: Arc<AtomicUsize>,
    /// Bytes for listings that the rest has no room for.
    listings_left: Arc<AtomicU64>,
}

impl Budget {
    /// A budget of `total` bytes of which no file may take more than `per_file`, and of as many
    /// open files as the kernel allows.
    #[must_use]
    pub fn new(total: u64, per_file: u64) -> Budget {
        let files_left = Arc::new(AtomicUsize::new(usize::MAX));
        let listings_left = Arc::new(AtomicU64::new(LISTINGS_BYTES));
        Budget { left: Arc::new(AtomicU64::new(total)), per_file, files_left, listings_left }
    }

    /// The same budget of bytes with at most `files` open files. A site that is one archive or part
    /// of the program opens none.
    #[must_use]
    pub fn with_files(self, files: usize) -> Budget {
        Budget { files_left: Arc::new(AtomicUsize::new(files)), ..self }
    }

    /// Files that may still be opened.
    #[must_use]
    pub fn files_left(&self) -> usize {
        self.files_left.load(Ordering::Relaxed)
    }

    /// Takes the place of an open file, if there is one.
    pub(crate) fn take_file(&self) -> Option<FilePlace> {
        let left = &self.files_left;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok().then(|| FilePlace { left: Arc::clone(left) })
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

    /// Returns whether one file could take that many of them now.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.allows(bytes) && bytes <= self.left()
    }

    /// Takes `bytes`, or nothing.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        if !self.allows(bytes) {
            return None;
        }
        Reservation::of(&self.left, bytes)
    }

    /// Takes `bytes` for a listing: where there is no room, of those that are kept for listings,
    /// which unlike files cannot be sent from anywhere else.
    pub(crate) fn reserve_for_listing(&self, bytes: u64) -> Option<Reservation> {
        self.reserve(bytes).or_else(|| Reservation::of(&self.listings_left, bytes))
    }
}

/// Bytes taken from a budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    left: Arc<AtomicU64>,
    bytes: u64,
}

impl Reservation {
    fn of(account: &Arc<AtomicU64>, bytes: u64) -> Option<Reservation> {
        // Only the sum matters, not what else was written when: relaxed is enough.
        let taken =
            account.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.is_ok().then(|| Reservation { left: Arc::clone(account), bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// The place of an open file in a budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct FilePlace {
    left: Arc<AtomicUsize>,
}

impl Drop for FilePlace {
    fn drop(&mut self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes of listings beyond the budget: room for the longest one, and a little.
const LISTINGS_BYTES: u64 = 40 << 20;
