//! Connections by the address of their peer, so that none takes the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::peer::Peer;

/// The part of a peer's address that one customer of a provider has: an IPv4 address, or the first
/// 64 bits of an IPv6 address (RFC 4291 §2.5.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Address([u32; 2]);

/// One part of the table that one address may hold when it is more than half full.
const SHARE: u32 = 16;

/// How many connections each address has. An entry is small, because there may be one for each
/// connection.
pub(crate) struct Addresses {
    counts: HashMap<Address, u32>,
    /// Connections whose address is asked for. They have no place in the table yet.
    asked: usize,
    /// Addresses that hold their share or more: there cannot be more than [`SHARE`].
    large: Vec<Large>,
    share: u32,
}

/// An address that holds its share or more.
struct Large {
    address: Address,
    /// Until then none of its connections has to be looked at for one to give up: there was none.
    quiet_until: Option<Instant>,
}

impl Address {
    /// One that has no share: the kernel cannot tell it (io_uring before Linux 6.7), or it is that
    /// of many clients at a time, as a proxy's on a Unix socket.
    pub(crate) const UNCOUNTED: Address = Address([u32::MAX; 2]);
    /// The kernel has not said it yet.
    pub(crate) const ASKED: Address = Address([u32::MAX, 0]);
    /// IPv4 addresses are behind these bits, which no IPv6 peer has (RFC 4291 §2.7, multicast).
    const IPV4: u32 = 0xffff_0000;

    /// All multicast addresses of IPv6 are one.
    const MULTICAST: u32 = 0xff00_0000;

    /// The 96 bits before an IPv4 address that a translator has made an IPv6 address of (RFC 6052
    /// §2.1): one /64 would be all of IPv4.
    const TRANSLATED: u128 = 0x0064_ff9b << 64;

    pub(crate) fn of(peer: Peer) -> Address {
        match peer {
            Peer::Unix => Address::UNCOUNTED,
            Peer::Ip(ip) => Address::of_ip(ip),
        }
    }

    pub(crate) fn of_ip(peer: IpAddr) -> Address {
        match peer.to_canonical() {
            IpAddr::V4(ip) => Address([Address::IPV4, ip.to_bits()]),
            IpAddr::V6(ip) if ip.to_bits() >> 32 == Address::TRANSLATED => {
                Address([Address::IPV4, ip.to_bits() as u32])
            }
            // No peer has one, but a proxy may name it, and the values above are among them.
            IpAddr::V6(ip) if ip.is_multicast() => Address([Address::MULTICAST, 0]),
            IpAddr::V6(ip) => Address([(ip.to_bits() >> 96) as u32, (ip.to_bits() >> 64) as u32]),
        }
    }
}

impl Addresses {
    /// No connections yet, of a table with `connections` places.
    pub(crate) fn new(connections: u32) -> Addresses {
        let share = (connections / SHARE).max(1);
        Addresses { counts: HashMap::new(), asked: 0, large: Vec::with_capacity(SHARE as usize), share }
    }

    /// Counts a connection whose address is asked for.
    pub(crate) fn ask(&mut self) {
        self.asked += 1;
    }

    /// Returns how many connections there are whose address is asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// Counts a connection under its address, which has been told.
    pub(crate) fn add(&mut self, address: Address) {
        self.asked -= 1;
        if address == Address::UNCOUNTED {
            return;
        }
        let count = self.counts.entry(address).or_default();
        *count += 1;
        if *count == self.share {
            self.large.push(Large { address, quiet_until: None });
        }
    }

