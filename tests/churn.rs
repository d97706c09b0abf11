//! Connections that come to every kind of end, in every state: whatever they held comes back.

use crate::common::client::{Client, config, socket};
use crate::common::site::{Site, pattern};
use crate::common::{Server, eventually, sample};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustls::ClientConfig;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Small enough that a test can fill the table; see the limits in the environment below.
const TABLE: usize = 256;
/// Connections at a time: few enough that the table is never the reason why one fails.
const WAVE: usize = 200;
const WAVES: usize = 25;
const _: () = assert!(WAVE * WAVES >= 5_000 && WAVE < TABLE);

/// The state of a connection when it ends.
#[derive(Clone, Copy, Debug)]
enum State {
    BeforeHandshake,
    MidHandshake,
    Idle,
    MidRequest,
    MidResponse,
}

/// The way in which it ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// FIN, and no more reads.
    Close,
    /// RST.
    Reset,
    /// FIN of our direction; the other is read to its end.
    HalfClose,
    /// Nothing: the server's patience ends it.
    TimeOut,
}

const STATES: [State; 5] =
    [State::BeforeHandshake, State::MidHandshake, State::Idle, State::MidRequest, State::MidResponse];
const QUICK_ENDS: [End; 3] = [End::Close, End::Reset, End::HalfClose];

/// Starts a server that waits for `patience` seconds for anything.
fn start(site: &Site, patience: &str) -> Server {
    let table = TABLE.to_string();
    // One shard, so that the whole table is one table.
    let env = [
        ("SITAR_SHARDS", "1"),
        ("SITAR_CONNECTIONS", table.as_str()),
        ("SITAR_HANDSHAKE_SECONDS", patience),
        ("SITAR_HEAD_SECONDS", patience),
        ("SITAR_IDLE_SECONDS", patience),
        ("SITAR_SEND_SECONDS", patience),
    ];
    Server::start_with([site.path()], &env)
}

fn site() -> Site {
    let site = Site::new();
    site.add("small.txt", b"still here\n");
    site.add("big.bin", &pattern(8 * 1024 * 1024));
    site
}

#[test]
fn every_end_in_every_state_gives_everything_back() {
    let site = site();
    // The server's patience must not end what ends for another reason, however busy the machine.
    // `SITAR_SAMPLE` divides them: a few waves fill the table more than once.
    all_come_back(&site, "600", (WAVES - 2) / (sample() / 2).max(1), &QUICK_ENDS);
    // Waiting for its patience takes seconds, so those connections wait together.
    all_come_back(&site, "2", 2, &[End::TimeOut]);
}

/// Brings waves of connections to these ends, in every state, on a server of their own.
fn all_come_back(site: &Site, patience: &str, waves: usize, ends: &[End]) {
    let server = start(site, patience);
    let config = config(&server);
    answers(&server, &config);
    eventually("the whole table to be usable", || everything_is_free(&server, &config));
    let descriptors = server.descriptors();

    let cases: Vec<(State, End)> =
        STATES.iter().flat_map(|state| ends.iter().map(|end| (*state, *end))).collect();
    for _ in 0..waves {
        let mut connections = Vec::new();
        for number in 0..WAVE {
            let (state, end) = cases[number % cases.len()];
            match (reach(state, &server, &config), end) {
                (Ok(socket), end) => connections.push((socket, end)),
                // It has come to this end on the way.
                (Err(_), End::TimeOut) => {}
                (Err(error), _) => panic!("{state:?}, {end:?}: {error}"),
            }
        }
        std::thread::scope(|scope| {
            for (socket, end) in connections {
                scope.spawn(move || finish(socket, end));
            }
        });
    }
    // Each slot is usable again, all at the same time; then the descriptors are what they were.
    eventually("every slot to come back", || everything_is_free(&server, &config));
    eventually("the descriptors to come back", || server.descriptors() <= descriptors);
    answers(&server, &config);
}

