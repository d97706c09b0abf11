//! The other side of a connection.

use std::net::{IpAddr, SocketAddr};

/// The other side of a connection, as the kernel names it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Peer {
    /// Its address. One of IPv4 that is mapped into IPv6 (RFC 4291 §2.5.5.2) is one of IPv4.
    Ip(IpAddr),
    /// A process on this machine, on a Unix socket.
    Unix,
}

impl Peer {
    /// The peer with this address; its port does not matter.
    #[must_use]
    pub fn at(address: SocketAddr) -> Peer {
        Peer::Ip(address.ip().to_canonical())
    }

    /// Returns its address, with port 0; `None`: it has none.
    pub(crate) fn without_port(self) -> Option<SocketAddr> {
        if let Peer::Ip(address) = self { Some(SocketAddr::new(address, 0)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_is_one_whatever_socket_it_came_by() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("[::ffff:192.0.2.1]:5"), at("192.0.2.1:443"));
        assert_eq!(at("192.0.2.1:443"), Peer::Ip("192.0.2.1".parse().unwrap()));
        assert_ne!(at("[::1]:443"), at("127.0.0.1:443"));
    }
}
