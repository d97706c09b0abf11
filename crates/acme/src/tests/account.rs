//! Accounts, renewal information, revocation.

use super::*;

fn authority() -> Authority {
    Authority {
        directory: "https://ca/dir".to_owned(),
        roots: None,
        agrees: true,
        contact: vec!["mailto:a@example.org".to_owned()],
        eab: None,
    }
}

#[test]
fn an_account_is_opened_and_changed() {
    let world = World::default();
    let opened = says_with(201, json!({}), &[("location", "https://ca/acct/7")]);
    let mut client = world.client(vec![
        ("POST https://ca/account", opened),
        ("POST https://ca/acct/7", says(200, json!({}))),
        ("POST https://ca/change", says(200, json!({}))),
        ("POST https://ca/acct/7", says(200, json!({}))),
    ]);
    let outside = &mut world.clone();
    assert_eq!(client.open_account(&authority(), outside).unwrap(), "https://ca/acct/7");
    assert_eq!(client.account(), Some("https://ca/acct/7"));
    client.update_contact(&["mailto:b@example.org".to_owned()], outside).unwrap();
    let new = AccountKey::generate().unwrap();
    let thumbprint = new.thumbprint();
    client.change_key(new, outside).unwrap();
    assert_eq!(client.key().thumbprint(), thumbprint);
    client.deactivate(outside).unwrap();
    assert!(world.is_used_up());
    let account = json!({ "contact": ["mailto:a@example.org"], "termsOfServiceAgreed": true });
    assert_eq!(world.sent("https://ca/account"), [account]);
    let changes = [json!({ "contact": ["mailto:b@example.org"] }), json!({ "status": "deactivated" })];
    assert_eq!(world.sent("https://ca/acct/7"), changes);
    let inner = world.sent("https://ca/change").remove(0);
    let part = |name: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(inner[name].as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    assert_eq!(part("payload")["account"], "https://ca/acct/7");
    assert_eq!(part("payload")["oldKey"], AccountKey::from_pem(KEY).unwrap().jwk_value());
    assert_eq!(part("protected").as_object().unwrap().keys().collect::<Vec<_>>(), ["alg", "jwk", "url"]);
    let seen = &world.0.borrow().seen;
    assert!(seen[0].1.get("kid").is_none() && seen[0].1.get("jwk").is_some());
    assert!(seen[1..].iter().all(|(_, header, _)| header["kid"] == "https://ca/acct/7"));
}

#[test]
fn what_is_refused_before_anything_is_sent() {
    let mut world = World::default();
    let mut client = world.client(vec![]);
    let authority = Authority { agrees: false, ..authority() };
    let failure = client.open_account(&authority, &mut world).unwrap_err();
    assert_eq!(failure.what, "the authority's terms have not been agreed to: https://ca/terms");
    assert_eq!(
        failure.hint.as_deref(),
        Some("read them, then: agree_tos = true in [acme], or --acme-agree-tos")
    );
}

#[test]
fn an_account_that_is_not_there() {
    let world = World::default();
    let none = problem(400, "accountDoesNotExist", "no such key");
    let mut client = world.client(vec![("POST https://ca/account", none)]);
    assert_eq!(client.find_account(&mut world.clone()), Ok(None));
    assert_eq!(world.sent("https://ca/account"), [json!({ "onlyReturnExisting": true })]);
}

#[test]
fn a_refused_nonce_is_no_failure() {
    let world = World::default();
    let refused = || problem(400, "badNonce", "used");
    let mut replies: Vec<_> = (0..19).map(|_| ("POST https://ca/acct", refused())).collect();
    replies.push(("POST https://ca/acct", says(200, json!({}))));
    let mut client = world.client(replies);
    client.agree(&mut world.clone()).unwrap();
    assert!(world.is_used_up());
    world.add((0..20).map(|_| ("POST https://ca/acct", refused())).collect());
    let failure = client.agree(&mut world.clone()).unwrap_err();
    assert!(failure.is(Problem::BadNonce));
    assert!(world.is_used_up());
}

#[test]
fn when_to_renew() {
    let world = World::default();
    let mut client = world.client(vec![]);
    world.0.borrow_mut().replies.clear();
    let info = json!({
        "suggestedWindow": { "start": "2026-12-03T04:00:00Z", "end": "2026-12-04T04:00:00Z" },
        "explanationURL": "https://ca/why\u{7}",
    });
    world.add(vec![("GET https://ca/ari/a.b", says_with(200, info, &[("retry-after", "21600")]))]);
    let expected = RenewalInfo {
        start: at(1_796_270_400),
        end: at(1_796_356_800),
        explanation: Some("https://ca/why?".to_owned()),
        again: Some(at(NOW + 21_600)),
    };
    assert_eq!(client.renewal_info("a.b", &mut world.clone()), Ok(Some(expected)));
    for window in [
        json!({ "start": "2026-12-04T04:00:00Z", "end": "2026-12-03T04:00:00Z" }),
        json!({ "start": "2026-12-04T04:00:00Z" }),
        json!({ "start": 7, "end": [] }),
        json!([]),
        Value::Null,
    ] {
        world.add(vec![("GET https://ca/ari/a.b", says(200, json!({ "suggestedWindow": window })))]);
        assert_eq!(client.renewal_info("a.b", &mut world.clone()).unwrap_err().kind, Kind::Garbage);
    }
    let mut world = World::default();
    let mut plain = directory();
    plain.as_object_mut().unwrap().remove("renewalInfo");
    let mut client = world.client_of(plain, vec![]);
    assert_eq!(client.renewal_info("a.b", &mut world), Ok(None));
}

#[test]
fn a_certificate_is_revoked_once() {
    let world = World::default();
    let mut client = world.client(vec![
        ("POST https://ca/revoke", says(200, Value::Null)),
        ("POST https://ca/revoke", problem(400, "alreadyRevoked", "")),
        ("POST https://ca/revoke", problem(403, "unauthorized", "not yours")),
    ]);
    let outside = &mut world.clone();
    client.revoke(b"\x30\x00", 4, outside).unwrap();
    client.revoke(b"\x30\x00", 4, outside).unwrap();
    let failure = client.revoke(b"\x30\x00", 4, outside).unwrap_err();
    let what = "the authority says that this account may not do this (the authority: not yours)";
    assert_eq!(failure.what, what);
    assert_eq!(world.sent("https://ca/revoke")[0], json!({ "certificate": "MAA", "reason": 4 }));
}
