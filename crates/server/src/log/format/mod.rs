//! The line of one record, as JSON or as one of the two formats that web servers have had since
//! the nineties.
//!
//! Whatever a client sends, a record is one line: control bytes, quotes and bytes that are no
//! UTF-8 are escaped. The writer's thread makes the lines; nothing but the buffer allocates.

mod combined;
mod json;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sitar_http::Decimal;

use super::Record;
use crate::numbers::HttpVersion;
use crate::peer::Peer;

/// The format of a log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line, with the names that Caddy's access log has.
    #[default]
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// The common format: the combined one without Referer and User-Agent.
    Common,
}

/// How much of a client's address a log gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addresses {
    /// All of it.
    #[default]
    Full,
    /// The first 24 bits of an address of IPv4, the first 48 of one of IPv6; the rest is zero.
    Truncated,
    /// Nothing.
    None,
}

/// Appends the line of a record, with its line feed. `time` is when the request came, since the
/// epoch (UTC).
pub fn write(format: Format, addresses: Addresses, record: &Record<'_>, time: Duration, out: &mut Vec<u8>) {
    match format {
        Format::Json => json::write(addresses, record, time, out),
        Format::Combined => combined::write(addresses, record, time, true, out),
        Format::Common => combined::write(addresses, record, time, false, out),
    }
}

/// Appends an address, or a word in its place. Returns whether there was anything to write.
fn peer(addresses: Addresses, peer: Option<Peer>, out: &mut Vec<u8>) -> bool {
    match (addresses, peer) {
        (Addresses::None, _) | (_, None) => return false,
        (_, Some(Peer::Unix)) => out.extend_from_slice(b"unix:"),
        (Addresses::Full, Some(Peer::Ip(address))) => ip(address, out),
        (Addresses::Truncated, Some(Peer::Ip(address))) => ip(truncated(address), out),
    }
    true
}

/// The client: the one that a trusted proxy names, or else the peer.
fn client(record: &Record<'_>) -> Option<Peer> {
    record.client.map(|address| Peer::Ip(address.to_canonical())).or(record.peer)
}

fn truncated(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)).into(),
    }
}

fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            decimal(a.into(), out);
            for octet in [b, c, d] {
                out.push(b'.');
                decimal(octet.into(), out);
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

fn decimal(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Decimal::new(number).as_bytes());
}

/// Appends seconds with their microseconds, as in `12.000345`.
fn seconds(time: Duration, out: &mut Vec<u8>) {
    decimal(time.as_secs(), out);
    // A number of seven digits, of which the first becomes the point.
    let from = out.len();
    decimal(1_000_000 + u64::from(time.subsec_micros()), out);
    if let Some(point) = out.get_mut(from) {
        *point = b'.';
    }
}

/// Returns the name of a version, as HTTP/1 writes it and Go for HTTP/2.
fn version(version: HttpVersion) -> &'static [u8] {
    match version {
        HttpVersion::Http10 => b"HTTP/1.0",
        HttpVersion::Http11 => b"HTTP/1.1",
        HttpVersion::Http2 => b"HTTP/2.0",
    }
}

/// Returns the place of the first byte that is not written as it is: a quote, a backslash, or none
/// of the characters of ASCII that can be seen.
fn first_special(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Returns the two digits of a byte in hexadecimal, in capitals as nginx writes them.
fn hexadecimal(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}
