use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use serde_json::json;
use sitar_http::Status;
use sitar_server::{
    Answers, CountedMethod, Counts, Durations, Ends, Handshakes, HttpVersion, SiteNumbers, WorkerNumbers,
};
use sitar_tls::Version;

use super::numbers::Numbers;
use super::*;
use crate::listen::Endpoint;

mod shipped;

fn answers(code: u16, method: CountedMethod, version: HttpVersion, count: u64) -> Answers {
    Answers { status: Status::from_code(code).unwrap(), method, version, count }
}

/// The numbers of a worker with two sites.
fn worker() -> WorkerNumbers {
    let site =
        |name: &str, answers: Vec<Answers>, content| SiteNumbers { name: name.into(), answers, content };
    let (get, http11) = (CountedMethod::Get, HttpVersion::Http11);
    WorkerNumbers {
        counts: Counts {
            accepted: 9,
            passed: 1,
            handshakes: 5,
            kernel_sealed: 2,
            requests: 12,
            calmed: 3,
            shed: 4,
            refused: 6,
            hashes: 7,
            ends: Ends { finished: 5, own_faults: 1, ..Ends::default() },
        },
        handshakes: vec![
            Handshakes { version: Version::Tls12, whole: 1, resumed: 0 },
            Handshakes { version: Version::Tls13, whole: 3, resumed: 1 },
        ],
        calls: 100,
        send_buffers: 64,
        send_buffers_free: 60,
        held: 4096,
        bodies: 12,
        durations: Durations::new([3, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 1], 92_000_850_000),
        sites: vec![
            site("", vec![answers(400, CountedMethod::Other, http11, 1)], 20),
            site(
                "a.test",
                vec![answers(200, get, http11, 10), answers(404, get, HttpVersion::Http2, 1)],
                300,
            ),
        ],
    }
}

fn facts() -> Facts {
    Facts {
        numbers: Numbers::of(&worker(), [8, 7, 6, 5]),
        is_up: true,
        is_uring: true,
        restarts: 2,
        reload: (false, 1_700_000_100),
        started: 1_700_000_000,
        certificates: vec![("a.test".into(), 1_800_000_000), ("a.test".into(), 1_750_000_000)],
        sites: vec![("a.test".into(), "v1".into()), ("/srv/\"b\"\\\n".into(), String::new())],
    }
}

