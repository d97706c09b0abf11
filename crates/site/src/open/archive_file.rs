//! An archive on disk.

use super::error::OpenFault;
use super::streamed::Streamed;
use super::tar::ReadAt;
use rustix::fs::Stat;
use sitar_io::File;
use std::io;

/// An archive that is open for reading.
pub struct ArchiveFile {
    file: File,
    len: u64,
}

impl ArchiveFile {
    /// An open file, and what the kernel says about it.
    pub(crate) fn of(file: File, stat: &Stat) -> ArchiveFile {
        ArchiveFile { file, len: u64::try_from(stat.st_size).unwrap_or(0) }
    }

    /// Takes an open file for an archive.
    ///
    /// # Errors
    /// The kernel does not give its size.
    pub fn new(file: std::fs::File) -> io::Result<ArchiveFile> {
        let len = file.metadata()?.len();
        Ok(ArchiveFile { file: File::from(file), len })
    }

    /// The archive to send bodies from, if nothing has been written since `before`.
    pub(crate) fn unchanged(self, before: &Stat) -> Result<Streamed, OpenFault> {
        let file = Streamed::new(self.file, before, false);
        if file.is_unchanged_by_now() {
            return Ok(file);
        }
        Err(OpenFault::Io { doing: "read the archive", error: changed("it was written to meanwhile") })
    }
}

impl ReadAt for ArchiveFile {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}

pub(crate) fn changed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
