//! SIGUSR1: the access logs are opened again, after their files were renamed.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::Supervisor;
use super::child::{Worker, lock};
use crate::config::Target;
use crate::events;
use crate::handover;
use crate::log::open;

/// How the access logs are opened again.
#[derive(Default)]
pub(super) struct Reopening {
    /// How often it was asked for.
    asked: AtomicU64,
    /// Held while they are opened and handed over: what was opened last is handed over last.
    one_at_a_time: Mutex<()>,
}

impl Supervisor {
    /// Opens the access logs again, and has the workers write to what is there now. Does not wait.
    pub(super) fn reopen_logs(self: &Arc<Self>) {
        self.reopening.asked.fetch_add(1, Ordering::SeqCst);
        let supervisor = Arc::clone(self);
        let reopen = move || supervisor.reopen_logs_now();
        if let Err(error) = thread::Builder::new().name("sitar-reopen".into()).spawn(reopen) {
            events::error(format_args!("the access logs are not opened again: {error}"));
        }
    }

    /// Returns how often that was asked for.
    pub(super) fn logs_reopened(&self) -> u64 {
        self.reopening.asked.load(Ordering::SeqCst)
    }

    /// Does it again if it was asked for since: what has been opened before that has been handed
    /// over now.
    pub(super) fn reopen_logs_since(self: &Arc<Self>, then: u64) {
        if self.logs_reopened() != then {
            self.reopen_logs();
        }
    }

    fn reopen_logs_now(&self) {
        let _one_at_a_time = lock(&self.reopening.one_at_a_time);
        let config = self.live().config.clone();
        let mut opened: Vec<(&Target, OwnedFd)> = Vec::new();
        for target in config.log.targets(&config.sites) {
            match open::open(&target.target) {
                Ok(fd) => opened.push((&target.target, fd)),
                Err(error) => {
                    let why = open::refusal(&target.target, &error).sentence();
                    events::error(format_args!("{why}; workers keep what they have"));
                }
            }
        }
        if opened.is_empty() {
            return;
        }
        // Those that drain write as well.
        let workers = lock(&self.workers).clone();
        let failed = workers.iter().filter_map(|worker| worker.reopen_logs(&opened).err());
        for why in failed.collect::<Vec<_>>() {
            events::error(format_args!("a worker writes access logs as before: {why}"));
        }
    }
}

impl Worker {
    /// Has the worker write to what was opened.
    fn reopen_logs(&self, opened: &[(&Target, OwnedFd)]) -> Result<(), String> {
        let names: Vec<&[u8]> = opened.iter().map(|(target, _)| name(target)).collect();
        let fds: Vec<_> = opened.iter().map(|(_, fd)| fd.as_fd()).collect();
        self.tell(&handover::reopen_logs(), &names, &fds)
    }
}

/// Returns what stands for a target on the line.
fn name(target: &Target) -> &[u8] {
    match target {
        Target::Off => b"off",
        Target::Stdout => b"stdout",
        Target::Journal => b"journal",
        Target::File(path) => path.as_os_str().as_bytes(),
    }
}
