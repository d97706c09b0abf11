//! Programs of other people beside the server: another authority, and a name server that takes
//! updates.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::pebble::{self, Pebble};
use super::place::{Place, Running};
use crate::common::{executable, have, run_with, skip, target_folder};

/// The environment of Python that docs/testing.md says how to make.
fn python() -> PathBuf {
    target_folder().join("acme/acme2certifier/bin/python")
}

/// acme2certifier has another view of RFC 8555 than pebble and the model. It validates on ports 80
/// and 443 alone, so this is a test for root.
#[test]
fn another_authority_certifies_as_well() {
    if !python().exists() {
        return skip("no target/acme/acme2certifier; docs/testing.md says how to make it");
    }
    if !rustix::process::geteuid().is_root() {
        return skip("acme2certifier validates on ports 80 and 443, which are root's");
    }
    let place = Place::on([443, 80]);
    let Some(_names) = pebble::name_server(&place, "pebble", 53) else { return };
    let mut second = Command::new(python());
    second
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/acme/second.py"))
        .arg("--dir")
        .arg(place.folder());
    second.args(["--listen", &place.address.to_string(), "14000", "--dns", &place.address.to_string()]);
    second.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut second = Running::start(&mut second, place.path("second.log"), true);
    let mut line = String::new();
    BufReader::new(second.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    place.configure(
        ready["directory"].as_str().unwrap(),
        "agree_tos = true\ncontact = \"webmaster@example.com\"",
        &[
            (&["alpn.test"], "acme = { challenges = [\"tls-alpn-01\"] }"),
            (&["http.test", "www.http.test"], "acme = { challenges = [\"http-01\"] }"),
        ],
    );
    let server = place.serve();
    for host in ["alpn.test", "http.test"] {
        place.wait_for(&server, &place.path("root.pem"), host, host);
    }
}

/// The example for name servers that take signed updates, against one that does.
#[test]
fn nsupdate_changes_the_records_of_challenges() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let bind = target_folder().join("acme/bind/usr");
    if !bind.join("sbin/named").exists() {
        return skip("no bind under target/acme; `cargo xtask setup` downloads it");
    }
    let libraries: Vec<PathBuf> = std::fs::read_dir(bind.join("lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("libuv.so.1").exists())
        .collect();
    let place = Place::new();
    let tool = |name: &str| {
        let mut command = Command::new(bind.join(name));
        command.env("LD_LIBRARY_PATH", &libraries[0]);
        command
    };
    let key = run_with(tool("sbin/tsig-keygen").arg("sitar"), b"").ok().text();
    place.write("tsig.key", &key);
    let address = place.address;
    // It listens on addresses that an interface has: all of the loopback network but this one are
    // none.
    let names = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.write("zone", format!("@ 60 SOA ns admin 1 60 60 60 60\n@ 60 NS ns\nns 60 A {address}\n"));
    let folder = place.folder().display();
    let policy = "update-policy { grant sitar. name _acme-challenge.dns.test. TXT; };";
    let config = format!(
        "include \"{folder}/tsig.key\";\ncontrols {{}};\n\
         options {{ directory \"{folder}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         pid-file none; session-keyfile none; recursion no; dnssec-validation no; }};\n\
         zone \"dns.test\" {{ type primary; file \"zone\"; {policy} }};\n",
        port = names.port(),
    );
    let config = place.write("named.conf", config);
    let mut named = tool("sbin/named");
    named.args(["-g", "-n", "1", "-c"]).arg(config).stdin(Stdio::null());
    let mut named = Running::start(&mut named, place.path("named.log"), false);
    named.wait_for(names);
    let Some(pebble) = Pebble::start_asking(names, &place, "pebble", &[], json!({})) else { return };
    // sitar's own command, with the unpacked nsupdate.
    let script = format!(
        "#!/bin/sh\nPATH={}:$PATH LD_LIBRARY_PATH={} exec {} \"$@\"\n",
        bind.join("bin").display(),
        libraries[0].display(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/acme/nsupdate.sh"),
    );
    executable(&place.path("change-dns"), script);
    let command = [
        place.path("change-dns").display().to_string(),
        format!("{} {}", names.ip(), names.port()),
        place.path("tsig.key").display().to_string(),
    ];
    let acme = format!("agree_tos = true\ndns_command = {command:?}");
    place.configure(
        &pebble.directory(),
        &acme,
        &[(&["*.dns.test", "dns.test"], "acme = { challenges = [\"dns-01\"] }")],
    );
    let server = place.serve();
    place.wait_for(&server, &pebble.root(0), "a.dns.test", "*.dns.test");
    let log = std::fs::read_to_string(place.path("named.log")).unwrap();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("adding an RR"), count("deleting an RR")), (2, 2), "{log}");
}
