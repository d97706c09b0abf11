use proptest::prelude::*;

use super::frame::{Line, Order, Size, Style, View, frame, plain};
use super::rates::{Estimate, Rates, SiteRates};
use super::terminal::painted;
use super::text::columns;
use crate::admin::Totals;

const NOW: u64 = 1_795_990_205;
const DAY: u64 = 24 * 60 * 60;

fn by_name(counts: &[(&str, u64)]) -> std::collections::BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn totals() -> Totals {
    Totals {
        version: "0.1.0".into(),
        pid: 4711,
        uptime_milliseconds: (3 * DAY + 4 * 60 * 60) * 1000,
        engine: "io_uring (batched; --engine sqpoll needs no system calls)".into(),
        worker: Some(4712),
        is_up: true,
        worker_restarts: 1,
        is_reload_ok: true,
        connections: by_name(&[("open", 812)]),
        send_buffers: by_name(&[("free", 500), ("used", 12)]),
        memory: by_name(&[("bodies", 12_345_678), ("connections", 345_678)]),
        certificates: vec![
            ("late.example".into(), NOW + 22 * DAY),
            ("soon.example".into(), NOW + 12 * DAY + 3600),
        ],
        ..Totals::default()
    }
}

fn site(name: &str, requests: f64) -> SiteRates {
    SiteRates {
        name: name.into(),
        release: Some("pack 3a4f9c01b2d3".into()),
        requests,
        bytes: requests * 10_000.0,
        client_errors: 0.5,
        server_errors: 0.0,
    }
}

fn rates() -> Rates {
    Rates {
        seconds: 1.0,
        accepted: 12.0,
        refused: 0.0,
        shed: 0.25,
        classes: [0.0, 1200.0, 30.0, 4.5, 0.0],
        bytes: 12_345_678.0,
        quantiles: Some([Estimate::About(83.2), Estimate::About(900.0), Estimate::Above(10_000_000)]),
        handshakes: 10.0,
        resumed: Some(0.8),
        enters: Some(0.731),
        written: 1234.5,
        lost: 0.0,
        sites: vec![
            site("example.com", 1000.0),
            SiteRates { release: None, server_errors: 2.0, ..site("日本語.example", 230.0) },
            SiteRates { release: None, ..site("", 4.5) },
        ],
    }
}

fn view<'v>(now: &'v Totals, rates: Option<&'v Rates>, warnings: &'v [String]) -> View<'v> {
    View { now, rates, warnings, failure: None, clock: NOW, order: Order::Requests, has_keys: true }
}

fn at(view: &View<'_>, width: usize, height: usize) -> String {
    plain(&frame(view, Size { width, height }))
}

#[test]
fn on_a_terminal_of_80_by_24() {
    let warnings = ["the log is slow".to_owned()];
    assert_eq!(
        at(&view(&totals(), Some(&rates()), &warnings), 80, 24),
        "\
sitar 0.1.0  up 3 days 4 hours  io_uring  worker 4712  1 restart
connections  812 open  new 12/s  refused 0/s  shed 0.2/s
requests     1,235/s  2xx 1,200/s  3xx 30/s  4xx 4.5/s  5xx 0/s
content      11.7 MiB/s
durations    p50 ~83.2 µs  p95 ~900 µs  p99 > 10.0 s  (approximate)
handshakes   10/s  80 % resumed
memory       11.7 MiB of files  337 KiB for connections
buffers      12 of 512 send buffers in use
ring         0.73 io_uring_enter per request
access logs  1,235/s written  lost 0/s

EXPIRES in 12 days 1 hour: the certificate of soon.example
warning: the log is slow

requests/s   content/s   4xx/s   5xx/s  site, by requests    release
     1,000     9.5 MiB     0.5       0  example.com          pack 3a4f9c01b2d3
       230     2.1 MiB     0.5     2.0  日本語.example
       4.5    43.9 KiB     0.5       0  (no site)
"
    );
}

#[test]
fn on_a_terminal_of_40_by_10() {
    assert_eq!(
        at(&view(&totals(), Some(&rates()), &[]), 40, 10),
        "\
sitar 0.1.0  up 3 days 4 hours  io_uring
connections  812 open  shed 0.2/s
requests     1,235/s  2xx 1,200/s
content      11.7 MiB/s
durations    p50 ~83.2 µs  p95 ~900 µs
EXPIRES in 12 days 1 hour: the certific…
requests/s   5xx/s  site, by requests
     1,000       0  example.com
       230     2.0  日本語.example
       4.5       0  (no site)
"
    );
}

