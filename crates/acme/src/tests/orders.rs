//! Orders that end well, also after a crash.

use super::*;
use ChallengeKind::{Dns01, Http01, TlsAlpn01};

fn for_a(key: &KeyPair) -> Vec<u8> {
    chain(key, &["a.example"], "root one", (-1, 89), false)
}

fn with_alternate(key: &KeyPair) -> Vec<u8> {
    chain(key, &["a.example"], "root two", (-1, 89), false)
}

/// What follows a challenge that has worked.
fn rest_of_it() -> Vec<(&'static str, Reply)> {
    vec![
        ("POST https://ca/authz/1", says(200, authorization("a.example", "valid"))),
        ("POST https://ca/order/1", says(200, order("ready"))),
        ("POST https://ca/finalize", says(200, order("processing"))),
        ("POST https://ca/order/1", says(200, order("valid"))),
        ("POST https://ca/cert", Reply::Chain(for_a)),
    ]
}

#[test]
fn from_the_order_to_the_certificate() {
    let world = World::default();
    let mut replies = vec![
        ("POST https://ca/order", placed("pending")),
        ("POST https://ca/authz/1", says(200, authorization("a.example", "pending"))),
        ("POST https://ca/chall/h", says(200, json!({}))),
        ("POST https://ca/authz/1", says(200, authorization("a.example", "pending"))),
    ];
    replies.extend(rest_of_it());
    let mut client = world.client(replies);
    let wanted = wanted(&["a.example"], &[Http01, TlsAlpn01]);
    let issued = run(&world, &mut client, attempt(&wanted)).unwrap();
    assert!(world.is_used_up());
    let answered = format!("answer http-01 a.example dG9rZW4taA dG9rZW4taA.{THUMBPRINT}");
    assert_eq!(world.events(), [answered, "answer ".to_owned()]);
    let identifiers = json!({ "identifiers": [{ "type": "dns", "value": "a.example" }] });
    assert_eq!(world.sent("https://ca/order"), [identifiers]);
    assert_eq!(world.sent("https://ca/chall/h"), [json!({})]);
    let identity = sitar_tls::Identity::from_pem(&issued.chain_pem, &issued.key_pem).unwrap();
    assert_eq!((identity.names(), identity.chain().count()), (&["a.example".to_owned()][..], 2));
    // Written down before the certificate was asked for, with its key.
    let notes = world.0.borrow().notes.clone();
    assert_eq!(notes.iter().map(|notes| notes.finalized).collect::<Vec<_>>(), [false, true]);
    assert!(notes.iter().all(|notes| notes.url == "https://ca/order/1" && notes.key_pem == issued.key_pem));
    assert!(!format!("{notes:?} {issued:?}").contains("PRIVATE"));
    // A second for the authorization and a second for the order.
    assert_eq!(world.0.borrow().waited, Duration::from_secs(2));
}

#[test]
fn what_is_proven_already_needs_no_challenge() {
    let world = World::default();
    let mut replies = vec![("POST https://ca/order", placed("pending"))];
    replies.extend(rest_of_it());
    let mut client = world.client(replies);
    run(&world, &mut client, attempt(&wanted(&["a.example"], &[]))).unwrap();
    assert!(world.is_used_up());
    assert!(world.events().is_empty());
}

#[test]
fn a_wildcard_and_its_base_share_a_name_in_the_dns() {
    let world = World::default();
    let mut order = order("pending");
    order["authorizations"] = json!(["https://ca/authz/1", "https://ca/authz/2"]);
    let mut wild = authorization("a.example", "pending");
    wild["wildcard"] = true.into();
    wild["challenges"][1]["token"] = "d2lsZA".into();
    wild["challenges"][1]["url"] = "https://ca/chall/w".into();
    let failed = problem(400, "malformed", "enough");
    let mut client = world.client(vec![
        ("POST https://ca/order", says_with(201, order, &[("location", "https://ca/order/1")])),
        ("POST https://ca/authz/1", says(200, wild)),
        ("POST https://ca/authz/2", says(200, authorization("a.example", "pending"))),
        ("POST https://ca/chall/w", failed),
    ]);
    let failure =
        run(&world, &mut client, attempt(&wanted(&["a.example", "*.a.example"], &[Dns01]))).unwrap_err();
    assert_eq!(failure.challenges, [(Identifier::Dns("*.a.example".to_owned()), Dns01)]);
    // By hashlib of Python: SHA-256 of the token, a dot and the thumbprint.
    let (wild, base) =
        ("8Zi0PzHmY8ESDkIOaCTkjsRMrH3aEsNjULCp9iAcphM", "6xlb2hQoGt5zSSxeIhFWkrUKgfL2U--fyYIQ52RbbCI");
    let name = "_acme-challenge.a.example";
    let events = [
        format!("Add {name} {wild}"),
        format!("Add {name} {base}"),
        format!("Remove {name} {wild}"),
        format!("Remove {name} {base}"),
    ];
    assert_eq!(world.events(), events);
}

