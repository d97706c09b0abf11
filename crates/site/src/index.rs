//! From names to files: exact, complete, and fixed when the site opens.

use crate::error::OpenFault;
use crate::lifetime::{self, Lifetime};
use crate::media::{self, Media};
use crate::path::{NAME_MAX, is_public};
use sitar_http::semantics::{Accept, Coding};
use std::collections::HashMap;

/// One representation that can be served: a file under its own name, or a sidecar as an encoding of its original.
/// Dense: from 0 up to [`Site::files`](crate::Site::files).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub(crate) u32);

impl FileId {
    /// The place of this file in a table of all files.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a representation is made of, before its bytes are read.
pub(crate) struct Entry {
    /// Which of the site's sources holds the bytes.
    pub(crate) source: usize,
    pub(crate) media: Media,
    /// The `Content-Encoding`.
    pub(crate) coding: Coding,
    /// The same URL has other encodings.
    pub(crate) vary: bool,
    pub(crate) lifetime: Lifetime,
}

/// The encodings of one URL.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    identity: Option<FileId>,
    br: Option<FileId>,
    zstd: Option<FileId>,
    gzip: Option<FileId>,
}

impl Choice {
    /// The encoding to send (RFC 9110 §12.5.3). Where nothing is acceptable, the original is sent all the same, as
    /// the RFC allows; `None` when there is no original either.
    pub(crate) fn pick(&self, accept: impl FnOnce() -> Accept) -> Option<FileId> {
        if !self.is_encoded() {
            return self.identity;
        }
        // Smallest first, as far as one can tell without looking: brotli, then Zstandard, then gzip.
        let ordered = [
            (Coding::Br, self.br),
            (Coding::Zstd, self.zstd),
            (Coding::Gzip, self.gzip),
            (Coding::Identity, self.identity),
        ];
        let mut available = [Coding::Identity; 4];
        let mut count = 0;
        for (coding, file) in ordered {
            if file.is_some() {
                available[count] = coding;
                count += 1;
            }
        }
        let best = accept().best(&available[..count]);
        ordered.iter().find(|(coding, _)| Some(*coding) == best).and_then(|(_, file)| *file).or(self.identity)
    }

    /// The file with that encoding.
    pub(crate) fn of(&self, coding: Coding) -> Option<FileId> {
        match coding {
            Coding::Identity => self.identity,
            Coding::Br => self.br,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        }
    }

    pub(crate) fn is_encoded(&self) -> bool {
        self.br.is_some() || self.zstd.is_some() || self.gzip.is_some()
    }

    fn all(&self) -> impl Iterator<Item = FileId> {
        [self.identity, self.br, self.zstd, self.gzip].into_iter().flatten()
    }
}

/// What a key of the index names.
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
    // The standard hasher is keyed per process, so neither an archive nor a request can aim at collisions; lookups
    // with strange names find nothing and change nothing.
    slots: HashMap<Box<[u8]>, Slot>,
    pub(crate) directories: Vec<Directory>,
    pub(crate) entries: Vec<Entry>,
    /// Files with a name of their own.
    pub(crate) files: usize,
    /// There is a `404.html` somewhere.
    has_missing: bool,
    /// A name came twice, or as a file and as a folder: what a directory or a [`Tree`](crate::tree::Tree) cannot bring.
    pub(crate) has_clash: bool,
    /// Bytes of keys and header lines kept for folders; those of files are bounded by whoever lists them.
    folder_bytes: usize,
}

