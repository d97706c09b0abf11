use super::*;
use crate::admin::CountsByName;
use crate::admin::document::{Listener, Log, Worker, read_reload, read_status};
use crate::admin::{Histogram, Reply, SiteTotals, document, read_totals};
use crate::error::Error;

/// 2026-11-29 22:10:05 UTC.
const THEN: u64 = 1_795_990_205;

fn files(name: &str, hosts: &[&str], root: &str) -> Site {
    Site {
        name: name.into(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        is_default: false,
        content: SiteContent::Files {
            root: root.into(),
            files: Some(1204),
            version: Some("pack 3a4f9c01b2d3".into()),
        },
        state: SiteState::Serving,
        since: Some(THEN),
        encodings: None,
    }
}

fn full() -> Status {
    let listener = |address: &str, role: &str| Listener { address: address.into(), role: role.into() };
    let unavailable = Site {
        content: SiteContent::Files { root: "/srv/www/broken.tar".into(), files: None, version: None },
        state: SiteState::Unavailable(
            "/srv/www/broken.tar is neither a directory nor a tar archive: it begins with a gzip header, and a site is \
             served from a plain tar"
                .into(),
        ),
        since: None,
        ..files("broken.example", &["broken.example"], "")
    };
    let redirect = Site {
        content: SiteContent::Redirect { to: "https://example.com".into() },
        is_default: true,
        since: None,
        ..files("old.example", &["old.example"], "")
    };
    let certificate =
        |days_left: Option<i64>, names: &[&str], chain: Option<&str>, warnings: &[&str]| Certificate {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            chain: chain.map(str::to_owned),
            not_before: Some(THEN),
            not_after: Some(THEN + 90 * DAY),
            days_left,
            sha256: "AB:CD:EF".into(),
            warnings: warnings.iter().map(|warning| (*warning).to_owned()).collect(),
        };
    let problem = Error::new("/etc/sitar/sitar.toml:12:3: unknown key 'certificat'")
        .cause("a site has no such key")
        .hint("did you mean 'certificate'?");
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        uptime_seconds: 3 * DAY + 4 * HOUR + 59,
        config: Some("/etc/sitar/sitar.toml".into()),
        worker: Some(Worker {
            pid: 4712,
            engine: "io_uring".into(),
            sandbox: "Landlock ABI 7, seccomp".into(),
            refused: Some("execve 2".into()),
        }),
        worker_restarts: 1,
        last_reload: Some(Reload::refused(THEN, vec![problem])),
        listeners: vec![listener("0.0.0.0:443", "https"), listener("[::]:80", "redirect")],
        sites: vec![
            files(
                "example.com",
                &["example.com", "www.example.com", "*.preview.example.com"],
                "/srv/www/example.tar",
            ),
            redirect,
            unavailable,
        ],
        certificates: vec![
            certificate(
                Some(90),
                &["example.com", "www.example.com"],
                Some("/etc/letsencrypt/live/example.com/fullchain.pem"),
                &[],
            ),
            certificate(Some(-2), &["old.example"], Some("old.pem"), &["clients refuse it"]),
            certificate(Some(0), &[], None, &[]),
        ],
        logs: vec![
            Log { name: "stdout".into(), written: 1, ..Log::default() },
            Log { name: "/var/log/sitar/access.log".into(), written: 9999, failed: 2, sampled: 12 },
        ],
        logs_dropped: 3,
        warnings: vec!["kernel TLS is not available; sitar seals records itself".into()],
    }
}

fn totals() -> Totals {
    let by_name = |counts: &[(&str, u64)]| {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<CountsByName>()
    };
    Totals {
        version: "0.1.0".into(),
        pid: 4711,
        started: THEN,
        uptime_milliseconds: 1234,
        engine: "io_uring".into(),
        worker: Some(4712),
        is_up: true,
        worker_restarts: 1,
        is_reload_ok: true,
        connections: by_name(&[("open", 12), ("accepted", 1234), ("refused", 3), ("shed", 2)]),
        closed: by_name(&[("finished", 1222)]),
        handshakes: by_name(&[("tls12_full", 100), ("tls13_full", 100), ("tls13_resumed", 900)]),
        answers: [(200, 10_000), (206, 10), (404, 7)].into(),
        response_bytes: 12_345_678,
        durations: Some(Histogram { bounds: vec![100, 1000], counts: vec![1, 2, 3], sum: 12_345 }),
        ring_enters: Some(20_000),
        password_hashes: 4,
        send_buffers: by_name(&[("free", 60), ("used", 4)]),
        memory: by_name(&[("bodies", 1536), ("connections", 900)]),
        log_records: by_name(&[("written", 10_000), ("sampled", 12), ("failed", 2), ("dropped", 3)]),
        sites: vec![SiteTotals {
            name: "example.com".into(),
            release: Some("v1".into()),
            answers: [(200, 10_000)].into(),
            response_bytes: 12_345_678,
        }],
        sites_left_out: 2,
        certificates: vec![("example.com".into(), THEN)],
    }
}

