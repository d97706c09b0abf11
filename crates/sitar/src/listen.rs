//! Binds the sockets that the shards accept on: for each address one socket per shard, joined by
//! `SO_REUSEPORT`.
//!
//! `SO_REUSEPORT` would also join the sockets of *another* program of the same user, which then
//! silently gets part of the connections. So the first socket of an address is bound without it and
//! only then allows others beside itself: a taken port is found without a gap in which another
//! program could take it.

mod endpoint;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::Error;
use crate::settings::Address;

pub use self::endpoint::Endpoint;
pub(crate) use self::endpoint::{PASSED, UNIX};

/// Bytes that TCP takes of an answer beyond what it can send now. A socket has room again below
/// half of them, and then for a whole send buffer.
const NOTSENT_LOWAT: u32 = 160 << 10;
/// Connections that wait to be accepted, per socket. The kernel takes the smaller of this and
/// `net.core.somaxconn`, which is 4096 by default.
pub(crate) const BACKLOG: i32 = 4096;

/// The number of times that a port, chosen by the kernel for one address, may turn out to be taken
/// on another.
const CHOICES_MAX: usize = 16;

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// The sockets of each of `addresses`, in the same order: one for each shard.
    pub groups: Vec<Vec<TcpListener>>,
    /// The addresses in use, with real ports in the place of port 0.
    pub addresses: Vec<SocketAddr>,
    /// Optional addresses that this machine does not have.
    pub skipped: Vec<SocketAddr>,
}

/// Binds and listens on every address, once for each shard.
///
/// Several addresses with port 0 get one and the same port, chosen by the kernel.
///
/// # Errors
/// A taken port, a port that needs a privilege, an address this machine does not have: each with
/// its remedy. Nothing stays bound then.
pub fn bind(addresses: &[Address], shards: NonZeroU16) -> Result<Listeners, Error> {
    bind_beside(addresses, shards, false)
}

/// The same beside others, which are listened on already: `has_others`. Then it is no error that
/// this machine has none of the optional ones.
///
/// # Errors
/// As for [`bind`].
pub fn bind_beside(addresses: &[Address], shards: NonZeroU16, has_others: bool) -> Result<Listeners, Error> {
    let free_choice = addresses.iter().any(|address| address.socket.port() == 0);
    let attempts = if free_choice { CHOICES_MAX } else { 1 };
    let mut attempt = 1;
    loop {
        let bound = bind_all(addresses, shards);
        match if has_others { bound } else { bound.and_then(refuse_none) } {
            Ok(listeners) => return Ok(listeners),
            // The port that the kernel chose for one address is taken on another: choose again.
            Err(failure) if failure.chosen && failure.errno == Errno::ADDRINUSE && attempt < attempts => {
                attempt += 1;
            }
            Err(failure) => return Err(explain(&failure)),
        }
    }
}

/// Checks whether a socket can have this address now. It does not listen, so no client can connect
/// to it meanwhile.
///
/// # Errors
/// The errors of bind(2): among others a taken port and one that needs a privilege.
pub fn try_address(address: SocketAddr) -> Result<(), Errno> {
    rustix::net::bind(new_socket(address)?, &address)
}

/// Checks an address as a start would, but that one in use is fine.
///
/// # Errors
/// It cannot be had: with its remedy.
pub fn check(address: &Address) -> Result<(), Error> {
    match try_address(address.socket) {
        Ok(()) | Err(Errno::ADDRINUSE) => Ok(()),
        Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) if address.optional => Ok(()),
        Err(errno) => Err(explain(&Failure { address: address.socket, errno, chosen: false })),
    }
}

/// A system call that failed, and for which address.
struct Failure {
    address: SocketAddr,
    errno: Errno,
    /// The port was the kernel's choice for an earlier address.
    chosen: bool,
}

