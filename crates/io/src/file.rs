//! A file that can be read through a ring, from any thread, as long as a handle to it is held.

use std::any::Any;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::walk::{self, Bounds};

/// Flags of an open below a directory: for reading, never becoming the process's terminal.
pub(crate) const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
/// Flags of a lookup: whatever the path and the links on it say, the file lies below the directory,
/// or the answer is EXDEV.
pub(crate) const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// Number of tries of a plain open that is interrupted, or that a rename got in the way of.
const ATTEMPTS: u32 = 16;

/// A counted handle to an open file or directory. Operations in flight hold one too, so the
/// descriptor is never closed under the kernel (invariant I2). The last handle closes it, by
/// close(2) on the thread that drops it.
#[derive(Clone, Debug)]
pub struct File {
    inner: Arc<Held>,
}

/// An open descriptor and what goes with it, in the order in which they are dropped.
#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    lease: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl File {
    /// Opens a directory, to open and to look at what is below it
    /// ([`Ring::open_at`](crate::Ring::open_at)). Blocks the calling thread.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn directory(path: &Path) -> io::Result<File> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
    }

    /// Keeps `lease` until the descriptor has been closed: the place of this file in an account of
    /// open files, for example. Only the first one is kept; a file has one account.
    pub fn keep(&self, lease: impl Any + Send + Sync) {
        // A second lease is dropped here.
        let _ = self.inner.lease.set(Box::new(lease));
    }

    /// Whether both are handles to one open file.
    #[must_use]
    pub fn is_same(&self, other: &File) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Fills `buf` from byte offset `at`, blocking the calling thread: for start-up and helper
    /// threads.
    ///
    /// # Errors
    /// The kernel's error, or [`io::ErrorKind::UnexpectedEof`] when the file ends first.
    pub fn read_exact_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match rustix::io::pread(&self.inner.fd, &mut *buf, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    at += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Does an `Open` by plain calls, for engines that have no other way. A pipe without a writer
    /// does not hold the caller up.
    pub(crate) fn open_below(&self, path: &CStr) -> Result<File, Errno> {
        let flags = OPEN | OFlags::NONBLOCK;
        let mut attempts = 0;
        let fd = loop {
            attempts += 1;
            match rustix::fs::openat2(self, path, flags, Mode::empty(), RESOLVE) {
                // EAGAIN: another process keeps renaming directories (openat2(2)).
                Err(Errno::INTR | Errno::AGAIN) if attempts < ATTEMPTS => {}
                // Not in this kernel, or refused by a seccomp filter.
                Err(Errno::NOSYS | Errno::PERM) => {
                    break walk::open(self.as_fd(), path.to_bytes(), flags, Bounds::default(), &mut |_| ())?;
                }
                done => break done?,
            }
        };
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(fd.into())
    }

    /// Does a `Stat` by a plain call, for engines that have no other way.
    pub(crate) fn look_below(&self, path: &CStr) -> Result<FileStat, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        match rustix::fs::statx(self, path, flags, StatxFlags::BASIC_STATS) {
            // Before Linux 4.11, or refused by a seccomp filter.
            Err(Errno::NOSYS | Errno::PERM) => rustix::fs::statat(self, path, flags).map(FileStat::from),
            found => found.map(FileStat::from),
        }
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File { inner: Arc::new(Held { fd, lease: OnceLock::new() }) }
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        OwnedFd::from(file).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket, a device.
    Other,
}

/// Facts about a file: the part of statx(2) that every file system has.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct FileStat {
    /// `stx_mode`: kind and permissions.
    pub(crate) mode: u16,
    pub(crate) size: u64,
    pub(crate) inode: u64,
    pub(crate) device: (u32, u32),
    pub(crate) links: u32,
    /// `stx_mtime`: seconds since 1970 and nanoseconds.
    pub(crate) modified: (i64, u32),
}

