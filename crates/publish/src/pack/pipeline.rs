//! The threads that read, hash and encode files, and the queue between them and the writer.

use super::encode::{CODINGS, Each, Level, SIZE_MAX, Worth, encode, worth};
use super::reuse::Earlier;
use super::sift::original_of;
use super::write::{PackError, PackFault};
use sitar_site::Rules;
use sitar_site::raw::{ArchiveFile, Hash, NAME_MAX, RULE_FILES, Root, sha256, sidecar};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Reads and encodes files ahead of the writer.
pub(super) struct Pipeline<'p> {
    root: &'p Root,
    names: &'p [Box<[u8]>],
    rules: &'p Rules,
    earlier: Option<Earlier<ArchiveFile>>,
    level: Level,
    queue: Mutex<Queue>,
    moved: Condvar,
}

/// The files between the threads and the writer.
#[derive(Default)]
struct Queue {
    /// The next file to be worked on.
    next: usize,
    /// The next file to be written.
    wanted: usize,
    /// Bytes that were made and are not written yet.
    bytes: usize,
    ready: HashMap<usize, Result<Prepared, PackError>>,
    stopped: bool,
}

/// A file, ready for the writer.
pub(super) enum Prepared {
    Whole {
        content: Vec<u8>,
        mtime: u64,
        hash: Hash,
        tried: Each<bool>,
        encodings: Each<Option<Vec<u8>>>,
        reused: bool,
    },
    /// Too large to be held; the writer reads it, and gives it no earlier time than this.
    Large { not_before: u64 },
}

impl Prepared {
    fn bytes(&self) -> usize {
        match self {
            Prepared::Whole { content, encodings, .. } => {
                content.len() + encodings.iter().flatten().map(Vec::len).sum::<usize>()
            }
            Prepared::Large { .. } => 0,
        }
    }
}

impl<'p> Pipeline<'p> {
    pub(super) fn new(
        root: &'p Root,
        names: &'p [Box<[u8]>],
        rules: &'p Rules,
        earlier: Option<Earlier<ArchiveFile>>,
        level: Level,
    ) -> Pipeline<'p> {
        Pipeline { root, names, rules, earlier, level, queue: Mutex::default(), moved: Condvar::new() }
    }
}

impl Pipeline<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent at any time, so the panic of another thread does no harm.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until there is nothing left.
    pub(super) fn work(&self) {
        while let Some(at) = self.claim() {
            let name = &self.names[at];
            // An encoder that panics must not leave the writer waiting.
            let made = catch_unwind(AssertUnwindSafe(|| self.make(name)))
                .unwrap_or_else(|_| Err(PackError::of(name)(PackFault::Panicked)));
            let mut queue = self.lock();
            queue.bytes += made.as_ref().map_or(0, Prepared::bytes);
            queue.ready.insert(at, made);
            drop(queue);
            self.moved.notify_all();
        }
    }

    /// Claims the next file, once there is room for it.
    fn claim(&self) -> Option<usize> {
        let mut queue = self.lock();
        loop {
            let at = queue.next;
            if queue.stopped || at >= self.names.len() {
                return None;
            }
            // The file that the writer waits for is always worked on.
            if at == queue.wanted || (at < queue.wanted + AHEAD_FILES && queue.bytes < AHEAD_BYTES) {
                queue.next += 1;
                return Some(at);
            }
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for a file.
    pub(super) fn next(&self, at: usize) -> Result<Prepared, PackError> {
        let mut queue = self.lock();
        queue.wanted = at;
        self.moved.notify_all();
        loop {
            if let Some(made) = queue.ready.remove(&at) {
                queue.bytes -= made.as_ref().map_or(0, Prepared::bytes);
                return made;
            }
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(&self, name: &[u8]) -> Result<Prepared, PackError> {
        let fault = PackError::of(name);
        let read = |error| fault(PackFault::Read(error));
        let file = self.root.open_file(name).map_err(read)?;
        let size = file.size();
        // What a rule says is encoded already is sent as it is.
        let is_stored = self.rules.stored_coding(name).is_some();
        let worth = if is_stored || RULE_FILES.contains(&name) { Worth::No } else { worth(name) };
        if size > if worth == Worth::No { WHOLE_MAX } else { SIZE_MAX } {
            return Ok(Prepared::Large { not_before: self.not_before(name) });
        }
        // Within SIZE_MAX.
        let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut content, 0).map_err(read)?;
        if !file.is_unchanged().map_err(read)? {
            return Err(fault(PackFault::Changed));
        }
        let hash = sha256(&content);
        let mtime = file.modified().unwrap_or(0).max(self.not_before(name));
        let tried = if worth == Worth::No { [false; 3] } else { self.free(name) };
        let mut encodings = [None, None, None];
        let mut reused = false;
        if tried != [false; 3] {
            let earlier =
                self.earlier.as_ref().and_then(|pack| pack.encodings(&content, (hash, worth), tried));
            reused = earlier.as_ref().is_some_and(|earlier| earlier.iter().any(Option::is_some));
            encodings = earlier.unwrap_or_else(|| encode(&content, worth, self.level));
            for (encoding, tried) in encodings.iter_mut().zip(tried) {
                if !tried {
                    *encoding = None;
                }
            }
        }
        Ok(Prepared::Whole { content, mtime, hash, tried, encodings, reused })
    }

    /// Returns the time of the file that a sidecar lies beside. The sidecar must be no older where
    /// times are all that is known, as when the pack is unpacked or served as a plain tar.
    fn not_before(&self, name: &[u8]) -> u64 {
        let mut latest = 0;
        let mut name = name;
        while let Some((original, _)) = sidecar(name)
            && original_of(self.names, original).is_some()
        {
            latest = latest.max(self.root.modified(original).unwrap_or(0));
            name = original;
        }
        latest
    }

    /// Returns for which codings a sidecar's name is free: no file or folder of the site has it,
    /// and it has no sidecars itself, which would be those of another content.
    fn free(&self, name: &[u8]) -> Each<bool> {
        CODINGS.map(|(_, suffix)| {
            let sidecar = [name, suffix].concat();
            let folder = [&sidecar[..], b"/"].concat();
            let at = self.names.partition_point(|name| **name < *folder);
            sidecar.len() <= NAME_MAX
                && self.names.binary_search_by(|name| (**name).cmp(&sidecar)).is_err()
                && CODINGS.iter().all(|(_, suffix)| {
                    let second = [&sidecar[..], suffix].concat();
                    self.names.binary_search_by(|name| (**name).cmp(&second)).is_err()
                })
                && !self.names.get(at).is_some_and(|name| name.starts_with(&folder))
        })
    }
}

/// Ends the threads when it is dropped.
pub(super) struct Stop<'p, 'q>(pub(super) &'q Pipeline<'p>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.moved.notify_all();
    }
}

/// Files that the threads may be ahead of the writer.
const AHEAD_FILES: usize = 512;
/// Bytes that may wait for the writer before the threads pause; each may add what it has in hand.
const AHEAD_BYTES: usize = 128 << 20;
/// Bytes above which a file that is not encoded is copied in pieces.
const WHOLE_MAX: u64 = 4 << 20;
