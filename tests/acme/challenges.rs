//! Challenges that are pending while clients load the site.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::model::Model;
use super::place::Place;
use crate::common::asking::while_asking;
use crate::common::{eventually, have};

/// Orders while others ask.
const ORDERS: usize = 3;

/// A challenge's certificate goes to a validator that asks for a pending name, and to no other
/// (RFC 8737 §3).
#[test]
fn no_client_sees_the_certificate_of_a_challenge() {
    if !have(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &[]) else { return };
    let only: &str = "acme = { challenges = [\"tls-alpn-01\"] }";
    place.configure(model.directory(), "agree_tos = true", &[(&["a.test"], only), (&["b.test"], only)]);
    let server = place.serve();
    for name in ["a.test", "b.test"] {
        place.wait_for(&server, &model.root(), name, name);
    }
    // A challenge is pending for two seconds.
    model.set(&json!({ "validating": 2, "poll_retry_after": 1 }));
    let seen = Arc::new(AtomicUsize::new(0));
    let issuers = |host: &str| place.chain(host).iter().map(|one| one.issuer.clone()).collect::<Vec<_>>();
    let usual = ["CN = Model Intermediate 1", "CN = Model Root"].map(str::to_owned);
    assert_eq!(issuers("a.test"), usual);
    // What certifies the site's; a challenge's certificate is alone.
    let intermediate = place.try_certificates("a.test", &[b"http/1.1"]).unwrap()[1].clone();
    while_asking(
        |number| {
            for host in ["a.test", "b.test"] {
                let alpn: &[&[u8]] = match number % 4 {
                    0 => &[b"http/1.1"],
                    1 => &[b"h2", b"http/1.1"],
                    2 => &[],
                    _ => &[b"http/1.1", b"acme-tls/1"],
                };
                let chain = place.try_certificates(host, alpn).unwrap();
                assert_eq!(chain.get(1), Some(&intermediate), "{host} {alpn:?}");
            }
            // None is ever pending for b.test.
            assert_eq!(place.try_certificates("b.test", &[b"acme-tls/1"]), None);
            if let Some(chain) = place.try_certificates("a.test", &[b"acme-tls/1"]) {
                assert_eq!(chain.len(), 1);
                seen.fetch_add(1, Ordering::Relaxed);
            }
        },
        |_| {
            for _ in 0..ORDERS {
                let before = place.chain("a.test")[0].serial.clone();
                model.control("", &json!({ "forget_authzs": true }));
                place.admin("renew a.test");
                eventually("another certificate", || place.chain("a.test")[0].serial != before);
            }
        },
    );
    assert!(seen.load(Ordering::Relaxed) > 0, "no challenge was seen");
    assert_eq!(place.try_certificates("a.test", &[b"acme-tls/1"]), None);
    assert_eq!(issuers("a.test"), usual);
    assert_eq!(model.part("breaches"), json!([]));
}
