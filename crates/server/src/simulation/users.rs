//! Sites that want a name and a password, and sites that answer some networks only.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sitar_io::Key;
use sitar_io::sim::{Faults, Next, World};

use super::lab::fixture;
use super::served::{Served, listener, serve_first};
use crate::access::{Access, Limit, Network, Rate, Realm};
use crate::shard::FIRST_KEY;
use crate::snapshot::{Host, HostContent, Hosts, Snapshot};
use crate::{Counts, Limits};

/// The password of "ann" is "secret".
const FILE: &[u8] = b"ann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
/// ann:secret, and what is wrong.
const RIGHT: &str = "YW5uOnNlY3JldA==";
const WRONG: &str = "YW5uOndyb25n";
const UNKNOWN: &str = "Ym9iOnNlY3JldA==";

fn protected() -> Access {
    Access { realm: Some(Realm::new("a \"b\"", FILE, None).unwrap()), ..Access::default() }
}

fn networks(deny: &[&str], allow: Option<&[&str]>) -> Access {
    let list = |texts: &[&str]| texts.iter().map(|text| Network::parse(text).unwrap()).collect();
    Access { deny: list(deny), allow: allow.map(list), ..Access::default() }
}

fn snapshot(access: Access) -> Snapshot {
    let content = HostContent::Site(Arc::clone(&fixture().sites()[0]));
    let host = Host { is_default: true, access: Some(Arc::new(access)), ..Host::new(Vec::new(), content) };
    Snapshot::new(Hosts::new(vec![host]).unwrap(), vec![listener(false)], None, Limits::default())
}

/// A request with these credentials.
fn get(token: &str) -> String {
    format!("GET /tiny.txt HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {token}\r\n\r\n")
}

