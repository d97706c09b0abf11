//! Why io_uring cannot be used.

use std::fmt;
use std::io;

use super::KERNEL_MIN;

/// Why the engine cannot run here.
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
        /// What was asked for.
        wanted: u32,
    },
    /// Anything else, with the step that failed.
    Failed(&'static str, io::Error),
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
