//! A shard's table of loaded files, and the connections that wait for files.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use sitar_io::Key;
use sitar_site::Representation;

use super::loader::Loader;
use super::table::{Slot, Table};
use crate::snapshot::{FileKey, Snapshot};

/// The files that one shard has loaded of the snapshot that it serves from.
pub(crate) struct Cache {
    /// The number of the snapshot that the file keys here belong to.
    snapshot: u64,
    table: Table,
    /// Files that hold a descriptor of their own, oldest first; some may be gone from their slots.
    open: VecDeque<FileKey>,
    open_max: usize,
    waiting: Vec<(FileKey, Key)>,
    /// The place where the search for a file to drop goes on.
    hand: usize,
    loader: Loader,
    shard: usize,
}

/// The answer of a [`Cache`].
pub(crate) enum Lookup<'c> {
    Ready(&'c Representation),
    /// It has been asked for; the connection gets an event when it is there.
    Later,
    Failed(io::ErrorKind),
}

impl Cache {
    /// Creates a table for the files of `of`, of which none is loaded; `open_max`: files kept open
    /// because they are too large for memory.
    pub(crate) fn new(of: &Snapshot, open_max: usize, loader: Loader, shard: usize) -> Cache {
        Cache {
            snapshot: of.number,
            table: Table::new(of, &[]),
            open: VecDeque::with_capacity(open_max + 1),
            open_max,
            waiting: Vec::new(),
            hand: 0,
            loader,
            shard,
        }
    }

    /// Returns the number of the snapshot whose files are here.
    pub(crate) fn snapshot(&self) -> u64 {
        self.snapshot
    }

    /// Takes over the table of another snapshot; `old` is the one until now. Returns the
    /// connections that waited for a file of it: they are to ask again.
    pub(crate) fn renew(&mut self, snapshot: u64, table: Table, old: Arc<Snapshot>) -> Vec<Key> {
        self.snapshot = snapshot;
        self.hand = 0;
        self.open.clear();
        let table = std::mem::replace(&mut self.table, table);
        self.loader.retire(old, table);
        self.waiting.drain(..).map(|(_, key)| key).collect()
    }

    /// Returns the file if it is loaded; else asks for it, and the connection with `key` gets an
    /// event when it has come.
    pub(crate) fn get(&mut self, file: FileKey, key: Key) -> Lookup<'_> {
        let Some(slot) = self.table.slot(file) else {
            return Lookup::Failed(io::ErrorKind::NotFound);
        };
        // A file that is sent from the disk and has been written to would be sent as a mixture.
        let is_over =
            |loaded: &Representation| loaded.is_stale() || loaded.is_makeshift(|| self.loader.now());
        if matches!(slot, Slot::Ready { loaded, .. } if is_over(loaded)) {
            *slot = Slot::Absent;
        }
        match slot {
            Slot::Ready { loaded, used } => {
                *used = true;
                return Lookup::Ready(loaded);
            }
            Slot::Failed(kind) => return Lookup::Failed(*kind),
            Slot::Absent => {
                if !self.loader.ask(self.snapshot, file, self.shard) {
                    return Lookup::Failed(io::ErrorKind::Other);
                }
                *slot = Slot::Pending;
            }
            Slot::Pending => {}
        }
        if !self.waiting.contains(&(file, key)) {
            self.waiting.push((file, key));
        }
        Lookup::Later
    }

    /// Takes a file that has come, or the reason why it has not. Connections that wait for it
    /// ([`next_waiting`](Cache::next_waiting)) are to be resumed, then [`settled`](Cache::settled).
    pub(crate) fn arrived(&mut self, file: FileKey, result: Result<Arc<Representation>, io::ErrorKind>) {
        let Some(slot) = self.table.slot(file) else { return };
        let is_open = matches!(&result, Ok(loaded) if loaded.is_open());
        *slot = match result {
            Ok(loaded) => Slot::Ready { loaded, used: true },
            Err(kind) => Slot::Failed(kind),
        };
        if is_open {
            // Once each, or a file that is loaded again and again would fill the list.
            self.open.retain(|other| *other != file);
            self.open.push_back(file);
            self.close_some(file);
        }
    }

    /// The file could not be opened now. Connections that wait for it are to ask again.
    pub(crate) fn put_off(&mut self, file: FileKey) {
        if let Some(slot) = self.table.slot(file) {
            *slot = Slot::Absent;
        }
    }

    /// Closes files that hold a descriptor until there are few enough, the least recently used ones
    /// first, but not `kept`, which is waited for.
    fn close_some(&mut self, kept: FileKey) {
        // Twice around at most: the first pass may only find that everything has been used.
        for _ in 0..self.open.len() * 2 {
            if self.open.len() <= self.open_max {
                return;
            }
            let Some(file) = self.open.pop_front() else { return };
            let Some(slot) = self.table.slot(file) else { continue };
            let Slot::Ready { loaded, used } = slot else { continue };
            if !loaded.is_open() {
                continue;
            }
            if file == kept || std::mem::take(used) {
                self.open.push_back(file);
            } else {
                *slot = Slot::Absent;
            }
        }
    }

    /// The next connection that waits for `file`.
    pub(crate) fn next_waiting(&mut self, file: FileKey) -> Option<Key> {
        let at = self.waiting.iter().position(|(wanted, _)| *wanted == file)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// All connections that waited have been resumed. A failure is not kept, nor what had to do
    /// without memory: the next request tries again.
    pub(crate) fn settled(&mut self, file: FileKey, displaced: bool) {
        match self.table.slot(file) {
            Some(slot @ Slot::Failed(_)) => *slot = Slot::Absent,
            Some(slot @ Slot::Ready { .. }) if displaced => *slot = Slot::Absent,
            _ => {}
        }
    }

    /// Gives memory back that was needed at a peak; the helper thread does it for the whole heap.
    pub(crate) fn trim(&mut self) {
        self.waiting.shrink_to_fit();
        self.loader.trim();
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, key: Key) {
        self.waiting.retain(|(_, waiting)| *waiting != key);
    }

    /// Lets go of about `bytes`, what has not been used for longest first (clock algorithm).
    pub(crate) fn evict(&mut self, bytes: usize) {
        let mut freed = 0;
        // Twice around at most: the first pass may only find that everything has been used.
        for _ in 0..self.table.slots.len() * 2 {
            if freed >= bytes {
                return;
            }
            self.hand = (self.hand + 1) % self.table.slots.len();
            let slot = &mut self.table.slots[self.hand];
            match slot {
                Slot::Ready { used, .. } if *used => *used = false,
                Slot::Ready { loaded, .. } => {
                    freed += loaded.resident_bytes();
                    *slot = Slot::Absent;
                }
                Slot::Absent | Slot::Pending | Slot::Failed(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
