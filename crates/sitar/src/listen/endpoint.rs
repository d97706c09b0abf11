//! What a listening socket is bound to.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::net::SocketAddrUnix;

/// What a listening socket is bound to, by which it is found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket over which another process passes connections.
    Passed(PathBuf),
    /// The path of a Unix socket; `@` begins a name that is no path (unix(7), abstract).
    Unix(PathBuf),
}

/// Begins the path of a Unix socket.
pub(crate) const UNIX: &str = "unix:";
/// Begins the path of a Unix socket over which connections are passed.
pub(crate) const PASSED: &str = "passed:";

impl Endpoint {
    /// Returns that of a Unix socket; `None`: it has no name, or one that is no text.
    pub(crate) fn of_unix(address: &SocketAddrUnix) -> Option<Endpoint> {
        if let Some(path) = address.path_bytes().filter(|path| !path.is_empty()) {
            return Some(Endpoint::Unix(OsStr::from_bytes(path).into()));
        }
        let name = std::str::from_utf8(address.abstract_name()?).ok()?;
        Some(Endpoint::Unix(format!("@{name}").into()))
    }

    /// Returns the address of TCP, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) | Endpoint::Passed(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "{UNIX}{}", crate::error::printable(path)),
            Endpoint::Passed(path) => write!(f, "{PASSED}{}", crate::error::printable(path)),
        }
    }
}

impl FromStr for Endpoint {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Endpoint, Self::Err> {
        match (text.strip_prefix(UNIX), text.strip_prefix(PASSED)) {
            (Some(path), _) => Ok(Endpoint::Unix(path.into())),
            (None, Some(path)) => Ok(Endpoint::Passed(path.into())),
            (None, None) => text.parse().map(Endpoint::Tcp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "127.0.0.1:443",
            "[::1]:8443",
            "unix:/run/sitar/http.sock",
            "unix:@name",
            "passed:/run/sitar/pass.sock",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert!("example.com:443".parse::<Endpoint>().is_err());
    }
}
