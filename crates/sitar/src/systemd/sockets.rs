//! sd_listen_fds(3): listening sockets that the service manager has opened and passed, by the names
//! that their units give them (`FileDescriptorName=`).

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{OwnedFd, RawFd};

use rustix::net::SocketAddrUnix;
use sitar_io::inherit::{self, Kind, NotInherited};

use crate::config::{self, Config, ListenerConfig, Problem};
use crate::error::Error;
use crate::listen::{self, Endpoint};
use crate::settings::SocketName;

/// The number of the first descriptor.
const FIRST: RawFd = 3;
/// The most descriptors that are taken over.
const SOCKETS_MAX: usize = 4096;
/// The name of a socket to which its unit gives none, where the service manager passes no names.
const UNKNOWN: &str = "unknown";

/// The sockets that were passed to this process.
#[derive(Debug, Default)]
pub struct Passed(Vec<One>);

/// A descriptor that was passed.
#[derive(Debug)]
struct One {
    name: String,
    /// Why it cannot be listened on, otherwise.
    socket: Result<Socket, String>,
}

/// A stream socket that listens, of TCP or a Unix one.
#[derive(Debug)]
pub struct Socket {
    address: Endpoint,
    fd: OwnedFd,
}

impl Passed {
    /// Takes over what was passed to this process. Called once, at start, before anything is opened
    /// that other programs inherit.
    ///
    /// # Errors
    /// The variables contradict each other.
    pub fn from_environment() -> Result<Passed, Error> {
        let [pid, count, names] =
            [super::LISTEN_PID, super::LISTEN_FDS, super::LISTEN_FDNAMES].map(std::env::var_os);
        let names = names_of(pid.as_deref(), count.as_deref(), names.as_deref(), std::process::id())?;
        let all = (FIRST..).zip(names).map(|(number, name)| One { name, socket: take(number) });
        Ok(Passed(all.collect()))
    }

    /// Takes over what was passed to a process before this one, by name.
    pub(crate) fn of_another(sockets: Vec<(String, OwnedFd)>) -> Passed {
        Passed(sockets.into_iter().map(|(name, fd)| One { name, socket: of_listening(fd) }).collect())
    }

