//! Requests over HTTPS: one connection at a time, blocking, HTTP/1.1.
//!
//! Redirects are never followed: a URL of an authority leads where it says, or the request fails.

mod anchors;
mod response;
mod roots;
mod url;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::problem::{Failure, Kind};
pub use response::Response;
pub(crate) use response::read;
pub(crate) use url::Url;

/// How long an address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take as a whole.
const WHOLE: Duration = Duration::from_secs(60);
/// After this time a connection is not used again: it may be closed while the request is under way,
/// and then it is not known whether the request has arrived.
const KEPT: Duration = Duration::from_secs(15);
/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 8;

/// A method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
}

/// What carries requests to an authority.
pub trait Transport {
    /// Sends a request and returns the answer, whatever its status is. `body` is its media type and
    /// its content.
    ///
    /// # Errors
    /// [`Kind::Unreachable`], [`Kind::Garbage`].
    fn request(
        &mut self,
        method: Method,
        url: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Response, Failure>;
}

/// The transport over TLS.
pub struct Https {
    config: Arc<ClientConfig>,
    agent: String,
    kept: Option<Connection>,
}

struct Connection {
    /// Host and port.
    authority: String,
    stream: StreamOwned<ClientConnection, Timed>,
    used: Instant,
}

/// A socket with an end to all of its reads and writes together.
struct Timed {
    socket: TcpStream,
    end: Instant,
}

impl Https {
    /// Returns a transport that trusts these certificates in PEM, else those of the system, else
    /// those that are compiled in. `agent` is the value of User-Agent; more header fields may stand
    /// behind it, each begun with CR LF.
    ///
    /// # Errors
    /// There is no certificate in `roots`.
    pub fn new(roots: Option<&[u8]>, agent: &str) -> Result<Https, Failure> {
        let store = roots::load(roots)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::new(Kind::Unreachable, format!("TLS cannot be used: {error}")))?
            .with_root_certificates(store)
            .with_no_client_auth();
        // Requests of one attempt share a connection, and attempts are hours apart.
        config.resumption = Resumption::disabled();
        Ok(Https { config: Arc::new(config), agent: agent.to_owned(), kept: None })
    }

    /// Replaces the value of User-Agent, and the header fields behind it.
    pub fn set_agent(&mut self, agent: &str) {
        agent.clone_into(&mut self.agent);
    }

