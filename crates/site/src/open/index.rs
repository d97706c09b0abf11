//! From names to files: exact, complete, and fixed when the site opens.

mod attached;

use super::entry::Entry;
use crate::answer::lifetime;
use crate::answer::media;
use crate::open::error::OpenFault;
use crate::open::names::{Key, Names};
use crate::open::path::{NAME_MAX, is_public};
use crate::open::sidecar::{is_outdated, sidecar, stored_coding};
use attached::Attached;
use hashbrown::HashTable;
use sitar_http::semantics::{AcceptEncoding, Coding};
use std::hash::{BuildHasher, Hasher, RandomState};

/// One representation that can be served: a file under its own name, or a sidecar as an encoding of
/// its original. Dense: from 0 up to [`Site::files`](crate::Site::files).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub(crate) u32);

impl FileId {
    /// The place of this file in a table of all files.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The encodings of one URL, each with the number of its file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice([u32; 4]);

impl Default for Choice {
    fn default() -> Choice {
        Choice([NO_FILE; 4])
    }
}

impl Choice {
    /// The encoding to send (RFC 9110 §12.5.3). Where nothing is acceptable, the original is sent
    /// all the same, as the RFC allows; `None` when there is no original either.
    pub(crate) fn pick(&self, accept: impl FnOnce() -> AcceptEncoding) -> Option<FileId> {
        if !self.is_encoded() {
            return self.of(Coding::Identity);
        }
        let mut available = [Coding::Identity; 4];
        let mut count = 0;
        for coding in PREFERRED {
            if self.of(coding).is_some() {
                available[count] = coding;
                count += 1;
            }
        }
        let best = accept().best(&available[..count]).unwrap_or(Coding::Identity);
        self.of(best).or(self.of(Coding::Identity))
    }

    /// The file with that encoding.
    pub(crate) fn of(&self, coding: Coding) -> Option<FileId> {
        let file = self.0[place(coding)];
        (file != NO_FILE).then_some(FileId(file))
    }

    pub(crate) fn is_encoded(&self) -> bool {
        [Coding::Br, Coding::Zstd, Coding::Gzip].iter().any(|&coding| self.of(coding).is_some())
    }

    /// Puts a file in its place; whether there was one.
    fn set(&mut self, coding: Coding, file: FileId) -> bool {
        std::mem::replace(&mut self.0[place(coding)], file.0) != NO_FILE
    }
}

fn place(coding: Coding) -> usize {
    match coding {
        Coding::Identity => 0,
        Coding::Br => 1,
        Coding::Zstd => 2,
        Coding::Gzip => 3,
    }
}

/// The thing that a key of the index names.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    File(Choice),
    Directory(u32),
}

/// A folder of the site.
pub(crate) struct Directory {
    /// Its `index.html`.
    pub(crate) index: Option<Choice>,
    /// Its `404.html`.
    pub(crate) missing: Option<Choice>,
    /// Header lines of the redirect that adds the slash, with the whole Location.
    pub(crate) redirect: Box<[u8]>,
}

/// All names of a site.
pub(crate) struct Index {
    names: Names,
    slots: Vec<Named>,
    /// Places in `slots` by the hash of the key. Apart from them, so that it is small, and what is
    /// looked at in the order of names lies in that order too: at a start, waiting for memory is
    /// most of the work.
    table: HashTable<u32>,
    // Keyed per process, so neither an archive nor a request can aim at collisions; lookups with
    // strange names find nothing and change nothing.
    hasher: RandomState,
    pub(crate) directories: Vec<Directory>,
    /// The source and the coding of each file, by [`FileId`].
    sources: Vec<(u32, Coding)>,
    /// Files with a name of their own.
    pub(crate) files: usize,
    /// Sources that are named like an encoding and are older than what they would encode: files of
    /// their own and no more.
    pub(crate) outdated: Vec<usize>,
    /// No shared cache may keep a file.
    pub(crate) is_private: bool,
    /// There is a `404.html` somewhere.
    has_missing: bool,
    /// A name came twice, or as a file and as a folder: what a directory or a
    /// [`Tree`](crate::open::tree::Tree) cannot bring.
    pub(crate) has_clash: bool,
    /// Sources that are public names and are not served all the same.
    hidden: Vec<u32>,
    /// Encodings that lie outside of the site. Their [`FileId`]s follow those of `sources`.
    attached: Vec<Attached>,
    /// Bytes of the header lines kept for folders, and of their names, for the work of finding
    /// them; files are bounded by [`Names`].
    folder_bytes: usize,
}

