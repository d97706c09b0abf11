//! What a connection holds, and whether it can be spared: for a shard that runs short of something.

use std::time::Instant;

use super::{Connection, Protocol};
use crate::close::{Close, Timeout};
use crate::limits::Limits;
use crate::shard::quota::Quota;

/// The rank of a connection among those that may be given up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rank {
    /// It waits for a request, and has nothing to lose.
    Idle,
    /// It waits for the rest of a handshake or of a request.
    Unfinished,
    /// It waits for its peer to take something.
    Stalled,
}

impl Connection {
    /// Since when a send that holds a send buffer has been on its way, if one is: for choosing
    /// which connection to close when these run out.
    pub(crate) fn sending_since(&self) -> Option<Instant> {
        self.io.sending_since()
    }

    /// Returns since when it has waited for the peer, if it may be given up for a newcomer.
    pub(crate) fn waits_since(&self, limits: &Limits) -> Option<(Rank, Instant)> {
        if let Some(since) = self.io.sends_since() {
            return Some((Rank::Stalled, since));
        }
        if !self.io.is_receiving() || self.io.is_ending() {
            return None;
        }
        let (rank, limit) = match self.io.timeout() {
            Timeout::Idle => (Rank::Idle, limits.idle),
            Timeout::Handshake => (Rank::Unfinished, limits.handshake),
            Timeout::Request => (Rank::Unfinished, limits.head),
            Timeout::Streams => (Rank::Stalled, limits.send),
            Timeout::Buffer | Timeout::Send | Timeout::PeerClose => return None,
        };
        let since = self.io.wait_deadline().checked_sub(limit)?;
        // A handshake that had to wait for its turn has only then been answered.
        Some((rank, if self.io.is_handshaking() { since.max(self.io.last_send()) } else { since }))
    }

    /// Bytes charged: for choosing which connection to close when there is no room for more.
    pub(crate) fn charged(&self) -> usize {
        self.io.charged() + self.charge.bytes()
    }

    /// Brings the charge up to date, after an event.
    #[inline]
    pub(crate) fn settle_charge(&mut self, quota: &mut Quota) -> Result<(), Close> {
        let bytes = match &mut self.protocol {
            Protocol::Http2(http2) => http2.memory(),
            Protocol::Undecided | Protocol::Http1(_) => self.io.handshake_memory(),
        };
        Ok(quota.set(&mut self.charge, bytes)?)
    }
}
