//! Reading an index, which may come from anyone.
//!
//! The footer at the archive's end is read first, then the index. Nothing is allocated before its
//! size is known to lie within the archive and within the limits, and nothing is believed before it
//! is checked: every body lies in the archive, none overlaps another or the index, every name is
//! one that a plain tar could bring, every header line is one that may stand in an answer. What
//! then remains is the word of the archive's maker, as with any tar; the bodies are held
//! against their hashes when they are loaded.

use super::format::{
    BLOCK, END, FOOTER, Fields, Footer, INDEX_MAX, LINES_COUNT_MAX, LINES_MAX, NONE, PAIR, PAIRS_MAX, RECORD,
    Record, Records, VERSION,
};
use crate::answer::fields::{Blocks, are_lines};
use crate::open::error::OpenFault;
use crate::open::hash::Hash;
use crate::open::names::{FILES_MAX, Miscounted, NAMES_BYTES_MAX, Names};
use crate::open::path::{is_key, is_public};
use crate::open::printable::printable;
use crate::open::tar::ReadAt;
use crate::rules::RULE_FILES;
use aws_lc_rs::digest::{Context, SHA256};

/// The kind of an archive, by its end.
#[derive(Debug)]
pub enum PackProbe {
    /// No index there: a plain tar, or a pack to which something was appended.
    Plain,
    /// An index of a version that this program does not know.
    Newer,
    /// A pack.
    Pack(PackIndex),
}

/// A checked index.
#[derive(Debug)]
pub struct PackIndex {
    /// The names in the archive's order. Whether the names are distinct is seen when an
    /// [`Index`](crate::open::index::Index) is made of them.
    pub(crate) names: Names,
    /// One for each name.
    pub(crate) records: Records,
    pub(crate) blocks: Vec<Blocks>,
    /// The encoders that made the sidecars.
    pub(crate) encoders: Vec<u8>,
    /// SHA-256 of the index, which holds the hash of each body.
    pub(crate) hash: Hash,
}

impl PackIndex {
    /// Only what lies below a folder, by its name there. The rules are those of that folder.
    ///
    /// # Errors
    /// There is no such folder.
    pub(crate) fn below(mut self, prefix: Option<&str>) -> Result<PackIndex, OpenFault> {
        let Some(prefix) = prefix else { return Ok(self) };
        let no_such = |packed: &PackIndex| OpenFault::NoSuchPrefix {
            prefix: prefix.to_owned(),
            folders: packed.folders(),
        };
        let folder = match crate::open::path::normalize(prefix.as_bytes()) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(self),
            Err(_) => return Err(no_such(&self)),
        };
        let (mut names, mut places) = (Names::default(), Vec::new());
        for (at, name) in self.names.iter().enumerate() {
            if let Some(name) = name.strip_prefix(&*folder).and_then(|rest| rest.strip_prefix(b"/")) {
                names.push(name)?;
                places.push(at);
            }
        }
        if places.is_empty() {
            return Err(no_such(&self));
        }
        (self.names, self.records) = (names, self.records.only(&places));
        Ok(self)
    }

    /// Each member and its name, in the archive's order.
    pub fn members(&self) -> impl Iterator<Item = (&[u8], Record)> {
        self.names.iter().zip(self.records.iter())
    }

    /// The text that says which encoders made the sidecars.
    #[must_use]
    pub fn encoders(&self) -> &[u8] {
        &self.encoders
    }

    /// The header blocks that records refer to by their numbers.
    #[must_use]
    pub fn blocks(&self) -> &[Blocks] {
        &self.blocks
    }

    /// The contents of `_headers` and `_redirects`, as far as there are such members.
    ///
    /// # Errors
    /// They cannot be read, or are not what was packed.
    pub(crate) fn rules(&self, archive: &impl ReadAt) -> Result<[Option<Vec<u8>>; 2], OpenFault> {
        let mut texts = [None, None];
        for (name, record) in self.members() {
            let Some(place) = RULE_FILES.iter().position(|rules| *rules == name) else { continue };
            let mut text = vec![0; crate::rules::rule_bytes(record.size)];
            read(archive, &mut text, record.offset)?;
            // One that is too long is refused for that.
            if text.len() as u64 == record.size && crate::open::hash::sha256(&text) != record.hash {
                return Err(damaged(record.offset, "its rules do not have the hash that the index says"));
            }
            texts[place] = Some(text);
        }
        Ok(texts)
    }

    /// Some folders, for a message.
    fn folders(&self) -> Vec<String> {
        let mut folders = Vec::new();
        for name in self.names.iter() {
            let Some(slash) = name.iter().position(|&byte| byte == b'/') else { continue };
            let folder = printable(&name[..slash]);
            if folders.len() < 8 && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }
}

