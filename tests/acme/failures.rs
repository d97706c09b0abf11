//! Authorities that are slow, down, broken, hostile or of another mind: what was served is served,
//! and the operator reads why.

use serde_json::{Value, json};

use super::model::Model;
use super::place::Place;
use crate::common::asking::while_asking;
use crate::common::{eventually, have, sandbox};

/// The hint where an authority makes no sense.
const URL: Option<&str> = Some("is this the URL of an ACME directory?");

/// What the model does, and the sentence and the step that the operator reads. `SITE` stands for
/// the name of the site.
fn cases() -> Vec<(Value, &'static str, Option<&'static str>)> {
    let garbage = |endpoint: &str, mode: &str| json!({ "garbage": [{ "endpoint": endpoint, "mode": mode, "count": 1 }] });
    // Also to requests that are sent again.
    let always = |endpoint: &str, mode: &str| json!({ "garbage": [{ "endpoint": endpoint, "mode": mode }] });
    let issue = |mode: &str| json!({ "issue": [{ "mode": mode, "count": 1 }] });
    let problem = |endpoint: &str, kind: &str| {
        let rule =
            json!({ "endpoint": endpoint, "type": kind, "detail": "because", "status": 403, "count": 1 });
        json!({ "problems": [rule] })
    };
    let fail = |kind: &str| json!({ "fail": { "SITE": { "type": kind, "detail": "because" } } });
    let limited = json!({ "endpoint": "new-order", "type": "rateLimited", "detail": "too many",
        "status": 429, "retry_after": 86_400, "count": 1 });
    vec![
        (garbage("dir", "html"), "the authority answers with a page of HTML, where JSON is due", URL),
        (garbage("dir", "html-503"), "the authority has a fault of its own (503)", None),
        (garbage("dir", "types"), "the authority's directory has no newNonce", URL),
        (garbage("dir", "list"), "the authority's directory has no newNonce", URL),
        (garbage("dir", "deep"), "the authority answers with something else, where JSON is due", URL),
        (garbage("dir", "not-utf8"), "the authority answers with something else, where JSON is due", URL),
        (
            garbage("dir", "http-urls"),
            "the URL \"http://127.0.0.1:*/new-nonce\" does not begin with https://",
            URL,
        ),
        (
            garbage("dir", "redirect"),
            "the authority's answer leads elsewhere (307), to http://127.0.0.1:1/; that is not followed",
            URL,
        ),
        (garbage("dir", "huge"), "the authority's answer is too large", URL),
        (garbage("dir", "endless"), "the authority's answer is too large", URL),
        (garbage("dir", "endless-head"), "the authority's answer is too large", URL),
        (always("dir", "not-http"), "the authority does not answer in HTTP", URL),
        (always("dir", "truncated"), "the authority's answer is too large", URL),
        (
            always("dir", "close"),
            "the authority 127.0.0.1 has closed the connection without an answer",
            Some("curl -v https://127.0.0.1:*/"),
        ),
        (garbage("new-nonce", "no-nonce"), "the authority gives no nonce that can be used", None),
        (garbage("new-nonce", "bad-nonce"), "the authority gives no nonce that can be used", None),
        (garbage("new-order", "html"), "the authority answers with a page of HTML, where JSON is due", None),
        (garbage("new-order", "many"), "the authority's order has more than 100 authorizations", None),
        (
            garbage("new-order", "location"),
            "the URL \"http://127.0.0.1:1/\" does not begin with https://",
            None,
        ),
        (garbage("new-order", "no-location"), "the URL \"\" does not begin with https://", None),
        (
            garbage("new-order", "control"),
            "a name does not resolve, or its DNS servers do not answer (the authority: ?[31mred  line?*)",
            Some("dig +trace NAME A"),
        ),
        (garbage("authz", "types"), "the authority wants a proof for nothing that is known", None),
        (garbage("finalize", "types"), "the authority's order has no status that is known", None),
        (
            garbage("certificate", "html"),
            "the authority's certificate cannot be used: there is no certificate in it (no BEGIN CERTIFICATE line): it holds neither a certificate nor a key",
            None,
        ),
        (always("certificate", "huge"), "the authority's answer is too large", None),
        (issue("other-names"), "the authority's certificate is not for SITE, which was ordered", None),
        (
            issue("other-key"),
            "the authority's certificate cannot be used: the private key does not belong to the certificate",
            None,
        ),
        (
            issue("expired"),
            "the authority's certificate is valid for less than an hour",
            Some("look at this machine's clock: timedatectl"),
        ),
        (
            issue("future"),
            "the authority's certificate is not valid yet",
            Some("look at this machine's clock: timedatectl"),
        ),
        (
            issue("long-chain"),
            "the authority's certificate cannot be used: it holds more certificates than any client takes (32 or 49152 bytes): a chain is the server's own and the few that certify it",
            None,
        ),
        (
            issue("empty"),
            "the authority's certificate cannot be used: there is no certificate in it (no BEGIN CERTIFICATE line): it holds nothing",
            None,
        ),
        (
            issue("no-pem"),
            "the authority's certificate cannot be used: the certificate file is damaged: a section is not base64",
            None,
        ),
        (
            json!({ "order_invalid": 1 }),
            "the authority has a fault of its own (the authority: the certificate could not be issued)",
            None,
        ),
        (
            problem("new-order", "rejectedIdentifier"),
            "the authority gives no certificates for a name (the authority: because)",
            Some("take the name out of the site's hosts, or ask another authority"),
        ),
        (
            problem("finalize", "caa"),
            "a CAA record of a name forbids this authority (the authority: because)",
            Some("dig NAME CAA"),
        ),
        (
            json!({ "problems": [{ "endpoint": "new-order", "type": "serverInternal", "detail": "because" }] }),
            "the authority has a fault of its own (the authority: because)",
            None,
        ),
        (
            fail("dns"),
            "SITE does not resolve, or its DNS servers do not answer (the authority: because), by tls-alpn-01",
            Some("dig +trace SITE A"),
        ),
        (
            fail("connection"),
            "the authority cannot connect to SITE: port 443 is closed from outside (the authority: because), by tls-alpn-01",
            Some("sitar cert check SITE"),
        ),
        (
            fail("tls"),
            "the authority connects to port 443 of SITE, but its handshake fails there (the authority: because), by tls-alpn-01",
            Some("sitar cert check SITE"),
        ),
        (
            fail("unauthorized"),
            "another server than this one answers for SITE (the authority: because), by tls-alpn-01",
            Some("sitar cert check SITE"),
        ),
        (
            json!({ "down": [[0, 1e12]] }),
            "the authority has a fault of its own (the authority: down for maintenance)",
            None,
        ),
        (
            json!({ "down": [[0, 1e12]], "down_status": null }),
            "the authority 127.0.0.1 has closed the connection without an answer",
            Some("curl -v https://127.0.0.1:*/"),
        ),
        (
            json!({ "problems": [limited] }),
            "the authority allows no more of this until * (UTC) (the authority: too many)",
            None,
        ),
    ]
}

