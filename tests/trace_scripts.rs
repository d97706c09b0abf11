//! The scripts for bpftrace, each beside a server and a known load: what they count is what the
//! client has counted.

use crate::common::client::{self, Client, roots_in, socket_from, trusting};
use crate::common::said::Said;
use crate::common::site::{Site, pattern};
use crate::common::{
    Server, copy_executable, eventually, h2, have, program, run_with, signal, sitar_at, skip,
};
use crate::probes::documented;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::RootCertStore;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const LARGE: usize = 16 << 20;
/// From then on an answer is slow, in milliseconds.
const SLOW_MS: u64 = 100;
const TRACEFS: &str = "/sys/kernel/tracing";

#[test]
fn the_scripts_count_what_a_client_counts() {
    if !can_trace() {
        return;
    }
    let has_tracepoints = has_tracepoints();
    let served = Served::new();
    let has_ring = served.server.said().contains("\n  engine   io_uring");
    let mut scripts = vec!["requests", "handshakes", "slow_readers", "connections"];
    match (has_tracepoints, has_ring) {
        (true, true) => scripts.extend(["ring", "waits"]),
        (false, _) => skip("ring.bt and waits.bt: no tracefs, and this user may not mount it"),
        (_, false) => skip("ring.bt and waits.bt: no io_uring"),
    }
    let limit = SLOW_MS.to_string();
    // One after the other: each compiles for seconds.
    let traces: BTreeMap<&str, Trace> = scripts
        .iter()
        .map(|name| {
            let trace = Trace::start(name, &served, &limit);
            trace.wait_until_attached();
            (*name, trace)
        })
        .collect();
    let counted = served.load();
    // The other end of a connection is seen by the client before the server has taken note.
    let connections = &traces["connections"];
    eventually("the end of all connections", || {
        signal(connections.pid(), Signal::USR1);
        sum(&connections.map("@closed")) >= counted.connections
    });
    let found: BTreeMap<&str, Maps> = traces.into_iter().map(|(name, trace)| (name, trace.end())).collect();

    let requests = &found["requests"];
    assert_eq!(requests.map("@requests"), counted.requests);
    assert_eq!(requests.map("@responses"), counted.responses);
    assert_eq!(requests.map("@content_bytes"), counted.content);
    assert_eq!(requests.counts("@us_of_path"), counted.paths);
    assert_eq!(requests.counts("@us"), counted.paths);
    assert!(requests.map("@cut").is_empty(), "{requests:?}");

    let handshakes = &found["handshakes"];
    assert_eq!(sum(&handshakes.map("@done")) + sum(&handshakes.map("@done_other")), counted.handshakes);
    assert!(handshakes.map("@done").keys().all(|key| key.starts_with("TLS 1.3,")), "{handshakes:?}");
    let failed = [("alert".to_owned(), 1), ("plain_http".to_owned(), 2)];
    assert_eq!(handshakes.map("@failed"), BTreeMap::from(failed));
    assert_eq!(sum(&handshakes.counts("@us")), counted.handshakes);

    let connections = &found["connections"];
    assert_eq!(sum(&connections.map("@accepted")), counted.connections);
    assert_eq!(sum(&connections.map("@closed")), counted.connections);
    assert_eq!(sum(&connections.map("@peers")), counted.connections);
    assert_eq!(connections.map("@peers")["::ffff:127.9.0.1"], 1, "{connections:?}");
    assert_eq!(sum(&connections.map("@shed")), 0);
    assert_eq!(sum(&connections.counts("@ms")), counted.connections);

    let slow = &found["slow_readers"];
    assert_eq!(slow.map("@answers")[""], sum(&counted.responses));
    let line = slow.lines.iter().find(|line| line.ends_with(" /large.bin\n")).unwrap();
    let columns: Vec<&str> = line.split_whitespace().collect();
    let port = counted.slow_port.to_string();
    // The column of the reason is empty: it was not cut.
    assert_eq!(columns[2..], [&LARGE.to_string(), "0", &port, "::ffff:127.9.0.1", "/large.bin"], "{line}");
    assert!(columns[1].parse::<u64>().unwrap() >= SLOW_MS, "{line}");
    assert!(slow.counts("@slow_ms")["::ffff:127.9.0.1"] >= 1);

    let all = sum(&counted.requests);
    if let Some(ring) = found.get("ring") {
        assert_eq!(sum(&ring.map("@requests")), all);
        let queued = sum(&ring.map("@queued"));
        assert!(queued > all, "{ring:?}");
        assert_eq!(
            sum(&ring.map("@operations")),
            queued,
            "what is brought is what the kernel takes: {ring:?}"
        );
        assert_eq!(sum(&ring.counts("@operations_per_request")), all);
        assert!(sum(&ring.map("@enters")) > 0 && sum(&ring.map("@completions")) > 0, "{ring:?}");
    }
    if let Some(waits) = found.get("waits") {
        assert_eq!(sum(&waits.map("@requests")), all);
        let in_ring = waits.counts("@waits_us");
        let in_ring = in_ring.iter().filter(|(key, _)| key.contains(",sitar-") && key.ends_with(",ring"));
        assert!(in_ring.map(|(_, count)| count).sum::<u64>() > 0, "{waits:?}");
        assert!(sum(&waits.counts("@turn_us")) > 0 && sum(&waits.counts("@enter_us")) > 0, "{waits:?}");
    }
}

