//! The bytes of an encodings file, version 1. The numbers stand here, for the one who writes and
//! for the one who reads.
//!
//! ```text
//! bodies      encoded bodies, one behind the other
//! originals   76 bytes for each original
//! encodings   56 bytes for each encoded body, in the order of the originals
//! names       the originals' names, one behind the other
//! footer      256 bytes; where everything else lies, and a hash over all but the bodies
//! ```
//!
//! All numbers are little-endian.

use crate::open::hash::Hash;
use sitar_http::semantics::Coding;

/// First bytes of the footer.
pub const MAGIC: &[u8; 16] = b"sitar encodings\0";
/// The version that this program writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// Bytes of an original's record.
pub const ORIGINAL: usize = 76;
/// Bytes of an encoding's record.
pub const ENCODING: usize = 56;
/// Bytes of the footer.
pub const FOOTER: usize = 256;
/// Bytes of records and names at most: read into memory whole.
pub const MANIFEST_MAX: u64 = 256 << 20;
/// Bytes of the text that names the encoders.
pub const ENCODERS_MAX: usize = 96;

/// The codings that an original can have, in the order of their numbers.
pub const CODINGS: [Coding; 3] = [Coding::Br, Coding::Gzip, Coding::Zstd];

/// A file of the site that has been looked at, and encoded where that pays.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Stands for the file's device, inode, size and times, or for those of the archive and the
    /// place in it; see [`Site::version_of`](crate::Site::version_of).
    pub version: Hash,
    /// The hash of its content.
    pub hash: Hash,
    /// Bytes of its content.
    pub size: u64,
    /// Nothing smaller can be made of it: the encoders did their best, and there was room for all.
    pub is_best: bool,
    /// Encodings that it has.
    pub encodings: u8,
}

/// An encoded body.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Its coding; never identity.
    pub coding: Coding,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// The hash of these bytes.
    pub hash: Hash,
}

/// The last bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Version of the format.
    pub version: u32,
    /// First byte of the records.
    pub offset: u64,
    /// Originals.
    pub originals: u32,
    /// Encodings of all of them.
    pub encodings: u32,
    /// Bytes of all names.
    pub names: u32,
    /// The encoders that were used: with another text they would make something else today.
    pub encoders: Vec<u8>,
    /// SHA-256 over records, names and the footer before this field.
    pub hash: Hash,
}

impl Original {
    /// Appends the record's bytes; `name`: bytes of its name.
    pub fn write(&self, name: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version);
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&name.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.is_best), self.encodings]);
    }

    /// The record and the length of its name. `None`: it says what no writer does.
    pub(super) fn parse(bytes: &[u8; ORIGINAL]) -> Option<(Original, usize)> {
        let mut fields = Fields(bytes);
        let (version, hash, size) = (fields.take(), fields.take(), fields.u64());
        let name = u16::from_le_bytes(fields.take());
        let [is_best, encodings] = fields.take();
        let is_known = is_best <= 1 && usize::from(encodings) <= CODINGS.len();
        let original = Original { version, hash, size, is_best: is_best == 1, encodings };
        is_known.then_some((original, name.into()))
    }
}

impl Encoding {
    /// Appends the record's bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.hash);
        // `None` is for identity, which no record has.
        let number = CODINGS.iter().position(|coding| *coding == self.coding).unwrap_or(CODINGS.len());
        out.extend_from_slice(&(number as u64).to_le_bytes());
    }

    /// `None`: its coding is not known.
    pub(super) fn parse(bytes: &[u8; ENCODING]) -> Option<Encoding> {
        let mut fields = Fields(bytes);
        let (offset, size, hash) = (fields.u64(), fields.u64(), fields.take());
        let coding = *usize::try_from(fields.u64()).ok().and_then(|number| CODINGS.get(number))?;
        Some(Encoding { coding, offset, size, hash })
    }
}

impl Footer {
    /// Reads a footer; `None` when it is none of any version.
    pub(super) fn parse(bytes: &[u8; FOOTER]) -> Option<Footer> {
        let mut fields = Fields(bytes);
        if fields.take::<16>() != *MAGIC {
            return None;
        }
        let (version, offset) = (fields.u32(), fields.u64());
        let (originals, encodings, names) = (fields.u32(), fields.u32(), fields.u32());
        let encoders: [u8; ENCODERS_MAX] = fields.take();
        let end = encoders.iter().position(|&byte| byte == 0).unwrap_or(ENCODERS_MAX);
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[FOOTER - 32..]);
        let encoders = encoders[..end].to_vec();
        Some(Footer { version, offset, originals, encodings, names, encoders, hash })
    }

    /// Appends the footer's bytes before the hash.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        for number in [self.originals, self.encodings, self.names] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.encoders[..self.encoders.len().min(ENCODERS_MAX)]);
        out.resize(start + FOOTER - 32, 0);
    }
}

/// Takes numbers from the front; the callers' arrays are long enough, and beyond the end all is
/// zero.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => [0; N],
        }
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
