//! Bytes that can be read anywhere.

use std::io;

/// Bytes that can be read anywhere: a file, or a slice in tests.
pub trait ReadAt {
    /// Bytes that there are; they never become more or fewer.
    fn size(&self) -> u64;
    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// The kernel's, or the source ends before the buffer does.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let from = usize::try_from(offset).map_err(|_| eof())?;
        let end = from.checked_add(buf.len()).ok_or_else(eof)?;
        buf.copy_from_slice(self.get(from..end).ok_or_else(eof)?);
        Ok(())
    }
}
