//! A place for each file of a site.

use std::io;
use std::sync::Arc;

use sitar_site::{FileId, Representation};

pub(super) enum Slot {
    Absent,
    Pending,
    Ready { loaded: Arc<Representation>, used: bool },
    Failed(io::ErrorKind),
}

/// A place for each file of one site. Made away from the shard that uses it: a large one takes
/// time.
pub(crate) struct Table {
    pub(super) slots: Vec<Slot>,
}

impl Table {
    /// A table for `files` files of which some are loaded.
    pub(crate) fn new(files: usize, loaded: &[(FileId, Arc<Representation>)]) -> Table {
        let mut slots: Vec<_> = (0..files).map(|_| Slot::Absent).collect();
        for (file, loaded) in loaded {
            if let Some(slot) = slots.get_mut(file.index()) {
                *slot = Slot::Ready { loaded: Arc::clone(loaded), used: false };
            }
        }
        Table { slots }
    }

    #[cfg(test)]
    pub(crate) fn loaded(&self, file: FileId) -> Option<&Representation> {
        match self.slots.get(file.index())? {
            Slot::Ready { loaded, .. } => Some(loaded),
            _ => None,
        }
    }
}
