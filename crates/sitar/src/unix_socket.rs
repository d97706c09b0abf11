//! Sockets with a file: made with its permissions, never in the place of another program's, and
//! removed only while it is ours.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Access, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Error, printable};

/// Bytes of a socket's path, at most: `sun_path` has 108 with the zero at its end (unix(7)).
pub(crate) const PATH_MAX: usize = 107;
/// Attempts to get the folder's lock, and the pause between them. Another sitar holds it for a few
/// system calls; a program that keeps it does not keep the server from starting.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The admin socket.
    Admin,
    /// A listener's.
    Listener,
    /// That of the numbers.
    Metrics,
    /// That of a listener whose connections another process passes.
    Passing,
}

impl Purpose {
    /// Returns what it is called in messages.
    fn noun(self) -> &'static str {
        match self {
            Purpose::Admin => "the admin socket",
            Purpose::Listener => "the Unix socket",
            Purpose::Metrics => "the socket for numbers",
            Purpose::Passing => "the socket for passed connections",
        }
    }

    /// Returns the permissions of its folder.
    fn folder_mode(self) -> &'static str {
        match self {
            Purpose::Admin => "0700",
            Purpose::Listener | Purpose::Metrics | Purpose::Passing => "0755",
        }
    }

    /// Returns the kind of its connections.
    fn kind(self) -> SocketType {
        match self {
            Purpose::Admin | Purpose::Listener | Purpose::Metrics => SocketType::STREAM,
            Purpose::Passing => SocketType::SEQPACKET,
        }
    }
}

/// The path of a bound socket. Dropping it removes the file, unless another one is there now.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// The file itself. While it is open no other file can have its number.
    file: OwnedFd,
    /// The file is another process's now.
    is_left: AtomicBool,
}

impl Place {
    /// Removes the file at the end.
    pub(crate) fn own(&self) {
        self.is_left.store(false, Ordering::SeqCst);
    }

    /// Leaves the file where it is, for another process.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::SeqCst);
    }

    /// Sets the permissions of the file, if it is there.
    pub(crate) fn set_mode(&self, mode: u32) {
        if self.is_there() {
            // Those before stay where it is refused, as on a read-only file system.
            let _ = self.chmod(Mode::from_raw_mode(mode));
        }
    }

    /// Sets the permissions of the file itself: who may write to the folder could put a link to
    /// any file at its path.
    fn chmod(&self, mode: Mode) -> Result<(), Errno> {
        rustix::fs::chmod(format!("/proc/self/fd/{}", self.file.as_raw_fd()), mode)
    }

    /// Whether the file at the path is still the one that was made.
    fn is_there(&self) -> bool {
        let Ok(own) = rustix::fs::fstat(&self.file) else { return false };
        let there = rustix::fs::lstat(&self.path);
        there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
    }
}

impl Place {
    /// Removes the file now, if it would be at the end.
    pub(crate) fn remove(&self) {
        if self.is_left.swap(true, Ordering::SeqCst) {
            return;
        }
        let _lock = lock(&self.path);
        if self.is_there() {
            // If it stays, the next start replaces it.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Returns the address of a path.
pub(crate) fn address(purpose: Purpose, path: &Path) -> Result<SocketAddrUnix, Error> {
    let refused = || Error::new(format!("cannot use {} {}", purpose.noun(), printable(path)));
    let len = path.as_os_str().len();
    if len == 0 {
        return Err(Error::new(format!("cannot use {}", purpose.noun())).cause("its path is empty"));
    }
    if len > PATH_MAX {
        return Err(refused()
            .cause(format!("its path has {len} bytes, and the kernel takes at most {PATH_MAX}"))
            .hint("take a shorter one, in /run/sitar for example"));
    }
    SocketAddrUnix::new(path).map_err(|errno| refused().cause(io::Error::from(errno)))
}

/// Binds a socket at a path and listens, with these permissions of its file and a queue of
/// that length.
///
/// # Errors
/// Another program listens there, or something that is no socket is there; the folder is missing or
/// cannot be written to.
pub(crate) fn listen(
    purpose: Purpose,
    path: &Path,
    mode: u32,
    backlog: i32,
) -> Result<(OwnedFd, Place), Error> {
    let address = address(purpose, path)?;
    let failed = |errno: Errno| explain(purpose, path, errno);
    // Until it listens, another sitar would take it for one that was left behind.
    let _lock = lock(path);
    clear(purpose, path, &address)?;
    let flags = match purpose {
        Purpose::Admin | Purpose::Metrics | Purpose::Passing => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        // io_uring waits for connections itself, and not on a socket that does not block.
        Purpose::Listener => SocketFlags::CLOEXEC,
    };
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, purpose.kind(), flags, None).map_err(failed)?;
    if purpose == Purpose::Listener {
        // Shards would close what a client sends. Kernels before 6.16 cannot.
        let _ = sitar_io::refuse_descriptors(&socket);
    }
    let mode = Mode::from_raw_mode(mode);
    // The file is made with the permissions of the socket, less the umask.
    let _ = rustix::fs::fchmod(&socket, mode);
    rustix::net::bind(&socket, &address).map_err(failed)?;
    let place = identify(path).and_then(|(place, stat)| {
        // Nothing can connect before it listens.
        if Mode::from_raw_mode(stat.st_mode) != mode {
            place.chmod(mode)?;
        }
        rustix::net::listen(&socket, backlog)?;
        Ok(place)
    });
    place.map(|place| (socket, place)).map_err(failed)
}

/// Returns the place of a socket that is there already.
///
/// # Errors
/// It is not there.
pub(crate) fn of_listening(purpose: Purpose, path: &Path) -> Result<Place, Error> {
    identify(path).map(|(place, _)| place).map_err(|errno| explain(purpose, path, errno))
}

fn identify(path: &Path) -> Result<(Place, Stat), Errno> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK);
    }
    Ok((Place { path: path.to_owned(), file, is_left: AtomicBool::new(false) }, stat))
}

