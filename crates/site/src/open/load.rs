//! Loading: from a file's number to its representation.

use crate::answer::listing::LISTING_MAX;
use crate::answer::representation::{Content, Dates, Identity, Mismatch, Representation, no_later};
use crate::open::archive_file::changed;
use crate::open::budget::Budget;
use crate::open::hash::Hash;
use crate::open::index::FileId;
use crate::open::origin::Origin;
use crate::open::site::{Site, Store, packed_blocks};
use crate::open::streamed::Streamed;
use aws_lc_rs::digest::{Context, SHA256};
use sitar_io::{File, RegionMut};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::SystemTime;

/// The size of a body, and whether it has to be read before anything can be said of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BodySize {
    /// Bytes.
    pub length: u64,
    /// Whether [`Site::describe`] reads all of them: the ETag is their hash, which is not known.
    pub is_unread: bool,
}

impl Site {
    /// Reads a file and builds its answers. Blocks: call it on a thread that may.
    ///
    /// A body within the budget is read whole and hashed; any other is opened to be sent from the
    /// file, and hashed only if there could be room for it at another time, so that its ETag stays
    /// what it is. `now` is the time by the clock that answers are dated with.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` when the archive or the file was changed meanwhile;
    /// `QuotaExceeded` when the file would have to stay open, and the budget has no more of those;
    /// `StorageFull` when there is no room for a listing, which can only be sent from memory.
    pub fn load(&self, file: FileId, budget: &Budget, now: SystemTime) -> io::Result<Representation> {
        let made = match self.make_listing(file, budget, LISTING_MAX) {
            Some(listing) => listing,
            None => self.build(file, budget, now, true),
        };
        made.map(|made| made.with_hsts(&self.hsts))
    }

    /// Builds a file's answers, and leaves its body to be sent from the file: as
    /// [`load`](Site::load) does where the budget has no room. Takes nothing of the budget, which
    /// only says what could ever be in memory. What has been hashed once is not read again. A
    /// listing, which lies in no file, is loaded.
    ///
    /// # Errors
    /// As [`load`](Site::load).
    pub fn describe(&self, file: FileId, budget: &Budget, now: SystemTime) -> io::Result<Representation> {
        if self.listed_folder(file).is_some() {
            return self.load(file, budget, now);
        }
        self.build(file, budget, now, false).map(|made| made.with_hsts(&self.hsts))
    }

