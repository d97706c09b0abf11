//! The engines from outside: what the polling one saves, and what is left where io_uring is
//! forbidden.

mod limits;
mod stops;

use crate::common::load::Load;
use crate::common::perf::counted;
use crate::common::site::Site;
use crate::common::{Server, deny_io_uring, have, run, run_with, sitar_by, sitar_inside, skip};
use sitar::handbook;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// All of them; and by their names those of the watcher and of an allocator, so that a failure
/// tells who it was.
const SYSTEM_CALLS: &str = "raw_syscalls:sys_enter,syscalls:sys_enter_io_uring_enter,syscalls:sys_enter_read,\
                            syscalls:sys_enter_ppoll,syscalls:sys_enter_futex,syscalls:sys_enter_madvise,syscalls:sys_enter_munmap";

fn has_two_cores() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        skip("the polling engine needs two cores");
    }
    cores >= 2
}

#[test]
fn a_polled_server_makes_no_system_calls() {
    if !have(&["perf", "mkfifo"]) || !has_two_cores() {
        return;
    }
    let site = Site::small();
    let path = site.path().to_str().unwrap();
    let total = |server: &Server, connections: usize, requests: usize| -> Option<(u64, String)> {
        let mut load = Load::new(server, connections, "/1k.txt", false);
        let counts = counted(server.pid(), SYSTEM_CALLS, || load.send(requests))?;
        Some((counts.get("raw_syscalls:sys_enter").copied().unwrap_or(0), format!("{counts:?}")))
    };

    // That perf counts at all is shown by an engine that does make calls.
    let batched = Server::start([path, "--engine", "uring"]);
    let Some((calls, names)) = total(&batched, 4, 400) else {
        skip("perf may not look into the server: it needs root or CAP_PERFMON");
        return;
    };
    println!("uring: {calls} system calls for 400 requests on 4 connections: {names}");
    assert!(calls >= 20, "perf counts {calls} system calls of the batched engine for 400 requests");
    drop(batched);

    let polled = Server::start([path, "--engine", "sqpoll", "--spin", "10s", "--shards", "1"]);
    let (calls, names) = total(&polled, 64, 40_000).unwrap();
    println!("sqpoll: {calls} system calls for 40,000 requests on 64 connections: {names}");
    assert!(calls <= 20, "{calls} system calls for 40,000 requests: {names}");
}

#[test]
fn the_polling_engine_says_where_its_threads_run_and_what_they_took() {
    if !has_two_cores() {
        return;
    }
    let site = Site::small();
    let path = site.path().to_str().unwrap();
    let mut server = Server::start([path, "--engine", "sqpoll", "--shards", "1"]);
    let report = server.said();
    assert!(report.contains("\n  engine   io_uring with a polling thread on CPU "), "{report}");
    assert!(report.contains("watches for 1ms before it sleeps"), "{report}");
    assert!(!report.contains("get in each other's way"), "{report}");
    // The thread takes its name, and then its CPU, when it first runs.
    crate::common::eventually("a polling thread that is bound to its CPU", || {
        let cpu = cpu_of_poller(server.pid());
        cpu.is_some_and(|cpu| report.contains(&format!("polling thread on CPU {cpu} (")))
    });

    Load::new(&server, 4, "/1k.txt", false).send(400);
    server.terminate();
    assert!(server.wait().success());
    crate::common::eventually("the last line", || {
        let said = server.said();
        said.contains("sitar: 1 polling thread(s) used ") && said.contains(" s of CPU time in ")
    });

    // More shards than there can be cores for.
    let shards = std::thread::available_parallelism().unwrap().to_string();
    let shared = Server::start([path, "--engine", "sqpoll", "--shards", &shards]);
    let report = shared.said();
    assert!(report.contains("engine   io_uring with polling threads on any CPU"), "{report}");
    assert!(
        report.contains(&format!("  warning  {shards} shards with a polling thread each on ")),
        "{report}"
    );
}

/// The one CPU on which the server's polling thread may run, once there is one.
fn cpu_of_poller(pid: u32) -> Option<String> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        // Another thread may have ended meanwhile.
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("iou-sqp-")) {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
            return Some(line.trim().to_owned());
        }
    }
    None
}

#[test]
fn one_core_is_not_enough_for_polling() {
    if !have(&["taskset"]) {
        return;
    }
    let home = TempDir::new().unwrap();
    let mut taskset = Command::new("taskset");
    taskset.args(["--cpu-list", &first_core()]);
    let mut command = sitar_by(taskset, home.path());
    let ended = run_with(command.args(["serve", "--engine", "sqpoll", "--listen", "127.0.0.1:0"]), b"");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let expected = "error: the polling engine needs two cores, and this process may use one\n";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
}

fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().split([',', '-']).next().unwrap().to_owned()
}

#[test]
fn where_io_uring_is_forbidden_the_server_runs_on_epoll_and_says_why() {
    if !have(&["cc", "curl"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let inside = deny_io_uring(&folder);
    let server = Server::start_inside(&inside, [] as [&str; 0]);
    let report = server.said();
    let expected = "\n  engine   epoll, because io_uring is forbidden here \
                    (a container's seccomp profile, or sysctl kernel.io_uring_disabled)\n";
    assert!(report.contains(expected), "{report}");

    for (name, bytes) in handbook::FILES {
        let got = curl(&server, &format!("/{name}"));
        assert!(got == *bytes, "{name}: {} bytes, not {}", got.len(), bytes.len());
    }
    let (_, index) = handbook::FILES.iter().find(|(name, _)| *name == "index.html").unwrap();
    assert!(curl(&server, "/") == *index);
}

#[test]
fn an_engine_asked_for_by_name_is_not_replaced() {
    if !have(&["cc"]) || !has_two_cores() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let inside = deny_io_uring(&folder);
    for engine in ["uring", "sqpoll"] {
        let mut command = sitar_inside(&inside, folder.path());
        let ended = run_with(command.args(["serve", "--listen", "127.0.0.1:0", "--engine", engine]), b"");
        assert_eq!(ended.status.code(), Some(1), "{engine}: {}", ended.stderr);
        assert!(ended.stderr.contains("  cause: io_uring is forbidden here"), "{engine}: {}", ended.stderr);
        assert!(ended.stderr.contains("--engine auto chooses by itself"), "{engine}: {}", ended.stderr);
        assert_eq!(ended.text(), "", "{engine}: nothing was announced");
    }
}

fn curl(server: &Server, path: &str) -> Vec<u8> {
    let ca: &Path = server.ca();
    run("curl", ["--silent", "--show-error", "--fail", "--cacert", ca.to_str().unwrap(), &server.url(path)])
        .ok()
        .stdout
}