#[test]
fn the_challenge_that_failed_is_not_taken_again() {
    let taken = |avoid: &[(Identifier, ChallengeKind)], kinds: &[ChallengeKind], name: &str| {
        let world = World::default();
        let mut authorization = authorization("a.example", "pending");
        let (kind, value) = if name.contains(':') { ("ip", name) } else { ("dns", name) };
        authorization["identifier"] = json!({ "type": kind, "value": value });
        let mut client = world.client(vec![
            ("POST https://ca/order", placed("pending")),
            ("POST https://ca/authz/1", says(200, authorization)),
        ]);
        world.0.borrow_mut().ends_after = Some(2);
        let wanted = wanted(&[name], kinds);
        let failure = run(&world, &mut client, Attempt { avoid, ..attempt(&wanted) }).unwrap_err();
        assert_eq!(failure.kind, Kind::Ending);
        world.events().first().unwrap().split(' ').take(3).collect::<Vec<_>>().join(" ")
    };
    let a = Identifier::Dns("a.example".to_owned());
    let kinds = [TlsAlpn01, Http01];
    assert_eq!(taken(&[], &kinds, "a.example"), "answer tls-alpn-01 a.example");
    assert_eq!(taken(&[(a.clone(), TlsAlpn01)], &kinds, "a.example"), "answer http-01 a.example");
    // Where nothing is left, the first one.
    let both = [(a.clone(), TlsAlpn01), (a, Http01)];
    assert_eq!(taken(&both, &kinds, "a.example"), "answer tls-alpn-01 a.example");
    let of_other = [(Identifier::Dns("b.example".to_owned()), TlsAlpn01)];
    assert_eq!(taken(&of_other, &kinds, "a.example"), "answer tls-alpn-01 a.example");
    let reverse = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    assert_eq!(taken(&[], &kinds, "2001:db8::1"), format!("answer tls-alpn-01 {reverse}"));
}

#[test]
fn after_a_crash_the_order_goes_on() {
    let key_pem = csr::key(KeyType::P256).unwrap();
    let notes =
        |finalized| OrderNotes { url: "https://ca/order/1".to_owned(), key_pem: key_pem.clone(), finalized };
    let wanted = wanted(&["a.example"], &[Http01]);
    let resume = |finalized: bool, replies: Vec<(&'static str, Reply)>| {
        let world = World::default();
        let begun = notes(finalized);
        world.0.borrow_mut().notes.push(begun.clone());
        let mut client = world.client(replies);
        let issued = run(&world, &mut client, Attempt { begun: Some(&begun), ..attempt(&wanted) }).unwrap();
        assert!(world.is_used_up());
        issued.key_pem == key_pem
    };
    let valid = || says(200, order("valid"));
    let cert = || ("POST https://ca/cert", Reply::Chain(for_a));
    assert!(resume(true, vec![("POST https://ca/order/1", valid()), cert()]));
    assert!(resume(
        true,
        vec![
            ("POST https://ca/order/1", says(200, order("processing"))),
            ("POST https://ca/order/1", valid()),
            cert(),
        ]
    ));
    for finalized in [false, true] {
        let ready = || says(200, order("ready"));
        assert!(resume(
            finalized,
            vec![("POST https://ca/order/1", ready()), ("POST https://ca/finalize", valid()), cert()]
        ));
        // It has been asked for, and the answer was lost.
        let late = problem(403, "orderNotReady", "");
        let replies = vec![
            ("POST https://ca/order/1", ready()),
            ("POST https://ca/finalize", late),
            ("POST https://ca/order/1", valid()),
            cert(),
        ];
        assert!(resume(finalized, replies));
    }
    // Nothing to go on with: another order, and another key.
    let mut other = order("ready");
    other["identifiers"] = json!([{ "type": "dns", "value": "b.example" }]);
    let mut expired = order("pending");
    expired["expires"] = "2026-11-30T23:59:59Z".into();
    for gone in [
        problem(404, "malformed", "no such order"),
        says(404, Value::Null),
        problem(403, "unauthorized", "of another account"),
        says(200, order("invalid")),
        says(200, expired),
        says(200, other),
        says(200, json!({ "status": "odd" })),
    ] {
        let replies = vec![
            ("POST https://ca/order/1", gone),
            ("POST https://ca/order", placed("ready")),
            ("POST https://ca/finalize", valid()),
            cert(),
        ];
        assert!(!resume(true, replies));
    }
    // Valid, but never asked for with a key that is known.
    let replies = vec![
        ("POST https://ca/order/1", valid()),
        ("POST https://ca/order", placed("ready")),
        ("POST https://ca/finalize", valid()),
        cert(),
    ];
    assert!(!resume(false, replies));
}

