//! Handshakes wait for their turn, so that they do not starve connections that are open.

use std::collections::VecDeque;

use sitar_io::Key;

/// Steps of handshakes in one wake-up. One with an RSA key of 2048 bits takes about a millisecond,
/// with ECDSA a tenth of that.
pub(crate) const HANDSHAKE_STEPS: usize = 4;

/// The kind of connection that is worked on. Handshakes come when all other connections have been
/// served, and only a few in one wake-up: a signature takes as long as dozens of answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    Handshakes,
    Others,
}

/// The handshakes of a shard.
pub(crate) struct Handshakes {
    /// Connections that wait for their turn to negotiate.
    pub(crate) queue: VecDeque<Key>,
    pub(crate) turn: Turn,
    /// Steps that have been done in this wake-up.
    pub(crate) steps: usize,
    /// Output of a handshake on its way into a send buffer; empty between events.
    pub(crate) flight: Vec<u8>,
}

impl Handshakes {
    pub(crate) fn new(connections: usize) -> Handshakes {
        let queue = VecDeque::with_capacity(connections);
        Handshakes { queue, turn: Turn::Others, steps: 0, flight: Vec::new() }
    }
}
