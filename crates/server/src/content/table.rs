//! A place for each file of a snapshot.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sitar_site::Representation;

use crate::snapshot::{FileKey, Snapshot};

pub(super) enum Slot {
    Absent,
    Pending,
    /// There is no more of it than this.
    Ready {
        loaded: Arc<Representation>,
        used: bool,
    },
    /// Everything but the body, which may come into memory yet.
    Described {
        loaded: Arc<Representation>,
        used: bool,
        /// The body has been asked for.
        is_asked: bool,
        /// The time when there was no room for the body; until there is, it is sent from the file.
        /// `None`: memory has not been asked for.
        displaced: Option<Second>,
    },
    Failed(io::ErrorKind),
}

/// A large site has millions of them.
const _: () = assert!(size_of::<Slot>() <= 16);

impl Slot {
    /// Lets go of what has been loaded. An answer that is on its way is still waited for.
    pub(super) fn vacate(&mut self) {
        let is_asked = matches!(self, Slot::Pending | Slot::Described { is_asked: true, .. });
        *self = if is_asked { Slot::Pending } else { Slot::Absent };
    }

    /// What has been loaded, and whether it has been used.
    pub(super) fn loaded(&mut self) -> Option<(&Arc<Representation>, &mut bool)> {
        match self {
            Slot::Ready { loaded, used } | Slot::Described { loaded, used, .. } => Some((loaded, used)),
            Slot::Absent | Slot::Pending | Slot::Failed(_) => None,
        }
    }
}

/// A point in time, in whole seconds of a clock that may be set.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Second(NonZeroU32);

impl Second {
    pub(super) fn of(time: SystemTime) -> Second {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Only differences matter.
        let low = u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or(0);
        Second(NonZeroU32::new(low).unwrap_or(NonZeroU32::MIN))
    }

    /// Whether [`PAUSE`] has passed since then; where the clock was set back, too.
    pub(super) fn is_over(self, now: SystemTime) -> bool {
        Second::of(now).0.get().wrapping_sub(self.0.get()) >= PAUSE
    }
}

/// Seconds between two tries to bring a body into memory, and between two passes over what is
/// there: what is used in between is hot.
pub(super) const PAUSE: u32 = 10;

/// A place for each file of each host of a snapshot. Made away from the shard that uses it: a large
/// one takes time.
pub(crate) struct Table {
    /// The files of one host after those of another.
    pub(super) slots: Vec<Slot>,
    /// The index of each host's first file, and behind the last one their end.
    starts: Vec<usize>,
}

impl Table {
    /// A table for the files of a snapshot, of which some are loaded.
    pub(crate) fn new(of: &Snapshot, loaded: &[(FileKey, Arc<Representation>)]) -> Table {
        let mut starts = vec![0];
        let mut end = 0;
        for (_, host) in of.hosts.iter() {
            end += host.site().map_or(0, |site| site.files());
            starts.push(end);
        }
        let mut table = Table { slots: (0..end).map(|_| Slot::Absent).collect(), starts };
        for (file, loaded) in loaded {
            if let Some(slot) = table.slot(*file) {
                *slot = Slot::Ready { loaded: Arc::clone(loaded), used: false };
            }
        }
        table
    }

    /// Returns the place of a file; `None` for one of another snapshot.
    #[inline]
    pub(super) fn slot(&mut self, file: FileKey) -> Option<&mut Slot> {
        let at = self.place(file)?;
        self.slots.get_mut(at)
    }

    #[inline]
    fn place(&self, file: FileKey) -> Option<usize> {
        let host = file.host.index();
        let (start, end) = (*self.starts.get(host)?, *self.starts.get(host + 1)?);
        Some(start + file.file.index()).filter(|place| *place < end)
    }

    #[cfg(test)]
    pub(crate) fn loaded(&self, file: FileKey) -> Option<&Representation> {
        match self.slots.get(self.place(file)?)? {
            Slot::Ready { loaded, .. } => Some(loaded),
            _ => None,
        }
    }
}
