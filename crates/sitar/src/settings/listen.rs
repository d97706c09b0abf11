//! Addresses as the operator writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::values::port as parse_port;
use super::{Address, Security};
use crate::listen::UNIX;

/// An address as the operator writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// `8443` or `:8443`: the default hosts with this port.
    Port(u16),
    /// `localhost:8443`: both loopback addresses.
    Localhost(u16),
    /// One literal address.
    Address(SocketAddr),
}

impl Listen {
    pub(crate) fn expand(self, security: &Security) -> Vec<Address> {
        let both = |v6: Ipv6Addr, v4: Ipv4Addr, port: u16| {
            vec![
                Address { socket: SocketAddr::new(v4.into(), port), optional: true },
                Address { socket: SocketAddr::new(v6.into(), port), optional: true },
            ]
        };
        match (self, security) {
            (Listen::Address(socket), _) => vec![Address { socket, optional: false }],
            (Listen::Port(port), Security::Certificates(_)) => {
                both(Ipv6Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, port)
            }
            (Listen::Port(port), Security::Local | Security::Plain) | (Listen::Localhost(port), _) => {
                both(Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST, port)
            }
        }
    }
}

/// The name of a socket that systemd passes: `https` in `systemd:https`. Its unit has it as
/// `FileDescriptorName=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketName(String);

/// Begins an address that is a name of systemd's.
const SYSTEMD: &str = "systemd:";
/// The most bytes of such a name (systemd.socket(5)).
const SOCKET_NAME_MAX: usize = 255;

impl SocketName {
    /// Returns the name in an address of that form; `None` where it is of another form.
    ///
    /// # Errors
    /// [`ListenError::SocketName`]: no socket can have that name.
    pub fn of_address(text: &str) -> Option<Result<SocketName, ListenError>> {
        let name = text.trim_matches(' ').strip_prefix(SYSTEMD)?;
        let is_valid = (1..=SOCKET_NAME_MAX).contains(&name.len())
            && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':');
        Some(if is_valid { Ok(SocketName(name.to_owned())) } else { Err(ListenError::SocketName) })
    }

    /// Returns the name alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address that names it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{SYSTEMD}{}", self.0)
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Listen, ListenError> {
        // As behind the commas of a list.
        let text = text.trim_matches(' ');
        if text.starts_with(SYSTEMD) {
            return Err(ListenError::Systemd);
        }
        if text.starts_with(UNIX) {
            return Err(ListenError::Unix);
        }
        if let Some(port) = parse_port(text.strip_prefix(':').unwrap_or(text)) {
            return Ok(Listen::Port(port));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            // A mapped IPv4 address cannot be bound by an IPv6-only socket.
            let ip = socket.ip().to_canonical();
            return Ok(Listen::Address(if ip == socket.ip() {
                socket
            } else {
                SocketAddr::new(ip, socket.port())
            }));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<IpAddr>().is_ok() {
            return Err(ListenError::NoPort);
        }
        match text.rsplit_once(':').or_else(|| is_number(text).then_some(("", text))) {
            Some((host, port)) if is_number(port) && parse_port(port).is_none() && is_bound(host) => {
                Err(ListenError::BadPort)
            }
            Some(("*", port)) if is_number(port) => Err(ListenError::Star),
            Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
                parse_port(port).map(Listen::Localhost).ok_or(ListenError::BadPort)
            }
            Some((host, port)) if parse_port(port).is_some() && is_host_name(host) => Err(ListenError::Name),
            _ if text.eq_ignore_ascii_case("localhost") => Err(ListenError::NoPort),
            _ => Err(ListenError::Malformed),
        }
    }
}

/// The reason that a `--listen` address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenError {
    /// An address, but no port.
    NoPort,
    /// The port is not a number from 0 to 65535.
    BadPort,
    /// A host name other than `localhost`.
    Name,
    /// `*`, which other servers have for every address.
    Star,
    /// A socket of systemd's, which only a configuration can name.
    Systemd,
    /// A Unix socket, which only a configuration can name.
    Unix,
    /// No name of a socket of systemd's.
    SocketName,
    /// Nothing that was recognized.
    Malformed,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListenError::NoPort => "the port is missing, as in 127.0.0.1:8443 or [::1]:8443",
            ListenError::BadPort => "a port is a number from 0 to 65535",
            ListenError::Name => "give an address instead of a name; only localhost is known by name",
            ListenError::Star => {
                "every address is two: --listen 0.0.0.0:PORT for IPv4 and --listen '[::]:PORT' for IPv6"
            }
            ListenError::Systemd => {
                "sockets of systemd's are named in a configuration only: sitar serve --config FILE"
            }
            ListenError::Unix => {
                "Unix sockets are named in a configuration only: sitar serve --config FILE"
            }
            ListenError::SocketName => {
                "behind systemd: is the name of a socket, FileDescriptorName= of its unit: at most 255 \
                 letters, digits or signs of ASCII, no colon"
            }
            ListenError::Malformed => {
                "expected a port or an address with a port: 8443, 127.0.0.1:8443, [::1]:8443 or localhost:8443"
            }
        })
    }
}

impl std::error::Error for ListenError {}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a port may stand behind it: nothing, or an address.
fn is_bound(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.is_empty()
        || host.parse::<Ipv4Addr>().is_ok()
        || bare.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}