/// Without BPF as well.
#[test]
fn the_scripts_know_the_probes_that_are_documented() {
    let documented = documented();
    assert!(documented.len() > 10, "{documented:?}");
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut scripts = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".bt") {
            continue;
        }
        scripts += 1;
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in README.md");
        let text = fs::read_to_string(&path).unwrap();
        for part in ["Run:", "Stop:", "Shows:", "Price:"] {
            assert!(text.contains(&format!("\n * {part}")), "{name} does not say \"{part}\"");
        }
        let mut arguments = None;
        for line in text.lines() {
            if let Some(probe) = line.strip_prefix("usdt:$1:sitar:") {
                arguments =
                    Some(*documented.get(probe).unwrap_or_else(|| panic!("{name}: no probe {probe}")));
            } else if line == "}" {
                arguments = None;
            }
            for (at, _) in line.match_indices("arg").filter(|(at, _)| !line[at + 3..].starts_with('s')) {
                let number: usize = line[at + 3..at + 4].parse().unwrap();
                let count = arguments.unwrap_or_else(|| panic!("{name}: an argument of no probe: {line}"));
                assert!(number < count, "{name}: the probe has {count} arguments: {line}");
            }
        }
    }
    assert_eq!(scripts, 6);
    assert!(documented.values().all(|count| *count <= 6), "bpftrace 0.17 reads six: {documented:?}");
}

/// It is built by `cargo xtask connections` only.
#[test]
fn the_tool_knows_the_probes_that_are_documented() {
    let documented = documented();
    let text = fs::read_to_string(root().join("tools/connections/src/connections.bpf.c")).unwrap();
    let mut programs = 0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("int BPF_USDT(") else { continue };
        let mut words = rest.strip_suffix(')').unwrap().split(", ");
        let name = words.next().unwrap();
        let count = documented.get(name).unwrap_or_else(|| panic!("no probe {name}"));
        assert!(words.count() <= *count, "the probe has {count} arguments: {line}");
        programs += 1;
    }
    assert_eq!(programs, 7);
}

/// Whether bpftrace runs here; otherwise the test is recorded as skipped.
fn can_trace() -> bool {
    if !have(&["bpftrace", "mount"]) {
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can attach probes");
        return false;
    }
    let tried = run_with(Command::new("bpftrace").args(["-e", "BEGIN { exit(); }"]), b"");
    if !tried.status.success() || !Path::new("/sys/bus/event_source/devices/uprobe").exists() {
        let reason = tried.stderr.lines().last().unwrap_or("the kernel has no uprobes").to_owned();
        skip(&format!("bpftrace does not run here: {reason}"));
        return false;
    }
    true
}

