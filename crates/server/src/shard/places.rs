//! Places in the table of connections: who has to go when there is none for a newcomer.
//!
//! While less than half of the table is taken, no connection has to go, and an address may have as
//! many as it likes: many people may sit behind one. Above that a sixteenth is each address's
//! share. An address that holds more gives up a connection for each newcomer, of whatever address,
//! and one that holds its share already takes the place of another of its own. A full table gives
//! up the connection that has been idle for longest.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sitar_io::{Engine, Errno, Key};

use super::Shard;
use super::addresses::Address;
use crate::close::Close;

/// A handshake or a request that is not complete may be given up after this long: more than two
/// round trips to anywhere on earth.
const UNFINISHED_AFTER: Duration = Duration::from_secs(1);
/// Connections that are given up at a time, at most: one walk over the table finds them all.
const BATCH_MAX: usize = 64;
/// When no connection of an address could be given up: how soon to look again.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The rank of a connection among those that may be given up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rank {
    /// It waits for a request, and has nothing to lose.
    Idle,
    /// It waits for the rest of a handshake or of a request.
    Unfinished,
}

impl<E: Engine> Shard<E> {
    /// Makes a place for a newcomer, if there is none. Returns whether there is one.
    pub(super) fn make_place(&mut self) -> bool {
        let connections = self.cx.shared.limits.connections as usize;
        if self.connections.len() < connections {
            return true;
        }
        let batch = (connections / BATCH_MAX).clamp(1, BATCH_MAX);
        if let Some(over) = self.addresses.largest()
            && self.give_up_of(over, None, batch)
        {
            return true;
        }
        self.give_up(None, None, batch)
    }

    /// The kernel has said who the peer of a connection is.
    pub(super) fn on_peer(&mut self, key: Key, peer: Result<SocketAddr, Errno>) {
        let (Some(connection), Ok(peer)) = (self.connections.get_mut(key), peer) else { return };
        let address = Address::of(peer);
        connection.address = address;
        self.addresses.add(address);
        self.limit_share(key, address);
    }

    /// Above half full: has the address that holds more than its share give up connections for this
    /// newcomer, or the newcomer go.
    fn limit_share(&mut self, key: Key, address: Address) {
        if self.connections.len() <= self.cx.shared.limits.connections as usize / 2 {
            return;
        }
        let is_own = self.addresses.excess(address) > 0;
        let Some(over) = (if is_own { Some(address) } else { self.addresses.largest() }) else { return };
        let batch = (self.addresses.excess(over) as usize / 8).clamp(1, BATCH_MAX);
        if !self.give_up_of(over, Some(key), batch) && is_own {
            self.cx.shared.counts.refused += 1;
            self.remove(key, Close::Shed);
        }
    }

    /// Closes up to `count` connections of an address, unless there was none a moment ago. Returns
    /// whether there was one.
    fn give_up_of(&mut self, address: Address, newcomer: Option<Key>, count: usize) -> bool {
        let now = self.cx.shared.now;
        if !self.addresses.is_worth_a_look(address, now) {
            return false;
        }
        let is_found = self.give_up(Some(address), newcomer, count);
        self.addresses.set_quiet(address, (!is_found).then_some(now + LOOK_PAUSE));
        is_found
    }

    /// Closes up to `count` connections, of `address` if one is given, but not `newcomer`: the
    /// longest idle first. Returns whether there was one.
    fn give_up(&mut self, address: Option<Address>, newcomer: Option<Key>, count: usize) -> bool {
        let (now, limits) = (self.cx.shared.now, &self.cx.shared.limits);
        let candidates = self.connections.iter().filter(|(key, connection)| {
            Some(*key) != newcomer && address.is_none_or(|address| connection.address == address)
        });
        let mut waiting: Vec<(Rank, Instant, u64)> = candidates
            .filter_map(|(key, connection)| {
                let (rank, since) = connection.waits_since(limits)?;
                let is_due = rank == Rank::Idle || now.saturating_duration_since(since) >= UNFINISHED_AFTER;
                is_due.then_some((rank, since, key.0))
            })
            .collect();
        if waiting.len() > count {
            waiting.select_nth_unstable(count);
            waiting.truncate(count);
        }
        for (_, _, key) in &waiting {
            self.shed(Key(*key));
        }
        !waiting.is_empty()
    }
}