    fn connect(&self, url: &Url<'_>, end: Instant) -> Result<Connection, Failure> {
        let unreachable = |what: String| Failure::new(Kind::Unreachable, what);
        let host = url.host;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::garbage(format!("{host} is no name of a host")))?;
        let found = (host, url.port).to_socket_addrs().map_err(|error| {
            unreachable(format!("the authority's name {host} does not resolve: {error}"))
                .with_hint(format!("getent ahosts {host}"))
        })?;
        let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
        let mut last = None;
        for address in &addresses {
            let left = end.saturating_duration_since(Instant::now()).min(CONNECT);
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(address, left) {
                Ok(socket) => {
                    // A request is written at once, so there is nothing to wait for.
                    let _ = socket.set_nodelay(true);
                    let connection = ClientConnection::new(Arc::clone(&self.config), name)
                        .map_err(|error| unreachable(format!("TLS cannot be used: {error}")))?;
                    return Ok(Connection {
                        authority: url.authority.to_owned(),
                        stream: StreamOwned::new(connection, Timed { socket, end }),
                        used: Instant::now(),
                    });
                }
                Err(error) => last = Some((*address, error)),
            }
        }
        Err(match last {
            Some((address, error)) => {
                unreachable(format!("the authority {host} cannot be reached at {address}: {error}"))
                    .with_hint(format!("curl -v https://{}/", url.authority))
            }
            None => unreachable(format!("the authority's name {host} has no address"))
                .with_hint(format!("getent ahosts {host}")),
        })
    }

    /// Sends the bytes and reads the answer. The connection is kept if it can be.
    fn exchange(
        &mut self,
        mut connection: Connection,
        request: &[u8],
        is_head: bool,
    ) -> Result<Response, Exchange> {
        let stream = &mut connection.stream;
        let sent = stream.write_all(request).and_then(|()| stream.flush());
        // A server that has seen enough may have answered and closed. After a fault in TLS, nothing
        // comes any more.
        match sent {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                return Err(Exchange::Unanswered(error));
            }
            _ => {}
        }
        let mut first = [0];
        let begun = loop {
            match stream.read(&mut first) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match begun {
            Ok(1..) => {}
            Ok(0) => return Err(Exchange::Unanswered(ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(Exchange::Unanswered(error)),
        }
        let (response, is_reusable) = read(&first, stream, is_head).map_err(Exchange::Failed)?;
        if is_reusable {
            connection.used = Instant::now();
            self.kept = Some(connection);
        }
        Ok(response)
    }
}

/// Why there is no answer.
enum Exchange {
    /// Not one byte of an answer has come.
    Unanswered(io::Error),
    Failed(Failure),
}

impl Transport for Https {
    fn request(
        &mut self,
        method: Method,
        url: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Response, Failure> {
        let url = Url::parse(url)?;
        let request = request_bytes(method, &url, &self.agent, body);
        let end = Instant::now() + WHOLE;
        let is_head = method == Method::Head;
        let kept = self.kept.take();
        if let Some(mut kept) =
            kept.filter(|kept| kept.authority == url.authority && kept.used.elapsed() < KEPT)
        {
            kept.stream.sock.end = end;
            match self.exchange(kept, &request, is_head) {
                Ok(response) => return Ok(response),
                Err(Exchange::Failed(failure)) => return Err(failure),
                // The server has ended it meanwhile. If it has seen the request after all, it
                // refuses the second one, whose nonce is used up.
                Err(Exchange::Unanswered(_)) => {}
            }
        }
        let connection = self.connect(&url, end)?;
        self.exchange(connection, &request, is_head).map_err(|error| match error {
            Exchange::Failed(failure) => failure,
            Exchange::Unanswered(error) => unanswered(&url, &error),
        })
    }
}

/// Describes an error before the first byte of an answer.
fn unanswered(url: &Url<'_>, error: &io::Error) -> Failure {
    let host = url.host;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let what = match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let why = match why {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "no root that is known here has signed it"
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "it is for other names"
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "it is not valid yet"
                }
                _ => "it cannot be verified",
            };
            format!("the certificate of the authority {host} is not trusted: {why}")
        }
        Some(error) => format!("the handshake with the authority {host} has failed: {error}"),
        None if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            format!("the authority {host} has not answered within {} s", WHOLE.as_secs())
        }
        None if error.kind() == ErrorKind::UnexpectedEof => {
            format!("the authority {host} has closed the connection without an answer")
        }
        None => format!("the connection to the authority {host} has failed: {error}"),
    };
    let failure = Failure::new(Kind::Unreachable, what);
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {
            failure.with_hint("give the root of a private authority, and look at this machine's clock")
        }
        _ => failure.with_hint(format!("curl -v https://{}/", url.authority)),
    }
}

fn request_bytes(method: Method, url: &Url<'_>, agent: &str, body: Option<(&str, &[u8])>) -> Vec<u8> {
    let verb = match method {
        Method::Get => "GET ",
        Method::Head => "HEAD ",
        Method::Post => "POST ",
    };
    let slash = if url.path.starts_with('/') { "" } else { "/" };
    let parts = [verb, slash, url.path, " HTTP/1.1\r\nHost: ", url.authority, "\r\nUser-Agent: ", agent];
    let mut request = parts.concat().into_bytes();
    if let Some((media_type, content)) = body {
        let len = content.len().to_string();
        for part in ["\r\nContent-Type: ", media_type, "\r\nContent-Length: ", &len] {
            request.extend_from_slice(part.as_bytes());
        }
    }
    request.extend_from_slice(b"\r\n\r\n");
    request.extend_from_slice(body.map_or(&[], |(_, content)| content));
    request
}

impl Timed {
    /// Returns the time that is left.
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
