//! The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2), as bytes in, addresses out.
//!
//! A proxy puts a header in front of all that it forwards, TLS included. Only what says who the
//! client is is read; other fields (TLVs) are skipped, once their lengths add up and a checksum
//! among them is right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest header of version 1, its end included.
const V1_MAX: usize = 107;
/// Bytes behind the fixed part of a header of version 2, at most: addresses and TLVs.
const V2_REST_MAX: usize = 4096;
/// The fixed part of a header of version 2.
const V2_FIXED: usize = 16;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The TLV of a checksum over the whole header.
const CRC32C: u8 = 0x03;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Header {
    /// The beginning of a header.
    Partial,
    /// A whole header of that many bytes; the client that it names, or `None` where the sender
    /// speaks for itself.
    Whole(usize, Option<IpAddr>),
    /// No header, or one that breaks the rules.
    Broken,
}

/// Reads the header in front of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Header {
    if begins(bytes, V2) {
        return v2(bytes).unwrap_or(Header::Broken);
    }
    if begins(bytes, V1) {
        return v1(bytes).unwrap_or(Header::Broken);
    }
    Header::Broken
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let len = bytes.len().min(start.len());
    bytes[..len] == start[..len]
}

/// `None`: it breaks the rules.
fn v1(bytes: &[u8]) -> Option<Header> {
    let head = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return (bytes.len() < V1_MAX).then_some(Header::Partial);
    };
    let line = std::str::from_utf8(head.get(V1.len()..end)?).ok()?;
    let used = end + 2;
    let mut words = line.split(' ');
    let (family, rest) = (words.next()?, words);
    let client = match family {
        // What stands behind it is to be ignored.
        "UNKNOWN" => return Some(Header::Whole(used, None)),
        "TCP4" => IpAddr::from(addresses::<Ipv4Addr>(rest)?),
        "TCP6" => IpAddr::from(addresses::<Ipv6Addr>(rest)?),
        _ => return None,
    };
    Some(Header::Whole(used, Some(client.to_canonical())))
}

/// Returns the first of the two addresses, if two ports stand behind them and nothing else.
fn addresses<A: std::str::FromStr>(mut words: std::str::Split<'_, char>) -> Option<A> {
    let (client, server) = (words.next()?.parse().ok()?, words.next()?.parse::<A>());
    server.ok()?;
    for _ in 0..2 {
        let port = words.next()?;
        let is_plain =
            port == "0" || !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse::<u16>().ok().filter(|_| is_plain)?;
    }
    words.next().is_none().then_some(client)
}

/// `None`: it breaks the rules.
fn v2(bytes: &[u8]) -> Option<Header> {
    let Some(fixed) = bytes.get(..V2_FIXED) else { return Some(Header::Partial) };
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return None,
    };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > V2_REST_MAX {
        return None;
    }
    let used = V2_FIXED + rest;
    let Some(whole) = bytes.get(..used) else { return Some(Header::Partial) };
    // A health check of the proxy's own, whose addresses are to be ignored; or no family.
    if is_local || fixed[13] == 0 {
        return Some(Header::Whole(used, None));
    }
    let behind = &whole[V2_FIXED..];
    let (client, len) = match fixed[13] {
        0x11 => (Some(IpAddr::from(*behind.first_chunk::<4>()?)), 12),
        0x21 => (Some(IpAddr::from(*behind.first_chunk::<16>()?)), 36),
        // A Unix stream socket of the proxy's.
        0x31 => (None, 216),
        _ => return None,
    };
    check_tlvs(whole, V2_FIXED + len)?;
    Some(Header::Whole(used, client.map(|client| client.to_canonical())))
}

