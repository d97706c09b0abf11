//! Reading an encodings file, which may be damaged or another program's.
//!
//! The footer is read first, then the manifest. Nothing is allocated before its size is known to
//! lie within the file and within the limits, and nothing is believed before it is checked: every
//! encoded body lies in front of the manifest, none overlaps another, each is smaller than its
//! original, and every name is one that a site can have. Names are only compared with those of a
//! site, and never opened.

use super::format::{CODINGS, ENCODING, Encoding, FOOTER, Footer, MANIFEST_MAX, ORIGINAL, Original, VERSION};
use crate::open::archive_file::{ArchiveFile, changed};
use crate::open::hash::Hash;
use crate::open::names::{FILES_MAX, NAMES_BYTES_MAX, Names};
use crate::open::path::{is_key, is_public};
use crate::open::streamed::Streamed;
use crate::open::tar::ReadAt;
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::FileType;
use sitar_io::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// An encodings file that has been opened and checked, but for the bodies.
#[derive(Debug)]
pub struct Encodings {
    pub(super) file: Streamed,
    manifest: Manifest,
    /// For each original: its encodings are not to be used. All sites that have these encodings
    /// share this, so that what one of them finds counts for all.
    is_outdated: Box<[AtomicBool]>,
}

/// A checked manifest.
#[derive(Debug, Default)]
pub struct Manifest {
    names: Names,
    /// Each with the place of its first encoding.
    originals: Vec<(Original, u32)>,
    encodings: Vec<Encoding>,
    encoders: Vec<u8>,
}

impl Encodings {
    /// Takes an open file for an encodings file.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` when it is none, or is damaged.
    pub fn open(file: OwnedFd) -> io::Result<Encodings> {
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed("it is no regular file"));
        }
        let file = File::from(file);
        let manifest = Manifest::read(&ArchiveFile::of(file.clone(), &stat))?;
        let is_outdated = (0..manifest.len()).map(|_| AtomicBool::new(false)).collect();
        Ok(Encodings { file: Streamed::new(file, &stat, false), manifest, is_outdated })
    }

    /// Whether the encodings of the original at a place are not to be used any more.
    pub(super) fn is_outdated(&self, original: usize) -> bool {
        self.is_outdated.get(original).is_none_or(|flag| flag.load(Ordering::Acquire))
    }

    pub(super) fn set_outdated(&self, original: usize) {
        if let Some(flag) = self.is_outdated.get(original) {
            flag.store(true, Ordering::Release);
        }
    }

    /// What it says of its bodies.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads an encoded body. `None`: it does not have its hash, or cannot be read.
    #[must_use]
    pub fn body(&self, encoding: &Encoding) -> Option<Vec<u8>> {
        let mut body = vec![0; usize::try_from(encoding.size).ok()?];
        self.file.read_exact_at(&mut body, encoding.offset).ok()?;
        (crate::open::hash::sha256(&body) == encoding.hash).then_some(body)
    }
}

impl Manifest {
    /// Reads the manifest of an encodings file.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` when it is none, or is damaged.
    pub fn read(file: &impl ReadAt) -> io::Result<Manifest> {
        let at = file.size().checked_sub(FOOTER as u64).ok_or_else(no_footer)?;
        let mut tail = [0; FOOTER];
        file.read_exact_at(&mut tail, at)?;
        let footer = Footer::parse(&tail).filter(|footer| footer.version == VERSION).ok_or_else(no_footer)?;
        let length = layout(&footer, at).ok_or_else(|| changed("its footer contradicts itself"))?;
        // Within MANIFEST_MAX, and within the file.
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, footer.offset)?;
        if hash(&bytes, &tail) != footer.hash {
            return Err(changed("its manifest does not have the hash that it says"));
        }
        parse(&bytes, footer).map_err(changed)
    }

    /// The originals by their places, each with its name.
    pub fn originals(&self) -> impl Iterator<Item = (&[u8], &Original)> {
        self.names.iter().zip(self.originals.iter().map(|(original, _)| original))
    }

    /// The encodings of the original at a place.
    #[must_use]
    pub fn encodings(&self, original: usize) -> &[Encoding] {
        let Some((original, first)) = self.originals.get(original) else { return &[] };
        let first = *first as usize;
        self.encodings.get(first..first + usize::from(original.encodings)).unwrap_or_default()
    }

    pub(super) fn original(&self, place: usize) -> Option<&Original> {
        self.originals.get(place).map(|(original, _)| original)
    }

    /// The text that says which encoders were used.
    #[must_use]
    pub fn encoders(&self) -> &[u8] {
        &self.encoders
    }

    /// Number of originals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.originals.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.originals.is_empty()
    }
}

