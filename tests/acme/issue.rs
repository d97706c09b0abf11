//! Certificates that are ordered, and come into service.

use rustix::process::Signal;
use serde_json::json;

use super::model::Model;
use super::pebble::Pebble;
use super::place::Place;
use crate::common::{eventually, have, signal};

/// Half of all nonces are refused, chains have three certificates, and there is another root.
#[test]
fn each_challenge_leads_to_a_certificate() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let place = Place::new();
    let hard =
        [("PEBBLE_WFE_NONCEREJECT", "50"), ("PEBBLE_CHAIN_LENGTH", "2"), ("PEBBLE_ALTERNATE_ROOTS", "1")];
    let Some(pebble) = Pebble::start(&place, "pebble", &hard, json!({})) else { return };
    let address = place.address.to_string();
    let acme = format!(
        "agree_tos = true\ncontact = \"webmaster@example.com\"\ndns_command = [{:?}]",
        pebble.dns_command()
    );
    let only = |challenge: &str| format!("acme = {{ challenges = [\"{challenge}\"] }}");
    place.configure(
        &pebble.directory(),
        &acme,
        &[
            (&["alpn.test"], &only("tls-alpn-01")),
            (&["http.test", "www.http.test", "xn--bcher-kva.test"], &only("http-01")),
            (&["*.dns.test", "dns.test"], &only("dns-01")),
            (&["rsa.test"], "acme = { keys = [\"p256\", \"rsa\"] }"),
            // Its clients name no host.
            (&[&address], ""),
        ],
    );
    let server = place.serve();
    let root = pebble.root(0);
    for (host, text) in [
        ("alpn.test", "alpn.test"),
        ("http.test", "http.test"),
        ("www.http.test", "http.test"),
        ("xn--bcher-kva.test", "http.test"),
        ("a.dns.test", "*.dns.test"),
        ("dns.test", "*.dns.test"),
        ("rsa.test", "rsa.test"),
        (&address, &address),
    ] {
        place.wait_for(&server, &root, host, text);
    }
    let chain = place.chain("www.http.test");
    assert_eq!(chain[0].names, ["DNS:http.test", "DNS:www.http.test", "DNS:xn--bcher-kva.test"]);
    assert_eq!(chain.len(), 3, "{chain:?}");
    assert_eq!(place.chain("dns.test")[0].names, ["DNS:*.dns.test", "DNS:dns.test"]);
    assert_eq!(place.chain(&address)[0].names, [format!("IP Address:{address}")]);
    // Two authorizations have one record each, and none is left.
    let changes = pebble.dns_changes();
    let count = |verb: &str| changes.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!((count("add _acme-challenge.dns.test "), count("remove _acme-challenge.dns.test ")), (2, 2));
    assert_eq!(changes.len(), 4, "{changes:?}");
}

/// Some authorities bind accounts to their customers.
#[test]
fn an_account_is_bound_to_one_that_the_operator_has() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let place = Place::new();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let options =
        json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } });
    let Some(pebble) = Pebble::start(&place, "pebble", &[], options) else { return };
    place.write("eab.key", format!("{key}\n"));
    let acme = "agree_tos = true\neab = { kid = \"kid-1\", key_file = \"eab.key\" }";
    place.configure(&pebble.directory(), acme, &[(&["a.test"], "")]);
    let server = place.serve();
    place.wait_for(&server, &pebble.root(0), "a.test", "a.test");
    drop(server);

    // Without the key: in words.
    let place = Place::new();
    let options =
        json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } });
    let Some(pebble) = Pebble::start(&place, "pebble", &[], options) else { return };
    place.configure(&pebble.directory(), "agree_tos = true", &[(&["a.test"], "")]);
    let _server = place.serve();
    let failed = place.wait_for_failure("a.test");
    assert_eq!(failed["failed"], "the authority wants its accounts bound to one of its customers'");
}

