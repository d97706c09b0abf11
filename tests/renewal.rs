//! Certificates that are renewed while they are served: what clients see, and what the operator
//! reads.

use crate::common::client::{self, Client};
use crate::common::h2;
use crate::common::site::write;
use crate::common::{Over, Server, eventually, run_with, signal, sitar};
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
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

    /// Returns SHA-256 of the certificate, as openssl prints it.
    fn fingerprint(&self) -> String {
        let digest = digest(&SHA256, &self.der());
        let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(":")
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
        let over = Over(&is_over);
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
        drop(over);
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

/// A certificate in the folders of certbot.
struct Lineage<'p> {
    place: &'p Place,
    name: &'static str,
}

impl<'p> Lineage<'p> {
    /// Puts these versions into the archive, and points the links to the first.
    fn new(place: &'p Place, name: &'static str, versions: &[&Pair]) -> Lineage<'p> {
        for (number, pair) in (1..).zip(versions) {
            place.write(&format!("archive/{name}/fullchain{number}.pem"), &pair.chain);
            place.write(&format!("archive/{name}/privkey{number}.pem"), &pair.key);
        }
        fs::create_dir_all(place.path(&format!("live/{name}"))).unwrap();
        let lineage = Lineage { place, name };
        lineage.point("fullchain", 1);
        lineage.point("privkey", 1);
        lineage
    }

    fn path(&self, file: &str) -> String {
        format!("live/{}/{file}.pem", self.name)
    }

    fn point(&self, file: &str, number: u32) {
        let link = self.place.path(&self.path(file));
        let _ = fs::remove_file(&link);
        symlink(format!("../../archive/{}/{file}{number}.pem", self.name), link).unwrap();
    }
}

