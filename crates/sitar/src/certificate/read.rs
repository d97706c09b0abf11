//! Reads a file that the operator names. A FIFO may be meant (`--tls-key <(pass show key)`), but
//! does not make the start wait for ever.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::trust::shell_word;

/// Larger files are no chain and no key: 1 MiB.
const BYTES_MAX: usize = 1 << 20;
/// The time that the program at the other end of a FIFO may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a file whole; `what` is what it should hold. `show` is given the file before it is read,
/// if it is a file, which can be read twice.
///
/// # Errors
/// It cannot be read, is a folder, is too large, or is a FIFO that nothing is written to.
pub(super) fn read(
    path: &Path,
    what: &str,
    patience: Duration,
    show: &mut dyn FnMut(BorrowedFd<'_>),
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |cause: &dyn std::fmt::Display| {
        Error::new(format!("cannot read the {what} {}", path.display())).cause(cause)
    };
    let word = shell_word(path);
    let unreadable = |error: io::Error| {
        let hint = hint(&error, &word, rustix::process::geteuid().as_raw());
        failed(&error).hint(hint)
    };
    // Without a wait for the program at the other end of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| unreadable(errno.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| unreadable(errno.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        let name = if what == "key" { "privkey.pem" } else { "fullchain.pem" };
        return Err(failed(&"it is a folder")
            .hint(format!("name the file in it, for instance {}", shell_word(&path.join(name)))));
    }
    if kind == FileType::RegularFile {
        show(file.as_fd());
    }
    let size = if kind == FileType::RegularFile { usize::try_from(stat.st_size).ok() } else { None };
    match read_all(&mut File::from(file), size.unwrap_or(BYTES_MAX), patience) {
        Ok(bytes) if bytes.len() > BYTES_MAX => Err(failed(&format!("it is larger than {BYTES_MAX} bytes"))
            .hint(format!("no {what} is that large; see what it is: head -c 64 {word} | od -c"))),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::TimedOut && kind != FileType::Fifo => {
            Err(failed(&"it is no file, and nothing more comes from it")
                .hint(format!("name a file; see what it is: ls -ld {word}")))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(failed(&"it is a FIFO, and no program writes to it to the end")
                .hint(format!("name a file, or write to it: cat FILE > {word}")))
        }
        Err(error) => Err(unreadable(error)),
    }
}

/// Returns where to look when a file cannot be read by this user; `word` is its path for a shell.
pub(super) fn hint(error: &io::Error, word: &str, user: u32) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("check the path: ls -l {word}"),
        io::ErrorKind::PermissionDenied => {
            format!(
                "see who may read it, and who may pass the folders above; this is uid {user}: namei -l {word}"
            )
        }
        _ => format!("see what it is: ls -ld {word}"),
    }
}

/// Reads to the end, or one byte more than may be; `size` is what is expected.
fn read_all(file: &mut File, size: usize, patience: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
    // Never grown in place: a vector that grows leaves copies of a key behind.
    let mut bytes = Zeroizing::new(vec![0; size.min(BYTES_MAX) + 1]);
    let mut len = 0;
    let deadline = Instant::now() + patience;
    loop {
        if len == bytes.len() && len <= BYTES_MAX {
            // It has become longer meanwhile, or has no size, as in /proc.
            let mut larger = Zeroizing::new(vec![0; BYTES_MAX + 1]);
            larger.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
            bytes = larger;
        }
        let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) else { break };
        // A FIFO whose writer has yet to come reads as if it were empty, but is not ready to be
        // read.
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::TimedOut)?;
        match poll(&mut [PollFd::new(&*file, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}