/// A key, which is always the beginning of some file's name, and what it names.
struct Named {
    key: Key,
    slot: Slot,
}

impl Index {
    /// Builds the index over distinct keys; the file at position `n` has source `n`. Keys that are
    /// not public are skipped.
    pub(crate) fn new(names: Names) -> Result<Index, OpenFault> {
        Index::with(names, |_| false, |_, _| None)
    }

    /// The same, with public keys left out that are not to be served, and where sidecars that are
    /// older than their files do not count as encodings of them. `time` is asked for the time of a
    /// source in seconds, by its number and its name.
    pub(crate) fn with(
        names: Names,
        is_hidden: impl Fn(&[u8]) -> bool,
        time: impl Fn(usize, &[u8]) -> Option<u64>,
    ) -> Result<Index, OpenFault> {
        let mut index = Index {
            // With room for folders, and for as many encodings as there are names: what is not used
            // is no memory.
            slots: Vec::with_capacity(names.len() + names.len() / 8 + 8),
            table: HashTable::with_capacity(names.len() + names.len() / 8 + 8),
            hasher: RandomState::new(),
            directories: Vec::new(),
            sources: Vec::with_capacity(2 * names.len()),
            files: 0,
            outdated: Vec::new(),
            is_private: false,
            has_missing: false,
            has_clash: false,
            hidden: Vec::new(),
            attached: Vec::new(),
            folder_bytes: 0,
            names,
        };
        index.directory(Key::EMPTY);
        // The folder of the file before: names mostly come in order.
        let mut last = Key::EMPTY;
        // Where the last file without a coding stands: it mostly is the original of what follows.
        let mut original_at = 0;
        let mut sidecars = Vec::new();
        for source in 0..index.names.len() {
            let Some(key) = index.names.key(source) else { break };
            let name = index.names.bytes(key);
            if !is_public(name) {
                continue;
            }
            if is_hidden(name) {
                // At most FILES_MAX names.
                index.hidden.push(source as u32);
                continue;
            }
            let sidecar = sidecar(name).map(|(original, coding)| (key.first(original.len()), coding));
            let folder = key.first(parent(name).unwrap_or(0));
            if index.names.bytes(folder) != index.names.bytes(last) {
                index.folders(folder)?;
                last = folder;
            }
            let at = index.place(key, Slot::File(Choice::default()));
            index.add(source, at, Coding::Identity);
            index.files += 1;
            match sidecar {
                Some((original, coding)) => sidecars.push((source, original, coding, original_at)),
                None => original_at = at,
            }
        }
        // Of the file whose sidecars were looked at last: they mostly come together.
        let mut known = (usize::MAX, None);
        for (source, original, coding, at) in sidecars {
            let there = index.slots.get(at).map_or(b"".as_slice(), |named| index.names.bytes(named.key));
            let is_it = there == index.names.bytes(original);
            let at = if is_it { at } else { index.place(original, Slot::File(Choice::default())) };
            if let Some(file) = index.source_at(at) {
                if known.0 != file {
                    known = (file, time(file, index.names.bytes(original)));
                }
                let name = index.names.get(source).unwrap_or_default();
                if is_outdated(known.1, time(source, name)) {
                    index.outdated.push(source);
                    continue;
                }
            }
            index.add(source, at, coding);
        }
        index.finish();
        Ok(index)
    }

    /// Number of [`FileId`]s.
    pub(crate) fn representations(&self) -> usize {
        self.sources.len() + self.attached.len()
    }

    /// The source of a representation, and its `Content-Encoding`. `None` for an encoding that lies
    /// outside of the site.
    pub(crate) fn source(&self, file: FileId) -> Option<(usize, Coding)> {
        self.sources.get(file.index()).map(|&(source, coding)| (source as usize, coding))
    }

    /// Everything about a representation but its bytes.
    pub(crate) fn entry(&self, file: FileId) -> Option<Entry> {
        let (source, coding) = match self.attached(file) {
            None => self.source(file)?,
            Some(attached) => (attached.source as usize, attached.coding),
        };
        let key = self.name_of(file)?;
        let vary = matches!(self.get(key), Some(Slot::File(choice)) if choice.is_encoded());
        // Not a sidecar, and encoded all the same.
        let coding = if coding == Coding::Identity { stored_coding(key) } else { coding };
        let (media, lifetime) = (media::media_type(key), lifetime::of(key).within(self.is_private));
        Some(Entry { source, media, coding, vary, decoded: decoded(key).map(media::media_type), lifetime })
    }

