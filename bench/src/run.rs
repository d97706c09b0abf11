//! The conditions of a run: one worker each, pinned to core 0; the load on core 1; rounds in turn;
//! one cipher for all, checked as negotiated; the status and length of every answer checked.

use crate::participants::{self, Participant};
use crate::site::Lab;
use crate::{Quick, Result, process};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

pub(crate) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";
const ROUNDS: usize = 7;
const SECONDS: f64 = 1.0;
const QUICK_ROUNDS: usize = 3;

/// The conditions, the participants, and the failures so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) participants: Vec<Participant>,
    pub(crate) absent: Vec<&'static str>,
    /// Work that failed once, and why.
    pub(crate) repeated: RefCell<Vec<String>>,
}

impl Run {
    /// Looks for all participants and tools, and makes the sites.
    ///
    /// # Errors
    /// A tool or a program is absent, or this program was not built in release.
    pub(crate) fn prepare(command: String, Quick { quick }: Quick, peers: &[String]) -> Result<(Lab, Run)> {
        if cfg!(debug_assertions) {
            return Err("the floor and the clients must be optimised; `cargo xtask bench` does that".into());
        }
        for tool in ["wrk", "h2load", "curl", "openssl", "taskset", "tar", "strip"] {
            if found(tool).is_none() {
                let hint = "`cargo xtask setup --bench` installs what it can";
                return Err(format!("bench needs {tool}; {hint}").into());
            }
        }
        let target = target();
        let (participants, absent) = participants::all(&target, peers)?;
        let lab = Lab::new(&target, quick)?;
        let run = Run {
            command,
            date: date()?,
            machine: process::machine()?,
            quick,
            rounds: if quick { QUICK_ROUNDS } else { ROUNDS },
            seconds: SECONDS,
            load_before: process::load_average(),
            load_after: String::new(),
            participants,
            absent,
            repeated: RefCell::default(),
        };
        Ok((lab, run))
    }

    /// Does work that may fail because the machine stood still for a moment; once more if it did,
    /// which the report says.
    pub(crate) fn twice<T>(&self, what: &str, work: impl Fn() -> Result<T>) -> Result<T> {
        let error = match work() {
            Ok(done) => return Ok(done),
            Err(error) => error.to_string(),
        };
        println!("once more: {what}: {error}");
        let first = error.lines().next().unwrap_or_default();
        self.repeated.borrow_mut().push(format!("{what}: {first}"));
        sleep(Duration::from_secs(1));
        work().map_err(|error| format!("{what}, for the second time: {error}").into())
    }

    /// The same for one of the servers. `None`: a peer cannot do it, which the report says, and the
    /// run goes on without that peer in this case.
    pub(crate) fn attempt<T>(
        &self,
        participant: &Participant,
        what: &str,
        work: impl Fn() -> Result<T>,
    ) -> Result<Option<T>> {
        match self.twice(what, work) {
            Err(error) if participant.is_peer() => {
                println!("left out: {error}");
                let error = error.to_string();
                let first = error.lines().next().unwrap_or_default();
                self.repeated.borrow_mut().push(format!("left out of this case: {first}"));
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Returns the participant of this name.
    pub(crate) fn participant(&self, name: &str) -> Result<&Participant> {
        self.participants.iter().find(|one| one.name == name).ok_or_else(|| format!("no {name}").into())
    }
}

/// Returns the workspace's folder.
pub(crate) fn root() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).to_owned()
}

/// Returns cargo's build folder.
pub(crate) fn target() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR");
    given.map_or_else(|| root().join("target"), |folder| root().join(folder))
}

fn date() -> Result<String> {
    let done = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Returns a command that runs a program on these cores only.
pub(crate) fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cores).arg(program);
    command
}

/// Returns where a program is, on the path or among the system's daemons.
pub(crate) fn found(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(tool)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_fails_is_done_once_more_and_reported() {
        let run = Run::default();
        let tries = std::cell::Cell::new(0);
        let work = |good| {
            tries.set(tries.get() + 1);
            if tries.get() >= good { Ok(tries.get()) } else { Err("no\nanswer".into()) }
        };
        assert_eq!(run.twice("a", || work(1)).unwrap(), 1);
        tries.set(0);
        assert_eq!(run.twice("b", || work(2)).unwrap(), 2);
        tries.set(0);
        assert!(run.twice("c", || work(3)).is_err());
        assert_eq!(run.repeated.borrow()[..], ["b: no", "c: no"]);
    }
}
