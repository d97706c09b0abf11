//! A folder and an address for one test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::client::{Client, roots_in, socket, trusting};
use crate::common::site::write;
use crate::common::{PATIENCE, Server, children, eventually, run, run_with};

/// The usual ports of the server, on the address of its test.
const TLS: u16 = 8443;
const HTTP: u16 = 8080;

/// A folder, and an address of the loopback network that no other test has: an authority has to
/// know the ports before the server has bound them, so they are the same in each test.
pub(super) struct Place {
    folder: TempDir,
    pub(super) address: Ipv4Addr,
    /// Of TLS, and of plain HTTP.
    pub(super) ports: [u16; 2],
}

impl Place {
    pub(super) fn new() -> Place {
        Place::on([TLS, HTTP])
    }

    /// The same with other ports.
    pub(super) fn on(ports: [u16; 2]) -> Place {
        static PLACES: AtomicU8 = AtomicU8::new(1);
        // Another run of the tests, which may be at the same time, has another number.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 128 | high, low, PLACES.fetch_add(1, Ordering::Relaxed));
        Place { folder: TempDir::new().unwrap(), address, ports }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        write(self.folder.path(), name, content);
        self.path(name)
    }

    pub(super) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// Writes the configuration: listeners, the keys of `[acme]` beside directory, roots and state,
    /// and a site for each list of hosts, with more keys of its own. A site is a folder whose
    /// `name.txt` has its first host in it.
    pub(super) fn configure(&self, authority: &str, acme: &str, sites: &[(&[&str], &str)]) -> PathBuf {
        let Place { address, ports: [tls, http], .. } = self;
        let mut text = format!(
            "[admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"{address}:{tls}\"\n\
             [[listen]]\naddress = \"{address}:{http}\"\nredirect = \"https\"\n\
             [acme]\ndirectory = \"{authority}\"\nca = \"api.pem\"\nstate = \"state\"\n{acme}\n"
        );
        for (hosts, keys) in sites {
            let root = hosts[0].trim_start_matches("*.");
            self.write(&format!("{root}/name.txt"), hosts[0]);
            text +=
                &format!("[[site]]\nhosts = {hosts:?}\nroot = {root:?}\ncertificate = \"acme\"\n{keys}\n");
        }
        self.write("sitar.toml", text)
    }

    pub(super) fn serve(&self) -> Server {
        let mut server = Server::start_configured(&self.path("sitar.toml"));
        server.set_address(self.at(self.ports[0]));
        server
    }

    /// Returns the number of the process that orders, if it runs.
    pub(super) fn ordering_process(&self, server: &Server) -> Option<u32> {
        let is_it = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim_end() == "sitar-acme"
        };
        children(server.pid()).into_iter().find(is_it)
    }

    /// Asks the server over its admin socket.
    pub(super) fn admin(&self, request: &str) -> Value {
        let mut socket = UnixStream::connect(self.path("admin.sock")).unwrap();
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{request}: {error}: {answer}"))
    }

    /// Returns what the server knows of the certificate of that name; null: nothing yet.
    pub(super) fn ordered(&self, name: &str) -> Value {
        let all = self.admin("certificates");
        let all = all["ordered"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
    }

    /// Waits until the last order of a certificate has failed; returns what is known of it.
    pub(super) fn wait_for_failure(&self, name: &str) -> Value {
        let mut known = Value::Null;
        eventually("an order that fails", || {
            known = self.ordered(name);
            known["failed"].is_string()
        });
        known
    }

    /// Asks a site for its name over a connection that trusts that root alone. `None`: no such
    /// connection.
    pub(super) fn ask(&self, root: &Path, host: &str) -> Option<String> {
        let config = trusting(roots_in([root]), &[b"http/1.1"]);
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut client = Client::over_as(&config, socket(self.at(self.ports[0])).ok()?, name).ok()?;
        client.send(format!("GET /name.txt HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).ok()?;
        Some(String::from_utf8(client.response(false).ok()?.body).unwrap())
    }

    /// Waits until a site is served with a certificate of that root.
    pub(super) fn wait_for(&self, server: &Server, root: &Path, host: &str, text: &str) {
        let what = format!("a certificate of {host} that {} certifies", root.display());
        let deadline = Instant::now() + PATIENCE;
        while self.ask(root, host).as_deref() != Some(text) {
            let is_late = Instant::now() > deadline;
            assert!(
                !is_late,
                "still waiting for {what}\n{}",
                format!("{:#}", self.admin("certificates")) + &server.said()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns what is served for that name, whatever root it has.
    pub(super) fn chain(&self, host: &str) -> Vec<Facts> {
        self.try_chain(host, &[b"http/1.1"]).unwrap()
    }

    /// The same for a client that offers these protocols. `None`: it is refused.
    pub(super) fn try_chain(&self, host: &str, protocols: &[&[u8]]) -> Option<Vec<Facts>> {
        let chain = self.try_certificates(host, protocols)?;
        Some(chain.iter().map(|certificate| Facts::of(certificate)).collect())
    }

    /// The same without a look into them, which is quick.
    pub(super) fn try_certificates(&self, host: &str, protocols: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
        let seen = Arc::new(Seen::default());
        let mut config = ClientConfig::clone(&trusting(RootCertStore::empty(), protocols));
        config.dangerous().set_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>);
        let name = ServerName::try_from(host.to_owned()).unwrap();
        Client::over_as(&Arc::new(config), socket(self.at(self.ports[0])).unwrap(), name).ok()?;
        Some(seen.0.lock().unwrap().clone())
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) serial: String,
    pub(super) issuer: String,
    /// As openssl prints them.
    pub(super) names: Vec<String>,
    /// Seconds.
    pub(super) lifetime: i64,
    pub(super) is_rsa: bool,
}

impl Facts {
    fn of(der: &[u8]) -> Facts {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-inform", "der", "-noout", "-serial", "-issuer", "-dates", "-text"]);
        let text = run_with(&mut openssl, der).ok().text();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let names = text.lines().skip_while(|line| !line.contains("Subject Alternative Name")).nth(1);
        let names = names.unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
        let seconds = |date: String| {
            let date = run("date", ["-d", &date, "+%s"]).ok().text();
            date.trim().parse::<i64>().unwrap()
        };
        Facts {
            serial: field("serial="),
            issuer: field("issuer="),
            names,
            lifetime: seconds(field("notAfter=")) - seconds(field("notBefore=")),
            is_rsa: text.contains("Public Key Algorithm: rsaEncryption"),
        }
    }
}

/// Trusts every certificate and keeps it.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Vec<u8>>>);

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap() = std::iter::once(leaf).chain(others).map(|one| one.to_vec()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// A program that runs until this is dropped, and writes what it says into a file.
pub(super) struct Running {
    pub(super) child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it. `has_output`: its standard output is for the test.
    pub(super) fn start(command: &mut Command, log: PathBuf, has_output: bool) -> Running {
        let file = fs::File::create(&log).unwrap();
        command.stderr(file.try_clone().unwrap());
        if !has_output {
            command.stdout(file);
        }
        Running { child: command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")), log }
    }

    /// Waits until something listens there.
    pub(super) fn wait_for(&mut self, address: SocketAddr) {
        eventually("an authority that listens", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&self.log).unwrap());
            TcpStream::connect(address).is_ok()
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "--- {} ---\n{}",
                self.log.display(),
                fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
