//! Reasons why io_uring cannot be used.

use std::fmt;
use std::io;

use super::KERNEL_MIN;

/// The reason why the engine cannot run here.
#[derive(Debug)]
pub enum Unavailable {
    /// The kernel is older than 6.1.
    KernelTooOld(String),
    /// Forbidden by seccomp (containers) or by the sysctl `kernel.io_uring_disabled`.
    Forbidden,
    /// The kernel was built without io_uring, or a seccomp profile answers as if it was (ENOSYS).
    Missing,
    /// The file table is larger than the limit on open files (`ulimit -n`).
    FileLimit {
        /// Places that were asked for.
        wanted: u32,
    },
    /// Anything else, with the step that failed.
    Failed(&'static str, io::Error),
}

impl Unavailable {
    /// Returns the system's error, where this is one that the others do not name.
    #[must_use]
    pub fn system_error(&self) -> Option<&io::Error> {
        if let Unavailable::Failed(_, error) = self { Some(error) } else { None }
    }

    /// Returns whether the kernel had no memory, or would lock no more of it for this user (since
    /// 6.14; see [`Queues::locked`](super::Queues::locked)). The memory of a ring that was closed,
    /// by whatever process, is given back some time later: so asking again soon may help.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.system_error().is_some_and(|error| {
            error.raw_os_error() == Some(libc::ENOMEM) || error.kind() == io::ErrorKind::OutOfMemory
        })
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::KernelTooOld(release) => {
                write!(f, "kernel {release} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1)
            }
            Unavailable::Forbidden => {
                write!(
                    f,
                    "io_uring is forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled)"
                )
            }
            Unavailable::Missing => {
                write!(f, "this kernel was built without io_uring, or a seccomp profile hides it")
            }
            Unavailable::FileLimit { wanted } => {
                write!(f, "the limit on open files is below {wanted} (ulimit -n)")
            }
            Unavailable::Failed(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

impl std::error::Error for Unavailable {}
