//! The parts of a shard that it lends to its connections.

use std::collections::VecDeque;
use std::time::Instant;

use sitar_http::h2::SharedBuffers;
use sitar_io::{Engine, Key, Ring};

use super::files::SpareFiles;
use super::handshakes::Handshakes;
use super::quota::Quota;
use crate::TlsOffload;
use crate::access::gate::Asker;
use crate::close::Close;
use crate::content::lookup::Served;
use crate::content::stream::StreamContent;
use crate::limits::Limits;
use crate::log::Recorder;
use crate::numbers::Numbers;
use crate::peer::Peer;
use crate::stop::Stage;

/// Send buffers of a shard that may wait for the next system call. More of them save calls (1 MiB
/// over TLS takes 9 with 4, 5 with 8), but are memory that a shard touches, and fall out of the
/// processor's cache in the end.
const WAITING_MAX: usize = 4;

/// The parts of its shard that a connection uses while it handles an event.
pub(crate) struct Context<E: Engine> {
    /// The part for the protocols alone: what requests are answered from.
    pub(crate) served: Served,
    /// The files that connections of HTTP/2 are sent from.
    pub(crate) files: SpareFiles,
    /// The part for the transport as well.
    pub(crate) shared: Shared<E>,
}

/// The ring, the clock and the memory that all connections of a shard share.
pub(crate) struct Shared<E: Engine> {
    /// The connection whose event is being handled.
    pub(crate) key: Key,
    pub(crate) now: Instant,
    /// The value of the Date field.
    pub(crate) date: [u8; 29],
    /// The stage of the worker's life, as this shard has taken it up.
    pub(crate) stage: Stage,
    pub(crate) limits: Limits,
    pub(crate) offload: TlsOffload,
    pub(crate) ring: Ring<E>,
    /// The account of what peers make the shard hold.
    pub(crate) quota: Quota,
    /// Buffers that connections of HTTP/2 use in turn.
    pub(crate) h2: SharedBuffers<StreamContent>,
    /// Connections that wait for a send buffer.
    pub(crate) starved: VecDeque<Key>,
    pub(crate) handshakes: Handshakes,
    pub(crate) numbers: Numbers,
    pub(crate) log: Recorder,
    /// The address of the client that a proxy's header has just named.
    pub(crate) client: Option<Peer>,
}

impl<E: Engine> Shared<E> {
    /// The connection whose event is handled, with a request that is looked up for the first time
    /// or again.
    #[inline]
    pub(crate) fn asker(&self, is_new: bool) -> Asker {
        Asker { key: self.key, now: self.now, is_new }
    }

    /// Whether no connection goes on after its next answer.
    pub(crate) fn is_leaving(&self) -> bool {
        self.stage != Stage::Serving
    }

    /// Whether what waits for a request ends.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stage >= Stage::Stopping
    }

    /// Starts what has been queued, if more than [`WAITING_MAX`] send buffers are in use: what the
    /// kernel copies at once need not wait in them for the end of the turn. Otherwise the next wait
    /// starts it, which saves a call.
    pub(crate) fn submit_early(&mut self) -> Result<(), Close> {
        let used = (self.limits.ring().tx_count as usize).saturating_sub(self.ring.tx_free());
        if used <= WAITING_MAX {
            return Ok(());
        }
        self.ring.submit().map_err(|_| Close::Ours("the ring cannot be entered"))
    }
}