#[test]
fn numbers_that_are_old_or_missing_are_said() {
    let little = Status { version: "0.1.0".into(), pid: 1, ..Status::default() };
    let head = "sitar 0.1.0, process 1, running for 0 seconds\n\nSince the start\n";
    let old = Totals { is_up: false, connections: [("open".into(), 1)].into(), ..Totals::default() };
    assert_eq!(
        status(&little, &Ok(old)),
        format!(
            "{head}  NO ANSWER of the worker in time: these are the last numbers that it told\n  \
             connections  1 open, 0 accepted\n"
        )
    );
    let why = Error::new("the sitar at a.sock did not answer").cause("nothing came");
    let missing = "  numbers  not to be had: the sitar at a.sock did not answer: nothing came\n";
    assert_eq!(status(&little, &Err(why)), format!("{head}{missing}"));
}

#[test]
fn sizes_are_in_the_largest_unit_of_which_there_is_one() {
    for (bytes, expected) in [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1535, "1.4 KiB"),
        (102_399, "99.9 KiB"),
        (102_400, "100 KiB"),
        ((1 << 20) - 1, "1023 KiB"),
        (1 << 30, "1.0 GiB"),
        (u64::MAX, "15.9 EiB"),
    ] {
        assert_eq!(size(bytes), expected, "{bytes}");
    }
}

#[test]
fn numbers_are_read_as_they_were_written() {
    let document = document::answer(&Reply::Numbers(Box::new(totals())));
    assert_eq!(read_totals(&document), Some(totals()));
    assert_eq!(read_totals(&document::answer(&Reply::Numbers(Box::default()))), Some(Totals::default()));
    for (name, value) in [
        ("schema", serde_json::json!(2)),
        ("connections", serde_json::json!({ "open": -1 })),
        ("answers", serde_json::json!({ "ok": 1 })),
        ("worker", serde_json::Value::Null),
        ("sites", serde_json::json!([{}])),
        ("durations", serde_json::json!({ "counts": [] })),
    ] {
        let mut other = document.clone();
        other[name] = value;
        assert_eq!(read_totals(&other), None, "{name}");
    }
    // The names that programs rely on.
    assert_eq!(
        document,
        serde_json::json!({
            "schema": 1,
            "version": "0.1.0",
            "pid": 4711,
            "started": THEN,
            "uptime_milliseconds": 1234,
            "engine": "io_uring",
            "worker": { "pid": 4712, "up": true, "restarts": 1 },
            "reload_ok": true,
            "connections": { "open": 12, "accepted": 1234, "refused": 3, "shed": 2 },
            "connections_closed": { "finished": 1222 },
            "tls_handshakes": { "tls12_full": 100, "tls13_full": 100, "tls13_resumed": 900 },
            "answers": { "200": 10_000, "206": 10, "404": 7 },
            "response_bytes": 12_345_678,
            "durations": {
                "bounds_microseconds": [100, 1000],
                "counts": [1, 2, 3],
                "sum_microseconds": 12_345,
            },
            "io_uring_enters": 20_000,
            "password_hashes": 4,
            "send_buffers": { "free": 60, "used": 4 },
            "memory_bytes": { "bodies": 1536, "connections": 900 },
            "log_records": { "written": 10_000, "sampled": 12, "failed": 2, "dropped": 3 },
            "sites": [{
                "name": "example.com",
                "release": "v1",
                "answers": { "200": 10_000 },
                "response_bytes": 12_345_678,
            }],
            "sites_left_out": 2,
            "certificates": [{ "name": "example.com", "not_after": THEN }],
        })
    );
}