impl FileStat {
    /// Returns the kind of the file.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        match rustix::fs::FileType::from_raw_mode(self.mode.into()) {
            rustix::fs::FileType::RegularFile => FileKind::Regular,
            rustix::fs::FileType::Directory => FileKind::Directory,
            rustix::fs::FileType::Symlink => FileKind::Symlink,
            _ => FileKind::Other,
        }
    }

    /// Returns the size in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a size, not a container")]
    pub fn len(&self) -> u64 {
        self.size
    }

    /// Permission bits, without the kind: `0o644`.
    #[must_use]
    pub fn permissions(&self) -> u16 {
        self.mode & 0o7777
    }

    /// Returns the number of the file in its file system.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Major and minor number of the device that it lies on.
    #[must_use]
    pub fn device(&self) -> (u32, u32) {
        self.device
    }

    /// Returns the number of names that the file has.
    #[must_use]
    pub fn links(&self) -> u32 {
        self.links
    }

    /// Returns when the content changed last, `None` where that cannot be expressed.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.modified;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second = match seconds < 0 {
            true => SystemTime::UNIX_EPOCH.checked_sub(whole),
            false => SystemTime::UNIX_EPOCH.checked_add(whole),
        };
        second?.checked_add(Duration::from_nanos(nanoseconds.into()))
    }
}

impl fmt::Debug for FileStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileStat({:?}, {} bytes)", self.kind(), self.size)
    }
}

impl From<rustix::fs::Statx> for FileStat {
    fn from(found: rustix::fs::Statx) -> FileStat {
        FileStat {
            mode: found.stx_mode,
            size: found.stx_size,
            inode: found.stx_ino,
            device: (found.stx_dev_major, found.stx_dev_minor),
            links: found.stx_nlink,
            modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        }
    }
}

impl From<rustix::fs::Stat> for FileStat {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the fields' widths differ between targets"
    )]
    fn from(found: rustix::fs::Stat) -> FileStat {
        FileStat {
            mode: found.st_mode as u16,
            size: found.st_size as u64,
            inode: found.st_ino as u64,
            device: (rustix::fs::major(found.st_dev as u64), rustix::fs::minor(found.st_dev as u64)),
            links: u32::try_from(found.st_nlink).unwrap_or(u32::MAX),
            modified: (found.st_mtime as i64, found.st_mtime_nsec as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_says_what_statx_says() {
        let file = File::directory(Path::new("/proc/self")).unwrap();
        for (path, name) in
            [(c"", "itself"), (c"exe", "a link"), (c"status", "a file"), (c"fd", "a directory")]
        {
            let plain =
                rustix::fs::statat(&file, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).unwrap();
            assert_eq!(FileStat::from(plain), file.look_below(path).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_lease_lasts_as_long_as_the_last_handle() {
        let (first, second) = (Arc::new(()), Arc::new(()));
        let file = File::directory(Path::new("/proc/self")).unwrap();
        file.keep(Arc::clone(&first));
        file.keep(Arc::clone(&second));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (2, 1), "one is kept");
        let other = file.clone();
        assert!(file.is_same(&other));
        drop(file);
        assert_eq!(Arc::strong_count(&first), 2);
        drop(other);
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn times_before_1970_and_absurd_ones_are_times_or_none() {
        let mut stat =
            FileStat { mode: 0o100_644, size: 1, inode: 2, device: (0, 1), links: 1, modified: (-1, 5) };
        assert_eq!(stat.modified(), SystemTime::UNIX_EPOCH.checked_sub(Duration::from_nanos(999_999_995)));
        assert_eq!((stat.kind(), stat.permissions()), (FileKind::Regular, 0o644));
        stat.modified = (i64::MIN, u32::MAX);
        assert!(stat.modified().is_none_or(|time| time < SystemTime::UNIX_EPOCH));
        stat.modified = (i64::MAX, u32::MAX);
        assert_eq!(stat.modified(), None);
    }
}
