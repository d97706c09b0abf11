//! A worker: the process that serves what its supervisor hands over. It opens and watches sites,
//! runs the shards, and can do little else.
//!
//! The supervisor starts the same program with the same arguments, and a variable that says so.
//! Standard input is the line to it. What comes first is a configuration with everything that it
//! names, open ([`Opening`]). The worker becomes another user, enters its sandbox while it has one
//! thread, opens the sites, and answers. Then it gets listeners, and serves. Later configurations
//! come in the same two steps. When the line ends, the supervisor is gone: the worker drains and
//! ends.

mod challenges;
mod containment;
mod keys;
mod live;
mod opened;
mod passed;
mod process;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::thread;

use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use sitar_io::inherit::{self, Kind};

pub(crate) use self::containment::become_user;
pub(crate) use self::keys::{Keys, read_client_cas};
use self::live::Live;
pub(crate) use self::opened::try_sites;
pub(crate) use self::passed::{DESCRIPTORS_MAX, ROUTERS_MAX};
use self::process::Process;
use crate::channel::{Channel, Limits, Question};
use crate::error::Error;
use crate::handover::{Opened, Opening, not_understood};
use crate::serve::{cannot_start_a_thread, stopped};
use crate::settings::ConfigFile;

/// The name under which a worker runs (`argv[0]`).
pub(crate) const NAME: &str = "sitar-worker";
/// The variable that tells a program that it is a worker: the number of its supervisor's process.
pub(crate) const WORKER_OF: &str = "SITAR_WORKER_OF";

/// Whether this process was started as a worker.
pub(crate) fn is_this_process() -> bool {
    std::env::var_os(WORKER_OF).is_some()
}

/// Serves what the supervisor hands over, until that says stop or is gone.
///
/// # Errors
/// It was not started by a supervisor.
pub(crate) fn run(file: &ConfigFile) -> Result<(), Error> {
    let channel = take_standard_input().ok().filter(|channel| {
        let supervisor = channel.maker().map(|pid| pid.to_string().into());
        supervisor.is_some() && supervisor == std::env::var_os(WORKER_OF)
    });
    let channel = channel.ok_or_else(|| {
        Error::new(format!("the variable {WORKER_OF} is set, and no supervisor has started this process"))
            .hint("sitar sets it for its own workers: take it out of the environment")
    })?;
    let _ = rustix::thread::set_name(c"sitar-worker");
    ignore_signals();
    let first = channel.receive(Limits::OF_SUPERVISOR).map_err(broken)?;
    let Some(first) = first else { return Ok(()) };
    let question = Question::read(first).ok_or_else(|| broken(not_understood()))?;
    let opening = Opening::read(question.message).ok_or_else(|| broken(not_understood()))?;
    let contained = containment::enter(&opening, file);
    let (started, is_started) = sync_channel(1);
    let process = Arc::new(Process::new(channel, file, started));
    let reader = Arc::clone(&process);
    thread::Builder::new()
        .name("sitar-line".into())
        .spawn(move || reader.obey())
        .map_err(cannot_start_a_thread)?;
    let opened = match contained {
        Ok(contained) => process.open_first(opening, contained),
        Err(error) => Opened::Failed(error),
    };
    process.answer(question.number, &opened.to_json());
    // `None`: the line has ended before anything was served.
    let Ok(Some(worker)) = is_started.recv() else { return Ok(()) };
    let counts = worker.wait();
    process.ended();
    process.end_logs();
    process.tell_counted(&worker);
    stopped(counts).with("worker", std::process::id()).say();
    Ok(())
}

/// Ignores signals that a terminal sends to the supervisor, too, which decides.
pub(crate) fn ignore_signals() {
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
        let _ = signal_hook::flag::register(signal, Arc::clone(&ignored));
    }
}

/// Takes standard input as a channel, and leaves nothing in its place.
pub(crate) fn take_standard_input() -> io::Result<Channel> {
    let socket: OwnedFd = inherit::take(0, Kind::Stream).map_err(|why| io::Error::other(why.to_string()))?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(Channel::of(socket))
}

fn broken(error: io::Error) -> Error {
    Error::new("the supervisor is not understood").cause(error)
}
