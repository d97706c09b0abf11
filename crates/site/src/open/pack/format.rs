//! The bytes of `.sitar/index`, version 1. `docs/pack-format.md` describes them for readers in
//! other languages; the numbers stand here.
//!
//! ```text
//! records   64 bytes for each member, in the archive's order
//! blocks    8 bytes for each pair of header blocks: two lengths
//! lines     the header blocks, one behind the other
//! names     the members' names, one behind the other
//! zeros     up to the footer, which is the last block of the member
//! footer    512 bytes; where everything else lies, and a hash over all of it
//! ```
//!
//! All numbers are little-endian.

use crate::open::hash::Hash;

/// The member that holds the index. Always the last one, so that its end is found from the
/// archive's.
pub const INDEX_NAME: &[u8] = b".sitar/index";
/// First bytes of the footer.
pub const MAGIC: &[u8; 16] = b"sitar pack index";
/// The version that this program writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// A header block of tar, and the footer.
pub const BLOCK: u64 = 512;
/// The two blocks of zeros that end an archive.
pub const END: u64 = 2 * BLOCK;
/// Bytes of a record.
pub const RECORD: usize = 64;
/// Bytes of the two lengths of a pair of header blocks.
pub const PAIR: usize = 8;
/// Bytes of the footer.
pub const FOOTER: usize = BLOCK as usize;
/// Bytes of an index at most: read into memory whole.
pub const INDEX_MAX: u64 = 512 << 20;
/// Pairs of header blocks at most; their numbers have 16 bits, the last of which means none.
pub const PAIRS_MAX: usize = 0xffff;
/// Bytes of one header block. With validators and the site's own rules it has to fit into an
/// answer; `answer/reply.rs` adds up.
pub const LINES_MAX: usize = 2 << 10;
/// Lines of one header block; those that sitar makes have six.
pub const LINES_COUNT_MAX: usize = 14;
/// Bytes of the text that names the encoders.
pub const ENCODERS_MAX: usize = 96;
/// No pair of header blocks.
pub const NONE: u16 = 0xffff;

/// One member of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// First byte of the body in the archive.
    pub offset: u64,
    /// Bytes of the body.
    pub size: u64,
    /// Seconds since the Unix epoch.
    pub mtime: Option<u64>,
    /// The hash of the body.
    pub hash: Hash,
    /// The way the member came about.
    pub flags: Flags,
    /// The header blocks under its own name.
    pub own: u16,
    /// The header blocks as an encoding of the file that it is a sidecar of.
    pub encoded: u16,
}

/// The way a member came about, by which packing again knows what it may take over.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(
    /// The bits; those that a version does not know are zero.
    pub u16,
);

impl Flags {
    /// A sidecar that the packer made.
    pub const GENERATED: Flags = Flags(1);

    /// Returns whether it is a sidecar that the packer made.
    #[must_use]
    pub fn is_generated(self) -> bool {
        self.0 & Flags::GENERATED.0 != 0
    }

    /// The packer has decided about these codings, brotli, gzip and Zstandard: what does not lie
    /// beside the file as a generated sidecar was not worth it.
    #[must_use]
    pub fn tried(codings: [bool; 3]) -> Flags {
        let bit = |at: usize| if codings[at] { 1 << (at + 1) } else { 0 };
        Flags(bit(0) | bit(1) | bit(2))
    }

    /// Returns about which codings, in the same order, the packer has decided.
    #[must_use]
    pub fn is_tried(self) -> [bool; 3] {
        [self.0 & 2 != 0, self.0 & 4 != 0, self.0 & 8 != 0]
    }

    /// Returns whether this version knows all of the bits.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.0 & !15 == 0
    }
}

/// The last block of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Version of the format.
    pub version: u32,
    /// Bytes of the whole archive.
    pub archive: u64,
    /// The offset of the index in the archive.
    pub offset: u64,
    /// Bytes of the index, footer included.
    pub size: u64,
    /// Records.
    pub members: u32,
    /// Pairs of header blocks.
    pub pairs: u32,
    /// Bytes of all header blocks.
    pub lines: u32,
    /// Bytes of all names.
    pub names: u32,
    /// The encoders that made the sidecars: another text means that they would be made otherwise
    /// today.
    pub encoders: Vec<u8>,
    /// SHA-256 over all of the index before this field.
    pub hash: Hash,
}

impl Footer {
    /// Reads a footer; `None` when it is none of any version.
    #[must_use]
    pub fn parse(block: &[u8; FOOTER]) -> Option<Footer> {
        let mut fields = Fields(block);
        if fields.take::<16>() != *MAGIC {
            return None;
        }
        let (version, archive, offset, size) = (fields.u32(), fields.u64(), fields.u64(), fields.u64());
        let (members, pairs, lines, names) = (fields.u32(), fields.u32(), fields.u32(), fields.u32());
        let encoders: [u8; ENCODERS_MAX] = fields.take();
        let end = encoders.iter().position(|&byte| byte == 0).unwrap_or(ENCODERS_MAX);
        let mut hash = [0; 32];
        hash.copy_from_slice(&block[FOOTER - 32..]);
        let encoders = encoders[..end].to_vec();
        Some(Footer { version, archive, offset, size, members, pairs, lines, names, encoders, hash })
    }

    /// Appends the footer's bytes before the hash.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        for number in [self.archive, self.offset, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.members, self.pairs, self.lines, self.names] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.encoders[..self.encoders.len().min(ENCODERS_MAX)]);
        out.resize(start + FOOTER - 32, 0);
    }
}

impl Record {
    /// The record and the length of its name.
    fn parse(bytes: &[u8; RECORD]) -> (Record, u16) {
        let mut fields = Fields(bytes);
        let (offset, size, mtime) = (fields.u64(), fields.u64(), fields.u64());
        let hash = fields.take();
        let (name, flags, own, encoded) = (fields.u16(), Flags(fields.u16()), fields.u16(), fields.u16());
        let mtime = (mtime != u64::MAX).then_some(mtime);
        (Record { offset, size, mtime, hash, flags, own, encoded }, name)
    }

    /// Appends the record's bytes; `name`: bytes of the member's name.
    pub fn write(&self, name: u16, out: &mut Vec<u8>) {
        for number in [self.offset, self.size, self.mtime.unwrap_or(u64::MAX)] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.hash);
        for number in [name, self.flags.0, self.own, self.encoded] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// Records as they were read. They are parsed when asked for, because most never are.
#[derive(Debug)]
pub(crate) struct Records(Vec<[u8; RECORD]>);

impl Records {
    /// Returns as many records as there are members, all zero.
    pub(super) fn blank(members: usize) -> Records {
        Records(vec![[0; RECORD]; members])
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_flattened_mut()
    }

    /// The length of each name.
    pub(super) fn name_lengths(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|record| usize::from(Record::parse(record).1))
    }

    pub(crate) fn get(&self, at: usize) -> Option<Record> {
        self.0.get(at).map(|record| Record::parse(record).0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Record> {
        self.0.iter().map(|record| Record::parse(record).0)
    }

    /// Only those of these places.
    pub(super) fn only(&self, places: &[usize]) -> Records {
        Records(places.iter().filter_map(|&at| self.0.get(at)).copied().collect())
    }
}

/// Takes numbers from the front; the callers' arrays are long enough, and beyond the end all is
/// zero.
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => [0; N],
        }
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
