//! Memory for input that has to wait.
//!
//! Receive slots go back to the ring within the wake-up that filled them (I8), so what is not a
//! whole record or a whole request yet, or cannot be answered yet, is copied here, and charged to
//! the shard's account as it comes.

use crate::shard::quota::{Charge, KEPT, Overfull, Quota};

/// The smallest charge: what one byte of a peer costs.
const ROOM_MIN: usize = 1 << 10;
/// Room that is kept for reuse: a TLS record, or a request head, and most of a receive slot.
const ROOM_KEPT: usize = 20 << 10;

/// Input of one connection. Empty ones hold no memory.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer {
    bytes: Vec<u8>,
    /// Bytes at the front that are done with.
    start: u32,
    charge: Charge,
}

impl Quota {
    /// Appends `input`.
    pub(crate) fn append(&mut self, buffer: &mut InputBuffer, input: &[u8]) -> Result<(), Overfull> {
        if input.is_empty() {
            return Ok(());
        }
        if buffer.start > 0 && buffer.bytes.len() + input.len() > buffer.bytes.capacity() {
            buffer.bytes.drain(..buffer.start());
            buffer.start = 0;
        }
        let len = buffer.bytes.len() + input.len();
        let charged = buffer.charge.bytes();
        if charged < len {
            let room = match len {
                0..=ROOM_KEPT => len.next_power_of_two().clamp(ROOM_MIN, ROOM_KEPT),
                _ => len.next_multiple_of(ROOM_KEPT),
            };
            self.set(&mut buffer.charge, room)?;
            // A kept room is lent to those only who need most of it, so that what is charged is
            // what is used.
            let kept = if charged == 0 && room == ROOM_KEPT { self.kept.pop() } else { None };
            match kept {
                Some(bytes) => buffer.bytes = bytes,
                None => buffer.bytes.reserve_exact(room - buffer.bytes.len()),
            }
        }
        buffer.bytes.extend_from_slice(input);
        Ok(())
    }

    /// The first `count` bytes are done with. An empty buffer gives its memory back.
    pub(crate) fn consume(&mut self, buffer: &mut InputBuffer, count: usize) {
        let start = (buffer.start() + count).min(buffer.bytes.len());
        // A buffer is charged, so it is shorter than 4 GiB.
        buffer.start = start as u32;
        if start == buffer.bytes.len() {
            self.release(buffer);
        }
    }

    /// Throws away what is in the buffer, and gives its memory back.
    pub(crate) fn release(&mut self, buffer: &mut InputBuffer) {
        let mut old = std::mem::take(buffer);
        let is_kept = old.charge.bytes() == ROOM_KEPT && self.kept.len() < KEPT;
        self.clear(&mut old.charge);
        if is_kept {
            old.bytes.clear();
            self.kept.push(old.bytes);
        }
    }
}

impl InputBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.start() == self.bytes.len()
    }

    fn start(&self) -> usize {
        self.start as usize
    }

    /// Bytes charged for it.
    pub(crate) fn charged(&self) -> usize {
        self.charge.bytes()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.bytes[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_gives_memory_back() {
        let mut quota = Quota::new(1 << 20, 100_000);
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
    fn what_finds_no_room_leaves_everything_as_it_was() {
        let mut quota = Quota::new(50_000, 30_000);
        let (mut a, mut b, mut c) = (InputBuffer::default(), InputBuffer::default(), InputBuffer::default());
        assert_eq!(quota.append(&mut a, &[0; 30_001]), Err(Overfull), "its own limit");
        quota.append(&mut a, &[0; 20_000]).unwrap();
        assert_eq!(quota.used(), 20480);
        assert_eq!(quota.append(&mut a, &[0; 10_001]), Err(Overfull), "its own limit");
        assert_eq!((quota.used(), a.len()), (20480, 20_000));
        quota.append(&mut b, &[0; 20_000]).unwrap();
        assert_eq!(quota.append(&mut c, &[0; 9000]), Err(Overfull), "all of the shard's");
        quota.append(&mut c, &[0; 8000]).unwrap();
        assert_eq!(quota.used(), 20480 + 20480 + 8192);
        quota.release(&mut a);
        quota.append(&mut c, &[0; 9000]).unwrap();
        assert_eq!(c.len(), 17_000);
        quota.release(&mut b);
        quota.release(&mut c);
        assert_eq!(quota.used(), 0);
    }
}
