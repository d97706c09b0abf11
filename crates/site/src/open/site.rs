//! The site itself: opened once, immutable, shared by all threads.

use super::children::Children;
use super::directory::Root;
use super::encodings::attach::Attachment;
use super::entry::Entry;
use super::error::Warning;
use super::hash::Hash;
use super::index::{FileId, Index};
use super::origin::Origin;
use super::pack;
use super::streamed::Streamed;
use super::tar::Stored;
use super::tree::Maps;
use crate::answer::fields::Blocks;
use crate::answer::lifetime::Lifetime;
use crate::rules::Rules;
use sitar_http::semantics::Coding;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

/// A site: names, and where their bytes are. Immutable.
pub struct Site {
    pub(crate) store: Store,
    pub(crate) index: Index,
    pub(crate) rules: Rules,
    /// For listings; `None`: folders without a page are not listed.
    pub(crate) children: Option<Children>,
    /// The header line of [`Options::hsts`](super::opening::Options::hsts); empty without it.
    pub(crate) hsts: Box<[u8]>,
    pub(super) warnings: Vec<Warning>,
    /// Encodings that lie in a file of their own.
    pub(crate) attachment: Option<Attachment>,
    /// The time of its opening: what changed on the disk after that may have been served before.
    pub(crate) opened: SystemTime,
    /// The time when it took another site's place, in seconds since the epoch; 0 if it did not.
    pub(crate) since: AtomicU64,
    /// Loads of files that had only just been changed.
    pub(crate) makeshifts: AtomicU64,
    /// Hashes of bodies that have been read and may not be in memory, and the versions of the files
    /// that they belong to.
    pub(crate) hashes: Mutex<HashMap<FileId, (Origin, Hash)>>,
}

/// The bytes of all files, by their number as sources of the index.
pub(crate) enum Store {
    Archive { file: Streamed, bodies: Vec<Stored>, maps: Maps },
    Pack { file: Streamed, records: pack::Records, blocks: Vec<Blocks>, hash: Hash },
    Directory(Root),
    Embedded(Vec<&'static [u8]>),
}

impl Store {
    /// The time of a source in seconds since the epoch, as the archive has it or the file system
    /// has it now.
    pub(super) fn time(&self, source: usize, name: &[u8]) -> Option<u64> {
        match self {
            Store::Archive { bodies, .. } => bodies.get(source)?.mtime,
            Store::Pack { records, .. } => records.get(source)?.mtime,
            Store::Directory(root) => Origin::of(&root.stat(name).ok()?).modified(),
            Store::Embedded(_) => None,
        }
    }

    /// The size of a source in bytes, and its time in seconds since the epoch.
    pub(crate) fn facts(&self, source: usize, name: &[u8]) -> Option<(u64, Option<u64>)> {
        match self {
            Store::Archive { bodies, .. } => bodies.get(source).map(|body| (body.size, body.mtime)),
            Store::Pack { records, .. } => records.get(source).map(|record| (record.size, record.mtime)),
            Store::Directory(root) => {
                let stat = root.stat(name).ok()?;
                Some((u64::try_from(stat.st_size).unwrap_or(0), Origin::of(&stat).modified()))
            }
            Store::Embedded(bodies) => bodies.get(source).map(|body| (body.len() as u64, None)),
        }
    }
}

impl Site {
    /// Number of files with a name of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.files
    }

    /// Whether there is no file at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.files == 0
    }

    /// Number of [`FileId`]s: all are below this. A listing has one, too.
    #[must_use]
    pub fn files(&self) -> usize {
        self.index.representations() + self.listings()
    }

    /// Whether it is a pack whose index is used.
    #[must_use]
    pub fn is_pack(&self) -> bool {
        matches!(self.store, Store::Pack { .. })
    }

    /// Warnings for the operator.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// The header lines that a pack holds for a file under that name.
pub(crate) fn packed_blocks<'b>(
    blocks: &'b [Blocks],
    record: &pack::Record,
    entry: &Entry,
) -> Option<&'b Blocks> {
    // Those that are there say that everyone may have it.
    if entry.lifetime == Lifetime::PrivateImmutable {
        return None;
    }
    let pair = if entry.coding == Coding::Identity { record.own } else { record.encoded };
    blocks.get(usize::from(pair))
}
