//! Opens what logs are written to. A worker is given the descriptors, since it can open nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::{self, Config, LogTarget, Problem, Target};
use crate::error::{Error, printable};

/// The socket of journald's native protocol (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Bytes that may wait there, as sd-journal asks for; the kernel gives what it allows.
const JOURNAL_BUFFER: usize = 8 << 20;
/// The permissions of a file that is made; the umask takes some away.
const MODE: Mode = Mode::from_bits_retain(0o640);

/// Opens the targets of a configuration, in the order of [`targets`](config::LogConfig::targets).
pub(crate) fn all(config: &Config) -> Vec<io::Result<OwnedFd>> {
    config.log.targets(&config.sites).into_iter().map(|one| open(&one.target)).collect()
}

/// Opens a target. A file that is not there is made.
///
/// A link in the place of the file is not followed: who may write to its folder could have a
/// supervisor that is root append to any file.
///
/// # Errors
/// The system's, or the reason that it cannot be a log.
pub(crate) fn open(target: &Target) -> io::Result<OwnedFd> {
    match target {
        Target::Off => Err(io::ErrorKind::NotFound.into()),
        Target::Stdout => Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?),
        Target::Journal => {
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(JOURNAL)?)?;
            let _ = sockopt::set_socket_send_buffer_size(&socket, JOURNAL_BUFFER);
            Ok(socket)
        }
        Target::File(path) => open_file(path, OFlags::CREATE),
    }
}

fn open_file(path: &Path, more: OFlags) -> io::Result<OwnedFd> {
    // A pipe that is not read would be waited for.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags | OFlags::CLOEXEC | more, MODE) {
        Err(Errno::LOOP) if is_link(path) => {
            return Err(io::Error::other("it is a symbolic link, which is not followed"));
        }
        Err(Errno::NXIO) => return Err(io::Error::other("it is a pipe that is not read, or a socket")),
        opened => opened?,
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::BlockDevice => Err(io::Error::other("it is a disk")),
        _ => Ok(file),
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

/// Returns the mistakes of a configuration whose targets were opened.
pub(crate) fn problems(config: &Config, opened: &[io::Result<OwnedFd>]) -> Vec<Problem> {
    let both = config.log.targets(&config.sites).into_iter().zip(opened);
    both.filter_map(|(target, opened)| Some(problem(target, opened.as_ref().err()?))).collect()
}

fn problem(target: &LogTarget, error: &io::Error) -> Problem {
    config::problem(&target.place, &refusal(&target.target, error))
}

/// Returns why a target cannot be a log.
pub(crate) fn refusal(target: &Target, error: &io::Error) -> Error {
    let refused = Error::new(format!("cannot open the access log {}", name(target))).cause(error);
    match target {
        Target::File(path) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path);
            refused.hint(format!("make its folder: mkdir -p {}", printable(folder)))
        }
        Target::Journal => refused.hint("journald is not there: write to a file, or to standard output"),
        _ => refused,
    }
}

/// Returns what messages call a target.
pub(crate) fn name(target: &Target) -> String {
    match target {
        Target::Off => "off".to_owned(),
        Target::Stdout => "stdout".to_owned(),
        Target::Journal => "journal".to_owned(),
        Target::File(path) => printable(path),
    }
}

/// Looks whether the targets of a configuration can be opened, and makes no file.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let one = |target: &LogTarget| {
        let opened = match &target.target {
            Target::File(path) => {
                let opened = open_file(path, OFlags::empty()).map(drop);
                opened.or_else(|error| could_make(path, error))
            }
            other => open(other).map(drop),
        };
        Some(problem(target, &opened.err()?))
    };
    config.log.targets(&config.sites).into_iter().filter_map(one).collect()
}

/// Whether a file that is not there could be made.
fn could_make(path: &Path, error: io::Error) -> io::Result<()> {
    if error.kind() != io::ErrorKind::NotFound {
        return Err(error);
    }
    let folder = path.parent().ok_or(error)?;
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}
