//! Back-pressure: what a shard does when its buffers or its memory run short, and which connections
//! go on when there are some again.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use sitar_io::{Engine, Key, usdt};

use super::Shard;
use super::addresses::Address;
use super::handshakes::{HANDSHAKE_STEPS, Turn};
use super::quota::KEPT;
use crate::close::Close;
use crate::tcp::Connection;

/// A peer whose send has lasted this long may be closed to free its buffer for others.
const SHED_AFTER: Duration = Duration::from_secs(1);
/// Bytes that a connection takes besides what it is charged for, more or less.
const CONNECTION: usize = 2 << 10;
/// So few connections hold so little, in bytes, send buffers included, that no peak is measured.
const FEW: usize = 12;
const LITTLE: usize = 256 << 10;
/// After send buffers ran out: how soon to look again for connections to close.
const SHED_PAUSE: Duration = Duration::from_millis(250);

impl<E: Engine> Shard<E> {
    /// Lets some connections go on with their handshakes, in the order in which they came.
    pub(super) fn negotiate(&mut self) {
        let most = self.cx.shared.limits.ring().connections as usize;
        let handshakes = &mut self.cx.shared.handshakes;
        handshakes.turn = Turn::Handshakes;
        handshakes.steps = 0;
        // More than there are connections: some of them have gone.
        if handshakes.queue.len() > most {
            let connections = &mut self.connections;
            handshakes.queue.retain(|key| connections.get_mut(*key).is_some());
        }
        for _ in 0..handshakes.queue.len() {
            let handshakes = &mut self.cx.shared.handshakes;
            if handshakes.steps >= HANDSHAKE_STEPS {
                break;
            }
            let Some(key) = handshakes.queue.pop_front() else { break };
            self.with(key, Connection::on_turn);
        }
        self.cx.shared.handshakes.turn = Turn::Others;
    }

    /// Lets connections go on that wait for a send buffer, in the order in which they came.
    pub(super) fn resume_waiting(&mut self) {
        // More than there are connections: some of them have gone.
        if self.cx.shared.starved.len() > self.cx.shared.limits.ring().connections as usize {
            let connections = &mut self.connections;
            self.cx.shared.starved.retain(|key| connections.get_mut(*key).is_some());
        }
        for _ in 0..self.cx.shared.starved.len() {
            if self.cx.shared.ring.tx_free() <= self.cx.shared.limits.reserve() / 2 {
                return;
            }
            let Some(key) = self.cx.shared.starved.pop_front() else { return };
            self.with(key, Connection::on_buffers);
        }
    }

    /// Closes, when send buffers run out, the connections that have held theirs for longest.
    pub(super) fn shed_load(&mut self) {
        let (now, reserve) = (self.cx.shared.now, self.cx.shared.limits.reserve());
        let free = self.cx.shared.ring.tx_free();
        if free >= reserve && self.cx.shared.starved.is_empty() {
            self.shed_at = None;
            return;
        }
        if self.shed_at.is_some_and(|at| now < at) {
            return;
        }
        self.shed_at = Some(now + SHED_PAUSE);
        let mut senders: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(key, connection)| Some((connection.sending_since()?, key.0)))
            .filter(|(since, _)| now.saturating_duration_since(*since) >= SHED_AFTER)
            .collect();
        senders.sort_unstable();
        for (_, key) in senders.into_iter().take((2 * reserve).max(1).saturating_sub(free)) {
            self.shed(Key(key));
        }
    }

    /// Closes connections until `excess` bytes are free: those of the address that holds most, and
    /// of these the ones that hold most; among equals those that have waited for longest.
    #[cold]
    pub(super) fn shed_held(&mut self, mut excess: usize) {
        let mut sums: HashMap<Address, usize> = HashMap::new();
        let mut holders = Vec::new();
        for (key, connection) in self.connections.iter() {
            let (charged, address) = (connection.charged(), connection.address);
            if charged > 0 {
                *sums.entry(address).or_default() += charged;
                holders.push((address, charged, connection.deadline(), key.0));
            }
        }
        let sum = |address| sums.get(&address).copied().unwrap_or_default();
        holders.sort_by_cached_key(|&(address, charged, deadline, key)| {
            (Reverse((sum(address), address, charged)), deadline, key)
        });
        for (_, charged, _, key) in holders {
            self.shed(Key(key));
            excess = excess.saturating_sub(charged);
            if excess == 0 {
                break;
            }
        }
    }

    /// Gives memory back that connections needed at a peak which is over.
    #[inline]
    /// Notes what is asked of a shard from outside, while nothing else is to be done.
    pub(super) fn note_numbers(&mut self) {
        let shared = &mut self.cx.shared;
        shared.numbers.note(&shared.ring.stats(), shared.limits.ring().tx_count, shared.quota.used());
    }

    pub(super) fn note_peak(&mut self) {
        let is_busy = self.connections.len() > FEW || self.cx.shared.quota.used() > LITTLE;
        if is_busy || self.peak.is_high() {
            self.measure_peak();
        }
    }

    fn measure_peak(&mut self) {
        let shared = &mut self.cx.shared;
        let slots = (shared.limits.tx_buffers as usize).saturating_sub(shared.ring.tx_free());
        let needed = shared.quota.used() + slots * shared.ring.tx_len() + self.connections.len() * CONNECTION;
        if self.peak.note(shared.now, needed) {
            shared.quota.kept = Vec::with_capacity(KEPT);
            shared.h2.trim();
            shared.ring.trim();
            self.addresses.trim();
            self.cx.served.cache.trim();
        }
    }

    pub(super) fn shed(&mut self, key: Key) {
        self.cx.shared.numbers.counts().shed.add(1);
        usdt::connection_shed(key.0);
        self.remove(key, Close::Shed);
    }
}
