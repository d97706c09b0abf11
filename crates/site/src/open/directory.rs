//! A directory as a site: listed once, opened again for each load, never left.
//!
//! Every look goes through `openat2` with `RESOLVE_BENEATH` from one descriptor of the root, so the
//! kernel itself refuses links and races that lead outside; where there is no such call, sitar-io
//! walks the same way name by name. So it does for links that lead out of the root and back into
//! it, which `openat2` refuses. What is served are regular files, through links or not; a pipe or a
//! device is never opened for reading.
//!
//! With [`Options::follow_links`](crate::Options::follow_links) links may lead anywhere but into
//! file systems that the kernel makes up, such as `/proc`.

use crate::open::error::{OpenFault, Warnings};
use crate::open::names::Names;
use crate::open::path::{DEPTH_MAX, NAME_MAX};
use crate::open::printable::printable;
use crate::open::reach::unreadable;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use sitar_io::walk::{self, Bounds, Step};
use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The root of a site on disk.
pub struct Root {
    fd: OwnedFd,
    /// Its own absolute paths: links may use them.
    names: Vec<Box<[u8]>>,
    /// Links may lead out of it.
    follow: bool,
    /// There is an `openat2`.
    by_kernel: bool,
}

impl Root {
    /// Opens `path`, or the folder `prefix` in it, as the root; with `follow`, links may lead out
    /// of it.
    ///
    /// # Errors
    /// The kernel's, or there is no such folder.
    pub fn open(path: &Path, prefix: Option<&str>, follow: bool) -> Result<Root, OpenFault> {
        let fd = rustix::fs::open(path, FOLDER, Mode::empty())
            .map_err(|errno| fault("open the directory", errno))?;
        Root::of(fd, path, prefix, follow)
    }

    /// Returns the root that an open directory is, or the folder `prefix` in it. `path` is what it
    /// was opened by.
    ///
    /// # Errors
    /// As for [`open`](Root::open).
    pub(crate) fn of(
        top: OwnedFd,
        path: &Path,
        prefix: Option<&str>,
        follow: bool,
    ) -> Result<Root, OpenFault> {
        let top = Root { names: own_names(&top, path), by_kernel: has_openat2(&top), fd: top, follow };
        let Some(prefix) =
            prefix.map(|prefix| prefix.trim_start_matches('/')).filter(|prefix| !prefix.is_empty())
        else {
            return Ok(top);
        };
        match top.beneath(prefix.as_bytes(), FOLDER) {
            Ok(fd) => Ok(Root { names: own_names(&fd, &path.join(prefix)), fd, ..top }),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::INVAL) => {
                let entries = entries(&top.fd).unwrap_or_default();
                let folders = entries.into_iter().filter(|(_, kind)| *kind == FileType::Directory);
                let folders = folders.take(8).map(|(name, _)| printable(&name)).collect();
                Err(OpenFault::NoSuchPrefix { prefix: prefix.to_owned(), folders })
            }
            Err(errno) => {
                let doing = "open the folder to serve";
                match top.beneath(prefix.as_bytes(), OFlags::PATH | OFlags::CLOEXEC) {
                    Ok(folder) => Err(unreadable(doing, folder.as_fd(), errno)),
                    Err(_) => Err(fault(doing, errno)),
                }
            }
        }
    }

    /// Returns every path to a regular file. `show` is given each folder before it is listed, and
    /// what links lead to and through.
    pub(crate) fn files(&self, show: Show<'_>, warnings: &mut Warnings) -> Result<Names, OpenFault> {
        let mounted = self.names.first().map(|own| mounted_below(own)).unwrap_or_default();
        let mut walk =
            DirectoryWalk { root: self, found: Names::default(), visited: 0, mounted, show, warnings };
        let identity = rustix::fs::fstat(&self.fd).map_err(|errno| fault("read the directory", errno))?;
        let dir = rustix::fs::openat(&self.fd, c".", FOLDER, Mode::empty())
            .map_err(|errno| unreadable("read the directory", self.fd.as_fd(), errno))?;
        walk.directory(dir, &mut Vec::new(), &mut vec![Inode::of(&identity)])?;
        Ok(walk.found)
    }

    /// Opens a regular file for reading, and says what it is now.
    ///
    /// # Errors
    /// The kernel's, or `InvalidData` when it is no longer a regular file.
    pub(crate) fn file(&self, name: &[u8]) -> io::Result<(OwnedFd, Stat)> {
        // Non-blocking: a pipe put in the file's place must not hold a helper thread.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = if self.follow { self.regular(name, flags)? } else { self.beneath(name, flags)? };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular());
        }
        Ok((fd, stat))
    }

    /// Opens a regular file, and nothing else even for a moment: a link may lead to a device by
    /// now, and opening one can have effects of its own.
    fn regular(&self, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let looked = self.beneath(name, OFlags::PATH | OFlags::CLOEXEC)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&looked)?.st_mode) != FileType::RegularFile {
            return Err(not_regular());
        }
        // There is no other call that opens what a descriptor is of; without /proc, what the name
        // leads to is opened once more.
        match rustix::fs::open(format!("/proc/self/fd/{}", looked.as_raw_fd()), flags, Mode::empty()) {
            Err(Errno::NOENT) => Ok(self.beneath(name, flags)?),
            opened => Ok(opened?),
        }
    }

    /// Looks at what a name leads to now, without opening it for reading.
    pub(crate) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.beneath(name, OFlags::PATH | OFlags::CLOEXEC)?)
    }

    /// Opens a path that leads, links on the way included, to what may be served.
    fn beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let opened = match self.by_kernel.then(|| self.by_kernel(path, flags)) {
            // Links may lead out of the root and back: only the walk allows that.
            Some(Err(Errno::XDEV)) | None => self.by_walk(path, flags, &mut |_| ()),
            Some(opened) => opened,
        }?;
        if self.follow && is_made_up(&opened)? {
            return Err(Errno::XDEV);
        }
        Ok(opened)
    }

    fn by_kernel(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = CString::new(path).map_err(|_| Errno::INVAL)?;
        let mut resolve = ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::BENEATH, !self.follow);
        for _ in 0..RETRIES {
            match rustix::fs::openat2(&self.fd, &path, flags, Mode::empty(), resolve) {
                // Something was renamed while the kernel walked; openat2(2) asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    fn by_walk(&self, path: &[u8], flags: OFlags, seen: &mut dyn FnMut(Step<'_>)) -> Result<OwnedFd, Errno> {
        let bounds = Bounds { names: &self.names, leave: self.follow };
        walk::open(self.fd.as_fd(), path, flags, bounds, seen)
    }
}