const PROMETHEUS: &str = "\
# HELP sitar_http_requests_total Answers by site, status, method and version of HTTP; site is empty where no site answers.
# TYPE sitar_http_requests_total counter
sitar_http_requests_total{site=\"\",code=\"400\",method=\"other\",proto=\"1.1\"} 1
sitar_http_requests_total{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.1\"} 10
sitar_http_requests_total{site=\"a.test\",code=\"404\",method=\"get\",proto=\"2\"} 1
# HELP sitar_http_response_bytes_total Bytes of content in answers, whether or not their clients took all of it.
# TYPE sitar_http_response_bytes_total counter
sitar_http_response_bytes_total{site=\"\"} 20
sitar_http_response_bytes_total{site=\"a.test\"} 300
# HELP sitar_connections Connections of clients by state.
# TYPE sitar_connections gauge
sitar_connections{state=\"open\"} 3
";

#[test]
fn numbers_as_text_of_prometheus() {
    let text = text(&facts(), Format::Prometheus);
    assert!(text.starts_with(PROMETHEUS), "{text}");
    for line in [
        "sitar_connections_accepted_total 9",
        "sitar_connections_passed_total 1",
        "sitar_connections_refused_total 6",
        "sitar_connections_shed_total 4",
        "sitar_connections_kernel_sealed_total 2",
        "sitar_http2_floods_total 3",
        "sitar_password_hashes_total 7",
        "sitar_connections_closed_total{reason=\"finished\"} 5",
        "sitar_connections_closed_total{reason=\"idle_timeouts\"} 0",
        "sitar_connections_closed_total{reason=\"own_faults\"} 1",
        "sitar_tls_handshakes_total{version=\"1.2\",resumed=\"false\"} 1",
        "sitar_tls_handshakes_total{version=\"1.2\",resumed=\"true\"} 0",
        "sitar_tls_handshakes_total{version=\"1.3\",resumed=\"false\"} 3",
        "sitar_tls_handshakes_total{version=\"1.3\",resumed=\"true\"} 1",
        "sitar_uring_enter_total 100",
        "sitar_send_buffers{state=\"free\"} 60",
        "sitar_send_buffers{state=\"used\"} 4",
        "sitar_memory_bytes{use=\"bodies\"} 12",
        "sitar_memory_bytes{use=\"connections\"} 4096",
        "# TYPE sitar_http_request_duration_seconds histogram",
        "sitar_http_request_duration_seconds_bucket{le=\"0.0001\"} 3",
        "sitar_http_request_duration_seconds_bucket{le=\"0.00025\"} 5",
        "sitar_http_request_duration_seconds_bucket{le=\"0.0005\"} 5",
        "sitar_http_request_duration_seconds_bucket{le=\"0.001\"} 6",
        "sitar_http_request_duration_seconds_bucket{le=\"1.0\"} 6",
        "sitar_http_request_duration_seconds_bucket{le=\"2.5\"} 10",
        "sitar_http_request_duration_seconds_bucket{le=\"10.0\"} 10",
        "sitar_http_request_duration_seconds_bucket{le=\"+Inf\"} 11",
        "sitar_http_request_duration_seconds_sum 92.000850000",
        "sitar_http_request_duration_seconds_count 11",
        "sitar_log_written_total 8",
        "sitar_log_sampled_total 7",
        "# TYPE sitar_log_dropped_total counter",
        "sitar_log_dropped_total{reason=\"not_writable\"} 6",
        "sitar_log_dropped_total{reason=\"too_slow\"} 5",
        "# TYPE sitar_certificate_expiry_timestamp_seconds gauge",
        "sitar_certificate_expiry_timestamp_seconds{name=\"a.test\"} 1750000000",
        "# TYPE sitar_site_info gauge",
        "sitar_site_info{site=\"/srv/\\\"b\\\"\\\\\\n\",release=\"\"} 1",
        "sitar_site_info{site=\"a.test\",release=\"v1\"} 1",
        "sitar_worker_up 1",
        "sitar_worker_restarts_total 2",
        "sitar_reload_success 0",
        "sitar_reload_timestamp_seconds 1700000100",
        "process_start_time_seconds 1700000000",
    ] {
        assert_eq!(text.lines().filter(|other| *other == line).count(), 1, "{line}\n{text}");
    }
    assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
}

#[test]
fn the_page_lists_what_is_shown() {
    let page = include_str!("../../../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (name, kind) = (cells.next()?.strip_suffix('`')?, cells.next()?);
        (!name.starts_with('/')).then(|| format!("# TYPE {name} {kind}"))
    });
    let text = text(&facts(), Format::Prometheus);
    let mut shown: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let mut listed: Vec<String> = rows.collect();
    shown.sort_unstable();
    listed.sort_unstable();
    assert_eq!(shown, listed);
}

#[test]
fn numbers_as_a_document_of_the_admin_socket() {
    let totals = Facts { is_uring: false, ..facts() }.totals();
    let by_name = |counts: &[(&str, u64)]| {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<String, u64>>()
    };
    assert_eq!(
        totals.connections,
        by_name(&[
            ("open", 3),
            ("accepted", 9),
            ("passed", 1),
            ("refused", 6),
            ("shed", 4),
            ("kernel_sealed", 2),
            ("http2_floods", 3),
        ])
    );
    assert_eq!((totals.closed["finished"], totals.closed["own_faults"]), (5, 1));
    let handshakes = [("tls12_full", 1), ("tls12_resumed", 0), ("tls13_full", 3), ("tls13_resumed", 1)];
    assert_eq!(totals.handshakes, by_name(&handshakes));
    assert_eq!(totals.answers, [(200, 10), (400, 1), (404, 1)].into());
    assert_eq!((totals.response_bytes, totals.ring_enters, totals.password_hashes), (320, None, 7));
    assert_eq!(totals.send_buffers, by_name(&[("free", 60), ("used", 4)]));
    assert_eq!(totals.memory, by_name(&[("bodies", 12), ("connections", 4096)]));
    assert_eq!((totals.is_up, totals.is_reload_ok, totals.worker_restarts), (true, false, 2));
    assert_eq!(
        (totals.started, &*totals.certificates),
        (1_700_000_000, &[("a.test".into(), 1_750_000_000)][..])
    );
    let records = [("written", 8), ("sampled", 7), ("failed", 6), ("dropped", 5)];
    assert_eq!(totals.log_records, by_name(&records));
    let durations = totals.durations.unwrap();
    assert_eq!((&durations.bounds[..3], durations.bounds.len()), (&[100, 250, 500][..], 16));
    assert_eq!((durations.counts.len(), durations.counts[16], durations.sum), (17, 1, 92_000_850));
    let sites: Vec<_> = totals.sites.iter().map(|site| (&*site.name, site.release.as_deref())).collect();
    assert_eq!(sites, [("a.test", Some("v1")), ("", None), ("/srv/\"b\"\\\n", None)]);
    assert_eq!((&totals.sites[0].answers, totals.sites_left_out), (&[(200, 10), (404, 1)].into(), 0));
    assert_eq!(facts().totals().ring_enters, Some(100));
}

#[test]
fn the_document_has_a_bound() {
    let mut facts = Facts::default();
    let names = (0..600).map(|number| (format!("{number}.test"), String::new()));
    facts.sites = names.collect();
    let site = SiteNumbers {
        name: "599.test".into(),
        answers: vec![answers(200, CountedMethod::Get, HttpVersion::Http11, 1)],
        content: 0,
    };
    facts.numbers = Numbers::of(&WorkerNumbers { sites: vec![site], ..worker() }, [0; 4]);
    let totals = facts.totals();
    assert_eq!((totals.sites.len(), totals.sites_left_out), (512, 88));
    // Those with the most answers stay.
    assert_eq!(totals.sites[0].name, "599.test");
}

#[test]
fn numbers_as_openmetrics() {
    let text = text(&Facts { is_up: false, is_uring: false, ..facts() }, Format::OpenMetrics);
    for line in [
        "# TYPE sitar_http_requests counter",
        "sitar_http_requests_total{site=\"a.test\",code=\"200\",method=\"get\",proto=\"1.1\"} 10",
        "# TYPE sitar_http_response_bytes counter",
        "# UNIT sitar_http_response_bytes bytes",
        "# TYPE sitar_memory_bytes gauge",
        "# UNIT sitar_memory_bytes bytes",
        "# UNIT sitar_certificate_expiry_timestamp_seconds seconds",
        "# TYPE sitar_site info",
        "sitar_site_info{site=\"a.test\",release=\"v1\"} 1",
        "sitar_worker_up 0",
        "# UNIT process_start_time_seconds seconds",
    ] {
        assert_eq!(text.lines().filter(|other| *other == line).count(), 1, "{line}\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n") && !text.contains("uring"), "{text}");
}

#[test]
fn numbers_are_told_and_read_as_they_are() {
    let numbers = Numbers::of(&worker(), [8, 7, 6, 5]);
    assert_eq!(Numbers::from_json(&numbers.to_json()), Some(numbers.clone()));
    let text = numbers.to_json().to_string();
    assert_eq!(Numbers::from_json(&serde_json::from_str(&text).unwrap()), Some(numbers));
}

#[test]
fn a_worker_that_tells_anything_is_not_believed() {
    let right = Numbers::of(&worker(), [8, 7, 6, 5]).to_json();
    for (name, wrong) in [
        ("counts", json!([])),
        ("ends", json!(7)),
        ("handshakes", json!([[1, 2]])),
        ("calls", json!(-1)),
        ("send_buffers", json!([1])),
        ("held", json!("1")),
        ("bodies", json!(null)),
        ("durations", json!([[1, 2], 3])),
        ("durations", json!([[], 0])),
        ("records", json!([1])),
        ("sites", json!([["a"]])),
        ("sites", json!([[1, 2, []]])),
    ] {
        let mut value = right.clone();
        value[name] = wrong;
        assert_eq!(Numbers::from_json(&value), None, "{value}");
    }
    assert_eq!(Numbers::from_json(&json!(null)), None);
    // What is unknown is left out, and what is too much.
    let mut value = right;
    value["counts"]["forged{} 1\n"] = json!(1);
    value["sites"] = (0..5000).map(|number| json!([format!("{number}"), 0, []])).collect();
    value["sites"][0] =
        json!(["x".repeat(5000), 1, [[299, 1], [200, 1, 3, 0], [200, 1, 0, 9], ["x"], [200, 5]]]);
    value["sites"][1][0] = json!("\u{1b}[2J\u{9b}2J\u{7f}");
    let read = Numbers::from_json(&value).unwrap();
    assert_eq!(read.counts, Numbers::of(&worker(), [8, 7, 6, 5]).counts);
    assert_eq!(read.sites.len(), 4097);
    assert!(!read.sites.keys().any(|name| name.contains(char::is_control)), "one drives terminals");
    let site = &read.sites[&"x".repeat(4096)];
    assert_eq!(site.answers.iter().collect::<Vec<_>>(), [(&(200, None), &5)]);
    // Sums have an end.
    let mut sum = read.clone();
    let mut large = Numbers::of(&worker(), [8, 7, 6, 5]);
    large.calls = u64::MAX;
    large.counts.insert("accepted", u64::MAX);
    sum.add(&large);
    assert_eq!((sum.calls, sum.count("accepted")), (u64::MAX, u64::MAX));
    assert!(sum.sites.len() <= 4097);
}

#[test]
fn those_of_workers_that_have_ended_stay_in_the_sum() {
    let mut sum = Numbers::default();
    sum.add_ended(&Numbers::of(&worker(), [8, 7, 6, 5]));
    // It has three connections open no more, and holds nothing.
    assert_eq!((sum.count("accepted"), sum.open(), sum.ends["own_faults"]), (9, 0, 4));
    assert_eq!((sum.send_buffers, sum.held, sum.bodies), (0, 0, 0));
    sum.add(&Numbers::of(&worker(), [8, 7, 6, 5]));
    assert_eq!((sum.count("accepted"), sum.open(), sum.send_buffers, sum.held), (18, 3, 64, 4096));
    assert_eq!(sum.handshakes, [[2, 0], [6, 2]]);
    assert_eq!(sum.durations.buckets().last(), Some(("+Inf", 22)));
    assert_eq!(sum.records, [("dropped", 10), ("failed", 12), ("sampled", 14), ("written", 16)].into());
    assert_eq!(sum.sites["a.test"].content, 600);
    let get = (CountedMethod::Get, HttpVersion::Http11);
    assert_eq!(sum.sites["a.test"].answers[&(200, Some(get))], 20);
    assert!(sum.is_later_than(&Numbers::default()) && !Numbers::default().is_later_than(&sum));
}

#[test]
fn numbers_with_more_of_anything_are_later() {
    let before = Numbers::of(&worker(), [8, 7, 6, 5]);
    let (mut timed, mut resumed) = (before.clone(), before.clone());
    // Answers are counted first, and their durations at the end of a turn.
    timed.durations += Durations::new([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
    resumed.handshakes[1][1] += 1;
    for later in [timed, resumed] {
        assert!(later.is_later_than(&before) && !before.is_later_than(&later), "{later:?}");
    }
}

#[test]
fn the_numbers_of_the_most_sites_fit_into_a_message() {
    let statuses: Vec<u16> = (0..600).filter(|code| Status::from_code(*code).is_some()).collect();
    let mut all = Vec::new();
    for code in &statuses {
        for method in CountedMethod::ALL {
            all.extend(HttpVersion::ALL.map(|version| answers(*code, method, version, 999_999_999)));
        }
    }
    let sites = |count: usize| {
        let site = |number: usize| SiteNumbers {
            name: format!("{number:04}{}", "x".repeat(249)).as_str().into(),
            answers: all.clone(),
            content: u64::MAX,
        };
        Numbers::of(&WorkerNumbers { sites: (0..count).map(site).collect(), ..worker() }, [0; 4])
    };
    let few = sites(100);
    assert_eq!(few.sites.values().next().unwrap().answers.len(), 9 * statuses.len());
    assert!(few.to_json().to_string().len() < 4 << 20);
    let many = sites(4097);
    assert_eq!(many.sites.len(), 4097);
    let first = many.sites.values().next().unwrap();
    assert_eq!(first.answers[&(200, None)], 9 * 999_999_999);
    assert_eq!(first.answers.len(), statuses.len());
    let len = many.to_json().to_string().len();
    assert!(len < 4 << 20, "{len} bytes");
}

fn handler(asked: Asked) -> Answer {
    match asked {
        Asked::Metrics(format) => Answer::numbers(format, format!("{format:?}\n")),
        Asked::Health => Answer::line(Status::OK, "ok"),
        Asked::Ready => Answer::line(Status::SERVICE_UNAVAILABLE, "no worker serves"),
    }
}

/// Sends bytes and the end, and returns what is answered.
fn ask(sent: &[u8]) -> String {
    let (mut own, other) = UnixStream::pair().unwrap();
    let other = OwnedFd::from(other);
    thread::scope(|scope| {
        scope.spawn(|| {
            server::converse(&other, &handler);
            drop(other);
        });
        let _ = own.write_all(sent);
        let _ = own.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        own.read_to_string(&mut answer).unwrap();
        answer
    })
}

#[test]
fn requests_are_answered_once_and_others_refused() {
    let common = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
    let plain = "Content-Type: text/plain; charset=utf-8\r\n";
    assert_eq!(
        ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{plain}Content-Length: 3\r\n{common}Connection: close\r\n\r\nok\n")
    );
    assert_eq!(
        ask(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{plain}Content-Length: 3\r\n{common}Connection: close\r\n\r\n")
    );
    assert_eq!(
        ask(b"GET /metrics?x HTTP/1.0\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 11\r\n\
             {common}Connection: close\r\n\r\nPrometheus\n"
        )
    );
    assert_eq!(
        ask(b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
        format!(
            "HTTP/1.1 405 Method Not Allowed\r\n{plain}Content-Length: 36\r\n{common}Allow: GET, HEAD\r\n\
             Connection: close\r\n\r\nonly GET and HEAD are answered here\n"
        )
    );
    let open = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n");
    let media_type = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(open.contains(media_type) && open.ends_with("\r\n\r\nOpenMetrics\n"), "{open}");
    let long = [b"GET /", &*b"x".repeat(20_000), b" HTTP/1.1\r\n\r\n"].concat();
    let many = [b"GET / HTTP/1.1\r\nHost: x\r\n", &*b"A: b\r\n".repeat(5000), b"\r\n"].concat();
    for (sent, status) in [
        (&b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"[..], "503"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"GET /%6detrics HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n", "505"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "400"),
        (b"x\r\n\r\n", "400"),
        (&long, "414"),
        (&many, "431"),
    ] {
        let answer = ask(sent);
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{status}: {answer} to {:?}", String::from_utf8_lossy(sent));
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    assert_eq!(ask(b""), "");
    assert_eq!(ask(b"GET /metrics HTTP/1.1\r\nHost"), "");
}

#[test]
fn more_clients_than_are_served_at_a_time_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let endpoint = Endpoint::Unix(path.clone());
    let metrics = Metrics::bind(&endpoint).unwrap();
    assert!(Metrics::bind(&endpoint).is_err(), "another server listens there");
    assert!(check(&endpoint).is_ok(), "the configuration may be its own");
    let serving = metrics.serve(handler).unwrap();
    // These say nothing, and all places are theirs for a while.
    let silent: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let path = Arc::new(path);
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let path = Arc::clone(&path);
            thread::spawn(move || {
                let mut stream = UnixStream::connect(&*path).unwrap();
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    drop(silent);
    for asking in asking {
        assert!(asking.join().unwrap().ends_with("\r\n\r\nok\n"));
    }
    drop(serving);
    assert!(!path.exists(), "its file goes with it");
}

#[test]
fn a_socket_that_is_left_to_another_process_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let endpoint = Endpoint::Unix(path.clone());
    let first = Metrics::bind(&endpoint).unwrap();
    let socket = first.socket().unwrap();
    let serving = first.serve(handler).unwrap();
    let second = Metrics::take_over(&endpoint, socket.try_clone().unwrap()).unwrap();
    assert!(second.is_inherited());
    assert!(Metrics::take_over(&Endpoint::Unix(folder.path().join("other")), socket).is_none());
    serving.leaver().leave();
    drop(serving);
    assert!(path.exists());
    second.own();
    let serving = second.serve(handler).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    serving.leaver().end();
    eventually_gone(&path);
    drop(serving);
}

/// Waits until a file is gone.
fn eventually_gone(path: &std::path::Path) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while path.exists() {
        assert!(std::time::Instant::now() < until, "{} is still there", path.display());
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn addresses_that_others_reach_are_warned_of() {
    for (address, is_warned) in [
        ("127.0.0.1:9464", false),
        ("127.0.0.2:9464", false),
        ("[::1]:9464", false),
        ("[::ffff:127.0.0.1]:9464", false),
        ("0.0.0.0:9464", true),
        ("[::]:9464", true),
        ("10.0.0.1:9464", true),
        ("unix:/run/metrics.sock", false),
    ] {
        assert_eq!(reach(&address.parse().unwrap()).is_some(), is_warned, "{address}");
    }
}

#[test]
fn a_socket_of_tcp_is_taken_over_by_its_address() {
    // An address that no other test has, or one may take the port when it is free.
    let metrics = Metrics::bind(&"127.64.0.3:0".parse().unwrap()).unwrap();
    let socket = || metrics.socket().unwrap();
    let port = rustix::net::getsockname(socket()).unwrap();
    let port = std::net::SocketAddr::try_from(port).unwrap().port();
    for (address, is_there) in [
        (format!("127.64.0.3:{port}"), true),
        ("127.64.0.3:0".to_owned(), true),
        (format!("127.0.0.2:{port}"), false),
        ("127.64.0.3:1".to_owned(), false),
        ("unix:/run/metrics.sock".to_owned(), false),
    ] {
        let endpoint = address.parse().unwrap();
        assert_eq!(Metrics::take_over(&endpoint, socket()).is_some(), is_there, "{address}");
    }
    let taken = Metrics::bind(&format!("127.64.0.3:{port}").parse().unwrap()).unwrap_err();
    assert!(taken.sentence().contains("take another port"), "{}", taken.sentence());
    let serving = metrics.serve(handler).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.64.0.3", port)).unwrap();
    // In two pieces.
    stream.write_all(b"GET /healthz HTTP/1.0\r\n").unwrap();
    stream.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    drop(serving);
    // A program that another test starts may have a copy, for the moment before it is that program.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.64.0.3", port)).is_ok() {
        assert!(std::time::Instant::now() < until, "it is still there");
        thread::sleep(std::time::Duration::from_millis(5));
    }
}
