//! Connections that another process has accepted, and of which it has received the first bytes.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sitar_io::sim::{Faults, Next, PASSED, World};

use super::lab::fixture;
use super::served::{Served, listener, serve_first};
use crate::access::{Access, Network};
use crate::passed::{Passed, Passing};
use crate::peer::Peer;
use crate::snapshot::{Host, HostContent, Hosts, Listener, Role, Snapshot};
use crate::{Counts, Limits};

const REQUEST: &[u8] = b"GET /tiny.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn snapshot(deny: &[&str], limits: Limits) -> Snapshot {
    let content = HostContent::Site(Arc::clone(&fixture().sites()[0]));
    let deny = deny.iter().map(|text| Network::parse(text).unwrap()).collect();
    let access = Some(Arc::new(Access { deny, ..Access::default() }));
    let host = Host { is_default: true, access, ..Host::new(Vec::new(), content) };
    Snapshot::new(Hosts::new(vec![host]).unwrap(), vec![listener(false)], None, limits)
}

/// Passes connections, one from each address, of which the other process has received that many
/// bytes of the request. Returns what was counted, and all that each was sent.
fn pass(world: &World, first: Snapshot, clients: &[(&str, usize)]) -> (Counts, Vec<String>) {
    let Served { mut shard, mut loader_worker, passed, .. } = serve_first(world, first);
    let is_over = Rc::new(Cell::new(false));
    let ended = Rc::clone(&is_over);
    world.script(move |world| {
        while loader_worker.work_once() {}
        if ended.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    let passing = Passing::new(&passed);
    let mut left: Vec<_> = clients.iter().rev().collect();
    let mut all: Vec<Rc<RefCell<Vec<u8>>>> = Vec::new();
    for _ in 0..100_000 {
        while let Some((address, count)) = left.last() {
            let connection = Passed {
                socket: std::fs::File::open("/dev/null").unwrap().into(),
                first: REQUEST[..*count].into(),
                peer: Peer::Ip(address.parse().unwrap()),
                listener: Listener::passed(Role::Http, Vec::new()),
            };
            if passing.pass(connection).is_err() {
                break;
            }
            left.pop();
            let received = Rc::new(RefCell::new(Vec::new()));
            all.push(Rc::clone(&received));
            // In the order in which they were handed over.
            let mut stream = Some(world.connect_from(IpAddr::from([192, 0, 2, 1]), PASSED));
            let mut rest = &REQUEST[*count..];
            world.script(move |_| {
                let Some(open) = &mut stream else { return Next::Done };
                while !rest.is_empty() {
                    match open.write(rest) {
                        Ok(sent) => rest = &rest[sent..],
                        Err(_) => break,
                    }
                }
                let mut buf = [0; 4096];
                loop {
                    match open.read(&mut buf) {
                        Ok(count @ 1..) => received.borrow_mut().extend(&buf[..count]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::News,
                        Ok(0) | Err(_) => {
                            open.finish();
                            stream = None;
                            return Next::Done;
                        }
                    }
                }
            });
        }
        if shard.counts().ends.sum() == clients.len() as u64 {
            break;
        }
        shard.turn().unwrap();
        shard.check();
    }
    is_over.set(true);
    assert_eq!(shard.counts().ends.sum(), clients.len() as u64, "one has no end: {:?}", shard.counts());
    for _ in 0..1000 {
        if shard.is_idle() {
            break;
        }
        shard.turn().unwrap();
    }
    shard.check_idle();
    let all = all.iter().map(|received| String::from_utf8_lossy(&received.borrow()).into_owned());
    (shard.counts(), all.collect())
}

/// However much has been received elsewhere, and in whatever order the kernel answers.
#[test]
fn what_was_received_elsewhere_comes_first() {
    for seed in 0..40 {
        let mut faults = Faults::none();
        (faults.late, faults.reorder, faults.any_place) = (500, 500, 500);
        let counts = [0, 1, 20, REQUEST.len() - 1, REQUEST.len()];
        let clients: Vec<_> = counts.map(|count| ("192.0.2.7", count)).to_vec();
        let (counts, answers) =
            pass(&World::with(seed, faults), snapshot(&["198.51.100.0/24"], Limits::default()), &clients);
        for answer in &answers {
            assert!(answer.starts_with("HTTP/1.1 200 "), "seed {seed}: {answer}");
        }
        assert_eq!((counts.accepted, counts.passed, counts.requests, counts.ends.finished), (5, 5, 5, 5));
    }
}

#[test]
fn the_peer_is_the_one_that_was_told() {
    let clients = [("192.0.2.7", 5), ("198.51.100.9", REQUEST.len()), ("192.0.2.8", 0)];
    let first = snapshot(&["198.51.100.0/24"], Limits::default());
    let (_, answers) = pass(&World::with(1, Faults::none()), first, &clients);
    let statuses: Vec<&str> = answers.iter().map(|answer| &answer[9..12]).collect();
    assert_eq!(statuses, ["200", "403", "200"]);
}

/// All end, none waits for ever, and nothing is left, whatever the kernel refuses.
#[test]
fn more_than_there_are_places_wait_for_one() {
    for seed in 0..40 {
        let limits = Limits { connections: 4, closing: 4, ..Limits::default() };
        let clients: Vec<_> = (0..100).map(|nth| ("192.0.2.7", nth % REQUEST.len())).collect();
        let world = World::with(seed, Faults::none());
        let (counts, answers) = pass(&world, snapshot(&[], limits), &clients);
        assert_eq!((counts.accepted, counts.passed, answers.len()), (100, 100, 100), "seed {seed}");
        assert!(counts.requests >= 4, "seed {seed}: {counts:?}");
    }
}

/// The last thread may be gone before a shard that drains has looked.
#[test]
fn a_drain_does_not_forget_what_was_handed_over() {
    let world = World::with(1, Faults::none());
    let first = Snapshot::new(
        Hosts::new(vec![Host {
            is_default: true,
            ..Host::new(Vec::new(), HostContent::Site(Arc::clone(&fixture().sites()[0])))
        }])
        .unwrap(),
        Vec::new(),
        None,
        Limits::default(),
    );
    let Served { mut shard, passed, stop, .. } = serve_first(&world, first);
    let passing = Passing::new(&passed);
    let _client = world.connect_from(IpAddr::from([192, 0, 2, 1]), PASSED);
    let connection = Passed {
        socket: std::fs::File::open("/dev/null").unwrap().into(),
        first: Box::default(),
        peer: Peer::Unix,
        listener: Listener::passed(Role::Http, Vec::new()),
    };
    assert!(passing.pass(connection).is_ok());
    drop(passing);
    stop.drain();
    for _ in 0..10 {
        assert!(!shard.is_over(), "it is in the inbox, on its way, or in the table");
        if shard.counts().passed == 1 {
            return;
        }
        shard.turn().unwrap();
    }
    panic!("it has not come: {:?}", shard.counts());
}

#[test]
fn nothing_is_left_of_one_that_the_kernel_fails() {
    for seed in 0..100 {
        let clients: Vec<_> = (0..20).map(|nth| ("192.0.2.7", nth)).collect();
        let (counts, _) = pass(&World::new(seed), snapshot(&[], Limits::default()), &clients);
        assert_eq!((counts.accepted, counts.passed), (20, 20), "seed {seed}");
    }
}

#[test]
fn a_shard_that_drains_goes_on_while_connections_may_be_passed() {
    let world = World::with(1, Faults::none());
    let Served { mut shard, mut loader_worker, passed, stop, inbox, .. } =
        serve_first(&world, snapshot(&[], Limits::default()));
    world.script(move |world| {
        while loader_worker.work_once() {}
        // Or the shard would wait for its last deadline.
        inbox.wake();
        Next::At(world.now() + Duration::from_millis(20))
    });
    let passing = Passing::new(&passed);
    stop.drain();
    for _ in 0..20 {
        assert!(!shard.is_over());
        shard.turn().unwrap();
    }
    let mut stream = world.connect_from(IpAddr::from([192, 0, 2, 1]), PASSED);
    let connection = Passed {
        socket: std::fs::File::open("/dev/null").unwrap().into(),
        first: b"GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n".as_slice().into(),
        peer: Peer::Unix,
        listener: Listener::passed(Role::Http, Vec::new()),
    };
    assert!(passing.pass(connection).is_ok());
    let mut answer = Vec::new();
    while shard.counts().ends.sum() == 0 {
        assert!(!shard.is_over());
        shard.turn().unwrap();
        let mut buf = [0; 4096];
        match stream.read(&mut buf) {
            Ok(0) => stream.finish(),
            Ok(count) => answer.extend(&buf[..count]),
            Err(_) => {}
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(!shard.is_over());
    drop(passing);
    assert!(shard.is_over());
}
