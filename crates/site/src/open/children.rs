//! The files and folders that lie in each folder, for listings.

use crate::open::index::{Index, Slot, parent};
use crate::open::sidecar::sidecar;
use sitar_http::semantics::Coding;

/// The children of all folders of an index, in the order of a listing. Sorted once, because a
/// search of all names for each listing would let a few requests keep a thread busy.
pub(crate) struct Children {
    /// By folder; then folders before files, then by name as bytes.
    children: Box<[Child]>,
    /// The key of each folder, as its place in the index.
    keys: Box<[u32]>,
}

/// Something that a listing shows.
#[derive(Copy, Clone)]
struct Child {
    folder: u32,
    /// Its place in the index.
    place: u32,
}

impl Children {
    pub(crate) fn new(index: &Index) -> Children {
        let mut keys = vec![0; index.directories.len()];
        let mut children = Vec::new();
        for (place, key, slot) in index.places() {
            if let Slot::Directory(id) = slot
                && let Some(folder) = keys.get_mut(*id as usize)
            {
                *folder = place;
            }
            if is_listed(index, key, slot)
                && let Some(Slot::Directory(folder)) = index.get(&key[..parent(key).unwrap_or(0)])
            {
                children.push(Child { folder: *folder, place });
            }
        }
        let order = |child: &Child| {
            let (key, slot) = index.at(child.place).unwrap_or((b"", &Slot::Directory(0)));
            (child.folder, matches!(slot, Slot::File(_)), key)
        };
        children.sort_unstable_by(|one, other| order(one).cmp(&order(other)));
        Children { children: children.into(), keys: keys.into() }
    }

    /// Returns the places in the index of what lies in a folder.
    pub(crate) fn of(&self, folder: u32) -> impl ExactSizeIterator<Item = u32> {
        let start = self.children.partition_point(|child| child.folder < folder);
        let count = self.children[start..].partition_point(|child| child.folder == folder);
        self.children[start..start + count].iter().map(|child| child.place)
    }

    /// Returns the place in the index of a folder's own key.
    pub(crate) fn key_of(&self, folder: u32) -> Option<u32> {
        self.keys.get(folder as usize).copied()
    }
}

/// Whether a folder has a listing, by its key.
pub(crate) fn has_listing(folder: &[u8]) -> bool {
    // What lies there is for programs that know the names, and some of it concerns them
    // alone, as the tokens of ACME do (RFC 8555 §8.3).
    folder != WELL_KNOWN && !folder.strip_prefix(WELL_KNOWN).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Whether a key stands in the listing of its folder. Not the root; no encoding of a file that is
/// there too.
fn is_listed(index: &Index, key: &[u8], slot: &Slot) -> bool {
    if key.is_empty() || !has_listing(key) {
        return false;
    }
    let is_file = |slot: &Slot| matches!(slot, Slot::File(choice) if choice.of(Coding::Identity).is_some());
    match slot {
        Slot::Directory(_) => true,
        Slot::File(_) => {
            let original = sidecar(key).and_then(|(original, _)| index.get(original));
            is_file(slot) && !original.is_some_and(is_file)
        }
    }
}

const WELL_KNOWN: &[u8] = b".well-known";
