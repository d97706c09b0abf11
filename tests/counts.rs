#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
//! What a warm request costs, counted from outside: system calls by perf, allocations by a preloaded library.
//!
//! Counts, not times: both come from the difference of two loads of fixed size, so they hold on a busy machine too.

mod common;

use common::load::Load;
use common::perf::counted;
use common::site::Site;
use common::{Server, have, run, run_with, skip};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

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

#[test]
fn a_warm_request_allocates_nothing() {
    if !have("counts::a_warm_request_allocates_nothing", &["cc"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let library = malloc_count(&folder);
    let site = Site::small();
    for (path, conditional) in [("/1k.txt", false), ("/1m.bin", false), ("/1k.txt", true)] {
        let file = folder.path().join("counts");
        std::fs::write(&file, [0; COUNTERS.len() * 8]).unwrap();
        let env = [("LD_PRELOAD", library.to_str().unwrap()), ("MALLOC_COUNT_FILE", file.to_str().unwrap())];
        let server = Server::start_with([site.path()], &env);
        // On few connections, so that each is warm in every respect after few requests.
        let mut load = Load::new(&server, 4, path, conditional);
        let start = settled(&file);
        assert!(start[0] > 0, "the preloaded library counts nothing; is the program linked statically?");
        load.send(1_000);
        let few = settled(&file);
        load.send(3_000);
        let many = settled(&file);
        let grown =
            |from: &[u64], to: &[u64]| to.iter().zip(from).map(|(to, from)| to - from).collect::<Vec<_>>();
        let what = if conditional { "304" } else { "200" };
        assert_eq!(grown(&start, &few), [0; COUNTERS.len()], "{what} {path}, 1,000 requests: {COUNTERS:?}");
        assert_eq!(grown(&few, &many), [0; COUNTERS.len()], "{what} {path}, 3,000 requests: {COUNTERS:?}");
    }
}

/// In the order of the library's counters.
const COUNTERS: [&str; 6] = ["malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"];

/// Compiles the counting library.
fn malloc_count(folder: &TempDir) -> PathBuf {
    let library = folder.path().join("malloc_count.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/malloc_count.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    run_with(&mut cc, b"").ok();
    library
}

/// The counters once they stand still: the last completion may trail the answer that the client has read.
fn settled(file: &Path) -> Vec<u64> {
    let read = || -> Vec<u64> {
        let bytes = std::fs::read(file).unwrap();
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    let mut last = read();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        let now = read();
        if now == last {
            return now;
        }
        last = now;
    }
    // An idle server that goes on allocating: let the comparison say so.
    last
}
