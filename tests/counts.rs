//! The cost of a warm request, counted from outside: system calls by perf, allocations by a
//! preloaded library.
//!
//! Counts, not times: both come from the difference of two loads of fixed size, so they hold on a
//! busy machine too.

use crate::common::alloc::Allocations;
use crate::common::h2;
use crate::common::load::Load;
use crate::common::perf::{counted, counted_in_thread};
use crate::common::site::Site;
use crate::common::{Server, have, skip};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

const CONNECTIONS: usize = 16;
/// Requests at a time on each connection of HTTP/2.
const STREAMS: usize = 32;

#[test]
fn a_warm_request_makes_no_system_call_but_the_rings() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let mut load = Load::new(&server, CONNECTIONS, "/1k.txt", false);
    let Some(few) = Calls::of(&server, || load.send(2_000)) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let many = Calls::of(&server, || load.send(12_000)).unwrap();
    println!("2,000 requests: {few:?}\n12,000 requests: {many:?}");
    assert!(few.enters > 0, "perf counted nothing, or the server is not on io_uring: {few:?}");
    assert!(many.others <= few.others, "others than io_uring_enter grew: {:?}", many.names);
    // Requests that come one at a time are the worst case: a call that sends the answer, and one
    // that waits.
    let grown = many.enters - few.enters;
    assert!(grown <= 20_200, "{grown} calls for 10,000 requests");
}

#[test]
fn requests_that_wait_together_share_their_system_calls() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start_with([site.path().as_os_str(), "--shards".as_ref(), "1".as_ref()], &[]);
    let mut load = Load::new(&server, CONNECTIONS, "/1k.txt", false);
    let Some(few) = Calls::of(&server, || load.together(&server, 10)) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let many = Calls::of(&server, || load.together(&server, 60)).unwrap();
    println!("10 times: {few:?}\n60 times: {many:?}");
    assert!(few.enters > 0, "perf counted nothing, or the server is not on io_uring: {few:?}");
    // Each time one that was waiting when the signal came and returns what has arrived, one that
    // sends all answers, and one that waits; a few for timers. (Others grow: the threads that wait
    // elsewhere are interrupted too.)
    let grown = many.enters - few.enters;
    assert!(grown <= 200, "{grown} calls for {} requests", 50 * CONNECTIONS);
}

/// 1 MiB is seventeen send buffers, of which a few are sent with one call.
#[test]
fn large_answers_share_their_system_calls() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start_with([site.path().as_os_str(), "--shards".as_ref(), "1".as_ref()], &[]);
    let mut load = Load::new(&server, CONNECTIONS, "/1m.bin", false);
    let Some(few) = Calls::of(&server, || load.send(10 * CONNECTIONS)) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let many = Calls::of(&server, || load.send(50 * CONNECTIONS)).unwrap();
    println!("160 answers: {few:?}\n800 answers: {many:?}");
    assert!(few.enters > 0, "perf counted nothing, or the server is not on io_uring: {few:?}");
    let each = (many.enters - few.enters) as f64 / (40 * CONNECTIONS) as f64;
    println!("{each:.1} calls for 1 MiB");
    assert!(each <= 14.0, "{each} calls for 1 MiB");
}

#[test]
fn requests_on_streams_share_their_system_calls() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    let site = Site::small();
    let args = ["--shards", "1", "--engine", "uring"].map(std::path::Path::new);
    let server = Server::start([&[site.path()], &args[..]].concat());
    let mut load = h2::Load::new(&server, CONNECTIONS, STREAMS, "/1k.txt", false);
    let round = load.round() as u64;
    let Some(few) = Calls::of(&server, || load.together(&server, 5)) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let many = Calls::of(&server, || load.together(&server, 25)).unwrap();
    println!("5 times: {few:?}\n25 times: {many:?}");
    assert!(few.enters > 0, "perf counted nothing, or the server is not on io_uring: {few:?}");
    let each = (many.enters - few.enters) as f64 / (20 * round) as f64;
    println!("{each:.4} calls per request that waits with {} others", round - 1);
    assert!(each <= 0.1, "{each} calls per request");

    // Whatever the timing: what a connection asks for at a time comes in one record, which takes
    // one call to wait for, and is answered in three buffers, which take one call each when no
    // other connection has anything to say.
    let few = Calls::of(&server, || load.send(5)).unwrap();
    let many = Calls::of(&server, || load.send(45)).unwrap();
    println!("5 rounds: {few:?}\n45 rounds: {many:?}");
    assert!(many.others <= few.others, "others than io_uring_enter grew: {:?}", many.names);
    let each = (many.enters - few.enters) as f64 / (40 * round) as f64;
    println!("{each:.4} calls per request of connections that ask for {STREAMS} at a time");
    assert!(each <= 0.2, "{each} calls per request");
}

