//! The helper thread for bodies that take long to read.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};

use super::{Job, Reader, Task};
use crate::snapshot::{FileKey, LatestSnapshot};

/// A body to be read that is so large that others must not wait for it.
pub(super) struct LargeJob {
    pub(super) snapshot: u64,
    pub(super) file: FileKey,
    pub(super) task: Task,
    /// Bytes to be read.
    pub(super) bytes: u64,
    pub(super) back: Sender<Job>,
}

/// Reads large bodies, the smallest of those that wait first: each is read once, so the largest
/// does not wait for ever. It keeps no state of loading, which belongs to the other thread; what it
/// has read goes back there.
pub(super) struct LargeWorker {
    queue: Receiver<LargeJob>,
    latest: LatestSnapshot,
    reader: Reader,
    /// Jobs by their size and number. Of one snapshot, so there are no more than files.
    waiting: BTreeMap<(u64, u64), LargeJob>,
    /// The snapshot that they belong to.
    snapshot: u64,
    /// Jobs that have come.
    jobs: u64,
}

impl LargeWorker {
    pub(super) fn new(queue: Receiver<LargeJob>, latest: LatestSnapshot, reader: Reader) -> LargeWorker {
        LargeWorker { queue, latest, reader, waiting: BTreeMap::new(), snapshot: 0, jobs: 0 }
    }

    /// Does jobs until there can be no more.
    pub(super) fn run(&mut self) {
        while self.work_once() || self.wait() {}
    }

    /// Does one job if there is one.
    pub(super) fn work_once(&mut self) -> bool {
        while let Ok(job) = self.queue.try_recv() {
            self.enter(job);
        }
        let Some((_, job)) = self.waiting.pop_first() else { return false };
        let LargeJob { snapshot, file, task, back, .. } = job;
        let latest = self.latest.get();
        // The shards have asked again, or will.
        if latest.number == snapshot {
            let result = self.reader.read(&latest, file, task);
            // The other thread is gone: nothing is to be done.
            let _ = back.send(Job::Done { snapshot, file, result });
        }
        true
    }

    /// Waits for a job; `false`: there can be no more.
    fn wait(&mut self) -> bool {
        self.queue.recv().map(|job| self.enter(job)).is_ok()
    }

    fn enter(&mut self, job: LargeJob) {
        if job.snapshot > self.snapshot {
            self.snapshot = job.snapshot;
            self.waiting.clear();
        }
        self.jobs += 1;
        self.waiting.insert((job.bytes, self.jobs), job);
    }
}
