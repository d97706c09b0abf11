//! Sites whose clients need a certificate: openssl and curl with none, a wrong one, one that has
//! expired and the right one; resumption; other hosts on the same connection; another authority.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::common::site::write;
use crate::common::{Finished, Server, eventually, have, run_with, signal};

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:0"

[[listen]]
address = "127.0.0.1:0"
tls = "off"

[[site]]
hosts = "open.test"
default = true
root = "open"
certificate = { chain = "server.pem", key = "server.key" }

[[site]]
hosts = "closed.test"
root = "closed"
certificate = { chain = "server.pem", key = "server.key" }
client_ca = "clients.pem"
"#;

/// A server, and the certificates that its clients may have.
struct Setup {
    server: Server,
    folder: TempDir,
}

/// An authority for clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate that is good until the end of that year, and its key, into one file.
    fn certify(&self, folder: &Path, name: &str, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        write(folder, &format!("{name}.pem"), certificate.pem() + &key.serialize_pem());
    }
}

impl Setup {
    fn new(ca: &Authority) -> Setup {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        for name in ["open", "closed"] {
            write(path, &format!("{name}/name.txt"), name);
        }
        let key = KeyPair::generate().unwrap();
        let names = vec!["open.test".to_owned(), "closed.test".to_owned()];
        write(path, "server.pem", CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem());
        write(path, "server.key", key.serialize_pem());
        write(path, "clients.pem", ca.0.pem());
        write(path, "sitar.toml", CONFIG);
        ca.certify(path, "right", 4000);
        ca.certify(path, "expired", 2001);
        Authority::new().certify(path, "wrong", 4000);
        Setup { server: Server::start_configured(&path.join("sitar.toml")), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Asks for the name of a site with curl. Returns the status and the name, or nothing where
    /// there is no connection.
    fn curl(&self, host: &str, certificate: Option<&str>, more: &[&str]) -> Option<String> {
        let port = self.server.address().port();
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--resolve", &format!("{host}:{port}:127.0.0.1"), "-w", " %{http_code}"]);
        if let Some(name) = certificate {
            curl.arg("--cert").arg(self.path(&format!("{name}.pem")));
        }
        let finished = run_with(curl.args(more).arg(format!("https://{host}:{port}/name.txt")), b"");
        let text = finished.text();
        (!text.ends_with(" 000")).then_some(text)
    }

    /// Connects with openssl and asks for the name of the site.
    fn openssl(&self, host: &str, more: &[&str]) -> Finished {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &self.server.address().to_string(), "-ign_eof"]);
        openssl.args(["-servername", host]).args(more);
        let request = format!("GET /name.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        run_with(&mut openssl, request.as_bytes())
    }

    fn is_served(&self, certificate: &str) -> bool {
        self.curl("closed.test", Some(certificate), &[]).is_some_and(|text| text == "closed 200")
    }
}

#[test]
fn only_clients_with_the_right_certificate_are_served() {
    if !have(&["curl"]) {
        return;
    }
    let setup = Setup::new(&Authority::new());
    for more in [&["--http2"][..], &["--http1.1"], &["--tls-max", "1.2"]] {
        assert_eq!(setup.curl("closed.test", Some("right"), more).unwrap(), "closed 200");
        for other in [None, Some("wrong"), Some("expired")] {
            assert_eq!(setup.curl("closed.test", other, more), None, "{other:?}");
        }
        assert_eq!(setup.curl("open.test", None, more).unwrap(), "open 200");
    }
    // A connection that was opened for another host, or for none, was asked for no certificate.
    for more in [&["--http2"][..], &["--http1.1"]] {
        for (host, certificate) in [("open.test", None), ("open.test", Some("right")), ("127.0.0.1", None)] {
            let more = [more, &["-H", "Host: closed.test"]].concat();
            let answer = setup.curl(host, certificate, &more).unwrap();
            assert!(answer.ends_with(" 421"), "{host} {answer}");
        }
        // In the other direction the server's certificate is enough.
        let more = [more, &["-H", "Host: open.test"]].concat();
        assert_eq!(setup.curl("closed.test", Some("right"), &more).unwrap(), "open 200");
    }
    // Nor is it served without TLS.
    let plain = setup.server.listeners("http")[0];
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", " %{http_code}", "-H", "Host: closed.test", &format!("http://{plain}/name.txt")]);
    assert!(run_with(&mut curl, b"").ok().text().ends_with(" 421"));
}

#[test]
fn a_session_of_another_host_or_authority_is_worth_nothing() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let setup = Setup::new(&Authority::new());
    let (session, other) = (setup.path("session"), setup.path("other"));
    let (session, other) = (session.to_str().unwrap(), other.to_str().unwrap());
    let right = setup.path("right.pem");
    let certificate = ["-cert", right.to_str().unwrap(), "-key", right.to_str().unwrap()];
    for version in ["-tls1_2", "-tls1_3"] {
        let first =
            setup.openssl("closed.test", &[&certificate[..], &[version, "-sess_out", session]].concat());
        assert!(first.text().contains("\nclosed"), "{}", first.text());
        // The session stands for the certificate.
        let resumed = setup.openssl("closed.test", &[version, "-sess_in", session]).text();
        assert!(resumed.contains("Reused, ") && resumed.contains("\nclosed"), "{resumed}");
        // One that was made without a certificate stands for none.
        assert!(setup.openssl("open.test", &[version, "-sess_out", other]).text().contains("\nopen"));
        let refused = setup.openssl("closed.test", &[version, "-sess_in", other]).text();
        assert!(!refused.contains("Reused, ") && !refused.contains("\nclosed"), "{refused}");
    }
    let mut config = fs::read_to_string(setup.path("sitar.toml")).unwrap();
    // Another authority: what was certified by the one before is worth nothing.
    fs::write(setup.path("others.pem"), Authority::new().0.pem()).unwrap();
    config = config.replace("clients.pem", "others.pem");
    fs::write(setup.path("sitar.toml"), config).unwrap();
    signal(setup.server.pid(), rustix::process::Signal::HUP);
    eventually("the other authority", || !setup.is_served("right"));
    let refused = setup.openssl("closed.test", &["-tls1_3", "-sess_in", session]).text();
    assert!(!refused.contains("Reused, ") && !refused.contains("\nclosed"), "{refused}");
}