#[test]
fn an_authority_that_is_away_keeps_the_order() {
    let begun = OrderNotes {
        url: "https://ca/order/1".to_owned(),
        key_pem: csr::key(KeyType::P256).unwrap(),
        finalized: false,
    };
    let world = World::default();
    let away = Failure::new(Kind::Unreachable, "away");
    let mut client = world.client(vec![("POST https://ca/order/1", Reply::Fails(away.clone()))]);
    let wanted = wanted(&["a.example"], &[Http01]);
    let failure = run(&world, &mut client, Attempt { begun: Some(&begun), ..attempt(&wanted) });
    assert_eq!(failure.unwrap_err(), away);
    assert!(world.0.borrow().notes.is_empty());
}

#[test]
fn a_predecessor_that_is_not_known_is_left_out() {
    for kind in ["alreadyReplaced", "malformed"] {
        let world = World::default();
        let mut client = world.client(vec![
            ("POST https://ca/order", problem(409, kind, "replaces")),
            ("POST https://ca/order", placed("ready")),
            ("POST https://ca/finalize", says(200, order("valid"))),
            ("POST https://ca/cert", Reply::Chain(for_a)),
        ]);
        let wanted = wanted(&["a.example"], &[]);
        run(&world, &mut client, Attempt { replaces: Some("aki.serial"), ..attempt(&wanted) }).unwrap();
        let sent = world.sent("https://ca/order");
        assert_eq!((&sent[0]["replaces"], sent[1].get("replaces")), (&json!("aki.serial"), None));
    }
}

#[test]
fn profiles() {
    let ordered = |name: &str, profile: Option<&str>| {
        let world = World::default();
        let mut client =
            world.client(vec![("POST https://ca/order", problem(403, "rejectedIdentifier", ""))]);
        let wanted = Wanted { profile: profile.map(str::to_owned), ..wanted(&[name], &[]) };
        let failure = run(&world, &mut client, attempt(&wanted)).unwrap_err();
        world.sent("https://ca/order").pop().map(|sent| sent["profile"].clone()).ok_or(failure.what)
    };
    assert_eq!(ordered("a.example", None), Ok(Value::Null));
    assert_eq!(ordered("a.example", Some("classic")), Ok("classic".into()));
    // Let's Encrypt certifies addresses under no other one.
    assert_eq!(ordered("192.0.2.7", None), Ok("shortlived".into()));
    let missing = "the authority has no profile \"long\"; it has classic, shortlived";
    assert_eq!(ordered("a.example", Some("long")), Err(missing.to_owned()));
}

#[test]
fn the_preferred_chain() {
    let get = |preferred: &str, alternate: fn() -> Reply| {
        let world = World::default();
        let links = "<https://ca/dir>;rel=\"index\", <https://ca/cert/1>;rel=\"alternate\"";
        let mut client = world.client(vec![
            ("POST https://ca/order", placed("ready")),
            ("POST https://ca/finalize", says(200, order("valid"))),
        ]);
        let wanted = Wanted { preferred_chain: Some(preferred.to_owned()), ..wanted(&["a.example"], &[]) };
        world.add(vec![("POST https://ca/cert", Reply::ChainWithLink(for_a, links))]);
        if preferred != "root one" {
            world.add(vec![("POST https://ca/cert/1", alternate())]);
        }
        let issued = run(&world, &mut client, attempt(&wanted)).unwrap();
        assert!(world.is_used_up());
        ["root one", "root two"].map(|root| check::has_issuer(&issued.chain_pem, &issued.key_pem, root))
    };
    let other: fn() -> Reply = || Reply::Chain(with_alternate);
    assert_eq!(get("root one", other), [true, false]);
    assert_eq!(get("root two", other), [false, true]);
    // The first one serves where there is no such chain, or it cannot be used.
    assert_eq!(get("root three", other), [true, false]);
    assert_eq!(get("root two", || says(500, Value::Null)), [true, false]);
    assert_eq!(get("root two", || says(200, json!({}))), [true, false]);
}
