//! `/metrics`, `/healthz` and `/readyz`: what they say after requests, a reload, the end of a
//! worker and an upgrade.

use super::place::{NAME, Place, Service};
use crate::common::client::{Client, socket};
use crate::common::{eventually, h2, have, run_with, signal, sitar, skip};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Requests with other paths, and with other hosts.
const DIFFERENT: usize = 100_000;
/// Those that are sent together.
const TOGETHER: usize = 100;

/// Serves two sites, and `more`.
fn start(more: &str) -> Service {
    let place = Place::new();
    configure(&place, more);
    place.start()
}

fn configure(place: &Place, more: &str) {
    place.write(
        "sitar.toml",
        format!(
            "[server]\nshards = 2\nidle_seconds = 600\nstop_seconds = 600\n\
             certificate = {{ chain = \"certificate.pem\", key = \"certificate.key\" }}\n\
             [admin]\nsocket = \"admin.sock\"\nlisten = \"unix:metrics.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n\
             [[site]]\nhosts = \"a.test\"\nroot = \"site\"\n{more}"
        ),
    );
}

const SECOND: &str = "[[site]]\nhosts = [\"b.test\", \"www.b.test\"]\nroot = \"site\"\n";

/// Sends a request to the listener of the numbers, and returns the head and the body of the answer.
fn ask(service: &Service, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(service.place.path("metrics.sock")).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Returns the status and the body of what is at a path.
fn get(service: &Service, path: &str) -> (u16, String) {
    let (head, body) = ask(service, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body)
}

fn openmetrics(service: &Service) -> String {
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let (head, body) = ask(service, &format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n\r\n"));
    let media_type = "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(media_type), "{head}");
    body
}

/// Returns each series with its value.
pub(super) fn series(service: &Service) -> BTreeMap<String, u64> {
    let (status, text) = get(service, "/metrics");
    assert_eq!(status, 200, "{text}");
    // All others are whole numbers.
    let is_sum = |line: &str| line.starts_with("sitar_http_request_duration_seconds_sum ");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !is_sum(line));
    let series = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    series.collect()
}

/// Returns the series of a metric as they are written.
fn of(service: &Service, metric: &str) -> Vec<String> {
    let start = format!("{metric}{{");
    let series = series(service).into_iter().filter(|(name, _)| name.starts_with(&start));
    series.map(|(name, value)| format!("{} {value}", &name[metric.len()..])).collect()
}

/// Sends a head over plain HTTP on a connection of its own, and reads to the end.
fn plain(service: &Service, head: &str) -> usize {
    let mut stream = socket(service.http).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.len()
}

/// A request for a host's file.
fn head(method: &str, host: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n")
}

/// Asks once in each way. Returns the bytes of content for no site, the first and the second.
fn ask_in_each_way(service: &Service) -> [usize; 3] {
    let mut bytes = [0; 3];
    for (site, request) in [
        (1, head("GET", "a.test", "/name.txt", "")),
        (1, head("GET", "a.test", "/name.txt", "")),
        (1, head("HEAD", "a.test", "/name.txt", "")),
        (1, "GET /name.txt HTTP/1.0\r\nHost: a.test\r\n\r\n".to_owned()),
        (1, head("GET", "a.test", "/nothing", "")),
        (1, head("GET", "a.test", "/name.txt", "If-None-Match: *\r\n")),
        (1, head("POST", "a.test", "/name.txt", "Content-Length: 0\r\n")),
        (2, head("GET", "www.b.test", "/name.txt", "")),
        (2, head("GET", "www.b.test", "/name.txt", "Range: bytes=0-2\r\n")),
        (0, head("GET", "c.test", "/name.txt", "")),
        (0, "GET /\u{1} HTTP/1.1\r\n\r\n".to_owned()),
    ] {
        bytes[site] += plain(service, &request);
    }
    // This connection is for a host that its certificate does not let speak for the others.
    let name = ServerName::try_from("pass.test").unwrap();
    let config = service.clients(b"http/1.1");
    let mut client = Client::over_as(&config, socket(service.https()).unwrap(), name).unwrap();
    client.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let answer = client.response(false).unwrap();
    assert_eq!(answer.status, 421);
    bytes[0] += answer.body.len();
    let mut client = h2::Client::open(&service.clients(b"h2"), service.https(), 1 << 20).unwrap();
    for (method, path) in [("GET", "/name.txt"), ("GET", "/nothing"), ("HEAD", "/name.txt")] {
        let fields = [(":method", method), (":path", path), (":authority", "b.test")];
        let (stream, request) = client.ask_for(&fields);
        client.send(&request).unwrap();
        bytes[2] += client.answers(&[stream]).unwrap()[&stream].body.len();
    }
    bytes
}

const IN_EACH_WAY: [&str; 14] = [
    "{site=\"\",code=\"400\",method=\"other\",proto=\"1.1\"} 1",
    "{site=\"\",code=\"404\",method=\"get\",proto=\"1.1\"} 1",
    "{site=\"\",code=\"421\",method=\"get\",proto=\"1.1\"} 1",
    "{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.0\"} 1",
    "{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.1\"} 2",
    "{site=\"a.test\",code=\"200\",method=\"head\",proto=\"1.1\"} 1",
    "{site=\"a.test\",code=\"304\",method=\"get\",proto=\"1.1\"} 1",
    "{site=\"a.test\",code=\"404\",method=\"get\",proto=\"1.1\"} 1",
    "{site=\"a.test\",code=\"405\",method=\"other\",proto=\"1.1\"} 1",
    "{site=\"b.test\",code=\"200\",method=\"get\",proto=\"1.1\"} 1",
    "{site=\"b.test\",code=\"200\",method=\"get\",proto=\"2\"} 1",
    "{site=\"b.test\",code=\"200\",method=\"head\",proto=\"2\"} 1",
    "{site=\"b.test\",code=\"206\",method=\"get\",proto=\"1.1\"} 1",
    "{site=\"b.test\",code=\"404\",method=\"get\",proto=\"2\"} 1",
];

#[test]
fn each_answer_is_counted_as_what_it_is() {
    let service = start(SECOND);
    assert_eq!(get(&service, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&service, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(of(&service, "sitar_http_requests_total"), [""; 0]);
    let [none, first, second] = ask_in_each_way(&service);
    assert_eq!(of(&service, "sitar_http_requests_total"), IN_EACH_WAY);
    assert_eq!(
        of(&service, "sitar_http_response_bytes_total"),
        [
            format!("{{site=\"\"}} {none}"),
            format!("{{site=\"a.test\"}} {first}"),
            format!("{{site=\"b.test\"}} {second}"),
        ]
    );
    // HEAD and 304 have none, and what is not found has a line of text.
    assert_eq!(first, 3 * NAME.len() + "404 Not Found\n".len() + "405 Method Not Allowed\n".len());
    let handshakes = of(&service, "sitar_tls_handshakes_total");
    assert!(handshakes.contains(&"{version=\"1.3\",resumed=\"false\"} 2".to_owned()), "{handshakes:?}");
    // Some are timed at the end of a turn, when their clients have them already.
    eventually("the durations of all answers", || {
        let (series, name) = (series(&service), "sitar_http_request_duration_seconds");
        series[&format!("{name}_count")] == 15 && series[&format!("{name}_bucket{{le=\"+Inf\"}}")] == 15
    });
    let series = series(&service);
    assert_eq!(series["sitar_connections_accepted_total"], 13);
    assert_eq!(series["sitar_worker_up"], 1);
    assert_eq!(series["sitar_reload_success"], 1);
    let site = series.iter().find(|(name, _)| name.starts_with("sitar_site_info{site=\"a.test\",release=\""));
    assert_eq!(*site.unwrap().1, 1);
    let expiry =
        series.iter().find(|(name, _)| name.starts_with("sitar_certificate_expiry_timestamp_seconds{"));
    assert!(*expiry.unwrap().1 > series["process_start_time_seconds"]);
    eventually("the ends of all connections", || of(&service, "sitar_connections") == ["{state=\"open\"} 0"]);
}

#[test]
fn what_is_shown_is_read_by_the_tools() {
    let service = start(SECOND);
    ask_in_each_way(&service);
    let (_, text) = get(&service, "/metrics");
    let open = openmetrics(&service);
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"));
    if have(&["promtool"]) {
        let checked = run_with(Command::new("promtool").args(["check", "metrics"]), text.as_bytes());
        assert!(checked.status.success(), "{checked:?}\n{text}");
        assert_eq!((checked.text(), &*checked.stderr), (String::new(), ""), "{text}");
    } else {
        skip("promtool is not there");
    }
    let module = "/usr/lib/python3/dist-packages/prometheus_client";
    if !Path::new(module).exists() || !have(&["python3"]) {
        return skip("prometheus_client of Python is not there");
    }
    for (parser, text) in [("prometheus_client.openmetrics", &open), ("prometheus_client", &text)] {
        let script = format!(
            "import sys\nfrom {parser}.parser import text_string_to_metric_families as read\n\
             for family in read(sys.stdin.read()):\n    print(family.name, family.type, len(family.samples))"
        );
        let mut python = Command::new("/usr/bin/python3");
        let families = run_with(python.args(["-c", &script]), text.as_bytes()).ok().text();
        let requests = format!("sitar_http_requests counter {}\n", IN_EACH_WAY.len());
        assert!(families.contains(&requests), "{families}");
        assert!(families.contains("sitar_memory_bytes gauge 2\n"), "{families}");
        let durations = "sitar_http_request_duration_seconds histogram 19\n";
        assert!(families.contains(durations), "{families}");
    }
}

#[test]
fn clients_do_not_choose_how_many_series_there_are() {
    let service = start(SECOND);
    ask_in_each_way(&service);
    let names = |service: &Service| series(service).into_keys().collect::<BTreeSet<String>>();
    let before = names(&service);
    let mut stream = socket(service.http).unwrap();
    for turn in 0..DIFFERENT / TOGETHER {
        let request = |number| format!("GET /{turn}/{number} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let text: String = (0..TOGETHER).map(request).collect();
        stream.write_all(text.as_bytes()).unwrap();
        // All that has come, or a body that comes in two parts would not be seen.
        let mut come = Vec::new();
        let bodies = |come: &[u8]| {
            come.split_inclusive(|byte| *byte == b'\n').filter(|line| *line == b"404 Not Found\n").count()
        };
        while bodies(&come) < TOGETHER {
            let mut room = [0; 64 << 10];
            let len = stream.read(&mut room).unwrap();
            assert_ne!(len, 0);
            come.extend_from_slice(&room[..len]);
        }
    }
    let mut client = h2::Client::plain(service.http, h2::WINDOW_MAX).unwrap();
    for turn in 0..DIFFERENT / TOGETHER {
        let (mut text, mut streams) = (Vec::new(), Vec::new());
        for number in 0..TOGETHER {
            let host = format!("{turn}.{number}.test");
            let (stream, request) =
                client.ask_for(&[(":method", "GET"), (":path", "/"), (":authority", &host)]);
            text.extend(request);
            streams.push(stream);
        }
        client.send(&text).unwrap();
        client.answers(&streams).unwrap();
    }
    let mut expected = before;
    expected
        .insert("sitar_http_requests_total{site=\"\",code=\"404\",method=\"get\",proto=\"2\"}".to_owned());
    assert_eq!(names(&service), expected);
    let series = series(&service);
    let count = |labels: &str| series[&format!("sitar_http_requests_total{{{labels}}}")];
    assert_eq!(count("site=\"\",code=\"404\",method=\"get\",proto=\"2\""), DIFFERENT as u64);
    assert_eq!(count("site=\"a.test\",code=\"404\",method=\"get\",proto=\"1.1\""), 1 + DIFFERENT as u64);
}

#[test]
fn a_reload_and_the_end_of_a_worker_do_not_take_back_what_was_counted() {
    let service = start(SECOND);
    let answers = |site: &str, code: u16| {
        let name = format!(
            "sitar_http_requests_total{{site=\"{site}\",code=\"{code}\",method=\"get\",proto=\"1.1\"}}"
        );
        series(&service).get(&name).copied().unwrap_or_default()
    };
    for _ in 0..3 {
        plain(&service, &head("GET", "a.test", "/name.txt", ""));
    }
    plain(&service, &head("GET", "b.test", "/name.txt", ""));
    assert_eq!((answers("a.test", 200), answers("b.test", 200)), (3, 1));
    // The first is at another place, and the second is gone.
    configure(&service.place, "[[site]]\nhosts = \"0.test\"\nroot = \"site\"\n");
    service.reload();
    plain(&service, &head("GET", "a.test", "/name.txt", ""));
    plain(&service, &head("GET", "b.test", "/name.txt", ""));
    plain(&service, &head("GET", "0.test", "/name.txt", ""));
    assert_eq!((answers("a.test", 200), answers("b.test", 200), answers("", 404)), (4, 1, 1));
    assert_eq!(answers("0.test", 200), 1);
    assert_eq!(series(&service)["sitar_reload_success"], 1);
    configure(&service.place, "nonsense = true\n");
    assert_eq!(service.ask("reload")["reload"]["ok"], false);
    assert_eq!(series(&service)["sitar_reload_success"], 0);
    // What a worker has told that is killed is known.
    let worker = service.worker().unwrap();
    signal(worker, Signal::KILL);
    eventually("another worker", || service.worker().is_some_and(|next| next != worker));
    eventually("another worker that serves", || get(&service, "/readyz").0 == 200);
    plain(&service, &head("GET", "a.test", "/name.txt", ""));
    assert_eq!((answers("a.test", 200), answers("0.test", 200)), (5, 1));
    assert_eq!(series(&service)["sitar_worker_restarts_total"], 1);
}

#[test]
fn the_release_of_a_site_is_the_one_that_is_served() {
    let place = Place::new();
    configure(&place, "");
    // What packs a site asks for its version.
    let text = std::fs::read_to_string(place.path("sitar.toml")).unwrap();
    place.write("sitar.toml", text.replace("[server]\n", "[server]\ncompress = false\n"));
    let service = place.start();
    let release = || {
        let shown = of(&service, "sitar_site_info");
        assert_eq!(shown.len(), 1, "{shown:?}");
        shown.into_iter().next()
    };
    let first = release();
    assert_eq!(release(), first);
    service.place.write("site/another.txt", "another");
    // Nothing else has asked what is served.
    eventually("another release", || release() != first);
}

#[test]
fn a_worker_that_leaves_tells_what_it_has_counted() {
    let service = start("");
    for _ in 0..3 {
        plain(&service, &head("GET", "a.test", "/name.txt", ""));
    }
    // Nothing has asked the first worker. The second site is out of its sandbox's reach.
    let worker = service.worker().unwrap();
    service.place.write("other/name.txt", "another");
    configure(&service.place, "[[site]]\nhosts = \"b.test\"\nroot = \"other\"\n");
    service.reload();
    eventually("the end of the first worker", || service.place.processes().len() == 2);
    assert_ne!(service.worker(), Some(worker));
    plain(&service, &head("GET", "a.test", "/name.txt", ""));
    plain(&service, &head("GET", "b.test", "/name.txt", ""));
    assert_eq!(
        of(&service, "sitar_http_requests_total"),
        [
            "{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.1\"} 4",
            "{site=\"b.test\",code=\"200\",method=\"get\",proto=\"1.1\"} 1",
        ]
    );
    let series = series(&service);
    assert_eq!(series["sitar_connections_accepted_total"], 5);
    assert_eq!(series["sitar_worker_restarts_total"], 0);
    assert_eq!(series["sitar_connections_closed_total{reason=\"own_faults\"}"], 0);
}

#[test]
fn an_address_that_others_reach_is_warned_of_and_a_reload_does_not_change_it() {
    let service = start("");
    let file = service.place.path("sitar.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("unix:metrics.sock", "0.0.0.0:0")).unwrap();
    let checked = run_with(sitar(&service.place.path("")).args(["config", "check"]).arg(&file), b"");
    let said = format!("{}{}", checked.text(), checked.stderr);
    assert!(said.contains("everyone who can reach 0.0.0.0:0 can read the numbers there"), "{said}");
    let answer = service.ask("reload");
    assert_eq!(answer["reload"]["ok"], false, "{answer}");
    assert!(answer.to_string().contains("the address of the numbers cannot be changed"), "{answer}");
    assert_eq!(get(&service, "/readyz").0, 200);
}

#[test]
fn a_worker_that_hangs_holds_up_nothing() {
    let service = start("");
    plain(&service, &head("GET", "a.test", "/name.txt", ""));
    let name = "sitar_http_requests_total{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.1\"}";
    assert_eq!(series(&service)[name], 1);
    let worker = service.worker().unwrap();
    signal(worker, Signal::STOP);
    let shown = series(&service);
    let others = (get(&service, "/healthz"), series(&service)["sitar_worker_up"]);
    signal(worker, Signal::CONT);
    assert_eq!((shown["sitar_worker_up"], shown[name]), (0, 1));
    assert_eq!(others, ((200, "ok\n".to_owned()), 0));
    eventually("its numbers", || series(&service)["sitar_worker_up"] == 1);
}

#[test]
fn a_drain_is_seen_by_those_who_send_clients() {
    let service = start("");
    // Holds the drain.
    let mut idle = service.connect();
    idle.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    idle.response(false).unwrap();
    service.ask("drain");
    let why = "the server drains or stops\n".to_owned();
    assert_eq!(get(&service, "/readyz"), (503, why));
    assert_eq!(get(&service, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(of(&service, "sitar_connections"), ["{state=\"open\"} 1"]);
}

#[test]
fn a_worker_that_a_drain_ends_is_no_accident() {
    let service = start("");
    // Has the first worker outlive the second.
    let mut idle = service.connect();
    idle.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    idle.response(false).unwrap();
    let first = service.worker();
    service.place.write("other/name.txt", "another");
    configure(&service.place, "[[site]]\nhosts = \"b.test\"\nroot = \"other\"\n");
    service.reload();
    assert_ne!(service.worker(), first);
    service.ask("drain");
    eventually("the end of the second worker", || service.worker().is_none());
    assert_eq!(series(&service)["sitar_worker_restarts_total"], 0);
}

#[test]
fn an_upgrade_takes_the_socket_over() {
    let service = start("");
    plain(&service, &head("GET", "a.test", "/name.txt", ""));
    let name = "sitar_http_requests_total{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.1\"}";
    assert_eq!(series(&service)[name], 1);
    service.run(&["upgrade"]).ok();
    eventually("the end of the old processes", || service.place.processes().len() == 2);
    // Counters begin again with another process, which says when it was started.
    assert_eq!(get(&service, "/readyz").0, 200);
    assert_eq!(series(&service).get(name), None);
    plain(&service, &head("GET", "a.test", "/name.txt", ""));
    assert_eq!(series(&service)[name], 1);
    let socket = service.place.path("metrics.sock");
    assert!(socket.exists());
    signal(service.supervisor(), Signal::TERM);
    eventually("the end of the socket", || !socket.exists());
}

#[test]
fn an_upgrade_leaves_no_socket_on_which_nothing_answers() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new();
    configure(&place, "");
    let without = std::fs::read_to_string(place.path("sitar.toml")).unwrap();
    let without = without.replace("listen = \"unix:metrics.sock\"\n", "");
    let on = |port: u16| without.replace("[admin]\n", &format!("[admin]\nlisten = \"127.0.0.1:{port}\"\n"));
    let is_ready = |port: u16| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).expect("an answer");
        Some(answer.starts_with("HTTP/1.1 200 "))
    };
    place.write("sitar.toml", on(port));
    let service = place.start();
    assert_eq!(is_ready(port), Some(true));
    // Has the first program drain for as long as this test runs.
    let idle = || {
        let mut idle = service.connect();
        idle.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        idle.response(false).unwrap();
        idle
    };
    let _first = idle();
    service.place.write("sitar.toml", &without);
    service.run(&["upgrade"]).ok();
    eventually("the end of the socket", || is_ready(port).is_none());
    // Nobody holds the address, so that it can be used again, and then be taken over.
    service.place.write("sitar.toml", on(port));
    service.run(&["upgrade"]).ok();
    assert_eq!(is_ready(port), Some(true));
    let _third = idle();
    service.run(&["upgrade"]).ok();
    assert_eq!(is_ready(port), Some(true));
    // A program that leaves it to another does not hold it while it drains.
    service.ask("drain");
    eventually("the end of the last program", || is_ready(port).is_none());
}

#[test]
fn what_is_no_request_for_numbers_is_refused() {
    let service = start("");
    let status = |request: &str| ask(&service, request).0["HTTP/1.1 ".len()..][..3].to_owned();
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", "405"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET /metrics\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\r\n\r\n", "400"),
    ] {
        assert_eq!(status(request), expected, "{request:?}");
    }
    let (head, body) = ask(&service, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    // The numbers are on no listener of the sites.
    assert_eq!(service.get("a.test", "/metrics").0, 404);
    assert_eq!(service.get("a.test", "/healthz").0, 404);
}

#[test]
fn records_of_logs_are_counted_whatever_becomes_of_them() {
    let log = |path: &str| format!("[log]\naccess = \"{path}\"\nsample = {{ \"4xx\" = 2 }}\n");
    let service = start(&log("./a.log"));
    let ask = |found: usize, missing: usize| {
        (0..found).for_each(|_| _ = plain(&service, &head("GET", "a.test", "/name.txt", "")));
        (0..missing).for_each(|_| _ = plain(&service, &head("GET", "a.test", "/nothing", "")));
    };
    let records = || {
        let series = series(&service);
        let of = |name: &str| series[name];
        [
            of("sitar_log_written_total"),
            of("sitar_log_sampled_total"),
            of("sitar_log_dropped_total{reason=\"not_writable\"}"),
            of("sitar_log_dropped_total{reason=\"too_slow\"}"),
        ]
    };
    ask(3, 4);
    eventually("the records of seven answers", || records() == [5, 2, 0, 0]);
    // Another log begins from zero, and their sum does not; one that takes nothing is said.
    configure(&service.place, &log("/dev/full"));
    service.reload();
    ask(2, 0);
    eventually("two records that are lost", || records() == [5, 2, 2, 0]);
}