/// Looks for an index at the end of an archive.
///
/// # Errors
/// An index that is damaged or says what cannot be: the archive is not to be served, since its
/// hashes are all that could tell whether the rest is what was packed.
pub fn find(archive: &impl ReadAt) -> Result<PackProbe, OpenFault> {
    let length = archive.size();
    let Some(at) = length.checked_sub(END + BLOCK) else { return Ok(PackProbe::Plain) };
    let mut tail = [0; FOOTER + END as usize];
    read(archive, &mut tail, at)?;
    let (footer, end) = tail.split_first_chunk::<FOOTER>().unwrap_or((&[0; FOOTER], &[]));
    let Some(footer) = Footer::parse(footer).filter(|_| end.iter().all(|&byte| byte == 0)) else {
        return Ok(PackProbe::Plain);
    };
    if footer.version != VERSION {
        return Ok(PackProbe::Newer);
    }
    let layout =
        Layout::of(&footer, length).ok_or_else(|| damaged(at, "the index's footer contradicts itself"))?;
    // At most INDEX_MAX together, and within the archive. Where they come to lie now, they stay.
    let mut records = Records::blank(footer.members as usize);
    let mut lines = vec![0; layout.names - layout.pairs];
    let mut names = vec![0; layout.names_end - layout.names];
    let mut rest = vec![0; layout.size - layout.names_end];
    let (mut at, mut hash) = (footer.offset, Context::new(&SHA256));
    for (part, hashed_not) in [(records.bytes_mut(), 0), (&mut lines, 0), (&mut names, 0), (&mut rest, 32)] {
        read(archive, part, at)?;
        hash.update(&part[..part.len() - hashed_not]);
        at += part.len() as u64;
    }
    if hash.finish().as_ref() != footer.hash {
        return Err(damaged(footer.offset, "the index does not have the hash that it says"));
    }
    let (lengths, lines) = lines.split_at(layout.lines - layout.pairs);
    blocks(lengths, lines)
        .and_then(|blocks| parse(records, names, blocks, &footer))
        .map(PackProbe::Pack)
        .map_err(|what| damaged(footer.offset, what))
}

/// Puts the hash of an index right, if there is one at the end of these bytes: a fuzzer would never
/// find it.
pub(crate) fn reseal(archive: &mut [u8]) {
    let Some(at) = archive.len().checked_sub((END + BLOCK) as usize) else { return };
    let Some(footer) = archive[at..].first_chunk::<FOOTER>().and_then(Footer::parse) else { return };
    let field = at + FOOTER - 32;
    if let Some(body) = usize::try_from(footer.offset).ok().and_then(|from| archive.get(from..field)) {
        let hash = crate::open::hash::sha256(body);
        archive[field..field + 32].copy_from_slice(&hash);
    }
}

/// The places of an index's parts.
struct Layout {
    size: usize,
    pairs: usize,
    lines: usize,
    names: usize,
    names_end: usize,
}

