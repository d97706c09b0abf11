//! Certificates that are renewed while they are served: what clients see, and what the operator
//! reads.

use crate::common::client::{self, Client};
use crate::common::h2;
use crate::common::site::write;
use crate::common::{Server, eventually, signal};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A certificate of 127.0.0.1 and `name`, and its key.
struct Pair {
    chain: String,
    key: String,
}

impl Pair {
    fn new(name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Pair { chain: certificate.pem(), key: key.serialize_pem() }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }
}

/// Returns what a client trusts, which is these pairs, and offers.
fn config(pairs: &[&Pair], versions: &[&'static SupportedProtocolVersion], alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    pairs.iter().for_each(|pair| roots.add(pair.der()).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// Returns the certificate that a whole handshake shows.
fn shown(config: &Arc<ClientConfig>, server: &Server, name: &'static str) -> CertificateDer<'static> {
    let name = ServerName::try_from(name).unwrap();
    let mut socket = client::socket(server.address()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    connection.peer_certificates().unwrap()[0].clone()
}

/// A folder with a site and certificates.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "site/index.html", "hello");
        Place(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(self.0.path(), name, text);
    }

    /// Serves with one shard, so that a new certificate is shown in every handshake after the first
    /// that shows it.
    fn serve(&self, pairs: &[(&str, &str)], options: &[&str]) -> Server {
        let mut args: Vec<PathBuf> = ["--shards", "1"].iter().chain(options).map(PathBuf::from).collect();
        for (chain, key) in pairs {
            let paths = [Path::new("--tls-cert"), &self.path(chain), Path::new("--tls-key"), &self.path(key)];
            args.extend(paths.map(Path::to_path_buf));
        }
        Server::start(args.into_iter().chain([self.path("site")]))
    }
}

fn said(server: &Server, what: &str) -> usize {
    server.said().matches(what).count()
}

/// Renews the certificate step by step, while clients connect, and others stay.
///
/// `steps` leave, one after the other, what belongs to the second pair, the last of them all of it.
fn renew(place: &Place, files: (&str, &str), pairs: [&Pair; 2], steps: &[&dyn Fn()]) {
    let server = place.serve(&[files], &[]);
    let [old, new] = pairs.map(Pair::der);
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let arc = |versions: &[_], alpn| Arc::new(config(&pairs, versions, alpn));
    let mut first = Client::open(&arc(&versions, b"http/1.1"), server.address()).unwrap();
    let mut second = h2::Client::open(&arc(&versions, b"h2"), server.address(), h2::WINDOW_MAX).unwrap();
    // Clients with tickets.
    let with_tickets = versions.map(|version| arc(&[version], b"http/1.1"));
    for config in &with_tickets {
        assert_eq!(Client::open(config, server.address()).unwrap().get("/").unwrap().body, b"hello");
    }
    let mut fresh = config(&pairs, &versions, b"http/1.1");
    fresh.resumption = Resumption::disabled();
    let fresh = Arc::new(fresh);

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let mut seen = vec![old.clone()];
            while !is_over.load(Ordering::Relaxed) {
                let now = shown(&fresh, &server, "127.0.0.1");
                assert!(now == old || now == new, "neither the old certificate nor the new one");
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            seen
        });
        for (number, step) in steps.iter().enumerate() {
            if number > 0 {
                // Long enough for half of a renewal to be looked at.
                thread::sleep(Duration::from_millis(250));
                assert_eq!(shown(&fresh, &server, "127.0.0.1"), old);
            }
            step();
            assert_eq!(first.get("/").unwrap().body, b"hello");
            assert_eq!(second.get("/").unwrap().body, b"hello");
        }
        eventually("the new certificate", || {
            probe.is_finished() || shown(&fresh, &server, "127.0.0.1") == new
        });
        is_over.store(true, Ordering::Relaxed);
        let seen = probe.join().unwrap();
        assert!(seen == [old.clone()] || seen == [old.clone(), new.clone()], "it does not come back");
    });
    eventually("the message", || {
        said(&server, "certificate of own.test, 127.0.0.1 renewed: expires on ") == 1
    });
    // Connections from before go on, and sessions from before are resumed.
    assert_eq!(first.get("/").unwrap().body, b"hello");
    assert_eq!(second.get("/").unwrap().body, b"hello");
    for config in &with_tickets {
        let mut client = Client::open(config, server.address()).unwrap();
        assert_eq!(client.get("/").unwrap().body, b"hello");
        assert_eq!(client.into_stream().conn.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn certbot_points_two_links_elsewhere() {
    let (place, pairs) = (Place::new(), [Pair::new("own.test"), Pair::new("own.test")]);
    for (number, pair) in [(1, &pairs[0]), (2, &pairs[1])] {
        place.write(&format!("archive/own.test/fullchain{number}.pem"), &pair.chain);
        place.write(&format!("archive/own.test/privkey{number}.pem"), &pair.key);
    }
    fs::create_dir_all(place.path("live/own.test")).unwrap();
    let point = |name: &str, number: u32| {
        let link = place.path(&format!("live/own.test/{name}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../../archive/own.test/{name}{number}.pem"), link).unwrap();
    };
    point("fullchain", 1);
    point("privkey", 1);
    let files = ("live/own.test/fullchain.pem", "live/own.test/privkey.pem");
    let [old, new] = &pairs;
    renew(&place, files, [old, new], &[&|| point("privkey", 2), &|| point("fullchain", 2)]);
}

#[test]
fn both_files_are_written_in_place_with_a_pause_between_them() {
    let [old, new] = [Pair::new("own.test"), Pair::new("own.test")];
    for is_key_first in [false, true] {
        let place = Place::new();
        place.write("chain.pem", &old.chain);
        place.write("key.pem", &old.key);
        let chain = || place.write("chain.pem", &new.chain);
        let key = || place.write("key.pem", &new.key);
        let steps: [&dyn Fn(); 2] = if is_key_first { [&key, &chain] } else { [&chain, &key] };
        renew(&place, ("chain.pem", "key.pem"), [&old, &new], &steps);
    }
}

#[test]
fn a_mounted_secret_is_exchanged_by_one_link() {
    let (place, [old, new]) = (Place::new(), [Pair::new("own.test"), Pair::new("own.test")]);
    let put = |version: &str, pair: &Pair| {
        place.write(&format!("secret/{version}/tls.crt"), &pair.chain);
        place.write(&format!("secret/{version}/tls.key"), &pair.key);
        symlink(version, place.path("secret/..data_tmp")).unwrap();
        fs::rename(place.path("secret/..data_tmp"), place.path("secret/..data")).unwrap();
    };
    put("..2026_11_29", &old);
    symlink("..data/tls.crt", place.path("secret/tls.crt")).unwrap();
    symlink("..data/tls.key", place.path("secret/tls.key")).unwrap();
    let exchange = || {
        put("..2026_11_30", &new);
        fs::remove_dir_all(place.path("secret/..2026_11_29")).unwrap();
    };
    renew(&place, ("secret/tls.crt", "secret/tls.key"), [&old, &new], &[&exchange]);
}

#[test]
fn one_of_two_certificates_is_renewed_and_the_other_stays() {
    let place = Place::new();
    let [first, second, next] = ["first.test", "second.test", "second.test"].map(Pair::new);
    for (name, pair) in [("first", &first), ("second", &second)] {
        place.write(&format!("{name}.pem"), &pair.chain);
        place.write(&format!("{name}.key"), &pair.key);
    }
    let server = place.serve(&[("first.pem", "first.key"), ("second.pem", "second.key")], &[]);
    let mut fresh = config(&[&first, &second, &next], &[&rustls::version::TLS13], b"http/1.1");
    fresh.resumption = Resumption::disabled();
    let fresh = Arc::new(fresh);
    assert_eq!(shown(&fresh, &server, "second.test"), second.der());
    place.write("second.pem", &next.chain);
    place.write("second.key", &next.key);
    eventually("the new certificate", || shown(&fresh, &server, "second.test") == next.der());
    assert_eq!(shown(&fresh, &server, "first.test"), first.der());
}

#[test]
fn without_watching_a_signal_reads_the_certificate_again() {
    let (place, [old, new]) = (Place::new(), [Pair::new("own.test"), Pair::new("own.test")]);
    place.write("chain.pem", &old.chain);
    place.write("key.pem", &old.key);
    let server = place.serve(&[("chain.pem", "key.pem")], &["--no-watch"]);
    let mut fresh = config(&[&old, &new], &[&rustls::version::TLS13], b"http/1.1");
    fresh.resumption = Resumption::disabled();
    let fresh = Arc::new(fresh);
    let shows = |pair: &Pair| shown(&fresh, &server, "127.0.0.1") == pair.der();
    place.write("chain.pem", &new.chain);
    signal(server.pid(), Signal::HUP);
    let half = "error: the certificate of own.test, 127.0.0.1 as it is now cannot be served, the one before still is: ";
    eventually("the complaint", || said(&server, half) == 1);
    assert!(said(&server, "the private key does not belong to the certificate") == 1, "{}", server.said());
    assert!(shows(&old));
    place.write("key.pem", &new.key);
    thread::sleep(Duration::from_millis(250));
    assert!(shows(&old), "nothing is done unasked");
    signal(server.pid(), Signal::HUP);
    eventually("the new certificate", || shows(&new));
    eventually("the message", || said(&server, "certificate of own.test, 127.0.0.1 renewed: ") == 1);
    signal(server.pid(), Signal::HUP);
    eventually("the message", || said(&server, " was read again and is the same as before: ") == 1);
}
