//! Names of operations, as programs hold them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::EntryId;

/// The number of the next ring of this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Returns a number that no other ring of this process has.
pub(super) fn ring_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Names one operation in flight of one ring: the ring's number, an index and the generation it was
/// filled in. A stale id is inert, and so is one of another ring.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct OpId {
    ring: u64,
    index: u32,
    generation: u64,
}

impl OpId {
    /// Names an entry of the op table of the ring with this number.
    pub(super) fn new(ring: u64, entry: EntryId) -> OpId {
        OpId { ring, index: entry.index(), generation: entry.generation() }
    }

    /// Returns the entry of the op table of the ring with this number, `None` when it is another
    /// ring's.
    pub(super) fn entry(self, ring: u64) -> Option<EntryId> {
        (self.ring == ring).then(|| EntryId::new(self.index, self.generation))
    }
}