impl Layout {
    /// `None` when the numbers contradict each other, the archive, or the limits.
    fn of(footer: &Footer, archive: u64) -> Option<Layout> {
        let size = usize::try_from(footer.size).ok().filter(|_| footer.size <= INDEX_MAX)?;
        let fits = footer.archive == archive
            && footer.offset.is_multiple_of(BLOCK)
            && footer.size.is_multiple_of(BLOCK)
            && footer.offset >= BLOCK
            && footer.offset.checked_add(footer.size)?.checked_add(END)? == archive;
        let (members, pairs) = (footer.members as usize, footer.pairs as usize);
        if !fits || members > FILES_MAX || pairs > PAIRS_MAX || footer.names as usize > NAMES_BYTES_MAX {
            return None;
        }
        let pairs_at = members * RECORD;
        let lines_at = pairs_at + pairs * PAIR;
        let names_at = lines_at.checked_add(footer.lines as usize)?;
        let names_end = names_at.checked_add(footer.names as usize)?;
        // Zeros up to the footer, and no more of them than needed.
        let padded = names_end.checked_next_multiple_of(BLOCK as usize)?.checked_add(FOOTER)?;
        (padded == size).then_some(Layout {
            size,
            pairs: pairs_at,
            lines: lines_at,
            names: names_at,
            names_end,
        })
    }
}

fn parse(
    records: Records,
    names: Vec<u8>,
    blocks: Vec<Blocks>,
    footer: &Footer,
) -> Result<PackIndex, &'static str> {
    let names = Names::cut(names, records.name_lengths()).map_err(|why| match why {
        Miscounted::Short => "the index has more names than bytes of them",
        Miscounted::Long => "the index has bytes of names that belong to no member",
        Miscounted::Full => "the index has more names than a site may have",
    })?;
    let mut free = 0_u64;
    for (name, record) in names.iter().zip(records.iter()) {
        if !record.flags.is_known() {
            return Err("the index has flags of another version");
        }
        if !is_name(name) {
            return Err("the index has a name that cannot be served");
        }
        // Behind the header before it, in the archive's order, and in front of the index and its
        // header: so none overlaps another.
        let end = record.offset.checked_add(record.size).and_then(|end| end.checked_next_multiple_of(BLOCK));
        let lies_well = record.offset.is_multiple_of(BLOCK)
            && record.offset >= free + BLOCK
            && end.is_some_and(|end| end <= footer.offset - BLOCK);
        if !lies_well {
            return Err("the index has a body that lies outside of the archive or in another");
        }
        free = end.unwrap_or(u64::MAX);
        if [record.own, record.encoded].iter().any(|&pair| pair != NONE && usize::from(pair) >= blocks.len())
        {
            return Err("the index names header lines that it does not have");
        }
    }
    Ok(PackIndex { names, records, blocks, encoders: footer.encoders.clone(), hash: footer.hash })
}

fn blocks(lengths: &[u8], mut lines: &[u8]) -> Result<Vec<Blocks>, &'static str> {
    let mut blocks = Vec::with_capacity(lengths.len() / PAIR);
    let (pairs, _) = lengths.as_chunks::<PAIR>();
    for pair in pairs {
        let mut fields = Fields(pair);
        let mut next = || {
            let (block, rest) = lines.split_at_checked(fields.u32() as usize)?;
            lines = rest;
            let count = block.iter().filter(|&&byte| byte == b'\n').count();
            let is_small = block.len() <= LINES_MAX && count <= LINES_COUNT_MAX;
            (is_small && are_lines(block)).then(|| Box::from(block))
        };
        let (Some(content), Some(not_modified)) = (next(), next()) else {
            return Err("the index has header lines that may not stand in an answer");
        };
        blocks.push(Blocks { content, not_modified });
    }
    if lines.is_empty() { Ok(blocks) } else { Err("the index has header lines that belong to nothing") }
}

/// A name that a plain tar could bring to the index, or one of the files that rule the site.
pub(super) fn is_name(name: &[u8]) -> bool {
    is_key(name) && (is_public(name) || RULE_FILES.contains(&name))
}

fn read(archive: &impl ReadAt, buffer: &mut [u8], at: u64) -> Result<(), OpenFault> {
    archive.read_exact_at(buffer, at).map_err(|error| OpenFault::Io { doing: "read the archive", error })
}

fn damaged(offset: u64, what: &'static str) -> OpenFault {
    OpenFault::DamagedPack { offset, what }
}
