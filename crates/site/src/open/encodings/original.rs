//! What is encoded, for the one who encodes.

use crate::open::archive_file::changed;
use crate::open::hash::{Hash, sha256};
use crate::open::index::FileId;
use crate::open::origin::Origin;
use crate::open::site::{Site, Store};
use crate::open::streamed::Streamed;
use sitar_io::File;
use std::io;
use std::time::SystemTime;

/// The whole content of a file, read at one go.
#[derive(Debug)]
pub struct Unencoded {
    /// The content.
    pub content: Vec<u8>,
    /// Its hash.
    pub hash: Hash,
    /// The version of the file that it was read from; as of [`Site::version_of`].
    pub version: Hash,
}

impl Site {
    /// Reads a file to be encoded, of the version that it has now. Blocks.
    ///
    /// # Errors
    /// The kernel's; `InvalidData`: it was changed meanwhile; `WouldBlock`: it was changed a moment
    /// ago, and another change could leave no trace, so that it has to be read later;
    /// `Unsupported`: it is nothing to be encoded; `FileTooLarge`: it has more than `at_most`
    /// bytes.
    pub fn read_unencoded(&self, file: FileId, at_most: u64) -> io::Result<Unencoded> {
        let now = SystemTime::now();
        let (source, _) = self.index.source(file).ok_or(io::ErrorKind::Unsupported)?;
        let (from, range) = match &self.store {
            Store::Directory(root) => {
                let name = self.index.source_name(source).ok_or(io::ErrorKind::Unsupported)?;
                let (fd, stat) = root.file(name)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                (Streamed::new(File::from(fd), &stat, true), 0..size)
            }
            Store::Archive { file: archive, .. } => {
                let (_, range) = self.place_of(file)?;
                (archive.clone(), range)
            }
            Store::Pack { .. } | Store::Embedded(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let origin: Origin = *from.origin();
        let size = range.end - range.start;
        if size > at_most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if !origin.is_settled(now) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut content = vec![0; usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?];
        from.read_exact_at(&mut content, range.start)?;
        if !from.is_unchanged_by_now() {
            return Err(changed("the file was changed while it was read"));
        }
        let (hash, version) = (sha256(&content), origin.version(&range, &[]));
        Ok(Unencoded { content, hash, version })
    }
}
