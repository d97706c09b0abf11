//! Loading representations away from the shards, and giving the shards another snapshot.
//!
//! Reading and hashing a file may block, so helper threads do it for all shards; a file that
//! several of them want is loaded once and shared. A shard looks into its own table only
//! ([`Cache`](super::cache::Cache)): no lock and no shared counter on the path of a request.
//!
//! One thread takes all jobs in turn and keeps the state of loading. Where a job has to read more
//! than [`LARGE_ABOVE`] bytes, it hands the job to a second thread and goes on with others, so a
//! small file never waits for a large one. A shard asks once for a file until an answer comes: jobs
//! are no more than files times shards.
//!
//! A request that needs nothing of the body gets the file [described](Site::describe): nothing is
//! kept of what is hashed for it, the budget does not know of it, and nothing is evicted for it.
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

use sitar_io::{Errno, usdt};
use sitar_site::{BodySize, Budget, OutdatedEncoding, Representation, Site};

pub(crate) use self::inherit::{Loaded, inherited};
use self::large::{LargeJob, LargeWorker};
use super::inbox::{Arrival, Extent, Inbox, Message};
use super::table::Table;
use crate::clock::Clock;
use crate::report::{Incident, Report};
use crate::snapshot::{ChangeError, FileKey, LatestSnapshot, Snapshot};

mod inherit;
mod large;

enum Job {
    Load {
        snapshot: u64,
        file: FileKey,
        asker: Asker,
        /// The way back from the other thread. It comes with the job, because a handle of its own
        /// would keep the thread waiting for itself for ever.
        back: Sender<Job>,
    },
    /// The other thread has done its part.
    Done { snapshot: u64, file: FileKey, result: io::Result<Arc<Representation>> },
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

/// The part of a file that a request needs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything but the body.
    Head,
    /// A condition may make the body unnecessary.
    Condition,
    Body,
}

/// A shard that has asked for a file.
#[derive(Copy, Clone)]
struct Asker {
    shard: usize,
    wanted: Wanted,
}

/// The way in which a file is loaded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Task {
    /// With its body in memory if there is room.
    Load,
    /// With its body in the file.
    Describe,
}

enum Plan {
    Known(Arc<Representation>),
    Read { task: Task, bytes: u64 },
}

struct Inventory {
    snapshot: Arc<Snapshot>,
    loaded: Loaded,
}

/// Unreadable files that are reported for one snapshot, at most. There would be one for each
/// request otherwise.
const UNREADABLE_MAX: usize = 20;
/// More bytes than these are read on the thread for large files: about a millisecond's work.
const LARGE_ABOVE: u64 = 1 << 20;
/// Bytes that are to be freed where a listing found no room.
const LISTING_ROOM: usize = 4 << 20;
/// A body of at most these bytes is loaded where its head would do: hashing it takes reading it.
const LOADED_WHOLE: u64 = 64 << 10;

/// Asks the helper threads for files. The threads end when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Loader {
    jobs: Sender<Job>,
    clock: Clock,
}

impl Loader {
    /// Starts the helper threads.
    pub(crate) fn start(
        latest: LatestSnapshot,
        budget: Budget,
        inboxes: Vec<Inbox>,
        clock: Clock,
        report: Report,
    ) -> io::Result<Loader> {
        let (loader, mut loader_worker) = Loader::new(latest, budget, inboxes, clock, report);
        if let Some(mut large) = loader_worker.large_worker.take() {
            thread::Builder::new().name("sitar-load-big".into()).spawn(move || large.run())?;
        }
        thread::Builder::new().name("sitar-load".into()).spawn(move || {
            while let Ok(job) = loader_worker.queue.recv() {
                loader_worker.work(job);
            }
        })?;
        Ok(loader)
    }

