//! Connections that another process has accepted: the way from the thread that receives them to a
//! shard.
//!
//! Each shard takes a few at a time. When all have what they may take, the thread has to wait, and
//! so has the process that passes them: nothing queues up here.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::content::inbox::{Inbox, Message};
use crate::peer::Peer;
use crate::snapshot::Listener;

/// A connection that another process has accepted.
#[derive(Debug)]
pub struct Passed {
    /// A connected stream socket that blocks.
    pub socket: OwnedFd,
    /// The bytes that were received on it already, at most [`Passed::FIRST_MAX`].
    pub first: Box<[u8]>,
    /// The peer.
    pub peer: Peer,
    /// The listener that it came by, which says what is spoken.
    pub listener: Listener,
}

impl Passed {
    /// Bytes that may have been received already: several times those of a ClientHello.
    pub const FIRST_MAX: usize = 16 << 10;
}

/// Hands connections to the shards of a worker. Shards that drain or stop go on for as long as
/// there is one.
#[derive(Debug)]
pub struct Passing(Arc<Shards>);

/// The shards, as far as connections are passed to them.
pub(crate) struct Shards {
    inboxes: Vec<Inbox>,
    waiting: Vec<Arc<AtomicUsize>>,
    /// The one that is asked first.
    next: AtomicUsize,
    /// How many [`Passing`]s there are.
    open: AtomicUsize,
    /// Whether a shard has taken one since the last wait.
    has_room: Arc<(Mutex<bool>, Condvar)>,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").finish_non_exhaustive()
    }
}

/// A connection on its way to a shard, and the place that it takes there meanwhile.
pub(crate) struct Handed {
    pub(crate) passed: Passed,
    pub(crate) place: Place,
}

/// One of the few places that a shard has for connections that are passed. Dropping it makes room.
pub(crate) struct Place {
    waiting: Arc<AtomicUsize>,
    has_room: Arc<(Mutex<bool>, Condvar)>,
}

impl Shards {
    pub(crate) fn new(inboxes: Vec<Inbox>) -> Arc<Shards> {
        let waiting = inboxes.iter().map(|_| Arc::default()).collect();
        let (next, open) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Shards { inboxes, waiting, next, open, has_room: Arc::default() })
    }

    /// Whether connections may still come to shard number `shard`, or are on their way to its
    /// table.
    pub(crate) fn expect(&self, shard: usize) -> bool {
        // In this order: what is handed over is counted before the last handle is dropped.
        let are_open = self.open.load(Ordering::SeqCst) > 0;
        are_open || self.waiting.get(shard).is_some_and(|waiting| waiting.load(Ordering::SeqCst) > 0)
    }
}

impl Passing {
    /// Connections that a shard has been given and that are not in its table yet.
    pub const WAITING_MAX: usize = 16;

    pub(crate) fn new(shards: &Arc<Shards>) -> Passing {
        shards.open.fetch_add(1, Ordering::SeqCst);
        Passing(Arc::clone(shards))
    }

    /// Hands a connection to the next shard that takes one.
    ///
    /// # Errors
    /// None does now: the connection.
    pub fn pass(&self, passed: Passed) -> Result<(), Passed> {
        let Shards { inboxes, waiting, next, has_room, .. } = &*self.0;
        let first = next.fetch_add(1, Ordering::Relaxed);
        for index in (0..inboxes.len()).map(|nth| first.wrapping_add(nth) % inboxes.len()) {
            let (Some(inbox), Some(waiting)) = (inboxes.get(index), waiting.get(index)) else { break };
            // Never more than there are, or a place that is given back meanwhile would tell no one.
            let more = |count: usize| (count < Passing::WAITING_MAX).then_some(count + 1);
            if waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok() {
                let place = Place { waiting: Arc::clone(waiting), has_room: Arc::clone(has_room) };
                inbox.post(Message::Passed(Box::new(Handed { passed, place })));
                return Ok(());
            }
        }
        Err(passed)
    }

    /// Waits until a shard has taken a connection, for `limit` at most.
    pub fn wait(&self, limit: Duration) {
        let (has_room, changed) = &*self.0.has_room;
        let mut has_room = has_room.lock().unwrap_or_else(PoisonError::into_inner);
        if !*has_room {
            has_room = changed.wait_timeout(has_room, limit).unwrap_or_else(PoisonError::into_inner).0;
        }
        *has_room = false;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        // A shard may have nothing else to wait for.
        self.0.inboxes.iter().for_each(Inbox::wake);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only then one may wait for it.
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == Passing::WAITING_MAX {
            let (has_room, changed) = &*self.has_room;
            *has_room.lock().unwrap_or_else(PoisonError::into_inner) = true;
            changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Role;

    fn passed() -> Passed {
        Passed {
            socket: std::fs::File::open("/dev/null").unwrap().into(),
            first: Box::default(),
            peer: Peer::Unix,
            listener: Listener::passed(Role::Http, Vec::new()),
        }
    }

    #[test]
    fn each_shard_takes_a_few_and_then_none_before_it_has_served_one() {
        let inboxes = vec![Inbox::default(), Inbox::default()];
        let shards = Shards::new(inboxes.clone());
        let passing = Passing::new(&shards);
        for _ in 0..2 * Passing::WAITING_MAX {
            assert!(passing.pass(passed()).is_ok());
        }
        assert!(passing.pass(passed()).is_err() && passing.pass(passed()).is_err());
        let mut taken: Vec<_> = inboxes.iter().map(Inbox::take).collect();
        assert!(taken.iter().all(|messages| messages.len() == Passing::WAITING_MAX), "in turn");
        passing.wait(Duration::ZERO);
        assert!(passing.pass(passed()).is_err());
        taken[1].pop();
        passing.wait(Duration::from_secs(60));
        assert!(passing.pass(passed()).is_ok());
        assert!(passing.pass(passed()).is_err());
        drop(passing);
        assert!(shards.expect(0) && shards.expect(1), "what was handed over");
        drop(taken);
        assert!(!shards.expect(0) && shards.expect(1), "one that has not been looked at");
        inboxes[1].take();
        assert!(!shards.expect(1));
    }
}
