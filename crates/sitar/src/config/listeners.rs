//! `[[listen]]`: addresses and what is served there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::keys::ADDRESSES_MAX;
use super::networks;
use super::problems::{Problems, quoted};
use super::section::Section;
use super::{ListenerConfig, ListenerRole, Place};
use crate::listen::{Endpoint, PASSED, UNIX};
use crate::settings::{Listen, ListenError, PORT_HTTP, PORT_HTTPS, SocketName};
use crate::unix_socket::PATH_MAX;

/// An address that is in use, as a socket sees it.
struct Bound {
    ip: IpAddr,
    port: u16,
    /// As it was written.
    text: String,
    place: Place,
}

/// Reads the listeners. `is_plain`: TLS is off for the server as a whole.
pub(super) fn read(sections: &[Section], is_plain: bool, problems: &mut Problems) -> Vec<ListenerConfig> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut named: Vec<(String, Place)> = Vec::new();
    let mut count = 0;
    let mut listeners = Vec::with_capacity(sections.len());
    for section in sections {
        let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
        let (mut paths, mut passed) = (Vec::new(), Vec::new());
        if !section.has("address") {
            let hint = "for example: address = \":443\"";
            problems.add_with(&section.place, "[[listen]] has no address", hint);
        }
        for address in section.texts("address") {
            let Some(wanted) = parse(&address.text, &address.place, problems) else { continue };
            count += 1;
            if count == ADDRESSES_MAX + 1 {
                problems.add(&address.place, format!("more than {ADDRESSES_MAX} addresses"));
            }
            if count > ADDRESSES_MAX {
                continue;
            }
            match wanted {
                Wanted::Address(listen) => {
                    if claim(&mut bound, listen, &address.text, &address.place, problems) {
                        addresses.push(listen);
                    }
                }
                Wanted::Socket(name) => {
                    if claim_name(&mut named, name.address(), &address.place, problems) {
                        sockets.push(name);
                    }
                }
                Wanted::Path(path) => {
                    if claim_path(&mut named, UNIX, &path, &address.place, problems) {
                        paths.push(path);
                    }
                }
                Wanted::Passed(path) => {
                    if claim_path(&mut named, PASSED, &path, &address.place, problems) {
                        passed.push(path);
                    }
                }
            }
        }
        let role = role(section, is_plain, problems);
        let mode = mode(section, problems);
        let proxies = networks::read("proxy_protocol", section, problems);
        if let (Some(entry), false) = (section.entry("proxy_protocol"), passed.is_empty()) {
            let hint = "take it out, or give the address a [[listen]] of its own: the peer of a passed \
                        connection is the one that the kernel names";
            let what = "'proxy_protocol' is not for passed connections";
            problems.add_with(&entry.place, what, hint);
        }
        let place = section.place.clone();
        listeners.push(ListenerConfig { place, addresses, sockets, paths, passed, mode, proxies, role });
    }
    if !listeners.iter().any(|listener| listener.role == ListenerRole::Https) {
        for section in sections {
            let Some(entry) = section.entry("redirect") else { continue };
            let hint = if is_plain {
                "with tls = \"off\" in [server], no listener speaks TLS"
            } else {
                "add one: [[listen]] with address = \":443\""
            };
            problems.add_with(&entry.place, "'redirect' needs another [[listen]] that speaks TLS", hint);
        }
    }
    listeners
}

/// Returns the listener of a configuration that names none.
pub(super) fn default(place: &Place, is_plain: bool, has_names: bool, port: Option<u16>) -> ListenerConfig {
    let port = port.unwrap_or(if is_plain { PORT_HTTP } else { PORT_HTTPS });
    ListenerConfig {
        place: place.clone(),
        // As `sitar serve`: who has a certificate has a name to be reached under.
        addresses: vec![if has_names { Listen::Port(port) } else { Listen::Localhost(port) }],
        sockets: Vec::new(),
        paths: Vec::new(),
        passed: Vec::new(),
        mode: None,
        proxies: Vec::new(),
        role: if is_plain { ListenerRole::Plain } else { ListenerRole::Https },
    }
}

