//! What is on disk may change while it is served: how that is noticed, and what survives it.
//!
//! A file that is sent in pieces is looked at after each of them ([`Streamed`](crate::Streamed)).
//! When a changed site takes the place of an older one, what both have need not be read again
//! ([`Site::inherit`]).

use crate::answer::fields::Blocks;
use crate::answer::representation::{self, Dates, Representation, no_later};
use crate::open::error::printable;
use crate::open::index::{FileId, Slot};
use crate::open::pack::Records;
use crate::open::site::{Site, Store, packed_blocks};
use crate::rules;
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::Stat;
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What changes when a file's content does. Not the change time: a rename or a new link alters
/// nothing here.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    /// Bytes.
    size: u64,
    /// Modification time.
    modified: Moment,
}

/// A time of the file system's: seconds since the epoch, and nanoseconds.
pub(crate) type Moment = (i64, u32);

impl Stamp {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the fields' widths differ between targets"
    )]
    pub(crate) fn of(stat: &Stat) -> Stamp {
        Stamp { size: stat.st_size as u64, modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32) }
    }

    pub(crate) fn at(size: u64, modified: Moment) -> Stamp {
        Stamp { size, modified }
    }
}

/// Which bytes a representation was made of: equal origins have equal bytes, once they are settled.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    device: u64,
    inode: u64,
    stamp: Stamp,
    /// The change time, which cannot be set back.
    changed: Moment,
}

impl Origin {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the fields' widths differ between targets"
    )]
    pub(crate) fn of(stat: &Stat) -> Origin {
        Origin {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            stamp: Stamp::of(stat),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The change time.
    pub(crate) fn changed(&self) -> Moment {
        self.changed
    }

    /// The second after the change time, since when the content is what it is.
    pub(crate) fn unchanged_since(&self) -> u64 {
        u64::try_from(self.changed.0).unwrap_or(0).saturating_add(1)
    }

    /// Whether the change time is later than `time`.
    pub(crate) fn is_changed_after(&self, time: SystemTime) -> bool {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        (self.changed.0, self.changed.1)
            > (i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_nanos())
    }

    /// What stands for content that is not read: another number for another version of the file,
    /// and for another part of it. It says nothing about the inode and the times that it is made
    /// of. `makeshift`: bytes that no other call has.
    pub(crate) fn version(&self, part: &Range<u64>, makeshift: &[u8]) -> representation::Hash {
        let Origin { device, inode, stamp: Stamp { size, modified }, changed } = *self;
        let numbers = [
            device,
            inode,
            size,
            modified.0.cast_unsigned(),
            modified.1.into(),
            changed.0.cast_unsigned(),
            changed.1.into(),
            part.start,
            part.end,
        ];
        let mut text = b"sitar: a version of a file\0".to_vec();
        numbers.iter().for_each(|number| text.extend_from_slice(&number.to_be_bytes()));
        text.extend_from_slice(makeshift);
        representation::sha256(&text)
    }

    /// How long a change of the file may leave no trace behind another: the grain of its time
    /// stamps.
    pub(crate) fn grain(&self) -> Duration {
        // A file system that keeps no fractions has a grain of one or two seconds (ext3, FAT).
        let is_coarse = self.stamp.modified.1 == 0 && self.changed.1 == 0;
        if is_coarse { COARSE_GRAIN } else { GRAIN }
    }

    /// Whether whatever is written to the file from `now` on will show: the kernel's time stamps
    /// have a grain, and a second change within one leaves no trace. To be asked with the time at
    /// which the bytes are read; git calls the other case racy.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let (grain, now) = (self.grain(), now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let age = |(seconds, nanos): Moment| {
            now.checked_sub(Duration::new(u64::try_from(seconds).unwrap_or(0), nanos))
        };
        // A modification time that lies ahead was set, and a change will show by another.
        age(self.changed).is_some_and(|age| age > grain)
            && age(self.stamp.modified).is_none_or(|age| age > grain)
    }

    /// The modification time, in seconds since the epoch.
    pub(crate) fn modified(&self) -> Option<u64> {
        u64::try_from(self.stamp.modified.0).ok()
    }
}

/// What is served, by a hash: of a pack, that of its index; of anything else, one of names, sizes
/// and modification times. So two copies of a directory whose times were copied too have one
/// version.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Version {
    kind: &'static str,
    hash: representation::Hash,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        self.hash.iter().take(VERSION_SHOWN).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Site {
    /// What of `older`'s `loaded` representations this site has too. From directory to directory,
    /// byte for byte as far as the file system tells: same name and encoding, same inode, size,
    /// modification and change times. From pack to pack: same hash. Nothing is read; header lines
    /// are this site's. Bodies in memory only. Blocks: one look at the file system for each file of
    /// a directory.
    #[must_use]
    pub fn inherit(
        &self,
        older: &Site,
        loaded: impl IntoIterator<Item = (FileId, Arc<Representation>)>,
        now: SystemTime,
    ) -> Vec<(FileId, Arc<Representation>)> {
        let loaded = loaded.into_iter();
        match (&older.store, &self.store) {
            (Store::Directory(_), Store::Directory(_)) => loaded
                .filter_map(|(file, representation)| {
                    let origin = representation.origin()?;
                    let file = self.same_name(older, file)?;
                    let entry = self.index.entry(file)?;
                    let origin = self.origin(entry.source).filter(|here| here == origin)?;
                    let dates = representation.dates().with(no_later(origin.modified(), now));
                    Some((file, Arc::new(representation.inherited(&entry, origin, dates)?)))
                })
                .collect(),
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
        known: &HashMap<representation::Hash, (FileId, Arc<Representation>)>,
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
            Some((file, Arc::new(heir)))
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
        self.index.name_of(file).map(printable)
    }

    /// The file of this site that has the name and the encoding of a file of `older`.
    fn same_name(&self, older: &Site, file: FileId) -> Option<FileId> {
        let (_, coding) = older.index.source(file)?;
        match self.index.get(older.index.name_of(file)?)? {
            Slot::File(choice) => choice.of(coding),
            Slot::Directory(_) => None,
        }
    }

    /// Where the bytes of a source are now.
    fn origin(&self, source: usize) -> Option<Origin> {
        match &self.store {
            Store::Directory(root) => Some(Origin::of(&root.stat(self.index.source_name(source)?).ok()?)),
            _ => None,
        }
    }
}

/// Bytes of a version that are shown: enough to tell the few that an operator compares.
const VERSION_SHOWN: usize = 6;
/// Several ticks of the slowest clock that Linux is built with (100 Hz).
const GRAIN: Duration = Duration::from_millis(50);
const COARSE_GRAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
