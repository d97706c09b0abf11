//! Directories and files that no other user can have prepared.
//!
//! The environment may name a place of another user: it survives `su` without a dash and `sudo -E`.
//! What is found there could be a link, a FIFO, or a certificate with a key that the other user
//! kept. So a path is walked once, to a descriptor; its owner and mode are read from that
//! descriptor, and everything below is reached from it by name, never through a link.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::trust::shell_word;

/// Flags of every directory that is only walked through.
const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags of every directory that is used.
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const STICKY: u32 = 0o1000;

/// The reason that a file or directory is not used.
#[derive(Debug)]
pub(crate) struct Refusal {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// It belongs to the user of this number.
    Owner(u32),
    /// Others may write, by this mode.
    Mode(u32),
    /// It is of another kind.
    Kind(&'static str),
    /// A file that has several names, and may be a foreign one.
    Links,
    Io(io::Error),
}

impl Refusal {
    pub(super) fn io(path: &Path, error: impl Into<io::Error>) -> Refusal {
        Refusal { path: path.to_owned(), reason: Reason::Io(error.into()) }
    }

    /// Returns whether it is another user's, so that there is nothing for this user to put right.
    pub(super) fn is_foreign(&self) -> bool {
        match &self.reason {
            Reason::Owner(_) => true,
            Reason::Io(error) => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Returns the reason and what to type, in one line.
    pub(crate) fn with_hint(&self) -> String {
        self.hint().map_or_else(|| self.to_string(), |hint| format!("{self}; {hint}"))
    }

    /// Returns what to type.
    pub(super) fn hint(&self) -> Option<String> {
        let path = shell_word(&self.path);
        match &self.reason {
            Reason::Mode(mode) if mode & STICKY == 0 => {
                Some(format!("let only its owner write: chmod go-w {path}"))
            }
            Reason::Mode(_) => Some("a directory of its own below it will do".to_owned()),
            Reason::Owner(_) => {
                Some(format!("see what it is, and if it is not needed, remove it: ls -la {path}"))
            }
            Reason::Kind(_) | Reason::Links => {
                let mut aside = self.path.clone().into_os_string();
                aside.push(".old");
                Some(format!("move it away: mv {path} {}", shell_word(Path::new(&aside))))
            }
            Reason::Io(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Some(format!("move away what sitar did not put there: ls -la {path}"))
            }
            Reason::Io(_) => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.reason {
            Reason::Owner(uid) => write!(f, "{path} belongs to another user (uid {uid})"),
            Reason::Mode(mode) => write!(f, "others can write to {path} (mode {:04o})", mode & 0o7777),
            Reason::Kind(kind) => write!(f, "{path} is {kind}"),
            Reason::Links => write!(f, "{path} has a second name somewhere (a hard link)"),
            Reason::Io(error) => write!(f, "{path}: {error}"),
        }
    }
}

/// The owner that a directory must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// This user's, and no group may write, as sitar makes its own.
    Alone,
    /// This user's, and only this user may write.
    Own,
    /// This user's or root's; others may write if they cannot move what is not theirs, as in
    /// `/tmp`.
    Shared,
}

/// A directory that is there or can be made, reached without following a link.
#[derive(Debug)]
pub(crate) struct Base {
    /// The deepest directory that is there.
    descriptor: OwnedFd,
    /// Its path, free of links.
    path: PathBuf,
    /// The directories to make below it, from the outside to the inside.
    missing: Vec<OsString>,
}

impl Base {
    /// Walks to `path`. Links on the way are resolved into names first; the walk itself follows
    /// none.
    ///
    /// For root each directory on the way is held to [`Rule::Shared`], or another user could
    /// exchange what lies below. For other users only the last one is: those above may belong to
    /// accounts of the system.
    pub(crate) fn walk(path: &Path, rule: Rule) -> Result<Base, Refusal> {
        let (real, missing) = resolve(path)?;
        let mut so_far = PathBuf::from("/");
        let mut descriptor = rustix::fs::openat(CWD, &so_far, WALK, Mode::empty())
            .map_err(|errno| Refusal::io(&so_far, errno))?;
        // Root, or in a user namespace the number that stands for it there.
        let root = stat(&descriptor, &so_far)?.st_uid;
        for name in real.components().filter(|part| matches!(part, Component::Normal(_))) {
            if geteuid().is_root() {
                check(&stat(&descriptor, &so_far)?, &so_far, Rule::Shared, root)?;
            }
            so_far.push(name);
            descriptor = rustix::fs::openat(&descriptor, name.as_os_str(), WALK, Mode::empty())
                .map_err(|errno| Refusal::io(&so_far, errno))?;
        }
        // Where something is missing, this is a directory above, in which it is made.
        let rule = if missing.is_empty() { rule } else { Rule::Shared };
        check(&stat(&descriptor, &so_far)?, &so_far, rule, root)?;
        Ok(Base { descriptor, path: so_far, missing })
    }

    /// Returns the path, free of links.
    pub(crate) fn path(&self) -> PathBuf {
        self.missing.iter().fold(self.path.clone(), |path, name| path.join(name))
    }

    pub(crate) fn exists(&self) -> bool {
        self.missing.is_empty()
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Makes what is missing and returns the directory.
    pub(crate) fn make(&self) -> Result<OwnedFd, Refusal> {
        let mut path = self.path.clone();
        let mut descriptor = self.descriptor.try_clone().map_err(|error| Refusal::io(&path, error))?;
        for name in &self.missing {
            path.push(name);
            descriptor = make_directory(&descriptor, name, &path)?;
        }
        Ok(descriptor)
    }
}

/// Opens a directory that belongs to this user, and that no other may write to; `None` where there
/// is none.
pub(super) fn open_directory(at: &OwnedFd, name: &OsStr, path: &Path) -> Result<Option<OwnedFd>, Refusal> {
    let descriptor = match rustix::fs::openat(at, name, OPEN, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(explain(at, name, path, errno)),
        Ok(descriptor) => descriptor,
    };
    check(&stat(&descriptor, path)?, path, Rule::Alone, geteuid().as_raw())?;
    Ok(Some(descriptor))
}

/// Makes a directory for this user alone, or takes one that is there if it is such a directory.
pub(crate) fn make_directory(at: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, Refusal> {
    let made = match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(Refusal::io(path, errno)),
        Ok(()) => true,
    };
    let Some(descriptor) = open_directory(at, name, path)? else {
        return Err(Refusal::io(path, Errno::NOENT));
    };
    if made {
        // Whatever the umask and a default ACL made of it. One that was there is left as it is.
        rustix::fs::fchmod(&descriptor, Mode::RWXU).map_err(|errno| Refusal::io(path, errno))?;
    }
    Ok(descriptor)
}

/// Opens a regular file of this user's alone for writing, made if it is not there.
pub(super) fn open_or_create(at: &OwnedFd, name: &str, path: &Path) -> Result<File, Refusal> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| explain(at, name.as_ref(), path, errno))?;
    let stat = stat(&descriptor, path)?;
    let reason = if let Some(kind) = kind(&stat, FileType::RegularFile) {
        Reason::Kind(kind)
    } else if stat.st_uid != geteuid().as_raw() {
        Reason::Owner(stat.st_uid)
    } else if stat.st_nlink > 1 {
        Reason::Links
    } else {
        return open_to_owner(&descriptor)
            .map(|()| File::from(descriptor))
            .map_err(|errno| Refusal::io(path, errno));
    };
    Err(Refusal { path: path.to_owned(), reason })
}

/// Lets the owner read and write a file, whatever the umask made of it: the next start has to open
/// it, too.
pub(super) fn open_to_owner(file: &OwnedFd) -> Result<(), Errno> {
    let (wanted, mode) = (Mode::RUSR | Mode::WUSR, rustix::fs::fstat(file)?.st_mode & 0o777);
    if mode == wanted.as_raw_mode() {
        return Ok(());
    }
    match rustix::fs::fchmod(file, wanted) {
        // File systems that keep no modes (vfat) refuse what they cannot keep.
        Err(Errno::PERM) if mode & 0o600 == 0o600 => Ok(()),
        done => done,
    }
}

/// Opens a regular file for reading and returns it with what the kernel says about it. A FIFO does
/// not make it wait.
///
/// # Errors
/// It cannot be opened, or it is something else; a link is something else.
pub(crate) fn open_file(at: &OwnedFd, name: impl rustix::path::Arg) -> io::Result<(File, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(at, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&descriptor)?;
    match kind(&stat, FileType::RegularFile) {
        Some(kind) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is {kind}"))),
        None => Ok((File::from(descriptor), stat)),
    }
}

/// Reads a whole file of at most `max` bytes.
///
/// # Errors
/// It cannot be read, or it is larger.
pub(crate) fn read(file: &File, max: u64) -> io::Result<Vec<u8>> {
    // As large as it can get: a vector that grows leaves copies of a key behind.
    let mut bytes = Vec::with_capacity(usize::try_from(max.saturating_add(1)).unwrap_or(0));
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Returns where a program really lies, if no user but root (and this one) can have put it there.
pub(crate) fn program(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let (folder, name) = (path.parent()?, path.file_name()?);
    let base = Base::walk(folder, Rule::Shared).ok().filter(Base::exists)?;
    let stat = rustix::fs::statat(base.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_safe = kind(&stat, FileType::RegularFile).is_none() && is_guarded(&stat);
    is_safe.then(|| base.path().join(name))
}

/// Returns whether no user but root (and this one) can write to it.
pub(crate) fn is_guarded(stat: &Stat) -> bool {
    (stat.st_uid == geteuid().as_raw() || stat.st_uid == 0) && !others_may_write(stat)
}

/// Splits a path into what is there, its links resolved, and what is not.
fn resolve(path: &Path) -> Result<(PathBuf, Vec<OsString>), Refusal> {
    let mut rest = path;
    let mut missing = Vec::new();
    loop {
        match fs::canonicalize(rest) {
            Ok(real) => {
                missing.reverse();
                return Ok((real, missing));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Neither a name nor a directory above: `..` below what does not exist.
                let (Some(name), Some(parent)) = (rest.file_name(), rest.parent()) else {
                    return Err(Refusal::io(path, error));
                };
                missing.push(name.to_owned());
                rest = parent;
            }
            Err(error) => return Err(Refusal::io(rest, error)),
        }
    }
}

fn stat(descriptor: impl AsFd, path: &Path) -> Result<Stat, Refusal> {
    rustix::fs::fstat(descriptor).map_err(|errno| Refusal::io(path, errno))
}

/// `root` is the number of the user who may own what is shared.
fn check(stat: &Stat, path: &Path, rule: Rule, root: u32) -> Result<(), Refusal> {
    let refused = |reason| Err(Refusal { path: path.to_owned(), reason });
    let is_root = rule == Rule::Shared && stat.st_uid == root;
    if stat.st_uid != geteuid().as_raw() && !is_root {
        return refused(Reason::Owner(stat.st_uid));
    }
    let is_sticky = rule == Rule::Shared && stat.st_mode & STICKY != 0;
    let writers = if rule == Rule::Alone { stat.st_mode & 0o022 != 0 } else { others_may_write(stat) };
    if writers && !is_sticky {
        return refused(Reason::Mode(stat.st_mode));
    }
    Ok(())
}

/// Returns whether users other than the owner may write. A group that has the user's number is the
/// user's alone, and the reason for a umask of 002 (`USERGROUPS_ENAB` in login.defs(5), which
/// excepts root as well).
fn others_may_write(stat: &Stat) -> bool {
    let user = geteuid();
    let is_private = !user.is_root() && getegid().as_raw() == user.as_raw() && stat.st_gid == user.as_raw();
    stat.st_mode & 0o002 != 0 || (stat.st_mode & 0o020 != 0 && !is_private)
}

/// Names what is there, where an error of the kernel's would not. Nothing is decided by it.
fn explain(at: &OwnedFd, name: &OsStr, path: &Path, errno: Errno) -> Refusal {
    let wanted = if errno == Errno::NOTDIR { FileType::Directory } else { FileType::RegularFile };
    let kind =
        rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).ok().and_then(|stat| kind(&stat, wanted));
    match kind {
        Some(kind) => Refusal { path: path.to_owned(), reason: Reason::Kind(kind) },
        None => Refusal::io(path, errno),
    }
}

/// Returns the kind of a file, unless it is the wanted one.
fn kind(stat: &Stat, wanted: FileType) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        found if found == wanted => None,
        FileType::Symlink => Some("a symbolic link, and sitar follows none here"),
        FileType::RegularFile => Some("a file, not a directory"),
        FileType::Directory => Some("a directory, not a file"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    }
}

#[cfg(test)]
mod tests;
