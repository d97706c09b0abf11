//! The choice of the engine, and what an operator reads where it cannot run.
//!
//! Whether io_uring works here is found out by making a small ring and using it, before anything is
//! bound: a kernel's version says little where a container's profile decides.

use std::io;
use std::num::NonZeroU16;
use std::time::Duration;

use rustix::io::Errno;
use sitar_engines::polling::{Cores, Polling};
use sitar_engines::rings::{self, NoRing};
use sitar_engines::{Because, Engine};
use sitar_io::Unavailable;

use crate::error::Error;
use crate::settings::EngineChoice;

/// Chooses the engine; `probe` finds out whether io_uring works. It is not asked for a polling
/// thread, whatever is wanted: the kernel ends that one some time after its ring is gone, and until
/// then it would take a core from the real ones.
///
/// # Errors
/// The engine that was asked for cannot run here, or io_uring fails for no reason that another
/// engine would avoid.
pub fn choose(
    wanted: EngineChoice,
    probe: impl FnOnce() -> Result<(), NoRing>,
    polling: impl FnOnce() -> Result<Polling, Error>,
) -> Result<Engine, Error> {
    match wanted {
        EngineChoice::Epoll => Ok(Engine::Epoll(None)),
        EngineChoice::Auto => match probe() {
            Ok(()) => Ok(Engine::Uring),
            Err(why) if lets_epoll_run(&why) => Ok(Engine::Epoll(Some(Because::from(&why)))),
            Err(why) => Err(explain(&why)),
        },
        EngineChoice::Uring => probe().map(|()| Engine::Uring).map_err(|why| explain(&why)),
        EngineChoice::Sqpoll => {
            let polling = polling()?;
            probe().map(|()| Engine::SqPoll(polling)).map_err(|why| explain(&why))
        }
    }
}

/// Returns the polling threads for the shards ([`Polling::new`]).
///
/// # Errors
/// Shard and poller would have one core.
pub fn polling(spin: Option<Duration>, shards: NonZeroU16, cores: Cores) -> Result<Polling, Error> {
    Polling::new(spin, shards, cores).ok_or_else(|| {
        Error::new("the polling engine needs two cores, and this process may use one")
            .cause("a shard and its polling thread keep each other waiting on one core")
            .hint("use --engine uring, or allow more cores (taskset, or the container's limit)")
    })
}

/// Whether io_uring is not to be had here and epoll is, as opposed to a failure that would end
/// both.
#[must_use]
pub fn lets_epoll_run(why: &NoRing) -> bool {
    why.why.is_out_of_memory()
        || matches!(why.why, Unavailable::KernelTooOld(_) | Unavailable::Missing | Unavailable::Forbidden)
}

/// Returns the error for an operator who asked for io_uring where it cannot run.
#[must_use]
pub fn explain(why: &NoRing) -> Error {
    let error = Error::new("cannot start the io_uring engine").cause(why);
    match &why.why {
        _ if why.hides_peers() => error
            .hint("boot Linux 6.7 or newer")
            .hint("or do without io_uring: --engine epoll, which --engine auto chooses by itself"),
        _ if why.is_limit() => error
            .hint(rings::RAISE)
            .hint("or make fewer rings: --shards")
            .hint("or do without: --engine epoll, which --engine auto chooses by itself"),
        Unavailable::KernelTooOld(_) | Unavailable::Missing => error
            .hint("io_uring needs Linux 6.1 or newer; without it there is --engine epoll, which --engine auto chooses by itself"),
        Unavailable::Forbidden => error
            .hint(
                "check `sysctl kernel.io_uring_disabled` (0 allows it); in a container, allow io_uring_setup, io_uring_enter and \
                 io_uring_register in its seccomp profile",
            )
            .hint("or do without: --engine epoll, which --engine auto chooses by itself"),
        Unavailable::FileLimit { .. } => error.hint("raise `ulimit -n`, or lower --connections"),
        why => match why.system_error() {
            Some(cause) => hint_for(error, cause),
            None => error,
        },
    }
}

/// Adds what raises the limit that the system's error stands for.
#[must_use]
pub fn hint_for(error: Error, cause: &io::Error) -> Error {
    match Errno::from_io_error(cause) {
        Some(Errno::MFILE) => {
            error.hint("raise the limit on open files: `ulimit -n`, or LimitNOFILE= in a systemd unit")
        }
        Some(Errno::NFILE) => error.hint("this machine has no file left to open: see `sysctl fs.file-max`"),
        Some(Errno::AGAIN) => error.hint(
            "allow more threads (TasksMax= in a systemd unit, `ulimit -u`, docker run --pids-limit), or start fewer: --shards",
        ),
        Some(Errno::NOMEM) => error.hint(
            "allow more memory (MemoryMax= in a systemd unit, `ulimit -v`, docker run --memory), or start fewer shards: --shards",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
