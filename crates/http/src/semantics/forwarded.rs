//! The client that proxies name: Forwarded (RFC 7239), and X-Forwarded-For, which came before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::chars::{TOKEN, all, trim};
use crate::{Field, Fields, Request};

/// Proxies that are looked at, at most.
const HOPS_MAX: usize = 64;

/// Returns the address of the client that trusted proxies name; `None`: they name none, and the
/// peer of the connection counts. The caller has found that this peer is a trusted proxy.
///
/// Each proxy puts the address that it was connected from at the end of the list, which all lines
/// of a field are together. So the list is read from its end, past trusted addresses, up to the
/// first one that is not trusted: what stands before that has been written by someone else. Where
/// an element is no address (`unknown`, an obfuscated identifier of RFC 7239 §6.3, anything
/// malformed), and where the list ends, the last address before that counts; at most 64 elements
/// are read.
///
/// A proxy that writes one of the two fields passes the other one on as its client has sent it.
/// Where a request has both, they have to name the same client, or none counts.
#[must_use]
pub fn forwarded(request: &Request<'_>, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let fields = &request.fields;
    let last = |field, parse| last_untrusted(fields, field, parse, &is_trusted);
    match (fields.has(Field::Forwarded), fields.has(Field::XForwardedFor)) {
        (false, false) => None,
        (true, false) => last(Field::Forwarded, element),
        (false, true) => last(Field::XForwardedFor, node),
        (true, true) => {
            let (one, other) = (last(Field::Forwarded, element), last(Field::XForwardedFor, node));
            one.filter(|_| one == other)
        }
    }
}

fn last_untrusted(
    fields: &Fields<'_>,
    field: Field,
    parse: fn(&[u8]) -> Option<IpAddr>,
    is_trusted: &impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let lines = fields.iter().rev().filter(|(other, _)| *other == field);
    // RFC 9110 §5.6.1.2: empty elements do not count.
    let elements = lines.flat_map(|(_, line)| FromEnd(Some(line))).filter(|element| !element.is_empty());
    let mut client = None;
    for element in elements.take(HOPS_MAX) {
        let Some(address) = parse(element) else { break };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// The elements of a list, the last one first, without whitespace around them. Each byte is looked
/// at a bounded number of times.
struct FromEnd<'b>(Option<&'b [u8]>);

impl<'b> Iterator for FromEnd<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let line = self.0.take()?;
        let comma = last_comma(line);
        self.0 = comma.and_then(|at| line.get(..at));
        Some(trim(line.get(comma.map_or(0, |at| at + 1)..).unwrap_or_default()))
    }
}

/// Returns the place of the last comma outside of quoted strings (RFC 9110 §5.6.4). Quotes are
/// counted from the end, where a trusted proxy has written: one that is missing before that changes
/// nothing behind it.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for (at, &byte) in line.iter().enumerate().rev() {
        match byte {
            b',' if !is_quoted => return Some(at),
            b'"' => {
                let before = line.get(..at).unwrap_or_default();
                let escapes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
                is_quoted ^= escapes % 2 == 0;
            }
            _ => {}
        }
    }
    None
}

/// Reads the address of `for` in an element of Forwarded (RFC 7239 §4).
fn element(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, value, behind) = pair(rest)?;
        if name.eq_ignore_ascii_case(b"for") {
            // Each parameter is there once at most.
            if found.is_some() {
                return None;
            }
            found = Some(node(value)?);
        }
        match behind {
            [] => return found,
            [b';', behind @ ..] => rest = behind,
            _ => return None,
        }
    }
}

/// Reads a parameter: its name, its value without quotes, and what stands behind it. Whitespace
/// around it is not in the grammar, and is sent by many. An escape in a value stays as it is: no
/// address has one.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let text = trim(text);
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (text.get(..equals)?, text.get(equals + 1..)?);
    if name.is_empty() || !all(name, TOKEN) {
        return None;
    }
    let (value, behind) = match value {
        [b'"', quoted @ ..] => {
            let mut is_escaped = false;
            let end = quoted.iter().position(|&byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            })?;
            (quoted.get(..end)?, quoted.get(end + 1..)?)
        }
        _ => {
            let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
            let (value, behind) = value.split_at_checked(end)?;
            // No quote, which would have been the beginning of a quoted string.
            (trim(value), if value.contains(&b'"') { b"\"" } else { behind })
        }
    };
    Some((name, value, trim(behind)))
}

