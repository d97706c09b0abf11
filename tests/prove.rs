//! `sitar prove`: its counts hold what is claimed, and perf counts the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::perf::counted;
use crate::common::{children, eventually, have, run_with, signal, sitar, skip};

const REQUESTS: u64 = 200;
const CONNECTIONS: u64 = 4;

fn engines() -> Vec<&'static str> {
    let has_cores = std::thread::available_parallelism().unwrap().get() >= 2;
    ["uring", "epoll"].into_iter().chain(has_cores.then_some("sqpoll")).collect()
}

/// The command, with folders for what it leaves behind.
fn prove(home: &TempDir, args: &[&str]) -> Command {
    let mut command = sitar(home.path());
    command.env("TMPDIR", home.path()).arg("prove").args(args);
    command
}

/// Names of folders that were not removed.
fn left(home: &TempDir) -> Vec<String> {
    let names = std::fs::read_dir(home.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("sitar-prove")).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn check(engine: &str, document: &Value) {
    assert_eq!(number(&document["requests"]), REQUESTS, "{document:#}");
    // What clients have compared byte by byte is what the server has counted.
    assert_eq!(number(&document["server"]["answers"]), REQUESTS, "{document:#}");
    for side in ["server", "clients"] {
        assert_eq!(number(&document[side]["response_bytes"]), REQUESTS * 1024, "{document:#}");
    }
    assert!(number(&document["clients"]["bytes_received"]) > REQUESTS * 1024, "{document:#}");
    let enters = &document["io_uring_enters"];
    match engine {
        "epoll" => assert!(enters.is_null(), "{document:#}"),
        // One that sends the answer, one that waits; and those of its timers.
        "uring" => assert!((1..=2 * REQUESTS + 50).contains(&number(enters)), "{document:#}"),
        _ => assert!(number(enters) <= 20, "{document:#}"),
    }
    // The loop that comes once in a while, and no request.
    assert!(document["allocations"].as_u64().is_none_or(|count| count <= 20), "{document:#}");
    match &document["system_calls"] {
        Value::Null => println!("{engine}: {}", document["not_measured"]),
        calls => {
            println!("{engine}: {calls}");
            assert_ne!(document["enters_agree"], false, "{document:#}");
        }
    }
}

#[test]
fn each_engine_holds_what_is_claimed() {
    for engine in engines() {
        let home = TempDir::new().unwrap();
        let [requests, connections] = [REQUESTS, CONNECTIONS].map(|number| number.to_string());
        let args = ["--engine", engine, "--requests", &requests, "--connections", &connections, "--json"];
        let text = run_with(&mut prove(&home, &args), b"").ok().text();
        check(engine, &serde_json::from_str(&text).unwrap());
        assert_eq!(left(&home), [""; 0]);
    }
}

#[test]
fn a_site_of_ones_own_is_measured_and_the_page_names_no_path() {
    let home = TempDir::new().unwrap();
    let site = home.path().join("a \"site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("page.html"), "a page").unwrap();
    let path = site.to_str().unwrap();
    let args = ["--requests", "50", "--connections", "2", "--target", "/page.html", path];
    let page = run_with(&mut prove(&home, &args), b"").ok().text();
    let load = "- load: 50 requests for 6 bytes on 2 connections, HTTP/1.1 over TLS on loopback";
    assert!(page.contains(load), "{page}");
    assert!(page.contains("Server and clients agree on answers and bytes of content."), "{page}");
    assert!(!page.contains("site\"") && !page.contains(home.path().to_str().unwrap()), "{page}");

    // What is not there is no answer to measure.
    let args = ["--requests", "50", "--target", "/none", path];
    let ended = run_with(&mut prove(&home, &args), b"");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let cause = "  cause: its status line is \"HTTP/1.1 404 Not Found\"\n";
    assert!(ended.stderr.contains(cause), "{}", ended.stderr);
    assert_eq!(left(&home), [""; 0]);
}

/// A command that holds before the run.
struct Held {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    worker: u32,
}

impl Held {
    fn start(home: &TempDir, args: &[&str]) -> Held {
        let mut command = prove(home, args);
        command.arg("--hold").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let number = line.strip_prefix("sitar: process ").and_then(|rest| rest.split(' ').next());
        let worker = number.and_then(|number| number.parse().ok());
        let worker = worker.unwrap_or_else(|| panic!("{line}"));
        Held { child, said, worker }
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

#[test]
fn perf_counts_the_same() {
    if !have(&["perf", "mkfifo"]) {
        return;
    }
    for engine in engines() {
        let home = TempDir::new().unwrap();
        let mut held = Held::start(&home, &["--engine", engine, "--requests", "2000", "--json"]);
        let perf = counted(held.worker, "raw_syscalls:sys_enter", || {
            held.go_on();
            let mut line = String::new();
            held.said.read_line(&mut line).unwrap();
            assert!(line.starts_with("sitar: the run has been counted"), "{line}");
        });
        held.go_on();
        let mut text = String::new();
        held.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(held.child.wait().unwrap().success(), "{text}");
        let Some(perf) = perf else {
            skip("perf may not look into the server: it needs root or CAP_PERFMON");
            return;
        };
        let perf = perf.get("raw_syscalls:sys_enter").copied().unwrap_or_default();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert!(!document["system_calls"].is_null(), "{document:#}");
        let page = number(&document["system_calls"]["all"]);
        println!("{engine}: perf {perf}, page {page}, {}", document["system_calls"]["names"]);
        // perf begins earlier and ends later: it sees the server tell its numbers, twice.
        assert!(perf >= page && perf - page <= 200, "{engine}: perf {perf}, page {page}");
        if engine == "sqpoll" {
            assert!(page <= 20, "{page} system calls for 2,000 requests: {document:#}");
        }
    }
}

#[test]
fn the_server_ends_with_the_command_however_that_ends() {
    for end in [Signal::INT, Signal::TERM, Signal::QUIT, Signal::KILL] {
        let home = TempDir::new().unwrap();
        let mut held = Held::start(&home, &[]);
        let server = children(held.child.id());
        assert_eq!(server.len(), 1, "{server:?}");
        let is_there = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        signal(held.child.id(), end);
        let status = held.child.wait().unwrap();
        eventually("the end of the server", || !is_there(held.worker) && !is_there(server[0]));
        if end != Signal::KILL {
            assert_eq!((status.code(), left(&home)), (Some(1), Vec::new()), "{end:?}");
        }
    }
}
