//! Clients that ask for a host: over TLS with a name in the handshake or without, and in plain
//! text.

use crate::common::client::{self, Client, Response};
use crate::common::{Server, h2};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// The listener and the protocol.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Over {
    Tls1,
    Tls2,
    /// The listener that sends to https.
    Redirect,
    Redirect2,
    /// The listener that stands behind a proxy.
    Plain,
    Plain2,
}

impl Over {
    pub(super) fn address(self, server: &Server) -> SocketAddr {
        let role = match self {
            Over::Tls1 | Over::Tls2 => "https",
            Over::Redirect | Over::Redirect2 => "redirect",
            Over::Plain | Over::Plain2 => "http",
        };
        server.listeners(role)[0]
    }
}

/// Takes any certificate: which one is shown is looked at by the tests.
#[derive(Debug)]
struct Any(Vec<SignatureScheme>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Returns what a client offers that can verify such signatures.
fn config(protocol: &[u8], schemes: &[SignatureScheme]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(schemes.to_vec())))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Signatures of all certificates here.
pub(super) const ALL: &[SignatureScheme] =
    &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

/// Completes a handshake; an empty name is none.
fn handshake(server: &Server, sni: &str, protocol: &[u8], schemes: &[SignatureScheme]) -> Client {
    let address = Over::Tls1.address(server);
    let name = match sni {
        "" => ServerName::from(address.ip()),
        name => ServerName::try_from(name.to_owned()).unwrap(),
    };
    Client::over_as(&config(protocol, schemes), client::socket(address).unwrap(), name).unwrap()
}

/// Returns the certificate that a client gets which asks for that name and can verify these.
pub(super) fn shown(server: &Server, sni: &str, schemes: &[SignatureScheme]) -> CertificateDer<'static> {
    let client = handshake(server, sni, b"http/1.1", schemes).into_stream();
    client.conn.peer_certificates().unwrap()[0].clone()
}

/// A connection that has been opened.
enum Connection {
    Tls(Box<Client>),
    Http2(h2::Client),
    Plain(BufReader<TcpStream>),
}

/// Connections by what they were opened for.
#[derive(Default)]
pub(super) struct Connections {
    open: BTreeMap<(Over, &'static str), Connection>,
    /// How many the server has closed, as it said before.
    pub(super) closed: usize,
}

/// A connection of HTTP/2 whose handshake asked for that name.
pub(super) fn http2(server: &Server, sni: &str) -> h2::Client {
    h2::Client::over(handshake(server, sni, b"h2", ALL), h2::WINDOW_MAX).unwrap()
}

/// A connection of HTTP/1 whose handshake asked for that name.
pub(super) fn http1(server: &Server, sni: &str) -> Client {
    handshake(server, sni, b"http/1.1", ALL)
}

impl Connections {
    /// Sends a request on the connection that was opened so, or on a new one, and returns what
    /// comes back in words. `request` is a method, a host and a path; or a whole head of HTTP/1
    /// without its last line ends.
    pub(super) fn ask(&mut self, server: &Server, over: Over, sni: &'static str, request: &str) -> String {
        let connection = self.open.entry((over, sni)).or_insert_with(|| match over {
            Over::Tls1 => Connection::Tls(Box::new(http1(server, sni))),
            Over::Tls2 => Connection::Http2(http2(server, sni)),
            Over::Redirect2 | Over::Plain2 => {
                let address = over.address(server);
                Connection::Http2(h2::Client::plain(address, h2::WINDOW_MAX).unwrap())
            }
            Over::Redirect | Over::Plain => {
                Connection::Plain(BufReader::new(client::socket(over.address(server)).unwrap()))
            }
        });
        let is_head = request.starts_with("HEAD ");
        let response = match connection {
            Connection::Tls(client) => {
                client.send(&head(request)).unwrap();
                client.response(is_head).unwrap_or_else(|error| panic!("{request}: {error}"))
            }
            Connection::Plain(stream) => {
                stream.get_mut().write_all(&head(request)).unwrap();
                plain(stream, is_head)
            }
            Connection::Http2(client) => {
                let (stream, bytes) = client.ask_for(&pseudo(request));
                client.send(&bytes).unwrap();
                match client.answers(&[stream]) {
                    Ok(mut answers) => answers.remove(&stream).unwrap(),
                    Err(error) if error.to_string() == "a stream was reset" => return "reset".to_owned(),
                    Err(error) => panic!("{request}: {error}"),
                }
            }
        };
        if response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.open.remove(&(over, sni));
            self.closed += 1;
        }
        told(&response)
    }
}

/// Returns the fields of a request of HTTP/2; a host that is `-` is not there.
fn pseudo(request: &str) -> Vec<(&str, &str)> {
    let mut parts = request.split(' ');
    let [method, host, path] = [parts.next(), parts.next(), parts.next()].map(Option::unwrap);
    let mut fields = vec![(":method", method), (":path", path)];
    fields.extend((host != "-").then_some((":authority", host)));
    fields.extend(parts.map(|field| field.split_once('=').unwrap()));
    fields
}

/// Returns the head of a request of HTTP/1.
pub(super) fn head(request: &str) -> Vec<u8> {
    if request.contains(" HTTP/1.") {
        return format!("{request}\r\n\r\n").into_bytes();
    }
    let mut parts = request.split(' ');
    let [method, host, path] = [parts.next(), parts.next(), parts.next()].map(Option::unwrap);
    assert_eq!(parts.next(), None, "{request}");
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// Reads an answer of HTTP/1.
fn plain(stream: &mut BufReader<TcpStream>, is_head: bool) -> Response {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "an end before the answer's: {lines:?}");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines[1..].iter().map(|line| line.split_once(": ").unwrap());
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let mut response = Response::new(status, fields.collect());
    let length = response.field("content-length").map_or(0, |length| length.parse().unwrap());
    response.body = vec![0; if is_head { 0 } else { length }];
    stream.read_exact(&mut response.body).unwrap();
    response
}

/// Returns an answer in words: the status; the Location, or what the content says; and whether
/// Strict-Transport-Security is there.
pub(super) fn told(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let what = match (response.status, response.field("location")) {
        (_, Some(location)) => location,
        (200 | 404 | 503, None) => text.trim_end(),
        _ => "",
    };
    let hsts = if response.field("strict-transport-security").is_some() { "hsts" } else { "" };
    let words = [&response.status.to_string(), what, hsts];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
