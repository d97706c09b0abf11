//! Names of operations, as programs hold them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Busy;
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

impl<E> super::inner::Inner<E> {
    /// Returns the entry of this ring's op table that `id` names, `None` when it names one of
    /// another ring's.
    pub(super) fn entry(&self, id: OpId) -> Option<EntryId> {
        (id.ring == self.number).then(|| EntryId::new(id.index, id.generation))
    }

    /// Names an operation that was queued, or refuses with what was handed over.
    pub(super) fn name<T>(&self, queued: Result<EntryId, T>) -> Result<OpId, Busy<T>> {
        queued
            .map(|entry| OpId { ring: self.number, index: entry.index(), generation: entry.generation() })
            .map_err(Busy)
    }
}
