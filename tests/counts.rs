#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
//! What a warm request costs, counted from outside: system calls by perf, allocations by a preloaded library.
//!
//! Counts, not times: both come from the difference of two loads of fixed size, so they hold on a busy machine too.

mod common;
#[path = "../crates/site/tests/semantics/mod.rs"]
mod table;

use common::alloc::Allocations;
use common::load::Load;
use common::perf::counted;
use common::site::Site;
use common::{Server, have, run, skip};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

const CONNECTIONS: usize = 16;

#[test]
fn a_warm_request_makes_no_system_call_but_the_rings() {
    let test = "counts::a_warm_request_makes_no_system_call_but_the_rings";
    if !have(test, &["perf", "mkfifo"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let Some(events) = system_calls() else {
        skip(test, "perf sees no system call events here: it needs root and tracefs");
        return;
    };
    let mut load = Load::new(&server, CONNECTIONS, "/1k.txt", false);
    let Some(few) = counted(server.pid(), &events, || load.send(2_000)) else {
        skip(test, "perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let many = counted(server.pid(), &events, || load.send(12_000)).unwrap();
    println!("2,000 requests: {few:?}\n12,000 requests: {many:?}");

    let enters = |counts: &BTreeMap<String, u64>| counts.get("io_uring_enter").copied().unwrap_or(0);
    assert!(enters(&few) > 0, "perf counted nothing, or the server is not on io_uring: {few:?}");
    for (name, count) in &many {
        if name != "io_uring_enter" {
            let before = few.get(name).copied().unwrap_or(0);
            assert!(*count <= before, "{name} grew from {before} to {count}: {few:?} {many:?}");
        }
    }
    // At most one call for each time around the loop, and a loop without a request in it is rare.
    let grown = enters(&many) - enters(&few);
    assert!(grown <= 10_100, "{grown} calls for 10,000 requests");
}

/// Every kind of system call that perf can count one by one, as a list of events; `None` without access.
fn system_calls() -> Option<String> {
    let listed = run("perf", ["list", "--no-desc", "syscalls:sys_enter_*"]);
    let text = listed.text();
    let events: Vec<&str> =
        text.split_whitespace().filter(|word| word.starts_with("syscalls:sys_enter_")).collect();
    (events.len() > 100).then(|| events.join(","))
}

/// Every kind of answer that the table of RFC 9110's requirements knows: conditions, ranges, parts, encodings, rules, errors.
#[test]
fn no_kind_of_answer_allocates() {
    let Some(allocations) = Allocations::prepare("counts::no_kind_of_answer_allocates") else { return };
    let folder = tempfile::tempdir().unwrap();
    table::build(folder.path());
    let args = [folder.path().as_os_str(), "--tls".as_ref(), "off".as_ref()];
    let server = Server::start_with(args, &allocations.env());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let cases = table::cases();
    let mut ask_all = || {
        for case in &cases {
            stream.write_all(&case.request).unwrap();
            let mut answer = vec![0; case.answer.len()];
            stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            table::mask(&mut answer);
            assert!(answer == case.answer, "{}", case.name);
        }
    };
    ask_all();
    let warm = allocations.settled();
    assert!(warm[0] > 0, "the preloaded library counts nothing; is the program linked statically?");
    (0..3).for_each(|_| ask_all());
    assert_eq!(allocations.settled(), warm, "{:?}", Allocations::COUNTERS);
}

#[test]
fn a_warm_request_allocates_nothing() {
    let Some(allocations) = Allocations::prepare("counts::a_warm_request_allocates_nothing") else { return };
    let site = Site::small();
    for (path, conditional) in [("/1k.txt", false), ("/1m.bin", false), ("/1k.txt", true)] {
        let server = Server::start_with([site.path()], &allocations.env());
        // On few connections, so that each is warm in every respect after few requests.
        let mut load = Load::new(&server, 4, path, conditional);
        let start = allocations.settled();
        assert!(start[0] > 0, "the preloaded library counts nothing; is the program linked statically?");
        load.send(1_000);
        let few = allocations.settled();
        load.send(3_000);
        let many = allocations.settled();
        let what = if conditional { "304" } else { "200" };
        let counters = Allocations::COUNTERS;
        assert_eq!(few, start, "{what} {path}, 1,000 requests: {counters:?}");
        assert_eq!(many, few, "{what} {path}, 3,000 requests: {counters:?}");
    }
}
