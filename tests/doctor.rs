//! `sitar doctor` on the machine that runs the tests, whatever that has: what it says is held
//! against other sources.

use crate::common::{Finished, deny_io_uring, have, run_with, sitar, sitar_by, sitar_inside};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Command;
use tempfile::TempDir;

fn doctor(command: &mut Command) -> (Finished, Value) {
    let ended = run_with(command.args(["doctor", "--json"]), b"");
    let value: Value = serde_json::from_slice(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.text(), ended.stderr));
    (ended, value)
}

fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

#[test]
fn the_exit_code_is_what_the_findings_say() {
    let home = TempDir::new().unwrap();
    let (ended, report) = doctor(&mut sitar(home.path()));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["kernel"], release.trim());
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let findings = report["findings"].as_array().unwrap();
    for finding in findings {
        let fine = finding["state"] == "ok";
        assert!(fine || finding["state"] == "degraded" || finding["state"] == "missing", "{finding}");
        assert_eq!(fine, finding["cost"].is_null() && finding["missing"].is_null(), "{finding}");
    }
    let fine = findings.iter().all(|finding| finding["state"] == "ok");
    assert_eq!(report["state"] == "ok", fine);
    assert_eq!(ended.status.code(), Some(if fine { 0 } else { 3 }), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
}

#[test]
fn kernel_tls_is_found_exactly_where_the_kernel_names_it() {
    let home = TempDir::new().unwrap();
    let (ended, report) = doctor(&mut sitar(home.path()));
    // Asked afterwards: asking may have loaded it.
    let protocols = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let tls = finding(&report, "kernel_tls");
    if protocols.split_whitespace().any(|name| name == "tls") {
        assert_eq!(tls["state"], "ok", "{tls}");
        assert_eq!(finding(&report, "kernel_tls_aes_128_gcm")["state"], "ok");
    } else {
        assert_eq!(tls["state"], "missing", "{tls}");
        assert!(tls["cost"].as_str().unwrap().starts_with("--tls kernel does not start"), "{tls}");
        assert!(!tls["fixes"].as_array().unwrap().is_empty(), "{tls}");
        assert_eq!(ended.status.code(), Some(3));
    }
}

#[test]
fn limits_and_taken_ports_are_seen() {
    let home = TempDir::new().unwrap();
    // By this test or by another program: the port is taken.
    let _taken = TcpListener::bind("127.0.0.1:8443");
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 20; exec \"$0\" \"$@\""]);
    let (ended, report) = doctor(&mut sitar_by(few, home.path()));
    assert_eq!(ended.status.code(), Some(3));
    let files = finding(&report, "open_files");
    assert_eq!(files["state"], "degraded");
    assert!(files["found"].as_str().unwrap().starts_with("at most 20; "), "{files}");
    let cost = files["cost"].as_str().unwrap();
    assert!(cost.starts_with("sitar serve does not start: it needs "), "{files}");
    let port = finding(&report, "port_8443");
    assert_eq!((&port["state"], &port["found"]), (&"degraded".into(), &"taken".into()), "{port}");
    assert_eq!(port["fixes"][0]["command"], "ss -ltnp 'sport = :8443'");
}

#[test]
fn a_seccomp_filter_is_named_as_the_cause() {
    if !have(&["cc"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let inside = deny_io_uring(&folder);
    let (ended, report) = doctor(&mut sitar_inside(&inside, folder.path()));
    assert_eq!(ended.status.code(), Some(3));
    let uring = finding(&report, "io_uring");
    assert_eq!(uring["state"], "missing");
    let missing =
        "io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile of this container";
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or("0".into());
    // Where the sysctl forbids it too, that is the nearer cause.
    assert!(uring["missing"] == missing || disabled.trim() != "0", "{uring}");
}

#[test]
fn a_person_gets_lines_without_escapes_in_a_file() {
    let home = TempDir::new().unwrap();
    let mut command = sitar(home.path());
    command.env_remove("NO_COLOR").arg("doctor");
    let ended = run_with(&mut command, b"");
    let text = ended.text();
    let head = format!("sitar {} looks at this machine\n\n", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&head) && !text.contains('\x1b'), "{text}");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some("kernel")).unwrap();
    assert!(line.ends_with(&format!("  {}", release.trim())), "{line}");
    assert!(text.lines().last().unwrap().contains(" checks: "), "{text}");

    let wrong = run_with(sitar(home.path()).args(["doctor", "--xml"]), b"");
    assert_eq!(wrong.status.code(), Some(2));
}
