//! Counted memory for input that has to wait.
//!
//! Receive slots go back to the ring within the wake-up that filled them (I8), so what is not a
//! whole record or a whole request yet, or cannot be answered yet, is copied here. All of it is
//! counted against one limit, and each connection against its own.

use crate::close::{Close, PeerReason};

/// The smallest charge: what one byte of a peer costs.
const ROOM_MIN: usize = 1 << 10;
/// Bytes that an unfinished request of a browser needs.
const ROOM_SMALL: usize = 4 << 10;
/// Room that is kept for reuse: a TLS record, or a request head, and most of a receive slot.
const ROOM_KEPT: usize = 20 << 10;
/// Rooms kept.
const KEPT: usize = 64;

/// One shard's account of the memory that its connections' input takes.
pub(crate) struct InputQuota {
    kept: Vec<Vec<u8>>,
    used: usize,
    limit: usize,
    each: usize,
}

/// No more input can be kept for this connection; it has to go.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Overfull;

/// Input of one connection. Empty ones hold no memory.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer {
    bytes: Vec<u8>,
    /// Bytes at the front that are done with.
    start: usize,
    /// Bytes charged for it.
    charged: usize,
}

impl From<Overfull> for Close {
    fn from(_: Overfull) -> Close {
        Close::Peer(PeerReason::TooMuch)
    }
}

impl InputQuota {
    pub(crate) fn new(limit: usize, each: usize) -> InputQuota {
        InputQuota { kept: Vec::with_capacity(KEPT), used: 0, limit, each }
    }

    /// Returns how many bytes may be charged in all. Small rooms have a little more: within one
    /// wake-up the large can take everything, and only at its end are the connections closed that
    /// have most ([`excess`](InputQuota::excess)). Until then none that needs little is turned
    /// away.
    fn limit_for(&self, room: usize) -> usize {
        if room <= ROOM_SMALL { self.limit + self.limit / 8 } else { self.limit }
    }

    /// Bytes charged.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Returns how many bytes should be given up by closing connections, if little is left.
    pub(crate) fn excess(&self) -> Option<usize> {
        (self.used > self.limit / 8 * 7).then(|| self.used - self.limit / 4 * 3)
    }

    /// Appends `input`.
    pub(crate) fn append(&mut self, buffer: &mut InputBuffer, input: &[u8]) -> Result<(), Overfull> {
        if input.is_empty() {
            return Ok(());
        }
        if buffer.start > 0 && buffer.bytes.len() + input.len() > buffer.bytes.capacity() {
            buffer.bytes.drain(..buffer.start);
            buffer.start = 0;
        }
        let len = buffer.bytes.len() + input.len();
        if buffer.charged < len {
            let room = match len {
                0..=ROOM_KEPT => len.next_power_of_two().clamp(ROOM_MIN, ROOM_KEPT),
                _ => len.next_multiple_of(ROOM_KEPT),
            };
            if len > self.each || self.used - buffer.charged + room > self.limit_for(room) {
                return Err(Overfull);
            }
            // A kept room is lent to those only who need most of it, so that what is charged is
            // what is used.
            let kept = if buffer.charged == 0 && room == ROOM_KEPT { self.kept.pop() } else { None };
            match kept {
                Some(bytes) => buffer.bytes = bytes,
                None => buffer.bytes.reserve_exact(room - buffer.bytes.len()),
            }
            self.used = self.used - buffer.charged + room;
            buffer.charged = room;
        }
        buffer.bytes.extend_from_slice(input);
        Ok(())
    }

    /// Charges memory held outside an input buffer to the same quota. `charged` counts what its
    /// owner has been charged.
    pub(crate) fn charge(&mut self, charged: &mut usize, more: usize) -> Result<(), Overfull> {
        if *charged + more > self.each || self.used + more > self.limit_for(more) {
            return Err(Overfull);
        }
        self.used += more;
        *charged += more;
        Ok(())
    }

    /// Gives back what is charged beyond `left`.
    pub(crate) fn refund(&mut self, charged: &mut usize, left: usize) {
        let gone = charged.saturating_sub(left);
        self.used -= gone;
        *charged -= gone;
    }

    /// The first `count` bytes are done with. An empty buffer gives its memory back.
    pub(crate) fn consume(&mut self, buffer: &mut InputBuffer, count: usize) {
        buffer.start = (buffer.start + count).min(buffer.bytes.len());
        if buffer.start == buffer.bytes.len() {
            self.release(buffer);
        }
    }

    /// Throws away what is in the buffer, and gives its memory back.
    pub(crate) fn release(&mut self, buffer: &mut InputBuffer) {
        self.used -= buffer.charged;
        let mut old = std::mem::take(buffer);
        if old.charged == ROOM_KEPT && self.kept.len() < KEPT {
            old.bytes.clear();
            self.kept.push(old.bytes);
        }
    }
}

impl InputBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes charged for it.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_gives_memory_back() {
        let mut quota = InputQuota::new(1 << 20, 100_000);
        let mut buffer = InputBuffer::default();
        quota.append(&mut buffer, b"").unwrap();
        assert_eq!(quota.used(), 0);
        quota.append(&mut buffer, b"abc").unwrap();
        quota.append(&mut buffer, b"def").unwrap();
        quota.consume(&mut buffer, 2);
        assert_eq!((buffer.bytes(), buffer.len()), (&b"cdef"[..], 4));
        for _ in 0..30 {
            quota.append(&mut buffer, &[b'x'; 1000]).unwrap();
            quota.consume(&mut buffer, 1000);
        }
        assert_eq!(buffer.bytes(), b"xxxx");
        assert_eq!(quota.used(), 1024, "what was consumed makes room");
        quota.consume(&mut buffer, 4);
        assert!(buffer.is_empty());
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn both_limits_hold() {
        let mut quota = InputQuota::new(50_000, 30_000);
        let (mut a, mut b, mut c) = (InputBuffer::default(), InputBuffer::default(), InputBuffer::default());
        assert_eq!(quota.append(&mut a, &[0; 30_001]), Err(Overfull));
        quota.append(&mut a, &[0; 20_000]).unwrap();
        assert_eq!(quota.used(), 20480);
        assert_eq!(quota.append(&mut a, &[0; 10_001]), Err(Overfull), "its own");
        assert_eq!(quota.excess(), None);
        quota.append(&mut b, &[0; 20_000]).unwrap();
        assert_eq!(quota.append(&mut c, &[0; 9000]), Err(Overfull), "all of the shard's");
        quota.append(&mut c, &[0; 8000]).unwrap();
        assert_eq!(quota.excess(), Some(20480 + 20480 + 8192 - 37_500));
        let mut late = InputBuffer::default();
        assert_eq!(quota.append(&mut late, &[0; 5000]), Err(Overfull), "all of the shard's");
        quota.append(&mut late, &[0; 4000]).unwrap();
        let mut later = InputBuffer::default();
        assert_eq!(
            quota.append(&mut later, &[0; 4000]),
            Err(Overfull),
            "what is left for the small ends, too"
        );
        quota.release(&mut late);
        quota.release(&mut a);
        quota.append(&mut c, &[0; 9000]).unwrap();
        quota.release(&mut b);
        quota.release(&mut c);
        assert_eq!(quota.used(), 0);
    }
}
