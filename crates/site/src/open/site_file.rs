//! A file of a directory that is read once, and whether it was written to meanwhile.

use crate::open::directory::Root;
use crate::open::error::{OpenFault, Warnings};
use crate::open::origin::{Origin, Stamp};
use rustix::fs::Stat;
use sitar_io::File;
use std::io;

/// A regular file of a directory, open for reading.
pub struct SiteFile {
    file: File,
    /// Its state when it was opened.
    before: Stat,
}

impl Root {
    /// The names of all regular files, as they would be served.
    ///
    /// # Errors
    /// The directory cannot be read, or has more files than a site may have.
    pub fn names(&self, warnings: &mut Warnings) -> Result<Vec<Box<[u8]>>, OpenFault> {
        Ok(self.files(&mut |_| (), warnings)?.iter().map(Into::into).collect())
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// The kernel's, or `InvalidData` when it is no longer a regular file.
    pub fn open_file(&self, name: &[u8]) -> io::Result<SiteFile> {
        let (fd, before) = self.file(name)?;
        Ok(SiteFile { file: File::from(fd), before })
    }

    /// The modification time that a file has now, in seconds since the epoch; `None` where that
    /// cannot be told.
    #[must_use]
    pub fn modified(&self, name: &[u8]) -> Option<u64> {
        Origin::of(&self.stat(name).ok()?).modified()
    }
}

impl SiteFile {
    /// Bytes that it had when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.before.st_size).unwrap_or(0)
    }

    /// The modification time when it was opened, in seconds since the epoch; `None` before that.
    #[must_use]
    pub fn modified(&self) -> Option<u64> {
        Origin::of(&self.before).modified()
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// The kernel's, or the file ends before the buffer does.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    /// Returns whether size and modification time are still those of when it was opened.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::of(&rustix::fs::fstat(&self.file)?) == Stamp::of(&self.before))
    }
}
