//! pebble, the test authority of Let's Encrypt, and the name server that comes with it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::place::{Place, Running};
use crate::common::{executable, run_with, skip, target_folder};

const API: u16 = 14_000;
const MANAGEMENT: u16 = 15_000;
const DNS: u16 = 8053;
const DNS_MANAGEMENT: u16 = 8055;

/// An authority that validates on the ports of the test's server. Every name has the address of
/// the test.
pub(super) struct Pebble<'p> {
    place: &'p Place,
    _authority: Running,
    _names: Option<Running>,
}

impl<'p> Pebble<'p> {
    /// Starts the version that `cargo xtask setup` has put into that folder, and its name server;
    /// `None` and a skip where it has not. `options` are members of its configuration.
    pub(super) fn start(
        place: &'p Place,
        version: &str,
        environment: &[(&str, &str)],
        options: serde_json::Value,
    ) -> Option<Pebble<'p>> {
        let names = name_server(place, version, DNS)?;
        let pebble = Pebble::start_asking(place.at(DNS), place, version, environment, options)?;
        Some(Pebble { _names: Some(names), ..pebble })
    }

    /// The same with another name server, which the test has started.
    pub(super) fn start_asking(
        names: SocketAddr,
        place: &'p Place,
        version: &str,
        environment: &[(&str, &str)],
        options: serde_json::Value,
    ) -> Option<Pebble<'p>> {
        let program = program(version, "pebble")?;
        let [tls, http] = place.ports;
        certify(place);
        let mut config = serde_json::json!({
            "listenAddress": place.at(API),
            "managementListenAddress": place.at(MANAGEMENT),
            "certificate": place.path("api-chain.pem"),
            "privateKey": place.path("api.key"),
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "retryAfter": { "authz": 1, "order": 1 },
        });
        let serde_json::Value::Object(options) = options else { panic!("{options}") };
        config.as_object_mut().unwrap().extend(options);
        let config = place.write("pebble.json", serde_json::json!({ "pebble": config }).to_string());
        let mut authority = Command::new(program);
        authority.arg("-strict").arg("-config").arg(config).arg("-dnsserver").arg(names.to_string());
        authority.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        authority.env("PEBBLE_AUTHZREUSE", "0").envs(environment.iter().copied());
        let mut authority = Running::start(&mut authority, place.path("pebble.log"), false);
        authority.wait_for(place.at(API));
        Some(Pebble { place, _authority: authority, _names: None })
    }

    pub(super) fn directory(&self) -> String {
        format!("https://{}/dir", self.place.at(API))
    }

    /// Returns a file with one of the roots of what it certifies.
    pub(super) fn root(&self, number: usize) -> PathBuf {
        let root = self.manage(&format!("roots/{number}"), None);
        self.place.write(&format!("root-{number}.pem"), root)
    }

    /// Asks its management, which is no part of ACME.
    pub(super) fn manage(&self, path: &str, body: Option<&str>) -> String {
        let mut curl = Command::new("curl");
        curl.arg("--no-progress-meter").arg("--fail").arg("--cacert").arg(self.place.path("api.pem"));
        if let Some(body) = body {
            curl.args(["--data", body]);
        }
        curl.arg(format!("https://{}/{path}", self.place.at(MANAGEMENT)));
        run_with(&mut curl, b"").ok().text()
    }

    /// Returns a program that changes records of the name server, as sitar calls it.
    pub(super) fn dns_command(&self) -> PathBuf {
        let program = self.place.path("change-dns");
        let management = self.place.at(DNS_MANAGEMENT);
        // The server takes all values of a name away together: that is right for the last one, and
        // sitar removes them when none is needed any more.
        let script = format!(
            "#!/bin/sh\n\
             case $1 in add) verb=set-txt ;; remove) verb=clear-txt ;; *) exit 2 ;; esac\n\
             echo \"$*\" >> {log}\n\
             exec curl --no-progress-meter --fail --data \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" \
             http://{management}/$verb\n",
            log = self.place.path("dns.log").display(),
        );
        executable(&program, script);
        program
    }

    /// Returns the calls of that program, `add NAME VALUE` or `remove NAME VALUE`.
    pub(super) fn dns_changes(&self) -> Vec<String> {
        let log = fs::read_to_string(self.place.path("dns.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// Returns a program of that version.
fn program(version: &str, name: &str) -> Option<PathBuf> {
    let program = target_folder().join("acme").join(version).join("usr/bin").join(name);
    if !program.exists() {
        skip(&format!("no {version} under target/acme; `cargo xtask setup` downloads it"));
        return None;
    }
    Some(program)
}

/// Starts pebble's name server, in which every name has the address of the test.
pub(super) fn name_server(place: &Place, version: &str, port: u16) -> Option<Running> {
    let mut names = Command::new(program(version, "pebble-challtestsrv")?);
    names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]);
    // The option is another one in each version.
    let flag = if version == "pebble" { "-dns01" } else { "-dnsserver" };
    names.args(["-defaultIPv4", &place.address.to_string(), flag, &place.at(port).to_string()]);
    names.args(["-management", &place.at(DNS_MANAGEMENT).to_string()]);
    let mut names = Running::start(&mut names, place.path("names.log"), false);
    names.wait_for(place.at(DNS_MANAGEMENT));
    Some(names)
}

/// Writes the certificate of pebble's own server. It is no authority (`CA:FALSE`): clients refuse
/// a server's certificate that is one.
fn certify(place: &Place) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "root of pebble's own server");
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![place.address.to_string()]).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    let certificate = params.signed_by(&key, &root).unwrap();
    place.write("api.pem", root.pem());
    place.write("api-chain.pem", certificate.pem());
    place.write("api.key", key.serialize_pem());
}
