//! Challenges of ACME authorities over real sockets.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::harness::{Engine, Server, Tls, answer, answer_with_head, get, small};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use sitar_server::Challenges;

crate::on_every_engine! {
    an_authority_sees_the_certificate_and_then_the_end,
    a_file_is_there_while_its_challenge_is_pending,
    what_is_pending_stays_so_when_a_shard_is_started_again,
}

crate::on_the_polled_ring! {
    an_authority_sees_the_certificate_and_then_the_end,
}

/// An authority that validates a name.
struct Authority {
    name: &'static str,
    /// It trusts the certificate of the challenge, and no other.
    roots: RootCertStore,
}

impl Authority {
    /// Has a challenge by TLS-ALPN-01 be pending. Returns its authority.
    fn of(server: &Server, name: &'static str) -> Authority {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let mut certificates = sitar_tls::Challenges::new();
        let key = made.signing_key.serialize_pem();
        certificates.add(name, made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(server.worker.answer(Arc::new(Challenges::new(certificates))), Ok(true));
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Authority { name, roots }
    }

    fn connect(&self, server: &Server, version: &'static SupportedProtocolVersion) -> Tls {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let client = ClientConnection::new(Arc::new(config), self.name.try_into().unwrap()).unwrap();
        StreamOwned::new(client, server.connect())
    }
}

fn an_authority_sees_the_certificate_and_then_the_end(engine: Engine) {
    let mut server = Server::tls(engine, small());
    let authority = Authority::of(&server, "pending.test");
    for version in [&TLS12, &TLS13] {
        let mut stream = authority.connect(&server, version);
        // Nothing is answered; and what ends it is close_notify, or rustls would complain.
        stream.write_all(&get("/small.txt")).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        let mut browser = server.connect_tls(version);
        browser.write_all(&get("/small.txt")).unwrap();
        assert_eq!(answer(&mut browser), (200, b"hello\n".to_vec()));
    }
    // It stays pending with other certificates.
    server.renew();
    let mut stream = authority.connect(&server, &TLS13);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    // Another set takes its place, at once.
    let other = Authority::of(&server, "other.test");
    let mut stream = authority.connect(&server, &TLS13);
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    let mut stream = other.connect(&server, &TLS13);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    drop(stream);
    let counts = server.stop();
    assert_eq!((counts.handshakes, counts.requests, counts.ends.peer_faults), (6, 2, 1));
    assert_eq!(counts.ends.own_faults, 0);
}

fn a_file_is_there_while_its_challenge_is_pending(engine: Engine) {
    let server = Server::plain(engine, small());
    let path = "/.well-known/acme-challenge/token";
    let mut stream = server.connect();
    let mut ask = |request: &[u8]| {
        stream.write_all(request).unwrap();
        answer_with_head(&mut stream)
    };
    assert!(ask(&get(path)).0.starts_with("HTTP/1.1 404 "));
    let mut challenges = Challenges::default();
    challenges.add_file("localhost", "token", "token.thumbprint").unwrap();
    assert_eq!(server.worker.answer(Arc::new(challenges)), Ok(true));
    let (head, body) = ask(&get(path));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("\r\nContent-Type: application/octet-stream\r\n"), "{head}");
    assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
    assert_eq!(body, b"token.thumbprint");
    assert!(ask(&get("/.well-known/acme-challenge/other")).0.starts_with("HTTP/1.1 404 "));
    assert_eq!(server.worker.answer(Arc::default()), Ok(true));
    assert!(ask(&get(path)).0.starts_with("HTTP/1.1 404 "));
}

fn what_is_pending_stays_so_when_a_shard_is_started_again(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut challenges = Challenges::default();
    challenges.add_file("localhost", "token", "token.thumbprint").unwrap();
    server.worker.answer(Arc::new(challenges)).unwrap();
    server.panics.store(1, Ordering::SeqCst);
    // The time is asked for once a second; who is connected then is cut off.
    let ask = || {
        let mut stream = server.connect();
        let mut got = Vec::new();
        let lines = "Host: localhost\r\nConnection: close\r\n\r\n";
        write!(stream, "GET /.well-known/acme-challenge/token HTTP/1.1\r\n{lines}").ok()?;
        stream.read_to_end(&mut got).ok()?;
        Some(got.ends_with(b"\r\n\r\ntoken.thumbprint"))
    };
    let until = Instant::now() + Duration::from_secs(30);
    while server.incidents.lock().unwrap().is_empty() || ask().is_none() {
        assert!(Instant::now() < until, "no other shard");
        std::thread::sleep(Duration::from_millis(20));
        assert_ne!(ask(), Some(false));
    }
    assert_eq!(ask(), Some(true));
}
