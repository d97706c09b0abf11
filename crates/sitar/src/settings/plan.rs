//! From settings to what is bound, and with which certificates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::{Listen, PORT_HTTP, PORT_HTTPS, Settings, Tls};
use crate::error::Error;
use crate::watch::Watch;

/// The addresses that `sitar serve` listens on, and its certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Addresses without repetitions; never empty.
    pub addresses: Vec<Address>,
    /// The certificates to use.
    pub security: Security,
}

/// One address to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address; port 0 lets the kernel choose one.
    pub socket: SocketAddr,
    /// It came out of a default or of `localhost`: a machine without this address family does
    /// without it.
    pub optional: bool,
}

/// The source of the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Made on this machine, for this machine: loopback only.
    Local,
    /// The operator's own; never empty.
    Certificates(Vec<CertificateFiles>),
    /// None: plain HTTP.
    Plain,
}

/// A certificate chain and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// PEM, the server's own certificate first.
    pub chain: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

impl Settings {
    /// Turns the settings into what to bind and with which certificate.
    ///
    /// With a certificate the default is every address of the machine, IPv6 and IPv4: who has a
    /// certificate has a name to be reached under. Without one, and for plain HTTP, the default is
    /// loopback.
    ///
    /// # Errors
    /// An address other than `localhost`'s, without a certificate: the local one is good for no
    /// other.
    pub fn plan(&self) -> Result<Plan, Error> {
        let security = self.security();
        let port = self.default_port.unwrap_or(match security {
            Security::Plain => PORT_HTTP,
            Security::Local | Security::Certificates(_) => PORT_HTTPS,
        });
        let default = [Listen::Port(port)];
        let listen = if self.listen.is_empty() { &default[..] } else { &self.listen };

        let mut addresses = Vec::new();
        for listen in listen {
            addresses.extend(listen.expand(&security));
        }
        if security == Security::Local
            && let Some(open) = addresses.iter().find(|address| !has_local_name(address.socket.ip()))
        {
            return Err(refuse_open_address(open.socket));
        }
        Ok(Plan { addresses: without_covered(&addresses), security })
    }

    /// Returns the way in which the site is watched.
    #[must_use]
    pub fn watch(&self) -> Watch {
        match self.poll {
            _ if self.no_watch => Watch::Off,
            Some(every) => Watch::Poll(every),
            None => Watch::Auto,
        }
    }

    fn security(&self) -> Security {
        if self.tls == Tls::Off {
            return Security::Plain;
        }
        let files: Vec<_> = self
            .tls_cert
            .iter()
            .zip(&self.tls_key)
            .map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() })
            .collect();
        if files.is_empty() { Security::Local } else { Security::Certificates(files) }
    }
}

/// Drops repetitions and addresses that an unspecified address of the same port and family takes
/// anyway: bound twice, the second would look like a port taken by another program.
fn without_covered(addresses: &[Address]) -> Vec<Address> {
    let mut kept: Vec<Address> = Vec::new();
    for address in addresses {
        let socket = address.socket;
        let covered = addresses.iter().any(|other| {
            other.socket != socket
                && other.socket.port() == socket.port()
                && other.socket.is_ipv4() == socket.is_ipv4()
                && other.socket.ip().is_unspecified()
        });
        match kept.iter_mut().find(|earlier| earlier.socket == socket) {
            // Asked for by name once is asked for by name.
            Some(earlier) => earlier.optional &= address.optional,
            None if covered && socket.port() != 0 => {}
            None => kept.push(*address),
        }
    }
    kept
}

/// Whether the local certificate is good for this address: of 127.0.0.0/8 it names the first only.
fn has_local_name(ip: IpAddr) -> bool {
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

fn refuse_open_address(address: SocketAddr) -> Error {
    Error::new(format!("will not listen on {address} without a certificate"))
        .cause("the certificate that sitar makes by itself is good for localhost, 127.0.0.1 and ::1 only")
        .hint("give one: --tls-cert chain.pem --tls-key key.pem")
        .hint(format!("or stay on this machine: --listen localhost:{}", address.port()))
        .hint("or serve without encryption, for instance behind a proxy: --tls off")
}
