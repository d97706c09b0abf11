//! Memory that the server holds for its peers: each kind in turn is filled to the bound from many
//! connections. The server grows by no more than the bound, closes those that hold most, and gives
//! back what it had taken.

use super::{NARROW, OTHER, Way, connect};
use crate::common::client::config;
use crate::common::files::OpenFiles;
use crate::common::h2::{HEADERS, SETTINGS, frame};
use crate::common::site::{Site, pattern};
use crate::common::{PATIENCE, Server, eventually, have};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use sitar_http::h2::PREFACE;
use std::any::Any;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes that a shard may hold for all of its peers: 24 MiB, and this for each place in its table.
const HELD_MAX: u64 = 24 << 20;
const HELD_EACH: u64 = 5 << 10;
/// Bytes of all send buffers of a shard.
const SEND_BUFFERS: u64 = 512 * (68 << 10);
/// Receive buffers of a shard, which are used in turn.
const RECEIVE_BUFFERS: usize = 512;
/// Bytes that an open connection takes before its peer has sent anything.
const EACH: u64 = 2 << 10;
/// Bytes that the allocator may take besides.
const SLACK: u64 = 4 << 20;
/// Answers without a new peak, after which a flood is over. They take longer than it takes to close
/// a connection that holds a send buffer.
const QUIET: u32 = 20;
/// Addresses of a flood: each has less than the sixteenth of the table that is its share.
const ADDRESSES: usize = 32;
/// Places in the table for others than the flood.
const OTHERS: usize = 100;

/// A way to make the server hold memory.
struct Kind {
    name: &'static str,
    is_tls: bool,
    /// MiB of memory for files.
    memory: &'static str,
    connections: usize,
    /// The bytes that each connection sends. Then it is silent and reads nothing.
    bytes: fn(&Server) -> Vec<u8>,
    /// Whether the account is full before the table is.
    is_shed: bool,
    /// Whether it makes the server send, so that send buffers are in use at the same time.
    sends: bool,
    /// Whether segments are so small that the server's socket has no room for what is in a send
    /// buffer, which is held then.
    is_narrow: bool,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "handshake input",
        is_tls: true,
        memory: "512",
        connections: 1200,
        bytes: |_| part_of_a_client_hello(),
        is_shed: true,
        sends: false,
        is_narrow: false,
    },
    Kind {
        name: "handshake state",
        is_tls: true,
        memory: "512",
        connections: 2000,
        bytes: client_hello,
        is_shed: false,
        sends: false,
        is_narrow: false,
    },
    Kind {
        name: "unfinished requests",
        is_tls: false,
        memory: "512",
        connections: 2300,
        bytes: |_| half_a_request(),
        is_shed: true,
        sends: false,
        is_narrow: false,
    },
    Kind {
        name: "pipelined requests",
        is_tls: false,
        memory: "512",
        connections: 900,
        bytes: |_| pipelined(),
        is_shed: true,
        sends: false,
        is_narrow: false,
    },
    Kind {
        name: "streams",
        is_tls: false,
        memory: "512",
        connections: 2000,
        bytes: |_| streams(),
        is_shed: true,
        sends: true,
        is_narrow: false,
    },
    Kind {
        name: "queued heads",
        is_tls: false,
        memory: "512",
        connections: 2000,
        bytes: |_| heads(),
        is_shed: true,
        sends: true,
        is_narrow: false,
    },
    Kind {
        name: "send buffers",
        is_tls: false,
        memory: "512",
        connections: 700,
        bytes: |_| download(),
        is_shed: true,
        sends: true,
        is_narrow: true,
    },
    Kind {
        name: "parked requests",
        is_tls: false,
        memory: "1",
        connections: 250,
        bytes: |_| parked(),
        is_shed: true,
        sends: false,
        is_narrow: false,
    },
];

#[test]
fn handshake_input_is_bounded_and_given_back() {
    fill("handshake input");
}

#[test]
fn handshake_state_is_bounded_and_given_back() {
    fill("handshake state");
}

#[test]
fn unfinished_requests_are_bounded_and_given_back() {
    fill("unfinished requests");
}

#[test]
fn pipelined_requests_are_bounded_and_given_back() {
    fill("pipelined requests");
}

#[test]
fn streams_are_bounded_and_given_back() {
    fill("streams");
}

#[test]
fn queued_heads_are_bounded_and_given_back() {
    fill("queued heads");
}

#[test]
fn send_buffers_are_bounded_and_given_back() {
    fill("send buffers");
}

#[test]
fn parked_requests_are_bounded_and_given_back() {
    fill("parked requests");
}

