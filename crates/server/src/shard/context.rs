//! What a connection is given to handle an event with.

use std::collections::VecDeque;
use std::time::Instant;

use sitar_http::h2;
use sitar_io::{Engine, Key, Ring};
use sitar_site::Site;

use crate::TlsOffload;
use crate::content::cache::Cache;
use crate::limits::Limits;
use crate::tcp::Content;
use crate::tcp::Turn;
use crate::tcp::transport::input::{Overfull, Stashes};

/// Send buffers of a shard that may wait for the next system call. Each more saves calls (1 MiB over TLS takes 9 of them with 4, 5
/// with 8), is memory that a shard touches, and falls out of the processor's cache in the end.
const FEW: usize = 4;

/// What a connection may use of its shard while it handles an event.
pub(crate) struct Context<'s, E: Engine> {
    pub(crate) key: Key,
    pub(crate) now: Instant,
    pub(crate) date: &'s [u8; 29],
    pub(crate) stopping: bool,
    pub(crate) limits: &'s Limits,
    pub(crate) offload: TlsOffload,
    pub(crate) site: &'s Site,
    pub(crate) ring: &'s mut Ring<E>,
    pub(crate) cache: &'s mut Cache,
    pub(crate) stashes: &'s mut Stashes,
    /// What connections of HTTP/2 use in turn.
    pub(crate) h2: &'s mut h2::SharedBuffers<Content>,
    /// Handshake output on its way into a send buffer; empty between events.
    pub(crate) flight: &'s mut Vec<u8>,
    /// Connections that wait for a send buffer.
    pub(crate) starved: &'s mut VecDeque<Key>,
    /// Connections that wait for their turn to negotiate.
    pub(crate) queue: &'s mut VecDeque<Key>,
    pub(crate) turn: Turn,
    /// Steps of handshakes that have been done in this wake-up.
    pub(crate) handshake_steps: &'s mut usize,
    pub(crate) counts: &'s mut crate::Counts,
}

impl<E: Engine> Context<'_, E> {
    /// Starts what has been queued, if more than a [`FEW`] send buffers are in use: what the kernel copies at once need not wait in
    /// them for the end of the turn. Otherwise the next wait starts it, which saves a call.
    pub(crate) fn spare_buffers(&mut self) -> Result<(), Gone> {
        let used = (self.limits.ring().tx_count as usize).saturating_sub(self.ring.tx_free());
        if used > FEW { self.ring.submit().map_err(|_| Gone) } else { Ok(()) }
    }
}

/// The connection is over: close its descriptor.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<Overfull> for Gone {
    fn from(_: Overfull) -> Gone {
        Gone
    }
}
