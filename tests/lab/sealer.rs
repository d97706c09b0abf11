//! `--tls kernel`: what the kernel seals arrives whole, ends properly, and costs no allocation and
//! no other system call.

use std::collections::BTreeSet;
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::common::alloc::Allocations;
use crate::common::client::{Client, config};
use crate::common::load::Load;
use crate::common::perf::counted;
use crate::common::site::{Site, pattern};
use crate::common::{PATIENCE, Server, have, lab, refused, run, run_with, sample, signal};

/// The first kernel whose io_uring sets socket options.
const SOCKET_COMMANDS: (u32, u32) = (6, 7);

/// Whether the kernel can seal for sitar; otherwise the test is recorded as skipped.
pub(super) fn has_sealer() -> bool {
    if !lab::has_kernel_tls() {
        return false;
    }
    let there = lab::kernel() >= SOCKET_COMMANDS;
    if !there {
        crate::common::skip("io_uring of this kernel cannot set socket options (it came with 6.7)");
    }
    there
}

fn serve(site: &Site, sealer: &str) -> Server {
    Server::start([site.path().to_str().unwrap(), "--tls", sealer])
}

/// Waits until the kernel seals for no connection any more: every connection's end has been reached
/// on both sides.
fn wait_until_all_are_closed() {
    wait_until_closed_within(PATIENCE);
}

fn wait_until_closed_within(patience: Duration) {
    let deadline = Instant::now() + patience;
    while lab::tls_stat().get("TlsCurrTxSw").copied() != Some(0) {
        assert!(Instant::now() < deadline, "{:?}", lab::tls_stat());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_kernel_that_cannot_is_refused_with_the_remedy() {
    if !lab::has_kernel_tls() {
        return;
    }
    let site = Site::small();
    if lab::kernel() < SOCKET_COMMANDS {
        let said = refused([site.path().to_str().unwrap(), "--tls", "kernel"]);
        assert!(said.contains("kernels before 6.7") && said.contains("--tls user"), "{said}");
    }
    let said = refused([site.path().to_str().unwrap(), "--tls", "kernel", "--engine", "epoll"]);
    assert!(said.contains("only with an io_uring engine") && said.contains("--tls user"), "{said}");
}

#[test]
fn each_connection_of_tls_1_3_is_the_kernels_and_none_of_tls_1_2() {
    if !has_sealer() || !have(&["curl", "openssl", "wrk"]) {
        return;
    }
    let site = Site::small();
    let server = serve(&site, "kernel");
    assert!(server.said().contains("\n  sealer   the kernel for TLS 1.3"), "{}", server.said());
    let curl = |version: &str, options: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--tls-max", version, "--cacert"]).arg(server.ca());
        let got = run_with(curl.args(options).arg(server.url("/1m.bin")), b"").ok();
        assert!(got.stdout == pattern(1024 * 1024), "{options:?}, TLS {version}: {} bytes", got.stdout.len());
    };
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        for protocol in ["--http1.1", "--http2"] {
            let rise = lab::tls_stat_rise(|| curl("1.3", &[protocol, "--tls13-ciphers", suite]));
            assert_eq!(rise.get("TlsTxSw"), Some(&1), "{protocol}, {suite}: {rise:?}");
        }
    }
    for protocol in ["--http1.1", "--http2"] {
        let rise = lab::tls_stat_rise(|| curl("1.2", &[protocol]));
        assert_eq!(rise.get("TlsTxSw"), None, "{protocol}: {rise:?}");
    }

    // wrk answers for each of its connections.
    let rise = lab::tls_stat_rise(|| {
        let wrk = run("wrk", ["-t1", "-c4", "-d1s", &server.url("/16k.bin")]).ok().text();
        let fine =
            wrk.contains(" requests in ") && !wrk.contains("Non-2xx") && !wrk.contains("Socket errors");
        assert!(fine, "{wrk}");
    });
    // The first of its connections only looks whether the port is open, and never speaks.
    assert!(matches!(rise.get("TlsTxSw"), Some(4 | 5)), "{rise:?}");
    wait_until_all_are_closed();
}

