//! Connections that another process has accepted, from the inbox to the ring's table.

use std::collections::VecDeque;
use std::sync::Arc;

use sitar_io::{Engine, Key, Ring};

use crate::passed::{Handed, Passed, Place, Shards};
use crate::peer::Peer;
use crate::snapshot::Listener;

/// Connections that are not in the shard's table yet. There are a few at most: the thread that
/// passes them waits for a place first.
pub(super) struct Arrivals {
    waiting: VecDeque<Handed>,
    /// Those whose descriptors the ring takes over, by their keys there: their places here.
    adopted: Vec<Option<Arrival>>,
    shards: Arc<Shards>,
    /// The number of the shard.
    shard: usize,
}

/// What is known of a connection beside its descriptor.
pub(super) struct Arrival {
    pub(super) first: Box<[u8]>,
    pub(super) peer: Peer,
    pub(super) listener: Listener,
    /// Given back when the connection is in the table.
    _place: Place,
}

impl Arrivals {
    /// Those of shard number `shard`.
    pub(super) fn new(shards: Arc<Shards>, shard: usize) -> Arrivals {
        Arrivals { waiting: VecDeque::new(), adopted: Vec::new(), shards, shard }
    }

    pub(super) fn add(&mut self, handed: Handed) {
        self.waiting.push_back(handed);
    }

    /// Whether none waits for a descriptor of the ring.
    pub(super) fn are_none(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there are some, in the inbox as well, or may still be.
    pub(super) fn are_expected(&self) -> bool {
        self.shards.expect(self.shard)
    }

    /// How many the ring takes over.
    fn under_way(&self) -> usize {
        self.adopted.iter().flatten().count()
    }

    /// Has the ring take connections over while it has fewer than `most`. Returns `false` when the
    /// ring cannot now.
    pub(super) fn adopt<E: Engine>(&mut self, ring: &mut Ring<E>, most: usize) -> bool {
        while ring.connections() + self.under_way() < most
            && let Some(Handed { passed, place }) = self.waiting.pop_front()
        {
            let Passed { socket, first, peer, listener } = passed;
            let at = self.adopted.iter().position(Option::is_none).unwrap_or(self.adopted.len());
            match ring.adopt(socket, Key(at as u64)) {
                Ok(_) => {
                    let arrival = Some(Arrival { first, peer, listener, _place: place });
                    match self.adopted.get_mut(at) {
                        Some(free) => *free = arrival,
                        None => self.adopted.push(arrival),
                    }
                }
                Err(busy) => {
                    let passed = Passed { socket: busy.0, first, peer, listener };
                    self.waiting.push_front(Handed { passed, place });
                    return false;
                }
            }
        }
        true
    }

    /// Takes what is known of a connection that the ring has taken over, or has not.
    pub(super) fn take(&mut self, key: Key) -> Option<Arrival> {
        self.adopted.get_mut(usize::try_from(key.0).ok()?)?.take()
    }
}