    /// Makes a loader without threads: the caller lets the worker work.
    pub(crate) fn new(
        latest: LatestSnapshot,
        budget: Budget,
        inboxes: Vec<Inbox>,
        clock: Clock,
        report: Report,
    ) -> (Loader, LoaderWorker) {
        let (jobs, queue) = channel();
        let loader = Loader { jobs, clock: Arc::clone(&clock) };
        let (large, large_queue) = channel();
        let reader = Reader { budget, clock };
        let large_worker = LargeWorker::new(large_queue, latest.clone(), reader.clone());
        let loader_worker = LoaderWorker {
            queue,
            large,
            large_worker: Some(large_worker),
            large_above: LARGE_ABOVE,
            current: latest.get(),
            latest,
            reader,
            inboxes,
            known: HashMap::new(),
            under_way: HashMap::new(),
            report,
            unreadable: HashSet::new(),
        };
        (loader, loader_worker)
    }

    /// Returns the time by the clock that files are loaded with.
    pub(crate) fn now(&self) -> std::time::SystemTime {
        (self.clock)()
    }

    /// Asks for a file; `false`: the thread is gone.
    pub(crate) fn ask(&self, snapshot: u64, file: FileKey, shard: usize, wanted: Wanted) -> bool {
        let asker = Asker { shard, wanted };
        self.jobs.send(Job::Load { snapshot, file, asker, back: self.jobs.clone() }).is_ok()
    }

    /// Puts another snapshot into service, which `change` makes out of the latest one. Files of
    /// that one that are loaded and unchanged are taken over. They are found on this thread, so
    /// that loading goes on meanwhile. Only one thread may do this at a time. Returns its number;
    /// shards have it soon.
    ///
    /// # Errors
    /// The change is not possible, or the helper thread is gone.
    pub(crate) fn swap(&self, change: impl FnOnce(&mut Snapshot)) -> Result<u64, ChangeError> {
        let (tell, told) = channel();
        self.jobs.send(Job::Inventory(tell)).map_err(|_| ChangeError::Ended)?;
        let Inventory { snapshot: older, loaded } = told.recv().map_err(|_| ChangeError::Ended)?;
        let mut next = (*older).clone();
        change(&mut next);
        let next = next.after(&older)?;
        let kept = inherited(&next, &older, loaded, (self.clock)());
        self.swap_to(next, kept)?;
        Ok(older.number + 1)
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

/// Reads files, on either thread.
#[derive(Clone)]
struct Reader {
    budget: Budget,
    clock: Clock,
}

impl Reader {
    fn read(&self, snapshot: &Snapshot, file: FileKey, task: Task) -> io::Result<Arc<Representation>> {
        let loaded = self.with(snapshot, file, |site| match task {
            Task::Load => site.load(file.file, &self.budget, (self.clock)()),
            Task::Describe => site.describe(file.file, &self.budget, (self.clock)()),
        });
        usdt::file_loaded(&|| probed(snapshot, file, &loaded));
        loaded.map(Arc::new)
    }

    fn size(&self, snapshot: &Snapshot, file: FileKey) -> io::Result<BodySize> {
        self.with(snapshot, file, |site| site.body_size(file.file, &self.budget))
    }

    /// A panic while loading is a failure of this file, not the end of loading.
    fn with<T>(
        &self,
        snapshot: &Snapshot,
        file: FileKey,
        load: impl FnOnce(&Site) -> io::Result<T>,
    ) -> io::Result<T> {
        let load = || load(snapshot.site(file.host).ok_or(io::ErrorKind::NotFound)?);
        match catch_unwind(AssertUnwindSafe(load)) {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("a bug of sitar's")),
        }
    }
}

/// The helper threads' side: it does the loading.
pub(crate) struct LoaderWorker {
    queue: Receiver<Job>,
    large: Sender<LargeJob>,
    /// The other thread's part, where there is no such thread.
    large_worker: Option<LargeWorker>,
    large_above: u64,
    latest: LatestSnapshot,
    /// The value of `latest`, which only this thread changes.
    current: Arc<Snapshot>,
    reader: Reader,
    inboxes: Vec<Inbox>,
    /// Weak: only the shards' tables keep a body in memory. Of the current snapshot.
    known: HashMap<FileKey, Weak<Representation>>,
    /// Files of the current snapshot that the other thread has been given, and the shards that wait
    /// for them; the first is the one that it is loaded for.
    under_way: HashMap<FileKey, Vec<Asker>>,
    report: Report,
    /// Files of the current snapshot that have been reported.
    unreadable: HashSet<FileKey>,
}

impl LoaderWorker {
    /// Does one job if there is one.
    #[cfg(test)]
    pub(crate) fn work_once(&mut self) -> bool {
        if let Ok(job) = self.queue.try_recv() {
            self.work(job);
            return true;
        }
        self.large_worker.as_mut().is_some_and(LargeWorker::work_once)
    }

