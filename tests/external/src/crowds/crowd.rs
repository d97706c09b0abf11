//! The crowd, a process of its own.

use super::cases::{Crowd, HEADS, ONE_ADDRESS, STALLED};
use super::visitor::{connect, handshake, trusting};
use crate::client::request;
use crate::floods::wire::{END_HEADERS, END_STREAM, HEADERS, greeting, put, stream_of};
use crate::program::Result;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Limit of one read or write of an idle connection, and of connecting.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that have been closed are opened again, at most this number of either kind in one
/// round.
const REOPENED: usize = 10;
/// Ports of half handshakes, below those that the kernel chooses.
const PORTS: Range<u16> = 2000..32_000;
const ROUND: Duration = Duration::from_millis(100);
/// The beginning of a ClientHello of 508 bytes in a record of 512.
const HALF_A_HANDSHAKE: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00";

/// Opens the connections, says so on standard output, and goes on until standard input ends.
pub(super) fn gather(crowd: Crowd, port: u16, ca: Option<&Path>) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Relaxed);
        });
        match crowd {
            Crowd::OneAddress => one_address(port, ca, &over),
            Crowd::StalledStreams => stalled_streams(port, &over),
            Crowd::Heads => heads(port, &over),
        }
    })
}

/// Says that the crowd is complete.
fn is_here() {
    println!("here");
}

/// Gives this thread, and those that it starts from now on, the lowest priority, so that they stand
/// back for the client.
fn stand_back() -> io::Result<()> {
    rustix::process::nice(19)?;
    Ok(())
}

fn one_address(port: u16, ca: Option<&Path>, over: &AtomicBool) -> Result<()> {
    let config = trusting(ca.ok_or("TLS without an authority")?)?;
    let mut idle = Vec::with_capacity(ONE_ADDRESS);
    let mut half = Vec::with_capacity(ONE_ADDRESS);
    // Where the table is full, a crowd of which not all are let in has come nevertheless.
    while idle.len() < ONE_ADDRESS && !over.load(Relaxed) {
        match idle_connection(&config, port) {
            Ok(socket) => idle.push(socket),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // Closed for another one.
            Err(_) => {}
        }
    }
    while half.len() < ONE_ADDRESS && !over.load(Relaxed) {
        half.push(HalfHandshake::begin(port)?);
    }
    stand_back()?;
    is_here();
    while !over.load(Relaxed) {
        let closed = idle.iter_mut().filter(|socket| is_closed(socket));
        for socket in closed.take(REOPENED) {
            if let Ok(another) = idle_connection(&config, port) {
                *socket = another;
            }
        }
        let mut reopened = 0;
        for one in &mut half {
            one.go_on();
            if reopened < REOPENED && is_closed(&one.socket) {
                *one = HalfHandshake::begin(port)?;
                reopened += 1;
            }
        }
        sleep(ROUND);
    }
    Ok(())
}

fn is_closed(mut socket: &TcpStream) -> bool {
    match socket.read(&mut [0; 4096]) {
        Ok(len) => len == 0,
        // Not connected: it waits for its turn to be accepted.
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
    }
}

/// Opens a connection, and uses it once. What TLS knows on this side is not needed any more.
fn idle_connection(config: &Arc<ClientConfig>, port: u16) -> io::Result<TcpStream> {
    let mut wire = handshake(config, connect(ADDRESS, port, TIMEOUT)?)?;
    request(&mut wire, "GET", "/0.txt", "localhost")?;
    wire.sock.set_nonblocking(true)?;
    Ok(wire.sock)
}

/// A handshake that is never finished.
struct HalfHandshake {
    socket: TcpStream,
    has_sent: bool,
}

impl HalfHandshake {
    /// Begins to connect; the kernel goes on with it.
    fn begin(port: u16) -> io::Result<HalfHandshake> {
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let flags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // The kernel takes milliseconds to find a port that is free where most are not.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let bind = || {
            let port = PORTS.start + NEXT.fetch_add(1, Relaxed) % (PORTS.end - PORTS.start);
            rustix::net::bind(&socket, &SocketAddr::from((ADDRESS, port)))
        };
        while bind() == Err(Errno::ADDRINUSE) {}
        let _ = rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(HalfHandshake { socket: socket.into(), has_sent: false })
    }

    fn go_on(&mut self) {
        self.has_sent = self.has_sent || self.socket.write(HALF_A_HANDSHAKE).is_ok();
    }
}

fn stalled_streams(port: u16, over: &AtomicBool) -> Result<()> {
    stand_back()?;
    let (connections, streams) = STALLED;
    let mut sockets = Vec::new();
    for connection in 0..connections {
        // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2) is 0.
        let mut wire = greeting(b"\0\x04\0\0\0\0");
        for stream in 0..streams {
            let path = format!("/{}.bin", connection * streams + stream);
            // :method GET, :scheme https, :path, :authority a
            let block = [b"\x82\x87\x04", &[path.len() as u8][..], path.as_bytes(), b"\x41\x01a"].concat();
            put(&mut wire, HEADERS, END_HEADERS | END_STREAM, stream_of(stream), &block);
        }
        let mut socket = connect(ADDRESS, port, TIMEOUT)?;
        socket.write_all(&wire)?;
        sockets.push(socket);
    }
    // They are loaded one after the other.
    sleep(Duration::from_secs(2));
    is_here();
    while !over.load(Relaxed) {
        sleep(ROUND);
    }
    Ok(())
}

fn heads(port: u16, over: &AtomicBool) -> Result<()> {
    stand_back()?;
    std::thread::scope(|scope| {
        for first in 0..HEADS {
            scope.spawn(move || {
                let mut socket = None;
                for nth in (first..).take_while(|_| !over.load(Relaxed)) {
                    let path = format!("/{}.bin", nth % HEADS);
                    let asked = match &mut socket {
                        Some(socket) => request(socket, "HEAD", &path, "localhost"),
                        None => connect(ADDRESS, port, 30 * TIMEOUT)
                            .and_then(|new| request(socket.insert(new), "HEAD", &path, "localhost")),
                    };
                    if asked.is_err() {
                        socket = None;
                        sleep(ROUND);
                    }
                }
            });
        }
        sleep(TIMEOUT);
        is_here();
    });
    Ok(())
}
