//! A plain TLS client over a blocking socket: HTTP/1.1, one cipher, one key exchange, one
//! certificate.

pub(crate) mod handshakes;
pub(crate) mod idle;
pub(crate) mod slow;

use crate::Result;
use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup,
    SignatureScheme,
};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The beginning of an answer with content.
const OK: &[u8; 12] = b"HTTP/1.1 200";

/// Limit for an answer, or a part of one.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of all clients.
#[derive(Args)]
pub(crate) struct TargetArguments {
    /// The server
    #[arg(long)]
    address: SocketAddr,
    /// Its certificate, in PEM
    #[arg(long)]
    cert: PathBuf,
    /// The path to request
    #[arg(long)]
    path: String,
    /// The length of the answer's body
    #[arg(long)]
    length: usize,
}

/// A server and a request, and the length of the answer's body.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    request: Vec<u8>,
    length: usize,
}

impl Target {
    /// Reads the certificate.
    pub(crate) fn new(arguments: &TargetArguments) -> Result<Target> {
        let path = &arguments.path;
        Ok(Target {
            address: arguments.address,
            certificate: CertificateDer::from_pem_file(&arguments.cert)?,
            request: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
            length: arguments.length,
        })
    }

    /// Returns a configuration with TLS 1.3, AES-128-GCM, X25519, and these tickets.
    pub(crate) fn config(&self, tickets: Option<Arc<Tickets>>) -> Result<Arc<ClientConfig>> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
        provider.kx_groups = vec![kx_group::X25519];
        let provider = Arc::new(provider);
        let pinned = Pinned { certificate: self.certificate.clone(), provider: Arc::clone(&provider) };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = tickets.map_or_else(Resumption::disabled, |tickets| Resumption::store(tickets));
        Ok(Arc::new(config))
    }
}

/// A connection whose handshake is done.
pub(crate) struct Client {
    tls: ClientConnection,
    socket: TcpStream,
    /// The first bytes that were sipped, at most as many as [`OK`] has.
    began: Vec<u8>,
}

impl Client {
    pub(crate) fn open(target: &Target, config: &Arc<ClientConfig>) -> Result<Client> {
        let mut socket = TcpStream::connect_timeout(&target.address, TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let mut tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        while tls.is_handshaking() {
            uninterrupted(|| tls.complete_io(&mut socket))?;
        }
        if tls.negotiated_key_exchange_group().map(|group| group.name()) != Some(NamedGroup::X25519) {
            return Err("another key exchange than X25519".into());
        }
        Ok(Client { tls, socket, began: Vec::new() })
    }

    pub(crate) fn resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn ask(&mut self, target: &Target) -> Result<()> {
        self.tls.writer().write_all(&target.request)?;
        while self.tls.wants_write() {
            uninterrupted(|| self.tls.write_tls(&mut self.socket))?;
        }
        Ok(())
    }

    /// Sends the request and reads the answer, which must be 200 and of the expected length.
    pub(crate) fn get(&mut self, target: &Target) -> Result<()> {
        self.ask(target)?;
        let mut answer = Vec::with_capacity(target.length + 1024);
        loop {
            if uninterrupted(|| self.tls.read_tls(&mut self.socket))? == 0 {
                return Err("the server ended the connection instead of answering".into());
            }
            let ready = self.tls.process_new_packets()?.plaintext_bytes_to_read();
            let old = answer.len();
            answer.resize(old + ready, 0);
            self.tls.reader().read_exact(&mut answer[old..])?;
            if let Some(body) = body_of(&answer, target.length)? {
                return if body == target.length { Ok(()) } else { Err("more than was asked for".into()) };
            }
        }
    }

    /// Bounds the bytes that the kernel keeps until they are read.
    pub(crate) fn receive_at_most(&self, bytes: usize) -> Result<()> {
        Ok(rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, bytes)?)
    }

    /// Reads at most `most` bytes off the wire, without waiting, and drops them. Returns their
    /// number.
    pub(crate) fn sip(&mut self, most: usize) -> Result<usize> {
        self.socket.set_nonblocking(true)?;
        let mut limited = (&self.socket).take(most as u64);
        let mut sum = 0;
        loop {
            match self.tls.read_tls(&mut limited) {
                Ok(0) => break,
                Ok(read) => sum += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            let ready = self.tls.process_new_packets()?.plaintext_bytes_to_read();
            let first = ready.min(OK.len() - self.began.len());
            let mut reader = self.tls.reader();
            let mut start = [0; OK.len()];
            reader.read_exact(&mut start[..first])?;
            self.began.extend_from_slice(&start[..first]);
            io::copy(&mut reader.take((ready - first) as u64), &mut io::sink())?;
        }
        Ok(sum)
    }

    /// Returns whether the sipped bytes begin an answer that is no error.
    pub(crate) fn is_served(&self) -> bool {
        self.began == OK
    }

    /// Sends close_notify, so that no server takes the end for an error.
    pub(crate) fn end(mut self) -> Result<()> {
        self.tls.send_close_notify();
        self.tls.write_tls(&mut self.socket)?;
        Ok(())
    }
}

/// Repeats a call that was interrupted, as calls with a time limit are when the process is stopped
/// and continued.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Returns the length of the body, once all of it is there.
fn body_of(answer: &[u8], expected: usize) -> Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!("not 200: {}", String::from_utf8_lossy(&answer[..end])).into());
    }
    let body = answer.len() - end - 4;
    Ok((body >= expected).then_some(body))
}

/// Unused tickets. Each is used once, as browsers do.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    kept: Mutex<Vec<Tls13ClientSessionValue>>,
    /// Whether they are used; until then they are only gathered.
    used: AtomicBool,
}

impl Tickets {
    pub(crate) fn len(&self) -> usize {
        self.kept().len()
    }

    pub(crate) fn use_them(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Tls13ClientSessionValue>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {}
    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _server: ServerName<'static>, _value: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.kept().push(value);
    }
    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.used.load(Ordering::Relaxed) { self.kept().pop() } else { None }
    }
}

/// Accepts exactly this certificate, with a signature by its key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another certificate than the bench made".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_wrong() {
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\n", 1).unwrap(), None);
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\n\r\na", 2).unwrap(), None);
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\n\r\nab", 2).unwrap(), Some(2));
        assert!(body_of(b"HTTP/1.1 404 Not Found\r\n\r\nab", 2).is_err());
    }
}