fn role(section: &Section, is_plain: bool, problems: &mut Problems) -> ListenerRole {
    match (section.entry("redirect"), section.entry("tls")) {
        (Some(_), Some(tls)) => {
            problems.add_with(
                &tls.place,
                "'tls' cannot be used with 'redirect', which is plain HTTP already",
                "take out one of the two",
            );
            ListenerRole::RedirectToHttps
        }
        (Some(_), None) => ListenerRole::RedirectToHttps,
        (None, Some(_)) => ListenerRole::Plain,
        (None, None) if is_plain => ListenerRole::Plain,
        (None, None) => ListenerRole::Https,
    }
}

/// What `address` names.
enum Wanted {
    Address(Listen),
    Socket(SocketName),
    Path(PathBuf),
    Passed(PathBuf),
}

fn parse(text: &str, place: &Place, problems: &mut Problems) -> Option<Wanted> {
    if let Some(path) = text.trim_matches(' ').strip_prefix(UNIX) {
        return unix(UNIX, path, place, problems).map(Wanted::Path);
    }
    if let Some(path) = text.trim_matches(' ').strip_prefix(PASSED) {
        return unix(PASSED, path, place, problems).map(Wanted::Passed);
    }
    let wanted = match SocketName::of_address(text) {
        Some(name) => name.map(Wanted::Socket),
        None => text.parse().map(Wanted::Address),
    };
    let error = match wanted {
        Ok(wanted) => return Some(wanted),
        Err(error) => error,
    };
    let (why, hint) = match error {
        ListenError::SocketName => (error.to_string(), "for example: address = \"systemd:https\"".to_owned()),
        ListenError::Star => {
            let port = text.trim_matches(' ').trim_start_matches('*');
            ("a port alone is every address".to_owned(), format!("write: address = \"{port}\""))
        }
        other => (other.to_string(), "for example: address = \":443\"".to_owned()),
    };
    problems.add_with(place, format!("invalid value {} for 'address': {why}", quoted(text)), hint);
    None
}

/// Returns the path of a Unix socket: as it is written, or relative to the folder of the file.
fn unix(kind: &str, path: &str, place: &Place, problems: &mut Problems) -> Option<PathBuf> {
    let name = if kind == PASSED { "pass" } else { "http" };
    let hint = format!("for example: address = \"{kind}/run/sitar/{name}.sock\"");
    socket_path(kind, path, &hint, place, problems)
}

/// Returns the path of a Unix socket, which stands behind `kind`, with this hint where it cannot
/// be one.
pub(super) fn socket_path(
    kind: &str,
    path: &str,
    hint: &str,
    place: &Place,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let whole = place.file.parent().unwrap_or(Path::new("")).join(path);
    let len = whole.as_os_str().len();
    if path.is_empty() || path.contains('\0') {
        problems.add_with(place, format!("behind {kind} stands the path of a socket"), hint);
        return None;
    }
    if len > PATH_MAX {
        let what =
            format!("the path of this socket has {len} bytes, and the kernel takes at most {PATH_MAX}");
        problems.add_with(place, what, hint);
        return None;
    }
    Some(whole)
}

/// Returns the permissions of Unix sockets that a table has.
fn mode(section: &Section, problems: &mut Problems) -> Option<u32> {
    let entry = section.entry("mode")?;
    let (text, place) = section.text("mode")?;
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    if mode.is_none() {
        let what = format!("invalid value {} for 'mode': expected permissions in octal", quoted(text));
        problems.add_with(place, what, "for example: mode = \"0660\"");
    }
    let is_unix = |text: &str| text.starts_with(UNIX) || text.starts_with(PASSED);
    if !section.texts("address").iter().any(|address| is_unix(address.text.trim_matches(' '))) {
        let hint = "take it out, or add an address: \"unix:/run/sitar/http.sock\"";
        problems.add_with(&entry.place, "'mode' is for Unix sockets, and no address is one", hint);
    }
    mode
}

