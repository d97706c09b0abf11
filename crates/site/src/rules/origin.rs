//! The origin of a target on another host: its scheme, host and port, which the rule names and no
//! request changes.
//!
//! Browsers read a Location by the URL standard: a backslash ends the host as a slash does, `@`
//! ends a user's name, tabs and ends of lines are left out. So only a plain host and a port are
//! accepted before the first slash or question mark, and only what follows them is searched for
//! placeholders.

use super::captures::find_name;
use super::error::Fault;
use crate::open::printable::printable;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Splits a target into its origin and the rest: nothing, or what begins with `/` or `?`.
pub(super) fn split(target: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let scheme = SCHEMES.iter().find(|scheme| target.starts_with(scheme)).ok_or_else(|| {
        Fault::new("a target is a path or an http(s) address", "write /path or https://host/path")
    })?;
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = &rest[..end];
    if is_authority(authority) {
        return Ok(target.split_at(scheme.len() + end));
    }
    Err(fault(target, rest, authority))
}

/// Says what is wrong with an authority; `rest` is the target behind the scheme.
fn fault(target: &[u8], rest: &[u8], authority: &[u8]) -> Fault {
    let (host, port) = cut_port(authority);
    if authority.contains(&b'\\') {
        let host = authority.iter().take_while(|&&byte| byte == b'\\').count();
        let scheme = target.len() - rest.len();
        let slashed = rest[host..].iter().map(|&byte| if byte == b'\\' { b'/' } else { byte });
        let nearest: Vec<u8> = target[..scheme].iter().copied().chain(slashed).collect();
        return Fault::new(
            "a backslash in the target's host, which browsers read as a slash",
            format!("write {}", printable(&nearest)),
        );
    }
    if authority.contains(&b'@') {
        return Fault::new(
            "a user's name in front of the target's host",
            "write the host alone: https://example.com/path",
        );
    }
    if find_name(authority).is_some() {
        return Fault::new(
            "a placeholder in the target's host",
            "write the host out: a link could otherwise lead your visitors anywhere",
        );
    }
    if host.is_empty() {
        return Fault::new("the target's host is missing", "write https://host/path");
    }
    if is_host(host) && port.is_some() {
        return Fault::new(
            "the target's port is not valid",
            "write a number from 1 to 65535: https://example.com:8443/path",
        );
    }
    Fault::new("the target's host is not valid", "write it as https://example.com/path, in ASCII")
}

/// Whether an authority is `host` or `host:port`.
fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = cut_port(authority);
    is_host(host) && port.is_none_or(is_port)
}

/// The host, and what stands behind the colon after it.
pub(super) fn cut_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    // The colons of an IPv6 address stand in brackets.
    let from = authority.iter().rposition(|&byte| byte == b']').unwrap_or(0);
    match authority[from..].iter().position(|&byte| byte == b':') {
        Some(colon) => (&authority[..from + colon], Some(&authority[from + colon + 1..])),
        None => (authority, None),
    }
}

fn is_host(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.strip_suffix(b".").unwrap_or(host);
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !name.split(|&byte| byte == b'.').all(is_label) {
        return false;
    }
    // The URL standard takes what ends in a number for an IPv4 address, and as no host at all if it
    // is not one.
    let last = name.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    let is_hexadecimal = last.starts_with(b"0x") || last.starts_with(b"0X");
    !(is_hexadecimal || last.iter().all(u8::is_ascii_digit))
        || std::str::from_utf8(name).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
}

fn is_port(port: &[u8]) -> bool {
    let number = std::str::from_utf8(port).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|text| text.parse::<u16>().ok()).is_some_and(|number| number > 0)
}

const SCHEMES: [&[u8]; 2] = [b"https://", b"http://"];
