//! A site whose files have encodings in an encodings file.
//!
//! An encoding counts while its original is the one that was encoded. That is compared when the
//! site opens, when the encoding is loaded, and when the original itself is. Once it was not so,
//! the file is sent as it is, by all threads, until the site is opened again: so no client gets an
//! older content than one that has been sent before.

use super::format::Encoding;
use super::read::Encodings;
use crate::answer::representation::{Content, Dates, Representation, no_later};
use crate::open::budget::Budget;
use crate::open::hash::{Hash, sha256};
use crate::open::index::FileId;
use crate::open::load::{content, hashed};
use crate::open::origin::Origin;
use crate::open::site::{Site, Store};
use rustix::io::Errno;
use sitar_http::semantics::Coding;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// The encodings file of a site, and what has been found about it.
#[derive(Debug)]
pub(crate) struct Attachment {
    encodings: Arc<Encodings>,
    gain: Gain,
}

/// What a site gains by its encodings file.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Gain {
    /// Files that have encodings there.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes of the smallest encoding of each of them.
    pub encoded: u64,
}

/// The reason why an encoding is not loaded: it is not that of the file as it is now, or is
/// damaged. The file is sent as it is instead, and a request that is routed again finds it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OutdatedEncoding;

impl OutdatedEncoding {
    /// Whether an error of [`Site::load`] is this one.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<OutdatedEncoding>())
    }
}

impl fmt::Display for OutdatedEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the encoding is not that of the file as it is now")
    }
}

impl std::error::Error for OutdatedEncoding {}

impl Site {
    /// Has this site send these encodings of its files, where the file has none of that coding and
    /// is the version that was encoded. Blocks: looks at every file of a directory. Does nothing
    /// for a pack, or where an encodings file is attached already.
    pub fn attach(&mut self, encodings: Arc<Encodings>) {
        if self.attachment.is_some() {
            return;
        }
        let (manifest, mut gain) = (encodings.manifest(), Gain::default());
        for (place, (name, original)) in manifest.originals().enumerate() {
            let all = manifest.encodings(place);
            let Some(smallest) = all.iter().map(|encoding| encoding.size).min() else { continue };
            // A second one of that name would be outdated by itself.
            if encodings.is_outdated(place)
                || self.index.attached_to(name).is_some()
                || self.index.file(name).and_then(|file| self.version_of(file))
                    != Some((original.version, original.size))
            {
                continue;
            }
            let mut is_any = false;
            for encoding in all {
                // At most FILES_MAX.
                is_any |= self.index.attach(name, encoding.coding, place as u32);
            }
            if is_any {
                gain.files += 1;
                gain.bytes += original.size;
                gain.encoded += smallest;
            }
        }
        if gain.files == 0 {
            return;
        }
        self.index.attached_all();
        self.attachment = Some(Attachment { encodings, gain });
    }

    /// What this site gains by the encodings that are attached.
    #[must_use]
    pub fn gain(&self) -> Gain {
        self.attachment.as_ref().map_or_else(Gain::default, |attachment| attachment.gain)
    }

    /// Identifies the state of a file, and says how many bytes it has: what stands for an original
    /// in an encodings file. `None` for what is never encoded: files of packs, encodings, and
    /// sparse members of archives. Blocks: looks at a file of a directory.
    #[must_use]
    pub fn version_of(&self, file: FileId) -> Option<(Hash, u64)> {
        let (origin, range) = self.place_of(file).ok()?;
        Some((origin.version(&range, &[]), range.end - range.start))
    }

    /// The file that the bytes of a representation lie in now, and where.
    ///
    /// # Errors
    /// The kernel's; `Unsupported`: it is never encoded.
    pub(super) fn place_of(&self, file: FileId) -> io::Result<(Origin, Range<u64>)> {
        let never = || io::Error::from(io::ErrorKind::Unsupported);
        let (source, coding) = self.index.source(file).ok_or_else(never)?;
        if coding != Coding::Identity {
            return Err(never());
        }
        match &self.store {
            Store::Directory(root) => {
                let stat = root.stat(self.index.source_name(source).ok_or_else(never)?)?;
                Ok((Origin::of(&stat), 0..u64::try_from(stat.st_size).map_err(|_| never())?))
            }
            Store::Archive { file, bodies, maps } => {
                let stored = bodies.get(source).ok_or_else(never)?;
                let end = stored.offset.checked_add(stored.size).ok_or_else(never)?;
                if maps.contains_key(&stored.offset) {
                    return Err(never());
                }
                Ok((*file.origin(), stored.offset..end))
            }
            Store::Pack { .. } | Store::Embedded(_) => Err(never()),
        }
    }

    /// Returns whether a file is an encoding that is not to be used any more.
    #[inline]
    pub(crate) fn is_outdated(&self, file: FileId) -> bool {
        match &self.attachment {
            None => false,
            Some(attachment) => {
                let attached = self.index.attached(file);
                attached.is_some_and(|attached| attachment.encodings.is_outdated(attached.original as usize))
            }
        }
    }