fn site() -> Site {
    let site = Site::new();
    site.add("small.txt", b"small\n");
    site.add("large.bin", &pattern(4 << 20));
    let line = "v".repeat(1000);
    let lines: String = (0..7).map(|nth| format!("  X-Line-{nth}: {line}\n")).collect();
    site.add("_headers", format!("/heads.txt\n{lines}").as_bytes());
    site.add("heads.txt", b"heads\n");
    site
}

/// Fills the memory of that kind.
fn fill(name: &str) {
    let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
    if kind.is_narrow && !have(&["python3"]) {
        return;
    }
    let Some(_files) = OpenFiles::reserve(kind.connections + 50) else { return };
    let site = site();
    let tls = if kind.is_tls { "auto" } else { "off" };
    let patience = "600";
    // No connection ends because of its deadline.
    let env = [
        ("SITAR_HANDSHAKE_SECONDS", patience),
        ("SITAR_HEAD_SECONDS", patience),
        ("SITAR_IDLE_SECONDS", patience),
        ("SITAR_SEND_SECONDS", patience),
    ];
    let table = (kind.connections + OTHERS).to_string();
    let path = site.path().to_str().unwrap();
    let arguments = [path, "--shards", "1", "--tls", tls, "--connections", &table, "--memory", kind.memory];
    let mut server = Server::start_with(arguments, &env);
    let way = Way::of(&server);
    for path in ["/small.txt", "/large.bin", "/heads.txt"] {
        assert!(way.is_served(OTHER, &server, path), "{path}");
    }
    let is_served = || way.is_served(OTHER, &server, "/small.txt");
    // Tables and receive buffers are made at the start, and are in memory when they have been used.
    let first: &[u8] = if kind.is_tls { b"\x16" } else { b"G" };
    for _ in 0..RECEIVE_BUFFERS.div_ceil(kind.connections) {
        drop(send(&server, kind.connections, first));
    }
    // What the handshakes of these took goes back within seconds.
    settled(&server, if kind.is_tls { 50 } else { QUIET }, is_served);
    let before = memory(&server, "VmRSS:");
    let little = way.begin(OTHER, &server, "/small.txt").unwrap();

    let flood = kind.open(&server);
    let peak = settled(&server, QUIET, is_served);
    assert!(little.finish().unwrap(), "a connection that holds little was closed");
    drop(flood);
    let over = Instant::now();
    let grown = peak.saturating_sub(before);
    let back = || memory(&server, "VmRSS:").saturating_sub(before);
    let mut left = back();
    while left > grown / 4 && over.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
        left = back();
    }
    let took = over.elapsed();
    assert!(is_served());
    server.terminate();
    assert!(server.wait().success());
    eventually("the last line", || server.said().contains(" sitar: stopped; "));
    let closed = counted(&server.said(), "no room");

    println!(
        "{name}: {} connections, {closed} closed; {} → {} KiB resident; {} KiB are left after {took:.1?}",
        kind.connections,
        before >> 10,
        peak >> 10,
        left >> 10
    );
    let bound = kind.bound();
    assert!(grown <= bound, "grew by {} KiB, at most {} would do", grown >> 10, bound >> 10);
    assert_eq!(closed > 0, kind.is_shed, "{closed} were closed\n{}", server.said());
    assert!(closed < kind.connections as u64, "all were closed");
    assert!(left <= grown / 4, "{} of {} KiB did not go back", left >> 10, grown >> 10);
}

impl Kind {
    fn bound(&self) -> u64 {
        let send_buffers = if self.sends { SEND_BUFFERS } else { 0 };
        let connections = (self.connections + OTHERS) as u64;
        HELD_MAX + connections * (HELD_EACH + EACH) + send_buffers + SLACK
    }

    /// Opens the connections, which stay open until what this returns is dropped.
    fn open(&self, server: &Server) -> Box<dyn Any> {
        let bytes = (self.bytes)(server);
        if self.is_narrow {
            Box::new(Segments::send(server, self.connections, &bytes))
        } else {
            Box::new(send(server, self.connections, &bytes))
        }
    }
}

/// The address of the nth connection of a flood.
fn source(nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, u8::try_from(nth % ADDRESSES).unwrap())
}

fn send(server: &Server, connections: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let sockets = (0..connections).map(|nth| {
        let mut socket = connect(source(nth), server.address(), Some(NARROW)).unwrap();
        socket.set_nonblocking(true).unwrap();
        // The server may have closed it, or have stopped to receive.
        let _ = socket.write(bytes);
        socket
    });
    sockets.collect()
}

/// The same with small segments, in a process of its own, since Rust's libraries do not set their
/// size.
struct Segments(Child);

