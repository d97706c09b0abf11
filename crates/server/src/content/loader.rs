//! Loading representations away from the shards, and giving the shards another snapshot.
//!
//! Reading and hashing a file may block, so one helper thread does it for all shards; a file that
//! several of them want is loaded once and shared. A shard looks into its own table only
//! ([`Cache`](super::cache::Cache)): no lock and no shared counter on the path of a request.
//!
//! Snapshots are numbered. File keys belong to one snapshot, and so does everything that speaks of
//! files: tables, jobs and messages. A change goes through the helper thread: what it is asked for
//! after that belongs to the new snapshot or is dropped, and a shard that takes it over asks again
//! for the files that its connections wait for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use sitar_io::Errno;
use sitar_site::{Budget, Representation};

use super::inbox::{Inbox, Message};
use super::table::Table;
use crate::clock::Clock;
use crate::report::{Incident, Report};
use crate::snapshot::{ChangeError, FileKey, LatestSnapshot, Snapshot};

enum Job {
    Load {
        snapshot: u64,
        file: FileKey,
        shard: usize,
    },
    /// Say what is loaded of the latest snapshot.
    Inventory(Sender<Inventory>),
    /// Another snapshot, and what is loaded of it already.
    Swap(Box<Snapshot>, Loaded),
    /// A snapshot and a table that a shard has no use for any more: dropping large ones takes time,
    /// which shards have not.
    Retire(Arc<Snapshot>, Table),
    /// Give the heap's free memory back to the system.
    Trim,
}

/// Representations and where they belong.
type Loaded = Vec<(FileKey, Arc<Representation>)>;

struct Inventory {
    snapshot: Arc<Snapshot>,
    loaded: Loaded,
}

/// Unreadable files that are reported for one snapshot, at most. There would be one for each
/// request otherwise.
const UNREADABLE_MAX: usize = 20;

/// Asks the helper thread for files. The thread ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Loader {
    jobs: Sender<Job>,
    clock: Clock,
}

impl Loader {
    /// Starts the helper thread.
    pub(crate) fn start(
        latest: LatestSnapshot,
        budget: Budget,
        inboxes: Vec<Inbox>,
        clock: Clock,
        report: Report,
    ) -> io::Result<Loader> {
        let (loader, mut loader_worker) = Loader::new(latest, budget, inboxes, clock, report);
        thread::Builder::new().name("sitar-load".into()).spawn(move || {
            while let Ok(job) = loader_worker.queue.recv() {
                loader_worker.work(job);
            }
        })?;
        Ok(loader)
    }

    /// Makes a loader without a thread: the caller lets the worker work.
    pub(crate) fn new(
        latest: LatestSnapshot,
        budget: Budget,
        inboxes: Vec<Inbox>,
        clock: Clock,
        report: Report,
    ) -> (Loader, LoaderWorker) {
        let (jobs, queue) = channel();
        let (current, known, unreadable) = (latest.get(), HashMap::new(), HashSet::new());
        let loader_worker =
            LoaderWorker { queue, latest, current, budget, inboxes, known, clock, report, unreadable };
        (Loader { jobs, clock: Arc::clone(&loader_worker.clock) }, loader_worker)
    }

    /// Returns the time by the clock that files are loaded with.
    pub(crate) fn now(&self) -> std::time::SystemTime {
        (self.clock)()
    }

    /// Asks for a file; `false`: the thread is gone.
    pub(crate) fn ask(&self, snapshot: u64, file: FileKey, shard: usize) -> bool {
        self.jobs.send(Job::Load { snapshot, file, shard }).is_ok()
    }

    /// Puts another snapshot into service, which `change` makes out of the latest one. Files of
    /// that one that are loaded and unchanged are taken over. They are found on this thread, so
    /// that loading goes on meanwhile. Only one thread may do this at a time.
    ///
    /// # Errors
    /// The change is not possible, or the helper thread is gone.
    pub(crate) fn swap(&self, change: impl FnOnce(&mut Snapshot)) -> Result<(), ChangeError> {
        let (tell, told) = channel();
        self.jobs.send(Job::Inventory(tell)).map_err(|_| ChangeError::Ended)?;
        let Inventory { snapshot: older, loaded } = told.recv().map_err(|_| ChangeError::Ended)?;
        let mut next = (*older).clone();
        change(&mut next);
        let next = next.after(&older)?;
        let kept = inherited(&next, &older, loaded, (self.clock)());
        self.swap_to(next, kept)
    }

    /// Puts `next` into service, of which `kept` is loaded already.
    pub(crate) fn swap_to(&self, next: Snapshot, kept: Loaded) -> Result<(), ChangeError> {
        self.jobs.send(Job::Swap(Box::new(next), kept)).map_err(|_| ChangeError::Ended)
    }

    pub(crate) fn retire(&self, snapshot: Arc<Snapshot>, table: Table) {
        // Without the thread they are dropped here.
        let _ = self.jobs.send(Job::Retire(snapshot, table));
    }

    /// Has the heap's free memory given back to the system.
    pub(crate) fn trim(&self) {
        // Without the thread it stays.
        let _ = self.jobs.send(Job::Trim);
    }
}

/// The helper thread's side: it does the loading.
pub(crate) struct LoaderWorker {
    queue: Receiver<Job>,
    latest: LatestSnapshot,
    /// The value of `latest`, which only this thread changes.
    current: Arc<Snapshot>,
    budget: Budget,
    inboxes: Vec<Inbox>,
    /// Weak: only the shards' tables keep a body in memory. Of the current snapshot.
    known: HashMap<FileKey, Weak<Representation>>,
    clock: Clock,
    report: Report,
    /// Files of the current snapshot that have been reported.
    unreadable: HashSet<FileKey>,
}

