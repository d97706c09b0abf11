//! Loading representations away from the shards, and each shard's table of what is loaded.
//!
//! Reading and hashing a file may block, so one helper thread does it for all shards; a file that several of them want is
//! loaded once and shared. A shard looks into its own table only: no lock and no shared counter on the path of a request.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use sitar_io::{Key, Waker};
use sitar_site::{Budget, FileId, Representation, Site};

/// What the helper thread tells a shard.
pub(crate) enum News {
    /// A file that was asked for, or why there is none.
    Loaded {
        file: FileId,
        result: Result<Arc<Representation>, io::ErrorKind>,
        /// Its body is sent from the file for want of room; the next request shall ask again.
        displaced: bool,
    },
    /// Memory is short: let go of about so many bytes that are not in use.
    Evict(usize),
}

/// Where a shard's news arrive. The ring's waker says that there are some.
#[derive(Clone, Default)]
pub(crate) struct Mailbox {
    inner: Arc<Mutex<Letters>>,
}

#[derive(Default)]
struct Letters {
    news: Vec<News>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// From now on `waker` is used; what a former shard left unread is forgotten with it.
    pub(crate) fn open(&self, waker: Waker) {
        let mut letters = self.lock();
        letters.news.clear();
        letters.waker = Some(waker);
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.lock().waker {
            waker.wake();
        }
    }

    fn post(&self, news: News) {
        let mut letters = self.lock();
        letters.news.push(news);
        if let Some(waker) = &letters.waker {
            waker.wake();
        }
    }

    pub(crate) fn take(&self) -> Vec<News> {
        std::mem::take(&mut self.lock().news)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Letters> {
        // A poisoned list of news is still a list of news.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Job {
    file: FileId,
    shard: usize,
}

/// Asks the helper thread for files. The thread ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Loader {
    jobs: Sender<Job>,
}

impl Loader {
    /// Starts the helper thread.
    pub(crate) fn start(site: Arc<Site>, budget: Budget, mailboxes: Vec<Mailbox>) -> io::Result<Loader> {
        let (loader, mut desk) = Loader::new(site, budget, mailboxes);
        thread::Builder::new().name("sitar-load".into()).spawn(move || {
            while let Ok(job) = desk.queue.recv() {
                desk.work(&job);
            }
        })?;
        Ok(loader)
    }

    /// A loader whose work somebody else does.
    pub(crate) fn new(site: Arc<Site>, budget: Budget, mailboxes: Vec<Mailbox>) -> (Loader, Desk) {
        let (jobs, queue) = channel();
        (Loader { jobs }, Desk { queue, site, budget, mailboxes, known: HashMap::new() })
    }

    /// `false`: the thread is gone.
    fn ask(&self, file: FileId, shard: usize) -> bool {
        self.jobs.send(Job { file, shard }).is_ok()
    }
}

/// Where the loading is done.
pub(crate) struct Desk {
    queue: Receiver<Job>,
    site: Arc<Site>,
    budget: Budget,
    mailboxes: Vec<Mailbox>,
    /// Weak: only the shards' tables keep a body in memory.
    known: HashMap<FileId, Weak<Representation>>,
}

impl Desk {
    /// Does one job if there is one.
    #[cfg(test)]
    pub(crate) fn work_once(&mut self) -> bool {
        let Ok(job) = self.queue.try_recv() else { return false };
        self.work(&job);
        true
    }