    /// Has files of more than `bytes` take the way of large ones.
    #[cfg(test)]
    pub(crate) fn set_large_above(&mut self, bytes: u64) {
        self.large_above = bytes;
    }

    #[cfg(test)]
    pub(crate) fn inventory(&self) -> (Arc<Snapshot>, Loaded) {
        (Arc::clone(&self.current), self.loaded())
    }

    fn work(&mut self, job: Job) {
        match job {
            // Of an older snapshot: a new table is on its way to the shard, which will ask again.
            Job::Load { snapshot, .. } | Job::Done { snapshot, .. } if snapshot != self.current.number => {}
            Job::Load { file, asker, back, .. } => self.load(file, asker, back),
            Job::Done { file, result, .. } => {
                let askers = self.under_way.remove(&file).unwrap_or_default();
                self.finish(file, result, &askers);
            }
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
        known
            .filter(|(_, known)| !known.is_open() && known.displaced(&self.reader.budget).is_none())
            .collect()
    }

    fn swap(&mut self, mut next: Snapshot, kept: &Loaded) {
        self.known = kept.iter().map(|(file, loaded)| (*file, Arc::downgrade(loaded))).collect();
        next.number = self.current.number + 1;
        let last = std::mem::replace(&mut self.current, Arc::new(next));
        self.under_way.clear();
        self.unreadable.clear();
        for host in self.current.hosts.taking_over(&last.hosts) {
            if let Some(site) = self.current.site(host) {
                site.take_over((self.reader.clock)());
            }
        }
        // Before the messages: a shard that is just being started finds it here or there.
        self.latest.set(&self.current);
        for inbox in &self.inboxes {
            inbox.post(Message::Swap(Arc::clone(&self.current), Table::new(&self.current, kept)));
        }
        for gone in last.listeners.iter().filter(|old| !self.current.listeners.iter().any(|new| new.is(old)))
        {
            gone.close();
        }
    }

    fn load(&mut self, file: FileKey, asker: Asker, back: Sender<Job>) {
        if let Some(askers) = self.under_way.get_mut(&file) {
            askers.push(asker);
            return;
        }
        match self.plan(file, asker.wanted) {
            Plan::Known(loaded) => self.answer(file, &Ok(loaded), asker, asker.wanted),
            Plan::Read { task, bytes } if bytes > self.large_above => {
                self.under_way.insert(file, vec![asker]);
                let job = LargeJob { snapshot: self.current.number, file, task, bytes, back };
                if self.large.send(job).is_err() {
                    let askers = self.under_way.remove(&file).unwrap_or_default();
                    self.finish(file, Err(io::ErrorKind::Other.into()), &askers);
                }
            }
            Plan::Read { task, .. } => {
                let result = self.reader.read(&self.current, file, task);
                self.finish(file, result, &[asker]);
            }
        }
    }

    /// Returns what is to be done about a file that is wanted.
    fn plan(&self, file: FileKey, wanted: Wanted) -> Plan {
        let Reader { budget, clock } = &self.reader;
        let is_over = |known: &Representation| known.is_stale() || known.is_makeshift(|| clock());
        let known = self.known.get(&file).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| !is_over(known)) {
            return match known.displaced(budget) {
                Some(bytes) if wanted == Wanted::Body && budget.has_room(bytes) => {
                    Plan::Read { task: Task::Load, bytes }
                }
                // It is in memory, or what is known of it is all that is wanted or can be had.
                _ => Plan::Known(known),
            };
        }
        let Ok(BodySize { length, is_unread }) = self.reader.size(&self.current, file) else {
            // Loading it says why.
            return Plan::Read { task: Task::Load, bytes: 0 };
        };
        let has_room = budget.has_room(length);
        let is_described = match wanted {
            _ if length <= LOADED_WHOLE => false,
            Wanted::Head => true,
            // Where it has to be read all the same, it may stay.
            Wanted::Condition => !has_room || !is_unread,
            Wanted::Body => !has_room,
        };
        let task = if is_described { Task::Describe } else { Task::Load };
        let is_read = is_unread || (task == Task::Load && has_room);
        Plan::Read { task, bytes: if is_read { length } else { 0 } }
    }

