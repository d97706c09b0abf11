//! Connections that one address holds to no purpose: they do not keep the server from others.

use super::{MANY, OTHER, Way, connect};
use crate::common::client::{self, Client};
use crate::common::files::OpenFiles;
use crate::common::site::Site;
use crate::common::{Server, eventually, sample};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustls::ClientConfig;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use std::time::Duration;

/// Connections of each kind, and places in the server's table. `SITAR_SAMPLE=8` divides both.
const CROWD: usize = 8000;
const TABLE: usize = 8192;
/// Ports of half handshakes, below those that the kernel chooses.
const PORTS: Range<u16> = 2000..32_000;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// The beginning of a ClientHello of 508 bytes in a record of 512.
const HALF_A_HANDSHAKE: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00";

#[test]
fn an_address_with_thousands_of_connections_does_not_shut_others_out() {
    // One for each connection of both kinds.
    let sample = sample();
    let crowd = CROWD / sample;
    let Some(_files) = OpenFiles::reserve(2 * crowd + 50) else { return };
    let site = site();
    let server = start(&site, &["--connections", &(TABLE / sample).to_string()]);
    let way = Way::of(&server);
    assert!(way.is_served(OTHER, &server, "/small.txt"));
    let config = client::config(&server);
    let idle: Vec<TcpStream> = (0..crowd).map_while(|_| idle(MANY, &config, &server).ok()).collect();
    let mut half = Vec::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        half.resize_with(crowd, || HalfHandshake::begin(server.address()).unwrap());
        scope.spawn(|| {
            while !over.load(Relaxed) {
                half.iter_mut().for_each(|one| one.go_on(server.address()));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let _over = Over(&over);
        for _ in 0..5 {
            eventually("an answer for another address", || way.is_served(OTHER, &server, "/small.txt"));
        }
    });
    drop(idle);
}

#[test]
fn idle_connections_do_not_shut_newcomers_out() {
    with_idle_connections("auto");
}

#[test]
fn idle_connections_do_not_shut_newcomers_out_on_epoll() {
    with_idle_connections("epoll");
}

/// Fills a table of 64, and comes from outside.
fn with_idle_connections(engine: &str) {
    let site = site();
    let server = start(&site, &["--connections", "64", "--engine", engine]);
    let (way, config) = (Way::of(&server), client::config(&server));
    // The server may close the first for the last.
    let one_address: Vec<TcpStream> = (0..64).map(|_| idle(MANY, &config, &server).unwrap()).collect();
    for source in [OTHER, MANY, OTHER, MANY] {
        eventually("an answer for a newcomer", || way.is_served(source, &server, "/small.txt"));
    }
    drop(one_address);

    // Two of each address are fewer than a sixteenth.
    eventually("an empty table", || way.is_served(OTHER, &server, "/small.txt"));
    let mut clients = Vec::new();
    for nth in 0..64 {
        let socket = connect(Ipv4Addr::new(127, 0, 1, nth / 2), server.address(), None).unwrap();
        let mut client = Client::over(&config, socket).unwrap();
        assert_eq!(client.get("/small.txt").unwrap().status, 200, "{nth}");
        clients.push(client);
    }
    let mut newcomer = Client::over(&config, connect(OTHER, server.address(), None).unwrap()).unwrap();
    assert_eq!(newcomer.get("/small.txt").unwrap().status, 200);
    let mut longest = clients.remove(0);
    let ended = longest.read_some(&mut [0; 100]);
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    assert!(!ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "the first is still open");
    for (nth, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.get("/small.txt").unwrap().status, 200, "{}", nth + 1);
    }
}

fn site() -> Site {
    let site = Site::new();
    site.add("small.txt", b"small\n");
    site
}

/// Starts a server that waits for hours, so that no place in its table becomes free by itself.
fn start(site: &Site, arguments: &[&str]) -> Server {
    let env = [("SITAR_HANDSHAKE_SECONDS", "600"), ("SITAR_IDLE_SECONDS", "600")];
    let path = site.path().to_str().unwrap();
    Server::start_with([path, "--shards", "1"].iter().chain(arguments), &env)
}

/// Opens a connection, and uses it once. What TLS knows on this side is not needed any more.
fn idle(source: Ipv4Addr, config: &Arc<ClientConfig>, server: &Server) -> io::Result<TcpStream> {
    let mut client = Client::over(config, connect(source, server.address(), None)?)?;
    client.get("/small.txt")?;
    client.socket().try_clone()
}

/// A connection that begins again when it is closed.
struct HalfHandshake {
    socket: OwnedFd,
    has_sent: bool,
}

impl HalfHandshake {
    fn begin(server: SocketAddr) -> io::Result<HalfHandshake> {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // The kernel takes milliseconds to find a port that is free where most are not.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let bind = || {
            let port = PORTS.start + NEXT.fetch_add(1, Relaxed) % (PORTS.end - PORTS.start);
            rustix::net::bind(&socket, &SocketAddr::from((MANY, port)))
        };
        while bind() == Err(Errno::ADDRINUSE) {}
        // It goes on in the kernel.
        let _ = rustix::net::connect(&socket, &server);
        Ok(HalfHandshake { socket, has_sent: false })
    }

    fn go_on(&mut self, server: SocketAddr) {
        if !self.has_sent {
            self.has_sent = rustix::net::send(&self.socket, HALF_A_HANDSHAKE, SendFlags::NOSIGNAL).is_ok();
        }
        let is_closed = match rustix::net::recv(&self.socket, &mut [0; 100], RecvFlags::empty()) {
            Ok((_, len)) => len == 0,
            Err(error) => error != Errno::WOULDBLOCK && error != Errno::NOTCONN,
        };
        if is_closed && let Ok(another) = HalfHandshake::begin(server) {
            *self = another;
        }
    }
}

/// Set when it goes, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
