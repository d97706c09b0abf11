//! Listening sockets, and what is spoken on them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Networks;
use crate::peer::Peer;

/// The use of a listening socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// HTTPS.
    Https,
    /// Plain HTTP: sites are served, for instance to a proxy that has ended TLS.
    Http,
    /// Plain HTTP that redirects to HTTPS on this port, challenges of ACME (RFC 8555 §8.3)
    /// excepted.
    RedirectToHttps {
        /// The port of HTTPS; 443 is not named in addresses.
        port: u16,
    },
}

/// The listening sockets of one address, one for each shard: joined by SO_REUSEPORT, of which the
/// kernel chooses one for a connection; or duplicates of one, as of a Unix socket. Clones are the
/// same listener.
#[derive(Clone, Debug)]
pub struct Listener(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    role: Role,
    /// Its connections are passed by another process; nothing is accepted by the shards.
    is_passed: bool,
    /// The peers that say for whom they connect.
    proxies: Networks,
    /// Those of each shard; none when it serves no longer.
    sockets: Mutex<Vec<OwnedFd>>,
}

impl Listener {
    /// A listener with a socket for each shard, in order.
    #[must_use]
    pub fn new(role: Role, sockets: Vec<OwnedFd>) -> Listener {
        Listener::behind(Networks::default(), role, sockets)
    }

    /// Listens behind proxies: peers in these networks begin each connection with a header of the
    /// PROXY protocol, version 1 or 2, which names their client. Others send none.
    #[must_use]
    pub fn behind(proxies: Networks, role: Role, sockets: Vec<OwnedFd>) -> Listener {
        Listener(Arc::new(Inner { role, is_passed: false, proxies, sockets: Mutex::new(sockets) }))
    }

    /// The connections of this listener are [passed](crate::Worker::passing) by another process,
    /// which sends them to one of these sockets. No shard accepts from them.
    #[must_use]
    pub fn passed(role: Role, sockets: Vec<OwnedFd>) -> Listener {
        let (proxies, sockets) = (Networks::default(), Mutex::new(sockets));
        Listener(Arc::new(Inner { role, is_passed: true, proxies, sockets }))
    }

    /// Returns a listener for another use of the same sockets. The kernel sees no difference:
    /// nothing that waits to be accepted is lost when one takes the other's place.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn with_use(&self, proxies: Networks, role: Role) -> io::Result<Listener> {
        let (is_passed, sockets) = (self.0.is_passed, Mutex::new(self.sockets()?));
        Ok(Listener(Arc::new(Inner { role, is_passed, proxies, sockets })))
    }

    /// Returns whether its connections are passed by another process.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.0.is_passed
    }

    /// Returns whether proxies connect to it, of which the address has to be known.
    pub(crate) fn has_proxies(&self) -> bool {
        !self.0.proxies.is_empty()
    }

    /// Returns whether a peer is one of its proxies.
    pub(crate) fn is_proxy(&self, peer: Peer) -> bool {
        self.0.proxies.contain(peer)
    }

    /// Returns duplicates of its sockets, in the order of the shards.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.lock().iter().map(OwnedFd::try_clone).collect()
    }

    /// Returns its use.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Listener) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns how many shards it has sockets for.
    pub(crate) fn shards(&self) -> usize {
        self.lock().len()
    }

    /// Returns a duplicate of the socket that a shard accepts from; `None`: it accepts from none,
    /// or serves no longer.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn socket(&self, shard: usize) -> io::Result<Option<OwnedFd>> {
        let socket = self.lock();
        socket.get(shard).filter(|_| !self.0.is_passed).map(OwnedFd::try_clone).transpose()
    }

    /// Gives its sockets up, so that the port is free when the shards have closed theirs.
    pub(crate) fn close(&self) {
        let sockets = std::mem::take(&mut *self.lock());
        drop(sockets);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.0.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
