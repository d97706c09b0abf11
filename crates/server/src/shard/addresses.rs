//! Connections by the address of their peer, so that none takes the places of all others.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// The part of a peer's address that one customer of a provider has: an IPv4 address, or the first
/// 64 bits of an IPv6 address (RFC 4291 §2.5.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Address(u64);

/// One part of the table that one address may hold when it is more than half full.
const SHARE: u32 = 16;

/// The connections of one address.
#[derive(Default)]
struct Held {
    count: u32,
    /// Before then none of them has to be looked at for one to give up: there was none.
    look_at: Option<Instant>,
}

/// How many connections each address has.
pub(crate) struct Addresses {
    counts: HashMap<Address, Held>,
    /// Addresses that hold more than their share: there cannot be more than [`SHARE`].
    over: Vec<Address>,
    share: u32,
}

impl Address {
    /// Not told yet, or the kernel cannot tell (io_uring before Linux 6.7).
    pub(crate) const UNKNOWN: Address = Address(u64::MAX);
    /// IPv4 addresses are behind these bits, which no peer has (RFC 4291 §2.7, multicast).
    const IPV4: u64 = 0xffff_0000_0000_0000;

    pub(crate) fn of(peer: SocketAddr) -> Address {
        match peer.ip().to_canonical() {
            IpAddr::V4(ip) => Address(Address::IPV4 | u64::from(ip.to_bits())),
            IpAddr::V6(ip) => Address((ip.to_bits() >> 64) as u64),
        }
    }
}

impl Addresses {
    /// No connections yet, of a table with `connections` places.
    pub(crate) fn new(connections: u32) -> Addresses {
        let share = (connections / SHARE).max(1);
        Addresses { counts: HashMap::new(), over: Vec::with_capacity(SHARE as usize), share }
    }

    /// Counts a connection.
    pub(crate) fn add(&mut self, address: Address) {
        if address == Address::UNKNOWN {
            return;
        }
        let held = self.counts.entry(address).or_default();
        held.count += 1;
        if held.count == self.share + 1 {
            self.over.push(address);
        }
    }

    /// Counts a connection no longer.
    pub(crate) fn remove(&mut self, address: Address) {
        let Some(held) = self.counts.get_mut(&address) else { return };
        held.count -= 1;
        if held.count == self.share {
            self.over.retain(|other| *other != address);
        }
        if held.count == 0 {
            self.counts.remove(&address);
        }
    }

    /// Returns how many connections an address has beyond its share.
    pub(crate) fn excess(&self, address: Address) -> u32 {
        self.counts.get(&address).map_or(0, |held| held.count.saturating_sub(self.share))
    }

    /// Returns the time before which none of an address's connections can be given up, if one was
    /// noted.
    pub(crate) fn look_at(&mut self, address: Address) -> Option<&mut Option<Instant>> {
        self.counts.get_mut(&address).map(|held| &mut held.look_at)
    }

    /// Returns the address that holds most, if that is more than its share.
    pub(crate) fn largest(&self) -> Option<Address> {
        self.over.iter().copied().max_by_key(|address| self.excess(*address))
    }

    /// Gives memory back that was needed at the peak.
    pub(crate) fn trim(&mut self) {
        self.counts.shrink_to_fit();
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.over.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::of(SocketAddr::new(text.parse().unwrap(), 443))
    }

    #[test]
    fn one_customer_is_one_address() {
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"), "a listener of both families");
        assert_eq!(address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::3"), address("2001:db8:1:3::3"));
        assert_ne!(address("::1"), address("127.0.0.1"));
        assert_ne!(address("255.255.255.255"), Address::UNKNOWN);
    }

    #[test]
    fn the_largest_above_its_share_is_found() {
        let mut addresses = Addresses::new(64);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..4 {
            addresses.add(a);
            addresses.add(b);
        }
        assert_eq!((addresses.largest(), addresses.excess(a)), (None, 0), "four are a sixteenth");
        addresses.add(a);
        addresses.add(b);
        addresses.add(b);
        assert_eq!((addresses.largest(), addresses.excess(b)), (Some(b), 2));
        addresses.remove(b);
        addresses.remove(b);
        assert_eq!(addresses.largest(), Some(a));
        for _ in 0..5 {
            addresses.remove(a);
        }
        for _ in 0..4 {
            addresses.remove(b);
        }
        assert!(addresses.is_empty());
        addresses.remove(a);
        addresses.add(Address::UNKNOWN);
        assert!(addresses.is_empty(), "what is not known is not counted");
    }

    #[test]
    fn a_small_table_has_a_share_of_one() {
        let mut addresses = Addresses::new(8);
        addresses.add(address("192.0.2.1"));
        assert_eq!(addresses.largest(), None);
        addresses.add(address("192.0.2.1"));
        assert_eq!(addresses.largest(), Some(address("192.0.2.1")));
    }
}
