//! The folder in which the process keeps what it knows, as the supervisor sees it: where it is, and
//! the certificates in it.
//!
//! ```text
//! sitar/              0700  the data directory, or the one that the operator names
//! └ acme/             0700  everything below is the process's (docs/design/acme.md)
//!   └ certificates/
//!     └ NAME.pem      0600  a key, and behind it the chain
//! ```

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, DirEntry, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity::{self, Place};

/// Where root keeps it.
const OF_ROOT: &str = "/var/lib/sitar";
const NAME: &str = "acme";
const CERTIFICATES: &str = "certificates";
/// Bytes of a key and its chain, at most.
const BYTES_MAX: u64 = 256 * 1024;
/// Entries of the folder of certificates that are looked at.
const NAMES_MAX: usize = 10_000;

/// The folder, open.
#[derive(Debug)]
pub(crate) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder in the data directory that the operator names, or in the usual one, and
    /// makes it where there is none.
    ///
    /// # Errors
    /// It is another user's, others may write to it, or the kernel's; with what helps.
    pub(crate) fn make(state: Option<&Path>) -> Result<Folder, Error> {
        let place = place(state)?;
        let path = place.directory().join(NAME);
        let made = place.make().and_then(|above| identity::make_directory(&above, NAME.as_ref(), &path));
        let descriptor = made.map_err(|refusal| cannot(&path, &refusal.with_hint()))?;
        Ok(Folder { descriptor, path })
    }

    /// Returns the path that [`make`](Folder::make) would open, free of links.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn path_of(state: Option<&Path>) -> Result<PathBuf, Error> {
        place(state).map(|place| place.directory().join(NAME))
    }

    /// Whether both are the same folder.
    pub(crate) fn is_same(&self, other: &Folder) -> bool {
        self.path == other.path
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Returns the path of a certificate.
    pub(crate) fn certificate_path(&self, name: &str) -> PathBuf {
        self.path.join(CERTIFICATES).join(format!("{name}.pem"))
    }

    /// Returns the names of all certificates.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.certificates().and_then(|folder| Dir::read_from(folder).ok());
        let name = |entry: Result<DirEntry, Errno>| {
            let entry = entry.ok()?;
            Some(entry.file_name().to_str().ok()?.strip_suffix(".pem")?.to_owned())
        };
        entries.into_iter().flatten().take(NAMES_MAX).filter_map(name).collect()
    }

    fn certificates(&self) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.descriptor, CERTIFICATES, flags, Mode::empty()).ok()
    }

    /// Reads a certificate. `None`: there is none, or none that could be read: the process looks at
    /// it and says so.
    pub(crate) fn certificate(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let folder = self.certificates()?;
        let (file, _) = identity::open_file(&folder, format!("{name}.pem")).ok()?;
        identity::read(&file, BYTES_MAX).ok().map(Zeroizing::new)
    }
}

fn place(state: Option<&Path>) -> Result<Place, Error> {
    match state {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            Place::at(&path)
        }
        None if geteuid().is_root() => Place::at(Path::new(OF_ROOT)),
        None => Place::of_environment(),
    }
}

fn cannot(path: &Path, why: &str) -> Error {
    Error::new(format!("cannot keep certificates in {}", path.display()))
        .cause(why)
        .hint("use another directory: --state DIR, or state = \"DIR\" in [acme]")
}
