//! Counted memory for input that has to wait.
//!
//! Receive slots go back to the ring within the wake-up that filled them (sitar-io's I8), so what is not a whole record or
//! a whole request yet, or cannot be answered yet, is copied here. All of it is counted against one limit, and each
//! connection against its own.

/// The smallest room: a peer that sends one byte shall not book more.
const ROOM_MIN: usize = 1 << 10;
/// What an unfinished request of a browser needs.
const ROOM_SMALL: usize = 4 << 10;
/// Room that is kept for reuse: a TLS record, or a request head, and most of a receive slot.
const ROOM_KEPT: usize = 20 << 10;
/// Rooms kept.
const KEPT: usize = 64;

/// The shard's account of stashed bytes.
pub(crate) struct Stashes {
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
pub(crate) struct Stash {
    bytes: Vec<u8>,
    /// Bytes at the front that are done with.
    start: usize,
    /// What is booked for it.
    booked: usize,
}

impl Stashes {
    pub(crate) fn new(limit: usize, each: usize) -> Stashes {
        Stashes { kept: Vec::with_capacity(KEPT), used: 0, limit, each }
    }

    /// What may be booked in all. Small rooms have a little more: within one wake-up the large can take everything, and
    /// only at its end are those closed who have most ([`excess`](Stashes::excess)); until then nobody who needs little
    /// shall be turned away.
    fn limit_for(&self, room: usize) -> usize {
        if room <= ROOM_SMALL { self.limit + self.limit / 8 } else { self.limit }
    }

    /// Bytes booked.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether so little is left that somebody should give up what is stashed, and how much.
    pub(crate) fn excess(&self) -> Option<usize> {
        (self.used > self.limit / 8 * 7).then(|| self.used - self.limit / 4 * 3)
    }

    /// Appends `input`.
    pub(crate) fn append(&mut self, stash: &mut Stash, input: &[u8]) -> Result<(), Overfull> {
        if input.is_empty() {
            return Ok(());
        }
        if stash.start > 0 && stash.bytes.len() + input.len() > stash.bytes.capacity() {
            stash.bytes.drain(..stash.start);
            stash.start = 0;
        }
        let len = stash.bytes.len() + input.len();
        if stash.booked < len {
            let room = match len {
                0..=ROOM_KEPT => len.next_power_of_two().clamp(ROOM_MIN, ROOM_KEPT),
                _ => len.next_multiple_of(ROOM_KEPT),
            };
            if len > self.each || self.used - stash.booked + room > self.limit_for(room) {
                return Err(Overfull);
            }
            // A kept room is lent to those only who need most of it, so that what is booked is what is used.
            let kept = if stash.booked == 0 && room == ROOM_KEPT { self.kept.pop() } else { None };
            match kept {
                Some(bytes) => stash.bytes = bytes,
                None => stash.bytes.reserve_exact(room - stash.bytes.len()),
            }
            self.used = self.used - stash.booked + room;
            stash.booked = room;
        }
        stash.bytes.extend_from_slice(input);
        Ok(())
    }

    /// Books memory that is no stash's, for as long as `booked` says.
    pub(crate) fn book(&mut self, booked: &mut usize, more: usize) -> Result<(), Overfull> {
        if *booked + more > self.each || self.used + more > self.limit_for(more) {
            return Err(Overfull);
        }
        self.used += more;
        *booked += more;
        Ok(())
    }

    /// Gives back what is booked beyond `left`.
    pub(crate) fn unbook(&mut self, booked: &mut usize, left: usize) {
        let gone = booked.saturating_sub(left);
        self.used -= gone;
        *booked -= gone;
    }

    /// The first `count` bytes are done with. An empty stash gives its memory back.
    pub(crate) fn consume(&mut self, stash: &mut Stash, count: usize) {
        stash.start = (stash.start + count).min(stash.bytes.len());
        if stash.start == stash.bytes.len() {
            self.release(stash);
        }
    }

    /// Throws away what is stashed.
    pub(crate) fn release(&mut self, stash: &mut Stash) {
        self.used -= stash.booked;
        let mut old = std::mem::take(stash);
        if old.booked == ROOM_KEPT && self.kept.len() < KEPT {
            old.bytes.clear();
            self.kept.push(old.bytes);
        }
    }
}

impl Stash {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes booked for it.
    pub(crate) fn booked(&self) -> usize {
        self.booked
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
        let mut stashes = Stashes::new(1 << 20, 100_000);
        let mut stash = Stash::default();
        stashes.append(&mut stash, b"").unwrap();
        assert_eq!(stashes.used(), 0);
        stashes.append(&mut stash, b"abc").unwrap();
        stashes.append(&mut stash, b"def").unwrap();
        stashes.consume(&mut stash, 2);
        assert_eq!((stash.bytes(), stash.len()), (&b"cdef"[..], 4));
        for _ in 0..30 {
            stashes.append(&mut stash, &[b'x'; 1000]).unwrap();
            stashes.consume(&mut stash, 1000);
        }
        assert_eq!(stash.bytes(), b"xxxx");
        assert_eq!(stashes.used(), 1024, "what was consumed makes room");
        stashes.consume(&mut stash, 4);
        assert!(stash.is_empty());
        assert_eq!(stashes.used(), 0);
    }

    #[test]
    fn both_limits_hold() {
        let mut stashes = Stashes::new(50_000, 30_000);
        let (mut a, mut b, mut c) = (Stash::default(), Stash::default(), Stash::default());
        assert_eq!(stashes.append(&mut a, &[0; 30_001]), Err(Overfull));
        stashes.append(&mut a, &[0; 20_000]).unwrap();
        assert_eq!(stashes.used(), 20480);
        assert_eq!(stashes.append(&mut a, &[0; 10_001]), Err(Overfull), "its own");
        assert_eq!(stashes.excess(), None);
        stashes.append(&mut b, &[0; 20_000]).unwrap();
        assert_eq!(stashes.append(&mut c, &[0; 9000]), Err(Overfull), "everybody's");
        stashes.append(&mut c, &[0; 8000]).unwrap();
        assert_eq!(stashes.excess(), Some(20480 + 20480 + 8192 - 37_500));
        let mut late = Stash::default();
        assert_eq!(stashes.append(&mut late, &[0; 5000]), Err(Overfull), "everybody's");
        stashes.append(&mut late, &[0; 4000]).unwrap();
        let mut later = Stash::default();
        assert_eq!(
            stashes.append(&mut later, &[0; 4000]),
            Err(Overfull),
            "what is left for the small ends, too"
        );
        stashes.release(&mut late);
        stashes.release(&mut a);
        stashes.append(&mut c, &[0; 9000]).unwrap();
        stashes.release(&mut b);
        stashes.release(&mut c);
        assert_eq!(stashes.used(), 0);
    }
}
