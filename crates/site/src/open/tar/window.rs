//! Blocks of an archive, read many at a time.

use super::read_at::ReadAt;
use crate::open::error::OpenFault;
use std::io;

/// A sliding window over the source: most bodies of a site are smaller than it, so one read finds
/// several headers.
pub(super) struct Window<'s, R> {
    source: &'s R,
    start: u64,
    bytes: Vec<u8>,
}

impl<'s, R: ReadAt> Window<'s, R> {
    pub(super) fn new(source: &'s R) -> Window<'s, R> {
        Window { source, start: 0, bytes: Vec::new() }
    }

    pub(super) fn source(&self) -> &'s R {
        self.source
    }

    /// Returns what was read last.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The block at `at`, or `None` when the source ends before its end.
    pub(super) fn block(&mut self, at: u64) -> Result<Option<[u8; BLOCK]>, OpenFault> {
        if let Some(block) = self.cached(at) {
            return Ok(Some(block));
        }
        let left = self.source.size().saturating_sub(at);
        if left == 0 {
            return Ok(None);
        }
        // At most WINDOW, so it fits.
        self.bytes.resize(usize::try_from(left.min(WINDOW)).unwrap_or(0), 0);
        self.start = at;
        self.source.read_exact_at(&mut self.bytes, at).map_err(read_error)?;
        Ok(self.cached(at))
    }

    fn cached(&self, at: u64) -> Option<[u8; BLOCK]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let block = self.bytes.get(from..from.checked_add(BLOCK)?)?;
        block.try_into().ok()
    }
}

pub(super) fn read_error(error: io::Error) -> OpenFault {
    OpenFault::Io { doing: "read the archive", error }
}

/// Bytes read at once.
const WINDOW: u64 = 32 * 1024;
/// A header, and the unit that bodies are padded to, in bytes.
pub(super) const BLOCK: usize = 512;