    /// Hands on what has become of a file.
    fn finish(&mut self, file: FileKey, result: io::Result<Arc<Representation>>, askers: &[Asker]) {
        let result = match result {
            Ok(loaded) => {
                self.known.insert(file, Arc::downgrade(&loaded));
                Ok(loaded)
            }
            Err(error) => match error.kind() {
                // Asked again, the site has the file as it is.
                kind if OutdatedEncoding::is(&error) => Err(kind),
                // A file that was there when the directory was looked at may go at any time. For
                // one that has no place among the open files now, the shard asks again.
                kind @ (io::ErrorKind::NotFound | io::ErrorKind::QuotaExceeded) => Err(kind),
                // A listing, which can only be sent from memory. After a pause there may be room.
                kind @ io::ErrorKind::StorageFull => {
                    self.evict(LISTING_ROOM);
                    Err(kind)
                }
                kind => {
                    self.tell(file, &error);
                    // Others than the files of answers took the descriptors, and may give them
                    // back.
                    let is_full = matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE));
                    Err(if is_full { io::ErrorKind::QuotaExceeded } else { kind })
                }
            },
        };
        if matches!(result, Err(io::ErrorKind::QuotaExceeded)) && self.reader.budget.files_left() == 0 {
            self.want_files(askers);
        }
        let Some(first) = askers.first() else { return };
        for asker in askers {
            self.answer(file, &result, *asker, first.wanted);
        }
    }

    /// Has all shards let go of some of what they have not used lately.
    fn evict(&self, bytes: usize) {
        for inbox in &self.inboxes {
            inbox.post(Message::Evict(bytes));
        }
    }

    /// Tells all shards but those that have asked, which see it themselves, that no file can be
    /// opened: theirs may be the ones that are open.
    fn want_files(&self, askers: &[Asker]) {
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            if !askers.iter().any(|asker| asker.shard == shard) {
                inbox.post(Message::FilesWanted);
            }
        }
    }

    /// Answers a shard, for which a file was loaded as `loaded_for` needs it: a shard that needs
    /// more will ask again.
    fn answer(
        &mut self,
        file: FileKey,
        result: &Result<Arc<Representation>, io::ErrorKind>,
        asker: Asker,
        loaded_for: Wanted,
    ) {
        let result = result.as_ref().map_err(|kind| *kind).map(|loaded| {
            let extent = match loaded.displaced(&self.reader.budget) {
                None => Extent::Whole,
                Some(_) if asker.wanted != Wanted::Body || loaded_for != Wanted::Body => Extent::Described,
                Some(bytes) => {
                    // For now it is read from the file; after a pause there may be room.
                    self.evict(usize::try_from(bytes).unwrap_or(usize::MAX));
                    Extent::Displaced
                }
            };
            Arrival { loaded: Arc::clone(loaded), extent }
        });
        let snapshot = self.current.number;
        self.inboxes[asker.shard].post(Message::Loaded { snapshot, file, result });
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

/// Returns what a tracer sees of a file that was loaded.
#[cold]
fn probed(snapshot: &Snapshot, file: FileKey, loaded: &io::Result<Representation>) -> usdt::Loaded {
    let name = snapshot.site(file.host).and_then(|site| site.name_of(file.file));
    let (resident, error) = match loaded {
        Ok(loaded) => (loaded.resident_bytes() as u64, 0),
        Err(error) => (0, error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())),
    };
    usdt::Loaded { name: name.unwrap_or_default(), resident, error }
}

#[cfg(test)]
mod tests;
