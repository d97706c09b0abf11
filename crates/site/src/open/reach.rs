//! Opening what lies at a site's path, and what of it a sandbox keeps out of reach.

use super::error::{OpenError, OpenFault};
use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// Opens what lies at the path of a site, for [`Site::open_with`](crate::Site::open_with). Another
/// process may do so, and pass the descriptor.
///
/// # Errors
/// The kernel's.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    // Non-blocking, or a named pipe would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The reason why a directory that is there, and that this user may read, cannot be read: the
/// sandbox of this process does not reach so far. A process that enters its sandbox later may.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach;

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is out of reach of the sandbox")
    }
}

impl std::error::Error for OutOfReach {}

impl From<OutOfReach> for io::Error {
    fn from(error: OutOfReach) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, error)
    }
}

impl OpenError {
    /// Whether the site is there, but [out of reach](OutOfReach) of the sandbox.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        let OpenFault::Io { error, .. } = self.fault() else { return false };
        error.get_ref().is_some_and(|inner| inner.is::<OutOfReach>())
    }
}

/// The fault of a directory that was opened to be looked at, and cannot be opened for reading.
pub(super) fn unreadable(doing: &'static str, directory: BorrowedFd<'_>, errno: Errno) -> OpenFault {
    let error =
        if errno == Errno::ACCESS && has_permission(directory) { OutOfReach.into() } else { errno.into() };
    OpenFault::Io { doing, error }
}

/// Whether owner, group and mode let this user read a directory. The kernel asks Landlock when
/// something is opened, and not for this.
fn has_permission(directory: BorrowedFd<'_>) -> bool {
    let wanted = Access::READ_OK | Access::EXEC_OK;
    rustix::fs::accessat(directory, c".", wanted, AtFlags::empty()) != Err(Errno::ACCESS)
}

#[cfg(test)]
mod tests;