    fn work(&mut self, job: &Job) {
        let file = job.file;
        let result = match self.known.get(&file).and_then(Weak::upgrade) {
            Some(loaded) => Ok(loaded),
            None => load(&self.site, file, &self.budget),
        };
        let mut displaced = false;
        if let Ok(loaded) = &result {
            self.known.insert(file, Arc::downgrade(loaded));
            if let Some(bytes) = loaded.displaced(&self.budget) {
                // For now it is read from the file; the next time there shall be room.
                displaced = true;
                for mailbox in &self.mailboxes {
                    mailbox.post(News::Evict(usize::try_from(bytes).unwrap_or(usize::MAX)));
                }
            }
        }
        self.mailboxes[job.shard].post(News::Loaded { file, result, displaced });
    }
}

/// A panic while loading is a failure of this file, not the end of loading.
fn load(site: &Site, file: FileId, budget: &Budget) -> Result<Arc<Representation>, io::ErrorKind> {
    match catch_unwind(AssertUnwindSafe(|| site.load(file, budget))) {
        Ok(Ok(loaded)) => Ok(Arc::new(loaded)),
        Ok(Err(error)) => Err(error.kind()),
        Err(_) => Err(io::ErrorKind::Other),
    }
}

enum Slot {
    Absent,
    Pending,
    Ready { loaded: Arc<Representation>, used: bool },
    Failed(io::ErrorKind),
}

/// What one shard has loaded.
pub(crate) struct Cache {
    slots: Vec<Slot>,
    waiting: Vec<(FileId, Key)>,
    /// Where the search for something to let go of goes on.
    hand: usize,
    loader: Loader,
    shard: usize,
}

/// The answer of a [`Cache`].
pub(crate) enum Found<'c> {
    Ready(&'c Representation),
    /// It has been asked for; the connection will be told.
    Later,
    Failed(io::ErrorKind),
}

impl Cache {
    pub(crate) fn new(files: usize, loader: Loader, shard: usize) -> Cache {
        Cache {
            slots: (0..files).map(|_| Slot::Absent).collect(),
            waiting: Vec::new(),
            hand: 0,
            loader,
            shard,
        }
    }

    /// The file if it is loaded; else it is asked for, and `key` is told when it has come.
    pub(crate) fn get(&mut self, file: FileId, key: Key) -> Found<'_> {
        let Some(slot) = self.slots.get_mut(file.index()) else {
            return Found::Failed(io::ErrorKind::NotFound);
        };
        match slot {
            Slot::Ready { loaded, used } => {
                *used = true;
                return Found::Ready(loaded);
            }
            Slot::Failed(kind) => return Found::Failed(*kind),
            Slot::Absent => {
                if !self.loader.ask(file, self.shard) {
                    return Found::Failed(io::ErrorKind::Other);
                }
                *slot = Slot::Pending;
            }
            Slot::Pending => {}
        }
        if !self.waiting.contains(&(file, key)) {
            self.waiting.push((file, key));
        }
        Found::Later
    }

    /// A file has come, or has not. Those who wait for it ([`next_waiting`](Cache::next_waiting)) are to be told, then
    /// [`settled`](Cache::settled).
    pub(crate) fn arrived(&mut self, file: FileId, result: Result<Arc<Representation>, io::ErrorKind>) {
        if let Some(slot) = self.slots.get_mut(file.index()) {
            *slot = match result {
                Ok(loaded) => Slot::Ready { loaded, used: true },
                Err(kind) => Slot::Failed(kind),
            };
        }
    }

    /// The next connection that waits for `file`.
    pub(crate) fn next_waiting(&mut self, file: FileId) -> Option<Key> {
        let at = self.waiting.iter().position(|(wanted, _)| *wanted == file)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// Everybody has been told. A failure is not kept, nor what had to do without memory: the next request tries again.
    pub(crate) fn settled(&mut self, file: FileId, displaced: bool) {
        match self.slots.get_mut(file.index()) {
            Some(slot @ Slot::Failed(_)) => *slot = Slot::Absent,
            Some(slot @ Slot::Ready { .. }) if displaced => *slot = Slot::Absent,
            _ => {}
        }
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, key: Key) {
        self.waiting.retain(|(_, waiting)| *waiting != key);
    }

    /// Lets go of about `bytes`, what has not been used for longest first (clock algorithm).
    pub(crate) fn evict(&mut self, bytes: usize) {
        let mut freed = 0;
        // Twice around at most: the first pass may only find that everything has been used.
        for _ in 0..self.slots.len() * 2 {
            if freed >= bytes {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
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
