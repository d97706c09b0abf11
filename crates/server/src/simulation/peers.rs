//! Sites whose requests are answered only where it is known who asks.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sitar_io::Key;
use sitar_io::sim::{Faults, Next, World};

use super::lab::fixture;
use super::served::{Served, listener, serve_first};
use crate::shard::FIRST_KEY;
use crate::snapshot::{Host, HostContent, Hosts, Snapshot};
use crate::{Counts, Ends, Limits};

const GET: &[u8] = b"GET /tiny.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The first snapshot, of one site.
fn snapshot(needs_peer: bool) -> Snapshot {
    let content = HostContent::Site(Arc::clone(&fixture().sites()[0]));
    let access = needs_peer.then(Arc::default);
    let host = Host { is_default: true, access, ..Host::new(Vec::new(), content) };
    Snapshot::new(Hosts::new(vec![host]).unwrap(), vec![listener(false)], None, Limits::default())
}

/// Has a client ask for a file as soon as it is connected. Returns what was counted, and the
/// answer.
fn ask(world: &World, first: Snapshot) -> (Counts, String) {
    let Served { mut shard, mut loader_worker, .. } = serve_first(world, first);
    let (answer, is_over) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
    let received = Rc::clone(&answer);
    let mut stream = None;
    world.script(move |world| {
        let stream = stream.get_or_insert_with(|| {
            let mut stream = world.connect(Key(FIRST_KEY));
            stream.write_all(GET).unwrap();
            stream
        });
        let mut buf = [0; 4096];
        loop {
            match stream.read(&mut buf) {
                Ok(count @ 1..) => received.borrow_mut().extend(&buf[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::News,
                Ok(0) | Err(_) => {
                    stream.finish();
                    return Next::Done;
                }
            }
        }
    });
    let ended = Rc::clone(&is_over);
    world.script(move |world| {
        while loader_worker.work_once() {}
        if ended.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    for _ in 0..10_000 {
        if shard.counts().ends.sum() == 1 {
            break;
        }
        shard.turn().unwrap();
        shard.check();
    }
    is_over.set(true);
    let answer = String::from_utf8_lossy(&answer.borrow()).into_owned();
    (shard.counts(), answer)
}

/// The request is there when the connection is accepted, and the kernel's answers come late and in
/// any order.
#[test]
fn a_request_waits_for_its_peer_where_that_has_to_be_known() {
    for seed in 0..100 {
        let mut faults = Faults::none();
        (faults.late, faults.reorder) = (700, 700);
        let (counts, answer) = ask(&World::with(seed, faults), snapshot(true));
        assert!(answer.starts_with("HTTP/1.1 200 "), "seed {seed}: {answer}");
        assert_eq!((counts.requests, counts.ends.finished), (1, 1), "seed {seed}");
    }
}

#[test]
fn where_the_kernel_cannot_tell_nothing_is_answered_that_needs_it() {
    let mut faults = Faults::none();
    faults.no_peer = 1000;
    let (counts, answer) = ask(&World::with(1, faults.clone()), snapshot(true));
    assert_eq!((answer.as_str(), counts.requests), ("", 0));
    assert_eq!(counts.ends, Ends { kernel_errors: 1, ..Ends::default() });
    let (_, answer) = ask(&World::with(1, faults), snapshot(false));
    assert!(answer.starts_with("HTTP/1.1 200 "), "nothing needs it: {answer}");
}
