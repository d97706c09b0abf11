//! The event log: what a server says on standard error, as text and as JSON.

use crate::common::client::socket;
use crate::common::said::Said;
use crate::common::site::{pattern, write};
use crate::common::{Finished, children, eventually, have, run_with, signal, sitar, skip};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A folder with a site, and a server of it.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        write(place.0.path(), "site/index.html", "hello");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        write(self.0.path(), name, text);
    }

    fn command(&self) -> Command {
        let mut command = sitar(self.0.path());
        command.current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run_with(self.command().args(arguments), b"")
    }

    /// Writes a certificate of `own.test` and its key.
    fn certify(&self) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["own.test".to_owned()]).unwrap().self_signed(&key);
        self.write("chain.pem", certificate.unwrap().pem());
        self.write("key.pem", key.serialize_pem());
    }
}

/// A server whose output is read all the time.
struct Running {
    child: Child,
    said: Said,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Said::of(&mut child);
        Running { child, said }
    }

    /// Returns the events until now. Each line is one, or a record of the access log.
    fn events(&self) -> Vec<Value> {
        let lines = self.said.lines();
        let parsed =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let values: Vec<Value> = lines.lines().map(parsed).collect();
        for value in &values {
            let level = value["level"].as_str().unwrap_or_default();
            assert!(["error", "warn", "info"].contains(&level), "{value}");
            assert!(value["ts"].as_f64().is_some_and(|time| time > 1.7e9), "{value}");
            assert!(value["msg"].as_str().is_some_and(|text| !text.is_empty()), "{value}");
        }
        values
    }

    /// Waits for an event whose sentence begins with these words.
    fn event(&self, beginning: &str) -> Value {
        let mut found = None;
        eventually(beginning, || {
            let begins = |event: &Value| event["msg"].as_str().unwrap_or_default().starts_with(beginning);
            found = self.events().into_iter().find(begins);
            found.is_some()
        });
        found.unwrap()
    }

    /// Returns the addresses of the listeners of that kind.
    fn address(&self, role: &str) -> SocketAddr {
        let event = self.event("serving");
        let listeners = event["listeners"].as_array().unwrap();
        let mut addresses = listeners.iter().filter_map(|one| one.as_str()?.strip_suffix(role));
        addresses.next().unwrap().parse().unwrap()
    }

    fn stop(&mut self) -> ExitStatus {
        signal(self.child.id(), Signal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = socket(address).unwrap();
    // It may be closed before it has taken all of it.
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns the address of the report on standard output.
fn reported(child: &mut Child) -> SocketAddr {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut addresses = lines.filter_map(|line| Some(line.unwrap().strip_prefix("  listens  ")?.to_owned()));
    addresses.next().unwrap().parse().unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn every_line_of_a_life_is_json() {
    let place = Place::new();
    place.certify();
    let configure = |more: &str| {
        let text = format!(
            "[server]\nshards = 1\n[log]\nevents = \"json\"\naccess = \"stdout\"\n[admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[site]]\nhosts = [\"localhost\", \"own.test\"]\nroot = \"site\"\n\
             certificate = {{ chain = \"chain.pem\", key = \"key.pem\" }}\n{more}"
        );
        place.write("sitar.toml", text);
    };
    configure("");
    let mut command = place.command();
    let mut server =
        Running::start(command.args(["serve", "--config", "sitar.toml"]).env("SITAR_NONSENSE", "1"));

    let serving = server.event("serving");
    assert_eq!((&serving["level"], &serving["logger"]), (&json!("info"), &json!("sitar")), "{serving}");
    assert_eq!((&serving["sites"], &serving["shards"]), (&json!(1), &json!(1)), "{serving}");
    assert_eq!(
        (&serving["version"], &serving["pid"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(server.child.id()))
    );
    assert!(serving["engine"].is_string() && serving["ready_ms"].is_u64(), "{serving}");
    assert_eq!(server.event("the variable SITAR_NONSENSE means nothing")["level"], "warn");
    let address = server.address(" (http)");
    assert!(send(address, GET).starts_with("HTTP/1.1 200 "));
    assert_eq!(server.event("handled request")["logger"], "http.log.access");

    // A worker that is killed.
    let worker = children(server.child.id())[0];
    signal(worker, Signal::KILL);
    let ended =
        server.event(&format!("the worker {worker} has ended (signal: 9 (SIGKILL)); another one is started"));
    assert_eq!((&ended["level"], &ended["worker"]), (&json!("error"), &json!(worker)), "{ended}");
    eventually("another worker", || send(address, GET).starts_with("HTTP/1.1 200 "));

    // A reload that is refused, and one that is not.
    configure("rot = \"x\\ny\"\n");
    assert_eq!(place.run(&["reload", "--socket", "admin.sock"]).status.code(), Some(1));
    let refused = server.event("not reloaded, what was served still is");
    assert_eq!(refused["level"], "error", "{refused}");
    assert_eq!(refused["cause"], json!(["sitar.toml:17:1: unknown key 'rot' in [[site]]"]), "{refused}");
    assert_eq!(refused["hint"], json!(["did you mean 'root'?"]), "{refused}");
    configure("listing = true\n");
    place.run(&["reload", "--socket", "admin.sock"]).ok();
    let read = server.event("the configuration was read again");
    assert_eq!(read["changes"], json!(["localhost has other settings"]), "{read}");

    // Sites and certificates that change.
    place.write("site/new.html", "new");
    assert_eq!(server.event("the site has changed: 2 files now")["level"], "info");
    place.write("site/_redirects", "nothing here\n");
    assert_eq!(server.event("the site as it is now cannot be served")["level"], "error");
    place.certify();
    assert_eq!(server.event("certificate of own.test renewed")["level"], "info");

    assert!(server.stop().success());
    let stopped = server.event("stopped");
    assert_eq!(stopped["level"], "info", "{stopped}");
    assert!(stopped["accepted"].as_u64() >= Some(1) && stopped["worker"].is_u64(), "{stopped}");
}

#[test]
fn a_reload_changes_the_form() {
    let place = Place::new();
    let configure = |form: &str| {
        let text = format!(
            "[log]\nevents = \"{form}\"\n[admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n[[site]]\nroot = \"site\"\n"
        );
        place.write("sitar.toml", text);
        place.run(&["reload", "--socket", "admin.sock"])
    };
    configure("text");
    let mut server = Running::start(place.command().args(["serve", "--config", "sitar.toml"]));
    eventually("the report", || server.said.lines().contains(" info sitar: serving; "));
    configure("json").ok();
    let line = "\"msg\":\"the configuration was read again: the event log has another form\"";
    eventually("the form", || server.said.lines().contains(line));
    // The worker has it as well.
    place.write("site/new.html", "new");
    eventually("the change", || {
        server.said.lines().contains("\"msg\":\"the site has changed: 2 files now (")
    });
    configure("text").ok();
    let line = "Z info sitar: the configuration was read again: the event log has another form\n";
    eventually("the form", || server.said.lines().contains(line));
    assert!(server.stop().success());
    assert!(server.said.lines().ends_with("Z info sitar: stopped; no connection was accepted\n"));
}

/// Whether a line begins with a time of UTC, to the millisecond, and a level.
fn is_timed(line: &str, level: &str) -> bool {
    let shape: String = line.chars().map(|one| if one.is_ascii_digit() { '0' } else { one }).collect();
    shape.starts_with(&format!("0000-00-00T00:00:00.000Z {level} sitar: "))
}

#[test]
fn a_file_has_times_and_levels_and_the_journal_has_priorities() {
    let place = Place::new();
    place.write("site/_redirects", "/a /b 301\n");
    let told = |stream: &dyn Fn(&File) -> String| {
        let file = File::create(place.path("events")).unwrap();
        let mut command = place.command();
        command.args(["serve", "site", "--tls", "off", "--listen", "127.0.0.1:0"]);
        command.env("JOURNAL_STREAM", stream(&file)).env("SITAR_NONSENSE", "1");
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let text = || fs::read_to_string(place.path("events")).unwrap();
        assert!(send(reported(&mut child), GET).starts_with("HTTP/1.1 200 "));
        signal(child.id(), Signal::HUP);
        eventually("the change", || text().contains("the site was read again: 1 file now ("));
        signal(child.id(), Signal::TERM);
        assert!(child.wait().unwrap().success());
        text()
    };
    // Another stream is the journal's.
    let text = told(&|_| "1:1".to_owned());
    let lines: Vec<&str> = text.lines().collect();
    assert!(is_timed(lines[0], "warning"), "{text}");
    assert!(lines[1..].iter().all(|line| is_timed(line, "info")), "{text}");
    assert!(lines[1].contains(" info sitar: serving; sitar "), "{text}");
    assert!(lines.last().unwrap().contains(" info sitar: stopped; accepted 1"), "{text}");

    let text = told(&|file| {
        let about = file.metadata().unwrap();
        format!("{}:{}", about.dev(), about.ino())
    });
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("<4>sitar: warning: the variable SITAR_NONSENSE means nothing"), "{text}");
    assert!(lines[1].starts_with("<6>sitar: the site was read again"), "{text}");
    assert!(lines.last().unwrap().starts_with("<6>sitar: stopped; accepted 1"), "{text}");
}

#[test]
fn the_error_that_ends_a_start_has_a_priority_in_the_journal() {
    let place = Place::new();
    place.write("sitar.toml", "[server]\nshard = 1\n[[site]]\nroot = \"site\"\nrot = 1\n");
    let file = File::create(place.path("events")).unwrap();
    let about = file.metadata().unwrap();
    let mut command = place.command();
    command.args(["serve", "--config", "sitar.toml"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()));
    assert_eq!(command.stdout(Stdio::null()).stderr(file).status().unwrap().code(), Some(1));
    assert_eq!(
        fs::read_to_string(place.path("events")).unwrap(),
        "<3>sitar: error: sitar.toml:2:1: unknown key 'shard' in [server]; did you mean 'shards'?\n\
         <3>sitar: error: sitar.toml:5:1: unknown key 'rot' in [[site]]; did you mean 'root'?\n"
    );
}

#[test]
fn workers_know_the_journal() {
    let place = Place::new();
    place.write(
        "sitar.toml",
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n[[site]]\nroot = \"site\"\n",
    );
    let file = File::create(place.path("events")).unwrap();
    let about = file.metadata().unwrap();
    let mut command = place.command();
    command.args(["serve", "--config", "sitar.toml"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()));
    let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    let mut report = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut report).unwrap();
    signal(child.id(), Signal::TERM);
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(place.path("events")).unwrap();
    assert_eq!(text, "<6>sitar: stopped; no connection was accepted\n");
}

#[test]
fn the_error_that_ends_a_start_is_json_as_well() {
    let place = Place::new();
    let ended = place.run(&["serve", "none.tar", "--log-events", "json"]);
    assert_eq!((ended.status.code(), ended.text()), (Some(1), String::new()));
    let event: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(event["level"], "error", "{event}");
    assert!(event["msg"].as_str().unwrap().contains("none.tar"), "{event}");

    // Also where the file has mistakes.
    place.write(
        "sitar.toml",
        "[log]\nevents = \"json\"\n[server]\nshard = 1\n[[site]]\nroot = \"a\"\nrot = 1\n",
    );
    let ended = place.run(&["serve", "--config", "sitar.toml"]);
    assert_eq!((ended.status.code(), ended.text()), (Some(1), String::new()));
    let events: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |event: &Value| (event["level"].clone(), event["msg"].clone(), event["hint"].clone());
    let all: Vec<_> = events.iter().map(told).collect();
    assert_eq!(
        all,
        [
            (
                json!("error"),
                json!("sitar.toml:4:1: unknown key 'shard' in [server]"),
                json!(["did you mean 'shards'?"])
            ),
            (
                json!("error"),
                json!("sitar.toml:7:1: unknown key 'rot' in [[site]]"),
                json!(["did you mean 'root'?"])
            ),
        ]
    );
}

#[test]
fn connections_that_are_refused_are_told_of_once_a_minute_and_counted() {
    let (place, since) = (Place::new(), Instant::now());
    let mut command = place.command();
    command.args(["serve", "site", "--shards", "2", "--log-events", "json", "--listen", "127.0.0.1:0"]);
    let mut server = Running::start(&mut command);
    let address = server.address("");
    for _ in 0..200 {
        send(address, b"\x16\x03\x01\x00\x05hello");
    }
    send(address, GET);
    for (kind, most, words) in [
        (
            "tls",
            200,
            ["1 connection was ended: its client broke", "connections were ended: their clients broke"],
        ),
        ("http", 1, ["1 connection was ended: its request could", ""]),
    ] {
        let mut first = Value::Null;
        eventually(kind, || {
            first = server.events().into_iter().find(|event| event["kind"] == kind).unwrap_or_default();
            first.is_object()
        });
        let count = first["count"].as_u64().unwrap();
        assert!((1..=most).contains(&count), "{first}");
        assert_eq!(first["level"], "info", "{first}");
        let words = if count == 1 { words[0] } else { words[1] };
        assert!(first["msg"].as_str().unwrap().contains(words), "{first}");
    }
    assert!(server.stop().success());
    let events = server.events();
    // On a busy machine, it may have lasted longer than a minute.
    let most = 2 + 2 * usize::try_from(since.elapsed().as_secs() / 60).unwrap();
    let count = events.iter().filter(|event| event["kind"].is_string()).count();
    assert!((2..=most).contains(&count), "{events:?}");
    assert_eq!(server.event("stopped")["peer_faults"], 201);
}

#[test]
fn a_reader_that_does_not_read_stops_nothing() {
    let place = Place::new();
    let (mut unread, mut standard_error) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&standard_error, true).unwrap();
    let mut filled = 0;
    while let Ok(count) = standard_error.write(&[b'x'; 4096]) {
        filled += count;
    }
    rustix::io::ioctl_fionbio(&standard_error, false).unwrap();
    let mut command = place.command();
    command.args(["serve", "site", "--tls", "off", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(standard_error).spawn().unwrap();
    drop(command);
    let pid = child.id();
    // The report comes after the first event, which was dropped.
    let address = reported(&mut child);
    for _ in 0..10 {
        signal(pid, Signal::USR1);
        assert!(send(address, GET).starts_with("HTTP/1.1 200 "));
    }
    // The number of those that were missed comes when there is a reader again.
    let mut filling = vec![0; filled];
    unread.read_exact(&mut filling).unwrap();
    signal(pid, Signal::TERM);
    assert!(child.wait().unwrap().success());
    let mut text = String::new();
    unread.read_to_string(&mut text).unwrap();
    assert!(text.contains(" info sitar: stopped; accepted "), "{text}");
    assert!(text.contains(" events before this one are missing: "), "{text}");
    assert!(text.lines().all(|line| is_timed(line, "info") || is_timed(line, "warning")), "{text}");
}

#[test]
fn a_terminal_that_is_stopped_holds_up_no_stop() {
    if !have(&["python3"]) {
        return skip("python3 is not there");
    }
    let place = Place::new();
    // More than sockets hold.
    place.write("site/large.bin", pattern(16 << 20));
    let command = place.command();
    let mut python = Command::new("python3");
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    python.arg("-c").arg(include_str!("events/stopped_terminal.py")).arg(command.get_program());
    assert_eq!(run_with(python.arg(place.path("site")), b"").ok().text(), "ended\n");
}
