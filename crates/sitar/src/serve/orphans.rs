//! The processes that a container's first process inherits. Where one of the container loses its
//! parent, the first process becomes that, and has to take note of its end: until then the kernel
//! keeps it, and its number, among all others.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, WaitOptions, waitpid};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

use super::cannot_start_a_thread;
use crate::error::Error;

/// The processes that this one has started and waits for itself.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of the ends of inherited processes from here on, if this is a container's first
/// process. Others inherit none.
///
/// # Errors
/// The system refuses the signal or a thread.
pub(crate) fn reap() -> Result<(), Error> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut signals = Signals::new([SIGCHLD])
        .map_err(|error| Error::new("cannot catch signals").cause(error.to_string()))?;
    let reap = move || {
        reap_all();
        signals.forever().for_each(|_| reap_all());
    };
    thread::Builder::new().name("sitar-reap".into()).spawn(reap).map(drop).map_err(cannot_start_a_thread)
}

/// Takes note of all that have ended. One signal may stand for several.
fn reap_all() {
    // No process begins to be one's own meanwhile.
    let own = own();
    for child in children().into_iter().filter(|child| !own.contains(child)) {
        if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Returns the processes whose parent this one is.
fn children() -> Vec<u32> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Starts a process that [`wait`] will wait for.
///
/// # Errors
/// The system refuses it.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    let mut own = own();
    let child = command.spawn()?;
    own.insert(child.id());
    Ok(child)
}

/// Waits for the end of a process that [`start`] has started.
///
/// # Errors
/// The system refuses it.
pub(crate) fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let status = child.wait();
    own().remove(&child.id());
    status
}
