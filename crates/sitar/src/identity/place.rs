//! The place of the identity: which of the places that the environment names is used, and whose it
//! may be.

use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::guarded::{self, Base, Refusal, Rule};
use crate::error::Error;

/// For a user without a home, and for root under `sudo` with the caller's environment.
const FALLBACK: &str = "/var/lib/sitar";

/// sitar's data directory, which need not exist yet.
#[derive(Debug)]
pub struct Place {
    base: Base,
    /// Its name in that directory.
    name: OsString,
    /// Variables of the environment that are ignored, and why.
    ignored: Vec<String>,
}

impl Place {
    /// Chooses `$XDG_DATA_HOME/sitar`, `~/.local/share/sitar`, or `/var/lib/sitar` for a user
    /// without a home.
    ///
    /// A place that belongs to another user is passed over, and [`notes`](Place::notes) says so: it
    /// is what remains of that user's environment after `su` or `sudo -E`.
    ///
    /// # Errors
    /// The place is this user's, but others may write to it, or it cannot be reached.
    pub fn of_environment() -> Result<Place, Error> {
        Place::choose(env::var_os("XDG_DATA_HOME").map(PathBuf::from), env::var_os("HOME").map(PathBuf::from))
    }

    /// Returns the place at that path, which must be this user's like any other.
    ///
    /// # Errors
    /// The directory above is another user's, or cannot be reached.
    pub fn at(directory: &Path) -> Result<Place, Error> {
        let failed = |refusal: &Refusal| cannot(directory, refusal);
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return Err(failed(&Refusal::io(directory, std::io::ErrorKind::InvalidInput)));
        };
        let base = Base::walk(parent, Rule::Shared).map_err(|refusal| failed(&refusal))?;
        Ok(Place { base, name: name.to_owned(), ignored: Vec::new() })
    }

    /// Returns its path, free of links.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base.path().join(&self.name)
    }

    /// Returns a sentence for each place that the environment names and that is not used.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let directory = self.directory();
        let note = |why: &String| format!("{why}; the certificate lies in {}", directory.display());
        self.ignored.iter().map(note).collect()
    }

    /// Returns why the place is not where the environment says.
    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Opens the directory; `None` where there is none.
    pub(super) fn find(&self) -> Result<Option<OwnedFd>, Refusal> {
        if !self.base.exists() {
            return Ok(None);
        }
        guarded::open_directory(self.base.descriptor(), &self.name, &self.directory())
    }

    /// Makes the directory where there is none, and opens it.
    pub(crate) fn make(&self) -> Result<OwnedFd, Refusal> {
        guarded::make_directory(&self.base.make()?, &self.name, &self.directory())
    }

    fn choose(xdg_data_home: Option<PathBuf>, home: Option<PathBuf>) -> Result<Place, Error> {
        let data = home.as_ref().map(|home| home.join(".local/share"));
        let mut ignored = Vec::new();
        for (variable, named, base) in
            [("XDG_DATA_HOME", xdg_data_home.clone(), xdg_data_home), ("HOME", home, data)]
        {
            let (Some(named), Some(base)) = (named, base) else { continue };
            // XDG Base Directory Specification: "If an implementation encounters a relative path …
            // ignore it."
            if named.is_relative() {
                continue;
            }
            match own(&named, &base) {
                Ok(Some(base)) => return Ok(Place { base, name: "sitar".into(), ignored }),
                Ok(None) => {}
                Err(refusal) if refusal.is_foreign() => {
                    ignored.push(format!("{variable} is ignored: {refusal}"));
                }
                Err(refusal) => return Err(cannot(&base.join("sitar"), &refusal)),
            }
        }
        // systemd makes a link of it for a service with a user of its own (DynamicUser=); only root
        // can.
        let fallback = std::fs::canonicalize(FALLBACK).unwrap_or_else(|_| PathBuf::from(FALLBACK));
        Ok(Place { ignored, ..Place::at(&fallback)? })
    }
}

/// Returns the home directory, if there is one and it is this user's own: under `sudo` with the
/// caller's `HOME`, root must neither leave files there that the caller then cannot read, nor
/// believe what lies there.
pub(crate) fn home() -> Result<Option<PathBuf>, Refusal> {
    let Some(home) = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) else {
        return Ok(None);
    };
    Ok(own(&home, &home)?.filter(Base::exists).map(|_| home))
}

/// Walks to `base`, which lies at or below the directory that the environment names; `None` if it
/// lies below and that directory does not exist.
fn own(named: &Path, base: &Path) -> Result<Option<Base>, Refusal> {
    let outer = Base::walk(named, Rule::Own)?;
    if named == base {
        return Ok(Some(outer));
    }
    if !outer.exists() {
        return Ok(None);
    }
    Base::walk(base, Rule::Own).map(Some)
}

/// The error of a place that cannot be used.
pub(super) fn cannot(directory: &Path, refusal: &Refusal) -> Error {
    let error = Error::new(format!("cannot keep a certificate in {}", directory.display())).cause(refusal);
    let error = match refusal.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    };
    error
        .hint("use another directory: XDG_DATA_HOME=/path sitar …")
        .hint("or a certificate of your own: --tls-cert chain.pem --tls-key key.pem")
}

#[cfg(test)]
mod tests;
