//! The whole program on a kernel that has TLS: `cargo xtask vm --suite lab` runs these inside of
//! Debian's kernels.
//!
//! In there is a small machine: this program, sitar, curl, openssl, wrk, python3 with its library,
//! busybox. No checkout and no compiler; whatever a test needs besides, it makes. One test runs at
//! a time, so that counters of the machine can be compared.

mod access;
mod newer;
mod records;
mod sealer;

use crate::common::client::Client;
use crate::common::site::{Site, pattern};
use crate::common::{Server, eventually, have, lab, run, run_with, sitar, skip};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::Command;
use tempfile::TempDir;

/// A user without any privilege.
const UNPRIVILEGED: u32 = 65_534;

/// Versions of TLS and of HTTP, as curl's options name them.
const CONVERSATIONS: [(&str, &str); 4] =
    [("1.2", "--http1.1"), ("1.2", "--http2"), ("1.3", "--http1.1"), ("1.3", "--http2")];

#[test]
fn curl_and_openssl_and_wrk_are_served_there() {
    if !lab::has_kernel_tls() || !have(&["curl", "openssl", "wrk"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    // The engine of a kernel that can do everything; the line is for a reader of this output.
    assert!(server.said().contains("\n  engine   io_uring"), "{}", server.said());
    for (version, protocol) in CONVERSATIONS {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", protocol, "--tls-max", version, "--cacert"]).arg(server.ca());
        let got = run_with(curl.arg(server.url("/1m.bin")), b"").ok();
        assert!(got.stdout == pattern(1024 * 1024), "{protocol}, TLS {version}: {} bytes", got.stdout.len());
    }

    let request = b"GET /1k.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-quiet", "-verify_return_error", "-ign_eof", "-CAfile"]).arg(server.ca());
    let got = run_with(openssl.args(["-connect", &server.address().to_string()]), request).ok();
    assert!(got.stdout.starts_with(b"HTTP/1.1 200 OK\r\n") && got.stdout.ends_with(&pattern(1024)));

    let wrk = run("wrk", ["-t1", "-c4", "-d2s", &server.url("/1k.txt")]).ok().text();
    assert!(
        wrk.contains(" requests in ") && !wrk.contains("Non-2xx") && !wrk.contains("Socket errors"),
        "{wrk}"
    );
}

#[test]
fn a_plain_socket_takes_the_kernels_tls() {
    if !lab::has_kernel_tls() || !have(&["python3"]) {
        return;
    }
    // Linux, include/uapi/linux/tcp.h and tls.h: TCP_ULP 31, SOL_TLS 282, TLS_TX 1;
    // tls_crypto_info: version 0x0304, cipher 51 (AES-128-GCM) or 52 (AES-256-GCM) or 54
    // (CHACHA20-POLY1305), then iv, key, salt, sequence number.
    let script = "
import socket, struct
listener = socket.create_server(('127.0.0.1', 0))
for cipher, length in (51, 8 + 16 + 4 + 8), (52, 8 + 32 + 4 + 8), (54, 12 + 32 + 0 + 8):
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    server.setsockopt(socket.IPPROTO_TCP, 31, b'tls')
    server.setsockopt(282, 1, struct.pack('<HH', 0x0304, cipher) + bytes(length))
    server.sendall(b'hello')
    record = client.recv(27, socket.MSG_WAITALL)
    print(cipher, record[:5].hex(), len(record))
";
    let rise = lab::tls_stat_rise(|| {
        let said = run("python3", ["-c", script]).ok().text();
        // RFC 8446 §5.2: type 23, version 0x0303, then 5 bytes, their inner type and the tag of 16
        // bytes.
        assert_eq!(said, "51 1703030016 27\n52 1703030016 27\n54 1703030016 27\n");
    });
    assert_eq!(rise.get("TlsTxSw"), Some(&3), "{rise:?}");
}

