//! What fails, in the words that an operator reads.

use super::*;
use ChallengeKind::{Http01, TlsAlpn01};

/// Fails by what the authority says about the challenge.
fn of_challenge(kind: &str, detail: &str) -> Failure {
    let world = World::default();
    let mut invalid = authorization("a.example", "invalid");
    invalid["challenges"][2]["error"] =
        json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
    let mut client = world.client(vec![
        ("POST https://ca/order", placed("pending")),
        ("POST https://ca/authz/1", says(200, authorization("a.example", "pending"))),
        ("POST https://ca/chall/h", says(200, json!({}))),
        ("POST https://ca/authz/1", says(200, invalid)),
    ]);
    let failure = run(&world, &mut client, attempt(&wanted(&["a.example"], &[Http01]))).unwrap_err();
    assert!(world.is_used_up());
    assert_eq!(world.events().last().map(String::as_str), Some("answer "));
    assert_eq!(failure.challenges, [(Identifier::Dns("a.example".to_owned()), Http01)]);
    failure
}

#[test]
fn of_a_challenge() {
    for (kind, what, hint) in [
        (
            "dns",
            "a.example does not resolve, or its DNS servers do not answer (the authority: it says), by http-01",
            "dig +trace a.example A",
        ),
        (
            "connection",
            "the authority cannot connect to a.example: port 80 is closed from outside (the authority: \
             it says), by http-01",
            "sitar cert check a.example",
        ),
        (
            "tls",
            "the authority connects to port 443 of a.example, but its handshake fails there (the authority: it \
             says), by http-01",
            "sitar cert check a.example",
        ),
        (
            "unauthorized",
            "another server than this one answers for a.example (the authority: it says), by http-01",
            "sitar cert check a.example",
        ),
        (
            "incorrectResponse",
            "another server than this one answers for a.example (the authority: it says), by http-01",
            "sitar cert check a.example",
        ),
        (
            "caa",
            "a CAA record of a.example forbids this authority (the authority: it says), by http-01",
            "dig a.example CAA",
        ),
        (
            "rejectedIdentifier",
            "the authority gives no certificates for a.example (the authority: it says), by http-01",
            "take the name out of the site's hosts, or ask another authority",
        ),
    ] {
        let failure = of_challenge(kind, "it says");
        assert_eq!((failure.what.as_str(), failure.hint.as_deref()), (what, Some(hint)), "{kind}");
    }
    assert_eq!(of_challenge("new-kind", "").what, "the authority has refused, by http-01");
}

#[test]
fn of_a_record_in_the_dns() {
    let world = World::default();
    let mut invalid = authorization("a.example", "invalid");
    invalid["challenges"][1]["error"] =
        json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": "wrong" });
    let mut client = world.client(vec![
        ("POST https://ca/order", placed("pending")),
        ("POST https://ca/authz/1", says(200, authorization("a.example", "pending"))),
        ("POST https://ca/chall/d", says(200, json!({}))),
        ("POST https://ca/authz/1", says(200, invalid)),
    ]);
    let wanted = wanted(&["a.example"], &[ChallengeKind::Dns01]);
    let failure = run(&world, &mut client, attempt(&wanted)).unwrap_err();
    let what = "the record _acme-challenge.a.example has not the value that was set (the authority: wrong), by \
                dns-01";
    let hint = "dig _acme-challenge.a.example TXT";
    assert_eq!((failure.what.as_str(), failure.hint.as_deref()), (what, Some(hint)));
}

#[test]
fn what_an_authority_says_is_bounded_and_printable() {
    let failure = of_challenge("caa", "a\u{1b}[2Jb\r\nc\u{202e}d\u{0}\u{85}");
    assert!(failure.what.contains("(the authority: a?[2Jb  c?d??)"), "{}", failure.what);
    let failure = of_challenge("caa", &"\u{e4}".repeat(5000));
    assert!(failure.what.contains(&format!("{}\u{2026})", "\u{e4}".repeat(400))));
    assert!(!failure.what.contains(&"\u{e4}".repeat(401)));
}

/// Fails by the answer to the order.
fn of_order(reply: Reply) -> Failure {
    let world = World::default();
    let mut client = world.client(vec![("POST https://ca/order", reply)]);
    run(&world, &mut client, attempt(&wanted(&["a.example"], &[Http01]))).unwrap_err()
}