fn bind_all(addresses: &[Address], shards: NonZeroU16) -> Result<Listeners, Failure> {
    let shards = usize::from(shards.get());
    let mut listeners = Listeners {
        groups: Vec::with_capacity(addresses.len()),
        addresses: Vec::with_capacity(addresses.len()),
        skipped: Vec::new(),
    };
    let mut chosen_port = None;
    for address in addresses {
        let mut socket = address.socket;
        let port_is_free_choice = socket.port() == 0;
        if port_is_free_choice {
            socket.set_port(chosen_port.unwrap_or(0));
        }
        match bind_group(socket, shards) {
            Ok((group, real)) => {
                if port_is_free_choice {
                    chosen_port = Some(real.port());
                }
                listeners.groups.push(group);
                listeners.addresses.push(real);
            }
            Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) if address.optional => {
                listeners.skipped.push(address.socket);
            }
            Err(errno) => {
                let chosen = port_is_free_choice && chosen_port.is_some();
                return Err(Failure { address: address.socket, errno, chosen });
            }
        }
    }
    Ok(listeners)
}

/// Refuses addresses of which this machine has none.
fn refuse_none(listeners: Listeners) -> Result<Listeners, Failure> {
    match (listeners.addresses.first(), listeners.skipped.first()) {
        (None, Some(&address)) => Err(Failure { address, errno: Errno::ADDRNOTAVAIL, chosen: false }),
        _ => Ok(listeners),
    }
}

/// All sockets of one address, listening, and the address with its real port.
fn bind_group(address: SocketAddr, shards: usize) -> Result<(Vec<TcpListener>, SocketAddr), Errno> {
    let first = new_socket(address)?;
    rustix::net::bind(&first, &address)?;
    sockopt::set_socket_reuseport(&first, true)?;
    let real = SocketAddr::try_from(rustix::net::getsockname(&first)?)?;

    let mut group = Vec::with_capacity(shards);
    group.push(first);
    for _ in 1..shards {
        let socket = new_socket(address)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        rustix::net::bind(&socket, &real)?;
        group.push(socket);
    }
    // SO_REUSEADDR lets two programs bind while neither listens; the second to listen gets
    // EADDRINUSE.
    for socket in &group {
        rustix::net::listen(socket, BACKLOG)?;
    }
    Ok((group.into_iter().map(TcpListener::from).collect(), real))
}

fn new_socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A restart need not wait for the connections of the last run to leave TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    prepare(&socket)?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own; peers must not show up as ::ffff:192.0.2.1.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// Sets the options that sockets inherit which a listening one accepts.
///
/// # Errors
/// It is no TCP socket.
pub(crate) fn prepare(socket: &OwnedFd) -> Result<(), Errno> {
    // Answers leave in whole sends, so there is nothing for Nagle to collect.
    sockopt::set_tcp_nodelay(socket, true)?;
    // What the kernel has taken cannot be overtaken by an answer that is more urgent. One that does
    // not know this does without.
    let _ = sitar_io::set_tcp_notsent_lowat(socket, NOTSENT_LOWAT);
    Ok(())
}

fn explain(failure: &Failure) -> Error {
    let Failure { address, errno, .. } = *failure;
    let port = address.port();
    let error = Error::new(format!("cannot listen on {address}"));
    match errno {
        Errno::ADDRINUSE => error
            .cause("another program listens on this port")
            .hint(format!("see which one: ss -ltnp 'sport = :{port}'"))
            .hint(format!("or take another port: --listen {}", with_port(address, other_port(port)))),
        Errno::ACCESS if port < 1024 => error
            .cause(format!("port {port} is below 1024, which needs a privilege"))
            .hint("allow it for this program: sudo setcap cap_net_bind_service=+ep \"$(command -v sitar)\"")
            .hint("or in its systemd unit: AmbientCapabilities=CAP_NET_BIND_SERVICE")
            .hint(format!("or for everybody: sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"))
            .hint(format!("or take another port: --listen {}", with_port(address, other_port(port)))),
        Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => error
            .cause("this machine does not have that address")
            .hint("see which it has: ip -brief address")
            .hint(format!("or listen on this machine only: --listen localhost:{port}")),
        Errno::MFILE | Errno::NFILE => error
            .cause("too many open files")
            .hint("raise the limit (ulimit -n, or LimitNOFILE= in a systemd unit) or give fewer --shards"),
        other => error.cause(io::Error::from(other)),
    }
}

/// A port to propose instead of one that cannot be had.
fn other_port(port: u16) -> u16 {
    match port {
        443 => 8443,
        80 => 8080,
        0..1024 => 8443,
        1024..=64_535 => port + 1000,
        64_536.. => port - 1000,
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

#[cfg(test)]
mod tests;
