//! Loading representations away from the shards, and giving the shards another site.
//!
//! Reading and hashing a file may block, so one helper thread does it for all shards; a file that
//! several of them want is loaded once and shared. A shard looks into its own table only
//! ([`Cache`](super::cache::Cache)): no lock and no shared counter on the path of a request.
//!
//! Sites are numbered ([`Generation`]). File ids belong to one generation, and so does everything
//! that speaks of files: tables, jobs and messages. A change of site goes through the helper thread:
//! what it is asked for after that belongs to the new generation or is dropped, and a shard that
//! takes the new site over asks again for what its connections wait for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use sitar_site::{Budget, FileId, Representation, Site};

use super::generation::{Generation, LatestSite};
use super::inbox::{Inbox, Message};
use super::table::Table;
use crate::clock::Clock;
use crate::report::{Incident, Report};

enum Job {
    Load {
        generation: u64,
        file: FileId,
        shard: usize,
    },
    /// Say what is loaded of the latest site.
    Inventory(Sender<Inventory>),
    /// Another site, and what is loaded of it already.
    Swap(Arc<Site>, Loaded),
    /// A site and a table that a shard has no use for any more: dropping large ones takes time,
    /// which shards have not.
    Retire(Arc<Site>, Table),
}

/// Representations and where they belong.
type Loaded = Vec<(FileId, Arc<Representation>)>;

struct Inventory {
    site: Arc<Site>,
    loaded: Loaded,
}

/// Unreadable files that are reported for one generation, at most. There would be one for each
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
        latest: LatestSite,
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

    /// A loader without a thread: the caller lets the worker work.
    pub(crate) fn new(
        latest: LatestSite,
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

    /// The time by the clock that files are loaded with.
    pub(crate) fn now(&self) -> std::time::SystemTime {
        (self.clock)()
    }

    /// `false`: the thread is gone.
    pub(crate) fn ask(&self, generation: u64, file: FileId, shard: usize) -> bool {
        self.jobs.send(Job::Load { generation, file, shard }).is_ok()
    }

    /// Has another site served. What is loaded of the old one and unchanged is taken over; finding
    /// that out is done here, so that loading goes on meanwhile.
    pub(crate) fn swap(&self, site: Arc<Site>) {
        let (tell, told) = channel();
        // No answer: the thread is gone, and nothing can be served without it.
        if self.jobs.send(Job::Inventory(tell)).is_err() {
            return;
        }
        let Ok(Inventory { site: older, loaded }) = told.recv() else { return };
        let kept = site.inherit(&older, loaded, (self.clock)());
        let _ = self.jobs.send(Job::Swap(site, kept));
    }

    #[cfg(test)]
    pub(crate) fn swap_to(&self, site: Arc<Site>, kept: Loaded) {
        let _ = self.jobs.send(Job::Swap(site, kept));
    }

    pub(crate) fn retire(&self, site: Arc<Site>, table: Table) {
        // Without the thread they are dropped here.
        let _ = self.jobs.send(Job::Retire(site, table));
    }
}

/// Where the loading is done.
pub(crate) struct LoaderWorker {
    queue: Receiver<Job>,
    latest: LatestSite,
    /// What `latest` holds; only this thread changes that.
    current: Generation,
    budget: Budget,
    inboxes: Vec<Inbox>,
    /// Weak: only the shards' tables keep a body in memory. Of the current generation.
    known: HashMap<FileId, Weak<Representation>>,
    clock: Clock,
    report: Report,
    /// Files of the current generation that have been reported.
    unreadable: HashSet<FileId>,
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
    pub(crate) fn inventory(&self) -> (Arc<Site>, Loaded) {
        (Arc::clone(&self.current.site), self.loaded())
    }

    fn work(&mut self, job: Job) {
        match job {
            // Of an older generation: a new table is on its way to the shard, which will ask again.
            Job::Load { generation, .. } if generation != self.current.number => {}
            Job::Load { file, shard, .. } => self.load(file, shard),
            Job::Inventory(tell) => {
                let inventory = Inventory { site: Arc::clone(&self.current.site), loaded: self.loaded() };
                // Nobody there any more: nothing is to be done.
                let _ = tell.send(inventory);
            }
            Job::Swap(site, kept) => self.swap(site, &kept),
            Job::Retire(site, table) => drop((site, table)),
        }
    }

    fn loaded(&self) -> Loaded {
        self.known.iter().filter_map(|(file, known)| Some((*file, known.upgrade()?))).collect()
    }

    fn swap(&mut self, site: Arc<Site>, kept: &Loaded) {
        self.known = kept.iter().map(|(file, loaded)| (*file, Arc::downgrade(loaded))).collect();
        self.current = Generation { number: self.current.number + 1, site };
        self.unreadable.clear();
        self.current.site.take_over((self.clock)());
        // Before the messages: a shard that is just being started finds it here or there.
        self.latest.set(&self.current);
        for inbox in &self.inboxes {
            inbox.post(Message::Swap(self.current.clone(), Table::new(self.current.site.files(), kept)));
        }
    }

    fn load(&mut self, file: FileId, shard: usize) {
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
        let generation = self.current.number;
        self.inboxes[shard].post(Message::Loaded { generation, file, result, displaced });
    }

    /// A panic while loading is a failure of this file, not the end of loading.
    fn read(&mut self, file: FileId) -> Result<Arc<Representation>, io::ErrorKind> {
        let load = || self.current.site.load(file, &self.budget, (self.clock)());
        let loaded = catch_unwind(AssertUnwindSafe(load));
        let error = match loaded {
            Ok(Ok(loaded)) => return Ok(Arc::new(loaded)),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("a bug of sitar's"),
        };
        // A file that was there when the directory was looked at may go at any time.
        if error.kind() != io::ErrorKind::NotFound {
            self.tell(file, &error);
        }
        Err(error.kind())
    }

    fn tell(&mut self, file: FileId, error: &io::Error) {
        let told = self.unreadable.len();
        if told < UNREADABLE_MAX && self.unreadable.insert(file) {
            let name = self.current.site.name_of(file).unwrap_or_default();
            let is_last = told + 1 == UNREADABLE_MAX;
            (self.report)(Incident::Unreadable { name, why: error.to_string(), is_last });
        }
    }
}

#[cfg(test)]
mod tests;