/// System calls of all threads of a server.
#[derive(Debug)]
struct Calls {
    enters: u64,
    /// All but `io_uring_enter`.
    others: u64,
    /// Those that a server might make, by name.
    names: BTreeMap<String, u64>,
}

impl Calls {
    /// `None` without access.
    fn of(server: &Server, work: impl FnOnce()) -> Option<Calls> {
        let all = "raw_syscalls:sys_enter";
        let names = ["io_uring_enter", "read", "write", "ppoll", "futex", "madvise", "mmap", "munmap", "brk"];
        let events: Vec<String> = names.iter().map(|name| format!("syscalls:sys_enter_{name}")).collect();
        let mut names = counted(server.pid(), &format!("{all},{}", events.join(",")), work)?;
        let enters = names.remove("io_uring_enter").unwrap_or(0);
        // The counters are not stopped in one moment: a call may come to one of them and not to the
        // other.
        let others = names.remove(all).unwrap_or(0).saturating_sub(enters);
        Some(Calls { enters, others, names })
    }
}

/// One connection over which every kind of answer is asked for that the table of RFC 9110's
/// requirements knows: conditions, ranges, parts, encodings, rules, errors.
struct Everything {
    stream: TcpStream,
    cases: Vec<crate::table::Case>,
}

impl Everything {
    fn new(server: &Server) -> Everything {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
        Everything { stream, cases: crate::table::cases() }
    }

    fn ask(&mut self) {
        for case in &self.cases {
            self.stream.write_all(&case.request).unwrap();
            let mut answer = vec![0; case.answer.len()];
            self.stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            crate::table::mask(&mut answer);
            // The one that shows the server's clock, which is not the table's.
            let shows_time = case.name.starts_with("8.8.2.1: a Last-Modified in the future");
            assert!(answer == case.answer || shows_time, "{}", case.name);
        }
    }
}

#[test]
fn no_kind_of_answer_allocates() {
    let Some(allocations) = Allocations::prepare() else { return };
    let folder = tempfile::tempdir().unwrap();
    crate::table::build(folder.path());
    let args = [folder.path().as_os_str(), "--tls".as_ref(), "off".as_ref()];
    let server = Server::start_with(args, &allocations.env());
    let mut everything = Everything::new(&server);
    everything.ask();
    let warm = allocations.settled();
    assert!(warm[0] > 0, "the preloaded library counts nothing; is the program linked statically?");
    allocations.assert_none(1, "every kind of answer", || (0..3).for_each(|_| everything.ask()));
}

#[test]
fn no_kind_of_answer_makes_a_system_call_but_the_rings() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    let site = Site::new();
    crate::table::build(site.path());
    let server = Server::start([site.path().as_os_str(), "--tls".as_ref(), "off".as_ref()]);
    let mut everything = Everything::new(&server);
    everything.ask();
    let mut calls = |times: usize| Calls::of(&server, || (0..times).for_each(|_| everything.ask()));
    let Some(once) = calls(1) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let five = calls(5).unwrap();
    let answers = 5 * crate::table::cases().len() as u64;
    println!("once: {once:?}\nfive times, {answers} answers: {five:?}");
    assert!(once.enters > 0, "perf counted nothing, or the server is not on io_uring");
    assert!(five.others <= once.others, "others than io_uring_enter grew: {:?}", five.names);
    // One client that waits for each answer is the worst case: a call that sends it, and one that
    // waits. A few for timers.
    assert!(five.enters <= 2 * answers + answers / 10, "{five:?}");
}