    /// Compares a file that has just been loaded with what its encodings were made of. Before it is
    /// used, so that no encoding is sent after it that is older.
    pub(crate) fn compare_with_encodings(&self, file: FileId, origin: &Origin, loaded: &Representation) {
        let Some(attachment) = &self.attachment else { return };
        // An encoding that lies beside the file is another matter.
        let Some((source, Coding::Identity)) = self.index.source(file) else { return };
        let name = self.index.source_name(source);
        let Some(attached) = name.and_then(|name| self.index.attached_to(name)) else { return };
        let Some(original) = attachment.encodings.manifest().original(attached.original as usize) else {
            return;
        };
        let is_it = match (&self.store, loaded.hash) {
            (_, Some(hash)) if hash != original.hash => false,
            (Store::Directory(_), _) => origin.version(&(0..original.size), &[]) == original.version,
            _ => true,
        };
        if !is_it {
            attachment.encodings.set_outdated(attached.original as usize);
        }
    }

    /// Loads an encoding that lies in the encodings file; `None`: the file is none.
    pub(crate) fn build_attached(
        &self,
        file: FileId,
        room: Option<&Budget>,
        now: SystemTime,
    ) -> Option<io::Result<Representation>> {
        let attachment = self.attachment.as_ref()?;
        let attached = *self.index.attached(file)?;
        let outdated = || io::Error::other(OutdatedEncoding);
        let made = match attachment.encodings.is_outdated(attached.original as usize) {
            true => Err(outdated()),
            false => self.read_attached(file, room, now),
        };
        Some(made.map_err(|error| {
            // That passes, and says nothing about the file.
            if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                return error;
            }
            // Before anybody learns of it: the next one who asks gets the file as it is.
            attachment.encodings.set_outdated(attached.original as usize);
            outdated()
        }))
    }

    /// # Errors
    /// The encoding is not to be used; or the kernel's, when there are no descriptors left.
    fn read_attached(
        &self,
        file: FileId,
        room: Option<&Budget>,
        now: SystemTime,
    ) -> io::Result<Representation> {
        let outdated = || io::Error::other(OutdatedEncoding);
        let attachment = self.attachment.as_ref().ok_or_else(outdated)?;
        let attached = self.index.attached(file).ok_or_else(outdated)?;
        let entry = self.index.entry(file).ok_or_else(outdated)?;
        let encoding = self.encoding(file).ok_or_else(outdated)?;
        let source = &attachment.encodings.file;
        let body = content(source, encoding.offset, encoding.size, room)?;
        let read = match &body {
            Content::Resident(region) => sha256(region),
            Content::File { file, range } => hashed(file, range)?,
            Content::Static(_) => return Err(outdated()),
        };
        let manifest = attachment.encodings.manifest();
        let original = manifest.original(attached.original as usize).ok_or_else(outdated)?;
        let name = self.index.name_of(file).ok_or_else(outdated)?;
        let identity = self.index.file(name).ok_or_else(outdated)?;
        // Last, so that what has been read until now was an encoding of the file.
        let (origin, range) = self.place_of(identity)?;
        let is_it = read == encoding.hash && origin.version(&range, &[]) == original.version;
        let is_whole = match &self.store {
            Store::Archive { file, .. } => file.is_unchanged_by_now(),
            _ => true,
        };
        if !is_it || !is_whole {
            return Err(outdated());
        }
        let modified = match &self.store {
            Store::Archive { bodies, .. } => bodies.get(entry.source).and_then(|body| body.mtime),
            _ => origin.modified(),
        };
        let since = self.since.load(Ordering::Relaxed);
        let is_newer = matches!(self.store, Store::Directory(_)) && origin.is_changed_after(self.opened);
        let since = if is_newer { since.max(origin.unchanged_since()) } else { since };
        let dates = Dates::new(no_later(modified, now), since);
        Ok(Representation::checked(body, &encoding.hash, None, &entry, dates))
    }

    /// The encoding from outside of the site that a file is.
    pub(crate) fn encoding(&self, file: FileId) -> Option<Encoding> {
        let attached = self.index.attached(file)?;
        let all = self.attachment.as_ref()?.encodings.manifest().encodings(attached.original as usize);
        all.iter().find(|encoding| encoding.coding == attached.coding).copied()
    }

    /// Returns an encoding that an older site has loaded, as that of this site, if it comes from
    /// the same encodings file. Only then does the older one see that it is outdated, when both do.
    pub(crate) fn inherit_encoding(
        &self,
        older: &Site,
        file: FileId,
        loaded: &Representation,
        now: SystemTime,
    ) -> Option<(FileId, Arc<Representation>)> {
        let (own, others) = (self.attachment.as_ref()?, older.attachment.as_ref()?);
        let file = self.same_name(older, file).filter(|_| Arc::ptr_eq(&own.encodings, &others.encodings))?;
        let encoding = self.encoding(file).filter(|encoding| loaded.hash == Some(encoding.hash))?;
        let attached = self.index.attached(file)?;
        let original = own.encodings.manifest().original(attached.original as usize)?;
        let (entry, dates) = (self.index.entry(file)?, loaded.dates());
        let (origin, range) =
            self.place_of(self.index.name_of(file).and_then(|name| self.index.file(name))?).ok()?;
        // It may have changed since this site was opened, and the time is that of the new content.
        if origin.version(&range, &[]) != original.version {
            return None;
        }
        let dates = dates.with(no_later(origin.modified(), now));
        let heir = loaded.repacked(&encoding.hash, None, &entry, dates)?;
        Some((file, Arc::new(heir.with_hsts(&self.hsts))))
    }
}

#[cfg(test)]
mod tests;
