//! The parts that tools for a site's author need beyond serving. sitar-publish stands on it;
//! nothing here is on the path of a request.
//!
//! | for | names |
//! |---|---|
//! | a directory as it lies on disk | [`Root`], [`SiteFile`], [`directory_rules`], [`screen`] |
//! | an earlier pack | [`find`], [`PackProbe`], [`PackIndex`], [`ArchiveFile`], [`ReadAt`] |
//! | a new pack | [`mod@format`], [`header_blocks`], [`Blocks`], [`RULE_FILES`], [`FILES_MAX`] |
//! | an encodings file | [`mod@encodings`], [`Manifest`], [`Unencoded`], [`Site::read_unencoded`] |
//! | sidecars | [`sidecar`], [`stored_coding`], [`is_outdated`] |
//! | types and lifetimes | [`media_type`], [`Media`], [`is_fingerprinted`], [`is_html`] |
//! | paths | [`resolve`], [`Resolved`], [`PathFault`], [`encode`], [`hex`] |
//! | keys | [`is_public`], [`NAME_MAX`] |
//! | rules one by one | [`Override`], [`StoredCoding`], [`Unmatched`], and methods of [`Rules`] |
//! | an open site | [`Sidecar`], and the methods of [`Site`] that begin with [`Site::names`] |
//! | messages | [`Warnings`], [`printable`] |
//! | hashes | [`type@Hash`], [`sha256`] |

pub use crate::answer::fields::Blocks;
pub use crate::answer::lifetime::is_fingerprinted;
pub use crate::answer::media::{Media, media_type};
pub use crate::open::archive_file::ArchiveFile;
pub use crate::open::directory::Root;
pub use crate::open::encodings::format as encodings;
pub use crate::open::encodings::original::Unencoded;
pub use crate::open::encodings::read::Manifest;
pub use crate::open::error::Warnings;
pub use crate::open::hash::{Hash, sha256};
pub use crate::open::names::FILES_MAX;
pub use crate::open::pack::format;
pub use crate::open::pack::read::{PackIndex, PackProbe, find};
pub use crate::open::path::{NAME_MAX, PathFault, Resolved, encode, hex, is_public, resolve};
pub use crate::open::printable::printable;
pub use crate::open::sidecar::{is_outdated, sidecar, stored_coding};
pub use crate::open::site_file::SiteFile;
pub use crate::open::survey::{is_html, screen};
pub use crate::open::tar::ReadAt;
pub use crate::rules::{Override, RULE_FILES, StoredCoding, Unmatched};

use crate::open::error::OpenFault;
use crate::open::index::{FileId, Index, Slot};
use crate::open::names::Names;
use crate::open::opening::compile;
use crate::open::site::{Site, Store};
use crate::rules::Rules;
use sitar_http::semantics::Coding;
use std::collections::HashSet;

/// Reads and compiles the rules of a directory.
///
/// # Errors
/// They cannot be read, or have mistakes.
pub fn directory_rules(root: &Root) -> Result<Rules, OpenFault> {
    crate::open::opening::directory_rules(root, compile)
}

/// Calls `each` with the header blocks of every answer that a site of these names gives, the place
/// of the name among them, and the Content-Encoding. They are those of a directory of these names.
///
/// # Errors
/// There are too many names, or they are too long together.
pub fn header_blocks<'n>(
    names: impl IntoIterator<Item = &'n [u8]>,
    mut each: impl FnMut(usize, Coding, Blocks),
) -> Result<(), OpenFault> {
    let index = Index::new(Names::of(names)?)?;
    for entry in index.sources().filter_map(|(file, _)| index.entry(file)) {
        each(entry.source, entry.coding, Blocks::of(&entry));
    }
    Ok(())
}

/// A sidecar, and the file that it lies beside.
pub struct Sidecar<'s> {
    /// Its own name.
    pub name: &'s [u8],
    /// The name of the file.
    pub original_name: &'s [u8],
    /// The coding that its name says.
    pub coding: Coding,
    /// The sidecar as a file of its own.
    pub sidecar: FileId,
    /// The file.
    pub original: FileId,
    /// It is older than the file, and therefore not sent for it.
    pub is_outdated: bool,
}

impl Site {
    /// Every file with a name of its own, in no order.
    pub fn names(&self) -> impl Iterator<Item = (&[u8], FileId)> {
        self.index.names()
    }

    /// Every file and every encoding of one.
    pub fn file_ids(&self) -> impl Iterator<Item = FileId> {
        self.index.sources().map(|(file, _)| file)
    }

    /// Files that are not served because they configure another host, in order.
    pub fn hidden_names(&self) -> impl Iterator<Item = &[u8]> {
        self.index.hidden().filter_map(|source| self.index.source_name(source))
    }

    /// Files that have no encodings, in no order; `None` for a pack, whose author has decided about
    /// encodings, and for a site that is part of the program.
    #[must_use]
    pub fn unencoded_names(&self) -> Option<impl Iterator<Item = (&[u8], FileId)>> {
        let is_plain = matches!(self.store, Store::Archive { .. } | Store::Directory(_));
        let is_unencoded =
            |name: &[u8]| matches!(self.index.get(name), Some(Slot::File(choice)) if !choice.is_encoded());
        is_plain.then(|| self.names().filter(move |(name, _)| is_unencoded(name)))
    }

    /// Every sidecar that has an original, in the order of names.
    #[must_use]
    pub fn sidecars(&self) -> Vec<Sidecar<'_>> {
        let outdated: HashSet<usize> = self.index.outdated.iter().copied().collect();
        let pair = |(name, file)| {
            let (original_name, coding) = sidecar(name)?;
            let Some(Slot::File(choice)) = self.index.get(original_name) else { return None };
            let original = choice.of(Coding::Identity)?;
            let is_outdated = self.index.source(file).is_some_and(|(source, _)| outdated.contains(&source));
            Some(Sidecar { name, original_name, coding, sidecar: file, original, is_outdated })
        };
        let mut pairs: Vec<_> = self.names().filter_map(pair).collect();
        pairs.sort_unstable_by_key(|pair| pair.name);
        pairs
    }

    /// Returns whether a rewrite to this key shows something.
    #[must_use]
    pub fn has_content(&self, key: &[u8], slash: bool) -> bool {
        self.content_of(key, slash).is_some()
    }

    /// The rules that it was opened with.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}