#[test]
fn a_server_with_everything() {
    assert_eq!(
        status(&full(), &Ok(totals())),
        "\
sitar 0.1.0, process 4711, running for 3 days 4 hours
configuration /etc/sitar/sitar.toml
worker process 4712; one before it has ended without being told to
engine io_uring
sandbox Landlock ABI 7, seccomp
REFUSED by the sandbox: execve 2
last reload 2026-11-29 22:10:05 UTC: REFUSED; what was served before is served, because of 1 problem
  error: /etc/sitar/sitar.toml:12:3: unknown key 'certificat'
    cause: a site has no such key
    hint: did you mean 'certificate'?

Since the start
  connections  12 open, 1,234 accepted, 3 refused, 2 shed
  handshakes   1,100, 900 of them resumed
  answers      2xx: 10,010, 4xx: 7; 11.7 MiB of content
  memory       1.5 KiB of files, 900 bytes for connections
  records      10,000 written to access logs, 12 left out by sampling, 5 LOST

Access logs of this worker
  stdout                     1 record written
  /var/log/sitar/access.log  9,999 records written, 12 left out by sampling, 2 LOST: not writable
  3 records LOST: they came faster than they are written

Listeners
  0.0.0.0:443  https
  [::]:80      redirects to https

Sites
  example.com     serving, 1,204 files, pack 3a4f9c01b2d3, since 2026-11-29 22:10:05 UTC
    also www.example.com, *.preview.example.com
    /srv/www/example.tar
  old.example     redirects to https://example.com
    hosts that no other site has
  broken.example  UNAVAILABLE
    reason: /srv/www/broken.tar is neither a directory nor a tar archive: it begins with a gzip
        header, and a site is served from a plain tar
    /srv/www/broken.tar

Certificates
  example.com, www.example.com
    /etc/letsencrypt/live/example.com/fullchain.pem
    expires on 2027-02-27, in 90 days
    SHA-256 ABCDEF
  old.example
    old.pem
    EXPIRED on 2027-02-27
    SHA-256 ABCDEF
    warning: clients refuse it
  (no names)
    made by sitar
    expires on 2027-02-27, in less than a day
    SHA-256 ABCDEF

Warnings
  kernel TLS is not available; sitar seals records itself
"
    );
}

#[test]
fn a_server_with_little() {
    let site = Site { hosts: Vec::new(), ..files("site", &[], "public") };
    let little = Status {
        version: "0.1.0".into(),
        pid: 1,
        sites: vec![site],
        worker: None,
        worker_restarts: 0,
        last_reload: Some(Reload::done(THEN, Vec::new())),
        ..Status::default()
    };
    assert_eq!(
        status(&little, &Ok(Totals { is_up: true, ..Totals::default() })),
        "\
sitar 0.1.0, process 1, running for 0 seconds
last reload 2026-11-29 22:10:05 UTC

Sites
  site  serving, 1,204 files, pack 3a4f9c01b2d3, since 2026-11-29 22:10:05 UTC
    every host
    public
"
    );
}

#[test]
fn reloads() {
    assert_eq!(reload(&Reload::done(THEN, Vec::new())), "reloaded; nothing is different\n");
    let changes = vec!["site example.com: pack 3a4f9c01b2d3 → pack 9c01b2d33a4f".into(), "a\nb".into()];
    assert_eq!(
        reload(&Reload::done(THEN, changes)),
        "reloaded:\n  site example.com: pack 3a4f9c01b2d3 → pack 9c01b2d33a4f\n  a\\nb\n"
    );
}

#[test]
fn lines_stay_within_their_columns_and_names_within_their_line() {
    let hosts: Vec<String> = (0..40).map(|number| format!("host-{number}.example")).collect();
    let long = Site { hosts, ..files(&"long-label.".repeat(12), &[], "/srv/a\x1b[2J\nb") };
    let text = Status { sites: vec![long, files("a", &["a"], "r")], ..Status::default() };
    let text = status(&text, &Ok(totals()));
    for line in text.lines() {
        // A name has no place at which it could be broken.
        assert!(line.chars().count() <= COLUMNS || line.trim_start().starts_with("long-label."), "{line}");
    }
    assert!(text.contains("    /srv/a\\u{1b}[2J\\nb\n"), "{text}");
    assert!(text.contains("\n    also host-0.example, host-1.example, "), "{text}");
    assert!(text.contains("host-39.example\n"), "{text}");
}

#[test]
fn lengths_of_time() {
    for (seconds, expected) in [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (61, "1 minute 1 second"),
        (3599, "59 minutes 59 seconds"),
        (3600, "1 hour"),
        (3601, "1 hour"),
        (3660, "1 hour 1 minute"),
        (DAY, "1 day"),
        (DAY + HOUR, "1 day 1 hour"),
        (2000 * DAY, "2,000 days"),
    ] {
        assert_eq!(span(seconds), expected, "{seconds}");
    }
    assert_eq!(
        (grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)),
        ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
    );
    assert_eq!(time(u64::MAX), "at a time that no calendar has");
    assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
}