impl Index {
    /// Builds the index over distinct keys; the file at position `n` has source `n`. Keys that are not public are skipped.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> Result<Index, OpenFault> {
        let mut index = Index {
            slots: HashMap::new(),
            directories: Vec::new(),
            entries: Vec::new(),
            files: 0,
            has_missing: false,
            has_clash: false,
            folder_bytes: 0,
        };
        index.directory(b"");
        for (source, name) in names.clone().enumerate().filter(|(_, name)| is_public(name)) {
            // From the innermost folder out, until one is known: so the work is paid for by what is kept.
            let mut folder = name;
            while let Some(slash) = folder.iter().rposition(|&byte| byte == b'/') {
                folder = &folder[..slash];
                if !index.directory(folder) {
                    break;
                }
            }
            if index.folder_bytes > FOLDER_BYTES_MAX {
                return Err(OpenFault::TooMany {
                    what: "bytes of folder names",
                    limit: FOLDER_BYTES_MAX as u64,
                });
            }
            let id = index.entry(source, name, Coding::Identity);
            let mut clash = false;
            index.choice(name, |choice| clash = choice.identity.replace(id).is_some());
            index.has_clash |= clash;
            index.files += 1;
        }
        for (source, name) in names.enumerate().filter(|(_, name)| is_public(name)) {
            let Some((original, coding)) = sidecar(name) else { continue };
            // A folder keeps its name; the sidecar is still served under its own.
            if matches!(index.slots.get(original), Some(Slot::Directory(_))) {
                continue;
            }
            let id = index.entry(source, original, coding);
            index.choice(original, |choice| match coding {
                Coding::Br => choice.br = Some(id),
                Coding::Zstd => choice.zstd = Some(id),
                Coding::Gzip => choice.gzip = Some(id),
                Coding::Identity => {}
            });
        }
        index.finish();
        Ok(index)
    }

    /// Every file with a name of its own, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&[u8], FileId)> {
        self.slots.iter().filter_map(|(name, slot)| match slot {
            Slot::File(Choice { identity: Some(file), .. }) => Some((&**name, *file)),
            _ => None,
        })
    }

    /// The name that a file is served under, in whatever coding. Looks at all of them.
    pub(crate) fn name_of(&self, file: FileId) -> Option<&[u8]> {
        let coding = self.entries.get(file.index())?.coding;
        self.slots.iter().find_map(|(name, slot)| match slot {
            Slot::File(choice) if choice.of(coding) == Some(file) => Some(&**name),
            _ => None,
        })
    }

    /// What a key names.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// Adds a folder; false when it was there.
    fn directory(&mut self, key: &[u8]) -> bool {
        if let Some(slot) = self.slots.get(key) {
            self.has_clash |= matches!(slot, Slot::File(_));
            return false;
        }
        let redirect = crate::reply::redirect_block(key);
        self.folder_bytes += FOLDER_OVERHEAD + key.len() + redirect.len();
        // FOLDER_BYTES_MAX leaves room for far fewer than 2^32.
        let id = self.directories.len() as u32;
        self.directories.push(Directory { index: None, missing: None, redirect });
        self.slots.insert(key.into(), Slot::Directory(id));
        true
    }

    fn entry(&mut self, source: usize, name: &[u8], coding: Coding) -> FileId {
        // At most two for each of FILES_MAX names.
        let id = FileId(self.entries.len() as u32);
        let (media, lifetime) = (media::of(name), lifetime::of(name));
        self.entries.push(Entry { source, media, coding, vary: false, lifetime });
        id
    }

    fn choice(&mut self, key: &[u8], change: impl FnOnce(&mut Choice)) {
        if let Some(Slot::File(choice)) = self.slots.get_mut(key) {
            change(choice);
        } else {
            let mut choice = Choice::default();
            change(&mut choice);
            self.has_clash |= self.slots.insert(key.into(), Slot::File(choice)).is_some();
        }
    }

    fn finish(&mut self) {
        for slot in self.slots.values() {
            if let Slot::File(choice) = slot
                && choice.is_encoded()
            {
                for id in choice.all() {
                    self.entries[id.index()].vary = true;
                }
            }
        }
        for (key, slot) in &self.slots {
            let Slot::File(choice) = slot else { continue };
            if let Some(Slot::Directory(id)) = folder_of(key, INDEX).and_then(|key| self.slots.get(key)) {
                self.directories[*id as usize].index = Some(*choice);
            }
            if let Some(Slot::Directory(id)) = folder_of(key, MISSING).and_then(|key| self.slots.get(key)) {
                self.directories[*id as usize].missing = Some(*choice);
                self.has_missing = true;
            }
        }
    }

    /// The page for what does not exist: the `404.html` nearest to the path.
    ///
    /// Goes down from the root for as long as there are folders, so a long path costs no more than the site is deep.
    pub(crate) fn missing(&self, key: &[u8]) -> Option<&Choice> {
        if !self.has_missing {
            return None;
        }
        let mut found = None;
        let mut end = 0;
        loop {
            match self.slots.get(&key[..end]) {
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
        match self.slots.get(&*whole) {
            Some(Slot::File(choice)) => Some(choice),
            _ => None,
        }
    }
}

/// The folder of a key, if its file has this name.
fn folder_of<'k>(key: &'k [u8], name: &[u8]) -> Option<&'k [u8]> {
    match key.strip_suffix(name)? {
        b"" => Some(b""),
        folder => folder.strip_suffix(b"/"),
    }
}

/// The name and the coding that a sidecar's name stands for.
pub(crate) fn sidecar(name: &[u8]) -> Option<(&[u8], Coding)> {
    for (suffix, coding) in SIDECARS {
        if let Some(original) = name.strip_suffix(*suffix)
            && !original.is_empty()
            && !original.ends_with(b"/")
        {
            return Some((original, *coding));
        }
    }
    None
}

const SIDECARS: &[(&[u8], Coding)] = &[(b".br", Coding::Br), (b".zst", Coding::Zstd), (b".gz", Coding::Gzip)];
/// What is served for a folder.
const INDEX: &[u8] = b"index.html";
/// What is served where nothing is.
const MISSING: &[u8] = b"404.html";
/// What a clean address leaves out.
const PAGE: &[u8] = b".html";
/// All folders together: hundreds of thousands of ordinary ones.
const FOLDER_BYTES_MAX: usize = 256 << 20;
/// What a folder takes besides its names, about.
const FOLDER_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests;