/// Has clients, each from one address, send requests one after another: the next client begins when
/// the one before has its answers. Returns what was counted, and all that each was sent.
fn ask(seed: u64, access: Access, clients: &[(&str, Vec<String>)]) -> (Counts, Vec<String>) {
    let mut faults = Faults::none();
    (faults.late, faults.reorder) = (500, 500);
    let world = World::with(seed, faults);
    let Served { mut shard, mut loader_worker, verify_worker, .. } = serve_first(&world, snapshot(access));
    let is_over = Rc::new(Cell::new(false));
    let ended = Rc::clone(&is_over);
    world.script(move |world| {
        while loader_worker.work_once() || verify_worker.work_once() {}
        if ended.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    let mut all = Vec::new();
    for (number, (address, requests)) in (1..).zip(clients) {
        let received = Rc::new(RefCell::new(Vec::new()));
        let address: IpAddr = address.parse().unwrap();
        let (answers, mut requests) = (Rc::clone(&received), requests.clone().into_iter());
        let mut sent = 0;
        let mut stream = None;
        world.script(move |world| {
            let stream = stream.get_or_insert_with(|| world.connect_from(address, Key(FIRST_KEY)));
            loop {
                // One after another.
                let answered = String::from_utf8_lossy(&answers.borrow()).matches("HTTP/1.1 ").count();
                if answered == sent {
                    match requests.next() {
                        Some(request) => {
                            sent += 1;
                            stream.write_all(request.as_bytes()).unwrap();
                        }
                        None => stream.finish(),
                    }
                }
                let mut buf = [0; 4096];
                match stream.read(&mut buf) {
                    Ok(count @ 1..) => answers.borrow_mut().extend(&buf[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::News,
                    Ok(0) | Err(_) => {
                        stream.finish();
                        return Next::Done;
                    }
                }
            }
        });
        for _ in 0..10_000 {
            if shard.counts().ends.sum() == number {
                break;
            }
            shard.turn().unwrap();
            shard.check();
        }
        all.push(String::from_utf8_lossy(&received.borrow()).into_owned());
    }
    is_over.set(true);
    (shard.counts(), all)
}

/// The statuses of answers.
fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

const ONE: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

#[test]
fn the_right_password_is_hashed_once_and_others_are_refused() {
    let plain = "GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    for seed in 0..20 {
        let requests =
            vec![plain.clone(), get(RIGHT), get(RIGHT), get(WRONG), get(WRONG), get(RIGHT), get("!!")];
        let (counts, answers) = ask(seed, protected(), &[(ONE, requests), (OTHER, vec![get(RIGHT)])]);
        assert_eq!(statuses(&answers[0]), ["401", "200", "200", "401", "401", "200", "401"], "seed {seed}");
        assert_eq!(statuses(&answers[1]), ["200"]);
        assert_eq!(counts.hashes, 2, "the right one and the wrong one, once each");
        let challenge = "WWW-Authenticate: Basic realm=\"a \\\"b\\\"\", charset=\"UTF-8\"\r\n";
        assert_eq!(answers[0].matches(challenge).count(), 4, "{}", answers[0]);
    }
}

#[test]
fn an_unknown_user_costs_as_many_hashes_as_a_wrong_password() {
    let count = |token: &str| {
        let (counts, answers) = ask(1, protected(), &[(ONE, vec![get(token)])]);
        assert_eq!(statuses(&answers[0]), ["401"], "{token}");
        counts.hashes
    };
    assert_eq!((count(WRONG), count(UNKNOWN)), (1, 1));
    let huge = "YTph".repeat(400);
    assert_eq!((count(&huge), count("YW5uOgAA")), (0, 0), "what no password can be is not hashed");
}

#[test]
fn guesses_from_one_address_are_slowed_and_others_are_not() {
    // Base 64 of "ann:a@", "ann:aA" and so on: each another password.
    let guesses: Vec<String> =
        (b'A'..=b'P').map(|last| get(&format!("YW5uOmF{}", char::from(last)))).collect();
    let mut requests = vec![get(RIGHT)];
    requests.extend(guesses);
    requests.push(get(RIGHT));
    let (counts, answers) = ask(3, protected(), &[(ONE, requests), (OTHER, vec![get(WRONG), get(RIGHT)])]);
    let own = statuses(&answers[0]);
    assert_eq!((own[0], own[own.len() - 1]), ("200", "200"), "who is known is not slowed: {own:?}");
    let (wrong, slowed) =
        own[1..own.len() - 1].iter().fold((0, 0), |(wrong, slowed), status| match *status {
            "401" => (wrong + 1, slowed),
            "429" => (wrong, slowed + 1),
            other => panic!("{other}"),
        });
    // One more may have become possible meanwhile.
    assert!([(10, 6), (11, 5)].contains(&(wrong, slowed)), "{own:?}");
    assert_eq!(answers[0].matches("Retry-After: ").count(), slowed);
    assert_eq!(statuses(&answers[1]), ["401", "200"]);
    // The right one, the guesses, and the wrong one of the other; the right one was known.
    assert_eq!(counts.hashes, 1 + wrong as u64 + 1);
}

#[test]
fn networks_are_answered_as_the_lists_say() {
    let status = |access: Access, address: &str| {
        let request = "GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
        let (_, answers) = ask(5, access, &[(address, vec![request.clone(), request])]);
        statuses(&answers[0]).join(" ")
    };
    assert_eq!(status(networks(&["192.0.2.0/24"], None), ONE), "403");
    assert_eq!(status(networks(&["192.0.2.0/24"], None), "198.51.100.1"), "200 200");
    assert_eq!(status(networks(&[], Some(&["192.0.2.0/24"])), ONE), "200 200");
    assert_eq!(status(networks(&[], Some(&["192.0.2.0/24"])), "198.51.100.1"), "403");
    assert_eq!(status(networks(&["192.0.2.1"], Some(&["192.0.2.0/24"])), ONE), "403", "deny wins");
    assert_eq!(status(networks(&[], Some(&[])), ONE), "403", "none is allowed");
}

#[test]
fn requests_beyond_the_rate_of_an_address_are_put_off() {
    let rate = Rate::new(1, Duration::from_secs(3600), 3).unwrap();
    let request = "GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    for seed in 0..20 {
        let access = Access { limit: Some(Limit::new(rate, None).unwrap()), ..Access::default() };
        let (counts, answers) =
            ask(seed, access, &[(ONE, vec![request.clone(); 5]), (OTHER, vec![request.clone(); 2])]);
        assert_eq!(statuses(&answers[0]), ["200", "200", "200", "429", "429"], "seed {seed}");
        let retry = answers[0].split("Retry-After: ").nth(1).unwrap();
        let seconds: u64 = retry.split("\r\n").next().unwrap().parse().unwrap();
        assert!((3590..=3600).contains(&seconds), "{seconds}");
        assert_eq!((statuses(&answers[1]).join(" "), counts.hashes), ("200 200".to_owned(), 0));
    }
}
