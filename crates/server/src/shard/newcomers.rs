//! Connections that have just come: accepted here, or by another process.

use sitar_io::{Conn, Engine, Errno, Key, usdt};
use sitar_tls::Handshake;

use super::context::Context;
use super::passed::Arrival;
use super::slab::Slab;
use super::{Connection, Shard};
use crate::close::Close;
use crate::peer::Peer;
use crate::snapshot::{Listener, Role};

impl<E: Engine> Shard<E> {
    pub(super) fn on_accept(&mut self, conn: Conn, listener: Key) {
        self.cx.shared.numbers.counts().accepted.add(1);
        // A connection that cannot be served is closed by the drop of `conn`.
        let Some((listener, is_unix)) = self.acceptors.get(listener) else {
            return self.cx.shared.numbers.end(Close::Ours("a connection of no listener"));
        };
        let peer = is_unix.then_some(Ok(Peer::Unix));
        match add(&mut self.cx, &mut self.connections, conn, listener, peer) {
            Ok(added) => self.begin(added),
            Err(why) => self.cx.shared.numbers.end(why),
        }
    }

    /// Begins with a connection that has just been added.
    fn begin(&mut self, Added { key, peer }: Added) {
        self.addresses.ask();
        usdt::connection_accepted(key.0);
        self.with(key, Connection::on_accept);
        if let Some(peer) = peer {
            usdt::connection_peer(key.0, peer.ok().and_then(Peer::without_port));
            self.on_peer(key, peer);
        }
    }

    /// Has the ring take connections over that are passed, while there are descriptors for them, as
    /// for those that are accepted. Otherwise they wait, and further ones are not received.
    pub(super) fn adopt(&mut self) {
        let shared = &mut self.cx.shared;
        if self.acceptors.pause_until().is_some_and(|until| shared.now < until) {
            return;
        }
        let most = shared.limits.connections as usize + shared.limits.closing as usize / 2;
        if !self.arrivals.adopt(&mut shared.ring, most) {
            // Nothing else may come that would have it tried again.
            self.acceptors.pause(shared.now);
        }
    }

    /// The ring has taken a connection over, or has not: then its descriptor is closed.
    pub(super) fn on_adopted(&mut self, key: Key, conn: Result<Conn, Errno>) {
        let Some(arrival) = self.arrivals.take(key) else { return };
        self.cx.shared.numbers.counts().accepted.add(1);
        self.cx.shared.numbers.counts().passed.add(1);
        let Arrival { first, peer, listener, .. } = &arrival;
        let added = match conn {
            Ok(conn) => add(&mut self.cx, &mut self.connections, conn, listener, Some(Ok(*peer))),
            Err(Errno::NFILE) => Err(Close::Shed),
            Err(errno) => Err(Close::Kernel(errno)),
        };
        let added = match added {
            Ok(added) => added,
            Err(why) => return self.cx.shared.numbers.end(why),
        };
        self.begin(added);
        if !first.is_empty() {
            self.with(added.key, |connection, cx| connection.on_first(cx, first));
        }
        // The others have heard of it.
        if self.drain.until.is_some() && !self.acceptors.are_open() {
            let is_stop = self.cx.shared.is_stopping();
            self.with(added.key, if is_stop { Connection::on_stop } else { Connection::on_drain });
        }
    }
}

/// A connection that has been added to the table, and its peer, as far as it is known already.
#[derive(Clone, Copy)]
struct Added {
    key: Key,
    peer: Option<Result<Peer, Errno>>,
}

/// Adds a connection to the table. Where its peer is not known yet, the kernel is asked.
///
/// # Errors
/// The reason why it cannot be served.
fn add<E: Engine>(
    cx: &mut Context<E>,
    connections: &mut Slab<Connection>,
    conn: Conn,
    listener: &Listener,
    mut peer: Option<Result<Peer, Errno>>,
) -> Result<Added, Close> {
    let shared = &mut cx.shared;
    let handshake = match (listener.role(), &cx.served.snapshot.tls) {
        (Role::Http | Role::RedirectToHttps { .. }, _) => None,
        (Role::Https, Some(config)) => Handshake::new(config).ok(),
        (Role::Https, None) => None,
    };
    if listener.role() == Role::Https && handshake.is_none() {
        return Err(Close::Ours("no handshake can be begun"));
    }
    let key = connections.insert_with(|key| {
        shared.ring.set_key(&conn, key);
        if peer.is_none() && shared.ring.peer(&conn).is_err() {
            peer = Some(Err(Errno::AGAIN));
        }
        Connection::new(conn, listener, handshake, shared.now, &shared.limits)
    });
    // There are as many places as descriptors.
    Ok(Added { key: key.ok_or(Close::Shed)?, peer })
}
