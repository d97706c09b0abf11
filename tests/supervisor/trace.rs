//! `sitar trace` beside a known load.

use super::place::{NAME, Place, Service};
use crate::common::client::socket;
use crate::common::{eventually, h2, run_with, signal, sitar};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Two sites on one shard.
fn place() -> Place {
    let place = Place::new();
    place.write("other/name.txt", NAME);
    place.configure("hosts = \"a.test\"\n[[site]]\nhosts = \"b.test\"\nroot = \"other\"\n");
    one_shard(&place);
    place
}

fn one_shard(place: &Place) {
    let file = std::fs::read_to_string(place.path("sitar.toml")).unwrap();
    place.write("sitar.toml", file.replace("shards = 2", "shards = 1"));
}

/// A trace that has begun, as its client sees it.
struct Trace {
    lines: BufReader<UnixStream>,
    first: Value,
}

impl Trace {
    /// Asks for one, and waits until it has begun.
    fn begin(service: &Service, spec: &Value) -> Trace {
        let mut socket = UnixStream::connect(service.place.path("admin.sock")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.write_all(format!("trace {spec}\n").as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        let first = line(&mut lines).expect("the first line");
        assert!(first.get("error").is_none(), "{first}");
        Trace { lines, first }
    }

    /// Reads to the end. Returns the records, and what the last line says.
    fn read(mut self) -> (Vec<Value>, Value) {
        let mut all = Vec::new();
        while let Some(value) = line(&mut self.lines) {
            all.push(value);
        }
        let last = all.pop().expect("the last line");
        assert_eq!((&last["schema"], &last["version"]), (&self.first["schema"], &self.first["version"]));
        (all, last["end"].clone())
    }
}

fn line(lines: &mut BufReader<UnixStream>) -> Option<Value> {
    let mut text = String::new();
    (lines.read_line(&mut text).unwrap() > 0).then(|| serde_json::from_str(&text).unwrap())
}

/// Returns the hosts, paths and statuses of records.
fn shown(records: &[Value]) -> Vec<String> {
    let one = |record: &Value| {
        let request = &record["request"];
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        format!("{} {}{} {}", record["status"], text("host"), text("uri"), text("proto"))
    };
    records.iter().map(one).collect()
}

/// Asks for files of both sites, over HTTP/1.1, one after the other.
fn load(service: &Service) {
    for number in 1..=3 {
        assert_eq!(service.get("a.test", &format!("/name.txt?{number}")).0, 200);
        assert_eq!(service.get("b.test", &format!("/name.txt?{number}")).0, 200);
    }
    assert_eq!(service.get("a.test", "/nothing").0, 404);
    assert_eq!(service.get("B.test:80", "/nothing/here").0, 404);
}

const FOREVER: u64 = 3_600_000;

#[test]
fn the_answers_that_match_are_shown_and_no_others() {
    let mut service = place().start();
    let all = |spec: Value| {
        let trace = Trace::begin(&service, &spec);
        load(&service);
        trace.read()
    };
    let (a, b) = ("200 a.test/name.txt", "200 b.test/name.txt");
    let http1 = |lines: &[(&str, &str)]| -> Vec<String> {
        lines.iter().map(|(begin, end)| format!("{begin}{end} HTTP/1.1")).collect()
    };
    let (records, end) = all(json!({ "host": "a.test", "count": 4, "milliseconds": FOREVER }));
    let expected = http1(&[(a, "?1"), (a, "?2"), (a, "?3"), ("404 a.test/nothing", "")]);
    assert_eq!(shown(&records), expected);
    assert_eq!((&end["why"], &end["matched"], &end["written"]), (&json!("count"), &json!(4), &json!(4)));
    // By the name of the site, however a client writes it.
    let (records, _) = all(json!({ "host": "b.test", "status": "4xx", "count": 1 }));
    assert_eq!(shown(&records), http1(&[("404 B.test:80/nothing/here", "")]));
    let (records, _) = all(json!({ "path": "/noth*", "count": 2 }));
    let expected = http1(&[("404 a.test/nothing", ""), ("404 B.test:80/nothing/here", "")]);
    assert_eq!(shown(&records), expected);
    // It ends by itself.
    let (records, end) = Trace::begin(&service, &json!({ "milliseconds": 200 })).read();
    let expected = json!({
        "why": "duration", "matched": 0, "sampled": 0, "written": 0, "dropped": 0, "left_out": 0, "unfinished": 0,
    });
    assert_eq!((records, end), (Vec::new(), expected));
    assert_eq!(service.ask("numbers")["log_records"]["dropped"], 0);
    // Each third of the eight, over both sites, and all of them are counted.
    let trace = Trace::begin(&service, &json!({ "sample": 3, "milliseconds": FOREVER }));
    load(&service);
    service.server.terminate();
    assert!(service.server.wait().success());
    let (records, end) = trace.read();
    assert_eq!(shown(&records), http1(&[(a, "?2"), (b, "?3")]));
    let expected = json!({
        "why": "stopped", "matched": 8, "sampled": 2, "written": 2, "dropped": 0, "left_out": 0, "unfinished": 0,
    });
    assert_eq!(end, expected);
    // No site has a log: addresses are truncated.
    let client = |record: &Value| record["request"]["client_ip"].as_str().unwrap().to_owned();
    assert!(records.iter().all(|record| client(record).ends_with(".0")), "{records:?}");
}

#[test]
fn answers_of_http2_are_sampled_beside_a_log_that_has_all() {
    let place = place();
    let file = std::fs::read_to_string(place.path("sitar.toml")).unwrap();
    place.write("sitar.toml", format!("{file}[log]\naccess = \"./a.log\"\n"));
    let service = place.start();
    let trace = Trace::begin(&service, &json!({ "host": "b.test", "sample": 2, "count": 2 }));
    let mut client = h2::Client::plain(service.http, h2::WINDOW_MAX).unwrap();
    for (host, path) in
        [("a.test", "/name.txt"), ("b.test", "/1"), ("b.test", "/2"), ("b.test", "/3"), ("b.test", "/4")]
    {
        let (stream, request) = client.ask_for(&[(":method", "GET"), (":authority", host), (":path", path)]);
        client.send(&request).unwrap();
        assert!(client.answers(&[stream]).unwrap().contains_key(&stream));
    }
    let (records, end) = trace.read();
    assert_eq!(shown(&records), ["404 b.test/2 HTTP/2.0", "404 b.test/4 HTTP/2.0"]);
    assert_eq!((&end["why"], &end["matched"], &end["sampled"]), (&json!("count"), &json!(4), &json!(2)));
    let lines = || std::fs::read_to_string(service.place.path("a.log")).unwrap();
    eventually("all five in the log", || lines().lines().count() == 5);
    // The log says whole addresses, so the trace does.
    let logged: Vec<Value> = lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records, [logged[2].clone(), logged[4].clone()]);
    eventually("five are counted", || service.ask("numbers")["log_records"]["written"] == 5);
}

#[test]
fn a_trace_goes_on_over_a_reload_and_ends_with_the_server() {
    let mut service = place().start();
    let trace = Trace::begin(&service, &json!({ "host": "c.test", "milliseconds": FOREVER }));
    assert_eq!(service.get("c.test", "/1").0, 404);
    // The name of a site from now on.
    service.place.configure("hosts = \"c.test\"\n[log]\naccess = \"./a.log\"\naddresses = \"none\"\n");
    one_shard(&service.place);
    service.reload();
    assert_eq!(service.get("www.test", "/2").0, 404);
    service.server.terminate();
    assert!(service.server.wait().success());
    let (records, end) = trace.read();
    assert_eq!(shown(&records), ["404 c.test/1 HTTP/1.1", "404 www.test/2 HTTP/1.1"]);
    assert_eq!((&end["why"], &end["matched"]), (&json!("stopped"), &json!(2)));
    assert_eq!(records[1]["request"]["client_ip"], "");
}

#[test]
fn four_traces_run_at_a_time_and_places_are_given_back() {
    let service = place().start();
    let long = json!({ "milliseconds": FOREVER });
    let mut traces: Vec<Trace> = (0..4).map(|_| Trace::begin(&service, &long)).collect();
    let refused = || service.ask(&format!("trace {long}"));
    assert_eq!(refused()["error"], "4 traces run already, and that is the most at a time");
    // Of a client that goes away nothing stays.
    traces.pop();
    let begun = || {
        let mut socket = UnixStream::connect(service.place.path("admin.sock")).unwrap();
        socket.write_all(format!("trace {long}\n").as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        line_of_any(&mut lines).contains("\"limits\"").then_some(lines)
    };
    let mut again = None;
    eventually("a place for another", || {
        again = begun();
        again.is_some()
    });
    assert_eq!(service.get("a.test", "/name.txt").0, 200);
    assert_eq!(shown(&[line(&mut again.unwrap()).unwrap()]), ["200 a.test/name.txt HTTP/1.1"]);
}

fn line_of_any(lines: &mut BufReader<UnixStream>) -> String {
    let mut text = String::new();
    lines.read_line(&mut text).unwrap();
    text
}

#[test]
fn what_cannot_be_traced_is_refused_and_nothing_begins() {
    let service = place().start();
    for (spec, why) in [
        ("{\"status\":\"teapot\"}", "a status is a number such as 404, or a class such as 5xx"),
        ("{\"user\":\"a\"}", "this version knows no 'user' of a trace"),
        ("x", "what to trace is no JSON"),
    ] {
        assert_eq!(service.ask(&format!("trace {spec}"))["error"], why, "{spec}");
    }
    let traces: Vec<Trace> = (0..4).map(|_| Trace::begin(&service, &json!({ "count": 1 }))).collect();
    assert_eq!(service.get("a.test", "/name.txt").0, 200);
    traces.into_iter().for_each(|trace| assert_eq!(trace.read().0.len(), 1));
}

/// A client that reads nothing: records are dropped and counted, the server goes on, and the trace
/// ends.
#[test]
fn a_reader_that_stops_reading_costs_nothing() {
    let service = place().start();
    let trace = Trace::begin(&service, &json!({ "milliseconds": FOREVER }));
    let long = "x".repeat(7000);
    let worker = service.worker();
    let mut asked = 0;
    // More than a socket and the buffer behind it take.
    while asked < 400 {
        let mut stream = socket(service.http).unwrap();
        let head = format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        for _ in 0..50 {
            stream.write_all(head.as_bytes()).unwrap();
            read_answer(&mut stream);
            asked += 1;
        }
    }
    // It ends by itself although nothing is read, and another can begin: all four places are free.
    let mut traces = Vec::new();
    eventually("the end of the trace", || {
        let mut socket = UnixStream::connect(service.place.path("admin.sock")).unwrap();
        socket.write_all(b"trace {\"milliseconds\":3600000}\n").unwrap();
        let mut lines = BufReader::new(socket);
        if line_of_any(&mut lines).contains("\"limits\"") {
            traces.push(lines);
        }
        traces.len() == 4
    });
    assert_eq!(service.worker(), worker);
    assert_eq!(service.status()["worker"]["refused"], Value::Null, "the sandbox refused something");
    let mut shown = 0;
    let mut last = String::new();
    let mut lines = trace.lines;
    loop {
        let text = line_of_any(&mut lines);
        // The end may be torn: there was no room for it.
        if text.is_empty() || !text.ends_with('\n') {
            break;
        }
        shown += 1;
        last = text;
    }
    assert!(shown > 0 && shown < asked, "{shown} of {asked}: {last}");
}

fn read_answer(stream: &mut std::net::TcpStream) {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server has closed the connection");
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if body.len() >= length.unwrap() {
            return;
        }
    }
}

/// The subcommand, which runs while a load is made.
fn sitar_trace(service: &Service, args: &[&str]) -> Child {
    let mut command = sitar(Path::new("/"));
    command.arg("trace").args(args).arg("--socket").arg(service.place.path("admin.sock"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the subcommand says that it has begun.
fn begun(child: &mut Child) -> BufReader<std::process::ChildStderr> {
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert!(first.starts_with("sitar: answers"), "{first}");
    said
}

#[test]
fn the_command_shows_lines_for_people_and_for_programs() {
    let service = place().start();
    let mut child =
        sitar_trace(&service, &["--host", "A.test", "--status", "2XX", "--count", "2", "--duration", "1h"]);
    let mut said = begun(&mut child);
    load(&service);
    let shown = child.wait_with_output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    let expected = [" HTTP/1.1 GET  a.test/name.txt?1", " HTTP/1.1 GET  a.test/name.txt?2"];
    assert_eq!(text.lines().count(), 2, "{text}");
    for (line, end) in text.lines().zip(expected) {
        assert!(line.ends_with(end) && line[12..].starts_with(" 200 "), "{line}");
    }
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("sitar: these are all that were asked for: "), "{rest}");

    let child = sitar_trace(&service, &["--json", "--count", "1"]);
    let done = std::thread::scope(|scope| {
        let child = scope.spawn(|| child.wait_with_output().unwrap());
        eventually("a record", || {
            assert_eq!(service.get("a.test", "/name.txt").0, 200);
            child.is_finished()
        });
        child.join().unwrap()
    });
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let lines: Vec<Value> = String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["trace"], &lines[0]["limits"]["shards"]), (&json!({ "sample": 1 }), &json!(1)));
    assert_eq!((&lines[1]["status"], &lines[2]["end"]["why"]), (&json!(200), &json!("count")));
}

#[test]
fn the_command_ends_with_a_signal_with_its_reader_and_with_the_worker() {
    let service = place().start();
    // Ctrl-C.
    let mut child = sitar_trace(&service, &["--duration", "1h"]);
    let mut said = begun(&mut child);
    signal(child.id(), Signal::INT);
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "sitar: ended here: 0 records shown\n");
    // Its reader, as `head` is one, goes before anything comes.
    let mut child = sitar_trace(&service, &["--duration", "1h"]);
    let _said = begun(&mut child);
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    // Another worker takes over after an accident.
    let mut child = sitar_trace(&service, &["--duration", "1h"]);
    let mut said = begun(&mut child);
    signal(service.worker().unwrap(), Signal::KILL);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("broke off\n  cause: the server or its worker has ended, or hangs\n"), "{rest}");
}

/// A server that is older does not know the request.
#[test]
fn an_older_server_and_none_are_told_apart() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("old.sock");
    let run = |args: &[&str]| {
        let mut command = sitar(home.path());
        run_with(command.arg("trace").args(args).arg("--socket").arg(&path), b"")
    };
    let none = run(&[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stderr.starts_with("error: no sitar answers at "), "{none:?}");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let serve = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(client.try_clone().unwrap()).read_line(&mut request).unwrap();
        let old = "{\n  \"error\": \"unknown request 'trace {}'\",\n  \"schema\": 1,\n  \"version\": \"0.0.9\"\n}\n";
        client.write_all(old.as_bytes()).unwrap();
        request
    });
    let old = run(&["--count", "3"]);
    assert_eq!(serve.join().unwrap(), "trace {\"count\":3,\"milliseconds\":10000,\"sample\":1}\n");
    assert_eq!(old.status.code(), Some(1));
    let why = " cannot trace\n  cause: that one is version 0.0.9, which knows no traces\n";
    assert!(old.stderr.contains(why), "{old:?}");
    // And what is wrong is said before anything is asked.
    for wrong in [&["--status", "6xx"][..], &["--sample", "0"], &["--duration", "2h"], &["--host", "a:1"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