/// Adds the path of a socket to those in use, whatever it is for. Returns whether the listener
/// needs it.
fn claim_path(
    named: &mut Vec<(String, Place)>,
    kind: &str,
    path: &Path,
    place: &Place,
    problems: &mut Problems,
) -> bool {
    let other = format!("{}{}", if kind == UNIX { PASSED } else { UNIX }, path.display());
    if let Some((_, earlier)) = named.iter().find(|(name, _)| *name == other) {
        let what = format!("the path {} is there twice", quoted(&path.display().to_string()));
        problems.add_with(place, what, format!("the other one is at {earlier}"));
        return false;
    }
    claim_name(named, format!("{kind}{}", path.display()), place, problems)
}

/// Adds the name of a socket to those in use. Returns whether the listener needs it.
fn claim_name(
    named: &mut Vec<(String, Place)>,
    name: String,
    place: &Place,
    problems: &mut Problems,
) -> bool {
    if let Some((_, earlier)) = named.iter().find(|(other, _)| *other == name) {
        let what = format!("the address {} is there twice", quoted(&name));
        problems.add_with(place, what, format!("the other one is at {earlier}"));
        return false;
    }
    named.push((name, place.clone()));
    true
}

/// Returns the sockets of an address.
fn sockets(listen: Listen) -> Vec<(IpAddr, u16)> {
    match listen {
        Listen::Port(port) => {
            vec![(Ipv4Addr::UNSPECIFIED.into(), port), (Ipv6Addr::UNSPECIFIED.into(), port)]
        }
        Listen::Localhost(port) => {
            vec![(Ipv4Addr::LOCALHOST.into(), port), (Ipv6Addr::LOCALHOST.into(), port)]
        }
        Listen::Address(socket) => vec![(socket.ip(), socket.port())],
    }
}

/// Returns whether not both can be bound.
fn overlap((one, port): (IpAddr, u16), (other, other_port): (IpAddr, u16)) -> bool {
    port == other_port
        && port != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// Returns whether a listener has this address or path, or an address that overlaps with it.
pub(super) fn have(listeners: &[ListenerConfig], endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(address) => {
            let mut all = listeners.iter().flat_map(|listener| &listener.addresses).copied();
            let own = (address.ip(), address.port());
            all.any(|listen| sockets(listen).into_iter().any(|socket| overlap(socket, own)))
        }
        Endpoint::Unix(path) | Endpoint::Passed(path) => {
            listeners.iter().any(|listener| listener.paths.contains(path) || listener.passed.contains(path))
        }
    }
}

/// Adds an address to those in use. Returns whether the listener needs it.
fn claim(bound: &mut Vec<Bound>, listen: Listen, text: &str, place: &Place, problems: &mut Problems) -> bool {
    let sockets = sockets(listen);
    let earlier =
        sockets.iter().find_map(|socket| bound.iter().find(|bound| overlap((bound.ip, bound.port), *socket)));
    if let Some(earlier) = earlier {
        let what = if earlier.text.trim_matches(' ') == text.trim_matches(' ') {
            format!("the address {} is there twice", quoted(text))
        } else {
            format!("the address {} and {} overlap", quoted(text), quoted(&earlier.text))
        };
        problems.add_with(place, what, format!("the other one is at {}", earlier.place));
        return false;
    }
    bound.extend(sockets.into_iter().map(|(ip, port)| Bound {
        ip,
        port,
        text: text.to_owned(),
        place: place.clone(),
    }));
    true
}

/// Returns what is served on a port; `None` where nothing is, or not the same on all addresses. A
/// host that is not local is not looked for on loopback, where another program may stand in front.
pub(super) fn role_on(listeners: &[ListenerConfig], port: u16, is_local: bool) -> Option<ListenerRole> {
    let is_reached = |listen: &Listen| match listen {
        Listen::Port(own) => *own == port,
        Listen::Localhost(own) => is_local && *own == port,
        Listen::Address(socket) => socket.port() == port && (is_local || !socket.ip().is_loopback()),
    };
    let reached = listeners.iter().filter(|listener| listener.addresses.iter().any(is_reached));
    let mut roles = reached.map(|listener| listener.role);
    let first = roles.next()?;
    roles.all(|role| role == first).then_some(first)
}
