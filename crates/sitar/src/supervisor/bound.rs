//! The listening sockets of a configuration.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use sitar_server::Role;

use crate::config::{self, Config, ListenerConfig, ListenerRole, Problem};
use crate::error::Error;
use crate::handover::ListenerName;
use crate::listen;
use crate::serve::cannot_start_a_thread;
use crate::settings::{Address, Listen, Security};
use crate::systemd::Passed;

/// An address that is listened on.
#[derive(Clone)]
pub(super) struct Bound {
    /// As the configuration has it; port 0 lets the kernel choose one.
    wanted: SocketAddr,
    /// With its real port.
    pub(super) address: SocketAddr,
    pub(super) name: ListenerName,
    /// One for each shard, joined by SO_REUSEPORT.
    pub(super) sockets: Arc<Vec<OwnedFd>>,
}

impl Bound {
    /// Returns an address that is listened on already, for a use that is not known yet.
    pub(super) fn inherited(
        wanted: SocketAddr,
        address: SocketAddr,
        sockets: Vec<OwnedFd>,
        number: u64,
    ) -> Bound {
        let name = ListenerName { number, of: None, role: Role::Http };
        Bound { wanted, address, name, sockets: Arc::new(sockets) }
    }

    /// Returns the address as the configuration has it.
    pub(super) fn wanted(&self) -> SocketAddr {
        self.wanted
    }
}

/// The port of HTTPS, which is chosen for redirects before others.
const HTTPS: u16 = 443;

/// Returns the addresses of a configuration, each with its listener.
pub(super) fn addresses(config: &Config) -> Vec<(&ListenerConfig, Address)> {
    let all = config.listeners.iter().flat_map(|listener| {
        listener.addresses.iter().flat_map(move |listen| expand(*listen).map(move |one| (listener, one)))
    });
    all.collect()
}

/// Returns how many listeners a configuration needs, as far as it tells: of the sockets with one
/// name there may be several.
pub(super) fn count(config: &Config) -> usize {
    addresses(config).len() + config.listeners.iter().map(|listener| listener.sockets.len()).sum::<usize>()
}

/// Addresses in a file mean what they say: a port alone is every address.
fn expand(listen: Listen) -> impl Iterator<Item = Address> {
    listen.expand(&Security::Certificates(Vec::new())).into_iter()
}

/// Binds the addresses of a configuration, but for those of `kept`, which go on being listened on,
/// and takes the sockets that it names from `passed`. `last` is the number of the last listener.
///
/// # Errors
/// One of them cannot be bound, or was not passed. Nothing stays bound then that was not before.
pub(super) fn bind(
    config: &Config,
    passed: &Passed,
    shards: NonZeroU16,
    kept: &[Bound],
    last: &mut u64,
) -> Result<Vec<Bound>, Vec<Problem>> {
    let mut left: Vec<&Bound> = kept.iter().collect();
    let (mut bound, mut problems) = (Vec::new(), Vec::new());
    for listener in &config.listeners {
        let mut new = Vec::new();
        let before = bound.len();
        for address in listener.addresses.iter().flat_map(|listen| expand(*listen)) {
            match left.iter().position(|bound| bound.wanted == address.socket) {
                Some(place) => {
                    let old = left.remove(place);
                    bound.push((listener, old.wanted, old.address, Some(old), Vec::new()));
                }
                None => new.push(address),
            }
        }
        for socket in passed.of_listener(listener).unwrap_or_else(|more| {
            problems.extend(more);
            Vec::new()
        }) {
            let wanted = socket.address();
            let old = left.iter().position(|bound| bound.wanted == wanted).map(|place| left.remove(place));
            let (old, sockets) = match old {
                Some(old) => (Some(old), Vec::new()),
                None => match socket.for_shards(shards) {
                    Ok(sockets) => (None, sockets),
                    Err(error) => {
                        problems.push(config::problem(&listener.place, &cannot_start_a_thread(error)));
                        continue;
                    }
                },
            };
            bound.push((listener, wanted, wanted, old, sockets));
        }
        if new.is_empty() {
            continue;
        }
        match listen::bind_beside(&new, shards, bound.len() > before) {
            Ok(listen::Listeners { groups, addresses, skipped }) => {
                let wanted = new.iter().filter(|address| !skipped.contains(&address.socket));
                for ((wanted, real), group) in wanted.zip(addresses).zip(groups) {
                    let sockets: Vec<OwnedFd> = group.into_iter().map(Into::into).collect();
                    bound.push((listener, wanted.socket, real, None, sockets));
                }
            }
            Err(error) => {
                let own = kept.iter().find(|own| new.iter().any(|one| overlap(one.socket, own.address)));
                let error = own.map_or(error, |own| overlaps(own.address));
                problems.push(config::problem(&listener.place, &error));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let https = |listener: &ListenerConfig| listener.role == ListenerRole::Https;
    let ports = || bound.iter().filter(|(listener, ..)| https(listener)).map(|(_, _, real, ..)| real.port());
    let port = ports().find(|port| *port == HTTPS).or_else(|| ports().next()).unwrap_or(HTTPS);
    let all = bound.into_iter().map(|(config, wanted, address, old, sockets)| {
        let role = match config.role {
            ListenerRole::Https => Role::Https,
            ListenerRole::Plain => Role::Http,
            ListenerRole::RedirectToHttps => Role::RedirectToHttps { port },
        };
        if let Some(old) = old.filter(|old| old.name.role == role) {
            return old.clone();
        }
        *last += 1;
        let name = ListenerName { number: *last, of: old.map(|old| old.name.number), role };
        let sockets = old.map_or_else(|| Arc::new(sockets), |old| Arc::clone(&old.sockets));
        Bound { wanted, address, name, sockets }
    });
    Ok(all.collect())
}

/// Whether one of two addresses takes what is meant for the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn overlaps(own: SocketAddr) -> Error {
    Error::new(format!("this address and {own}, on which this server listens, overlap")).hint(
        "addresses that overlap cannot take each other's place while they are served: start sitar again",
    )
}

/// Tries the addresses of a configuration. One that is in use is no mistake: a server that runs
/// from the same configuration has it.
///
/// # Errors
/// All those that this user, or this machine, cannot have.
pub(super) fn try_addresses(config: &Config) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for (listener, address) in addresses(config) {
        match listen::check(&address) {
            Ok(()) => {}
            Err(error) => problems.push(config::problem(&listener.place, &error)),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Returns what an address is used for, in a word.
pub(super) fn word(role: Role) -> &'static str {
    match role {
        Role::Https => "https",
        Role::Http => "http",
        Role::RedirectToHttps { .. } => "redirect",
    }
}
