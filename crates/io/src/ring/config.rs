//! Sizes of a ring.

use std::io;

use crate::arena::Layout;
use crate::table::CAPACITY_MAX;

/// Sizes of a ring, fixed when it is made. Nothing grows afterwards. Every engine refuses the same
/// ones.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Connections at most: the size of the file table, 1 to 1,048,576.
    pub connections: u32,
    /// Receive slots: a power of two, at most 32,768.
    pub rx_count: u16,
    /// Bytes of a receive slot, at least one.
    pub rx_len: u32,
    /// Send slots. All slots together must fit into the address space.
    pub tx_count: u32,
    /// Bytes of a send slot, at least one.
    pub tx_len: u32,
}

/// io_uring's own limit on its file table (IORING_MAX_FIXED_FILES).
const CONNECTIONS_MAX: u32 = 1 << 20;
/// Operations in flight for one connection: its receive, a question about room, and one of send,
/// read, shutdown, peer, socket option, question about what is unsent, and close.
const OPS_PER_CONNECTION: u32 = 3;
/// Operations beyond that: accepts, cancels, the waker, and [`OPS_RESERVED`] that are not for the
/// program. Past them the answer is `Busy`, and closes are put off.
const OPS_EXTRA: u32 = 1024;
/// Places of these that are kept for operations that end others (`Op::ends_others`). Nothing else
/// can make room in a table that is full of operations that wait for a peer.
pub(super) const OPS_RESERVED: usize = 16;

/// Completions taken from the engine at a time; the rest stays in its queue.
pub(super) const COMPLETIONS: usize = 4096;

impl Config {
    /// Above 349,184 connections fewer than [`OPS_PER_CONNECTION`] each: `Busy` comes earlier.
    pub(crate) fn ops(&self) -> u32 {
        self.connections.saturating_mul(OPS_PER_CONNECTION).saturating_add(OPS_EXTRA).min(CAPACITY_MAX)
    }

    /// Returns the sizes of the arena, which checks them.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a file table that no engine can have.
    pub(crate) fn layout(&self) -> io::Result<Layout> {
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            let why = "the file table must have 1 to 1,048,576 places for connections";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Layout {
            rx_count: self.rx_count,
            rx_len: self.rx_len,
            tx_count: self.tx_count,
            tx_len: self.tx_len,
        })
    }
}