/// The absolute paths of a directory that was opened by `path`: the one without links first, then
/// `path` itself. Without the latter when another directory lies there by now, or when this user
/// may not look there and another one has opened it.
fn own_names(fd: &OwnedFd, path: &Path) -> Vec<Box<[u8]>> {
    let identity = |stat: Result<Stat, Errno>| stat.ok().map(|stat| Inode::of(&stat));
    let own = identity(rustix::fs::fstat(fd));
    let real = path.canonicalize().ok().filter(|real| identity(rustix::fs::stat(real)) == own);
    let given = real.is_some().then(|| std::path::absolute(path).ok()).flatten();
    let given = given.filter(|path| !path.components().any(|part| part == Component::ParentDir));
    let real = real.or_else(|| name_of(fd));
    [real, given].into_iter().flatten().map(|path| path.as_os_str().as_bytes().into()).collect()
}

/// The absolute path by which the kernel knows an open directory, unless that was removed or lies
/// outside of what this process can see. `None` where there is no `/proc`.
fn name_of(fd: &OwnedFd) -> Option<PathBuf> {
    let is_there = rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_nlink > 0);
    let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    name.ok().filter(|name| is_there && name.is_absolute())
}

/// The mount points below a directory, relative to it. None where `/proc` does not tell.
fn mounted_below(own: &[u8]) -> HashSet<Vec<u8>> {
    std::fs::read("/proc/self/mountinfo").map(|mounts| mounts_in(&mounts, own)).unwrap_or_default()
}

/// Returns the same from the text of `mountinfo` (proc_pid_mountinfo(5)): the fifth field is the
/// mount point.
fn mounts_in(mounts: &[u8], own: &[u8]) -> HashSet<Vec<u8>> {
    let points =
        mounts.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    let below = points.filter_map(|point| {
        let point = unescaped(point);
        let rest = point.strip_prefix(own)?;
        if own == b"/" { Some(rest.to_vec()) } else { rest.strip_prefix(b"/").map(<[u8]>::to_vec) }
    });
    below.filter(|name| !name.is_empty()).collect()
}

/// Undoes the escapes of `mountinfo`: a backslash and three octal digits for a space, a tab, a line
/// feed and a backslash.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let digits = rest.first_chunk::<3>().filter(|_| first == b'\\').and_then(|digits| {
            let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?;
            Some((value, &rest[3..]))
        });
        let (byte, rest) = digits.unwrap_or((first, rest));
        bytes.push(byte);
        text = rest;
    }
    bytes
}

/// Kernels before 5.6 have no `openat2`, and seccomp filters of old container runtimes and of
/// systemd-nspawn refuse it.
fn has_openat2(fd: &OwnedFd) -> bool {
    #[cfg(test)]
    if tests::is_walking() {
        return false;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(fd, c".", flags, Mode::empty(), ResolveFlags::BENEATH).is_ok()
}

/// Whether a file lies in a file system that the kernel makes up: its files are its own inside, and
/// may belong to this very process (`/proc/self`).
fn is_made_up(fd: &OwnedFd) -> Result<bool, Errno> {
    // Magic numbers have 32 bits, whatever the field has.
    Ok(MADE_UP.contains(&(rustix::fs::fstatfs(fd)?.f_type as u32)))
}

/// The identity of a directory, whatever its name, to notice a link into what is being walked.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Inode {
    device: u64,
    inode: u64,
}