    /// Returns those that can be listened on, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.0.iter().filter_map(|one| Some((one.name.as_str(), &one.socket.as_ref().ok()?.fd)))
    }

    /// Returns the sockets that a listener's configuration names.
    ///
    /// # Errors
    /// The names that were not passed, and those of which one is no stream socket that listens.
    pub fn of_listener(&self, listener: &ListenerConfig) -> Result<Vec<&Socket>, Vec<Problem>> {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for name in &listener.sockets {
            match self.named(name) {
                Ok(sockets) => found.extend(sockets),
                Err(error) => problems.push(config::problem(&listener.place, &error)),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    fn named(&self, name: &SocketName) -> Result<Vec<&Socket>, Error> {
        let mut found = Vec::new();
        for one in self.0.iter().filter(|one| one.name == name.as_str()) {
            let refused = |why| {
                Error::new(format!("the socket '{name}' that systemd passes cannot be listened on"))
                    .cause(why)
                    .hint("in its socket unit: ListenStream= with a port or a path, and Accept=no")
            };
            found.push(one.socket.as_ref().map_err(refused)?);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let mut names: Vec<String> = self.0.iter().map(|one| format!("'{}'", one.name)).collect();
        names.dedup();
        let error = Error::new(format!("systemd passes no socket with the name '{name}'"));
        Err(if names.is_empty() {
            error.cause("it passes none").hint(format!(
                "start sitar together with a socket unit that has FileDescriptorName={name}: \
                 systemctl start sitar.socket sitar.service"
            ))
        } else {
            error
                .cause(format!("it passes {}", names.join(", ")))
                .hint(format!("in a socket unit of sitar: FileDescriptorName={name}"))
        })
    }

    /// Returns a sentence about each socket that no listener of a configuration names. The service
    /// manager goes on listening there.
    #[must_use]
    pub fn unused(&self, config: &Config) -> Vec<String> {
        let is_used = |one: &&One| {
            config.listeners.iter().any(|l| l.sockets.iter().any(|name| name.as_str() == one.name))
        };
        let unused = self.0.iter().filter(|one| !is_used(one));
        unused
            .map(|One { name, socket }| match socket {
                Ok(Socket { address, .. }) => format!(
                    "systemd passes the socket '{name}' ({address}), which no [[listen]] names: clients wait \
                     there for an answer; the name is: address = \"systemd:{name}\""
                ),
                Err(why) => {
                    format!("systemd passes '{name}', which no [[listen]] names and none could: {why}")
                }
            })
            .collect()
    }
}

impl Socket {
    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Returns duplicates, one for each shard. It is one socket with one queue, from which all of
    /// them accept.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn for_shards(&self, shards: NonZeroU16) -> io::Result<Vec<OwnedFd>> {
        (0..shards.get()).map(|_| self.fd.try_clone()).collect()
    }
}

fn take(number: RawFd) -> Result<Socket, String> {
    let fd = match inherit::take(number, Kind::Listener) {
        Ok(fd) => fd,
        // Taken over, so that no command inherits it.
        Err(NotInherited::AnotherKind(_)) if inherit::take(number, Kind::Datagrams).is_ok() => {
            return Err("it is a datagram socket".into());
        }
        Err(error) => return Err(error.to_string()),
    };
    of_listening(fd)
}

fn of_listening(fd: OwnedFd) -> Result<Socket, String> {
    let name = rustix::net::getsockname(&fd).map_err(|errno| errno.to_string())?;
    let unknown = || "it is neither a TCP socket nor a Unix socket with a name".to_owned();
    let Ok(address) = SocketAddr::try_from(name.clone()) else {
        let name = SocketAddrUnix::try_from(name).map_err(|_| unknown())?;
        let address = Endpoint::of_unix(&name).ok_or_else(unknown)?;
        // As those that are made here.
        let _ = sitar_io::refuse_descriptors(&fd);
        return Ok(Socket { address, fd });
    };
    // As those that are bound here.
    listen::prepare(&fd).map_err(|errno| errno.to_string())?;
    Ok(Socket { address: Endpoint::Tcp(address), fd })
}

/// Returns the names of the descriptors that were passed to this process, in their order.
fn names_of(
    pid: Option<&OsStr>,
    count: Option<&OsStr>,
    names: Option<&OsStr>,
    own: u32,
) -> Result<Vec<String>, Error> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(Vec::new()) };
    // Those of another process, which has passed its environment on.
    if pid.to_str().and_then(|pid| pid.parse().ok()) != Some(own) {
        return Ok(Vec::new());
    }
    let wrong = |name: &str, value: &OsStr, why: String| {
        Error::new(format!("cannot take over sockets: {name} is '{}'", value.to_string_lossy())).cause(why)
    };
    let number = count.to_str().and_then(|count| count.parse::<usize>().ok());
    let Some(number) = number.filter(|number| *number <= SOCKETS_MAX) else {
        let why = format!("expected a number of at most {SOCKETS_MAX}");
        return Err(wrong(super::LISTEN_FDS, count, why));
    };
    let Some(names) = names else { return Ok(vec![UNKNOWN.to_owned(); number]) };
    let given: Vec<String> = match names.to_str() {
        Some("") if number == 0 => Vec::new(),
        // A name that is no text is the name of no listener.
        _ => names.to_string_lossy().split(':').map(str::to_owned).collect(),
    };
    if given.len() != number {
        let why = format!("these are {} names for {number} sockets", given.len());
        return Err(wrong(super::LISTEN_FDNAMES, names, why));
    }
    Ok(given)
}

#[cfg(test)]
mod tests;
