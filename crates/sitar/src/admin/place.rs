//! The file of the socket: made with its permissions, never in the place of another program's, and
//! removed only while it is ours.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Error, printable};

/// Bytes of a socket's path, at most: `sun_path` has 108 with the zero at its end (unix(7)).
pub(super) const PATH_MAX: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Attempts to get the folder's lock, and the pause between them. Another sitar holds it for a few
/// system calls; a program that keeps it does not keep the server from starting.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The path of a bound socket. Dropping it removes the file, unless another one is there now.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// The file itself. While it is open no other file can have its number.
    file: OwnedFd,
    /// The file is another process's now.
    is_left: bool,
}

impl Place {
    /// Removes the file at the end.
    pub(super) fn own(&mut self) {
        self.is_left = false;
    }

    /// Leaves the file where it is, for another process.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let _lock = lock(&self.path);
        let Ok(own) = rustix::fs::fstat(&self.file) else { return };
        let there = rustix::fs::lstat(&self.path);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)) {
            // If it stays, the next start replaces it.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// Returns the address of a path.
pub(super) fn address(path: &Path) -> Result<SocketAddrUnix, Error> {
    let refused = || Error::new(format!("cannot use the admin socket {}", printable(path)));
    let len = path.as_os_str().len();
    if len == 0 {
        return Err(Error::new("cannot use the admin socket").cause("its path is empty"));
    }
    if len > PATH_MAX {
        return Err(refused()
            .cause(format!("its path has {len} bytes, and the kernel takes at most {PATH_MAX}"))
            .hint("take a shorter one, such as /run/sitar/admin.sock"));
    }
    SocketAddrUnix::new(path).map_err(|errno| refused().cause(io::Error::from(errno)))
}

/// Binds a socket at a path and listens, with access for its owner only.
///
/// # Errors
/// Another program listens there, or something that is no socket is there; the folder is missing or
/// cannot be written to.
pub(super) fn listen(path: &Path) -> Result<(OwnedFd, Place), Error> {
    let address = address(path)?;
    let failed = |errno: Errno| explain(path, errno);
    // Until it listens, another sitar would take it for one that was left behind.
    let _lock = lock(path);
    clear(path, &address)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    let owner = Mode::RUSR | Mode::WUSR;
    // The file is made with the permissions of the socket, less the umask.
    let _ = rustix::fs::fchmod(&socket, owner);
    rustix::net::bind(&socket, &address).map_err(failed)?;
    let place = identify(path).and_then(|(place, stat)| {
        // A kernel that does otherwise; nothing can connect before it listens.
        if Mode::from_raw_mode(stat.st_mode) != owner {
            rustix::fs::chmod(path, owner)?;
        }
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(place)
    });
    place.map(|place| (socket, place)).map_err(failed)
}

/// Returns the place of a socket that is there already.
///
/// # Errors
/// It is not there.
pub(super) fn of_listening(path: &Path) -> Result<Place, Error> {
    identify(path).map(|(place, _)| place).map_err(|errno| explain(path, errno))
}

fn identify(path: &Path) -> Result<(Place, Stat), Errno> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    Ok((Place { path: path.to_owned(), file, is_left: false }, stat))
}

/// Checks that a socket could be bound at a path, without making or removing anything. One on
/// which a sitar listens is in order: the configuration may be that of the one that runs.
///
/// # Errors
/// As for [`Admin::bind`](super::Admin::bind), but for a sitar that listens there.
pub fn check(path: &Path) -> Result<(), Error> {
    let address = address(path)?;
    look(path, &address)?;
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(folder(path), needed).map_err(|errno| explain(path, errno))
}

/// Removes a socket that nothing listens on; refuses anything else.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    match look(path, address)? {
        There::Nothing => Ok(()),
        There::Stale => match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(explain(path, errno)),
        },
        There::Live => Err(cannot(path)
            .cause("another sitar serves there")
            .hint("see what it serves: sitar status")
            .hint("or give this one a socket of its own: the key socket of [admin]")),
    }
}

/// What is at a path that may be used.
enum There {
    Nothing,
    /// A socket that nothing listens on.
    Stale,
    /// A socket on which a program listens that is taken for a sitar.
    Live,
}

/// Looks at what is at a path; refuses what is no socket of a sitar.
fn look(path: &Path, address: &SocketAddrUnix) -> Result<There, Error> {
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(There::Nothing),
        Err(errno) => return Err(explain(path, errno)),
        Ok(stat) => stat,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(cannot(path)
            .cause("a file that is no socket is there, and it is left alone")
            .hint("take another path, or remove the file"));
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| explain(path, errno))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => Ok(There::Stale),
        Err(Errno::NOENT) => Ok(There::Nothing),
        // Its queue is full.
        Ok(()) | Err(Errno::AGAIN) => Ok(There::Live),
        Err(Errno::PROTOTYPE) => Err(cannot(path).cause("another program's socket is there")),
        Err(errno) => Err(explain(path, errno)),
    }
}

/// Keeps other sitars from the folder's sockets while the descriptor is open. `None` where that
/// cannot be had.
fn lock(path: &Path) -> Option<File> {
    let folder = folder(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::flock(folder.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(File::from(folder)),
            Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// Returns the folder in which a path is.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn cannot(path: &Path) -> Error {
    Error::new(format!("cannot make the admin socket {}", printable(path)))
}

fn explain(path: &Path, errno: Errno) -> Error {
    let shown = printable(folder(path));
    match errno {
        Errno::NOENT | Errno::NOTDIR => cannot(path)
            .cause(format!("there is no folder {shown}"))
            .hint(format!("make it: install -d -m 0700 {shown}"))
            .hint("a unit of systemd makes it with RuntimeDirectory=sitar"),
        Errno::ACCESS | Errno::PERM => cannot(path)
            .cause(format!("this user may not make files in {shown}"))
            .hint("give the folder to the user that sitar runs as, or take another path"),
        Errno::ADDRINUSE => cannot(path).cause("another program has just made this file"),
        other => cannot(path).cause(io::Error::from(other)),
    }
}
