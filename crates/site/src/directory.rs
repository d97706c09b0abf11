//! A directory as a site: listed once, opened again for each load, never left.
//!
//! Every look goes through `openat2` with `RESOLVE_BENEATH` from one descriptor of the root, so the kernel itself
//! refuses links and races that lead outside. What is served are regular files, through links or not; a pipe or a
//! device is never opened for reading.

use crate::error::{OpenFault, Warnings, printable};
use crate::names::Names;
use crate::path::{DEPTH_MAX, NAME_MAX};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The root of a site on disk.
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens `path`, or the folder `prefix` in it, as the root.
    pub(crate) fn open(path: &Path, prefix: Option<&str>) -> Result<Root, OpenFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| fault("open the directory", errno))?;
        let Some(prefix) =
            prefix.map(|prefix| prefix.trim_start_matches('/')).filter(|prefix| !prefix.is_empty())
        else {
            return Ok(Root { fd: top });
        };
        match beneath(top.as_fd(), prefix.as_bytes(), flags) {
            Ok(fd) => Ok(Root { fd }),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::INVAL) => {
                let entries = entries(&top).unwrap_or_default();
                let folders = entries.into_iter().filter(|(_, kind)| *kind == FileType::Directory);
                let folders = folders.take(8).map(|(name, _)| printable(&name)).collect();
                Err(OpenFault::NoSuchPrefix { prefix: prefix.to_owned(), folders })
            }
            Err(errno) => Err(fault("open the folder to serve", errno)),
        }
    }

    /// Every path to a regular file. `seen` is shown each folder before it is listed, and each file that a link leads to.
    pub(crate) fn files(&self, seen: Seen<'_>, warnings: &mut Warnings) -> Result<Names, OpenFault> {
        let mut walk = Walk { root: self.fd.as_fd(), found: Names::default(), visited: 0, seen, warnings };
        let identity = rustix::fs::fstat(&self.fd).map_err(|errno| fault("read the directory", errno))?;
        let dir = beneath(self.fd.as_fd(), b".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
            .map_err(|errno| fault("read the directory", errno))?;
        walk.directory(dir, &mut Vec::new(), &mut vec![Identity::of(&identity)])?;
        Ok(walk.found)
    }

    /// Opens a regular file for reading, and says what it is now.
    ///
    /// # Errors
    /// The kernel's, or `InvalidData` when it is no longer a regular file.
    pub(crate) fn file(&self, name: &[u8]) -> io::Result<(OwnedFd, Stat)> {
        // Non-blocking: a pipe put in the file's place must not hold a helper thread.
        let fd = beneath(
            self.fd.as_fd(),
            name,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        )?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no longer a regular file"));
        }
        Ok((fd, stat))
    }

    /// What a name leads to now, without opening it for reading.
    pub(crate) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::fstat(beneath(self.fd.as_fd(), name, OFlags::PATH | OFlags::CLOEXEC)?)
    }
}

/// A directory whatever its name, to notice a link into what is being walked.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(stat: &Stat) -> Identity {
        Identity { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Shown what a site is made of while it is opened, by descriptors that may be good for nothing but looking (`O_PATH`).
pub(crate) type Seen<'s> = &'s mut dyn FnMut(BorrowedFd<'_>);

struct Walk<'w> {
    root: BorrowedFd<'w>,
    found: Names,
    visited: usize,
    seen: Seen<'w>,
    warnings: &'w mut Warnings,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        dir: OwnedFd,
        path: &mut Vec<u8>,
        active: &mut Vec<Identity>,
    ) -> Result<(), OpenFault> {
        (self.seen)(dir.as_fd());
        let listed = entries(&dir);
        // Closed before going deeper: a deep tree must not need a descriptor for each level.
        drop(dir);
        let Ok(entries) = listed else {
            self.warnings.left_out(path, "this folder cannot be read");
            return Ok(());
        };
        let length = path.len();
        for (name, kind) in entries {
            self.visited += 1;
            if self.visited > VISITS_MAX {
                return Err(OpenFault::TooMany { what: "files and folders", limit: VISITS_MAX as u64 });
            }
            path.truncate(length);
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            // What is never served need not be walked; a link to it from a public name goes through the kernel.
            if !crate::path::is_public(path) {
                continue;
            }
            if path.len() > NAME_MAX {
                self.warnings.left_out(path, "its name is longer than 4096 bytes");
            } else if kind == FileType::RegularFile {
                self.found.push(path)?;
            } else {
                self.other(path, active)?;
            }
        }
        path.truncate(length);
        Ok(())
    }

    /// A folder, a link to anything, or what the file system does not tell: opened without touching what it is.
    fn other(&mut self, path: &mut Vec<u8>, active: &mut Vec<Identity>) -> Result<(), OpenFault> {
        let looked = beneath(self.root, path, OFlags::PATH | OFlags::CLOEXEC)
            .and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)))
            .map(|(fd, stat)| (fd, stat, FileType::from_raw_mode(stat.st_mode)));
        match looked {
            Ok((fd, _, FileType::RegularFile)) => {
                (self.seen)(fd.as_fd());
                self.found.push(path)
            }
            Ok((_, stat, FileType::Directory)) => {
                let identity = Identity::of(&stat);
                if active.contains(&identity) {
                    self.warnings.left_out(path, "it is a link to a folder that contains it");
                    return Ok(());
                }
                if active.len() >= DEPTH_MAX {
                    self.warnings.left_out(path, "it lies more than 256 folders deep");
                    return Ok(());
                }
                match beneath(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC) {
                    Ok(dir) => {
                        active.push(identity);
                        let walked = self.directory(dir, path, active);
                        active.pop();
                        walked
                    }
                    Err(_) => {
                        self.warnings.left_out(path, "this folder cannot be read");
                        Ok(())
                    }
                }
            }
            Ok(_) => {
                self.warnings.left_out(path, "it is a device, a socket or a named pipe");
                Ok(())
            }
            Err(errno) => {
                self.warnings.left_out(
                    path,
                    match errno {
                        Errno::XDEV => "it is a link that leads out of the site",
                        Errno::LOOP => "it is a link that leads to itself",
                        Errno::NOENT | Errno::NOTDIR => "it is a link to something that is not there",
                        _ => "it cannot be opened",
                    },
                );
                Ok(())
            }
        }
    }
}

/// The names in one directory, sorted so that the same tree gives the same site.
fn entries(dir: &OwnedFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // One more than the walk takes on: it will refuse, and memory stays bounded until then.
        if entries.len() > VISITS_MAX {
            break;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            kind => kind,
        };
        entries.push((name.to_bytes().to_vec(), kind));
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Opens a path that the kernel must find below `root`, links on the way included.
fn beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(root, &path, flags, Mode::empty(), resolve) {
            // Something was renamed while the kernel walked; openat2(2) asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

fn fault(doing: &'static str, errno: Errno) -> OpenFault {
    OpenFault::Io { doing, error: errno.into() }
}

/// Entries looked at in one walk.
const VISITS_MAX: usize = 2 << 20;
const RETRIES: u32 = 16;
