//! One 512-byte header block.

use super::sparse::Entries;

/// A header whose checksum is right. Everything else in it may still be nonsense.
pub(super) struct Header<'b> {
    block: &'b [u8; 512],
}

/// The kinds of header that exist in the wild.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum TypeFlag {
    File,
    Directory,
    HardLink,
    Symlink,
    Device,
    PaxLocal,
    PaxGlobal,
    LongName,
    LongLink,
    GnuSparse,
    GnuDumpDirectory,
    VolumeLabel,
    Continuation,
    Unknown,
}

impl<'b> Header<'b> {
    /// The header, if its checksum is right: the sum of all bytes with the checksum's own taken as
    /// spaces. Old writers summed signed bytes, so both are accepted, as every reader does.
    pub(super) fn check(block: &'b [u8; 512]) -> Option<Header<'b>> {
        let stored = octal(&block[CHECKSUM])?;
        let (mut unsigned, mut signed) = (0_u64, 0_i64);
        for (at, &byte) in block.iter().enumerate() {
            let byte = if CHECKSUM.contains(&at) { b' ' } else { byte };
            unsigned += u64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        // A blank checksum parses as zero, and no header sums to zero: the field itself counts
        // eight spaces.
        (stored == unsigned || i64::try_from(stored) == Ok(signed)).then_some(Header { block })
    }

    pub(super) fn flag(&self) -> TypeFlag {
        match self.block[156] {
            b'0' | 0 | b'7' => TypeFlag::File,
            b'1' => TypeFlag::HardLink,
            b'2' => TypeFlag::Symlink,
            b'3' | b'4' | b'6' => TypeFlag::Device,
            b'5' => TypeFlag::Directory,
            // `X` is what Solaris wrote before POSIX settled on `x`.
            b'x' | b'X' => TypeFlag::PaxLocal,
            b'g' => TypeFlag::PaxGlobal,
            b'L' => TypeFlag::LongName,
            b'K' => TypeFlag::LongLink,
            b'S' => TypeFlag::GnuSparse,
            b'D' => TypeFlag::GnuDumpDirectory,
            b'V' => TypeFlag::VolumeLabel,
            b'M' => TypeFlag::Continuation,
            // Letters of other programs, which may stand for no file at all: Solaris keeps access
            // control lists in `A`.
            b'A'..=b'Z' => TypeFlag::Unknown,
            // POSIX has a type that a reader does not know be a regular file, as does every reader.
            _ => TypeFlag::File,
        }
    }

    /// The name, with the ustar prefix in front where there is one.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[0..100]);
        // GNU's older magic is "ustar  \0"; there, these bytes hold times and sparse maps.
        if &self.block[257..263] != b"ustar\0" {
            return name.to_vec();
        }
        // star keeps times behind a shorter prefix and signs the block's end.
        let prefix =
            if &self.block[508..512] == b"tar\0" { &self.block[345..476] } else { &self.block[345..500] };
        match text(prefix) {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    /// Reads the map in an old GNU header of a sparse file; `None` where another program uses these
    /// bytes (star).
    pub(super) fn sparse(&self) -> Option<OldSparse<'b>> {
        let fields = OldSparse {
            entries: &self.block[386..482],
            is_extended: self.block[482] != 0,
            size: number(&self.block[483..495]),
        };
        (&self.block[257..263] != b"ustar\0").then_some(fields)
    }

    /// The target of a link.
    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// The body's length in bytes; `None` when it is negative, too large for any file, or no number
    /// at all.
    pub(super) fn size(&self) -> Option<u64> {
        number(&self.block[124..136])
    }

    /// Seconds since the epoch; `None` before it.
    pub(super) fn mtime(&self) -> Option<u64> {
        number(&self.block[136..148])
    }
}

/// The fields that an old GNU header of a sparse file has beside an ordinary one.
pub(super) struct OldSparse<'b> {
    pub(super) entries: &'b [u8],
    /// A block of further entries follows the header.
    pub(super) is_extended: bool,
    /// Bytes of the file, holes included; `None` where that is no number.
    pub(super) size: Option<u64>,
}

/// A block of entries behind an old GNU header of a sparse file: the entries, and whether another
/// block follows.
pub(super) fn more_entries(block: &[u8; 512]) -> (&[u8], bool) {
    (&block[..504], block[504] != 0)
}

/// Adds the entries of an old GNU map, which end at one without a length.
pub(super) fn old_entries(entries: &[u8], to: &mut Entries) -> Result<(), &'static str> {
    let (entries, _) = entries.as_chunks::<24>();
    for entry in entries.iter().take_while(|entry| entry[12] != 0) {
        let (Some(at), Some(len)) = (number(&entry[..12]), number(&entry[12..])) else {
            return Err("a sparse file's map is malformed");
        };
        to.push(at, len)?;
    }
    Ok(())
}

/// A field of text: up to the first zero byte, or all of it.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// Octal, or base-256 when the first bit is set (GNU, star); the sign is the second bit.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            if first & 0x40 != 0 {
                return None;
            }
            let mut value = u64::from(first & 0x3f);
            for &byte in rest {
                value = value.checked_mul(256)?.checked_add(u64::from(byte))?;
            }
            // Beyond what any file offset can be.
            (value <= i64::MAX as u64).then_some(value)
        }
        _ => octal(field),
    }
}

/// Octal digits between optional spaces, ended by a space, a zero byte or the field's end. Blank is
/// zero.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|&byte| byte == 0 || byte == b' ').unwrap_or(digits.len());
    let mut value = 0_u64;
    for &digit in &digits[..end] {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    // What follows the number is padding; letters there mean that this is not a number.
    digits[end..].iter().all(|&byte| byte == 0 || byte == b' ').then_some(value)
}

const CHECKSUM: std::ops::Range<usize> = 148..156;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"00000001750\0"), Some(1000));
        assert_eq!(number(b"       1750 "), Some(1000));
        assert_eq!(number(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"            "), Some(0));
        assert_eq!(number(b"0000000008\0\0"), None);
        assert_eq!(number(b"-0000000001\0"), None);
        assert_eq!(number(b"12\0junk\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(8 << 30));
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX as u64));
        assert_eq!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn a_blank_block_is_no_header() {
        assert!(Header::check(&[0; 512]).is_none());
        assert!(Header::check(&[b' '; 512]).is_none());
    }
}