    /// Every representation and its source.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (FileId, usize)> {
        self.sources.iter().zip(0..).map(|(&(source, _), id)| (FileId(id), source as usize))
    }

    /// The name of a source.
    pub(crate) fn source_name(&self, source: usize) -> Option<&[u8]> {
        self.names.get(source)
    }

    /// The names of all sources, in order.
    pub(crate) fn source_names(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.names.iter()
    }

    /// The sources that were left out, in order.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = usize> {
        self.hidden.iter().map(|&source| source as usize)
    }

    /// The sources that are served under names of their own.
    pub(crate) fn sources_of_their_own(&self) -> impl Iterator<Item = usize> {
        let own = self.sources.iter().filter(|(_, coding)| *coding == Coding::Identity);
        own.map(|&(source, _)| source as usize)
    }

    /// Every name that a file is served under, in whatever coding.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &[u8]> {
        let files = self.slots.iter().filter(|named| matches!(named.slot, Slot::File(_)));
        files.map(|named| self.names.bytes(named.key))
    }

    /// Every file with a name of its own, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&[u8], FileId)> {
        self.slots.iter().filter_map(|named| match &named.slot {
            Slot::File(choice) => Some((self.names.bytes(named.key), choice.of(Coding::Identity)?)),
            Slot::Directory(_) => None,
        })
    }

    /// The name that a file is served under, in whatever coding.
    pub(crate) fn name_of(&self, file: FileId) -> Option<&[u8]> {
        if let Some(attached) = self.attached(file) {
            return self.names.get(attached.source as usize);
        }
        let (source, coding) = self.source(file)?;
        let name = self.names.get(source)?;
        match coding {
            Coding::Identity => Some(name),
            Coding::Br | Coding::Zstd | Coding::Gzip => Some(sidecar(name)?.0),
        }
    }

    /// The file under that name, as it is.
    pub(crate) fn file(&self, key: &[u8]) -> Option<FileId> {
        let Some(Slot::File(choice)) = self.get(key) else { return None };
        choice.of(Coding::Identity)
    }

    /// Looks up what a key names.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        let Index { names, slots, table, hasher, .. } = self;
        let at = table.find(hash(hasher, key), |&at| names.bytes(slots[at as usize].key) == key)?;
        Some(&slots[*at as usize].slot)
    }

    /// Every key, with its place and what it names.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, &[u8], &Slot)> {
        (0..).zip(&self.slots).map(|(place, named)| (place, self.names.bytes(named.key), &named.slot))
    }

    /// The key at a place, and what it names.
    pub(crate) fn at(&self, place: u32) -> Option<(&[u8], &Slot)> {
        let named = self.slots.get(place as usize)?;
        Some((self.names.bytes(named.key), &named.slot))
    }

    /// Returns the key's place in `slots`, where `new` is put if it had none.
    fn place(&mut self, key: Key, new: Slot) -> usize {
        let Index { names, slots, table, hasher, .. } = self;
        let name = names.bytes(key);
        let hash_of = |at: u32| hash(hasher, names.bytes(slots[at as usize].key));
        let is_it = |&at: &u32| names.bytes(slots[at as usize].key) == name;
        // At most FILES_MAX names, and what FOLDER_BYTES_MAX leaves room for.
        let next = slots.len() as u32;
        let at = *table.entry(hash(hasher, name), is_it, |&at| hash_of(at)).or_insert(next).get();
        if at == next {
            slots.push(Named { key, slot: new });
        }
        at as usize
    }

    /// Adds a folder and those around it.
    fn folders(&mut self, mut folder: Key) -> Result<(), OpenFault> {
        // From the innermost folder out, until one is known: so the work is paid for by what is
        // kept.
        while self.directory(folder) {
            folder = folder.first(parent(self.names.bytes(folder)).unwrap_or(0));
        }
        if self.folder_bytes > FOLDER_BYTES_MAX {
            return Err(OpenFault::TooMany { what: "bytes of folder names", limit: FOLDER_BYTES_MAX as u64 });
        }
        Ok(())
    }

    /// Adds a folder, and returns whether it was not there.
    fn directory(&mut self, key: Key) -> bool {
        let name = self.names.bytes(key);
        if let Some(slot) = self.get(name) {
            self.has_clash |= matches!(slot, Slot::File(_));
            return false;
        }
        let redirect = crate::answer::fixed_lines::redirect_block(name);
        self.folder_bytes += FOLDER_OVERHEAD + name.len() + redirect.len();
        // FOLDER_BYTES_MAX leaves room for far fewer than 2^32.
        let id = self.directories.len() as u32;
        self.directories.push(Directory { index: None, missing: None, redirect });
        self.place(key, Slot::Directory(id));
        true
    }

    /// Adds a representation of what stands at a place. A folder keeps its name: a sidecar of it is
    /// still served under its own.
    fn add(&mut self, source: usize, place: usize, coding: Coding) {
        // At most two for each of FILES_MAX names.
        let id = FileId(self.sources.len() as u32);
        match &mut self.slots[place].slot {
            Slot::File(choice) => self.has_clash |= choice.set(coding, id),
            Slot::Directory(_) if coding == Coding::Identity => self.has_clash = true,
            Slot::Directory(_) => return,
        }
        self.sources.push((source as u32, coding));
    }

    /// The source of the file that stands at a place in `slots`.
    fn source_at(&self, place: usize) -> Option<usize> {
        let Slot::File(choice) = &self.slots.get(place)?.slot else { return None };
        Some(self.source(choice.of(Coding::Identity)?)?.0)
    }

    fn finish(&mut self) {
        let mut pages = Vec::new();
        for named in &self.slots {
            let Slot::File(choice) = named.slot else { continue };
            let name = self.names.bytes(named.key);
            for (page, is_index) in [(INDEX, true), (MISSING, false)] {
                if let Some(Slot::Directory(id)) = folder_of(name, page).and_then(|folder| self.get(folder)) {
                    pages.push((*id, is_index, choice));
                }
            }
        }
        for (id, is_index, choice) in pages {
            let directory = &mut self.directories[id as usize];
            *if is_index { &mut directory.index } else { &mut directory.missing } = Some(choice);
            self.has_missing |= !is_index;
        }
    }

    /// The page for what does not exist: the `404.html` nearest to the path.
    ///
    /// Goes down from the root for as long as there are folders, so a long path costs no more than
    /// the site is deep.
    pub(crate) fn missing(&self, key: &[u8]) -> Option<&Choice> {
        if !self.has_missing {
            return None;
        }
        let mut found = None;
        let mut end = 0;
        loop {
            match self.get(&key[..end]) {
                Some(Slot::Directory(id)) => {
                    found = self.directories[*id as usize].missing.as_ref().or(found);
                }
                _ => return found,
            }
            if end >= key.len() {
                return found;
            }
            let start = if end == 0 { 0 } else { end + 1 };
            let rest = key.get(start..).unwrap_or_default();
            end = start + rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        }
    }

    /// The page of a clean address: `x.html` for `x`.
    pub(crate) fn page(&self, key: &[u8]) -> Option<&Choice> {
        let mut name = [0; NAME_MAX];
        let whole = name.get_mut(..key.len() + PAGE.len())?;
        whole[..key.len()].copy_from_slice(key);
        whole[key.len()..].copy_from_slice(PAGE);
        match self.get(whole) {
            Some(Slot::File(choice)) => Some(choice),
            _ => None,
        }
    }
}

fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Returns how much of a key is the folder that it lies in; `None`: it lies in the root.
pub(crate) fn parent(key: &[u8]) -> Option<usize> {
    key.iter().rposition(|&byte| byte == b'/')
}

/// The folder of a key, if its file has this name.
fn folder_of<'k>(key: &'k [u8], name: &[u8]) -> Option<&'k [u8]> {
    match key.strip_suffix(name)? {
        b"" => Some(b""),
        folder => folder.strip_suffix(b"/"),
    }
}

/// The name of what a file holds that is stored encoded and says so; Unity's tools write
/// `.unityweb`.
fn decoded(name: &[u8]) -> Option<&[u8]> {
    let endings: [&[u8]; 4] = [b".gz", b".br", b".zst", b".unityweb"];
    endings.iter().find_map(|ending| name.strip_suffix(*ending))
}

/// Smallest first, as far as one can tell without looking.
const PREFERRED: [Coding; 4] = [Coding::Br, Coding::Zstd, Coding::Gzip, Coding::Identity];
/// In a [`Choice`]: there is none.
const NO_FILE: u32 = u32::MAX;
/// The file that is served for a folder.
const INDEX: &[u8] = b"index.html";
/// The page that is served where nothing is.
const MISSING: &[u8] = b"404.html";
/// The end that a clean address leaves out.
const PAGE: &[u8] = b".html";
/// All folders together: hundreds of thousands of ordinary ones.
const FOLDER_BYTES_MAX: usize = 256 << 20;
/// Bytes that a folder takes besides its names, about.
const FOLDER_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests;