/// Whether there are tracepoints; mounts their filesystem where it is missing, as perf does.
fn has_tracepoints() -> bool {
    let is_there = || Path::new(TRACEFS).join("events/io_uring").exists();
    if !is_there() {
        run_with(Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]), b"");
    }
    is_there()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folder() -> PathBuf {
    root().join("tools/trace")
}

/// A server of two processes. Its program is a file of its own: probes belong to a file, and other
/// tests run servers from theirs.
struct Served {
    server: Server,
    program: PathBuf,
    certificate: PathBuf,
    _site: Site,
    _place: TempDir,
}

/// What the client counts.
struct Counted {
    /// By method.
    requests: BTreeMap<String, u64>,
    /// By status.
    responses: BTreeMap<String, u64>,
    /// Bytes of content by status.
    content: BTreeMap<String, u64>,
    /// Answers by path.
    paths: BTreeMap<String, u64>,
    /// Those that succeed.
    handshakes: u64,
    connections: u64,
    slow_port: u16,
}

impl Counted {
    fn add(&mut self, method: &str, path: &str, status: u16, content: usize) {
        // One that could not be read has an answer, but no request.
        if !method.is_empty() {
            *self.requests.entry(method.to_owned()).or_default() += 1;
        }
        *self.responses.entry(status.to_string()).or_default() += 1;
        *self.content.entry(status.to_string()).or_default() += content as u64;
        *self.paths.entry(path.to_owned()).or_default() += 1;
    }
}

