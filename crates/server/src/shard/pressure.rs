//! Back-pressure: what a shard does when its buffers or its memory run short, and which connections
//! go on when there are some again.

use std::cmp::Reverse;
use std::time::Duration;

use sitar_io::{Engine, Key};

use super::Shard;
use super::handshakes::{HANDSHAKE_STEPS, Turn};
use crate::close::Close;
use crate::tcp::Connection;

/// A peer whose send has lasted this long may be closed to free its buffer for others.
const SHED_AFTER: Duration = Duration::from_secs(1);
/// After send buffers ran out: how soon to look again for connections to close.
const SHED_PAUSE: Duration = Duration::from_millis(250);

impl<E: Engine> Shard<E> {
    /// Lets some connections go on with their handshakes, in the order in which they came.
    pub(super) fn negotiate(&mut self) {
        let most = self.cx.shared.limits.connections as usize;
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
        for _ in 0..self.cx.shared.starved.len() {
            if self.cx.shared.ring.tx_free() <= self.cx.shared.limits.reserve() / 2 {
                return;
            }
            let Some(key) = self.cx.shared.starved.pop_front() else { return };
            self.with(key, Connection::on_buffers);
        }
    }

    /// Closes, when memory for peers runs out, the connections that use most of it to no avail.
    pub(super) fn shed_load(&mut self) {
        self.shed_input();
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

    /// Closes, when memory for input runs out, the connections that have most put aside; among
    /// equals those that have waited for longest.
    fn shed_input(&mut self) {
        let Some(mut excess) = self.cx.shared.quota.excess() else { return };
        let holders = self.connections.iter().filter(|(_, connection)| connection.charged() > 0);
        let mut holders: Vec<_> = holders
            .map(|(key, connection)| (Reverse(connection.charged()), connection.deadline(), key.0))
            .collect();
        holders.sort_unstable();
        for (Reverse(charged), _, key) in holders {
            self.shed(Key(key));
            excess = excess.saturating_sub(charged);
            if excess == 0 {
                break;
            }
        }
    }

    fn shed(&mut self, key: Key) {
        self.cx.shared.counts.shed += 1;
        self.remove(key, Close::Shed);
    }
}