impl Segments {
    fn send(server: &Server, connections: usize, bytes: &[u8]) -> Segments {
        // Linux, include/uapi/linux/tcp.h: TCP_MAXSEG is 2.
        let script = "
import socket, sys
addresses, port, connections, receive, request = sys.argv[1:]
sockets = [socket.socket() for _ in range(int(connections))]
for nth, s in enumerate(sockets):
    s.setsockopt(socket.IPPROTO_TCP, 2, 88)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(receive))
    s.bind(('127.0.2.%d' % (nth % int(addresses)), 0))
    s.connect(('127.0.0.1', int(port)))
    s.sendall(bytes.fromhex(request))
print('open', flush=True)
sys.stdin.read()
";
        let port = server.address().port();
        let request: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = [ADDRESSES.to_string(), port.to_string(), connections.to_string(), NARROW.to_string()];
        let mut command = Command::new("python3");
        command.args(["-c", script]).args(numbers).arg(request);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        Segments(child)
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        // The end of its standard input is the end of its connections.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits until the server has given this number of answers without a new peak of its memory, and
/// returns the peak.
fn settled(server: &Server, answers: u32, is_served: impl Fn() -> bool) -> u64 {
    let (mut peak, mut quiet) = (0, 0);
    eventually("memory that grows no more", || {
        std::thread::sleep(Duration::from_millis(80));
        let last = std::mem::replace(&mut peak, memory(server, "VmHWM:"));
        quiet = if is_served() && peak <= last { quiet + 1 } else { 0 };
        quiet >= answers
    });
    peak
}

/// Returns a size of the server's memory in bytes, as /proc names it.
fn memory(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Returns a counter of the last line; those that are zero are left out.
fn counted(said: &str, name: &str) -> u64 {
    let (_, line) = said.rsplit_once(" sitar: stopped; ").unwrap();
    let counter =
        line.trim_end().split(", ").find_map(|counter| counter.strip_prefix(name)?.strip_prefix(' '));
    counter.map_or(0, |count| count.parse().unwrap())
}

/// More than half of a ClientHello of 60,000 bytes (RFC 8446 §4, §5.1), in records of 16 KiB.
fn part_of_a_client_hello() -> Vec<u8> {
    let mut message = b"\x01\x00\xea\x60\x03\x03".to_vec();
    message.resize(60_004, 0);
    let record = |part: &[u8]| [b"\x16\x03\x01\x40\x00", part].concat();
    let mut wire: Vec<u8> = message.chunks_exact(16_384).flat_map(record).collect();
    wire.truncate(32_000);
    wire
}

fn client_hello(server: &Server) -> Vec<u8> {
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut connection = ClientConnection::new(config(server), name).unwrap();
    let mut wire = Vec::new();
    connection.write_tls(&mut wire).unwrap();
    wire
}

fn half_a_request() -> Vec<u8> {
    let mut wire = b"GET /small.txt HTTP/1.1\r\nHost: localhost\r\nX-Half: ".to_vec();
    wire.resize(15_000, b'x');
    wire
}

/// A request for a large file, and 40 KiB of others.
fn pipelined() -> Vec<u8> {
    let mut wire = b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    while wire.len() < 40 << 10 {
        wire.extend(b"GET /small.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    wire
}

/// A hundred streams whose windows are closed.
fn streams() -> Vec<u8> {
    requests(100, 0, b"\x82", "/large.bin")
}

/// A hundred requests for heads of 7 KB.
fn heads() -> Vec<u8> {
    // A literal without indexing (RFC 7541 §6.2.2), of the name of the table's second entry.
    requests(100, 0, b"\x02\x04HEAD", "/heads.txt")
}

/// A file that is sent from a send buffer, as all content in HTTP/2 is.
fn download() -> Vec<u8> {
    requests(1, (1 << 31) - 1, b"\x82", "/large.bin")
}

/// Requests with long queries for a file that is not in memory, of which a connection has one open,
/// or a few.
fn parked() -> Vec<u8> {
    requests(40, 0, b"\x82", &format!("/large.bin?{}", "q".repeat(7000)))
}

/// Requests in HTTP/2, with SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2) and a field line for
/// `:method`.
fn requests(count: u32, window: u32, method: &[u8], path: &str) -> Vec<u8> {
    let setting = [&b"\0\x04"[..], &window.to_be_bytes()].concat();
    let mut wire = [&PREFACE[..], &frame(SETTINGS, 0, 0, &setting)].concat();
    // :scheme https, :path, :authority a
    let block = [method, b"\x87\x04", &length(path.len()), path.as_bytes(), b"\x41\x01a"].concat();
    for nth in 0..count {
        // END_STREAM, END_HEADERS
        wire.extend(frame(HEADERS, 5, 2 * nth + 1, &block));
    }
    wire
}

/// The length of a string of HPACK, below 2^14 (RFC 7541 §5.1, §5.2).
fn length(len: usize) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number).unwrap();
    match len.checked_sub(127) {
        None => vec![byte(len)],
        Some(rest) => vec![127, byte(rest % 128 + 128), byte(rest / 128)],
    }
}