/// openssl's `k` sends a KeyUpdate, `K` one that asks for ours. A kernel before 6.14 keeps its
/// first key: then the connection ends with close_notify. Our own sealer answers and goes on.
#[test]
fn openssl_may_update_its_keys() {
    if !has_sealer() || !have(&["openssl"]) {
        return;
    }
    let site = Site::small();
    let ends = lab::kernel() < (6, 14);
    for (sealer, keys, goes_on) in [("user", "K", true), ("kernel", "k", true), ("kernel", "K", !ends)] {
        let server = serve(&site, sealer);
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-verify_return_error", "-CAfile"]).arg(server.ca());
        openssl.args(["-connect", &server.address().to_string()]);
        let mut openssl = Dialogue::start(&mut openssl);
        openssl.say("GET /16k.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
        openssl.wait_for(1, "HTTP/1.1 200 OK");
        openssl.say(&format!("{keys}\n"));
        openssl.wait_for(1, "KEYUPDATE");
        if goes_on {
            openssl.say("GET /16k.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            openssl.wait_for(2, "HTTP/1.1 200 OK");
        }
        // What s_client says at close_notify; without one it would speak of an unexpected end.
        openssl.wait_for(1, "closed");
        let said = openssl.end();
        assert!(!said.contains("unexpected eof"), "{sealer}, {keys}: {said}");
    }
}

/// A program that is spoken with.
struct Dialogue {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Dialogue {
    fn start(command: &mut Command) -> Dialogue {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let readers = outputs.map(|mut output| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(len @ 1..) = output.read(&mut chunk) {
                    said.lock().unwrap().extend_from_slice(&chunk[..len]);
                }
            })
        });
        Dialogue { child, said, readers: readers.into() }
    }

    fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    fn wait_for(&mut self, times: usize, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.text().matches(what).count() < times {
            assert!(Instant::now() < deadline, "no {what:?}: {}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.text()
    }
}

/// A file of 64 MiB whose content at each place is known without making it again.
struct Large {
    block: Vec<u8>,
    len: usize,
}

impl Large {
    fn new(site: &Site, len: usize) -> Large {
        // A prime number of bytes: no buffer's size divides it.
        let block = pattern(1_000_003);
        let content: Vec<u8> = block.iter().copied().cycle().take(len).collect();
        site.add("large.bin", &content);
        Large { block, len }
    }

    /// Whether `bytes` are those from `at` on.
    fn is_at(&self, mut at: usize, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let here = at % self.block.len();
            let len = bytes.len().min(self.block.len() - here);
            if bytes[..len] != self.block[here..here + len] {
                return false;
            }
            bytes = &bytes[len..];
            at += len;
        }
        at <= self.len
    }
}

/// A connection with small buffers on both sides.
fn narrow(server: &Server) -> TcpStream {
    std::fs::write("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 32768").unwrap();
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 32 * 1024).unwrap();
    rustix::net::connect(&socket, &server.address()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The event while the body is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// The client ends its side behind the request.
    FinFirst,
    /// The client updates its keys and asks for new ones, in mid-body.
    KeyUpdate,
}

/// Reads the large file slowly, with a pause near its end, and to the end of the connection. Every
/// byte must be there, and close_notify behind them.
fn read_slowly(server: &Server, large: &Large, meanwhile: Meanwhile, pause: Duration) {
    let mut socket = narrow(server);
    let name = ServerName::from(socket.peer_addr().unwrap().ip());
    let mut tls = ClientConnection::new(config(server), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).unwrap();
    }
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    // An answer before, so that it is settled who seals.
    stream.write_all(b"HEAD /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        first.push(byte[0]);
    }
    stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    if meanwhile == Meanwhile::FinFirst {
        stream.sock.shutdown(Shutdown::Write).unwrap();
    }
    let mut chunk = vec![0; 64 * 1024];
    let (mut head, mut got, mut updated, mut paused) = (Vec::new(), 0, false, false);
    loop {
        // An end without close_notify is an error here (UnexpectedEof).
        let read =
            stream.read(&mut chunk).unwrap_or_else(|error| panic!("{meanwhile:?}, {got} bytes: {error}"));
        if read == 0 {
            break;
        }
        let mut bytes = &chunk[..read];
        if got == 0 && !head.ends_with(b"\r\n\r\n") {
            head.extend_from_slice(bytes);
            let end = head.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else { continue };
            bytes = &bytes[bytes.len() - (head.len() - end - 4)..];
            head.truncate(end + 4);
            assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{head:?}");
        }
        assert!(large.is_at(got, bytes), "{meanwhile:?}: wrong bytes behind {got}");
        got += bytes.len();
        if meanwhile == Meanwhile::KeyUpdate && !updated && got > large.len / 2 {
            updated = true;
            stream.conn.refresh_traffic_keys().unwrap();
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        if got % 7 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !paused && got + 200_000 > large.len {
            paused = true;
            std::thread::sleep(pause);
        }
    }
    assert_eq!(got, large.len, "{meanwhile:?}");
}

/// The sealers, and how long a reader pauses near the end. A kernel may then still hold records
/// when everything has been said to it: longer than a server lingers for a peer.
const SEALERS: [(&str, Duration); 2] = [("kernel", Duration::from_secs(4)), ("user", Duration::ZERO)];

/// A request and the client's end right behind the handshake, where the kernel would be given its
/// key.
fn ask_and_end(server: &Server) {
    let mut client = Client::connect(server);
    client.send(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    client.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.response(false).unwrap().body.len(), 8 << 20);
    assert_eq!(client.read_some(&mut [0]).unwrap(), 0, "close_notify");
}

#[test]
fn a_slow_reader_gets_everything_and_close_notify() {
    if !has_sealer() {
        return;
    }
    let site = Site::new();
    let large = Large::new(&site, (64 << 20) / sample());
    for (sealer, pause) in SEALERS {
        let server = serve(&site, sealer);
        read_slowly(&server, &large, Meanwhile::Nothing, pause);
        wait_until_all_are_closed();
    }
}

#[test]
fn nothing_is_lost_on_a_client_that_ends_its_side_or_updates_its_keys() {
    if !has_sealer() {
        return;
    }
    let site = Site::new();
    let large = Large::new(&site, 8 << 20);
    for (sealer, pause) in SEALERS {
        let server = serve(&site, sealer);
        ask_and_end(&server);
        read_slowly(&server, &large, Meanwhile::FinFirst, pause);
        read_slowly(&server, &large, Meanwhile::KeyUpdate, Duration::ZERO);
        wait_until_all_are_closed();
    }
}

/// Sites change every 100 ms while 32 connections load a body that is many records: each answer is
/// wholly of one of them.
#[test]
fn answers_are_of_one_version_while_sites_are_swapped() {
    const BODY: usize = 100_000;
    const LAST: u8 = 255;
    const ENOUGH: usize = 10;
    if !has_sealer() {
        return;
    }
    let site = Site::new();
    let put = |version: u8| {
        let next = site.path().join(".next");
        std::fs::write(&next, vec![version; BODY]).unwrap();
        std::fs::rename(next, site.path().join("body.bin")).unwrap();
    };
    put(0);
    let server = Server::start([site.path().to_str().unwrap(), "--tls", "kernel", "--no-watch"]);
    let config = config(&server);
    let seen = Mutex::new(BTreeSet::new());
    let under_load = || {
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let mut client = Client::open(&config, server.address()).unwrap();
                    // Until the last version arrives, on the one connection that this client has.
                    loop {
                        let body = client.get("/body.bin").unwrap().body;
                        let version = body[0];
                        assert!(body.len() == BODY && body.iter().all(|byte| *byte == version), "a mixture");
                        seen.lock().unwrap().insert(version);
                        if version == LAST {
                            break;
                        }
                    }
                });
            }
            for version in 1..=LAST {
                std::thread::sleep(Duration::from_millis(100));
                let is_enough = seen.lock().unwrap().len() >= ENOUGH;
                let version = if is_enough { LAST } else { version };
                put(version);
                signal(server.pid(), rustix::process::Signal::HUP);
                if version == LAST {
                    break;
                }
            }
        });
    };
    let rise = lab::tls_stat_rise(under_load);
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() > ENOUGH, "too few versions were seen for this to mean something: {seen:?}");
    assert_eq!(rise.get("TlsTxSw"), Some(&32), "all sealed by the kernel: {rise:?}");
    wait_until_all_are_closed();
}

