//! Encodings that lie outside of the site, in its index.

use super::{FileId, Index, Slot, hash};
use sitar_http::semantics::Coding;

/// An encoding of a file that lies outside of the site.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Attached {
    /// The source of the file that it encodes.
    pub(crate) source: u32,
    pub(crate) coding: Coding,
    /// The place of the file among the originals of the manifest.
    pub(crate) original: u32,
}

impl Index {
    /// Adds an encoding of the file under that name. Returns whether it was added: the file has
    /// bytes of its own, and no encoding of that coding.
    pub(crate) fn attach(&mut self, key: &[u8], coding: Coding, original: u32) -> bool {
        // At most four for each of FILES_MAX names.
        let id = FileId((self.sources.len() + self.attached.len()) as u32);
        let Some(source) = self.get(key).and_then(|slot| self.identity(slot)) else { return false };
        let Some(Slot::File(choice)) = self.get_mut(key) else { return false };
        if choice.of(coding).is_some() {
            return false;
        }
        choice.set(coding, id);
        self.attached.push(Attached { source, coding, original });
        true
    }

    /// Completes the folders' pages once all encodings have been attached.
    pub(crate) fn attached_all(&mut self) {
        self.attached.shrink_to_fit();
        self.finish();
    }

    /// The encoding that lies outside of the site and has this number.
    pub(crate) fn attached(&self, file: FileId) -> Option<&Attached> {
        self.attached.get(file.index().checked_sub(self.sources.len())?)
    }

    /// An encoding from outside of the site that the file has which is served under this name.
    pub(crate) fn attached_to(&self, key: &[u8]) -> Option<&Attached> {
        let Some(Slot::File(choice)) = self.get(key) else { return None };
        choice.0.iter().find_map(|&file| self.attached(FileId(file)))
    }

    fn identity(&self, slot: &Slot) -> Option<u32> {
        let Slot::File(choice) = slot else { return None };
        self.sources.get(choice.of(Coding::Identity)?.index()).map(|&(source, _)| source)
    }

    fn get_mut(&mut self, key: &[u8]) -> Option<&mut Slot> {
        let Index { names, slots, table, hasher, .. } = self;
        let at = table.find(hash(hasher, key), |&at| names.bytes(slots[at as usize].key) == key)?;
        Some(&mut slots[*at as usize].slot)
    }
}