/// Checks that the lengths of TLVs add up, and a checksum among them. `None`: they do not, or it is
/// another one.
fn check_tlvs(whole: &[u8], mut at: usize) -> Option<()> {
    let mut has_sum = false;
    let mut rest = whole.get(at..)?;
    while let Some((&[kind, high, low], behind)) = rest.split_first_chunk::<3>() {
        let value = behind.get(..usize::from(u16::from_be_bytes([high, low])))?;
        if kind == CRC32C {
            let sum = u32::from_be_bytes(value.try_into().ok()?);
            if has_sum || sum != crc32c(whole, at + 3) {
                return None;
            }
            has_sum = true;
        }
        at += 3 + value.len();
        rest = &behind[value.len()..];
    }
    rest.is_empty().then_some(())
}

/// Returns CRC-32C (RFC 4960 appendix B) over a header, with zeros in the place of the four bytes
/// from `at` on.
fn crc32c(whole: &[u8], at: usize) -> u32 {
    let bytes = whole.iter().enumerate();
    let sum = bytes.fold(!0, |sum: u32, (place, byte)| {
        let byte = if (at..at + 4).contains(&place) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    });
    !sum
}

/// Properties of the reader, stated once for fuzzing and for the replay of its corpus.
#[allow(clippy::panic, reason = "a property that does not hold is reported by a panic; no server calls this")]
pub(crate) mod properties {
    use super::{Header, V1_MAX, V2_FIXED, V2_REST_MAX, read};