#[test]
fn a_reset_in_mid_body_ends_that_connection_only() {
    if !has_sealer() {
        return;
    }
    let site = Site::small();
    Large::new(&site, 8 << 20);
    let server = serve(&site, "kernel");
    let mut other = Client::connect(&server);
    assert_eq!(other.get("/1k.txt").unwrap().status, 200);
    let before = server.descriptors();
    for _ in 0..10 {
        let mut client = slow_client(&config(&server), &server);
        client.send(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(client.read_some(&mut [0; 1000]).unwrap() > 0);
        // A close with no time to linger is a reset.
        sockopt::set_socket_linger(client.socket().as_fd(), Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(other.get("/1k.txt").unwrap().body, pattern(1024));
    drop(other);
    wait_until_all_are_closed();
    assert_eq!(server.descriptors(), before);
}

fn slow_client(config: &Arc<ClientConfig>, server: &Server) -> Client {
    Client::over(config, narrow(server)).unwrap()
}

/// A browser's way to leave: close_notify, and a closed socket, which answers the server's own
/// close_notify with a reset. That will never be acknowledged.
#[test]
fn a_client_that_is_gone_is_not_waited_for() {
    if !has_sealer() {
        return;
    }
    let site = Site::small();
    let server = serve(&site, "kernel");
    let clients: Vec<_> = (0..8).map(|_| Client::connect(&server)).collect();
    for mut client in clients {
        assert_eq!(client.get("/1k.txt").unwrap().status, 200);
        client.end();
    }
    // A reader that only pauses would have 30 seconds.
    wait_until_closed_within(Duration::from_secs(15));
}

#[test]
fn a_warm_request_allocates_nothing_and_calls_only_the_ring() {
    if !has_sealer() || !have(&["perf", "mkfifo"]) {
        return;
    }
    let Some(allocations) = Allocations::prepare() else { return };
    let site = Site::small();
    // What is emulated takes its time: `SITAR_SAMPLE` divides the large ones. Each half of them is
    // shared by four connections.
    for (path, requests) in [("/1k.txt", 200), ("/1m.bin", (25 / sample()).max(1) * 8)] {
        let server = Server::start_with(
            [site.path().to_str().unwrap(), "--tls", "kernel", "--shards", "1"],
            &allocations.env(),
        );
        let sealed = lab::tls_stat()["TlsTxSw"];
        let mut load = Load::new(&server, 4, path, false);
        assert!(lab::tls_stat()["TlsTxSw"] >= sealed + 4, "the kernel seals these");
        load.send(requests / 2);
        allocations.assert_none(4, path, || load.send(requests));
        // Apart, because perf takes its time to start, and connections that are idle for a second
        // fold their keys.
        let events = "raw_syscalls:sys_enter,syscalls:sys_enter_io_uring_enter";
        let counts = counted(server.pid(), events, || load.send(requests)).unwrap();
        let (all, enters) = (counts["raw_syscalls:sys_enter"], counts["io_uring_enter"]);
        println!("{path}: {requests} requests: {counts:?}");
        // A timer may be due meanwhile: its enter is one of the ring's too.
        assert_eq!(all, enters, "{path}: {counts:?}");
    }
}
