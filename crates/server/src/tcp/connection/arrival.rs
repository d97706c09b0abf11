//! The first events of a connection: it has come, the kernel says from whom, and a proxy says for
//! whom.

use sitar_io::{Engine, Errno};

use super::Connection;
use crate::close::{Close, PeerReason};
use crate::peer::Peer;
use crate::shard::context::Context;
use crate::snapshot::Listener;
use crate::tcp::proxy::{self, Header};

/// The header of the PROXY protocol with which a connection begins.
pub(super) enum ProxyHeader {
    /// None, or it has been read.
    None,
    /// The peer may be a proxy of this listener.
    Undecided(Listener),
    /// It is one.
    Awaited,
}

impl ProxyHeader {
    /// That of a connection which has just been accepted.
    pub(super) fn new(listener: &Listener) -> ProxyHeader {
        if listener.has_proxies() { ProxyHeader::Undecided(listener.clone()) } else { ProxyHeader::None }
    }
}

impl Connection {
    /// The first thing that happens: the ring starts to receive, unless it has to be known first
    /// who the peer is.
    pub(crate) fn on_accept<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if cx.served.wants_peers()
            || cx.shared.log.is_on()
            || matches!(self.header, ProxyHeader::Undecided(_))
        {
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
            Ok(peer) => {
                self.header = match self.expects_header_of(peer) {
                    true => ProxyHeader::Awaited,
                    false => ProxyHeader::None,
                };
                if self.awaits_header() {
                    self.io.limit_header(&cx.shared);
                }
                self.io.origin().set_peer(peer);
            }
            Err(_) if !self.io.is_held() => return Ok(()),
            // Only a log would say it.
            Err(errno) if errno != Errno::NOTCONN && !self.needs_peer(cx.served.needs_peers()) => {}
            // It was reset meanwhile.
            Err(Errno::NOTCONN) => return Err(Close::Peer(PeerReason::Reset)),
            // The ring had no place for the question.
            Err(Errno::AGAIN) => return Err(Close::Shed),
            Err(errno) => return Err(Close::Kernel(errno)),
        }
        self.io.end_hold(&mut cx.shared)
    }

    /// Bytes that another process has received on this connection, the first ones.
    pub(crate) fn on_first<E: Engine>(&mut self, cx: &mut Context<E>, bytes: &[u8]) -> Result<(), Close> {
        self.io.put_wire_aside(&mut cx.shared, bytes)?;
        self.go_on(cx)
    }

    #[cfg(test)]
    pub(crate) fn peer(&self) -> Option<Peer> {
        self.io.peer()
    }

    /// Whether a peer, this connection's, begins with a header of the PROXY protocol.
    pub(crate) fn expects_header_of(&self, peer: Peer) -> bool {
        if let ProxyHeader::Undecided(listener) = &self.header { listener.is_proxy(peer) } else { false }
    }

    /// Whether it goes on only where the peer is known.
    fn needs_peer(&self, is_needed: bool) -> bool {
        is_needed || matches!(self.header, ProxyHeader::Undecided(_))
    }

    /// Whether a proxy's header is waited for.
    pub(super) fn awaits_header(&self) -> bool {
        matches!(self.header, ProxyHeader::Awaited)
    }

    /// Bytes from a proxy that has not said yet for whom it connects. What stands behind its header
    /// is put aside. Its deadline stays: nothing else is waited for meanwhile.
    pub(super) fn on_header<E: Engine>(&mut self, cx: &mut Context<E>, bytes: &[u8]) -> Result<(), Close> {
        self.io.put_wire_aside(&mut cx.shared, bytes)?;
        let wire = self.io.take_wire();
        let header = proxy::read(wire.bytes());
        let used = if let Header::Whole(used, _) = header { used } else { 0 };
        self.io.return_wire(&mut cx.shared, wire, used)?;
        match header {
            Header::Partial => Ok(()),
            Header::Broken => Err(Close::Peer(PeerReason::ProxyHeader)),
            Header::Whole(_, None) => self.end_header(cx),
            Header::Whole(_, Some(client)) => {
                // The shard counts it for this client first.
                cx.shared.client = Some(Peer::Ip(client));
                Ok(())
            }
        }
    }

    /// The client of a proxy is known, and counted: it is the peer from here on.
    pub(crate) fn on_client<E: Engine>(&mut self, cx: &mut Context<E>, client: Peer) -> Result<(), Close> {
        self.io.origin().set_peer(client);
        self.end_header(cx)
    }

    /// Goes on behind a proxy's header.
    fn end_header<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        self.header = ProxyHeader::None;
        self.go_on(cx)
    }
}