#[test]
fn on_a_terminal_of_200_by_50() {
    assert_eq!(
        at(&view(&totals(), Some(&rates()), &[]), 200, 50),
        "\
sitar 0.1.0  up 3 days 4 hours  io_uring  worker 4712  1 restart  q: quit, s: sort
connections  812 open  new 12/s  refused 0/s  shed 0.2/s
requests     1,235/s  2xx 1,200/s  3xx 30/s  4xx 4.5/s  5xx 0/s
content      11.7 MiB/s
durations    p50 ~83.2 µs  p95 ~900 µs  p99 > 10.0 s  (approximate)
handshakes   10/s  80 % resumed
memory       11.7 MiB of files  337 KiB for connections
buffers      12 of 512 send buffers in use
ring         0.73 io_uring_enter per request
access logs  1,235/s written  lost 0/s

EXPIRES in 12 days 1 hour: the certificate of soon.example

requests/s   content/s   4xx/s   5xx/s  site, by requests    release
     1,000     9.5 MiB     0.5       0  example.com          pack 3a4f9c01b2d3
       230     2.1 MiB     0.5     2.0  日本語.example
       4.5    43.9 KiB     0.5       0  (no site)
"
    );
}

#[test]
fn more_sites_than_lines() {
    let mut rates = rates();
    rates.sites = (0..300).map(|number| site(&format!("{number}.example"), f64::from(number))).collect();
    let totals = Totals { sites_left_out: 7, certificates: Vec::new(), ..totals() };
    let shown = at(&view(&totals, Some(&rates), &[]), 60, 20);
    assert_eq!(
        shown,
        "\
sitar 0.1.0  up 3 days 4 hours  io_uring  worker 4712
connections  812 open  new 12/s  refused 0/s  shed 0.2/s
requests     1,235/s  2xx 1,200/s  3xx 30/s  4xx 4.5/s
content      11.7 MiB/s
durations    p50 ~83.2 µs  p95 ~900 µs  p99 > 10.0 s
handshakes   10/s  80 % resumed
memory       11.7 MiB of files  337 KiB for connections
buffers      12 of 512 send buffers in use
ring         0.73 io_uring_enter per request

requests/s   content/s   4xx/s   5xx/s  site, by requests
       299     2.8 MiB     0.5       0  299.example
       298     2.8 MiB     0.5       0  298.example
       297     2.8 MiB     0.5       0  297.example
       296     2.8 MiB     0.5       0  296.example
       295     2.8 MiB     0.5       0  295.example
       294     2.8 MiB     0.5       0  294.example
       293     2.7 MiB     0.5       0  293.example
       292     2.7 MiB     0.5       0  292.example
and 299 more
"
    );
}

#[test]
fn what_is_wrong_stands_out() {
    let totals = Totals { worker: None, is_reload_ok: false, ..totals() };
    let warnings: Vec<String> = (1..5).map(|number| format!("number {number}")).collect();
    let failure = "no sitar answers at /run/sitar/admin.sock: there is no such file";
    let view = View { failure: Some(failure), has_keys: false, ..view(&totals, None, &warnings) };
    assert_eq!(
        at(&view, 80, 24),
        "\
sitar 0.1.0  up 3 days 4 hours  io_uring  no worker  1 restart
connections  812 open
memory       11.7 MiB of files  337 KiB for connections
buffers      12 of 512 send buffers in use

NO ANSWER, tried again: no sitar answers at /run/sitar/admin.sock: there is no …
the last reload was REFUSED; what was served before is served
EXPIRES in 12 days 1 hour: the certificate of soon.example
and 4 more; see: sitar status
"
    );
    let alerts = frame(&view, Size { width: 80, height: 24 });
    let alerts = alerts.iter().filter(|line| line.style == Style::Alert);
    assert_eq!(alerts.count(), 4);
    let silent = Totals { is_up: false, ..self::totals() };
    assert!(at(&self::view(&silent, None, &[]), 80, 24).contains("\nTHE WORKER DOES NOT ANSWER: "));
    let expired = Totals { certificates: vec![("a.test".into(), NOW)], ..self::totals() };
    assert!(at(&self::view(&expired, None, &[]), 80, 24).contains("\nEXPIRED: the certificate of a.test\n"));
}

#[test]
fn what_is_wrong_stays_where_a_line_is_narrow() {
    let wrong = Rates { refused: 3.0, classes: [0.0, 1200.0, 30.0, 4.5, 7.0], ..rates() };
    let shown = at(&view(&totals(), Some(&wrong), &[]), 40, 10);
    assert!(shown.contains("\nconnections  812 open  refused 3.0/s\n"), "{shown}");
    assert!(shown.contains("\nrequests     1,242/s  5xx 7.0/s\n"), "{shown}");
}