/// Short certificates under a profile; and the authority wants one replaced before its time.
#[test]
fn a_profile_is_named_and_a_window_that_has_moved_is_obeyed() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let place = Place::new();
    let profiles = json!({ "profiles": {
        "default": { "description": "90 days", "validityPeriod": 7_776_000 },
        "shortlived": { "description": "6 days", "validityPeriod": 518_400 },
    } });
    let Some(pebble) = Pebble::start(&place, "pebble-sid", &[], profiles) else { return };
    let sites: [(&[&str], &str); 2] = [
        (&["short.test"], "acme = { profile = \"shortlived\" }"),
        (&["long.test"], "acme = { profile = \"default\" }"),
    ];
    place.configure(&pebble.directory(), "agree_tos = true", &sites);
    let server = place.serve();
    let root = pebble.root(0);
    for (host, lifetime) in [("short.test", 518_400), ("long.test", 7_776_000)] {
        place.wait_for(&server, &root, host, host);
        let found = place.chain(host)[0].lifetime;
        assert!((lifetime - 1..=lifetime).contains(&found), "{host}: {found}");
    }
}

/// Of several chains the operator may prefer one.
#[test]
fn a_chain_with_another_root_is_preferred() {
    if !have(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &[]) else { return };
    model.set(&json!({ "alternate": true, "chain_length": 3 }));
    let sites: [(&[&str], &str); 2] =
        [(&["a.test"], ""), (&["b.test"], "acme = { preferred_chain = \"Model Root (alternate)\" }")];
    place.configure(model.directory(), "agree_tos = true", &sites);
    let server = place.serve();
    place.wait_for(&server, &model.root(), "a.test", "a.test");
    place.wait_for(&server, &model.alternate_root(), "b.test", "b.test");
    assert_eq!(place.ask(&model.root(), "b.test"), None);
    assert_eq!(place.chain("b.test").len(), 3);
    assert_eq!(model.part("breaches"), json!([]));
}

/// The authority wants a certificate replaced before its time (RFC 9773): once, and not again and
/// again.
#[test]
fn a_window_that_has_begun_is_obeyed() {
    if !have(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &["--trust"]) else { return };
    model.set(&json!({ "ari_window": "now" }));
    place.configure(model.directory(), "agree_tos = true", &[(&["a.test"], "")]);
    let server = place.serve();
    place.wait_for(&server, &model.root(), "a.test", "a.test");
    let mut issued = json!([]);
    eventually("a certificate that replaces the first", || {
        issued = model.part("certificates");
        issued.as_array().unwrap().len() >= 2
    });
    model.set(&json!({ "ari_window": null }));
    assert_eq!(issued[1]["replaces"], issued[0]["cert_id"]);
    let second = issued[1]["serial"].as_str().unwrap().trim_start_matches('0').to_uppercase();
    eventually("the second is served", || place.chain("a.test")[0].serial.trim_start_matches('0') == second);
    assert_eq!(model.part("breaches"), json!([]));
}

/// The process that orders is killed at one moment of an order after the other. Each time another
/// one goes on.
#[test]
fn an_order_survives_the_end_of_the_process() {
    if !have(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &[]) else { return };
    model.set(&json!({ "delay": 0.1, "processing": 1, "order_reuse": true }));
    place.configure(model.directory(), "agree_tos = true", &[(&["a.test"], "")]);
    let server = place.serve();
    for endpoint in ["new-order", "challenge", "finalize"] {
        eventually("a request", || model.part("requests")[endpoint].is_u64());
        if let Some(process) = place.ordering_process(&server) {
            signal(process, Signal::KILL);
        }
    }
    place.wait_for(&server, &model.root(), "a.test", "a.test");
    assert_eq!(model.part("in_flight_max"), json!({ "a.test": 1 }));
    assert_eq!(model.part("accounts").as_array().unwrap().len(), 1);
    let all = model.control("", &json!({}));
    assert_eq!(all["certificates"].as_array().unwrap().len(), 1, "{all:#}");
    assert_eq!(model.part("breaches"), json!([]));
}
