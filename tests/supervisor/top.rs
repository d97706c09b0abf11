//! `sitar top` and the numbers of `sitar status`, beside real requests.

use super::place::{Place, Service};
use crate::common::{eventually, have, run_with, signal, sitar, skip};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Command;
use tempfile::TempDir;

/// Serves a site. A file was asked for three times, and one that is not there twice.
fn asked() -> Service {
    let place = Place::new();
    place.configure("hosts = \"a.test\"\n[log]\naccess = \"./a.log\"\n");
    let service = place.start();
    (0..3).for_each(|_| assert_eq!(service.get("a.test", "/name.txt").0, 200));
    (0..2).for_each(|_| assert_eq!(service.get("a.test", "/nothing").0, 404));
    service
}

fn json(service: &Service, verb: &[&str]) -> Value {
    serde_json::from_slice(&service.run(verb).ok().stdout).unwrap()
}

#[test]
fn one_shot_has_exact_totals() {
    let service = asked();
    let timed = |numbers: &Value| -> u64 {
        let counts = numbers["durations"]["counts"].as_array().unwrap();
        counts.iter().filter_map(Value::as_u64).sum()
    };
    eventually("five records and durations, and the ends of all connections", || {
        let numbers = service.ask("numbers");
        let written = &numbers["log_records"]["written"];
        *written == 5 && timed(&numbers) == 5 && numbers["connections"]["open"] == 0
    });
    let shown = json(&service, &["top", "--json", "--interval", "0.1"]);
    let totals = &shown["totals"];
    assert_eq!(totals["answers"], json!({ "200": 3, "404": 2 }));
    assert_eq!(totals["response_bytes"], 3 * 6 + 2 * 14);
    let connections = &totals["connections"];
    assert_eq!((&connections["open"], &connections["accepted"]), (&json!(0), &json!(5)));
    let records = json!({ "written": 5, "sampled": 0, "failed": 0, "dropped": 0 });
    assert_eq!(totals["log_records"], records);
    assert_eq!(totals["worker"], json!({ "pid": service.worker(), "up": true, "restarts": 0 }));
    assert_eq!(timed(totals), 5);
    let site = &totals["sites"][0];
    assert_eq!((&site["name"], &site["answers"]), (&json!("a.test"), &json!({ "200": 3, "404": 2 })));
    assert_eq!(shown["pid"], service.supervisor());
    // Nothing has been asked for meanwhile.
    assert_eq!(shown["rates"]["answers"]["2xx"], 0.0);
    assert_eq!(shown["rates"]["durations"]["p50"], Value::Null);
    assert!(shown["interval_seconds"].as_f64().unwrap() >= 0.1, "{shown}");
    let status = json(&service, &["status", "--json"]);
    assert_eq!(status["numbers"]["answers"], json!({ "200": 3, "404": 2 }));
    assert_eq!(status["logs"][0]["written"], 5);
}

#[test]
fn what_is_no_terminal_gets_one_screen_without_escapes() {
    let service = asked();
    let shown = service.run(&["top", "--interval", "0.1"]).ok().text();
    assert!(shown.starts_with("sitar 0.1.0  up ") && shown.contains("\nrequests     0/s  "), "{shown}");
    assert!(shown.contains("  site, by requests") && shown.contains("  a.test"), "{shown}");
    assert!(!shown.contains(['\x1b', '\r']) && !shown.contains("quit"), "{shown}");
    let status = service.run(&["status"]).ok().text();
    assert!(status.contains("\nSince the start\n  connections  "), "{status}");
    assert!(status.contains("\n  answers      2xx: 3, 4xx: 2; 46 bytes of content\n"), "{status}");
}

#[test]
fn without_a_server_it_ends_as_the_other_verbs_do() {
    let home = TempDir::new().unwrap();
    let socket = home.path().join("admin.sock");
    for verb in [&["top"][..], &["top", "--json"], &["status"]] {
        let ended = run_with(sitar(home.path()).args(verb).arg("--socket").arg(&socket), b"");
        assert_eq!(ended.status.code(), Some(1), "{verb:?}");
        let begin = format!("error: no sitar answers at {}\n", socket.display());
        assert!(ended.stderr.starts_with(&begin) && ended.text().is_empty(), "{ended:?}");
    }
}

#[test]
fn a_worker_that_hangs_leaves_the_numbers_old() {
    let service = asked();
    let worker = service.worker().unwrap();
    assert_eq!(service.ask("numbers")["answers"], json!({ "200": 3, "404": 2 }));
    signal(worker, Signal::STOP);
    let numbers = service.ask("numbers");
    let (status, top) = (service.run(&["status"]), service.run(&["top", "--interval", "0.1"]));
    signal(worker, Signal::CONT);
    assert_eq!((&numbers["worker"]["up"], &numbers["answers"]["200"]), (&json!(false), &json!(3)));
    let status = status.ok().text();
    assert!(status.contains("\n  NO ANSWER of the worker in time: "), "{status}");
    assert!(status.contains("\nListeners\n") && status.contains("the worker does not answer"), "{status}");
    assert!(top.ok().text().contains("\nTHE WORKER DOES NOT ANSWER: "));
}

/// Runs `sitar top` on a terminal, and ends it that way.
fn on_a_terminal(service: &Service, ending: &str) {
    let mut python = Command::new("python3");
    python.arg("-c").arg(include_str!("top.py")).arg(ending).arg(service.place.path("sitar"));
    python.args(["top", "--interval", "0.1", "--socket"]).arg(service.place.path("admin.sock"));
    assert_eq!(run_with(&mut python, b"").ok().text(), "left\n", "{ending}");
}

#[test]
fn a_terminal_is_drawn_on_and_given_back() {
    if !have(&["python3"]) {
        return skip("python3 is not there");
    }
    let service = asked();
    for ending in ["q", "ctrl-c", "ctrl-d", "term"] {
        on_a_terminal(&service, ending);
    }
    on_a_terminal(&service, &format!("hang:{}", service.supervisor()));
    on_a_terminal(&service, &format!("server:{}", service.supervisor()));
}
