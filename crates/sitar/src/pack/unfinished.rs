//! The archive while it is being written: beside its place, hidden, with a name of its own, and
//! locked.
//!
//! A process that is killed leaves it behind. The lock tells that nothing writes to it any more,
//! also when the writer ran in another container on the same folder; the process id in its name
//! tells it of writers that do not lock.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::error::Error;

const SUFFIX: &[u8] = b".unfinished";
/// Bytes of the archive's name that go into the unfinished one's, which may have 255.
const NAME_MAX: usize = 200;
/// The number of attempts, and the pauses between them, while another process removes a leftover of
/// this name.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A file that is removed when this is dropped, or when a signal stops the program, unless it has
/// another name by then.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    signals: Handle,
}

impl Unfinished {
    /// Makes the file for an archive of this name in a folder, and removes those that killed packs
    /// have left there.
    ///
    /// # Errors
    /// The file system's; or another process writes a file of this name.
    pub(super) fn create(folder: &Path, name: &OsStr) -> io::Result<(File, PathBuf)> {
        let name = &name.as_bytes()[..name.len().min(NAME_MAX)];
        sweep(folder, name);
        let own = [b".", name, b".", std::process::id().to_string().as_bytes(), SUFFIX].concat();
        let path = folder.join(OsString::from_vec(own));
        for _ in 0..TRIES {
            match File::create_new(&path) {
                Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) if is_at(&file, &path) => return Ok((file, path)),
                    // Another process has taken it for a leftover, in the moment before the lock.
                    Ok(()) | Err(Errno::WOULDBLOCK) => {}
                    // A file system without locks, on which nothing is ever taken for a leftover.
                    Err(_) => return Ok((file, path)),
                },
                // The process of this number is this one, so that one is gone, unless it runs in
                // another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !remove_abandoned(&path) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AlreadyExists,
                        format!("another process writes {}, or something else has that name", path.display()),
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Removes the file at `path` when this is dropped, and on signals that end the program.
    pub(super) fn guard(path: PathBuf) -> Result<Unfinished, Error> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Error::new("cannot catch signals").cause(error))?;
        let guard = Unfinished { path: path.clone(), signals: signals.handle() };
        let thread = std::thread::Builder::new().name("sitar-signals".into());
        thread
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    let _ = fs::remove_file(&path);
                    // As a shell reports it.
                    std::process::exit(128 + signal);
                }
            })
            .map_err(|error| Error::new("cannot start a thread").cause(error))?;
        Ok(guard)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.signals.close();
        // After a success it has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what killed packs of this name have left in the folder. What cannot be looked at stays.
fn sweep(folder: &Path, name: &[u8]) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(process) = writer(entry.file_name().as_bytes(), name) else { continue };
        if !is_running(process) {
            remove_abandoned(&entry.path());
        }
    }
}

/// The process that has written a file, if it has the name of an unfinished archive.
fn writer(file: &[u8], name: &[u8]) -> Option<Pid> {
    let id = file.strip_prefix(b".")?.strip_prefix(name)?.strip_prefix(b".")?.strip_suffix(SUFFIX)?;
    let id = str::from_utf8(id).ok().filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))?;
    Pid::from_raw(id.parse().ok()?)
}

/// Whether there is such a process, other than this one. One that has ended but that its parent has
/// not asked about writes no more.
fn is_running(process: Pid) -> bool {
    let id = process.as_raw_nonzero();
    if u32::try_from(id.get()) == Ok(std::process::id()) || test_kill_process(process) == Err(Errno::SRCH) {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.starts_with(['Z', 'X'])
}

/// Removes a file that nothing has locked; whether it did. A link is not followed, and only a
/// regular file is removed.
fn remove_abandoned(path: &Path) -> bool {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let Ok(file) = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) else {
        return false;
    };
    file.metadata().is_ok_and(|found| found.is_file())
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        // Until this is closed nothing else takes it for a leftover, and no writer takes it for its
        // own.
        && is_at(&file, path)
        && fs::remove_file(path).is_ok()
}

/// Whether it is this file that has the name.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests;
