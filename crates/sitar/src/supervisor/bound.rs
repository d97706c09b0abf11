//! The listening sockets of a configuration.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sitar_server::Role;

use super::child::lock;
use crate::config::{self, Config, ListenerConfig, ListenerRole, Problem};
use crate::error::Error;
use crate::handover::ListenerName;
use crate::listen::{self, Endpoint};
use crate::serve::cannot_start_a_thread;
use crate::settings::{Address, Listen, Security};
use crate::systemd::Passed;
use crate::unix_socket::{self, Purpose};

/// An address that is listened on. Clones are the same one: it stays open until it is
/// [closed](Bound::close), or the last of them goes.
#[derive(Clone)]
pub(super) struct Bound {
    /// As the configuration has it; port 0 lets the kernel choose one.
    wanted: Endpoint,
    /// With its real port.
    pub(super) address: Endpoint,
    pub(super) name: ListenerName,
    /// One for each shard: joined by SO_REUSEPORT, or duplicates of one. None when it is closed.
    sockets: Arc<Mutex<Arc<Vec<OwnedFd>>>>,
    /// The file of a Unix socket that was bound here.
    file: Option<Arc<unix_socket::Place>>,
    /// The permissions that this file is to have; `None`: it has those that it came with.
    mode: Option<u32>,
}

/// An address of a configuration, with what is known of it before all are bound.
struct Found<'c> {
    listener: &'c ListenerConfig,
    wanted: Endpoint,
    address: Endpoint,
    sockets: FoundSockets,
}

/// The sockets of an address.
enum FoundSockets {
    /// Those that are listened on already.
    Old(Bound),
    New(Vec<OwnedFd>, Option<unix_socket::Place>),
}

impl Bound {
    /// Returns an address that is listened on already, for a use that is not known yet.
    pub(super) fn inherited(
        wanted: Endpoint,
        address: Endpoint,
        sockets: Vec<OwnedFd>,
        has_file: bool,
        number: u64,
    ) -> Bound {
        let is_passed = matches!(&address, Endpoint::Passed(_));
        let name = ListenerName { number, of: None, role: Role::Http, is_passed, proxies: Vec::new() };
        // Where it is gone, nothing is to be removed.
        let file = file_of(&address).filter(|_| has_file);
        let file = file.and_then(|(purpose, path)| unix_socket::of_listening(purpose, path).ok());
        let file = file.map(|file| {
            file.leave();
            Arc::new(file)
        });
        Bound { wanted, address, name, sockets: held(sockets), file, mode: None }
    }

    /// Returns its sockets, to be used at once.
    pub(super) fn sockets(&self) -> Arc<Vec<OwnedFd>> {
        Arc::clone(&lock(&self.sockets))
    }

