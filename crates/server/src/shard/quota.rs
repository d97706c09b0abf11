//! One account of the memory that peers make a shard hold.
//!
//! What a peer can make grow is charged here, whatever it is: input that waits, the state of a
//! handshake, streams of HTTP/2, heads that are not read, requests that wait for a file. After
//! each event the connection's charge is brought up to date, and when little is left, connections
//! are closed ([`excess`](Quota::excess)). So a shard holds no more than the limit, whatever its
//! peers are up to. What a connection takes all the same, and send buffers, which have a number of
//! their own, are beside it.

use crate::close::{Close, PeerReason};

/// One shard's account, in bytes.
#[derive(Debug)]
pub(crate) struct Quota {
    used: usize,
    limit: usize,
    each: usize,
    /// Emptied rooms for input, kept for reuse.
    pub(crate) kept: Vec<Vec<u8>>,
}

/// Rooms for input that are kept.
pub(crate) const KEPT: usize = 64;

/// The bytes that one holder is charged. Small, because each connection has some: less than 4 GiB,
/// as what is held for one connection is.
#[derive(Debug, Default)]
pub(crate) struct Charge(u32);

/// No more can be held for this connection; it has to go.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Overfull;

impl From<Overfull> for Close {
    fn from(_: Overfull) -> Close {
        Close::Peer(PeerReason::TooMuch)
    }
}

impl Quota {
    /// An account of `limit` bytes, of which a charge may be `each`.
    pub(crate) fn new(limit: usize, each: usize) -> Quota {
        let each = each.min(u32::MAX as usize);
        Quota { used: 0, limit, each, kept: Vec::with_capacity(KEPT) }
    }

    /// Bytes charged.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Returns how many bytes should be given up by closing connections, if little is left.
    #[inline]
    pub(crate) fn excess(&self) -> Option<usize> {
        (self.used > self.limit / 8 * 7).then(|| self.used - self.limit / 4 * 3)
    }

    /// Makes a charge `bytes`.
    ///
    /// # Errors
    /// There is no room for more; the charge is what it was.
    #[inline]
    pub(crate) fn set(&mut self, charge: &mut Charge, bytes: usize) -> Result<(), Overfull> {
        if bytes == charge.bytes() {
            return Ok(());
        }
        self.change(charge, bytes)
    }

    fn change(&mut self, charge: &mut Charge, bytes: usize) -> Result<(), Overfull> {
        let used = self.used - charge.bytes() + bytes;
        if bytes > charge.bytes() && (bytes > self.each || used > self.limit) {
            return Err(Overfull);
        }
        // No more than `each`, or than it was.
        (self.used, charge.0) = (used, bytes as u32);
        Ok(())
    }

    /// Ends a charge.
    pub(crate) fn clear(&mut self, charge: &mut Charge) {
        self.used -= std::mem::take(charge).bytes();
    }
}

impl Charge {
    /// Bytes charged.
    pub(crate) fn bytes(&self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_what_is_given_back_is_there_again() {
        let mut quota = Quota::new(1000, 600);
        let (mut a, mut b) = (Charge::default(), Charge::default());
        assert_eq!(quota.set(&mut a, 601), Err(Overfull), "its own");
        quota.set(&mut a, 600).unwrap();
        assert_eq!(quota.set(&mut b, 401), Err(Overfull), "all of the shard's");
        assert_eq!((b.bytes(), quota.used(), quota.excess()), (0, 600, None));
        quota.set(&mut b, 275).unwrap();
        assert_eq!(quota.excess(), None);
        quota.set(&mut b, 400).unwrap();
        assert_eq!(quota.excess(), Some(250));
        quota.set(&mut a, 10).unwrap();
        assert_eq!((quota.used(), quota.excess()), (410, None));
        quota.clear(&mut a);
        quota.clear(&mut a);
        quota.clear(&mut b);
        assert_eq!((quota.used(), a.bytes(), b.bytes()), (0, 0, 0));
    }
}