#[test]
fn sites_are_sorted_by_what_is_asked_for() {
    let (totals, mut rates) = (totals(), rates());
    rates.sites[2].bytes = 1e9;
    let first = |order| {
        let view = View { order, ..view(&totals, Some(&rates), &[]) };
        let lines = frame(&view, Size { width: 100, height: 30 });
        let head = lines.iter().position(|line| line.text.contains("requests/s")).unwrap();
        let title = lines[head].text.split_once("site, by ").unwrap().1.trim_end_matches("release");
        (title.trim().to_owned(), lines[head + 1].text.split_whitespace().nth(5).unwrap().to_owned())
    };
    let pair = |title: &str, site: &str| (title.to_owned(), site.to_owned());
    assert_eq!(first(Order::Requests), pair("requests", "example.com"));
    assert_eq!(first(Order::Requests.next()), pair("content", "(no"));
    assert_eq!(first(Order::Content.next()), pair("errors", "日本語.example"));
    assert_eq!(Order::Errors.next(), Order::Requests);
}

#[test]
fn colors_are_left_out_where_they_are_not_wanted() {
    let line = |style, text: &str| Line { style, text: text.to_owned() };
    let lines = [line(Style::Heading, "a"), line(Style::Plain, "b"), line(Style::Alert, "c")];
    assert_eq!(
        painted(&lines, 4, true),
        "\x1b[1;1H\x1b[2K\x1b[1ma\x1b[0m\x1b[2;1H\x1b[2Kb\x1b[3;1H\x1b[2K\x1b[1;31mc\x1b[0m\x1b[4;1H\x1b[2K"
    );
    assert_eq!(painted(&lines, 3, false), "\x1b[1;1H\x1b[2Ka\x1b[2;1H\x1b[2Kb\x1b[3;1H\x1b[2Kc");
}

fn any_rate() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1e4, any::<f64>()]
}

prop_compose! {
    fn any_rates()(
        numbers in prop::collection::vec(any_rate(), 12),
        estimates in prop::array::uniform3(prop_oneof![
            any::<f64>().prop_map(Estimate::About),
            any::<u64>().prop_map(Estimate::Above),
        ]),
        sites in prop::collection::vec((any::<String>(), any::<Option<String>>(), any_rate(), any_rate()), 0..20),
    ) -> Rates {
        let site = |(name, release, requests, bytes)| SiteRates {
            name, release, requests, bytes, client_errors: requests, server_errors: bytes,
        };
        Rates {
            seconds: 1.0,
            accepted: numbers[0],
            refused: numbers[1],
            shed: numbers[2],
            classes: [0.0, numbers[3], numbers[4], numbers[5], numbers[6]],
            bytes: numbers[7],
            quantiles: Some(estimates),
            handshakes: numbers[8],
            resumed: Some(numbers[9]),
            enters: Some(numbers[10]),
            written: numbers[11],
            lost: numbers[11],
            sites: sites.into_iter().map(site).collect(),
        }
    }
}

prop_compose! {
    fn any_totals()(
        texts in prop::array::uniform2(any::<String>()),
        counts in prop::array::uniform6(any::<u64>()),
        has_worker in any::<bool>(),
        certificates in prop::collection::vec((any::<String>(), any::<u64>()), 0..5),
    ) -> Totals {
        let [version, engine] = texts;
        let [open, free, used, bodies, uptime, left_out] = counts;
        Totals {
            version,
            engine,
            uptime_milliseconds: uptime,
            worker: has_worker.then_some(7),
            worker_restarts: used,
            connections: by_name(&[("open", open)]),
            send_buffers: by_name(&[("free", free), ("used", used)]),
            memory: by_name(&[("bodies", bodies), ("connections", open)]),
            sites_left_out: left_out,
            certificates,
            ..Totals::default()
        }
    }
}

proptest! {
    #[test]
    fn nothing_leaves_the_screen(
        totals in any_totals(),
        rates in prop::option::of(any_rates()),
        warnings in prop::collection::vec(any::<String>(), 0..4),
        failure in any::<Option<String>>(),
        clock in any::<u64>(),
        width in prop_oneof![0_usize..12, 0_usize..250],
        height in prop_oneof![0_usize..6, 0_usize..60],
    ) {
        let view = View {
            now: &totals,
            rates: rates.as_ref(),
            warnings: &warnings,
            failure: failure.as_deref(),
            clock,
            order: Order::default(),
            has_keys: true,
        };
        let lines = frame(&view, Size { width, height });
        prop_assert!(lines.len() <= height, "{} lines of {height}", lines.len());
        for line in &lines {
            prop_assert!(columns(&line.text) <= width, "{:?} has more than {width} columns", line.text);
            prop_assert!(!line.text.contains(char::is_control), "{:?}", line.text);
        }
    }
}