/// Checks that a socket could be bound at a path, without making or removing anything. One on
/// which a sitar listens is in order: the configuration may be that of the one that runs.
///
/// # Errors
/// As for [`listen`], but for a program that listens there.
pub(crate) fn check(purpose: Purpose, path: &Path) -> Result<(), Error> {
    let address = address(purpose, path)?;
    look(purpose, path, &address)?;
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(folder(path), needed).map_err(|errno| explain(purpose, path, errno))
}

/// Removes a socket that nothing listens on; refuses anything else.
fn clear(purpose: Purpose, path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    match look(purpose, path, address)? {
        There::Nothing => Ok(()),
        There::Stale => match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(explain(purpose, path, errno)),
        },
        There::Live if purpose != Purpose::Admin => Err(cannot(purpose, path)
            .cause("another program listens there")
            .hint("see which one: ss -xlp")
            .hint("or take another path")),
        There::Live => Err(cannot(purpose, path)
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
fn look(purpose: Purpose, path: &Path, address: &SocketAddrUnix) -> Result<There, Error> {
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(There::Nothing),
        Err(errno) => return Err(explain(purpose, path, errno)),
        Ok(stat) => stat,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(cannot(purpose, path)
            .cause("a file that is no socket is there, and it is left alone")
            .hint("take another path, or remove the file"));
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, purpose.kind(), flags, None)
        .map_err(|errno| explain(purpose, path, errno))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => Ok(There::Stale),
        Err(Errno::NOENT) => Ok(There::Nothing),
        // Its queue is full.
        Ok(()) | Err(Errno::AGAIN) => Ok(There::Live),
        Err(Errno::PROTOTYPE) => Err(cannot(purpose, path).cause("another program's socket is there")),
        Err(errno) => Err(explain(purpose, path, errno)),
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

fn cannot(purpose: Purpose, path: &Path) -> Error {
    Error::new(format!("cannot make {} {}", purpose.noun(), printable(path)))
}

fn explain(purpose: Purpose, path: &Path, errno: Errno) -> Error {
    let cannot = |path| cannot(purpose, path);
    let shown = printable(folder(path));
    match errno {
        Errno::NOENT | Errno::NOTDIR => cannot(path)
            .cause(format!("there is no folder {shown}"))
            .hint(format!("make it: install -d -m {} {shown}", purpose.folder_mode()))
            .hint("a unit of systemd makes it with RuntimeDirectory=sitar"),
        Errno::ACCESS | Errno::PERM => cannot(path)
            .cause(format!("this user may not make files in {shown}"))
            .hint("give the folder to the user that sitar runs as, or take another path"),
        Errno::ADDRINUSE => cannot(path).cause("another program has just made this file"),
        other => cannot(path).cause(io::Error::from(other)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A client that connects there can send bytes, and no descriptors.
    pub(crate) fn takes_no_descriptors(path: &Path) {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
        let other = std::os::unix::net::UnixDatagram::unbound().unwrap();
        if sitar_io::refuse_descriptors(&other).is_err() {
            println!("skipped: this kernel is older than Linux 6.16");
            return;
        }
        let client = std::os::unix::net::UnixStream::connect(path).unwrap();
        let send = |descriptors: &[std::os::fd::BorrowedFd<'_>]| {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
            }
            rustix::net::sendmsg(&client, &[io::IoSlice::new(b"x")], &mut ancillary, SendFlags::empty())
        };
        assert_eq!((send(&[client.as_fd()]), send(&[])), (Err(Errno::PERM), Ok(1)));
    }

    #[test]
    fn a_client_sends_no_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listening = listen(Purpose::Listener, &path, 0o660, 1).unwrap();
        takes_no_descriptors(&path);
    }

    #[test]
    fn permissions_are_those_of_the_socket_and_of_nothing_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |name: &str| at(name).symlink_metadata().unwrap().permissions().mode() & 0o777;
        let (_socket, place) = listen(Purpose::Listener, &at("socket"), 0o660, 1).unwrap();
        place.set_mode(0o606);
        assert_eq!(mode("socket"), 0o606);
        std::fs::write(at("other"), "").unwrap();
        std::fs::set_permissions(at("other"), Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(at("socket"), at("moved")).unwrap();
        symlink(at("other"), at("socket")).unwrap();
        place.set_mode(0o666);
        place.chmod(Mode::from_raw_mode(0o640)).unwrap();
        assert_eq!((mode("other"), mode("moved")), (0o600, 0o640));
        assert!(of_listening(Purpose::Listener, &at("other")).is_err(), "it is no socket");
    }
}
