//! `host[:port]` in Host fields, absolute-form and authority-form targets (RFC 3986 §3.2.2,
//! §3.2.3).

use std::net::Ipv6Addr;

use crate::chars::{self, HEX, REG_NAME};

/// Bytes of the longest host that is accepted: no DNS name is longer.
const HOST_MAX: usize = 255;

/// Returns whether `bytes` is a host that is not empty, with or without a port. User information is
/// refused (RFC 9110 §4.2.4).
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    split(bytes).is_some()
}

/// Returns whether `bytes` is a host and a port, as CONNECT needs them (RFC 9112 §3.2.3).
pub(crate) fn is_authority_with_port(bytes: &[u8]) -> bool {
    split(bytes).is_some_and(|(_, port)| !port.is_empty())
}

/// Returns whether two authorities name the same host and port (RFC 9110 §4.2.3). Letters may be in
/// any case, and a port that is missing or empty is `default`. Texts that are no authorities are
/// the same only byte by byte.
pub(crate) fn is_same_authority(one: &[u8], other: &[u8], default: Option<u16>) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    // At most five digits, and in range, or it would be no authority.
    let number = |port: &[u8]| std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
    match (split(one), split(other)) {
        (Some((host, port)), Some((other_host, other_port))) => {
            host.eq_ignore_ascii_case(other_host)
                && number(port).or(default) == number(other_port).or(default)
        }
        _ => false,
    }
}

/// Splits an authority into host and port; the port has no colon, and is empty when there is none.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let host_len = if bytes.first() == Some(&b'[') {
        let end = memchr::memchr(b']', bytes)?;
        let address = std::str::from_utf8(&bytes[1..end]).ok()?;
        address.parse::<Ipv6Addr>().ok()?;
        end + 1
    } else {
        reg_name_len(bytes)?
    };
    let (host, rest) = bytes.split_at(host_len);
    match rest {
        [] => Some((host, rest)),
        [b':', port @ ..] if is_port(port) => Some((host, port)),
        _ => None,
    }
}

/// Returns the number of bytes at the beginning that are a registered name or an IPv4 address;
/// `None` when there is none, or a longer one than is accepted.
fn reg_name_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match (byte, &bytes[at + 1..]) {
            (b'%', [high, low, ..]) if chars::is(*high, HEX) && chars::is(*low, HEX) => 3,
            _ if chars::is(byte, REG_NAME) => 1,
            _ => break,
        };
    }
    (1..=HOST_MAX).contains(&at).then_some(at)
}

/// Returns whether `port` is a port: it may be empty (RFC 3986 §3.2.3), and is at most 65535.
fn is_port(port: &[u8]) -> bool {
    port.len() <= 5
        && port
            .iter()
            .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
            .is_some_and(|value| value <= u32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in [
            "a",
            "example.org",
            "example.org:",
            "example.org:443",
            "example.org:65535",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8443",
            "[::ffff:1.2.3.4]:1",
            "xn--caf-dma.example",
            "under_score",
            "a%20b",
            "a.b.",
            "!$&'()*+,;=",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":",
            ":80",
            "a:b",
            "a:65536",
            "a:000080",
            "a:80:80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a@b",
            "user:pw@a",
            "a\\b",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:x",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "::1",
            "a%2",
            "a%",
            "a%zz",
            "<a>",
            "a\"",
            "a|b",
            "a\u{e9}",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        assert!(is_authority("a".repeat(255).as_bytes()));
        assert!(!is_authority("a".repeat(256).as_bytes()));
    }

    #[test]
    fn connect_needs_a_port() {
        assert!(is_authority_with_port(b"example.org:443"));
        assert!(is_authority_with_port(b"[::1]:443"));
        assert!(!is_authority_with_port(b"example.org"));
        assert!(!is_authority_with_port(b"example.org:"));
    }

    #[test]
    fn the_port_of_the_scheme_may_be_left_out() {
        let same = |one: &str, other: &str, port| is_same_authority(one.as_bytes(), other.as_bytes(), port);
        for (one, other) in [
            ("localhost", "localhost:443"),
            ("localhost:", "localhost:443"),
            ("LOCALHOST", "localhost:443"),
            ("localhost:0443", "localhost"),
            ("[::1]:443", "[::1]"),
            ("localhost:8443", "Localhost:08443"),
        ] {
            assert!(same(one, other, Some(443)) && same(other, one, Some(443)), "{one} {other}");
        }
        for (one, other) in [
            ("localhost", "localhost:80"),
            ("localhost:8443", "localhost"),
            ("localhost:443", "localhost:80"),
            ("localhost", "localhost.:443"),
            ("a:443", "b"),
            ("a@b", "b"),
            ("", ":443"),
        ] {
            assert!(!same(one, other, Some(443)) && !same(other, one, Some(443)), "{one} {other}");
        }
        assert!(same("a:80", "a", Some(80)) && !same("a:443", "a", Some(80)) && !same("a:443", "a", None));
        assert!(same("a", "a:", None));
    }
}