#[test]
fn records_sealed_by_the_program_itself_are_not_counted_as_the_kernels() {
    if !lab::has_kernel_tls() {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path().to_str().unwrap(), "--tls", "user"]);
    let rise = lab::tls_stat_rise(|| {
        let got = Client::connect(&server).get("/1m.bin").unwrap();
        assert!(got.status == 200 && got.body == pattern(1024 * 1024));
    });
    assert!(rise.is_empty(), "{rise:?}");
}

/// State and value of the finding with this name.
fn finding(report: &Value, id: &str) -> (String, String) {
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id);
    let found = found.unwrap_or_else(|| panic!("no {id} in {report:#}"));
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("state"), text("found"))
}

fn doctor(command: &mut Command) -> Value {
    let ended = run_with(command.args(["doctor", "--json"]), b"");
    serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr))
}

fn pair(state: &str, found: &str) -> (String, String) {
    (state.to_owned(), found.to_owned())
}

#[test]
fn the_doctor_finds_kernel_tls_its_ciphers_and_whether_keys_can_change() {
    if !lab::has_kernel_tls() {
        return;
    }
    let home = TempDir::new().unwrap();
    let mut report = Value::Null;
    let rise = lab::tls_stat_rise(|| report = doctor(&mut sitar(home.path())));
    assert_eq!(finding(&report, "kernel_tls"), pair("ok", "attached to a connection"));
    for id in ["kernel_tls_aes_128_gcm", "kernel_tls_aes_256_gcm", "kernel_tls_chacha20_poly1305"] {
        assert_eq!(finding(&report, id), pair("ok", "yes"), "{id}");
    }
    let rekey = if lab::kernel() >= (6, 14) { pair("ok", "yes") } else { pair("degraded", "no") };
    assert_eq!(finding(&report, "kernel_tls_rekey"), rekey);
    // One connection for each cipher, and none is left.
    assert_eq!(rise.get("TlsTxSw"), Some(&3), "{rise:?}");
    assert_eq!(finding(&report, "io_uring"), pair("ok", "a ring was made and used"));
    assert_eq!(finding(&report, "io_uring_operations"), pair("ok", "all that sitar uses"));
    let options =
        if lab::kernel() >= (6, 7) { pair("ok", "can be set") } else { pair("degraded", "cannot be set") };
    assert_eq!(finding(&report, "io_uring_socket_options"), options);
}

#[test]
fn the_doctor_tells_a_user_to_load_the_module() {
    if !lab::inside_or_skip() {
        return;
    }
    let home = TempDir::new().unwrap();
    let as_nobody = || {
        let mut command = sitar(home.path());
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        command
    };
    assert_eq!(finding(&doctor(&mut as_nobody()), "kernel_tls").0, "ok");
    // Connections of other tests may still be closing, and hold it.
    eventually("the module to be let go", || run("rmmod", ["tls"]).status.success());
    let report = doctor(&mut as_nobody());
    run("insmod", ["/modules/tls.ko"]).ok();
    assert_eq!(finding(&report, "kernel_tls"), pair("missing", "not loaded, or not in this kernel"));
    assert!(report.to_string().contains("\"sudo modprobe tls\""), "{report:#}");
    assert_eq!(finding(&report, "port_443"), pair("degraded", "not allowed"));
}

#[test]
fn a_sysctl_that_forbids_io_uring_is_named_and_the_server_does_without() {
    let sysctl = "/proc/sys/kernel/io_uring_disabled";
    if !lab::inside_or_skip() {
        return;
    }
    if lab::kernel() < (6, 6) {
        skip("sysctl kernel.io_uring_disabled came with Linux 6.6");
        return;
    }
    let home = TempDir::new().unwrap();
    std::fs::write(sysctl, "2").unwrap();
    let report = doctor(&mut sitar(home.path()));
    let server = Server::start([""; 0]);
    std::fs::write(sysctl, "0").unwrap();
    assert_eq!(finding(&report, "io_uring").0, "missing");
    assert!(report.to_string().contains("sysctl kernel.io_uring_disabled is 2"), "{report:#}");
    assert!(
        server.said().contains("\n  engine   epoll, because io_uring is forbidden here"),
        "{}",
        server.said()
    );
    assert_eq!(Client::connect(&server).get("/").unwrap().status, 200);
}
