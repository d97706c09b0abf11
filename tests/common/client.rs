//! A plain HTTP/1.1 client over rustls: one connection, no cleverness, so that what is measured is
//! the server.

use super::{PATIENCE, Server};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A connection whose handshake is done.
pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Received and not yet given out: `held[used..]`.
    held: Vec<u8>,
    used: usize,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// All of them, names in lower case, in the order in which they came.
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    pub(crate) fn new(status: u16, fields: Vec<(String, String)>) -> Response {
        Response { status, fields, body: Vec::new() }
    }

    /// The first field of that name (lower case), if any.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Returns what a client trusts and offers: the server's CA, `http/1.1`, sessions resumed where the
/// configuration is shared.
pub(crate) fn config(server: &Server) -> Arc<ClientConfig> {
    trusting(roots(server), &[b"http/1.1"])
}

/// Returns what a client trusts and offers.
pub(crate) fn trusting(roots: RootCertStore, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// The same for one version and one cipher suite of it, so that what is agreed on is the same on
/// every machine.
pub(crate) fn fixed(
    roots: RootCertStore,
    version: &'static SupportedProtocolVersion,
    protocol: &[u8],
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites =
        vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Returns the certificates in these files, each the first of its own.
pub(crate) fn roots_in(files: impl IntoIterator<Item = impl AsRef<Path>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for file in files {
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    }
    roots
}

/// The server's CA.
pub(crate) fn roots(server: &Server) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(server.ca()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

impl Client {
    /// Connects and completes the handshake, with verification.
    pub(crate) fn connect(server: &Server) -> Client {
        Client::open(&config(server), server.address()).unwrap()
    }

    pub(crate) fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<Client> {
        Client::over(config, socket(address)?)
    }

    /// Completes the handshake on a connection that exists.
    pub(crate) fn over(config: &Arc<ClientConfig>, socket: TcpStream) -> io::Result<Client> {
        let name = ServerName::from(socket.peer_addr()?.ip());
        Client::over_as(config, socket, name)
    }

    /// Completes the handshake, in which it asks for `name`: for none if that is an IP address.
    pub(crate) fn over_as(
        config: &Arc<ClientConfig>,
        mut socket: TcpStream,
        name: ServerName<'static>,
    ) -> io::Result<Client> {
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Client { stream: StreamOwned::new(connection, socket), held: Vec::new(), used: 0 })
    }

    /// Returns the TLS connection, to speak something else on.
    pub(crate) fn into_stream(self) -> StreamOwned<ClientConnection, TcpStream> {
        self.stream
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.request("GET", path, &[])
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes())?;
        self.response(method == "HEAD")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one answer; `head` when it answers HEAD and so has no body (RFC 9112 §6.3).
    pub(crate) fn response(&mut self, head: bool) -> io::Result<Response> {
        let (status, fields) = self.head()?;
        let mut response = Response::new(status, fields);
        if head || matches!(status, 100..=199 | 204 | 304) {
            return Ok(response);
        }
        let length = response.field("content-length").ok_or_else(|| broken("no Content-Length"))?;
        let length: usize = length.parse().map_err(|_| broken("Content-Length is no number"))?;
        while self.held.len() - self.used < length {
            self.fill()?;
        }
        response.body = self.held[self.used..self.used + length].to_vec();
        self.used += length;
        Ok(response)
    }

    /// Reads whatever comes next, at most `buf`; 0 is a clean end (close_notify).
    pub(crate) fn read_some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }

    /// Says close_notify and closes the socket, without waiting for an answer.
    pub(crate) fn end(mut self) {
        self.stream.conn.send_close_notify();
        while self.stream.conn.wants_write() && self.stream.conn.write_tls(&mut self.stream.sock).is_ok() {}
    }

    fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(end) = self.held[self.used..].windows(4).position(|window| window == b"\r\n\r\n") {
                break self.used + end;
            }
            self.fill()?;
        };
        let head =
            std::str::from_utf8(&self.held[self.used..end]).map_err(|_| broken("head is not UTF-8"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| broken("no status line"))?;
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| broken("field without colon"))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
        self.used = end + 4;
        Ok((status, fields))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.held.drain(..self.used);
        self.used = 0;
        let old = self.held.len();
        self.held.resize(old + 64 * 1024, 0);
        let read = self.stream.read(&mut self.held[old..]);
        self.held.truncate(old + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A TCP connection that fails instead of hanging, from an address of its own: the server counts
/// connections by address.
pub(crate) fn socket(address: SocketAddr) -> io::Result<TcpStream> {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let [.., high, low] = CLIENTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let source = address.is_ipv4().then(|| Ipv4Addr::new(127, 1, high, low));
    socket_from(source, address, None)
}

/// The same from that address, with a receive buffer of that size.
pub(crate) fn socket_from(
    source: Option<Ipv4Addr>,
    address: SocketAddr,
    receive: Option<usize>,
) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if let Some(bytes) = receive {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    if let Some(source) = source {
        rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    }
    let socket = TcpStream::from(socket);
    // The limit of a write is that of connect(2), too.
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    rustix::net::connect(&socket, &address)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

pub(crate) fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