/// Reads a node (RFC 7239 §6) that is an address, with or without a port. An address of IPv6 may
/// lack its brackets where no port follows, as in X-Forwarded-For.
fn node(node: &[u8]) -> Option<IpAddr> {
    let address = match node {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&byte| byte == b']')?;
            let (address, port) = (rest.get(..end)?, rest.get(end + 1..)?);
            port.is_empty().then_some(()).or_else(|| is_port(port.strip_prefix(b":")?).then_some(()))?;
            text(address)?.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => match node.iter().position(|&byte| byte == b':') {
            Some(colon) if node.contains(&b'.') && is_port(node.get(colon + 1..)?) => {
                text(node.get(..colon)?)?.parse::<Ipv4Addr>().ok()?.into()
            }
            _ => text(node)?.parse::<IpAddr>().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// Whether this is a port (RFC 7239 §6): up to five digits, or an obfuscated one.
fn is_port(port: &[u8]) -> bool {
    match port {
        [b'_', name @ ..] => !name.is_empty() && all(name, TOKEN),
        _ => (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Method, RequestTarget};

    /// The client where proxies in 10.0.0.0/8 and 2001:db8:ffff::/48 are trusted.
    fn client(lines: &[(Field, &str)]) -> Option<String> {
        let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
        for (field, line) in lines {
            request.fields.push(*field, line.as_bytes()).unwrap();
        }
        forwarded(&request, is_trusted).map(|address| address.to_string())
    }

    fn is_trusted(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.segments()[..3] == [0x2001, 0xdb8, 0xffff],
        }
    }

    fn of(field: Field, line: &str) -> Option<String> {
        client(&[(field, line)])
    }

    #[test]
    fn an_address_is_read_in_each_of_its_forms() {
        for (line, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1\t", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("192.0.2.1:_port", "192.0.2.1"),
            ("2001:db8::17", "2001:db8::17"),
            ("[2001:DB8::17]", "2001:db8::17"),
            ("[2001:db8::17]:80", "2001:db8::17"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ] {
            assert_eq!(of(Field::XForwardedFor, line).as_deref(), Some(expected), "{line}");
            let quoted = format!("for=\"{}\"", line.trim());
            assert_eq!(of(Field::Forwarded, &quoted).as_deref(), Some(expected), "{quoted}");
            let bare = format!("proto=https; FOR={} ;by=203.0.113.43", line.trim());
            assert_eq!(of(Field::Forwarded, &bare).as_deref(), Some(expected), "{bare}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for line in [
            "",
            ",",
            " , ",
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:123456",
            "192.0.2.01",
            "2001:db8::17:",
            "[2001:db8::17",
            "[2001:db8::17]80",
            "[2001:db8::17]:",
            "[192.0.2.1]",
            "2001:db8::17]",
            "fe80::1%eth0",
            "[]",
            "[",
            ":",
            "1.2.3.4 5.6.7.8",
            "\"192.0.2.1\"",
            "192.0.2.1;",
            "localhost",
            "::ffff:192.0.2.1:80",
            "\u{661}.1.1.1",
        ] {
            assert_eq!(of(Field::XForwardedFor, line), None, "{line}");
        }
        for line in [
            "",
            ";",
            "for",
            "for=",
            "for=\"",
            "for=\"\"",
            "for=unknown",
            "for=\"_gazonk\"",
            "192.0.2.1",
            "=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.1",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=\"192.0.2.1\"x",
            "for=\"192\\.0.2.1\"",
            "for=192.0.2.1;",
            "for=192.0.2.1;;by=x",
            "proto=https",
            "for =192.0.2.1",
            "for= \"192.0.2.1\"",
            "f\u{fc}r=192.0.2.1",
            "for=192.0.2.1;by=\"x\"\"",
            "xfor=192.0.2.1",
        ] {
            assert_eq!(of(Field::Forwarded, line), None, "{line}");
        }
    }

    /// The examples of RFC 7239 §4 and §7.1.
    #[test]
    fn examples_of_the_standard() {
        for (line, expected) in [
            ("for=\"_gazonk\"", None),
            ("For=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17")),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", Some("192.0.2.60")),
            ("for=192.0.2.43, for=198.51.100.17", Some("198.51.100.17")),
            ("for=192.0.2.43, for=\"[2001:db8:cafe::17]\"", Some("2001:db8:cafe::17")),
            ("for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown", None),
            ("for=_hidden, for=_SEVKISEK", None),
        ] {
            assert_eq!(of(Field::Forwarded, line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_last_address_that_is_not_trusted_counts() {
        for (line, expected) in [
            ("192.0.2.1, 192.0.2.2", "192.0.2.2"),
            ("192.0.2.1, 192.0.2.2, 10.0.0.1", "192.0.2.2"),
            ("192.0.2.1, 192.0.2.2,,10.0.0.1 , 2001:db8:ffff::1", "192.0.2.2"),
            ("192.0.2.1, 192.0.2.2, ::ffff:10.0.0.1", "192.0.2.2"),
            ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
            // The trusted proxy that says no more.
            ("192.0.2.1, unknown, 10.0.0.1", "10.0.0.1"),
            ("192.0.2.1, \", 10.0.0.1", "10.0.0.1"),
            ("\", 192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(of(Field::XForwardedFor, line).as_deref(), Some(expected), "{line}");
            let elements: Vec<_> = line.split(',').map(|hop| format!("for=\"{}\"", hop.trim())).collect();
            let elements = elements.join(", ").replace("for=\"\",", ",").replace("for=\"\"\"", "for=\"");
            assert_eq!(of(Field::Forwarded, &elements).as_deref(), Some(expected), "{elements}");
        }
    }

    #[test]
    fn lines_are_one_list() {
        let (other, own) = (Field::UserAgent, Field::XForwardedFor);
        let three = [(own, "192.0.2.1, 192.0.2.2"), (other, "192.0.2.9"), (own, "10.0.0.1"), (own, "")];
        assert_eq!(client(&three).as_deref(), Some("192.0.2.2"));
    }

    /// A client sends what it likes in front of what the proxy adds.
    #[test]
    fn nothing_in_front_changes_what_a_proxy_has_added() {
        for forged in [
            "for=198.51.100.1",
            "for=\"",
            "for=198.51.100.1;x=\"",
            "for=\"\\",
            "\"\"\"",
            "for=198.51.100.1;x=\"\\\"",
            ",,,",
            "for=10.0.0.9",
            "x",
            ";",
            "\\",
            "for=\"[2001:db8::1]",
        ] {
            for (added, expected) in [
                ("for=192.0.2.1", "192.0.2.1"),
                ("for=\"[2001:db8::17]:80\"", "2001:db8::17"),
                ("for=192.0.2.1;host=\"a, for=198.51.100.2\"", "192.0.2.1"),
                ("for=192.0.2.1;host=\"a\\\", for=198.51.100.2;x=\\\"\"", "192.0.2.1"),
                ("host=\"\\\\\";for=192.0.2.1", "192.0.2.1"),
            ] {
                let line = format!("{forged}, {added}");
                assert_eq!(of(Field::Forwarded, &line).as_deref(), Some(expected), "{line}");
            }
        }
    }

    /// The proxy has written one of them, and the client may have written the other.
    #[test]
    fn two_fields_have_to_agree() {
        let both = |one, other| client(&[(Field::Forwarded, one), (Field::XForwardedFor, other)]);
        assert_eq!(both("for=192.0.2.1", "192.0.2.1, 10.0.0.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(both("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(both("for=192.0.2.1", "192.0.2.2"), None);
        assert_eq!(both("for=192.0.2.1", ""), None);
        assert_eq!(both("", "192.0.2.1"), None);
    }

    #[test]
    fn a_list_without_end_is_not_read_to_its_end() {
        let hops = |proxies: usize| format!("192.0.2.1{}", ", 10.0.0.1".repeat(proxies));
        assert_eq!(of(Field::XForwardedFor, &hops(63)).as_deref(), Some("192.0.2.1"));
        assert_eq!(of(Field::XForwardedFor, &hops(64)).as_deref(), Some("10.0.0.1"));
    }

    proptest! {
        #[test]
        fn what_proxies_add_is_found(
            forged in "[a-f0-9.:;=\"\\\\, \\[\\]for]{0,60}",
            address in any::<[u8; 16]>(),
            is_v4 in any::<bool>(),
            proxies in 0_usize..8,
        ) {
            let address: IpAddr = match is_v4 {
                true => [address[0], address[1], address[2], address[3]].into(),
                false => address.into(),
            };
            let address = address.to_canonical();
            prop_assume!(!is_trusted(address));
            let text = address.to_string();
            let list = format!("{forged},{text}{}", ",10.9.8.7".repeat(proxies));
            prop_assert_eq!(of(Field::XForwardedFor, &list), Some(text.clone()));
            let node = if address.is_ipv4() { text.clone() } else { format!("\"[{text}]:1\"") };
            let list = format!("{forged},for={node}{}", ",for=10.9.8.7;by=_x".repeat(proxies));
            prop_assert_eq!(of(Field::Forwarded, &list), Some(text));
        }
    }
}
