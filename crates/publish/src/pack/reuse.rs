//! Encodings out of an earlier pack: found by the content's hash, and compared with the content
//! before they are taken.

use super::encode::{CODINGS, Each, Level, Worth, decodes_to, worth};
use sitar_site::raw::format::Record;
use sitar_site::raw::{Hash, PackProbe, ReadAt, find, sha256};
use std::collections::HashMap;

/// The grounds of a decision about encodings: the hash of a content, and whether the name says that
/// encoding is worth a try.
type Key = (Hash, Worth);

/// The contents of an earlier pack, and their encodings.
pub(super) struct Earlier<R> {
    archive: R,
    known: HashMap<Key, Each<Known>>,
}

/// An earlier packer's decision about one coding of one content.
#[derive(Copy, Clone, Debug, Default)]
enum Known {
    /// No decision: the site had a sidecar of its own.
    #[default]
    Undecided,
    /// An encoding is not worth it.
    Declined,
    /// This encoding was made.
    Made { offset: u64, size: u64, hash: Hash },
}

impl<R: ReadAt> Earlier<R> {
    /// Opens an earlier pack; `None` when the archive is none, or was encoded by other versions or
    /// at another level.
    pub(super) fn open(archive: R, level: Level) -> Option<Earlier<R>> {
        let Ok(PackProbe::Pack(packed)) = find(&archive) else { return None };
        if packed.encoders() != level.encoders().as_bytes() {
            return None;
        }
        let mut known = HashMap::new();
        let mut members = packed.members().peekable();
        while let Some((name, record)) = members.next() {
            let tried = record.flags.is_tried();
            let mut each = tried.map(|tried| if tried { Known::Declined } else { Known::Undecided });
            // Sidecars that were made for a file follow it.
            while let Some((sidecar, made)) = members.next_if(|(_, next)| next.flags.is_generated()) {
                if let Some(place) = place(name, sidecar) {
                    let Record { offset, size, hash, .. } = made;
                    each[place] = Known::Made { offset, size, hash };
                }
            }
            if tried.contains(&true) {
                known.insert((record.hash, worth(name)), each);
            }
        }
        Some(Earlier { archive, known })
    }

    /// Returns the encodings of `content` for the wanted codings; `None` when they have to be made,
    /// because not all of them were decided.
    pub(super) fn encodings(
        &self,
        content: &[u8],
        key: Key,
        wanted: Each<bool>,
    ) -> Option<Each<Option<Vec<u8>>>> {
        let known = self.known.get(&key)?;
        let mut encodings = [None, None, None];
        for place in 0..CODINGS.len() {
            match known[place] {
                _ if !wanted[place] => {}
                Known::Undecided => return None,
                Known::Declined => {}
                Known::Made { offset, size, hash } => {
                    // Kept only where it was smaller; a longer one is no work of ours, nor worth
                    // the memory.
                    let size = usize::try_from(size).ok().filter(|&size| size < content.len())?;
                    let mut encoded = vec![0; size];
                    self.archive.read_exact_at(&mut encoded, offset).ok()?;
                    if sha256(&encoded) != hash || !decodes_to(place, &encoded, content) {
                        return None;
                    }
                    encodings[place] = Some(encoded);
                }
            }
        }
        Some(encodings)
    }
}

fn place(name: &[u8], sidecar: &[u8]) -> Option<usize> {
    let suffix = sidecar.strip_prefix(name)?;
    CODINGS.iter().position(|(_, known)| *known == suffix)
}