#[test]
fn of_an_order() {
    let limited = |after: &str| {
        let body = json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many" });
        of_order(says_with(429, body, &[("retry-after", after)]))
    };
    let failure = limited("3600");
    let what = "the authority allows no more of this until 2026-12-01 01:00 (UTC) (the authority: too many)";
    assert_eq!((failure.what.as_str(), failure.until), (what, Some(at(NOW + 3600))));
    let failure = limited("Tue, 01 Dec 2026 12:30:00 GMT");
    assert_eq!(failure.until, Some(at(NOW + 45_000)));
    let failure = limited("nonsense");
    let what = "the authority allows no more of this for now (the authority: too many)";
    assert_eq!((failure.what.as_str(), failure.until), (what, None));
    let failure = of_order(says_with(429, Value::Null, &[("retry-after", "60")]));
    assert!(failure.is(Problem::RateLimited) && failure.until == Some(at(NOW + 60)));
    let failure = of_order(says_with(503, Value::Null, &[("retry-after", "60")]));
    assert_eq!(failure.what, "the authority has a fault of its own (503)");
    assert_eq!(failure.until, Some(at(NOW + 60)));

    let changed = json!({
        "type": "urn:ietf:params:acme:error:userActionRequired", "detail": "Terms have changed",
        "instance": "https://ca/agree",
    });
    let failure = of_order(says(403, changed));
    let what = "the authority wants something of the operator first: its terms may have changed (the authority: \
                Terms have changed)";
    assert_eq!((failure.what.as_str(), failure.hint.as_deref()), (what, Some("open https://ca/agree")));

    let parts = json!({
        "type": "urn:ietf:params:acme:error:compound", "detail": "Errors",
        "subproblems": [
            7, { "type": 7 },
            { "type": "urn:ietf:params:acme:error:caa", "detail": "not us",
              "identifier": { "type": "dns", "value": "b.example" } },
        ],
    });
    let failure = of_order(says(403, parts));
    let what = "a CAA record of b.example forbids this authority (the authority: Errors not us)";
    assert_eq!((failure.what.as_str(), failure.hint.as_deref()), (what, Some("dig b.example CAA")));
    assert_eq!(failure.kind, Kind::Refused(Problem::Caa));
}

#[test]
fn an_order_that_becomes_invalid_says_why() {
    let world = World::default();
    let mut invalid = order("invalid");
    invalid["error"] = json!({ "type": "urn:ietf:params:acme:error:badCSR", "detail": "no" });
    let mut client = world.client(vec![
        ("POST https://ca/order", placed("ready")),
        ("POST https://ca/finalize", says(200, invalid)),
    ]);
    let failure = run(&world, &mut client, attempt(&wanted(&["a.example"], &[]))).unwrap_err();
    assert_eq!(
        failure.what,
        "the authority does not like the request's names or its key (the authority: no)"
    );
}

#[test]
fn nothing_that_can_be_answered() {
    let choose = |name: &str, kinds: &[ChallengeKind]| {
        let world = World::default();
        let mut offer = authorization("a.example", "pending");
        offer["challenges"] = json!([{ "type": "dns-01", "url": "https://ca/d", "token": "dA" }, 7, {}]);
        offer["wildcard"] = name.starts_with('*').into();
        let mut client = world.client(vec![
            ("POST https://ca/order", placed("pending")),
            ("POST https://ca/authz/1", says(200, offer)),
        ]);
        run(&world, &mut client, attempt(&wanted(&[name], kinds))).unwrap_err()
    };
    let failure = choose("a.example", &[TlsAlpn01, Http01]);
    let what = "the authority offers dns-01 for a.example; sitar can answer tls-alpn-01, http-01";
    assert_eq!((failure.what.as_str(), failure.kind), (what, Kind::Outside));
    let failure = choose("*.a.example", &[TlsAlpn01]);
    let hint = "a wildcard is proven in the DNS: give a command that changes it";
    assert_eq!(failure.hint.as_deref(), Some(hint));
}

#[test]
fn what_cannot_be_done_here() {
    let fail = |kinds: &[ChallengeKind]| {
        let world = World::default();
        let mut client = world.client(vec![
            ("POST https://ca/order/1", says(200, order("pending"))),
            ("POST https://ca/authz/1", says(200, authorization("a.example", "pending"))),
        ]);
        world.0.borrow_mut().full = true;
        let key_pem = csr::key(KeyType::P256).unwrap();
        let begun = OrderNotes { url: "https://ca/order/1".to_owned(), key_pem, finalized: false };
        let wanted = wanted(&["a.example"], kinds);
        let failure =
            run(&world, &mut client, Attempt { begun: Some(&begun), ..attempt(&wanted) }).unwrap_err();
        (failure, world.events())
    };
    let (failure, events) = fail(&[Http01]);
    assert_eq!(failure.what, "the challenges cannot be answered: no listener is there");
    assert_eq!(events.last().map(String::as_str), Some("answer "));
    let (failure, events) = fail(&[ChallengeKind::Dns01]);
    let what = "the record _acme-challenge.a.example could not be added: REFUSED?";
    assert_eq!((failure.what.as_str(), failure.kind), (what, Kind::Outside));
    assert!(events.last().unwrap().starts_with("Remove _acme-challenge.a.example "));

    let world = World::default();
    let mut client = world.client(vec![("POST https://ca/order", placed("pending"))]);
    world.0.borrow_mut().full = true;
    let failure = run(&world, &mut client, attempt(&wanted(&["a.example"], &[Http01]))).unwrap_err();
    assert_eq!(
        (failure.kind, failure.what.starts_with("the order cannot be written down")),
        (Kind::Storage, true)
    );
}

#[test]
fn an_authority_that_never_ends_is_left_after_ten_minutes() {
    let world = World::default();
    let mut client = world.client(vec![("POST https://ca/order", placed("processing"))]);
    for _ in 0..200 {
        let slow = says_with(200, order("processing"), &[("retry-after", "5")]);
        world.add(vec![("POST https://ca/order/1", slow)]);
    }
    let failure = run(&world, &mut client, attempt(&wanted(&["a.example"], &[]))).unwrap_err();
    assert_eq!(failure.what, "the authority has not come to an end within ten minutes");
    // The first pause is a second, the others are those that were asked for.
    let waited = world.0.borrow().waited;
    assert_eq!(waited, Duration::from_secs(601));
    assert_eq!(world.0.borrow().seen.len(), 1 + 120);
}
