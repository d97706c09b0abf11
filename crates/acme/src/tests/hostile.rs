//! An authority that wants harm: each thing that it says is an error in words, and nothing more.

use super::*;
use ChallengeKind::Http01;

fn connect(reply: Reply) -> Failure {
    let world = World::default();
    world.add(vec![("GET https://ca/dir", reply)]);
    let key = AccountKey::from_pem(KEY).unwrap();
    let outside = &mut world.clone();
    Client::connect(Box::new(world), "https://ca/dir", key, None, outside).err().unwrap()
}

fn raw(status: u16, body: &[u8]) -> Reply {
    Reply::Says(Response { status, fields: Vec::new(), body: body.to_vec() })
}

#[test]
fn directories() {
    let failure = connect(raw(200, b" \n<html>Welcome</html>"));
    assert_eq!(failure.what, "the authority answers with a page of HTML, where JSON is due");
    assert_eq!(failure.hint.as_deref(), Some("is this the URL of an ACME directory?"));
    let failure = connect(says_with(302, Value::Null, &[("location", "http://127.0.0.1/\u{1b}")]));
    let what = "the authority's answer leads elsewhere (302), to http://127.0.0.1/?; that is not followed";
    assert_eq!(failure.what, what);
    for body in ["[]", "7", "null", "{}", "\"\"", "{\"newNonce\":7}", "{\"newNonce\":\"https://ca/\"}"] {
        assert_eq!(connect(raw(200, body.as_bytes())).kind, Kind::Garbage, "{body}");
    }
    // No stack is deep enough for brackets without an end.
    assert_eq!(connect(raw(200, &vec![b'['; 1 << 20])).kind, Kind::Garbage);
    for name in ["newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"] {
        let mut directory = directory();
        directory[name] = "http://ca/x".into();
        let failure = connect(says(200, directory));
        assert_eq!(failure.what, "the URL \"http://ca/x\" does not begin with https://", "{name}");
    }
    let profiles: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("p{n}"), Value::Null)).collect();
    let mut many = directory();
    many["meta"]["profiles"] = profiles.into();
    assert_eq!(World::default().client_of(many, vec![]).directory().profiles.len(), 64);
}