#[test]
fn documents_are_read_as_they_were_written() {
    let full = full();
    let document = document::answer(&Reply::Status(Box::new(full.clone())));
    assert_eq!(read_status(&document), Some(full.clone()));
    assert_eq!(read_status(&Status::default().to_json()), Some(Status::default()));
    let reload = full.last_reload.unwrap();
    assert_eq!(read_reload(&document::answer(&Reply::Reload(reload.clone()))), Some(reload));
    // Another shape, a part that is missing, and nothing.
    for (name, value) in [("schema", 2.into()), ("sites", serde_json::Value::Null), ("pid", "1".into())] {
        let mut other = document.clone();
        other[name] = value;
        assert_eq!(read_status(&other), None, "{name}");
    }
    assert_eq!(read_status(&serde_json::Value::Null), None);
    // What comes later is no obstacle.
    let mut later = document;
    later["shards"] = 4.into();
    assert!(read_status(&later).is_some());
}

/// The names that programs rely on.
#[test]
fn the_document_of_the_status() {
    let Status { sites, certificates, listeners, last_reload, worker, .. } = full();
    let status = Status {
        worker,
        version: "0.1.0".into(),
        pid: 4711,
        uptime_seconds: 60,
        sites: sites[..2].to_vec(),
        certificates: certificates[..1].to_vec(),
        listeners: listeners[..1].to_vec(),
        last_reload,
        logs: vec![Log { name: "a.log".into(), written: 9999, failed: 2, sampled: 12 }],
        logs_dropped: 3,
        ..Status::default()
    };
    assert_eq!(
        format!("{:#}", status.to_json()),
        r#"{
  "certificates": [
    {
      "chain": "/etc/letsencrypt/live/example.com/fullchain.pem",
      "days_left": 90,
      "names": [
        "example.com",
        "www.example.com"
      ],
      "not_after": 1803766205,
      "not_before": 1795990205,
      "sha256": "AB:CD:EF",
      "warnings": []
    }
  ],
  "config": null,
  "last_reload": {
    "at": 1795990205,
    "changes": [],
    "ok": false,
    "problems": [
      {
        "causes": [
          "a site has no such key"
        ],
        "hints": [
          "did you mean 'certificate'?"
        ],
        "what": "/etc/sitar/sitar.toml:12:3: unknown key 'certificat'"
      }
    ]
  },
  "listeners": [
    {
      "address": "0.0.0.0:443",
      "role": "https"
    }
  ],
  "logs": [
    {
      "failed": 2,
      "name": "a.log",
      "sampled": 12,
      "written": 9999
    }
  ],
  "logs_dropped": 3,
  "pid": 4711,
  "schema": 1,
  "sites": [
    {
      "content": "pack 3a4f9c01b2d3",
      "default": false,
      "files": 1204,
      "hosts": [
        "example.com",
        "www.example.com",
        "*.preview.example.com"
      ],
      "kind": "site",
      "name": "example.com",
      "reason": null,
      "root": "/srv/www/example.tar",
      "since": 1795990205,
      "state": "serving"
    },
    {
      "default": true,
      "hosts": [
        "old.example"
      ],
      "kind": "redirect",
      "name": "old.example",
      "reason": null,
      "redirect_to": "https://example.com",
      "since": null,
      "state": "serving"
    }
  ],
  "uptime_seconds": 60,
  "version": "0.1.0",
  "warnings": [],
  "worker": {
    "engine": "io_uring",
    "pid": 4712,
    "refused": "execve 2",
    "sandbox": "Landlock ABI 7, seccomp"
  },
  "worker_restarts": 0
}"#
    );
}

#[test]
fn the_encodings_of_a_site_have_a_line() {
    let line = |encodings| {
        let mut one = files("a.test", &["a.test"], "/srv/a");
        one.encodings = Some(encodings);
        let mut text = Text(String::new());
        site(&mut text, &one, 10);
        text.0.lines().last().unwrap().trim().to_owned()
    };
    let some = SiteEncodings { files: 1000, saved: 1_048_577, is_packing: false };
    assert_eq!(line(some.clone()), "encodings for 1,000 of 1,204 files, 1,025 KiB saved");
    let more = SiteEncodings { is_packing: true, ..some };
    assert_eq!(line(more), "encodings for 1,000 of 1,204 files, 1,025 KiB saved; more are being made");
}