    /// Takes any bytes as the beginning of a connection.
    ///
    /// What is decided stays so whatever comes behind it, nothing is decided before the last byte
    /// of a header is there, and no more than the longest header is waited for.
    ///
    /// # Panics
    /// If one of these properties does not hold.
    pub fn proxy_header(bytes: &[u8]) {
        let header = read(bytes);
        let longer = [bytes, b"\r\n"].concat();
        match header {
            Header::Partial => {
                let most = if bytes.first() == Some(&b'P') { V1_MAX } else { V2_FIXED + V2_REST_MAX };
                assert!(bytes.len() < most, "{} bytes are no header yet", bytes.len());
            }
            Header::Whole(used, _) => {
                assert!(used <= bytes.len() && used <= V2_FIXED + V2_REST_MAX);
                assert_eq!(read(&bytes[..used]), header, "what stands behind it matters");
                for len in 0..used {
                    assert_eq!(read(&bytes[..len]), Header::Partial, "{len} of {used} bytes");
                }
            }
            Header::Broken => assert_eq!(read(&longer), Header::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// A header of version 2 over TCP on IPv4, from 192.0.2.7:1000, with these TLVs.
    fn tcp4(tlvs: &[u8]) -> Vec<u8> {
        let len = u16::try_from(12 + tlvs.len()).unwrap().to_be_bytes();
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 3, 232, 1, 187];
        [V2, &[0x21, 0x11], &len, &addresses, tlvs].concat()
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720 §B.4: 32 bytes of zeros, of ones, and from 0 to 31.
        assert_eq!(crc32c(&[0; 32], 99), 0x8a91_36aa);
        assert_eq!(crc32c(&[255; 32], 99), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>(), 99), 0x46dd_794e);
    }

    #[test]
    fn headers_of_version_1() {
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(long.len(), 107);
        for (text, client) in [
            ("PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n", ip("192.0.2.7")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", ip("2001:db8::7")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1000 443\r\n", ip("192.0.2.7")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN whatever it says\r\n", None),
            (&long, None),
        ] {
            let whole = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(read(whole.as_bytes()), Header::Whole(text.len(), client), "{text}");
            for len in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..len]), Header::Partial, "{len} bytes of {text}");
            }
        }
        for text in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 1000\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1000 443 \r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1  1000 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01000 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1000 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1000 65536\r\n",
            "PROXY TCP4 192.0.2.07 198.51.100.1 1000 443\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1000 443\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1000 443\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1000 443\r\n",
            "PROXY \r\n",
            "proxy TCP4 192.0.2.7 198.51.100.1 1000 443\r\n",
            "GET / HTTP/1.1\r\n",
            &format!("PROXY UNKNOWN {}\r\n", "f".repeat(92)),
        ] {
            assert_eq!(read(text.as_bytes()), Header::Broken, "{text}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let sum = |mut header: Vec<u8>| {
            let at = header.len() - 4;
            let sum = crc32c(&header, at).to_be_bytes();
            header[at..].copy_from_slice(&sum);
            header
        };
        let mut tcp6 = [V2, &[0x21, 0x21, 0, 36]].concat();
        tcp6.extend([0; 10].iter().chain(&[255, 255, 192, 0, 2, 7]).chain(&[0; 20]));
        for (header, client) in [
            (tcp4(&[]), ip("192.0.2.7")),
            (tcp4(&[4, 0, 2, 0, 0, 0xea, 0, 0]), ip("192.0.2.7")),
            (sum(tcp4(&[5, 0, 1, 9, CRC32C, 0, 4, 0, 0, 0, 0])), ip("192.0.2.7")),
            (tcp6, ip("192.0.2.7")),
            ([V2, &[0x21, 0x31, 0, 216], &[1; 216]].concat(), None),
            ([V2, &[0x20, 0, 0, 0]].concat(), None),
            ([V2, &[0x20, 0x11, 0, 3, 1, 2, 3]].concat(), None),
            ([V2, &[0x21, 0, 0, 2, 1, 2]].concat(), None),
            ([V2, &[0x20, 0, 16, 0], &[0; 4096]].concat(), None),
        ] {
            let whole = [&header[..], b"GET"].concat();
            assert_eq!(read(&whole), Header::Whole(header.len(), client), "{header:?}");
            for len in 0..header.len() {
                assert_eq!(read(&header[..len]), Header::Partial, "{len} bytes of {header:?}");
            }
        }
        for header in [
            [V2, &[0x11, 0x11, 0, 0]].concat(),
            [V2, &[0x22, 0x11, 0, 0]].concat(),
            [V2, &[0x21, 0x12, 0, 12], &[0; 12]].concat(),
            [V2, &[0x21, 0x11, 0, 11], &[0; 11]].concat(),
            [V2, &[0x21, 0x21, 0, 35], &[0; 35]].concat(),
            [V2, &[0x21, 0x31, 0, 215], &[0; 215]].concat(),
            // Refused before the rest has come.
            [V2, &[0x20, 0, 16, 1]].concat(),
            tcp4(&[4]),
            tcp4(&[4, 0, 1]),
            tcp4(&[CRC32C, 0, 4, 1, 2, 3, 4]),
            tcp4(&[CRC32C, 0, 3, 0, 0, 0]),
        ] {
            assert_eq!(read(&header), Header::Broken, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_behind_a_beginning(
            start in prop::sample::select(vec![b"" as &[u8], V1, V2, b"PROXY TCP4 ", b"PROXY TCP6 "]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            properties::proxy_header(&[start, &rest].concat());
        }

        #[test]
        fn any_client_is_read_in_both_versions(
            client in any::<IpAddr>(),
            server in any::<IpAddr>(),
            ports in any::<(u16, u16)>(),
            value in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let (word, family) = if client.is_ipv4() { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
            // Both addresses of a header are of one family.
            let server = if client.is_ipv4() == server.is_ipv4() { server } else { client };
            let text = format!("PROXY {word} {client} {server} {} {}\r\n", ports.0, ports.1);
            let expected = Some(client.to_canonical());
            prop_assert_eq!(read(text.as_bytes()), Header::Whole(text.len(), expected));
            let bytes = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let mut rest = [bytes(client), bytes(server)].concat();
            rest.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
            // A TLV of a kind that means nothing here.
            rest.extend([0xe0, 0, value.len() as u8]);
            rest.extend(value);
            let header = [V2, &[0x21, family], &(rest.len() as u16).to_be_bytes(), &rest].concat();
            prop_assert_eq!(read(&header), Header::Whole(header.len(), expected));
        }
    }
}