/// Fails in an order, of which these are the answers.
fn fails(replies: Vec<(&'static str, Reply)>) -> Failure {
    let world = World::default();
    let mut client = world.client(replies);
    let failure = run(&world, &mut client, attempt(&wanted(&["a.example"], &[Http01]))).unwrap_err();
    assert!(world.is_used_up());
    failure
}

#[test]
fn nonces() {
    for nonce in ["", "a b", "a\r\nX: y", "\u{e4}", "a\"b", &"a".repeat(1025)] {
        let world = World::default();
        let mut client = world.client(vec![]);
        world.0.borrow_mut().replies.clear();
        let reply = says_with(200, Value::Null, &[("replay-nonce", nonce)]);
        world.add(vec![("HEAD https://ca/nonce", reply)]);
        let failure = client.agree(&mut world.clone()).unwrap_err();
        assert_eq!(failure.what, "the authority gives no nonce that can be used", "{nonce:?}");
    }
}

#[test]
fn orders() {
    let at = |body: Value, location: &str| {
        fails(vec![("POST https://ca/order", says_with(201, body, &[("location", location)]))]).what
    };
    let here = "https://ca/order/1";
    for location in ["", "http://127.0.0.1/", "/order/1", "file:///etc/passwd", "https://a@b/"] {
        assert!(at(order("pending"), location).starts_with("the URL \""), "{location}");
    }
    let mut many = order("pending");
    many["authorizations"] = (0..10_000).map(|n| format!("https://ca/{n}")).collect();
    assert_eq!(at(many, here), "the authority's order has more than 100 authorizations");
    assert_eq!(at(order("odd"), here), "the authority's order has no status that is known");
    assert_eq!(at(json!([]), here), "the authority's order has no status that is known");
    for name in ["finalize", "certificate"] {
        let mut order = order("pending");
        order[name] = "http://127.0.0.1:2375/containers/create".into();
        assert!(at(order, here).ends_with("does not begin with https://"), "{name}");
    }
    for authorizations in [json!(["http://x/"]), json!([7]), json!([["https://x/"]])] {
        let mut order = order("pending");
        order["authorizations"] = authorizations;
        assert!(at(order, here).starts_with("the URL \""));
    }
}

#[test]
fn authorizations() {
    let at = |body: Value| {
        let replies =
            vec![("POST https://ca/order", placed("pending")), ("POST https://ca/authz/1", says(200, body))];
        fails(replies).what
    };
    let not_ordered = "the authority wants a proof for b.example, which was not ordered";
    assert_eq!(at(authorization("b.example", "pending")), not_ordered);
    let nothing = "the authority wants a proof for nothing that is known";
    assert_eq!(at(authorization("../../etc", "pending")), nothing);
    assert_eq!(at(json!(7)), nothing);
    let revoked = "the authority's authorization for a.example is revoked";
    assert_eq!(at(authorization("a.example", "revoked")), revoked);
    let mut wild = authorization("a.example", "pending");
    wild["wildcard"] = true.into();
    assert_eq!(at(wild), "the authority wants a proof for a.example, which was not ordered");
    for token in [json!("../../x"), json!("a/b"), json!("a b"), json!(""), json!(7), json!("a".repeat(257))] {
        let mut bad = authorization("a.example", "pending");
        bad["challenges"][2]["token"] = token;
        assert_eq!(at(bad), "the authority's challenge for a.example has no token");
    }
    let mut bad = authorization("a.example", "pending");
    bad["challenges"][2]["url"] = "http://127.0.0.1/".into();
    assert_eq!(at(bad), "the URL \"http://127.0.0.1/\" does not begin with https://");
}

fn given(make: fn(&KeyPair) -> Vec<u8>) -> Failure {
    let failure = fails(vec![
        ("POST https://ca/order", placed("ready")),
        ("POST https://ca/finalize", says(200, order("valid"))),
        ("POST https://ca/cert", Reply::Chain(make)),
    ]);
    // The next attempt fetches the same one again where only the clock is at fault.
    let is_future = failure.what.ends_with("not valid yet");
    assert_eq!(failure.kind, if is_future { Kind::Outside } else { Kind::Wrong });
    failure
}

#[test]
fn certificates() {
    let failure = given(|key| chain(key, &["b.example"], "root", (-1, 89), false));
    assert_eq!(failure.what, "the authority's certificate is not for a.example, which was ordered");
    let failure = given(|_| chain(&KeyPair::generate().unwrap(), &["a.example"], "root", (-1, 89), true));
    assert!(failure.what.starts_with("the authority's certificate cannot be used: "), "{}", failure.what);
    let failure = given(|key| chain(key, &["a.example"], "root", (1, 89), false));
    assert_eq!(failure.what, "the authority's certificate is not valid yet");
    let failure = given(|key| chain(key, &["a.example"], "root", (-90, 0), false));
    assert_eq!(failure.what, "the authority's certificate is valid for less than an hour");
    for made in [
        (|_| b"<html></html>".to_vec()) as fn(&KeyPair) -> Vec<u8>,
        |_| Vec::new(),
        |_| b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_vec(),
        |key| chain(key, &["a.example"], "root", (-1, 89), false).repeat(400),
        |_| vec![b'\n'; 1 << 20],
    ] {
        given(made);
    }
}

#[test]
fn a_certificate_that_is_wrong_is_not_fetched_again() {
    let world = World::default();
    let wrong = |key: &KeyPair| chain(key, &["b.example"], "root", (-1, 89), false);
    let mut client = world.client(vec![
        ("POST https://ca/order", placed("ready")),
        ("POST https://ca/finalize", says(200, order("valid"))),
        ("POST https://ca/cert", Reply::Chain(wrong)),
        ("POST https://ca/order/1", says(200, order("valid"))),
        ("POST https://ca/order", problem(429, "rateLimited", "")),
    ]);
    let wanted = wanted(&["a.example"], &[]);
    assert_eq!(run(&world, &mut client, attempt(&wanted)).unwrap_err().kind, Kind::Wrong);
    let begun = world.0.borrow().notes.last().cloned();
    let failure = run(&world, &mut client, Attempt { begun: begun.as_ref(), ..attempt(&wanted) });
    assert!(failure.unwrap_err().is(Problem::RateLimited));
    assert!(world.is_used_up());
}

#[test]
fn what_is_kept_of_a_chain_is_its_certificates() {
    let world = World::default();
    let mut client = world.client(vec![
        ("POST https://ca/order", placed("ready")),
        ("POST https://ca/finalize", says(200, order("valid"))),
        (
            "POST https://ca/cert",
            Reply::Chain(|key| {
                let mut body = b"\x1b]0;evil\x07\n".to_vec();
                body.extend(chain(key, &["a.example", "b.example"], "root", (-1, 89), true));
                body.extend(KeyPair::generate().unwrap().serialize_pem().bytes());
                body
            }),
        ),
    ]);
    let issued = run(&world, &mut client, attempt(&wanted(&["a.example"], &[]))).unwrap();
    let text = String::from_utf8(issued.chain_pem).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!((text.matches("BEGIN").count(), text.matches("BEGIN CERTIFICATE").count()), (3, 3));
}