impl Served {
    fn new() -> Served {
        let (site, place) = (Site::small(), TempDir::new().unwrap());
        site.add("large.bin", &pattern(LARGE));
        let [program_copy, certificate, key, file] =
            ["sitar", "certificate.pem", "certificate.key", "sitar.toml"].map(|name| place.path().join(name));
        copy_executable(Path::new(&program()), &program_copy);
        let pair = KeyPair::generate().unwrap();
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        fs::write(&certificate, names.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let text = format!(
            "[server]\nshards = 2\nhttp2 = true\n\
             certificate = {{ chain = \"certificate.pem\", key = \"certificate.key\" }}\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n[[site]]\ndefault = true\nroot = \"{}\"\n",
            site.path().display()
        );
        fs::write(&file, text).unwrap();
        let home = TempDir::new().unwrap();
        let command = sitar_at(&program_copy, home.path());
        let server = Server::start_configured_by(command, home, &file);
        Served { server, program: program_copy, certificate, _site: site, _place: place }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn load(&self) -> Counted {
        let roots = roots_in([&self.certificate]);
        let config = trusting(roots.clone(), &[b"http/1.1"]);
        let mut counted = Counted {
            requests: BTreeMap::new(),
            responses: BTreeMap::new(),
            content: BTreeMap::new(),
            paths: BTreeMap::new(),
            handshakes: 0,
            connections: 0,
            slow_port: 0,
        };
        for _ in 0..3 {
            let mut client = Client::open(&config, self.address()).unwrap();
            for (method, path) in
                [("GET", "/1k.txt"), ("GET", "/1m.bin"), ("GET", "/nothing"), ("HEAD", "/1k.txt")]
            {
                let answer = client.request(method, path, &[]).unwrap();
                counted.add(method, path, answer.status, answer.body.len());
            }
            client.end();
            (counted.handshakes, counted.connections) = (counted.handshakes + 1, counted.connections + 1);
        }

        let streams = ["/16k.bin", "/1k.txt", "/nothing", "/style.css", "/empty.txt"];
        let multiplexed = trusting(roots, &[b"h2"]);
        let mut client = h2::Client::open(&multiplexed, self.address(), 1 << 20).unwrap();
        for (path, answer) in streams.iter().zip(client.get_all(&streams, &[]).unwrap()) {
            counted.add("GET", path, answer.status, answer.body.len());
        }
        drop(client);

        // A reader that is slow.
        let socket = socket_from(Some(Ipv4Addr::new(127, 9, 0, 1)), self.address(), Some(32 << 10)).unwrap();
        counted.slow_port = socket.local_addr().unwrap().port();
        let mut client = Client::over(&config, socket).unwrap();
        client.send(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        // More than tickets: the answer has begun, and stays under way for as long as this sleeps.
        let mut begin = [0; 8 << 10];
        eventually("the begin of the answer", || client.socket().peek(&mut begin).unwrap() == begin.len());
        std::thread::sleep(Duration::from_millis(SLOW_MS * 3 / 2));
        let answer = client.response(false).unwrap();
        counted.add("GET", "/large.bin", answer.status, answer.body.len());
        client.end();

        for _ in 0..2 {
            let mut plain = client::socket(self.address()).unwrap();
            plain.write_all(b"GET /1k.txt HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut text = String::new();
            plain.read_to_string(&mut text).unwrap();
            let (head, content) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 400 "), "{text}");
            counted.add("", "", 400, content.len());
        }
        let distrusts = trusting(RootCertStore::empty(), &[b"http/1.1"]);
        assert!(Client::open(&distrusts, self.address()).is_err());
        counted.handshakes += 2;
        counted.connections += 5;
        counted
    }
}

/// A script that runs.
struct Trace {
    child: Child,
    said: Said,
    _script: TempDir,
}

/// What a script has printed: its maps as they were last, and its lines.
#[derive(Debug)]
struct Maps {
    maps: BTreeMap<String, Value>,
    lines: Vec<String>,
}

impl Trace {
    fn start(name: &str, served: &Served, argument: &str) -> Trace {
        let folder_of_script = TempDir::new().unwrap();
        let script = folder_of_script.path().join("script.bt");
        let mut text = fs::read_to_string(folder().join(format!("{name}.bt"))).unwrap();
        // Probes are attached in the order of the file, and BEGIN comes before all.
        text.push_str("\ninterval:ms:100 { printf(\"attached\\n\"); }\n");
        fs::write(&script, text).unwrap();
        let mut command = Command::new("bpftrace");
        command.args(["-f", "json"]).arg(&script).arg(&served.program).arg(argument);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Said::of(&mut child);
        Trace { child, said, _script: folder_of_script }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_attached(&self) {
        eventually("the probes to be attached", || {
            let said = self.said.lines();
            assert!(!said.lines().any(|line| line.contains("ERROR") && !line.contains("RLIMIT")), "{said}");
            said.lines().any(|line| line.contains("\"attached\\n\""))
        });
    }

    fn maps(&self) -> Maps {
        let (mut maps, mut lines) = (BTreeMap::new(), Vec::new());
        for line in self.said.lines().lines().filter(|line| line.starts_with('{')) {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            match (&line["type"], &line["data"]) {
                (Value::String(kind), Value::String(text)) if kind == "printf" => lines.push(text.clone()),
                (_, Value::Object(data)) => {
                    maps.extend(data.iter().map(|(name, map)| (name.clone(), map.clone())));
                }
                _ => (),
            }
        }
        Maps { maps, lines }
    }

    fn map(&self, name: &str) -> BTreeMap<String, u64> {
        self.maps().map(name)
    }

    /// Stops it as Ctrl-C does.
    fn end(mut self) -> Maps {
        signal(self.pid(), Signal::INT);
        eventually("the end of bpftrace", || self.child.try_wait().unwrap().is_some());
        self.maps()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Maps {
    /// Returns the numbers of a map by key; the key is empty where it has none.
    fn map(&self, name: &str) -> BTreeMap<String, u64> {
        self.each(name, |value| value.as_u64().unwrap_or_else(|| panic!("{name}: {value}")))
    }

    /// The same of a map of statistics or of histograms, whose counts these are.
    fn counts(&self, name: &str) -> BTreeMap<String, u64> {
        self.each(name, |value| match value {
            Value::Array(buckets) => buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum(),
            value => value["count"].as_u64().unwrap(),
        })
    }

    fn each(&self, name: &str, number: impl Fn(&Value) -> u64) -> BTreeMap<String, u64> {
        match self.maps.get(name) {
            None => BTreeMap::new(),
            Some(Value::Object(map)) => map.iter().map(|(key, value)| (key.clone(), number(value))).collect(),
            Some(value) => BTreeMap::from([(String::new(), number(value))]),
        }
    }
}

fn sum(map: &BTreeMap<String, u64>) -> u64 {
    map.values().sum()
}
