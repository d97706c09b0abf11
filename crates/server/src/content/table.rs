//! A place for each file of a snapshot.

use std::io;
use std::sync::Arc;

use sitar_site::Representation;

use crate::snapshot::{FileKey, Snapshot};

pub(super) enum Slot {
    Absent,
    Pending,
    Ready { loaded: Arc<Representation>, used: bool },
    Failed(io::ErrorKind),
}

/// A place for each file of each host of a snapshot. Made away from the shard that uses it: a large
/// one takes time.
pub(crate) struct Table {
    /// The files of one host after those of another.
    pub(super) slots: Vec<Slot>,
    /// The index of each host's first file, and behind the last one their end.
    starts: Vec<usize>,
}

impl Table {
    /// A table for the files of a snapshot, of which some are loaded.
    pub(crate) fn new(of: &Snapshot, loaded: &[(FileKey, Arc<Representation>)]) -> Table {
        let mut starts = vec![0];
        let mut end = 0;
        for (_, host) in of.hosts.iter() {
            end += host.site.files();
            starts.push(end);
        }
        let mut table = Table { slots: (0..end).map(|_| Slot::Absent).collect(), starts };
        for (file, loaded) in loaded {
            if let Some(slot) = table.slot(*file) {
                *slot = Slot::Ready { loaded: Arc::clone(loaded), used: false };
            }
        }
        table
    }

    /// Returns the place of a file; `None` for one of another snapshot.
    #[inline]
    pub(super) fn slot(&mut self, file: FileKey) -> Option<&mut Slot> {
        let at = self.place(file)?;
        self.slots.get_mut(at)
    }

    #[inline]
    fn place(&self, file: FileKey) -> Option<usize> {
        let host = file.host.index();
        let (start, end) = (*self.starts.get(host)?, *self.starts.get(host + 1)?);
        Some(start + file.file.index()).filter(|place| *place < end)
    }

    #[cfg(test)]
    pub(crate) fn loaded(&self, file: FileKey) -> Option<&Representation> {
        match self.slots.get(self.place(file)?)? {
            Slot::Ready { loaded, .. } => Some(loaded),
            _ => None,
        }
    }
}