impl LoaderWorker {
    /// Does one job if there is one.
    #[cfg(test)]
    pub(crate) fn work_once(&mut self) -> bool {
        let Ok(job) = self.queue.try_recv() else { return false };
        self.work(job);
        true
    }

    #[cfg(test)]
    pub(crate) fn inventory(&self) -> (Arc<Snapshot>, Loaded) {
        (Arc::clone(&self.current), self.loaded())
    }

    fn work(&mut self, job: Job) {
        match job {
            // Of an older snapshot: a new table is on its way to the shard, which will ask again.
            Job::Load { snapshot, .. } if snapshot != self.current.number => {}
            Job::Load { file, shard, .. } => self.load(file, shard),
            Job::Inventory(tell) => {
                let inventory = Inventory { snapshot: Arc::clone(&self.current), loaded: self.loaded() };
                // The asker is gone: nothing is to be done.
                let _ = tell.send(inventory);
            }
            Job::Swap(next, kept) => self.swap(*next, &kept),
            Job::Retire(snapshot, table) => drop((snapshot, table)),
            Job::Trim => sitar_io::trim_heap(),
        }
    }

    /// Returns what a change may take over: nothing that holds a file open, since a shard counts
    /// those as they arrive, nor what is sent from its file only until there is room in memory.
    fn loaded(&self) -> Loaded {
        let known = self.known.iter().filter_map(|(file, known)| Some((*file, known.upgrade()?)));
        known.filter(|(_, known)| !known.is_open() && known.displaced(&self.budget).is_none()).collect()
    }

    fn swap(&mut self, mut next: Snapshot, kept: &Loaded) {
        self.known = kept.iter().map(|(file, loaded)| (*file, Arc::downgrade(loaded))).collect();
        next.number = self.current.number + 1;
        let last = std::mem::replace(&mut self.current, Arc::new(next));
        self.unreadable.clear();
        for host in self.current.hosts.taking_over(&last.hosts) {
            if let Some(site) = self.current.site(host) {
                site.take_over((self.clock)());
            }
        }
        // Before the messages: a shard that is just being started finds it here or there.
        self.latest.set(&self.current);
        for inbox in &self.inboxes {
            inbox.post(Message::Swap(Arc::clone(&self.current), Table::new(&self.current, kept)));
        }
    }

    fn load(&mut self, file: FileKey, shard: usize) {
        let is_over = |known: &Representation| known.is_stale() || known.is_makeshift(|| (self.clock)());
        let known = self.known.get(&file).and_then(Weak::upgrade).filter(|known| !is_over(known));
        let result = match known {
            Some(loaded) => Ok(loaded),
            None => self.read(file),
        };
        let mut displaced = false;
        if let Ok(loaded) = &result {
            self.known.insert(file, Arc::downgrade(loaded));
            if let Some(bytes) = loaded.displaced(&self.budget) {
                // For now it is read from the file; the next time there should be room.
                displaced = true;
                for inbox in &self.inboxes {
                    inbox.post(Message::Evict(usize::try_from(bytes).unwrap_or(usize::MAX)));
                }
            }
        }
        let snapshot = self.current.number;
        self.inboxes[shard].post(Message::Loaded { snapshot, file, result, displaced });
    }

    /// A panic while loading is a failure of this file, not the end of loading.
    fn read(&mut self, file: FileKey) -> Result<Arc<Representation>, io::ErrorKind> {
        let load = || match self.current.site(file.host) {
            Some(site) => site.load(file.file, &self.budget, (self.clock)()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let loaded = catch_unwind(AssertUnwindSafe(load));
        let error = match loaded {
            Ok(Ok(loaded)) => return Ok(Arc::new(loaded)),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("a bug of sitar's"),
        };
        match error.kind() {
            // A file that was there when the directory was looked at may go at any time. For one
            // that has no place among the open files now, the shard asks again.
            kind @ (io::ErrorKind::NotFound | io::ErrorKind::QuotaExceeded) => Err(kind),
            kind => {
                self.tell(file, &error);
                // Others than the files of answers took the descriptors, and may give them back.
                let is_full = matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE));
                Err(if is_full { io::ErrorKind::QuotaExceeded } else { kind })
            }
        }
    }

    fn tell(&mut self, file: FileKey, error: &io::Error) {
        let told = self.unreadable.len();
        if told < UNREADABLE_MAX && self.unreadable.insert(file) {
            let name =
                self.current.site(file.host).and_then(|site| site.name_of(file.file)).unwrap_or_default();
            let is_last = told + 1 == UNREADABLE_MAX;
            (self.report)(Incident::Unreadable { name, why: error.to_string(), is_last });
        }
    }
}

/// Returns the part of `loaded`, which is of `older`, that `next` has unchanged.
pub(crate) fn inherited(
    next: &Snapshot,
    older: &Snapshot,
    loaded: Loaded,
    now: std::time::SystemTime,
) -> Loaded {
    let mut by_host: HashMap<_, Vec<_>> = HashMap::new();
    for (key, representation) in loaded {
        by_host.entry(key.host).or_default().push((key.file, representation));
    }
    let mut kept = Loaded::new();
    // Dates say since when content is what it is under its name: only where one host was before.
    for (host, before) in next.hosts.successors(&older.hosts) {
        let (Some(site), Some(last)) = (next.site(host), older.site(before)) else { continue };
        let loaded = by_host.get(&before).cloned().unwrap_or_default();
        let files = if Arc::ptr_eq(site, last) { loaded } else { site.inherit(last, loaded, now) };
        kept.extend(files.into_iter().map(|(file, loaded)| (FileKey { host, file }, loaded)));
    }
    kept
}

#[cfg(test)]
mod tests;