#[test]
fn a_warm_request_allocates_nothing() {
    let Some(allocations) = Allocations::prepare() else { return };
    let site = Site::small();
    // Few of the large ones: a connection that is done more than a second before the others would
    // fold its keys meanwhile.
    for (path, conditional, few_requests) in
        [("/1k.txt", false, 1_000), ("/1m.bin", false, 100), ("/1k.txt", true, 1_000)]
    {
        let server = Server::start_with([site.path()], &allocations.env());
        // On few connections, so that each is warm in every respect after few requests.
        let mut load = Load::new(&server, 4, path, conditional);
        let start = allocations.settled();
        assert!(start[0] > 0, "the preloaded library counts nothing; is the program linked statically?");
        let what = if conditional { "304" } else { "200" };
        for requests in [few_requests, 3 * few_requests] {
            let what = format!("{what} {path}, {requests} requests");
            allocations.assert_none(4, &what, || load.send(requests));
        }
    }
}

/// With an access log: the thread that writes it allocates nothing either.
#[test]
fn a_record_allocates_nothing() {
    let Some(allocations) = Allocations::prepare() else { return };
    let (site, folder) = (Site::small(), tempfile::tempdir().unwrap());
    let log = folder.path().join("access.log");
    let args = [site.path().as_os_str(), "--access-log".as_ref(), log.as_os_str()];
    let server = Server::start_with(args, &allocations.env());
    let mut load = Load::new(&server, 4, "/1k.txt", false);
    // The writer's buffers are as large as they need to be when it has written a few.
    load.send(4_000);
    assert!(allocations.settled()[0] > 0, "the preloaded library counts nothing");
    for requests in [1_000, 3_000] {
        allocations.assert_none(4, &format!("{requests} requests"), || load.send(requests));
    }
}

/// With an access log, the thread of a shard makes the calls that it makes without one.
#[test]
fn a_record_makes_no_system_call_on_its_shard() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    let (site, folder) = (Site::small(), tempfile::tempdir().unwrap());
    let log = folder.path().join("access.log");
    let args = [site.path().as_os_str(), "--shards".as_ref(), "1".as_ref(), "--access-log".as_ref()];
    let server = Server::start_with(args.into_iter().chain([log.as_os_str()]), &[]);
    let shard = thread_of(&server, "sitar-0");
    let mut load = Load::new(&server, CONNECTIONS, "/1k.txt", false);
    load.send(2_000);
    let mut calls = |requests: usize| {
        let (all, enter) = ("raw_syscalls:sys_enter", "syscalls:sys_enter_io_uring_enter");
        let counts = counted_in_thread(shard, &format!("{all},{enter}"), || load.send(requests))?;
        Some(
            [enter.trim_start_matches("syscalls:sys_enter_"), all]
                .map(|name| counts.get(name).copied().unwrap_or(0)),
        )
    };
    let Some([_, few]) = calls(2_000) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    let [enters, many] = calls(12_000).unwrap();
    println!("2,000 requests: {few} calls; 12,000: {many}, {enters} of them io_uring_enter");
    assert!(enters > 0, "perf counted nothing, or the server is not on io_uring");
    // The writer is called after a second without a record, as at the beginning.
    assert!(many - enters <= 8, "{} others than io_uring_enter", many - enters);
    assert!(many <= 2 * 12_000 + 200, "{many} calls");
}

/// The thread of a server that has this name.
fn thread_of(server: &Server, name: &str) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let named = |task: &std::path::Path| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let task = tasks.map(|task| task.unwrap().path()).find(|task| named(task)).expect(name);
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_warm_stream_allocates_nothing() {
    let Some(allocations) = Allocations::prepare() else { return };
    let site = Site::small();
    for (path, conditional) in [("/1k.txt", false), ("/16k.bin", false), ("/1k.txt", true)] {
        let server = Server::start_with([site.path()], &allocations.env());
        let mut load = h2::Load::new(&server, 4, STREAMS, path, conditional);
        let start = allocations.settled();
        assert!(start[0] > 0, "the preloaded library counts nothing; is the program linked statically?");
        let what = if conditional { "304" } else { "200" };
        for rounds in [10, 30] {
            let what = format!("{what} {path}, {} requests", rounds * load.round());
            allocations.assert_none(4, &what, || load.send(rounds));
        }
    }
}
