//! Sparse members: a map of the parts that are stored, and holes between them that are zeros.
//!
//! Four ways to write the map are in use (GNU tar's manual, "Storing Sparse Files"). Old GNU (type
//! `S`) has it in the header and blocks behind it. Versions 0.0 and 0.1 have it in pax records.
//! Version 1.0, which bsdtar writes unasked, has it as text in front of the data. All of them come
//! to the same [`Map`]. The parts lie one behind the other in the archive, in the order of the
//! file.

use crate::open::place::Place;
use std::io;
use std::ops::Range;

/// The stored parts of a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// The parts in order; none is empty, none overlaps another or touches it.
    extents: Box<[Extent]>,
}

/// A part that is stored.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first byte's position in the file.
    pub(crate) at: u64,
    /// Bytes, at least one.
    pub(crate) len: u64,
    /// The first byte's offset in the archive.
    pub(crate) offset: u64,
}

/// A map as it is read, entry by entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// Positions and lengths.
    entries: Vec<(u64, u64)>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry that follows those before it.
    ///
    /// # Errors
    /// It overlaps the one before, ends beyond any file, or is one too many.
    pub(super) fn push(&mut self, at: u64, len: u64) -> Result<(), &'static str> {
        let end = at.checked_add(len).filter(|&end| i64::try_from(end).is_ok());
        let end = end.ok_or("a sparse file's map leads beyond any file")?;
        let is_full = self.entries.len() == EXTENTS_MAX;
        match self.entries.last_mut() {
            Some((before, length)) if *before + *length > at => {
                Err("a sparse file's map is out of order, or has parts that overlap")
            }
            // Neighbours become one, so that a map has as few parts as it has holes.
            Some((before, length)) if *before + *length == at => {
                *length = end - *before;
                Ok(())
            }
            _ if is_full => Err(TOO_LONG),
            _ => {
                self.entries.push((at, len));
                Ok(())
            }
        }
    }

    /// The map of a file of `size` bytes whose parts lie in the `stored` bytes at `offset`; `None`
    /// if it has no holes.
    ///
    /// # Errors
    /// The map and these numbers contradict each other.
    pub(super) fn finish(self, size: u64, offset: u64, stored: u64) -> Result<Option<Map>, &'static str> {
        let mut extents = Vec::with_capacity(self.entries.len());
        let mut used = 0_u64;
        for (at, len) in self.entries {
            // No sum of these overflows: `push` has seen to that.
            if at + len > size {
                return Err("a sparse file's map leads beyond the end of the file");
            }
            if len > stored - used {
                return Err("a sparse file's map names more bytes than are stored");
            }
            if len > 0 {
                extents.push(Extent { at, len, offset: offset + used });
            }
            used += len;
        }
        let is_whole = matches!(extents[..], [Extent { at: 0, len, .. }] if len == size);
        if size == 0 || is_whole {
            return Ok(None);
        }
        Ok(Some(Map { extents: extents.into_boxed_slice() }))
    }
}

impl Map {
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Returns the place of the first bytes of a part of the file, which is not empty: as many as
    /// lie in one extent or in one hole.
    pub(crate) fn place(&self, part: &Range<u64>) -> Place {
        let wanted = part.end.saturating_sub(part.start);
        let next = self.extents.partition_point(|extent| extent.at + extent.len <= part.start);
        match self.extents.get(next) {
            Some(extent) if extent.at <= part.start => {
                let skipped = part.start - extent.at;
                Place::File { offset: extent.offset + skipped, len: wanted.min(extent.len - skipped) }
            }
            Some(extent) => Place::Hole { len: wanted.min(extent.at - part.start) },
            None => Place::Hole { len: wanted },
        }
    }

    /// Fills `buf` with the bytes of the file from `at` on, which `read` brings from the archive.
    pub(crate) fn read(
        &self,
        buf: &mut [u8],
        at: u64,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = at.checked_add(buf.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let mut rest = buf;
        while !rest.is_empty() {
            let place = self.place(&(end - rest.len() as u64..end));
            // At most as long as `rest`, so it fits.
            let (Place::File { len, .. } | Place::Hole { len }) = place;
            let (now, later) = rest.split_at_mut((len as usize).min(rest.len()));
            match place {
                Place::File { offset, .. } => read(now, offset)?,
                Place::Hole { .. } => now.fill(0),
            }
            rest = later;
        }
        Ok(())
    }
}

/// Reads a map as version 1.0 has it in front of the data: numbers on lines of their own, the first
/// of which says how many pairs of them follow.
#[derive(Debug, Default)]
pub(super) struct MapText {
    /// The number that is being read, and how many digits it has.
    number: u64,
    digits: u32,
    /// Entries that follow, once that is known.
    count: Option<u64>,
    /// An entry's position, when its length is still missing.
    at: Option<u64>,
    done: u64,
}

impl MapText {
    /// Takes the next block. Returns whether the map ends in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn block(&mut self, block: &[u8], to: &mut Entries) -> Result<bool, &'static str> {
        const MALFORMED: &str = "a sparse file's map is malformed";
        for &byte in block {
            if byte != b'\n' {
                let digit = Some(byte).filter(u8::is_ascii_digit).ok_or(MALFORMED)?;
                let next =
                    self.number.checked_mul(10).and_then(|ten| ten.checked_add(u64::from(digit - b'0')));
                self.number = next.ok_or(MALFORMED)?;
                self.digits += 1;
                // Zeros in front would make a map of any length.
                if self.digits > DIGITS_MAX {
                    return Err(MALFORMED);
                }
                continue;
            }
            if std::mem::take(&mut self.digits) == 0 {
                return Err(MALFORMED);
            }
            let number = std::mem::take(&mut self.number);
            match (self.count, self.at.take()) {
                (None, _) if number > EXTENTS_MAX as u64 => return Err(TOO_LONG),
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.at = Some(number),
                (Some(_), Some(at)) => {
                    to.push(at, number)?;
                    self.done += 1;
                }
            }
            if self.count == Some(self.done) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Parts of all sparse files of an archive together: 24 bytes of memory each.
pub(super) const EXTENTS_MAX: usize = 1 << 20;
const TOO_LONG: &str = "a sparse file's map is too long";
/// Digits of a number in a map: what 64 bits take, and some for writers that pad.
const DIGITS_MAX: u32 = 24;

#[cfg(test)]
mod tests;