#[test]
fn what_an_authority_does_wrong_is_said_and_changes_nothing() {
    if !have(&["openssl"]) {
        return;
    }
    let cases = cases();
    let place = Place::new();
    let Some(model) = Model::start(&place, &["--trust", "--no-limits"]) else { return };
    // A certificate for each case: none has a history.
    let names: Vec<String> = (0..cases.len()).map(|number| format!("case{number}.test")).collect();
    let hosts: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let sites: Vec<(&[&str], &str)> = hosts.iter().map(|hosts| (&hosts[..], "")).collect();
    place.configure(model.directory(), "agree_tos = true", &sites);
    let server = place.serve();
    for name in &names {
        place.wait_for(&server, &model.root(), name, name);
    }
    let served: Vec<_> = names.iter().map(|name| place.chain(name)).collect();
    let mut said = Vec::new();
    let usual = json!({ "garbage": [], "issue": [], "problems": [], "fail": {}, "down": [], "down_status": 503,
        "order_invalid": 0 });
    model.control("", &json!({ "forget_authzs": true }));
    while_asking(
        |number| {
            let name = &names[number % names.len()];
            assert_eq!(place.ask(&model.root(), name).as_ref(), Some(name));
        },
        |_| {
            for ((settings, _, _), name) in cases.iter().zip(&names) {
                model.set(&serde_json::from_str(&settings.to_string().replace("SITE", name)).unwrap());
                place.admin(&format!("renew {name}"));
                let known = place.wait_for_failure(name);
                model.set(&usual);
                said.push(known);
            }
        },
    );
    let mut wrong = String::new();
    for (((settings, what, hint), name), known) in cases.iter().zip(&names).zip(&said) {
        let is = |expected: Option<&str>, said: &Value| match (expected, said.as_str()) {
            (Some(expected), Some(said)) => matches(&expected.replace("SITE", name), said),
            (expected, said) => expected.is_none() && said.is_none(),
        };
        if !is(Some(what), &known["failed"]) || !is(*hint, &known["hint"]) {
            wrong += &format!("{settings}\n   {}\n   {}\n", known["failed"], known["hint"]);
        }
    }
    assert!(wrong.is_empty(), "other words than expected:\n{wrong}");
    // What has read all of that holds nothing of the sites.
    let process = place.ordering_process(&server).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    if sandbox() == "strict" {
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
            assert!(status.lines().any(|found| found == line), "{line}: {status}");
        }
    }
    for descriptor in std::fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let Ok(target) = std::fs::read_link(descriptor.unwrap().path()) else { continue };
        let is_of_state = target.starts_with(place.path("state"));
        assert!(is_of_state || !target.starts_with(place.folder()), "{}", target.display());
    }
    let after: Vec<_> = names.iter().map(|name| place.chain(name)).collect();
    assert_eq!(after, served);
}

/// Whether a text is the expected one, in which a `*` stands for what differs from run to run.
fn matches(expected: &str, text: &str) -> bool {
    match expected.split_once('*') {
        Some((begin, end)) => {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        }
        None => text == expected,
    }
}

/// A certificate comes late, and it comes.
#[test]
fn an_authority_may_be_slow_and_down_for_a_while() {
    if !have(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let Some(model) = Model::start(&place, &[]) else { return };
    model.set(&json!({ "delay": 0.3, "poll_retry_after": 1, "processing": 2, "validating": 2,
        "perspectives": 5, "nonce_rejection": 0.5 }));
    place.configure(model.directory(), "agree_tos = true", &[(&["a.test"], "")]);
    let server = place.serve();
    place.wait_for(&server, &model.root(), "a.test", "a.test");
    let first = place.chain("a.test")[0].clone();
    model.set(&json!({ "down": [[0, 1e12]] }));
    place.admin("renew a.test");
    place.wait_for_failure("a.test");
    assert_eq!(place.chain("a.test")[0], first);
    model.set(&json!({ "down": [] }));
    place.admin("renew a.test");
    eventually("another certificate", || place.chain("a.test")[0].serial != first.serial);
    assert_eq!(place.ask(&model.root(), "a.test").as_deref(), Some("a.test"));
    // The authorization was still good.
    assert_eq!(model.part("validations").as_array().unwrap().len(), 1);
    assert_eq!(model.part("in_flight_max"), json!({ "a.test": 1 }));
    assert_eq!(model.part("breaches"), json!([]));
}
