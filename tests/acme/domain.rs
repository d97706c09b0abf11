//! `sitar serve --domain`, and `sitar cert`.

use std::ffi::OsStr;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::model::Model;
use super::place::Place;
use crate::common::{Server, eventually, have, run, sitar};

/// What a stranger types leads to a certificate, which the next start has at once.
#[test]
fn a_name_on_the_command_line_is_enough() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &[]) else { return };
    place.write("site/name.txt", "hello");
    let [tls, http] = place.ports.map(|port| place.at(port).to_string());
    let (site, state, ca) = (place.path("site"), place.path("state"), place.path("api.pem"));
    let start = || {
        let home = TempDir::new().unwrap();
        let mut command = sitar(home.path());
        command.arg("serve").arg(&site).args(["--domain", "a.test,www.a.test", "--acme-agree-tos"]);
        command.args(["--acme-directory", model.directory()]).arg("--acme-ca").arg(&ca);
        command.arg("--state").arg(&state).args(["--listen", &tls, "--listen-http", &http]);
        let mut server = Server::start_supervised(command, home);
        server.set_address(place.at(place.ports[0]));
        server
    };
    let root = model.root();
    let mut serials = Vec::new();
    for _ in 0..2 {
        let server = start();
        eventually("a trusted certificate", || place.ask(&root, "www.a.test").as_deref() == Some("hello"));
        let chain = place.chain("a.test");
        assert_eq!(chain[0].names, ["DNS:a.test", "DNS:www.a.test"]);
        serials.push(chain[0].serial.clone());
        let moved = run("curl", ["-si", "-H", "Host: a.test", &format!("http://{http}/name.txt")]);
        let moved = moved.ok().text();
        assert!(moved.starts_with("HTTP/1.1 308 "), "{moved}");
        assert!(moved.contains(&format!("https://a.test:{}/name.txt", place.ports[0])), "{moved}");
        drop(server);
    }
    assert_eq!(serials[0], serials[1], "the certificate is kept");
    assert_eq!(model.part("certificates").as_array().unwrap().len(), 1);
}

/// What an operator types has its effect at the authority and in what is served.
#[test]
fn certificates_are_listed_renewed_and_revoked() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &[]) else { return };
    place.configure(model.directory(), "agree_tos = true", &[(&["a.test", "www.a.test"], "")]);
    let server = place.serve();
    place.wait_for(&server, &model.root(), "a.test", "a.test");
    let socket = place.path("admin.sock");
    let cert = |arguments: &[&str]| {
        let home = TempDir::new().unwrap();
        let mut command = sitar(home.path());
        command.arg("cert").args(arguments).arg("--socket").arg(&socket);
        let done = command.output().unwrap();
        let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (done.status.code(), said)
    };
    let listed = cert(&["list"]).1;
    assert!(listed.starts_with("a.test  served, expires "), "{listed}");
    let list: Value = serde_json::from_str(&cert(&["list", "--json"]).1).unwrap();
    assert_eq!(list["ordered"][0]["names"], json!(["a.test", "www.a.test"]));
    let serial = || place.chain("a.test")[0].serial.clone();
    let mut last = serial();
    let mut is_another = |what: &str, arguments: &[&str]| {
        assert_eq!(cert(arguments).0, Some(0), "{what}");
        eventually(what, || serial() != last);
        last = serial();
    };
    // One of its names will do.
    is_another("another certificate", &["renew", "www.a.test"]);
    is_another("one in the place of the revoked", &["revoke", "a.test", "--reason", "key-compromise"]);
    let revoked = |model: &Model<'_>| {
        let all = model.part("certificates");
        all.as_array().unwrap().iter().filter(|one| one["revoked"] == json!(1)).count()
    };
    assert_eq!(revoked(&model), 1);
    assert_eq!(cert(&["roll-over"]).0, Some(0));
    is_another("a certificate by the new key", &["renew", "a.test"]);
    let (code, said) = cert(&["renew", "b.test"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("b.test"), "{said}");
    let nowhere: [&OsStr; 3] = ["cert".as_ref(), "check".as_ref(), "127.0.0.1".as_ref()];
    let home = TempDir::new().unwrap();
    let checked = sitar(home.path()).args(nowhere).output().unwrap();
    assert_eq!(checked.status.code(), Some(3));
    assert!(String::from_utf8(checked.stdout).unwrap().contains("PROBLEM 127.0.0.1 is no public address"));
}