impl Inode {
    fn of(stat: &Stat) -> Inode {
        Inode { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Something that a site is made of, shown before it is read. Descriptors may be good for nothing
/// but looking (`O_PATH`).
#[derive(Debug)]
pub enum Seen<'s> {
    /// The archive, a folder, or a file that a link leads to.
    Content(BorrowedFd<'s>),
    /// A step on the way of a link.
    Step(Step<'s>),
}

/// A callback for each thing that a site is made of, while it is opened.
pub(crate) type Show<'s> = &'s mut dyn FnMut(Seen<'_>);

struct DirectoryWalk<'w> {
    root: &'w Root,
    found: Names,
    visited: usize,
    /// The names in it on which something has been mounted.
    mounted: HashSet<Vec<u8>>,
    show: Show<'w>,
    warnings: &'w mut Warnings,
}

impl DirectoryWalk<'_> {
    fn directory(
        &mut self,
        dir: OwnedFd,
        path: &mut Vec<u8>,
        active: &mut Vec<Inode>,
    ) -> Result<(), OpenFault> {
        (self.show)(Seen::Content(dir.as_fd()));
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
            // A name that is never served need not be walked; a link to it from a public name goes
            // through the kernel.
            if !crate::open::path::is_public(path) {
                continue;
            }
            if path.len() > NAME_MAX {
                self.warnings.left_out(path, "its name is longer than 4096 bytes");
            } else if kind == FileType::RegularFile {
                // A file that is mounted there by itself has its events in the folder that it comes
                // from, and not in this one.
                if self.mounted.contains(path)
                    && let Ok(fd) = self.root.beneath(path, OFlags::PATH | OFlags::CLOEXEC)
                {
                    (self.show)(Seen::Content(fd.as_fd()));
                }
                self.found.push(path)?;
            } else {
                self.other(path, kind, active)?;
            }
        }
        path.truncate(length);
        Ok(())
    }

    /// Handles an entry that is a folder or a link, or of a type that the file system does not
    /// name. It is opened without touching what it leads to.
    fn other(
        &mut self,
        path: &mut Vec<u8>,
        kind: FileType,
        active: &mut Vec<Inode>,
    ) -> Result<(), OpenFault> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = match kind {
            FileType::Symlink => self.root.by_walk(path, flags, &mut |step| (self.show)(Seen::Step(step))),
            _ => self.root.beneath(path, flags),
        };
        let looked = opened
            .and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)))
            .map(|(fd, stat)| (fd, stat, FileType::from_raw_mode(stat.st_mode)));
        match looked {
            Ok((fd, ..)) if self.root.follow && is_made_up(&fd).unwrap_or(true) => {
                self.warnings.left_out(path, MADE_UP_WHY);
                Ok(())
            }
            Ok((fd, _, FileType::RegularFile)) => {
                (self.show)(Seen::Content(fd.as_fd()));
                self.found.push(path)
            }
            Ok((_, stat, FileType::Directory)) => {
                let identity = Inode::of(&stat);
                if active.contains(&identity) {
                    self.warnings.left_out(path, "it is a link to a folder that contains it");
                    return Ok(());
                }
                if active.len() >= DEPTH_MAX {
                    self.warnings.left_out(path, "it lies more than 256 folders deep");
                    return Ok(());
                }
                match self.root.beneath(path, FOLDER) {
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
                        Errno::XDEV if self.root.follow => MADE_UP_WHY,
                        Errno::XDEV => "it is a link that leads out of the site (--follow-links)",
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

/// Returns the names in one directory, sorted so that the same tree gives the same site.
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

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no longer a regular file")
}

fn fault(doing: &'static str, errno: Errno) -> OpenFault {
    OpenFault::Io { doing, error: errno.into() }
}

/// A folder that is to be listed, or to be the root.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Entries looked at in one walk.
const VISITS_MAX: usize = 2 << 20;
const RETRIES: u32 = 16;

const MADE_UP_WHY: &str = "it lies in a file system that the kernel makes up, such as /proc";
/// Magic numbers (statfs(2)) of proc, sysfs, debugfs, tracefs, securityfs, selinuxfs, smackfs,
/// cgroup, cgroup2, bpf, pstore, efivarfs, configfs, devpts, mqueue, fusectl, binfmt_misc, nsfs,
/// resctrl and xenfs.
const MADE_UP: [u32; 20] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xf97c_ff8c,
    0x4341_5d53,
    0x0027_e0eb,
    0x6367_7270,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x6265_6570,
    0x1cd1,
    0x1980_0202,
    0x6573_5543,
    0x4249_4e4d,
    0x6e73_6673,
    0x0765_5821,
    0xabba_1974,
];

#[cfg(test)]
pub(crate) mod tests;
