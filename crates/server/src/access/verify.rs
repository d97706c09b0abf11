//! The thread that computes hashes of passwords, for all shards.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use super::credentials::{Credentials, Fingerprint};
use super::gate::FAILURES;
use super::htpasswd::Users;
use super::throttle::{Client, Throttle};
use crate::content::inbox::{Inbox, Message};

/// Passwords that wait for their hash, of all shards together.
const WAITING_MAX: usize = 64;

/// A password to verify.
pub(super) struct Job {
    pub(super) users: Arc<Users>,
    pub(super) credentials: Credentials,
    pub(super) fingerprint: Fingerprint,
    pub(super) shard: usize,
    /// Who has been charged for it, and when.
    pub(super) charged: (Client, Instant),
}

/// Asks the thread. It ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Verifier(SyncSender<Job>);

/// The thread's side.
pub(crate) struct VerifyWorker {
    jobs: Receiver<Job>,
    inboxes: Vec<Inbox>,
    throttle: Arc<Throttle>,
}

impl Verifier {
    /// Starts the thread.
    pub(crate) fn start(inboxes: Vec<Inbox>, throttle: Arc<Throttle>) -> io::Result<Verifier> {
        let (verifier, worker) = Verifier::new(inboxes, throttle);
        let run = move || {
            while let Ok(job) = worker.jobs.recv() {
                worker.work(&job);
            }
        };
        thread::Builder::new().name("sitar-verify".into()).spawn(run)?;
        Ok(verifier)
    }

    /// Makes a verifier without a thread: the caller lets the worker work.
    pub(crate) fn new(inboxes: Vec<Inbox>, throttle: Arc<Throttle>) -> (Verifier, VerifyWorker) {
        let (ask, jobs) = sync_channel(WAITING_MAX);
        (Verifier(ask), VerifyWorker { jobs, inboxes, throttle })
    }

    /// Asks for a verdict, which comes to the shard's inbox; `false`: too many wait, or the thread
    /// is gone.
    pub(super) fn ask(&self, job: Job) -> bool {
        self.0.try_send(job).is_ok()
    }
}

impl VerifyWorker {
    /// Does one job if there is one.
    #[cfg(test)]
    pub(crate) fn work_once(&self) -> bool {
        self.jobs.try_recv().is_ok_and(|job| {
            self.work(&job);
            true
        })
    }

    fn work(&self, job: &Job) {
        let Job { users, credentials, fingerprint, shard, charged: (client, at) } = job;
        let verify = || users.verify(credentials.name(), credentials.password());
        // A panic would be a fault of a library, and is no reason to let anyone in.
        let is_right = catch_unwind(AssertUnwindSafe(verify)).unwrap_or(false);
        if is_right {
            self.throttle.give_back(*client, &FAILURES, *at);
        }
        if let Some(inbox) = self.inboxes.get(*shard) {
            inbox.post(Message::Verified { fingerprint: *fingerprint, is_right });
        }
    }
}
