//! Lists of networks, and whether a peer is in one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::peer::Peer;

/// The word for peers on Unix sockets.
const UNIX: &str = "unix";
/// Bits of an IPv6 address in front of an IPv4 address that is mapped into it (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network: an address of which only the first bits count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Network {
    /// Peers whose addresses begin with these bits; the others are zero.
    Ip {
        /// The first address.
        address: IpAddr,
        /// Bits that count, at most 32 or 128.
        prefix: u8,
    },
    /// Peers on Unix sockets.
    Unix,
}

/// The reason why a text is no network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NetworkError {
    /// Not an address, not an address with a prefix, and not `unix`.
    Form,
    /// The prefix is no number, or longer than the address, of this number of bits.
    Prefix(u8),
    /// Bits behind the prefix are set. The network without them is this one.
    HostBits(Network),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkError::Form => f.write_str("it is no address, no address/prefix and not \"unix\""),
            NetworkError::Prefix(bits) => write!(f, "the prefix is a number from 0 to {bits}"),
            NetworkError::HostBits(_) => f.write_str("bits behind the prefix are set"),
        }
    }
}

impl std::error::Error for NetworkError {}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Unix => f.write_str(UNIX),
            Network::Ip { address, prefix } if *prefix == bits(*address) => address.fmt(f),
            Network::Ip { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}

/// Returns the number of bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns an address without the bits behind the prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(ip) => {
            Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into()
        }
        IpAddr::V6(ip) => {
            Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into()
        }
    }
}

impl Network {
    /// Reads an address, an address with a prefix (`10.0.0.0/8`, RFC 4632 §3.1), or `unix`. One of
    /// IPv4 that is mapped into IPv6 is one of IPv4.
    ///
    /// # Errors
    /// It is none of these, or the address has bits behind the prefix.
    pub fn parse(text: &str) -> Result<Network, NetworkError> {
        if text == UNIX {
            return Ok(Network::Unix);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let most = bits(address);
        let prefix = match prefix {
            None => most,
            // "+8" and "08" would be numbers, too.
            Some(text) if text.len() > 1 && !text.starts_with(|first| matches!(first, '1'..='9')) => {
                return Err(NetworkError::Prefix(most));
            }
            Some(text) => {
                let prefix = text.parse().ok().filter(|prefix| *prefix <= most);
                prefix.ok_or(NetworkError::Prefix(most))?
            }
        };
        let (address, prefix) = match address.to_canonical() {
            same if same.is_ipv4() == address.is_ipv4() => (same, prefix),
            mapped if prefix >= MAPPED_BITS => (mapped, prefix - MAPPED_BITS),
            _ => (address, prefix),
        };
        let first = masked(address, prefix);
        let network = Network::Ip { address: first, prefix };
        if first == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

/// Some networks, in a form in which a peer is looked up without allocating.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks {
    /// First and last addresses, sorted and apart from each other.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
    unix: bool,
}

impl Networks {
    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && !self.unix
    }

    /// Returns whether a peer is in one of them.
    #[must_use]
    pub fn contain(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.unix,
            Peer::Ip(address) => self.contain_address(address),
        }
    }

    /// Returns whether an address is in one of them.
    #[must_use]
    pub fn contain_address(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(ip) => is_within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => is_within(&self.v6, ip.to_bits()),
        }
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(all: I) -> Networks {
        let (mut v4, mut v6, mut unix) = (Vec::new(), Vec::new(), false);
        for network in all {
            match network {
                Network::Unix => unix = true,
                Network::Ip { address: IpAddr::V4(ip), prefix } => {
                    let first = ip.to_bits();
                    v4.push((first, first | u32::MAX.checked_shr(prefix.into()).unwrap_or(0)));
                }
                Network::Ip { address: IpAddr::V6(ip), prefix } => {
                    let first = ip.to_bits();
                    v6.push((first, first | u128::MAX.checked_shr(prefix.into()).unwrap_or(0)));
                }
            }
        }
        Networks { v4: apart(v4), v6: apart(v6), unix }
    }
}

/// Sorts ranges. Of networks that overlap one holds the other, so the larger one stays.
fn apart<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    let mut last: Option<T> = None;
    ranges.retain(|range| {
        let is_new = last.is_none_or(|last| range.1 > last);
        if is_new {
            last = Some(range.1);
        }
        is_new
    });
    ranges.into()
}

fn is_within<T: Copy + Ord>(ranges: &[(T, T)], at: T) -> bool {
    let behind = ranges.partition_point(|range| range.0 <= at);
    behind.checked_sub(1).and_then(|before| ranges.get(before)).is_some_and(|range| at <= range.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| Network::parse(text).unwrap()).collect()
    }

    fn ip(text: &str) -> Peer {
        Peer::Ip(text.parse().unwrap())
    }

    #[test]
    fn networks_as_they_are_written() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("unix", "unix"),
        ] {
            assert_eq!(Network::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let why = |text: &str| Network::parse(text).unwrap_err();
        for text in
            ["", "/8", "10.0.0/8", "10.0.0.0.0", "example.com", "[::1]", "Unix", "010.0.0.0/8", " ::1"]
        {
            assert_eq!(why(text), NetworkError::Form, "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/8/8"]
        {
            assert_eq!(why(text), NetworkError::Prefix(32), "{text}");
        }
        assert_eq!(why("::/129"), NetworkError::Prefix(128));
        for (text, instead) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ] {
            let NetworkError::HostBits(network) = why(text) else { panic!("{text}") };
            assert_eq!(network.to_string(), instead);
        }
    }

    #[test]
    fn a_peer_is_in_a_network_of_its_own_family() {
        let some = networks(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "unix"]);
        for text in ["10.0.0.0", "10.1.2.3", "10.255.255.255", "192.0.2.7", "::ffff:10.0.0.1", "2001:db8::1"]
        {
            assert!(some.contain(ip(text)), "{text}");
        }
        for text in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::a00:1", "::"] {
            assert!(!some.contain(ip(text)), "{text}");
        }
        assert!(some.contain(Peer::Unix) && !networks(&["0.0.0.0/0", "::/0"]).contain(Peer::Unix));
        assert!(!networks(&["::/0"]).contain(ip("::ffff:10.0.0.1")), "that is an address of IPv4");
        assert!(networks(&["0.0.0.0/0"]).contain(ip("255.255.255.255")));
        assert!(networks(&["::/0"]).contain(ip("ffff::1")));
        assert!(Networks::default().is_empty() && !Networks::default().contain(ip("::1")));
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_comparison_of_bits_finds(
            all in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..20),
            asked in any::<u32>(),
        ) {
            let some: Networks = all
                .iter()
                .map(|&(bits, prefix)| {
                    let address = masked(Ipv4Addr::from_bits(bits).into(), prefix);
                    Network::Ip { address, prefix }
                })
                .collect();
            // One bit after another, from the left.
            let same = |bits: u32, prefix: u8| {
                (0..prefix).all(|at| (bits >> (31 - at)) & 1 == (asked >> (31 - at)) & 1)
            };
            let expected = all.iter().any(|&(bits, prefix)| same(bits, prefix));
            prop_assert_eq!(some.contain_address(Ipv4Addr::from_bits(asked).into()), expected);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f:./ux]{0,24}") {
            if let Ok(network) = Network::parse(&text) {
                prop_assert_eq!(Network::parse(&network.to_string()), Ok(network));
            }
        }
    }
}