#[test]
fn certbot_points_two_links_elsewhere() {
    let (place, [old, new]) = (Place::new(), [Pair::new("own.test"), Pair::new("own.test")]);
    let own = Lineage::new(&place, "own.test", &[&old, &new]);
    let files = (&*own.path("fullchain"), &*own.path("privkey"));
    let steps: [&dyn Fn(); 2] = [&|| own.point("privkey", 2), &|| own.point("fullchain", 2)];
    renew(&place, files, [&old, &new], &steps);
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
    let half = "error sitar: the certificate of own.test, 127.0.0.1 as it is now cannot be served, the one before still is: ";
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

/// The status of a server with an admin socket.
struct Status(Value);

impl Status {
    fn of(place: &Place) -> Status {
        let mut command = sitar(&place.path(""));
        let command = command.args(["status", "--json", "--socket"]).arg(place.path("admin.sock"));
        Status(serde_json::from_slice(&run_with(command, b"").ok().stdout).unwrap())
    }

    /// Returns the fingerprint of the certificate whose chain is in that file.
    fn fingerprint(&self, chain: &Path) -> &str {
        let mut all = self.0["certificates"].as_array().unwrap().iter();
        let one = all.find(|one| one["chain"].as_str() == chain.to_str()).unwrap();
        one["sha256"].as_str().unwrap()
    }

    fn warnings(&self) -> Vec<&str> {
        self.0["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect()
    }
}

/// Opens a connection that asks for the name of one of the sites.
fn open(config: &Arc<ClientConfig>, server: &Server, name: &'static str) -> Client {
    let socket = client::socket(server.address()).unwrap();
    Client::over_as(config, socket, ServerName::try_from(name).unwrap()).unwrap()
}

/// A connection of HTTP/2 to one of the sites.
struct Kept(h2::Client, &'static str);

impl Kept {
    fn open(config: &Arc<ClientConfig>, server: &Server, name: &'static str) -> Kept {
        Kept(h2::Client::over(open(config, server, name), h2::WINDOW_MAX).unwrap(), name)
    }

    fn get(&mut self) -> Vec<u8> {
        let fields = [(":authority", self.1), (":method", "GET"), (":path", "/")];
        let (stream, bytes) = self.0.ask_for(&fields);
        self.0.send(&bytes).unwrap();
        let answer = self.0.answers(&[stream]).unwrap().remove(&stream).unwrap();
        assert_eq!(answer.status, 200);
        answer.body
    }
}

/// Makes a session and leaves with its ticket, or comes back with one, and returns which.
fn visit(config: &Arc<ClientConfig>, server: &Server, name: &'static str) -> Option<HandshakeKind> {
    let mut client = open(config, server, name);
    client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(client.response(false).unwrap().status, 200);
    client.into_stream().conn.handshake_kind()
}

/// Serves two sites from a configuration, with certificates in the folders of certbot and one
/// shard.
fn serve_two(place: &Place, names: [&str; 2]) -> Server {
    place.write("other/index.html", "other");
    let site = |name: &str, root: &str| {
        let folder = format!("live/{name}");
        format!(
            "[[site]]\nhosts = \"{name}\"\nroot = \"{root}\"\n\
             certificate = {{ chain = \"{folder}/fullchain.pem\", key = \"{folder}/privkey.pem\" }}\n"
        )
    };
    let sites = [site(names[0], "site"), site(names[1], "other")].concat();
    let top =
        "[server]\nshards = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nsocket = \"admin.sock\"\n";
    place.write("sitar.toml", &[top, &*sites].concat());
    Server::start_configured(&place.path("sitar.toml"))
}

#[test]
fn of_two_sites_one_is_renewed_and_the_status_says_how_far_it_is() {
    let (place, names) = (Place::new(), ["own.test", "other.test"]);
    let [old, new, other] = ["own.test", "own.test", "other.test"].map(Pair::new);
    let own = Lineage::new(&place, names[0], &[&old, &new]);
    Lineage::new(&place, names[1], &[&other]);
    let server = serve_two(&place, names);

    let trusted = [&old, &new, &other];
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let h2 = Arc::new(config(&trusted, &versions, b"h2"));
    let mut kept = names.map(|name| Kept::open(&h2, &server, name));
    let mut stay = || assert_eq!(kept.each_mut().map(Kept::get), [&b"hello"[..], b"other"]);
    stay();
    let with_tickets = versions.map(|version| Arc::new(config(&trusted, &[version], b"http/1.1")));
    for (config, name) in with_tickets.iter().flat_map(|config| names.map(|name| (config, name))) {
        assert_eq!(visit(config, &server, name), Some(HandshakeKind::Full));
    }
    let mut fresh = config(&trusted, &versions, b"http/1.1");
    fresh.resumption = Resumption::disabled();
    let fresh = Arc::new(fresh);
    let shows = || names.map(|name| shown(&fresh, &server, name));
    let chains = names.map(|name| place.path(&format!("live/{name}/fullchain.pem")));
    let are_told = |status: &Status, pairs: [&Pair; 2]| {
        assert_eq!(chains.each_ref().map(|chain| status.fingerprint(chain)), pairs.map(Pair::fingerprint));
    };
    let status = Status::of(&place);
    are_told(&status, [&old, &other]);
    assert!(status.warnings().is_empty(), "{:?}", status.warnings());

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&is_over);
        let probe = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(shown(&fresh, &server, names[1]), other.der(), "the other one never changes");
            }
        });
        own.point("privkey", 2);
        // Half of a renewal that stands is one warning, and what is served stays.
        let half = format!(
            "the certificate {} as it is now cannot be served, the one before still is: ",
            chains[0].display()
        );
        eventually("the warning", || {
            stay();
            assert_eq!(shows(), [old.der(), other.der()]);
            let status = Status::of(&place);
            are_told(&status, [&old, &other]);
            probe.is_finished() || status.warnings().iter().any(|warning| warning.starts_with(&half))
        });
        own.point("fullchain", 2);
        eventually("the new certificate", || {
            stay();
            probe.is_finished() || shows() == [new.der(), other.der()]
        });
        drop(over);
        probe.join().unwrap();
    });
    eventually("the warning to go", || Status::of(&place).warnings().is_empty());
    are_told(&Status::of(&place), [&new, &other]);
    let renewed = "certificate of own.test, 127.0.0.1 renewed: expires on ";
    eventually("the message", || said(&server, renewed) == 1);
    assert_eq!(said(&server, " renewed: "), 1, "{}", server.said());
    stay();
    for (config, name) in with_tickets.iter().flat_map(|config| names.map(|name| (config, name))) {
        assert_eq!(visit(config, &server, name), Some(HandshakeKind::Resumed));
    }
}