#[test]
fn a_change_of_the_file_is_noticed() {
    if !have(&["curl"]) {
        return;
    }
    let (old, new) = (Authority::new(), Authority::new());
    let setup = Setup::new(&old);
    new.certify(setup.folder.path(), "new", 4000);
    assert!(setup.is_served("right") && !setup.is_served("new"));
    // What holds no certificate changes nothing.
    fs::write(setup.path("clients.pem"), "nonsense").unwrap();
    eventually("a complaint", || setup.server.said().contains("clients.pem cannot certify clients"));
    assert!(setup.is_served("right"));
    fs::write(setup.path("clients.pem"), old.0.pem() + &new.0.pem()).unwrap();
    eventually("both authorities", || setup.is_served("new"));
    assert!(setup.is_served("right"));
    fs::write(setup.path("clients.pem"), new.0.pem()).unwrap();
    eventually("the new authority alone", || !setup.is_served("right"));
    assert!(setup.is_served("new"));
    // Without the key, everyone is served.
    let config = fs::read_to_string(setup.path("sitar.toml")).unwrap();
    fs::write(setup.path("sitar.toml"), config.replace("client_ca", "# client_ca")).unwrap();
    signal(setup.server.pid(), rustix::process::Signal::HUP);
    eventually("no certificate", || {
        setup.curl("closed.test", None, &[]).is_some_and(|text| text == "closed 200")
    });
}
