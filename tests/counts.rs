#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
//! What a warm request costs, counted from outside: system calls by perf, allocations by a preloaded library.
//!
//! Counts, not times: both come from the difference of two loads of fixed size, so they hold on a busy machine too.

mod common;

use common::client::{Client, config};
use common::site::Site;
use common::{Server, have, run, run_with, skip};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

const CONNECTIONS: usize = 16;

/// Connections that stay open from one load to the next.
struct Load {
    clients: Vec<Client>,
    path: &'static str,
    /// Sent with each request, so that it can be conditional.
    fields: Vec<(&'static str, String)>,
    status: u16,
}

impl Load {
    fn new(server: &Server, connections: usize, path: &'static str, conditional: bool) -> Load {
        let config = config(server);
        let mut clients: Vec<Client> =
            (0..connections).map(|_| Client::open(&config, server.address()).unwrap()).collect();
        let first = clients[0].get(path).unwrap();
        assert_eq!(first.status, 200);
        let mut load = Load { clients, path, fields: Vec::new(), status: 200 };
        if conditional {
            load.fields.push(("If-None-Match", first.field("etag").unwrap().to_string()));
            load.status = 304;
        }
        // Warm: tickets sent, buffers at their size, the body in the cache.
        load.send(connections * 20);
        load
    }

    /// Sends so many requests, shared evenly by the connections, each connection from a thread of its own.
    fn send(&mut self, requests: usize) {
        let each = requests / self.clients.len();
        assert_eq!(each * self.clients.len(), requests, "an uneven load");
        let fields: Vec<(&str, &str)> =
            self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (path, status) = (self.path, self.status);
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                let fields = &fields;
                scope.spawn(move || {
                    for _ in 0..each {
                        assert_eq!(client.request("GET", path, fields).unwrap().status, status, "{path}");
                    }
                });
            }
        });
    }
}

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

/// Counts system calls by name in all threads of the process while `work` runs; zeros are left out.
/// `None` when perf does not start.
fn counted(pid: u32, events: &str, work: impl FnOnce()) -> Option<BTreeMap<String, u64>> {
    let folder = TempDir::new().unwrap();
    let [control, ack, out] = ["control", "ack", "out"].map(|name| folder.path().join(name));
    run("mkfifo", [&control, &ack]).ok();
    // Opened for both directions, so that no open waits for a perf that never comes.
    let both = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut to_perf, from_perf) = (both(&control), both(&ack));

    let mut perf = Command::new("perf");
    perf.args(["stat", "--field-separator=,", "--delay=-1", "--output"]).arg(&out);
    perf.arg(format!("--control=fifo:{},{}", control.display(), ack.display()));
    perf.args(["--event", events, "--pid", &pid.to_string()]).stdin(Stdio::null());
    let mut perf = perf.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let acks = acknowledged(from_perf);
    to_perf.write_all(b"enable\n").unwrap();
    let started = wait_for_ack(&acks, &mut perf);
    if started {
        work();
        to_perf.write_all(b"disable\n").unwrap();
        assert!(wait_for_ack(&acks, &mut perf), "perf ended while it counted");
        common::signal(perf.id(), rustix::process::Signal::INT);
    }
    perf.wait().unwrap();
    // Wakes the thread that reads acknowledgements, which then finds nobody listening and ends.
    drop(acks);
    both(&ack).write_all(b"\n").unwrap();
    started.then(|| read_counts(&std::fs::read_to_string(&out).unwrap()))
}

fn acknowledged(mut from_perf: File) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        while from_perf.read_exact(&mut byte).is_ok() {
            if byte[0] == b'\n' && sender.send(()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait_for_ack(acks: &mpsc::Receiver<()>, perf: &mut Child) -> bool {
    for _ in 0..600 {
        if acks.recv_timeout(Duration::from_millis(50)).is_ok() {
            return true;
        }
        if perf.try_wait().unwrap().is_some() {
            return false;
        }
    }
    let _ = perf.kill();
    panic!("perf neither answers nor ends");
}

/// `29,,syscalls:sys_enter_read,…`, one event a line.
fn read_counts(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let mut columns = line.split(',');
        let (Some(count), Some(name)) = (columns.next(), columns.nth(1)) else { continue };
        if let (Ok(count @ 1..), Some(name)) =
            (count.parse::<u64>(), name.strip_prefix("syscalls:sys_enter_"))
        {
            counts.insert(name.to_string(), count);
        }
    }
    counts
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