/// Returns the bytes of records and names. `None` when the numbers contradict each other, the file
/// (`end`: where its footer begins), or the limits.
fn layout(footer: &Footer, end: u64) -> Option<usize> {
    let (originals, encodings) = (footer.originals as usize, footer.encodings as usize);
    let fits = originals <= FILES_MAX
        && encodings <= originals * CODINGS.len()
        && footer.names as usize <= NAMES_BYTES_MAX;
    let length = originals * ORIGINAL + encodings * ENCODING + footer.names as usize;
    let is_whole = footer.offset.checked_add(length as u64)? == end;
    (fits && is_whole && length as u64 <= MANIFEST_MAX).then_some(length)
}

/// Returns the hash over a manifest: its records and names, and its footer but for the hash.
fn hash(manifest: &[u8], footer: &[u8; FOOTER]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(manifest);
    context.update(&footer[..FOOTER - 32]);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn parse(bytes: &[u8], footer: Footer) -> Result<Manifest, &'static str> {
    let (originals, rest) = bytes.split_at(footer.originals as usize * ORIGINAL);
    let (encodings, names) = rest.split_at(footer.encodings as usize * ENCODING);
    let mut manifest = Manifest { encoders: footer.encoders, ..Manifest::default() };
    let mut lengths = Vec::with_capacity(footer.originals as usize);
    let mut first = 0;
    for record in originals.as_chunks::<ORIGINAL>().0 {
        let (original, length) = Original::parse(record).ok_or("an original is of another version")?;
        lengths.push(length);
        manifest.originals.push((original, first));
        first += u32::from(original.encodings);
    }
    if first != footer.encodings {
        return Err("it has other encodings than its originals say");
    }
    let names = Names::cut(names.to_vec(), lengths.into_iter());
    manifest.names = names.map_err(|_| "its names are not as long as they say")?;
    if !manifest.names.iter().all(|name| is_key(name) && is_public(name)) {
        return Err("it has a name that cannot be served");
    }
    for record in encodings.as_chunks::<ENCODING>().0 {
        manifest.encodings.push(Encoding::parse(record).ok_or("an encoding is of another version")?);
    }
    check(&manifest, footer.offset)?;
    Ok(manifest)
}

/// Checks that every body lies where it can, and that no original has two of one coding.
fn check(manifest: &Manifest, end: u64) -> Result<(), &'static str> {
    let mut free = 0;
    for (place, (original, _)) in manifest.originals.iter().enumerate() {
        let mut last = None;
        for encoding in manifest.encodings(place) {
            let number = CODINGS.iter().position(|coding| *coding == encoding.coding);
            if number <= last {
                return Err("an original has two encodings of one coding");
            }
            last = number;
            let until = encoding.offset.checked_add(encoding.size);
            let lies_well = encoding.size > 0
                && encoding.size < original.size
                && encoding.offset >= free
                && until.is_some_and(|until| until <= end);
            if !lies_well {
                return Err("it has an encoding that lies outside of it or in another");
            }
            free = until.unwrap_or(u64::MAX);
        }
    }
    Ok(())
}

/// Puts the hash of a manifest right, if there is one at the end of these bytes: a fuzzer would
/// never find it.
pub(crate) fn reseal(file: &mut [u8]) {
    let Some(at) = file.len().checked_sub(FOOTER) else { return };
    let Some(tail) = file[at..].first_chunk::<FOOTER>().copied() else { return };
    let Some(footer) = Footer::parse(&tail) else { return };
    if let Some(manifest) = usize::try_from(footer.offset).ok().and_then(|from| file.get(from..at)) {
        let hash = hash(manifest, &tail);
        file[at + FOOTER - 32..].copy_from_slice(&hash);
    }
}

fn no_footer() -> io::Error {
    changed("it is no encodings file of this version")
}

#[cfg(test)]
pub(crate) mod tests;
