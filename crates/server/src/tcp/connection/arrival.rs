//! The first events of a connection: it has come, and the kernel says from whom.

use sitar_io::{Engine, Errno};

use super::Connection;
use crate::close::{Close, PeerReason};
use crate::peer::Peer;
use crate::shard::context::Context;

impl Connection {
    /// The first thing that happens: the ring starts to receive, unless it has to be known first
    /// who the peer is.
    pub(crate) fn on_accept<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if cx.served.needs_peers() {
            self.io.hold_receiving();
            return Ok(());
        }
        self.io.begin_receiving(&mut cx.shared)
    }

    /// The kernel has said who the peer is, or why it cannot tell.
    pub(crate) fn on_peer<E: Engine>(
        &mut self,
        cx: &mut Context<E>,
        peer: Result<Peer, Errno>,
    ) -> Result<(), Close> {
        match peer {
            Ok(peer) => self.io.origin().set_peer(peer),
            Err(_) if !self.io.is_held() => return Ok(()),
            // It was reset meanwhile.
            Err(Errno::NOTCONN) => return Err(Close::Peer(PeerReason::Reset)),
            // The ring had no place for the question.
            Err(Errno::AGAIN) => return Err(Close::Shed),
            Err(errno) => return Err(Close::Kernel(errno)),
        }
        self.io.end_hold(&mut cx.shared)
    }
}