#[test]
fn a_full_table_is_no_deaf_server() {
    let site = site();
    let server = start(&site, "2");
    let config = config(&server);
    answers(&server, &config);
    for _ in 0..3 {
        // More than the table holds; those beyond it wait in the backlog or are refused, as the
        // server likes.
        let sockets: Vec<TcpStream> =
            (0..TABLE + 100).filter_map(|_| socket(server.address()).ok()).collect();
        assert!(sockets.len() >= TABLE, "only {} connections were taken", sockets.len());
        std::thread::sleep(Duration::from_millis(200));
        drop(sockets);
        eventually("an answer after the table was full", || try_answer(&server, &config));
    }
    eventually("every slot to come back", || everything_is_free(&server, &config));
}

/// Brings a connection to the state in which it will end. Only the socket is kept: what TLS knows
/// on this side is not needed.
fn reach(state: State, server: &Server, config: &Arc<ClientConfig>) -> io::Result<TcpStream> {
    let connect = || Client::open(config, server.address());
    match state {
        State::BeforeHandshake => socket(server.address()),
        State::MidHandshake => {
            let mut socket = socket(server.address())?;
            // A handshake record of 512 bytes that holds a ClientHello of 508 bytes, of which three
            // arrive.
            socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00")?;
            Ok(socket)
        }
        State::Idle => {
            let mut client = connect()?;
            assert_eq!(client.get("/small.txt")?.body, b"still here\n");
            client.socket().try_clone()
        }
        State::MidRequest => {
            let mut client = connect()?;
            client.send(b"GET /small.txt HTTP/1.1\r\nHost: loc")?;
            client.socket().try_clone()
        }
        State::MidResponse => {
            let mut client = connect()?;
            // The kernels' buffers must not hold the whole body, or the server is done with it at
            // once.
            set_socket_recv_buffer_size(client.socket(), 64 * 1024)?;
            client.send(b"GET /big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            match client.read_some(&mut [0; 100])? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                _ => client.socket().try_clone(),
            }
        }
    }
}

fn finish(mut socket: TcpStream, end: End) {
    match end {
        End::Close => {}
        End::Reset => set_socket_linger(&socket, Some(Duration::ZERO)).unwrap(),
        End::HalfClose => {
            // The server may have closed already, having seen its own limit first.
            let _ = socket.shutdown(Shutdown::Write);
            read_to_its_end(&mut socket);
        }
        End::TimeOut => {
            // Longer than the server waits, so that one that is sent a body is given up on for not
            // reading it.
            std::thread::sleep(Duration::from_secs(5));
            read_to_its_end(&mut socket);
        }
    }
}

/// Until FIN or RST; a server that does neither in all of this test's patience fails it.
fn read_to_its_end(socket: &mut TcpStream) {
    let mut buf = [0; 64 * 1024];
    loop {
        match socket.read(&mut buf) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the server neither sends nor ends: {error}"),
        }
    }
}

fn answers(server: &Server, config: &Arc<ClientConfig>) {
    assert!(try_answer(server, config), "no answer");
}

fn try_answer(server: &Server, config: &Arc<ClientConfig>) -> bool {
    let get = || Client::open(config, server.address())?.get("/small.txt");
    get().is_ok_and(|response| response.status == 200 && response.body == b"still here\n")
}

/// Whether as many connections as the table holds can be served at the same time.
fn everything_is_free(server: &Server, config: &Arc<ClientConfig>) -> bool {
    const THREADS: usize = 8;
    let opened = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut clients = Vec::new();
                while opened.load(Ordering::Relaxed) < TABLE && !failed.load(Ordering::Relaxed) {
                    if clients.len() < TABLE / THREADS {
                        match Client::open(config, server.address()) {
                            Ok(client) => clients.push(client),
                            Err(_) => failed.store(true, Ordering::Relaxed),
                        }
                        opened.fetch_add(1, Ordering::Relaxed);
                    }
                    // Each is used again and again, so that none is idle for too long until the
                    // last one is there.
                    let served =
                        |client: &mut Client| client.get("/small.txt").is_ok_and(|got| got.status == 200);
                    if !clients.iter_mut().all(served) {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    !failed.into_inner()
}
