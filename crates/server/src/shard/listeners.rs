//! Listening sockets, and when connections are accepted from them.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sitar_io::{Engine, Key, Listener, OpId, Ring};

use super::Shard;

/// After an error, or where there is no place, accepting pauses for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first key of a listener: none that a slab gives out (it has fewer than 2³² − 1 places).
pub(crate) const FIRST_KEY: u64 = 0xffff_ff00;

/// A listening socket and whether connections are being accepted from it.
struct Acceptor {
    /// `None`: closed for good, because the server stops.
    listener: Option<Listener>,
    accepting: Option<OpId>,
}

/// The listening sockets of a shard.
pub(super) struct Acceptors {
    list: Vec<Acceptor>,
    /// The time to accept again, after an error.
    pause_until: Option<Instant>,
}

impl Acceptors {
    pub(super) fn new<E: Engine>(ring: &mut Ring<E>, listeners: Vec<OwnedFd>) -> Acceptors {
        let list = (FIRST_KEY..)
            .zip(listeners)
            .map(|(key, socket)| Acceptor {
                listener: Some(ring.listener(socket, Key(key))),
                accepting: None,
            })
            .collect();
        Acceptors { list, pause_until: None }
    }

    /// The time to accept again, after an error.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        self.pause_until
    }

    /// Accepts nothing for a while: there is no place, and no connection to give up for one.
    pub(super) fn pause(&mut self, now: Instant) {
        self.pause_until = Some(now + ACCEPT_PAUSE);
    }

    /// Whether one of them is not closed for good.
    pub(super) fn are_open(&self) -> bool {
        self.list.iter().any(|acceptor| acceptor.listener.is_some())
    }

    /// Closes all of them; those that accept, when that has ended.
    pub(super) fn shut<E: Engine>(&mut self, ring: &mut Ring<E>) {
        for acceptor in &mut self.list {
            match acceptor.accepting {
                Some(op) => ring.cancel(op),
                None => acceptor.listener = None,
            }
        }
    }

    /// Accepting has ended on the listener with that key. Returns whether it is now closed for
    /// good.
    pub(super) fn on_ended(&mut self, key: Key, failed: bool, now: Instant, stopping: bool) -> bool {
        if failed {
            self.pause(now);
        }
        let Some(acceptor) = self.list.get_mut((key.0 - FIRST_KEY) as usize) else { return false };
        acceptor.accepting = None;
        if stopping {
            acceptor.listener = None;
        }
        stopping
    }
}

impl<E: Engine> Shard<E> {
    /// Accepts while there are descriptors, and places or connections to give up for them.
    /// Otherwise newcomers wait in the kernel's queue.
    pub(super) fn update_accepting(&mut self) {
        let shared = &mut self.cx.shared;
        // The rest is for those that arrive until accepting has stopped.
        let most = shared.limits.connections as usize + shared.limits.closing as usize / 2;
        let room = shared.ring.connections() < most;
        let acceptors = &mut self.acceptors;
        if acceptors.pause_until.is_some_and(|until| shared.now >= until) {
            acceptors.pause_until = None;
        }
        let room = room && acceptors.pause_until.is_none();
        let open = room && self.drain.until.is_none();
        let mut is_refused = false;
        for acceptor in &mut acceptors.list {
            match (acceptor.accepting, &acceptor.listener) {
                (None, Some(listener)) if open => {
                    acceptor.accepting = shared.ring.accept(listener).ok();
                    is_refused |= acceptor.accepting.is_none();
                }
                (Some(op), _) if !room => shared.ring.cancel(op),
                _ => {}
            }
        }
        // Nothing else may come that would have it tried again.
        if is_refused {
            acceptors.pause(shared.now);
        }
    }
}
