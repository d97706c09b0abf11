//! Where the identity lies: three files in one directory, which is replaced as a whole.
//!
//! ```text
//! sitar/           0700
//! ├ lock           held while an identity is made
//! └ local/         0700, replaced by rename
//!   ├ ca.pem       0600  the authority's certificate
//!   ├ cert.pem     0600  the server's certificate
//!   └ key.pem      0600  the server's private key
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use zeroize::Zeroize;

use super::Defect;
use crate::error::Error;

/// Larger files are not ours: 64 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long another start may take to make its identity, which is a matter of milliseconds.
const LOCK_TRIES_MAX: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

const CA: &str = "ca.pem";
const CHAIN: &str = "cert.pem";
const KEY: &str = "key.pem";

/// The contents of the three files.
pub(super) struct Files {
    pub(super) ca: Vec<u8>,
    pub(super) chain: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// sitar's data directory.
pub(super) struct Store {
    directory: PathBuf,
}

/// Held until dropped; the kernel lets go of it even when the process is killed.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the descriptor")] File);

impl Store {
    pub(super) fn new(directory: &Path) -> Store {
        Store { directory: directory.to_owned() }
    }

    pub(super) fn ca_path(&self) -> PathBuf {
        self.local().join(CA)
    }

    pub(super) fn read(&self) -> Result<Files, Defect> {
        let local = self.local();
        match fs::symlink_metadata(&local) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Defect::Absent),
            Err(_) => return Err(Defect::Damaged),
            Ok(_) => {}
        }
        let read = |name: &str| read_bounded(&local.join(name)).map_err(|_| Defect::Damaged);
        Ok(Files { ca: read(CA)?, chain: read(CHAIN)?, key: read(KEY)? })
    }

    /// Makes the directory if needed and waits for the lock, for ten seconds at most.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        let failed = |cause: io::Error| {
            Error::new(format!("cannot keep a certificate in {}", self.directory.display())).cause(cause)
        };
        if let Some(parent) = self.directory.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        fs::set_permissions(&self.directory, Permissions::from_mode(0o700)).map_err(failed)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.directory.join("lock"))
            .map_err(failed)?;
        for _ in 0..LOCK_TRIES_MAX {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_PAUSE),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(Error::new(format!("another program holds {}", self.directory.join("lock").display()))
            .hint(format!("see which one: fuser -v {}", self.directory.join("lock").display())))
    }

    /// Puts `files` in the place of what is there. The caller holds the lock. A crash at any point leaves the old
    /// identity, the new one, or none, and never a mixture.
    pub(super) fn replace(&self, files: &Files) -> Result<(), Error> {
        self.try_replace(files).map_err(|cause| {
            Error::new(format!("cannot write the certificate in {}", self.directory.display())).cause(cause)
        })
    }

    fn try_replace(&self, files: &Files) -> io::Result<()> {
        let (local, new, old) =
            (self.local(), self.directory.join("local.new"), self.directory.join("local.old"));
        remove(&new)?;
        remove(&old)?;
        DirBuilder::new().mode(0o700).create(&new)?;
        for (name, bytes) in [(CA, &files.ca), (CHAIN, &files.chain), (KEY, &files.key)] {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(new.join(name))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        File::open(&new)?.sync_all()?;
        match fs::rename(&local, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&new, &local)?;
        File::open(&self.directory)?.sync_all()?;
        remove(&old)
    }

    fn local(&self) -> PathBuf {
        self.directory.join("local")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

/// Removes whatever an interrupted start left under this name.
fn remove(path: &Path) -> io::Result<()> {
    let done = match fs::symlink_metadata(path) {
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
