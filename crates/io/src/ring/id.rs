//! Names of operations, as programs hold them.

use crate::event::Busy;
use crate::table::EntryId;

/// Names one operation in flight: an index and the generation it was filled in. A stale id is inert.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct OpId {
    index: u32,
    generation: u64,
}

impl OpId {
    /// Returns the entry of the op table that it names.
    pub(super) fn entry(self) -> EntryId {
        EntryId::new(self.index, self.generation)
    }
}

impl<B> super::core::Inner<B> {
    /// Names an operation that was queued, or refuses with what was handed over.
    pub(super) fn name<T>(&self, queued: Result<EntryId, T>) -> Result<OpId, Busy<T>> {
        queued.map(|entry| OpId { index: entry.index(), generation: entry.generation() }).map_err(Busy)
    }
}
