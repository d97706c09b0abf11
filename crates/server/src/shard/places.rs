//! Places in the table of connections: who has to go when there is none for a newcomer.
//!
//! While less than half of the table is taken, no connection has to go, and an address may have as
//! many as it likes: many people may sit behind one. Above that a sixteenth is each address's
//! share. An address that holds more gives up a connection for each newcomer, of whatever address,
//! and its own newcomers go where it has none to give up. A full table gives up the connection that
//! has been idle for longest.
//!
//! That is decided when the newcomer's address is known, a moment after it was accepted. Until then
//! it is one of a few beyond the table ([`Limits::closing`](crate::Limits::closing)), so that no
//! connection goes for a newcomer which has to go itself.
//!
//! Where no connection is idle, those go that wait for their peers for longest ([`Rank`]).

use std::time::{Duration, Instant};

use sitar_io::{Engine, Errno, Key};

use super::Shard;
use super::addresses::Address;
use crate::close::Close;
use crate::peer::Peer;
use crate::tcp::Rank;

/// A handshake or a request that is not complete may be given up after this long: more than two
/// round trips to anywhere on earth.
const UNFINISHED_AFTER: Duration = Duration::from_secs(1);
/// So may a peer that has taken nothing for this long. TCP sends again six times in it.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Connections that are given up at a time, at most: one walk over the table finds them all.
const BATCH_MAX: usize = 64;
/// When no connection of an address could be given up: how soon to look again.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

impl<E: Engine> Shard<E> {
    /// It is known who the peer of a newcomer is, or the kernel cannot tell: now it is known whose
    /// place it takes.
    pub(super) fn on_peer(&mut self, key: Key, peer: Result<Peer, Errno>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.address != Address::ASKED {
            return;
        }
        // The clients of a proxy have shares, once it has said who they are.
        let counted = peer.ok().filter(|peer| !connection.expects_header_of(*peer));
        let address = counted.map_or(Address::UNCOUNTED, Address::of);
        connection.address = address;
        self.addresses.add(address);
        if !self.has_place(key, address) {
            self.cx.shared.numbers.counts().refused.add(1);
            return self.remove(key, Close::Shed);
        }
        self.with(key, |connection, cx| connection.on_peer(cx, peer));
    }

    /// A proxy has named its client, whose share the connection is a part of from here on.
    pub(super) fn on_client(&mut self, key: Key, client: Peer) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let address = Address::of(client);
        self.addresses.remove(connection.address);
        connection.address = address;
        self.addresses.ask();
        self.addresses.add(address);
        // It has its place already.
        let len = self.connections.len() - self.addresses.asked();
        let is_half_full = len > self.cx.shared.limits.connections as usize / 2;
        if is_half_full && self.addresses.excess(address) > 0 && !self.give_up_of(address, key) {
            self.cx.shared.numbers.counts().refused.add(1);
            return self.remove(key, Close::Shed);
        }
        self.with(key, |connection, cx| connection.on_client(cx, client));
    }

    /// Whether there is a place for a newcomer: one that is free, or one that another connection
    /// gives up for it.
    fn has_place(&mut self, key: Key, address: Address) -> bool {
        let places = self.cx.shared.limits.connections as usize;
        let len = self.connections.len() - self.addresses.asked();
        if len <= places / 2 {
            return true;
        }
        if self.addresses.excess(address) > 0 {
            return self.give_up_of(address, key);
        }
        if let Some(largest) = self.addresses.largest()
            && self.give_up_of(largest, key)
        {
            return true;
        }
        if len <= places {
            return true;
        }
        // While accepting pauses there was none to give up a moment ago.
        if self.acceptors.pause_until().is_none() {
            if self.give_up(None, key, (places / BATCH_MAX).clamp(1, BATCH_MAX)) {
                return true;
            }
            self.acceptors.pause(self.cx.shared.now);
        }
        false
    }

    /// Closes some connections of an address that has more than its share, unless there was none
    /// to close a moment ago. Returns whether there was one.
    fn give_up_of(&mut self, address: Address, newcomer: Key) -> bool {
        let now = self.cx.shared.now;
        if !self.addresses.is_worth_a_look(address, now) {
            return false;
        }
        // Some in advance, or each newcomer of an address at its share would have the whole table
        // walked for one place.
        let batch = (self.addresses.excess(address) / 8 + self.addresses.in_advance()) as usize;
        let is_found = self.give_up(Some(address), newcomer, batch.clamp(1, BATCH_MAX));
        self.addresses.set_quiet(address, (!is_found).then_some(now + LOOK_PAUSE));
        is_found
    }

    /// Closes up to `count` connections, of `address` if one is given, but not `newcomer`: the
    /// longest idle first. Returns whether there was one.
    fn give_up(&mut self, address: Option<Address>, newcomer: Key, count: usize) -> bool {
        let (now, limits) = (self.cx.shared.now, &self.cx.shared.limits);
        let candidates = self.connections.iter().filter(|(key, connection)| match address {
            Some(address) => *key != newcomer && connection.address == address,
            // Other newcomers have no place yet.
            None => *key != newcomer && connection.address != Address::ASKED,
        });
        let mut waiting: Vec<(Rank, Instant, u64)> = candidates
            .filter_map(|(key, connection)| {
                let (rank, since) = connection.waits_since(limits)?;
                let least = match rank {
                    Rank::Idle => Duration::ZERO,
                    Rank::Unfinished => UNFINISHED_AFTER,
                    Rank::Stalled => STALLED_AFTER,
                };
                let is_due = now.saturating_duration_since(since) >= least;
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
