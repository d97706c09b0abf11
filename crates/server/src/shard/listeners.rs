//! Listening sockets, and when connections are accepted from them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitar_io::{Engine, Key, OpId, Ring};

use super::Shard;
use crate::snapshot::Listener;

/// After an error, or where there is no place, accepting pauses for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first key of a listener: none that a slab gives out (it has fewer than 2³² − 1 places).
pub(crate) const FIRST_KEY: u64 = 0xffff_ff00;
/// Keys there are: listeners that a shard may have at a time, those included that are being closed.
const LISTENERS_MAX: usize = 255;

/// How often a listener that is being closed looks for connections once accepting has been
/// cancelled.
///
/// The kernel wakes one of those that accept from a socket. An accept that is woken and cancelled
/// takes nothing, and the connection would wait until another one comes, though another process
/// accepts from the same socket. The second look is for what comes in the course of the first.
const LAST_LOOKS: u8 = 2;

/// A listening socket and whether connections are being accepted from it.
struct Acceptor {
    listener: Listener,
    socket: sitar_io::Listener,
    accepting: Option<OpId>,
    /// It is closed as soon as nothing is being accepted.
    is_closing: bool,
    /// How often it has looked since then.
    looks: u8,
}

/// The listening sockets of a shard.
pub(super) struct Acceptors {
    /// By their keys; `None`: closed for good.
    list: Vec<Option<Acceptor>>,
    /// The number of the shard.
    shard: usize,
    /// Listeners that are to be served, as far as one of them is not open yet.
    unopened: Option<Arc<[Listener]>>,
    /// The time to accept again, after an error.
    pause_until: Option<Instant>,
}

impl Acceptors {
    /// Opens the listeners of shard number `shard`.
    ///
    /// # Errors
    /// Their sockets cannot be duplicated.
    pub(super) fn new<E: Engine>(
        ring: &mut Ring<E>,
        listeners: &[Listener],
        shard: usize,
    ) -> io::Result<Acceptors> {
        let mut acceptors = Acceptors { list: Vec::new(), shard, unopened: None, pause_until: None };
        acceptors.open(ring, listeners)?;
        Ok(acceptors)
    }

    /// Opens those of `listeners` that are not open.
    fn open<E: Engine>(&mut self, ring: &mut Ring<E>, listeners: &[Listener]) -> io::Result<()> {
        for listener in listeners {
            let is_same = |acceptor: &Acceptor| acceptor.listener.is(listener) && !acceptor.is_closing;
            if self.list.iter().flatten().any(is_same) {
                continue;
            }
            let Some(socket) = listener.socket(self.shard)? else { continue };
            let place = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
            if place >= LISTENERS_MAX {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            if place == self.list.len() {
                self.list.push(None);
            }
            let socket = ring.listener(socket, Key(FIRST_KEY + place as u64));
            let listener = listener.clone();
            self.list[place] =
                Some(Acceptor { listener, socket, accepting: None, is_closing: false, looks: 0 });
        }
        Ok(())
    }

    /// Serves on these listeners from now on, and on no other. One that cannot be opened now is
    /// opened later.
    pub(super) fn replace<E: Engine>(
        &mut self,
        ring: &mut Ring<E>,
        listeners: &Arc<[Listener]>,
        now: Instant,
    ) {
        if self.open(ring, listeners).is_err() {
            self.unopened = Some(Arc::clone(listeners));
            self.pause(now);
        } else {
            self.unopened = None;
        }
        // After the others: those of the same address go on without a gap.
        self.close_all_but(ring, listeners);
    }

    fn close_all_but<E: Engine>(&mut self, ring: &mut Ring<E>, listeners: &[Listener]) {
        for place in &mut self.list {
            let Some(acceptor) = place else { continue };
            if acceptor.is_closing || listeners.iter().any(|listener| listener.is(&acceptor.listener)) {
                continue;
            }
            match acceptor.accepting {
                Some(op) => {
                    acceptor.is_closing = true;
                    ring.cancel(op);
                }
                None => *place = None,
            }
        }
    }

    /// Returns the listener with that key, and whether it is a Unix socket.
    pub(super) fn get(&self, key: Key) -> Option<(&Listener, bool)> {
        let acceptor = self.list.get(place_of(key))?.as_ref()?;
        Some((&acceptor.listener, acceptor.socket.is_unix()))
    }

    /// The time to accept again, after an error.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        self.pause_until
    }

    /// Accepts nothing for a while: there is no place, and no connection to give up for one.
    pub(super) fn pause(&mut self, now: Instant) {
        self.pause_until = Some(now + ACCEPT_PAUSE);
    }

    /// Whether one of them is about to be closed, and may still accept.
    pub(super) fn are_closing(&self) -> bool {
        self.list.iter().flatten().any(|acceptor| acceptor.is_closing)
    }

    /// Whether one of them is not closed for good.
    pub(super) fn are_open(&self) -> bool {
        self.list.iter().any(Option::is_some)
    }

    /// Closes all of them; those that accept, when that has ended.
    pub(super) fn shut<E: Engine>(&mut self, ring: &mut Ring<E>) {
        self.unopened = None;
        self.close_all_but(ring, &[]);
    }

    /// Accepting has ended on the listener with that key. Returns whether it is now closed for
    /// good.
    pub(super) fn on_ended<E: Engine>(
        &mut self,
        ring: &mut Ring<E>,
        key: Key,
        failed: bool,
        now: Instant,
    ) -> bool {
        let Some(place) = self.list.get_mut(place_of(key)) else { return false };
        let Some(acceptor) = place else { return false };
        acceptor.accepting = None;
        let is_closing = acceptor.is_closing;
        if is_closing {
            if acceptor.looks < LAST_LOOKS
                && let Ok(op) = ring.accept(&acceptor.socket)
            {
                acceptor.looks += 1;
                acceptor.accepting = Some(op);
                // It takes what waits, and then nothing more.
                ring.cancel(op);
                return false;
            }
            *place = None;
        } else if failed {
            self.pause(now);
        }
        is_closing
    }
}

fn place_of(key: Key) -> usize {
    key.0.saturating_sub(FIRST_KEY) as usize
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
        if open && let Some(listeners) = acceptors.unopened.take() {
            acceptors.replace(&mut shared.ring, &listeners, shared.now);
        }
        let mut is_refused = false;
        for acceptor in acceptors.list.iter_mut().flatten().filter(|acceptor| !acceptor.is_closing) {
            match acceptor.accepting {
                None if open => {
                    acceptor.accepting = shared.ring.accept(&acceptor.socket).ok();
                    is_refused |= acceptor.accepting.is_none();
                }
                Some(op) if !room => shared.ring.cancel(op),
                _ => {}
            }
        }
        // Nothing else may come that would have it tried again.
        if is_refused {
            acceptors.pause(shared.now);
        }
    }
}
