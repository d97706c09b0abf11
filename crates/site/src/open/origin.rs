//! The identity of a file's content on disk, by inode and times, without reading it.

use super::hash::{Hash as Sha256, sha256};
use rustix::fs::Stat;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The numbers that change when a file's content does. Not the change time: a rename or a new link
/// alters nothing here.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(super) size: u64,
    /// Modification time.
    pub(super) modified: Moment,
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

/// The bytes that a representation was made of. Equal origins have equal bytes, once settled.
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

    /// Returns the first full second after the last change.
    pub(crate) fn unchanged_since(&self) -> u64 {
        u64::try_from(self.changed.0).unwrap_or(0).saturating_add(1)
    }

    /// Whether the change time is later than `time`.
    pub(crate) fn is_changed_after(&self, time: SystemTime) -> bool {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        (self.changed.0, self.changed.1)
            > (i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_nanos())
    }

    /// Returns a hash that stands for content that is not read: another one for another version of
    /// the file, and for another part of it. The inode and the times cannot be read from it,
    /// because of `makeshift`, which are bytes that no other call has.
    pub(crate) fn version(&self, part: &Range<u64>, makeshift: &[u8]) -> Sha256 {
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
        sha256(&text)
    }

    /// Returns the grain of the file's time stamps, within which a second change leaves no trace.
    pub(crate) fn grain(&self) -> Duration {
        // A file system that keeps no fractions has a grain of one or two seconds (ext3, FAT).
        let is_coarse = self.stamp.modified.1 == 0 && self.changed.1 == 0;
        if is_coarse { COARSE_GRAIN } else { GRAIN }
    }

    /// Whether the time stamps will show everything that is written to the file from `now` on: they
    /// have a grain, and a second change within one leaves no trace. `now` is the time at which the
    /// bytes are read. Git calls the other case racy.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let (grain, now) = (self.grain(), now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let age = |(seconds, nanos): Moment| {
            now.checked_sub(Duration::new(u64::try_from(seconds).unwrap_or(0), nanos))
        };
        // A modification time that lies ahead was set by hand; a change will set another one.
        age(self.changed).is_some_and(|age| age > grain)
            && age(self.stamp.modified).is_none_or(|age| age > grain)
    }

    /// The modification time, in seconds since the epoch.
    pub(crate) fn modified(&self) -> Option<u64> {
        u64::try_from(self.stamp.modified.0).ok()
    }
}

/// Several ticks of the slowest clock that Linux is built with (100 Hz).
const GRAIN: Duration = Duration::from_millis(50);
const COARSE_GRAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
