//! The client whose time is measured. It speaks HTTP/1.1.

use crate::client::request;
use crate::program::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// An answer that takes longer counts as none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A way to ask.
#[derive(Clone, Copy)]
pub(super) enum Visit {
    /// Each request over a connection of its own.
    Fresh,
    /// All over one connection.
    Kept,
}

impl Visit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Visit::Fresh => "fresh connections",
            Visit::Kept => "a kept connection",
        }
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

pub(super) struct Visitor {
    visit: Visit,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    kept: Option<Box<dyn Wire>>,
}

impl Visitor {
    pub(super) fn new(visit: Visit, port: u16, ca: Option<&Path>) -> Result<Visitor> {
        let mut tls = ca.map(trusting).transpose()?;
        // Each handshake is a whole one.
        if let Some(config) = tls.as_mut().and_then(Arc::get_mut) {
            config.resumption = Resumption::disabled();
        }
        Ok(Visitor { visit, port, tls, kept: None })
    }

    /// Requests a file and returns the time until its end, which begins before a fresh connection
    /// does.
    pub(super) fn ask(&mut self, path: &str) -> io::Result<Duration> {
        let start = Instant::now();
        let mut wire = match self.kept.take() {
            Some(wire) => wire,
            None => self.connect()?,
        };
        request(&mut wire, "GET", path, "localhost")?;
        let took = start.elapsed();
        if let Visit::Kept = self.visit {
            self.kept = Some(wire);
        }
        Ok(took)
    }

    fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let socket = connect(ADDRESS, self.port, TIMEOUT)?;
        Ok(match &self.tls {
            Some(config) => Box::new(handshake(config, socket)?),
            None => Box::new(socket),
        })
    }
}

/// Returns a configuration that trusts this authority.
pub(super) fn trusting(ca: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Connects from an address of this machine.
pub(super) fn connect(from: Ipv4Addr, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(timeout))?;
    // It is the limit of connect(2), too.
    socket.set_write_timeout(Some(timeout))?;
    rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

pub(super) fn handshake(
    config: &Arc<ClientConfig>,
    mut socket: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}