    /// Counts a connection no longer.
    pub(crate) fn remove(&mut self, address: Address) {
        self.asked -= usize::from(address == Address::ASKED);
        let Some(count) = self.counts.get_mut(&address) else { return };
        if *count == self.share {
            self.large.retain(|large| large.address != address);
        }
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&address);
        }
    }

    /// Returns how many connections an address has beyond its share.
    pub(crate) fn excess(&self, address: Address) -> u32 {
        self.counts.get(&address).map_or(0, |count| count.saturating_sub(self.share))
    }

    /// Returns how many connections an address above its share gives up for newcomers that are
    /// still to come.
    pub(crate) fn in_advance(&self) -> u32 {
        self.share / 16
    }

    /// Returns the address that holds most, if that is more than its share.
    pub(crate) fn largest(&self) -> Option<Address> {
        let excesses = self.large.iter().map(|large| (self.excess(large.address), large.address));
        excesses.filter(|(excess, _)| *excess > 0).max().map(|(_, address)| address)
    }

    /// Whether the connections of an address that holds its share or more are worth a look, for one
    /// to give up.
    pub(crate) fn is_worth_a_look(&self, address: Address, now: Instant) -> bool {
        let large = self.large.iter().find(|large| large.address == address);
        large.is_none_or(|large| large.quiet_until.is_none_or(|until| now >= until))
    }

    /// Notes that an address has none to give up until then; `None`: that it had some.
    pub(crate) fn set_quiet(&mut self, address: Address, until: Option<Instant>) {
        if let Some(large) = self.large.iter_mut().find(|large| large.address == address) {
            large.quiet_until = until;
        }
    }

    /// Gives memory back that was needed at the peak.
    pub(crate) fn trim(&mut self) {
        self.counts.shrink_to_fit();
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.large.is_empty() && self.asked == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts a connection that has been asked for its address.
    fn add(addresses: &mut Addresses, address: Address) {
        addresses.ask();
        addresses.add(address);
    }

    fn address(text: &str) -> Address {
        Address::of(Peer::at((text.parse::<IpAddr>().unwrap(), 443).into()))
    }

    #[test]
    fn one_customer_is_one_address() {
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"), "a listener of both families");
        assert_eq!(address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::3"), address("2001:db8:1:3::3"));
        assert_eq!(address("64:ff9b::192.0.2.1"), address("192.0.2.1"), "translated");
        assert_ne!(address("64:ff9b::192.0.2.1"), address("64:ff9b::192.0.2.2"));
        assert_ne!(address("::1"), address("127.0.0.1"));
        assert_ne!(address("255.255.255.255"), Address::UNCOUNTED);
        assert_eq!(Address::of(Peer::Unix), Address::UNCOUNTED);
        // What a proxy can name is never taken for what only this server sets.
        for named in ["ffff:ffff:0:0::1", "ffff:ffff:ffff:ffff::1", "ffff:0:c000:207::", "ff02::1"] {
            let peer = Peer::Ip(named.parse().unwrap());
            assert_eq!(Address::of(peer), Address([0xff00_0000, 0]), "{named}");
        }
    }

    #[test]
    fn the_largest_above_its_share_is_found() {
        let mut addresses = Addresses::new(64);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..4 {
            add(&mut addresses, a);
            add(&mut addresses, b);
        }
        assert_eq!((addresses.largest(), addresses.excess(a)), (None, 0), "four are a sixteenth");
        add(&mut addresses, a);
        add(&mut addresses, b);
        add(&mut addresses, b);
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
        add(&mut addresses, Address::UNCOUNTED);
        addresses.ask();
        assert_eq!((addresses.asked(), addresses.is_empty()), (1, false));
        addresses.remove(Address::ASKED);
        assert!(addresses.is_empty(), "what is not known is not counted");
    }

    /// An address with its share whose newcomers are turned away again and again stays quiet.
    #[test]
    fn what_was_looked_for_in_vain_is_not_looked_for_again_at_once() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_millis(100);
        let mut addresses = Addresses::new(64);
        let a = address("192.0.2.1");
        for _ in 0..5 {
            add(&mut addresses, a);
        }
        assert!(addresses.is_worth_a_look(a, now));
        addresses.set_quiet(a, Some(later));
        for _ in 0..3 {
            addresses.remove(a);
            assert_eq!(addresses.excess(a), 0);
            add(&mut addresses, a);
            assert!(!addresses.is_worth_a_look(a, now));
        }
        assert!(addresses.is_worth_a_look(a, later));
        addresses.set_quiet(a, None);
        assert!(addresses.is_worth_a_look(a, now));
    }

    #[test]
    fn a_small_table_has_a_share_of_one() {
        let mut addresses = Addresses::new(8);
        add(&mut addresses, address("192.0.2.1"));
        assert_eq!(addresses.largest(), None);
        add(&mut addresses, address("192.0.2.1"));
        assert_eq!(addresses.largest(), Some(address("192.0.2.1")));
    }
}