    /// Listens no more, also for those who have a copy: the sockets are closed, and their file is
    /// removed.
    pub(super) fn close(&self) {
        *lock(&self.sockets) = Arc::default();
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Closes those of `all` that are not among `kept`, for whatever use they are there.
    pub(super) fn close_all_but(all: &[Bound], kept: &[Bound]) {
        let is_kept = |one: &&Bound| kept.iter().any(|other| Arc::ptr_eq(&one.sockets, &other.sockets));
        all.iter().filter(|one| !is_kept(one)).for_each(Bound::close);
    }

    /// Gives the file of its socket the permissions that it is to have: once the configuration that
    /// wants them is served, since others may connect by them.
    pub(super) fn set_mode(&self) {
        if let (Some(file), Some(mode)) = (&self.file, self.mode) {
            file.set_mode(mode);
        }
    }

    /// Whether another configuration wants other permissions of the file.
    pub(super) fn has_other_mode(&self, other: &Bound) -> bool {
        self.file.is_some() && self.mode.is_some() && other.mode.is_some() && self.mode != other.mode
    }

    /// Whether the file of its socket is removed at the end.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Leaves its file to another process.
    pub(super) fn leave(&self) {
        if let Some(file) = &self.file {
            file.leave();
        }
    }

    /// Has its file removed at the end: the process before is about to go.
    pub(super) fn own(&self) {
        if let Some(file) = &self.file {
            file.own();
        }
    }

    /// Returns the address as the configuration has it.
    pub(super) fn wanted(&self) -> &Endpoint {
        &self.wanted
    }
}

fn held(sockets: Vec<OwnedFd>) -> Arc<Mutex<Arc<Vec<OwnedFd>>>> {
    Arc::new(Mutex::new(Arc::new(sockets)))
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
    let others =
        |listener: &ListenerConfig| listener.sockets.len() + listener.paths.len() + listener.passed.len();
    addresses(config).len() + config.listeners.iter().map(others).sum::<usize>()
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
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for listener in &config.listeners {
        let before = found.len();
        let mut new = Vec::new();
        for address in listener.addresses.iter().flat_map(|listen| expand(*listen)) {
            match take(&mut left, &Endpoint::Tcp(address.socket)) {
                Some(old) => found.push(Found::old(listener, old)),
                None => new.push(address),
            }
        }
        match named(listener, passed, shards, &mut left) {
            Ok(more) => found.extend(more),
            Err(more) => problems.extend(more),
        }
        if new.is_empty() {
            continue;
        }
        match listen::bind_beside(&new, shards, found.len() > before) {
            Ok(listen::Listeners { groups, addresses, skipped }) => {
                let wanted = new.iter().filter(|address| !skipped.contains(&address.socket));
                for ((wanted, real), group) in wanted.zip(addresses).zip(groups) {
                    let sockets: Vec<OwnedFd> = group.into_iter().map(Into::into).collect();
                    found.push(Found {
                        listener,
                        wanted: Endpoint::Tcp(wanted.socket),
                        address: Endpoint::Tcp(real),
                        sockets: FoundSockets::New(sockets, None),
                    });
                }
            }
            Err(error) => {
                let mut own = kept.iter().filter_map(|own| own.address.tcp());
                let own = own.find(|own| new.iter().any(|one| overlap(one.socket, *own)));
                problems.push(config::problem(&listener.place, &own.map_or(error, overlaps)));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let port = https_port(&found);
    Ok(found.into_iter().map(|found| found.bound(port, last)).collect())
}

/// Returns the sockets of a listener that are no addresses of TCP: those that were passed, and Unix
/// sockets.
fn named<'c>(
    listener: &'c ListenerConfig,
    passed: &Passed,
    shards: NonZeroU16,
    left: &mut Vec<&Bound>,
) -> Result<Vec<Found<'c>>, Vec<Problem>> {
    let mut found = Vec::new();
    for socket in passed.of_listener(listener)? {
        let (wanted, address) = (socket.address().clone(), socket.address().clone());
        found.push(match take(left, &wanted) {
            Some(old) => Found::old(listener, old),
            None => match socket.for_shards(shards) {
                Ok(sockets) => Found { listener, wanted, address, sockets: FoundSockets::New(sockets, None) },
                Err(error) => {
                    return Err(vec![config::problem(&listener.place, &cannot_start_a_thread(error))]);
                }
            },
        });
    }
    for wanted in paths(listener) {
        let Some((purpose, path)) = file_of(&wanted) else { continue };
        found.push(match take(left, &wanted) {
            Some(old) => Found::old(listener, old),
            None => {
                let bound = bind_path(listener, purpose, path, shards);
                let (sockets, file) =
                    bound.map_err(|error| vec![config::problem(&listener.place, &error)])?;
                let (sockets, address) = (FoundSockets::New(sockets, Some(file)), wanted.clone());
                Found { listener, address, wanted, sockets }
            }
        });
    }
    Ok(found)
}

/// Returns the Unix sockets of a listener that are made at a path.
fn paths(listener: &ListenerConfig) -> impl Iterator<Item = Endpoint> {
    let own = listener.paths.iter().cloned().map(Endpoint::Unix);
    own.chain(listener.passed.iter().cloned().map(Endpoint::Passed))
}

/// Returns what the socket with a file is for, and where the file is.
fn file_of(endpoint: &Endpoint) -> Option<(Purpose, &Path)> {
    match endpoint {
        Endpoint::Unix(path) => Some((Purpose::Listener, path)),
        Endpoint::Passed(path) => Some((Purpose::Passing, path)),
        Endpoint::Tcp(_) => None,
    }
}

/// Returns the permissions of such a socket.
fn mode(listener: &ListenerConfig, purpose: Purpose) -> u32 {
    let usual = if purpose == Purpose::Passing { ListenerConfig::PASSED_MODE } else { ListenerConfig::MODE };
    listener.mode.unwrap_or(usual)
}

/// Binds a Unix socket, of which each shard gets a duplicate: it has one queue.
fn bind_path(
    listener: &ListenerConfig,
    purpose: Purpose,
    path: &Path,
    shards: NonZeroU16,
) -> Result<(Vec<OwnedFd>, unix_socket::Place), Error> {
    let mode = mode(listener, purpose);
    let (socket, file) = unix_socket::listen(purpose, path, mode, listen::BACKLOG)?;
    let sockets = (0..shards.get()).map(|_| socket.try_clone()).collect::<Result<_, _>>();
    Ok((sockets.map_err(cannot_start_a_thread)?, file))
}

/// Takes what is listened on at an address already.
fn take(left: &mut Vec<&Bound>, wanted: &Endpoint) -> Option<Bound> {
    let place = left.iter().position(|bound| bound.wanted == *wanted)?;
    Some(left.remove(place).clone())
}

/// Returns the port of HTTPS that redirects lead to.
fn https_port(found: &[Found<'_>]) -> u16 {
    let https = found.iter().filter(|found| found.listener.role == ListenerRole::Https);
    let ports: Vec<u16> = https.filter_map(|found| Some(found.address.tcp()?.port())).collect();
    ports.iter().find(|port| **port == HTTPS).or(ports.first()).copied().unwrap_or(HTTPS)
}

impl<'c> Found<'c> {
    /// An address that is listened on already.
    fn old(listener: &'c ListenerConfig, old: Bound) -> Found<'c> {
        let (wanted, address) = (old.wanted.clone(), old.address.clone());
        Found { listener, wanted, address, sockets: FoundSockets::Old(old) }
    }

    /// Returns the listener; `last` is the number of the last one.
    fn bound(self, https: u16, last: &mut u64) -> Bound {
        let Found { listener, wanted, address, sockets } = self;
        let role = match listener.role {
            ListenerRole::Https => Role::Https,
            ListenerRole::Plain => Role::Http,
            ListenerRole::RedirectToHttps => Role::RedirectToHttps { port: https },
        };
        let mode = file_of(&wanted).map(|(purpose, _)| mode(listener, purpose));
        let (of, sockets, file) = match sockets {
            FoundSockets::Old(old) => {
                if old.name.role == role && old.name.proxies == listener.proxies {
                    return Bound { mode, ..old };
                }
                (Some(old.name.number), old.sockets, old.file)
            }
            FoundSockets::New(sockets, file) => (None, held(sockets), file.map(Arc::new)),
        };
        *last += 1;
        let is_passed = matches!(&wanted, Endpoint::Passed(_));
        let name = ListenerName { number: *last, of, role, is_passed, proxies: listener.proxies.clone() };
        Bound { wanted, address, name, sockets, file, mode }
    }
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
    for listener in &config.listeners {
        for endpoint in paths(listener) {
            let checked = file_of(&endpoint).map(|(purpose, path)| unix_socket::check(purpose, path));
            if let Some(Err(error)) = checked {
                problems.push(config::problem(&listener.place, &error));
            }
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::slice;

    use super::*;

    #[test]
    fn what_is_closed_is_closed_for_all_who_have_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let (socket, file) = unix_socket::listen(Purpose::Listener, &path, 0o600, 1).unwrap();
        let endpoint = Endpoint::Unix(path.clone());
        let one = Bound {
            wanted: endpoint.clone(),
            address: endpoint.clone(),
            name: ListenerName { number: 1, of: None, role: Role::Http, is_passed: false, proxies: vec![] },
            sockets: held(vec![socket]),
            file: Some(Arc::new(file)),
            mode: None,
        };
        // For another use it is still the same.
        let copy = Bound { mode: Some(0o666), ..one.clone() };
        Bound::close_all_but(slice::from_ref(&one), slice::from_ref(&copy));
        assert_eq!(copy.sockets().len(), 1);
        UnixStream::connect(&path).unwrap();
        Bound::close_all_but(&[one], &[Bound::inherited(endpoint.clone(), endpoint, Vec::new(), true, 2)]);
        assert!(copy.sockets().is_empty() && !path.exists());
        // Another program's file at that path is its own.
        std::fs::write(&path, "").unwrap();
        drop(copy);
        assert!(path.exists());
    }
}
