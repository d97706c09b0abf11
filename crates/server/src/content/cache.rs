//! A shard's table of loaded files, and the connections that wait for files.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use sitar_io::Key;
use sitar_site::Representation;

use super::inbox::{Arrival, Extent};
use super::loader::{Loader, Wanted};
use super::table::{Second, Slot, Table};
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
    /// Bytes that there was no room for since the last pass over the files.
    shortage: usize,
    /// The time of the last pass.
    passed: Option<Second>,
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
            shortage: 0,
            passed: None,
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
        // What has been taken over counts as unused, and there is time to use it before a pass.
        self.passed = Some(Second::of(self.loader.now()));
        self.open.clear();
        let table = std::mem::replace(&mut self.table, table);
        self.loader.retire(old, table);
        self.waiting.drain(..).map(|(_, key)| key).collect()
    }

    /// Returns the file if as much of it is loaded as is needed; else asks for it, and the
    /// connection with `key` gets an event when it has come. `wanted` says what is needed, by what
    /// is known of the file; it is not called for one that is all there.
    ///
    /// A body that memory had no room for is sent from its file, and is asked for again after a
    /// pause, while that goes on.
    pub(crate) fn get(
        &mut self,
        file: FileKey,
        key: Key,
        wanted: impl FnOnce(Option<&Representation>) -> Wanted,
    ) -> Lookup<'_> {
        let Some(slot) = self.table.slot(file) else {
            return Lookup::Failed(io::ErrorKind::NotFound);
        };
        // A file that is sent from the disk and has been written to would be sent as a mixture.
        let is_over =
            |loaded: &Representation| loaded.is_stale() || loaded.is_makeshift(|| self.loader.now());
        if slot.loaded().is_some_and(|(loaded, _)| is_over(loaded)) {
            slot.vacate();
        }
        match slot {
            Slot::Ready { loaded, used } => {
                *used = true;
                return Lookup::Ready(loaded);
            }
            Slot::Failed(kind) => return Lookup::Failed(*kind),
            Slot::Described { loaded, used, is_asked, displaced } => {
                *used = true;
                if wanted(Some(loaded)) != Wanted::Body {
                    return Lookup::Ready(loaded);
                }
                let is_due = displaced.is_none_or(|since| since.is_over(self.loader.now()));
                if !*is_asked && is_due {
                    *is_asked = self.loader.ask(self.snapshot, file, self.shard, Wanted::Body);
                }
                if displaced.is_some() || !*is_asked {
                    return Lookup::Ready(loaded);
                }
            }
            Slot::Absent => {
                if !self.loader.ask(self.snapshot, file, self.shard, wanted(None)) {
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
    pub(crate) fn arrived(&mut self, file: FileKey, result: Result<Arrival, io::ErrorKind>) {
        let Some(slot) = self.table.slot(file) else { return };
        let is_open = matches!(&result, Ok(arrival) if arrival.loaded.is_open());
        *slot = match result {
            Ok(Arrival { loaded, extent: Extent::Whole }) => Slot::Ready { loaded, used: true },
            Ok(Arrival { loaded, extent }) => {
                let displaced = (extent == Extent::Displaced).then(|| Second::of(self.loader.now()));
                Slot::Described { loaded, used: true, is_asked: false, displaced }
            }
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
        match self.table.slot(file) {
            // What is known of it stays true.
            Some(Slot::Described { is_asked, .. }) => *is_asked = false,
            Some(slot) => *slot = Slot::Absent,
            None => {}
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
            let Some((loaded, used)) = slot.loaded() else { continue };
            if !loaded.is_open() {
                continue;
            }
            if file == kept || std::mem::take(used) {
                self.open.push_back(file);
            } else {
                slot.vacate();
            }
        }
    }

    /// The next connection that waits for `file`.
    pub(crate) fn next_waiting(&mut self, file: FileKey) -> Option<Key> {
        let at = self.waiting.iter().position(|(wanted, _)| *wanted == file)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// All connections that waited have been resumed. A failure is not kept: the next request tries
    /// again.
    pub(crate) fn settled(&mut self, file: FileKey) {
        if let Some(slot @ Slot::Failed(_)) = self.table.slot(file) {
            *slot = Slot::Absent;
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

    /// Notes that there is no room for `bytes`, and lets go of as many that have not been used
    /// since the last pass (clock algorithm). There is at most one pass in each
    /// [`PAUSE`](super::table::PAUSE), and it goes around once: what is used in between stays,
    /// however much is wanted besides.
    pub(crate) fn evict(&mut self, bytes: usize) {
        self.shortage = self.shortage.saturating_add(bytes);
        let now = self.loader.now();
        if self.passed.is_some_and(|last| !last.is_over(now)) {
            return;
        }
        self.passed = Some(Second::of(now));
        let (wanted, mut freed) = (std::mem::take(&mut self.shortage), 0);
        for _ in 0..self.table.slots.len() {
            if freed >= wanted {
                return;
            }
            self.hand = (self.hand + 1) % self.table.slots.len();
            let slot = &mut self.table.slots[self.hand];
            let Some((loaded, used)) = slot.loaded() else { continue };
            if !std::mem::take(used) {
                freed += loaded.resident_bytes();
                slot.vacate();
            }
        }
    }
}

#[cfg(test)]
mod tests;
