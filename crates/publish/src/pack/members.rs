//! Writing members: plain headers that every tar reads, and nothing in them that depends on the
//! machine.
//!
//! GNU's format, because long names and sizes beyond 8 GiB in it are read by GNU tar, bsdtar,
//! busybox and Python alike; busybox skips those of pax. Owner and mode are always the same.

use std::io::{self, Write};

/// An archive being written, one member after the other.
pub(super) struct TarWriter<W> {
    out: W,
    at: u64,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> TarWriter<W> {
        TarWriter { out, at: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Writes what precedes a body of `size` bytes.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn header(&mut self, name: &[u8], size: u64, mtime: u64) -> io::Result<()> {
        if name.len() > NAME_FIELD {
            // The name is the body of a member of its own, with a zero byte behind it.
            self.block(&header(b"././@LongLink", b'L', name.len() as u64 + 1, 0))?;
            self.write(name)?;
            self.write(&[0])?;
            self.pad()?;
        }
        self.block(&header(&name[..name.len().min(NAME_FIELD)], b'0', size, mtime))
    }

    /// Writes a part of a body.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Ends a body.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        let missing = self.at.next_multiple_of(BLOCK as u64) - self.at;
        // Less than a block.
        self.write(&[0; BLOCK][..missing as usize])
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.block(&[0; BLOCK])?;
        self.block(&[0; BLOCK])?;
        self.out.flush()?;
        Ok(self.at)
    }

    fn block(&mut self, block: &[u8; BLOCK]) -> io::Result<()> {
        self.write(block)
    }
}

fn header(name: &[u8], flag: u8, size: u64, mtime: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    number(&mut block[124..136], size);
    number(&mut block[136..148], mtime);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    // Six digits hold 512 times 255.
    octal(&mut block[148..155], u64::from(sum));
    block
}

/// Eleven octal digits and a zero, or base-256 where they do not reach.
fn number(field: &mut [u8], value: u64) {
    if value >> 33 == 0 {
        octal(field, value);
    } else {
        field.fill(0);
        let low = field.len() - 8;
        field[low..].copy_from_slice(&value.to_be_bytes());
        field[0] = 0x80;
    }
}

/// Octal digits to the field's end but one, which is zero.
fn octal(field: &mut [u8], mut value: u64) {
    let Some((last, digits)) = field.split_last_mut() else { return };
    *last = 0;
    for digit in digits.iter_mut().rev() {
        // Three bits.
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

const BLOCK: usize = 512;
/// Bytes of a name that fit into a header.
const NAME_FIELD: usize = 100;
