//! Frames that wait to be sent before any DATA.

use super::frame::{HEADER, Header, Kind};
use super::spare::Spare;

/// Bytes of the buffers that are kept for reuse: for the replies to a peer's frames and some heads,
/// and for as many heads as may wait.
pub(super) const SPARE_LEN: [usize; 2] = [2 << 10, 32 << 10];

/// Whole frames, one behind the other. While it is empty it holds no memory: its buffer comes from
/// those that connections share, and goes back there.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// Bytes at its beginning that have been sent.
    sent: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the bytes that have not been sent.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends a frame.
    pub(super) fn push(&mut self, spare: &mut Spare<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = self.buffer(spare, HEADER + payload.len());
        bytes.extend_from_slice(&Header { len: payload.len(), kind, flags, stream }.write());
        bytes.extend_from_slice(payload);
    }

    /// Appends what `write` writes into a place of `room` bytes, and returns whether it did: it
    /// returns the length, or `None` when there is nothing to append.
    pub(super) fn push_with(
        &mut self,
        spare: &mut Spare<u8>,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<()> {
        let bytes = self.buffer(spare, room);
        let start = bytes.len();
        bytes.resize(start + room, 0);
        let written = bytes.get_mut(start..).and_then(write);
        bytes.truncate(start + written.unwrap_or(0));
        written.map(|_| ())
    }

    /// Moves as much as fits to `out`, and returns its length.
    pub(super) fn send(&mut self, spare: &mut Spare<u8>, out: &mut [u8]) -> usize {
        let waiting = self.waiting();
        let len = waiting.len().min(out.len());
        out[..len].copy_from_slice(&waiting[..len]);
        self.sent += len;
        if self.sent == self.bytes.len() {
            self.clear(spare);
        }
        len
    }

    /// Drops all of it and gives the memory back.
    #[inline]
    pub(super) fn clear(&mut self, spare: &mut Spare<u8>) {
        self.sent = 0;
        spare.put(std::mem::take(&mut self.bytes));
    }

    /// The buffer, with room for `more` bytes.
    fn buffer(&mut self, spare: &mut Spare<u8>, more: usize) -> &mut Vec<u8> {
        // What a slow peer has taken is not kept until it has taken all.
        if self.sent > 0 && self.bytes.len() + more > self.bytes.capacity() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        spare.grow(&mut self.bytes, more);
        &mut self.bytes
    }
}
