//! The store of the identity: three files in one directory, which is replaced as a whole.
//!
//! ```text
//! sitar/           0700
//! ├ lock           held while an identity is made
//! └ local/         0700, replaced by rename
//!   ├ ca.pem       0600  the authority's certificate
//!   ├ cert.pem     0600  the server's certificate
//!   └ key.pem      0600  the server's private key
//! ```
//!
//! Everything is reached by its name from the descriptor of `sitar/` or `local/`, and never through
//! a link.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::Defect;
use super::guarded::{self, Refusal};
use super::place::{Place, cannot};
use crate::error::Error;
use crate::trust::shell_word;

/// Bytes of a file at most; a larger one is none of sitar's.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The time that another start may take to make its identity, which is a matter of milliseconds.
const LOCK_TRIES_MAX: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

const LOCK: &str = "lock";
const LOCAL: &str = "local";
const NEW: &str = "local.new";
const OLD: &str = "local.old";
const CA: &str = "ca.pem";
const CHAIN: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Rights that others must not have to a public file.
const WRITE_BY_OTHERS: u32 = 0o022;
/// Rights that others must not have to the key.
const ANY_BY_OTHERS: u32 = 0o077;

/// The contents of the three files.
pub(super) struct Files {
    pub(super) ca: Vec<u8>,
    pub(super) chain: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// sitar's data directory, open.
pub(super) struct Store {
    directory: OwnedFd,
    path: PathBuf,
}

/// The lock, held until it is dropped. The kernel releases it even when the process is killed.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the descriptor")] File);

impl Store {
    /// Opens the directory; `None` where there is none.
    pub(super) fn find(place: &Place) -> Result<Option<Store>, Error> {
        let path = place.directory();
        match place.find() {
            Ok(directory) => Ok(directory.map(|directory| Store { directory, path })),
            Err(refusal) => Err(cannot(&path, &refusal)),
        }
    }

    /// Opens the directory, and makes it if there is none.
    pub(super) fn make(place: &Place) -> Result<Store, Error> {
        let path = place.directory();
        match place.make() {
            Ok(directory) => Ok(Store { directory, path }),
            Err(refusal) => {
                // The reasons why the place that the environment names is not used are a part of
                // the cause.
                Err(place.ignored().iter().fold(cannot(&path, &refusal), |error, note| error.cause(note)))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn ca_path(&self) -> PathBuf {
        self.path.join(LOCAL).join(CA)
    }

    pub(super) fn read(&self) -> Result<Files, Defect> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let local = match rustix::fs::openat(&self.directory, LOCAL, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Defect::Absent),
            Err(_) => return Err(Defect::Damaged),
            Ok(local) => local,
        };
        examine(&rustix::fs::fstat(&local).map_err(|_| Defect::Damaged)?, WRITE_BY_OTHERS)?;
        let read = |name: &str, forbidden: u32| {
            let (file, stat) = guarded::open_file(&local, name).map_err(|_| Defect::Damaged)?;
            // A second name may be in the hands of others.
            if stat.st_nlink > 1 {
                return Err(Defect::Foreign);
            }
            examine(&stat, forbidden)?;
            guarded::read(&file, FILE_BYTES_MAX).map_err(|_| Defect::Damaged)
        };
        Ok(Files {
            ca: read(CA, WRITE_BY_OTHERS)?,
            chain: read(CHAIN, WRITE_BY_OTHERS)?,
            key: Zeroizing::new(read(KEY, ANY_BY_OTHERS)?),
        })
    }

    /// Waits for the lock, for ten seconds at most.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        let path = self.path.join(LOCK);
        let file = guarded::open_or_create(&self.directory, LOCK, &path)
            .map_err(|refusal| cannot(&self.path, &refusal))?;
        for _ in 0..LOCK_TRIES_MAX {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_PAUSE),
                Err(errno) => return Err(cannot(&self.path, &Refusal::io(&path, errno))),
            }
        }
        Err(Error::new(format!("another program holds {}", path.display()))
            .hint(format!("see which one: fuser -v {}", shell_word(&path))))
    }

    /// Puts `files` in the place of what is there. The caller holds the lock. A crash at any point
    /// leaves the old identity, the new one, or none, and never a mixture.
    pub(super) fn replace(&self, files: &Files) -> Result<(), Error> {
        self.try_replace(files).map_err(|refusal| cannot(&self.path, &refusal))
    }

    fn try_replace(&self, files: &Files) -> Result<(), Refusal> {
        let at = |name: &'static str| move |errno: Errno| Refusal::io(&self.path.join(name), errno);
        self.remove(NEW)?;
        self.remove(OLD)?;
        let new = guarded::make_directory(&self.directory, NEW.as_ref(), &self.path.join(NEW))?;
        for (name, bytes) in [(CA, &files.ca), (CHAIN, &files.chain), (KEY, &*files.key)] {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let path = self.path.join(NEW).join(name);
            rustix::fs::openat(&new, name, flags, Mode::RUSR | Mode::WUSR)
                .and_then(|file| guarded::open_to_owner(&file).map(|()| File::from(file)))
                .map_err(Into::into)
                .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
                .map_err(|error| Refusal::io(&path, error))?;
        }
        rustix::fs::fsync(&new).map_err(at(NEW))?;
        match rustix::fs::renameat(&self.directory, LOCAL, &self.directory, OLD) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(at(LOCAL)(errno)),
        }
        rustix::fs::renameat(&self.directory, NEW, &self.directory, LOCAL).map_err(at(NEW))?;
        rustix::fs::fsync(&self.directory).map_err(at(""))?;
        self.remove(OLD)
    }

    /// Removes what was replaced, or what an interrupted start left under this name. In a directory
    /// only sitar's three files are removed, and then the directory if it is empty: the rest is not
    /// sitar's to remove.
    fn remove(&self, name: &'static str) -> Result<(), Refusal> {
        let failed = |errno: Errno| Refusal::io(&self.path.join(name), errno);
        if unlink(&self.directory, name).map_err(failed)? {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).map_err(failed)?;
        for file in [CA, CHAIN, KEY] {
            let failed = |errno: Errno| Refusal::io(&self.path.join(name).join(file), errno);
            if !unlink(&inner, file).map_err(failed)? {
                rustix::fs::unlinkat(&inner, file, AtFlags::REMOVEDIR).map_err(failed)?;
            }
        }
        rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR).map_err(failed)
    }
}

/// Returns whether the name is gone now; it is not if it is a directory's.
fn unlink(at: &OwnedFd, name: &str) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Checks that a file is this user's, and that others have none of the `forbidden` rights.
fn examine(stat: &Stat, forbidden: u32) -> Result<(), Defect> {
    if stat.st_uid != geteuid().as_raw() {
        return Err(Defect::Foreign);
    }
    if stat.st_mode & forbidden != 0 {
        return Err(Defect::Exposed);
    }
    Ok(())
}
