//! The transport, against servers on the loopback interface.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

use super::*;

type Tls = StreamOwned<ServerConnection, TcpStream>;

struct Server {
    port: u16,
    root: Vec<u8>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves that many connections, one after the other.
    fn start(connections: usize, serve: fn(usize, &mut Tls)) -> Server {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "api");
        let key = KeyPair::generate().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, format!("root of {port}"));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let own = params.signed_by(&key, &root).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let thread = std::thread::spawn(move || {
            for number in 0..connections {
                let (socket, _) = listener.accept().unwrap();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                serve(number, &mut StreamOwned::new(connection, socket));
            }
        });
        Server { port, root: root.pem().into_bytes(), thread: Some(thread) }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/dir?x", self.port)
    }

    fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Reads a request up to the end of its head.
fn head(stream: &mut Tls) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn get(https: &mut Https, url: &str) -> Result<Response, Failure> {
    https.request(Method::Get, url, None)
}

#[test]
fn one_connection_serves_several_requests() {
    let server = Server::start(2, |number, stream| {
        let requests = if number == 0 { 2 } else { 1 };
        for _ in 0..requests {
            let head = head(stream);
            let body = head.replace("\r\n", "|");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let mut https = Https::new(Some(&server.root), "sitar/1").unwrap();
    let url = server.url("127.0.0.1");
    let authority = format!("127.0.0.1:{}", server.port);
    let body = |response: Response| String::from_utf8(response.body).unwrap();
    let first = body(get(&mut https, &url).unwrap());
    assert_eq!(first, format!("GET /dir?x HTTP/1.1|Host: {authority}|User-Agent: sitar/1||"));
    https.set_agent("sitar/2\r\nX-Virtual-Time: 7");
    let second = https.request(Method::Post, &url, Some(("application/jose+json", b""))).unwrap();
    let expected = format!(
        "POST /dir?x HTTP/1.1|Host: {authority}|User-Agent: sitar/2|X-Virtual-Time: 7|Content-Type: \
         application/jose+json|Content-Length: 0||"
    );
    assert_eq!(body(second), expected);
    // The server has ended the connection meanwhile: there is another.
    assert!(body(get(&mut https, &url).unwrap()).starts_with("GET /dir?x"));
    server.join();
}

#[test]
fn a_server_that_cannot_be_trusted() {
    let server = Server::start(2, |_, stream| {
        let _ = stream.read(&mut [0]);
    });
    let other = Server::start(0, |_, _| {});
    let mut https = Https::new(Some(&other.root), "sitar/1").unwrap();
    let failure = get(&mut https, &server.url("127.0.0.1")).unwrap_err();
    assert_eq!(failure.kind, Kind::Unreachable);
    let what =
        "the certificate of the authority 127.0.0.1 is not trusted: no root that is known here has signed it";
    assert_eq!(failure.what, what);
    let hint = "give the root of a private authority, and look at this machine's clock";
    assert_eq!(failure.hint.as_deref(), Some(hint));
    // Another name than those of its certificate.
    let mut https = Https::new(Some(&server.root), "sitar/1").unwrap();
    let failure = get(&mut https, &server.url("localhost")).unwrap_err();
    assert_eq!(
        failure.what,
        "the certificate of the authority localhost is not trusted: it is for other names"
    );
    server.join();
    drop(other);
}

#[test]
fn a_server_that_does_not_answer() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(2, |number, stream| {
        head(stream);
        if number == 1 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").unwrap();
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let mut https = Https::new(Some(&server.root), "sitar/1").unwrap();
    let failure = get(&mut https, &format!("https://{closed}/dir")).unwrap_err();
    let what =
        format!("the authority 127.0.0.1 cannot be reached at {closed}: Connection refused (os error 111)");
    assert_eq!(failure.what, what);
    assert_eq!(failure.hint, Some(format!("curl -v https://{closed}/")));
    let failure = get(&mut https, &server.url("127.0.0.1")).unwrap_err();
    assert_eq!(failure.what, "the authority 127.0.0.1 has closed the connection without an answer");
    let failure = get(&mut https, &server.url("127.0.0.1")).unwrap_err();
    assert_eq!(
        (failure.kind, failure.what.as_str()),
        (Kind::Unreachable, "the authority's answer has broken off")
    );
    server.join();
}

#[test]
fn a_server_that_does_not_speak_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 16_384]);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let server = Server::start(0, |_, _| {});
    let mut https = Https::new(Some(&server.root), "sitar/1").unwrap();
    let failure = get(&mut https, &format!("https://{address}/dir")).unwrap_err();
    assert!(
        failure.what.starts_with("the handshake with the authority 127.0.0.1 has failed: "),
        "{}",
        failure.what
    );
    thread.join().unwrap();
}
