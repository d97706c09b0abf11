//! Ten sites, their certificates, and a server of them.

use crate::common::site::write;
use crate::common::{Finished, Server, eventually, run_with, sitar};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Names of the certificate that most sites share.
pub(super) const SHARED: &[&str] = &[
    "alpha.example",
    "www.alpha.example",
    "beta.example",
    "xn--bcher-kva.example",
    "old.example",
    "gone.example",
    "down.example",
    "127.0.0.1",
];
pub(super) const WILD: &[&str] = &["*.wild.example"];
pub(super) const OWN: &[&str] = &["own.wild.example"];

/// Ten sites and three listeners.
pub(super) const TEN: &str = r#"
[[listen]]
address = "127.0.0.1:0"

[[listen]]
address = "127.0.0.1:0"
redirect = "https"

[[listen]]
address = "127.0.0.1:0"
tls = "off"

[server]
shards = 1
certificate = { chain = "shared.pem", key = "shared.key" }

[[site]]
hosts = ["alpha.example", "www.alpha.example"]
root = "alpha"
canonical = "alpha.example"
hsts = "max-age=31536000"

[[site]]
hosts = "beta.example"
root = "beta"

[[site]]
hosts = "xn--bcher-kva.example"
root = "books"

[[site]]
hosts = "*.wild.example"
root = "wild"
certificate = { chain = "wild.pem", key = "wild.key" }

[[site]]
hosts = "own.wild.example"
root = "own"
certificate = [{ chain = "own.pem", key = "own.key" }, { chain = "own-rsa.pem", key = "own-rsa.key" }]

[[site]]
hosts = "old.example"
redirect_to = "https://beta.example"
hsts = "max-age=7"

[[site]]
hosts = "gone.example"
redirect_to = "https://beta.example/moved?from=gone"
redirect_status = 302

[[site]]
hosts = "down.example"
root = "missing.tar"
pages = { 503 = "503.html" }
hsts = "max-age=7"

[[site]]
hosts = ["127.0.0.1", "::1"]
root = "address"

[[site]]
default = true
root = "rest"

[admin]
socket = "admin.sock"
"#;

/// Takes a moment to make, so there is one for all tests.
pub(super) static RSA_KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());

/// A folder with sites that say their names, certificates and a configuration.
pub(super) struct Place(TempDir);

impl Place {
    pub(super) fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        for site in ["alpha", "beta", "books", "wild", "own", "address", "rest"] {
            place.write(&format!("{site}/index.html"), site);
            place.write(&format!("{site}/name.txt"), site);
            place.write(&format!("{site}/404.html"), &format!("{site} has no such page"));
            place.write(&format!("{site}/.well-known/acme-challenge/token"), &format!("token of {site}"));
        }
        place.write("503.html", "soon again");
        place.certificate("shared", SHARED);
        place.certificate("wild", WILD);
        place.certificate("own", OWN);
        place.certificate_of("own-rsa", OWN, &RSA_KEY);
        place
    }

    /// Makes a certificate of these names, or makes it again.
    pub(super) fn certificate(&self, file: &str, names: &[&str]) {
        self.certificate_of(file, names, &KeyPair::generate().unwrap());
    }

    pub(super) fn certificate_of(&self, file: &str, names: &[&str], key: &KeyPair) {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let certificate = CertificateParams::new(names).unwrap().self_signed(key).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    /// Returns the certificate in that file.
    pub(super) fn shown(&self, file: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{file}.pem"))).unwrap()
    }

    /// Makes a certificate again, in place, and waits until it is served.
    pub(super) fn renew(&self, server: &Server, file: &str, names: &[&str]) {
        let line = format!("certificate of {} renewed: expires on ", names.join(", "));
        let before = server.said().matches(&line).count();
        self.certificate(file, names);
        eventually("the new certificate", || server.said().matches(&line).count() > before);
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        write(self.0.path(), name, text);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn serve(&self, config: &str) -> Server {
        self.write("sitar.toml", config);
        Server::start_configured(&self.path("sitar.toml"))
    }

    pub(super) fn reload(&self) -> Finished {
        self.ask("reload")
    }

    pub(super) fn status(&self) -> String {
        self.ask("status").ok().text()
    }

    fn ask(&self, verb: &str) -> Finished {
        let mut command = sitar(self.0.path());
        run_with(command.args([verb, "--config"]).arg(self.path("sitar.toml")), b"")
    }
}
