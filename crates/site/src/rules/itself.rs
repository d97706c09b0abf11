//! Redirects that would lead to the address that was asked, for ever.
//!
//! Whether a rule does so follows from its text, except for the host and for what a splat takes. A
//! source that names no host, or one with placeholders, matches the target's host among others, and
//! a source's scheme and port say nothing. So where the paths are the same, the host that was asked
//! is compared with the target's. Where a splat takes the target's path among others, the paths are
//! compared too.

use super::captures::find_name;
use super::cost::looked_at;
use super::error::Fault;
use super::origin::cut_port;
use super::pattern::{Pattern, Slash};
use super::subject::Subject;
use super::target::clean;
use crate::open::path::{NAME_MAX, resolve};

/// The address that a redirect leads to, where it may be the one that was asked.
#[derive(Debug)]
pub(super) struct Itself {
    /// Without the dot at its end; `None`: the one that was asked.
    host: Option<Box<[u8]>>,
    port: u16,
    /// Its path; `None`: the one that was asked.
    key: Option<Box<[u8]>>,
    /// The slash at its end, where the rule adds or removes one.
    slash: Option<bool>,
}

impl Itself {
    /// Returns whether the client asked for that address already. A host without a port is that of
    /// HTTP and of HTTPS: which of them brought the request to whatever stands in front of sitar is
    /// not known here.
    pub(super) fn is_asked(&self, subject: &Subject<'_>) -> bool {
        looked_at(self.key.as_ref().map_or(0, |key| key.len()));
        // The root is written with a slash, always.
        let is_slash = self.slash.is_none_or(|slash| subject.slash == slash || subject.key.is_empty());
        if !is_slash || self.key.as_ref().is_some_and(|key| **key != *subject.key) {
            return false;
        }
        let Some(own) = &self.host else { return true };
        let Some((host, rest)) = subject.authority.and_then(|asked| asked.split_at_checked(own.len())) else {
            return false;
        };
        looked_at(host.len());
        let rest = rest.strip_prefix(b".").unwrap_or(rest);
        let port = match rest.strip_prefix(b":") {
            None if !rest.is_empty() => return false,
            None | Some(b"") => None,
            Some(port) => Some(number(port)),
        };
        let is_port = match port {
            None => is_default(self.port),
            Some(port) => port == self.port || (is_default(port) && is_default(self.port)),
        };
        is_port && host.eq_ignore_ascii_case(own)
    }

    /// Whether it is nothing that a source matches: if it is not sure, it is.
    pub(super) fn is_beside(&self, source: &Pattern) -> bool {
        self.key.as_ref().is_some_and(|key| !source.takes_key(key))
    }
}

/// Compares the source and the target of a redirect. Returns for which slash at the end of a path
/// it applies, and the address for which it does not.
///
/// # Errors
/// It would lead to itself, always.
pub(super) fn compare(
    source: &[u8],
    pattern: &Pattern,
    target: &[u8],
    has_parameters: bool,
) -> Result<(Slash, Option<Itself>), Fault> {
    let mut spelled = Vec::with_capacity(source.len() + 6);
    for &byte in source {
        if byte == b'*' { spelled.extend_from_slice(b":splat") } else { spelled.push(byte) }
    }
    let (from, to) = (Address::of(&spelled), Address::of(target));
    let key = key(to.path);
    let fixed = pattern.fixed_path();
    if trim(from.path) != trim(to.path) && (fixed.is_none() || fixed != key) {
        // What a rule reads from the query it does not pass on, so it does not match again.
        let key = key.filter(|key| !has_parameters && pattern.takes_key(key));
        let itself = key.map(|key| Itself {
            host: to.host.map(Box::from),
            port: to.port,
            key: Some(key.into()),
            // With or without it: a folder's address and a page's lead to each other.
            slash: None,
        });
        return Ok((Slash::Any, itself));
    }
    let (had, has) = (from.path.ends_with(b"/"), to.path.ends_with(b"/"));
    let slash = match (had, has) {
        (false, true) => Slash::Without,
        (true, false) => Slash::With,
        _ => Slash::Any,
    };
    if had == has && has_parameters {
        return Ok((Slash::Any, None));
    }
    let Some(host) = to.host else { return if had == has { Err(fault()) } else { Ok((slash, None)) } };
    let itself =
        Itself { host: Some(host.into()), port: to.port, key: None, slash: (had != has).then_some(has) };
    let is_one = from.host.is_some_and(|own| own.eq_ignore_ascii_case(host)) && is_default(to.port);
    match (is_one, had == has) {
        (true, false) => Ok((slash, None)),
        // What arrives here came by HTTPS, or something in front of sitar speaks it: the rule does
        // nothing.
        (true, true) if from.port == 80 && to.port == 443 => Ok((Slash::Any, Some(itself))),
        (true, true) => Err(fault()),
        (false, _) => Ok((Slash::Any, Some(itself))),
    }
}

/// The parts of an address as it is written. A query and a fragment say nothing: a rule applies
/// whatever they are.
struct Address<'t> {
    /// Without the dot at its end.
    host: Option<&'t [u8]>,
    /// The port; that of the scheme, where none is named.
    port: u16,
    path: &'t [u8],
}

impl Address<'_> {
    fn of(text: &[u8]) -> Address<'_> {
        let schemes = [(&b"https://"[..], 443), (b"http://", 80)];
        let scheme = schemes.iter().find_map(|(scheme, port)| Some((text.strip_prefix(*scheme)?, *port)));
        let Some((rest, default)) = scheme else {
            return Address { host: None, port: 0, path: cut_query(text) };
        };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = cut_port(authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        Address { host: Some(host), port: port.map_or(default, number), path: cut_query(path) }
    }
}

fn cut_query(text: &[u8]) -> &[u8] {
    text.split(|&byte| matches!(byte, b'?' | b'#')).next().unwrap_or(text)
}

/// Returns the key of a path without placeholders.
fn key(path: &[u8]) -> Option<Vec<u8>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let path = Some(clean(path)).filter(|path| find_name(path).is_none())?;
    resolve(&path, &mut [0; NAME_MAX]).ok().map(|path| path.key.to_vec())
}

fn trim(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Returns a port; 0, which is none, for what is no number of one.
fn number(port: &[u8]) -> u16 {
    std::str::from_utf8(port).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether it is the port of HTTP or HTTPS.
fn is_default(port: u16) -> bool {
    matches!(port, 80 | 443)
}

fn fault() -> Fault {
    Fault::new("the rule leads to itself", "give it another target")
}