    /// Returns what loading a file would have to read; of a listing, about what would take as long.
    /// Blocks: looks at a file of a directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn body_size(&self, file: FileId, budget: &Budget) -> io::Result<BodySize> {
        if let Some(size) = self.listing_size(file) {
            return Ok(size);
        }
        if let Some(encoding) = self.encoding(file) {
            // Held against its hash each time.
            return Ok(BodySize { length: encoding.size, is_unread: true });
        }
        let (source, _) = self.index.source(file).ok_or(io::ErrorKind::InvalidInput)?;
        let (length, origin) = match &self.store {
            Store::Embedded(bodies) => (item(bodies, source)?.len() as u64, None),
            Store::Pack { records, .. } => {
                (records.get(source).ok_or(io::ErrorKind::InvalidInput)?.size, None)
            }
            Store::Archive { file, bodies, .. } => (item(bodies, source)?.size, Some(*file.origin())),
            Store::Directory(root) => {
                let name = self.index.source_name(source).ok_or(io::ErrorKind::InvalidInput)?;
                let stat = root.stat(name)?;
                (u64::try_from(stat.st_size).unwrap_or(0), Some(Origin::of(&stat)))
            }
        };
        let is_hashed = |origin: Origin| self.known_hash(file, &origin).is_some();
        let is_unread = budget.allows(length) && origin.is_some_and(|origin| !is_hashed(origin));
        Ok(BodySize { length, is_unread })
    }

    /// Builds the answers of a file, whose body is `kept` in memory if there is room.
    fn build(
        &self,
        file: FileId,
        budget: &Budget,
        now: SystemTime,
        kept: bool,
    ) -> io::Result<Representation> {
        let id = file;
        let room = kept.then_some(budget);
        if let Some(made) = self.build_attached(file, room, now) {
            return made;
        }
        let entry = self.index.entry(file).ok_or(io::ErrorKind::InvalidInput)?;
        let since = self.since.load(Ordering::Relaxed);
        let (content, modified, since, read_from) = match &self.store {
            Store::Embedded(bodies) => (Content::Static(item(bodies, entry.source)?), None, since, None),
            Store::Archive { file, bodies, maps } => {
                let stored = item(bodies, entry.source)?;
                let content = match maps.get(&stored.offset) {
                    Some(map) => archived(&file.sparse(map), 0, stored.size, room)?,
                    None => archived(file, stored.offset, stored.size, room)?,
                };
                (content, stored.mtime, since, Some(*file.origin()))
            }
            Store::Pack { file, records, blocks, .. } => {
                let record = records.get(entry.source).ok_or(io::ErrorKind::InvalidInput)?;
                let content = archived(file, record.offset, record.size, room)?;
                let blocks = packed_blocks(blocks, &record, &entry);
                let dates = Dates::new(no_later(record.mtime, now), since);
                return Representation::packed(content, &record.hash, blocks, &entry, dates).map_err(
                    |Mismatch| changed("it is not what was packed; copy the archive again, or pack it again"),
                );
            }
            Store::Directory(root) => {
                let name = self.index.source_name(entry.source).ok_or(io::ErrorKind::InvalidInput)?;
                let (fd, before) = root.file(name)?;
                let (streamed, origin) = (Streamed::new(File::from(fd), &before, true), Origin::of(&before));
                let size = u64::try_from(before.st_size).unwrap_or(0);
                let content = content(&streamed, 0, size, room)?;
                if let Content::File { file, .. } = &content {
                    // Before hashing: without a place the file is closed again.
                    file.keep(budget.take_file().ok_or(io::ErrorKind::QuotaExceeded)?);
                }
                if !streamed.is_unchanged_by_now() {
                    return Err(changed(CHANGED));
                }
                let is_newer = origin.is_changed_after(self.opened);
                let since = if is_newer { since.max(origin.unchanged_since()) } else { since };
                (content, origin.modified(), since, Some(origin))
            }
        };
        // `now` is before reading: a change that comes later must show.
        let settled = read_from.filter(|origin| origin.is_settled(now));
        let dates = Dates::new(no_later(modified, now), since);
        let identity = match &content {
            Content::File { file: from, range } => Some((from.clone(), range.clone())),
            Content::Static(_) | Content::Resident(_) => None,
        };
        let identity = || {
            let (from, range) = identity.ok_or(io::ErrorKind::InvalidInput)?;
            self.identify(id, &from, &range, budget, now)
        };
        let is_large = content.len() > REMEMBERED_ABOVE;
        // An archive's members have no times of their own that a later site could compare.
        let origin = settled.filter(|_| matches!(self.store, Store::Directory(_)));
        let made = Representation::new(content, identity, &entry, dates, origin)?;
        if let (true, Some(origin), Some(hash)) = (is_large, settled, made.hash) {
            self.lock().insert(id, (origin, hash));
        }
        if let Some(origin) = &read_from {
            self.compare_with_encodings(id, origin, &made);
        }
        Ok(made)
    }

    /// Returns what tells a body that is sent from a file from any other.
    fn identify(
        &self,
        file: FileId,
        from: &Streamed,
        range: &Range<u64>,
        budget: &Budget,
        now: SystemTime,
    ) -> io::Result<Identity> {
        let origin = *from.origin();
        let length = range.end.saturating_sub(range.start);
        if budget.allows(length) {
            let hash = match self.known_hash(file, &origin) {
                Some(hash) => hash,
                None => hashed(from, range)?,
            };
            if origin.is_settled(now) {
                self.lock().insert(file, (origin, hash));
            }
            return Ok(Identity::Content(hash));
        }
        // A sparse file's range is not where it lies; its parts are.
        let place = from.lies_at(range);
        if origin.is_settled(now) {
            return Ok(Identity::Version { version: origin.version(&place, &[]), until: None });
        }
        // A change that leaves no trace may come, or have come: this version is like no other, and
        // soon there is another.
        let number = self.makeshifts.fetch_add(1, Ordering::Relaxed);
        let nanos = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let makeshift = [&number.to_be_bytes()[..], &nanos.to_be_bytes()].concat();
        let until = now.checked_add(origin.grain());
        Ok(Identity::Version { version: origin.version(&place, &makeshift), until })
    }

    /// The hash of a body that has been read before, if it was this version of its file.
    fn known_hash(&self, file: FileId, origin: &Origin) -> Option<Hash> {
        self.lock().get(&file).filter(|(known, _)| known == origin).map(|(_, hash)| *hash)
    }

    /// Remembers what an older site of the same directory has read. Whether a file is still the one
    /// that was read shows when it is asked for.
    pub(super) fn inherit_hashes(&self, older: &Site) {
        let known: Vec<_> = older.lock().iter().map(|(file, known)| (*file, *known)).collect();
        let known = known.into_iter().filter_map(|(file, known)| Some((self.same_name(older, file)?, known)));
        self.lock().extend(known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileId, (Origin, Hash)>> {
        // Each entry is true by itself.
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the item of a source.
fn item<T>(sources: &[T], source: usize) -> io::Result<&T> {
    sources.get(source).ok_or(io::ErrorKind::InvalidInput.into())
}

/// A body in an archive of which nothing may have changed since it was indexed: the positions would
/// send a mixture.
fn archived(file: &Streamed, offset: u64, size: u64, room: Option<&Budget>) -> io::Result<Content> {
    let content = content(file, offset, size, room)?;
    if !file.is_unchanged_by_now() {
        return Err(changed("the archive was changed in place; replace it by renaming, then reload"));
    }
    Ok(content)
}

/// Reads `size` bytes at `offset`, if there is a budget and it has room for them.
pub(super) fn content(file: &Streamed, offset: u64, size: u64, room: Option<&Budget>) -> io::Result<Content> {
    let reservation = room.and_then(|budget| budget.reserve(size));
    if let (Some(reservation), Ok(length)) = (reservation, usize::try_from(size))
        // No memory is one more way of not fitting; the reservation goes back.
        && let Ok(mut region) = RegionMut::new(length)
    {
        file.read_exact_at(&mut region, offset)?;
        return Ok(Content::Resident(region.freeze_with(reservation)));
    }
    let end = offset.checked_add(size).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Content::File { file: file.clone(), range: offset..end })
}

/// SHA-256 of a body that is not kept.
pub(super) fn hashed(file: &Streamed, range: &Range<u64>) -> io::Result<Hash> {
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; HASHED_AT_ONCE]);
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(HASHED_AT_ONCE);
        let part = buffer.get_mut(..len).unwrap_or_default();
        file.read_exact_at(part, at)?;
        context.update(part);
        at += len as u64;
    }
    if !file.is_unchanged_by_now() {
        return Err(changed(CHANGED));
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

const CHANGED: &str = "the file was changed while it was read";
/// Bytes of a body that are in memory at a time while it is hashed.
const HASHED_AT_ONCE: usize = 64 << 10;
/// The hashes of longer bodies are kept when their bytes are not. Reading a shorter one again costs
/// less than the memory for each file of a large site.
const REMEMBERED_ABOVE: u64 = 64 << 10;

#[cfg(test)]
mod tests;
