//! The operations on files: each can be stopped by a test, before it and after it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use zeroize::Zeroizing;

/// The most bytes of a file.
pub(super) const FILE_MAX: usize = 256 * 1024;
/// The most names that are looked at in a folder.
const NAMES_MAX: usize = 65_536;

/// Begins the name of a file that is being written. No identifier begins so.
pub(super) const UNFINISHED: char = '.';

const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Called before and after each operation, with its name. An error stops it, and takes the place
/// of its result.
pub type Gate = Box<dyn Fn(&'static str) -> io::Result<()>>;

/// The operations.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) gate: Option<Gate>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// What has been found at a name.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    Missing,
    /// It is not to be trusted: why.
    Foreign(&'static str),
    /// Bytes.
    Bytes(Zeroizing<Vec<u8>>),
}

impl Disk {
    fn step<T>(&self, name: &'static str, operation: impl FnOnce() -> Result<T, Errno>) -> io::Result<T> {
        let Some(gate) = &self.gate else { return Ok(operation()?) };
        gate(name)?;
        let result = operation()?;
        gate(name)?;
        Ok(result)
    }

    /// Opens a folder below another, and makes it if it is missing.
    pub(super) fn folder(&self, parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
        match self.step("mkdir", || rustix::fs::mkdirat(parent, name, Mode::RWXU)) {
            Ok(()) => self.sync(parent)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let flags = COMMON | OFlags::RDONLY | OFlags::DIRECTORY;
        self.step("open", || rustix::fs::openat(parent, name, flags, Mode::empty()))
    }

    /// Opens the file that one process at a time locks. `None`: another one does.
    pub(super) fn lock(&self, folder: BorrowedFd<'_>, name: &str) -> io::Result<Option<OwnedFd>> {
        let flags = COMMON | OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
        let file = self.step("open", || rustix::fs::openat(folder, name, flags, PRIVATE_FILE))?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        match self.step("flock", || Ok(rustix::fs::flock(&file, operation)))? {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the names in a folder.
    pub(super) fn names(&self, folder: BorrowedFd<'_>) -> io::Result<Vec<String>> {
        let entries = self.step("list", || Dir::read_from(folder))?;
        let mut names = Vec::new();
        for entry in entries.take(NAMES_MAX) {
            let name = entry?.file_name().to_str().map(str::to_owned);
            names.extend(name.ok().filter(|name| name != "." && name != ".."));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a file of this user's alone. One that others can read is closed to them.
    pub(super) fn read(&self, folder: BorrowedFd<'_>, name: &str) -> io::Result<Content> {
        let flags = COMMON | OFlags::RDONLY | OFlags::NONBLOCK;
        let file = match self.step("open", || Ok(rustix::fs::openat(folder, name, flags, Mode::empty())))? {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Content::Missing),
            Err(Errno::LOOP) => return Ok(Content::Foreign("it is a symbolic link")),
            Err(Errno::NXIO) => return Ok(Content::Foreign("it is no regular file")),
            Err(errno) => return Err(errno.into()),
        };
        let stat = self.step("stat", || rustix::fs::fstat(&file))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Content::Foreign("it is no regular file"));
        }
        if !is_own(&stat) {
            return Ok(Content::Foreign("others may have written it"));
        }
        if stat.st_mode & 0o077 != 0 {
            self.step("chmod", || rustix::fs::fchmod(&file, PRIVATE_FILE))?;
        }
        // Allocated once, so that no copy of a key stays behind.
        let mut bytes = Zeroizing::new(vec![0; FILE_MAX + 1]);
        let mut len = 0;
        while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.step("read", || retry_on_intr(|| rustix::io::read(&file, &mut *rest)))? {
                0 => break,
                read => len += read,
            }
        }
        if len > FILE_MAX {
            return Ok(Content::Foreign("it is larger than 256 KiB"));
        }
        bytes.truncate(len);
        Ok(Content::Bytes(bytes))
    }

    /// Puts a new file in the place of that name: after a crash at any moment, the old content or
    /// the new one is there as a whole.
    pub(super) fn write(&self, folder: BorrowedFd<'_>, name: &str, content: &[u8]) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED}{name}");
        let result = self
            .fill(folder, &unfinished, content)
            .and_then(|()| self.step("rename", || rustix::fs::renameat(folder, &*unfinished, folder, name)));
        if result.is_err() {
            // What is left of it takes room that may be missing.
            let _removed = self.unlink(folder, &unfinished);
        }
        result?;
        self.sync(folder)
    }

    fn fill(&self, folder: BorrowedFd<'_>, unfinished: &str, content: &[u8]) -> io::Result<()> {
        let flags = COMMON | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let open = || self.step("create", || rustix::fs::openat(folder, unfinished, flags, PRIVATE_FILE));
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // The lock says that no other process writes here: it is a leftover.
                self.unlink(folder, unfinished)?;
                open()?
            }
            result => result?,
        };
        let mut rest = content;
        while !rest.is_empty() {
            let written = self.step("write", || retry_on_intr(|| rustix::io::write(&file, rest)))?;
            rest = rest.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
        self.sync(file.as_fd())
    }

    /// Gives a file another name in its folder.
    pub(super) fn rename(&self, folder: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        self.step("rename", || rustix::fs::renameat(folder, from, folder, to))?;
        self.sync(folder)
    }

    /// Removes a file. That it is not there is no error.
    pub(super) fn remove(&self, folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.unlink(folder, name)?;
        self.sync(folder)
    }

    fn unlink(&self, folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        match self.step("unlink", || Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())))? {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.step("fsync", || retry_on_intr(|| rustix::fs::fsync(file)))
    }
}

/// Whether it is this user's, and no other can write to it.
pub(super) fn is_own(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}
