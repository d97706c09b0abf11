//! A site that takes the place of another: which representations it keeps, and its version.
//!
//! A file that is sent in pieces is looked at after each of them ([`Streamed`](crate::Streamed)).
//! When a changed site takes the place of an older one, what both have need not be read again
//! ([`Site::inherit`]).

use super::hash::Hash as Sha256;
use super::origin::{Origin, Stamp};
use crate::answer::fields::Blocks;
use crate::answer::representation::{Dates, Representation, no_later};
use crate::open::index::{FileId, Slot};
use crate::open::pack::Records;
use crate::open::printable::printable;
use crate::open::site::{Site, Store, packed_blocks};
use crate::rules;
use aws_lc_rs::digest::{Context, SHA256};
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Identifies what is served by a hash: of a pack, that of its index; of anything else, one of
/// names, sizes and modification times. So two copies of a directory whose times were copied too
/// have one version.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Version {
    kind: &'static str,
    hash: Sha256,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        self.hash.iter().take(VERSION_SHOWN).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Site {
    /// Returns those of `older`'s `loaded` representations that this site has too. From directory
    /// to directory, byte for byte as far as the file system tells: same name and encoding, same
    /// inode, size, modification and change times. From pack to pack: same hash. Nothing is read;
    /// header lines are this site's. Bodies in memory only; of other files of a directory, their
    /// hashes. Blocks: one look at the file system for each file of a directory.
    #[must_use]
    pub fn inherit(
        &self,
        older: &Site,
        loaded: impl IntoIterator<Item = (FileId, Arc<Representation>)>,
        now: SystemTime,
    ) -> Vec<(FileId, Arc<Representation>)> {
        let loaded = loaded.into_iter();
        match (&older.store, &self.store) {
            (Store::Directory(_), Store::Directory(_)) => {
                self.inherit_hashes(older);
                let heirs = loaded.filter_map(|(file, representation)| {
                    if older.encoding(file).is_some() {
                        return self.inherit_encoding(older, file, &representation, now);
                    }
                    let origin = representation.origin()?;
                    let file = self.same_name(older, file)?;
                    let entry = self.index.entry(file)?;
                    let origin = self.origin(entry.source).filter(|here| here == origin)?;
                    let dates = representation.dates().with(no_later(origin.modified(), now));
                    Some((
                        file,
                        Arc::new(representation.inherited(&entry, origin, dates)?.with_hsts(&self.hsts)),
                    ))
                });
                heirs.collect()
            }
            (Store::Pack { records: earlier, .. }, Store::Pack { records, blocks, .. }) => {
                let known = loaded.filter_map(|(file, representation)| {
                    let (source, _) = older.index.source(file)?;
                    Some((earlier.get(source)?.hash, (file, representation)))
                });
                self.inherit_packed(records, blocks, older, &known.collect(), now)
            }
            _ => Vec::new(),
        }
    }

    /// From pack to pack, whatever the names: equal hashes are equal bytes, and those were held
    /// against them.
    fn inherit_packed(
        &self,
        records: &Records,
        blocks: &[Blocks],
        older: &Site,
        known: &HashMap<Sha256, (FileId, Arc<Representation>)>,
        now: SystemTime,
    ) -> Vec<(FileId, Arc<Representation>)> {
        let heirs = self.index.sources().filter_map(|(file, source)| {
            let record = records.get(source)?;
            let (before, representation) = known.get(&record.hash)?;
            let entry = self.index.entry(file)?;
            let blocks = packed_blocks(blocks, &record, &entry);
            // Under another name there may have been other content of the same date.
            let is_same = self.same_name(older, *before) == Some(file);
            let dates = if is_same { representation.dates() } else { Dates::NEVER };
            let dates = dates.with(no_later(record.mtime, now));
            let heir = representation.repacked(&record.hash, blocks, &entry, dates)?;
            Some((file, Arc::new(heir.with_hsts(&self.hsts))))
        });
        heirs.collect()
    }

    /// Notes that this site takes the place of another one at `now`. From then on a date proves
    /// nothing about what was served before: the other site may have had other content of the same
    /// date under the same name.
    pub fn take_over(&self, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Only the number matters. Rounded up, and a second for those who look at the older one
        // still.
        self.since.store(now.saturating_add(2), Ordering::Relaxed);
    }

    /// Whether it lies in one file.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        matches!(self.store, Store::Archive { .. } | Store::Pack { .. })
    }

    /// A number that is another one when what is served may be different: for comparing two
    /// openings of one path. Blocks: looks at every file. What cannot be looked at counts as being
    /// so.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.store {
            Store::Archive { file, .. } | Store::Pack { file, .. } => {
                let stat = rustix::fs::fstat(&**file).ok();
                stat.map(|stat| Origin::of(&stat)).hash(&mut hasher);
            }
            Store::Directory(root) => {
                for name in self.names_on_disk() {
                    (name, root.stat(name).ok().map(|stat| Origin::of(&stat))).hash(&mut hasher);
                }
            }
            Store::Embedded(_) => {}
        }
        hasher.finish()
    }

    /// Identifies what is served, for messages. Blocks: looks at every file of a directory.
    #[must_use]
    pub fn version(&self) -> Version {
        let mut hash = Context::new(&SHA256);
        let mut add = |name: &[u8], stamp: Option<Stamp>| {
            // No name holds a zero.
            hash.update(name);
            hash.update(&[0]);
            let Some(Stamp { size, modified: (seconds, nanos) }) = stamp else { return };
            hash.update(&size.to_le_bytes());
            hash.update(&seconds.to_le_bytes());
            hash.update(&nanos.to_le_bytes());
        };
        match &self.store {
            Store::Pack { hash, .. } => return Version { kind: "pack", hash: *hash },
            Store::Archive { file, .. } => add(b"", Some(file.origin().stamp())),
            Store::Directory(root) => {
                for name in self.names_on_disk() {
                    add(name, root.stat(name).ok().map(|stat| Stamp::of(&stat)));
                }
            }
            Store::Embedded(_) => {}
        }
        let mut version = Version { kind: "stamps", hash: [0; 32] };
        version.hash.copy_from_slice(hash.finish().as_ref());
        version
    }

    /// The files of a directory, its rules included.
    fn names_on_disk(&self) -> impl Iterator<Item = &[u8]> {
        self.index.source_names().chain([rules::HEADERS.as_bytes(), rules::REDIRECTS.as_bytes()])
    }

    /// The name of a file, for messages; printable.
    #[must_use]
    pub fn name_of(&self, file: FileId) -> Option<String> {
        let name = self.index.name_of(file).map(printable);
        name.or_else(|| {
            self.listed_folder(file).map(|folder| format!("the listing of /{}", printable(folder)))
        })
    }

    /// The file of this site that has the name and the encoding of a file of `older`.
    pub(super) fn same_name(&self, older: &Site, file: FileId) -> Option<FileId> {
        let coding = match older.index.attached(file) {
            Some(attached) => attached.coding,
            None => older.index.source(file)?.1,
        };
        match self.index.get(older.index.name_of(file)?)? {
            Slot::File(choice) => choice.of(coding),
            Slot::Directory(_) => None,
        }
    }

    /// The origin that a source has now.
    fn origin(&self, source: usize) -> Option<Origin> {
        match &self.store {
            Store::Directory(root) => Some(Origin::of(&root.stat(self.index.source_name(source)?).ok()?)),
            _ => None,
        }
    }
}

/// Bytes of a version that are shown: enough to tell the few that an operator compares.
const VERSION_SHOWN: usize = 6;

#[cfg(test)]
mod tests;
