//! Descriptors that another program has opened and passed over exec(2): a listening socket, a file,
//! a pipe.
//!
//! A supervisor opens what its worker may not, clears the close-on-exec flag, starts the worker,
//! and tells it the numbers, in an environment variable for example. The worker takes each number
//! over once:
//!
//! ```no_run
//! use sitar_io::inherit::{self, Kind};
//! use sitar_io::{Config, File, Key, Ring};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = inherit::take(3, Kind::Listener)?;
//! let site: File = inherit::take(4, Kind::File)?.into();
//! let config = Config { connections: 64, rx_count: 64, rx_len: 4096, tx_count: 64, tx_len: 4096 };
//! let mut ring = Ring::uring(&config)?;
//! let listener = ring.listener(socket, Key(0));
//! # let _ = (listener, site);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{SocketType, sockopt};

/// The kind that a descriptor is said to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A stream socket that listens: for [`Ring::listener`](crate::Ring::listener).
    Listener,
    /// A datagram socket: for [`Ring::udp`](crate::Ring::udp).
    Datagrams,
    /// A regular file, open for reading: for [`Ring::read`](crate::Ring::read).
    File,
    /// A directory: for [`Ring::open_at`](crate::Ring::open_at).
    Directory,
    /// A stream of bytes: a pipe, a terminal, a stream socket that does not listen.
    Stream,
}

/// The reason why a number was not taken over. The descriptor, if there is one, stays as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotInherited {
    /// No descriptor with this number is open.
    Closed,
    /// The descriptor has close-on-exec set, so it was opened by this program.
    OwnedHere,
    /// The number was taken over before.
    Taken,
    /// The descriptor is open, and is not what it is said to be.
    AnotherKind(Kind),
    /// The kernel refused to describe it, or to duplicate it.
    Refused(Errno),
}

impl fmt::Display for NotInherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotInherited::Closed => write!(f, "no descriptor with this number is open"),
            NotInherited::OwnedHere => write!(f, "the descriptor was opened by this program"),
            NotInherited::Taken => write!(f, "the descriptor was taken over before"),
            NotInherited::AnotherKind(Kind::Listener) => write!(f, "not a listening stream socket"),
            NotInherited::AnotherKind(Kind::Datagrams) => write!(f, "not a datagram socket"),
            NotInherited::AnotherKind(Kind::File) => write!(f, "not a regular file open for reading"),
            NotInherited::AnotherKind(Kind::Directory) => write!(f, "not a directory"),
            NotInherited::AnotherKind(Kind::Stream) => write!(f, "not a pipe, terminal or stream socket"),
            NotInherited::Refused(errno) => write!(f, "{errno}"),
        }
    }
}

impl std::error::Error for NotInherited {}

/// Numbers that were taken over. None is handed out twice, even after its descriptor was closed.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// The numbers of standard input, output and error, which std goes on using.
const STANDARD: std::ops::RangeInclusive<RawFd> = 0..=2;

/// Takes over the descriptor `number`, which another program has opened and passed over exec(2).
///
/// The checks are that
/// - the descriptor is open;
/// - close-on-exec is clear. A descriptor with that flag cannot have come over exec: it belongs to
///   this program already, as everything does that std, rustix and this crate open;
/// - it is of the `kind` that it is said to be;
/// - the number was not taken over before, by any thread.
///
/// Afterwards close-on-exec is set, so that it is not passed on by accident. Of standard input,
/// output and error a duplicate is returned, and std keeps its own.
///
/// One thing cannot be checked: a descriptor that this program, or a C library in it, has opened
/// *without* close-on-exec looks like an inherited one. So take over what is inherited first,
/// before such code runs.
///
/// # Errors
/// [`NotInherited`] says which check failed; the descriptor is left as it was.
pub fn take(number: RawFd, kind: Kind) -> Result<OwnedFd, NotInherited> {
    // Held to the end, so that of two threads one is refused. Nothing in here panics.
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&number) {
        return Err(NotInherited::Taken);
    }
    // SAFETY: F_GETFD takes no pointer, and answers EBADF for a number that is not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(NotInherited::Closed);
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(NotInherited::OwnedHere);
    }
    // SAFETY: the descriptor is open, as F_GETFD has said. It came over exec, since close-on-exec
    // is clear, and nothing has taken it over, since TAKEN is locked: so nothing in this program
    // closes it meanwhile. (The documentation says what the caller has to keep clear of.)
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if !is(fd, kind).map_err(NotInherited::Refused)? {
        return Err(NotInherited::AnotherKind(kind));
    }
    let owned = if STANDARD.contains(&number) {
        rustix::io::fcntl_dupfd_cloexec(fd, STANDARD.end() + 1).map_err(NotInherited::Refused)?
    } else {
        rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(NotInherited::Refused)?;
        // SAFETY: as above, the descriptor is open and nothing in this program owns it. From here
        // on its owner is the value that is returned: close-on-exec and TAKEN keep a second one
        // from being made.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    taken.insert(number);
    Ok(owned)
}

/// Sets close-on-exec for every descriptor behind standard error, so that what was inherited and
/// not taken over reaches no program that is started.
///
/// # Errors
/// The kernel's: it is older than 5.11, or something forbids the call.
pub fn pass_nothing_on() -> Result<(), Errno> {
    let (first, last) = (STANDARD.end() + 1, libc::c_uint::MAX);
    // SAFETY: numbers only. A flag changes, and no descriptor opens or closes.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
}

fn is(fd: BorrowedFd<'_>, kind: Kind) -> Result<bool, Errno> {
    let file = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    let is_socket = |wanted: SocketType| -> Result<bool, Errno> {
        Ok(file == FileType::Socket && sockopt::socket_type(fd)? == wanted)
    };
    let listens = || sockopt::socket_acceptconn(fd.as_fd());
    Ok(match kind {
        Kind::Listener => is_socket(SocketType::STREAM)? && listens()?,
        Kind::Datagrams => is_socket(SocketType::DGRAM)?,
        Kind::File => file == FileType::RegularFile && is_readable(rustix::fs::fcntl_getfl(fd)?),
        Kind::Directory => file == FileType::Directory,
        Kind::Stream => match file {
            FileType::Fifo | FileType::CharacterDevice => {
                !rustix::fs::fcntl_getfl(fd)?.contains(OFlags::PATH)
            }
            _ => is_socket(SocketType::STREAM)? && !listens()?,
        },
    })
}

/// Returns whether a descriptor with these flags can be read from; one of O_PATH cannot.
fn is_readable(flags: OFlags) -> bool {
    !flags.contains(OFlags::PATH) && (flags & OFlags::RWMODE) != OFlags::WRONLY
}
