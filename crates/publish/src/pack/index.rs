//! Making the index: what every member's answers are, from the names of all of them.

use super::encode::Level;
use sitar_http::semantics::Coding;
use sitar_site::OpenFault;
use sitar_site::raw::format::{
    BLOCK, END, FOOTER, Flags, Footer, INDEX_MAX, LINES_MAX, MAGIC, NONE, PAIRS_MAX, Record, VERSION,
};
use sitar_site::raw::{Blocks, Hash, header_blocks, sha256};
use std::collections::HashMap;

/// A member that has been written.
pub(super) struct Written {
    pub(super) name: Box<[u8]>,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) mtime: u64,
    pub(super) hash: Hash,
    pub(super) flags: Flags,
}

/// Header blocks, each pair once.
#[derive(Default)]
struct Pairs {
    numbers: HashMap<Blocks, u16>,
    lengths: Vec<u8>,
    lines: Vec<u8>,
}

impl Pairs {
    /// The pair's number; [`NONE`] when there are too many of them, or one is too long: then they
    /// are made when the file is loaded.
    fn number(&mut self, blocks: Blocks) -> u16 {
        if let Some(&number) = self.numbers.get(&blocks) {
            return number;
        }
        let next = self.numbers.len();
        if next >= PAIRS_MAX || blocks.content.len() > LINES_MAX || blocks.not_modified.len() > LINES_MAX {
            return NONE;
        }
        for block in [&blocks.content, &blocks.not_modified] {
            // Within LINES_MAX.
            self.lengths.extend_from_slice(&(block.len() as u32).to_le_bytes());
            self.lines.extend_from_slice(block);
        }
        // Below PAIRS_MAX.
        self.numbers.insert(blocks, next as u16);
        next as u16
    }
}

/// The index over what was written, as the body of a member whose header ends at `offset`.
///
/// # Errors
/// More of something than a pack can hold.
pub(super) fn index(members: &[Written], offset: u64, level: Level) -> Result<Vec<u8>, OpenFault> {
    let mut pairs = Pairs::default();
    let mut numbers = vec![(NONE, NONE); members.len()];
    header_blocks(members.iter().map(|member| &*member.name), |member, coding, blocks| {
        let number = pairs.number(blocks);
        let (own, encoded) = &mut numbers[member];
        *if coding == Coding::Identity { own } else { encoded } = number;
    })?;

    let mut bytes = Vec::new();
    let mut names = Vec::new();
    for (member, (own, encoded)) in members.iter().zip(numbers) {
        let Written { ref name, offset, size, mtime, hash, flags } = *member;
        let record = Record { offset, size, mtime: Some(mtime), hash, flags, own, encoded };
        // At most NAME_MAX.
        record.write(name.len() as u16, &mut bytes);
        names.extend_from_slice(name);
    }
    bytes.extend_from_slice(&pairs.lengths);
    bytes.extend_from_slice(&pairs.lines);
    bytes.extend_from_slice(&names);
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    let size = (bytes.len() + FOOTER) as u64;
    if size > INDEX_MAX {
        return Err(OpenFault::TooMany { what: "bytes of index", limit: INDEX_MAX });
    }
    // All of them lie within INDEX_MAX, which has 32 bits.
    let footer = Footer {
        version: VERSION,
        archive: offset + size + END,
        offset,
        size,
        members: members.len() as u32,
        pairs: pairs.numbers.len() as u32,
        lines: pairs.lines.len() as u32,
        names: names.len() as u32,
        encoders: level.encoders().as_bytes().to_vec(),
        hash: [0; 32],
    };
    footer.write(&mut bytes);
    let hash = sha256(&bytes);
    bytes.extend_from_slice(&hash);
    debug_assert!(bytes.len() as u64 == size && bytes[bytes.len() - FOOTER..].starts_with(MAGIC));
    Ok(bytes)
}
