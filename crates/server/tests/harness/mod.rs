//! A worker inside the test's process, on the real kernel and a given engine, and a client that
//! speaks bytes.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sitar_io::{Ring, SqPoll};
use sitar_server::{
    BodyMemory, Counts, Hooks, Incident, Limits, ListenerSpec, Networks, Pem, Role, SiteSpec, Spec,
    TlsOffload, TlsSpec, Worker,
};
use sitar_site::Options;

/// The engine of the worker's rings.
#[derive(Clone, Copy)]
pub enum Engine {
    Uring,
    /// With both sides going to sleep early, so that waking each other is part of every case.
    SqPoll,
    Epoll,
}

impl Engine {
    /// Keeps other servers on a polled ring away, if this is one.
    pub fn alone(self) -> Option<MutexGuard<'static, ()>> {
        static ALONE: Mutex<()> = Mutex::new(());
        matches!(self, Engine::SqPoll).then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn start(self, spec: &Spec, hooks: &Hooks) -> Worker {
        let worker = match self {
            Engine::Uring => Worker::start(spec, hooks, |config| {
                Ring::uring(config).map_err(|error| std::io::Error::other(error.to_string()))
            }),
            Engine::SqPoll => Worker::start(spec, hooks, |config| {
                let poll =
                    SqPoll { spin: Duration::from_micros(50), idle: Duration::from_millis(2), cpu: None };
                Ring::sqpoll(config, &poll).map_err(|error| std::io::Error::other(error.to_string()))
            }),
            Engine::Epoll => Worker::start(spec, hooks, Ring::epoll),
        };
        worker.unwrap()
    }
}

/// Runs each of the functions named as a test of its own on every engine.
#[macro_export]
macro_rules! on_every_engine {
    ($($case:ident,)*) => {
        mod uring {
            $(#[test] fn $case() { super::$case($crate::harness::Engine::Uring); })*
        }
        mod epoll {
            $(#[test] fn $case() { super::$case($crate::harness::Engine::Epoll); })*
        }
    };
}

/// The same on the polled ring, for cases that count on nothing being done within a time: each such
/// server has a kernel thread that watches, and many of them on few cores keep each other waiting.
/// So there is one at a time.
#[macro_export]
macro_rules! on_the_polled_ring {
    ($($case:ident,)*) => {
        mod sqpoll {
            $(#[test] fn $case() { super::$case($crate::harness::Engine::SqPoll); })*
        }
    };
}

pub struct Server {
    pub worker: Worker,
    pub address: SocketAddr,
    pub incidents: Arc<Mutex<Vec<String>>>,
    pub panics: Arc<AtomicU32>,
    directory: PathBuf,
    /// Held by a server on a polled ring.
    _alone: Option<MutexGuard<'static, ()>>,
    ca: Option<Vec<u8>>,
}

/// Limits small enough to be reached, but for times: how fast a machine is must not decide.
pub fn small() -> Limits {
    Limits {
        connections: 64,
        rx_buffers: 16,
        tx_buffers: 16,
        held_max: 1 << 20,
        handshake: LONG,
        head: LONG,
        idle: LONG,
        send: LONG,
        linger: Duration::from_millis(500),
        drain: Duration::from_secs(2),
        ..Limits::default()
    }
}

/// Longer than a test takes on a machine that is very busy.
const LONG: Duration = Duration::from_secs(120);

/// The site that most tests serve.
fn example(directory: &Path) {
    fs::write(directory.join("small.txt"), "hello\n").unwrap();
    for (name, len) in [("k16.bin", 16 << 10), ("m1.bin", 1 << 20), ("m9.bin", 9 << 20)] {
        fs::write(directory.join(name), body(len)).unwrap();
    }
}

pub fn body(len: usize) -> Vec<u8> {
    repeated(&(0..251).collect::<Vec<u8>>(), len)
}

/// Bytes that repeat. They are copied: to compute each is what most of the tests' time would be
/// taken by.
pub fn repeated(period: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = period.repeat(len.div_ceil(period.len()));
    bytes.truncate(len);
    bytes
}

fn own(tls: bool) -> Own {
    if tls { identity() } else { (None, None) }
}

fn new_directory(build: impl FnOnce(&Path)) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("sitar-server-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    build(&directory);
    directory
}

impl Server {
    pub fn plain(engine: Engine, limits: Limits) -> Server {
        Server::start(engine, limits, false, BodyMemory::new(64 << 20, 8 << 20))
    }

    pub fn tls(engine: Engine, limits: Limits) -> Server {
        Server::start(engine, limits, true, BodyMemory::new(64 << 20, 8 << 20))
    }

    /// With other settings of TLS.
    pub fn tls_with(
        engine: Engine,
        limits: Limits,
        budget: BodyMemory,
        set: impl FnOnce(&mut TlsSpec),
    ) -> Server {
        let (ca, mut tls) = identity();
        tls.as_mut().map(set);
        Server::serve(engine, limits, (ca, tls), budget, new_directory(example), SystemTime::now, None)
    }

    pub fn start(engine: Engine, limits: Limits, tls: bool, budget: BodyMemory) -> Server {
        Server::over(engine, limits, tls, budget, example)
    }

    /// The same with sockets that take at most `bytes` at a time.
    pub fn narrow(engine: Engine, limits: Limits, tls: bool, budget: BodyMemory, bytes: usize) -> Server {
        let directory = new_directory(example);
        Server::serve(engine, limits, own(tls), budget, directory, SystemTime::now, Some(bytes))
    }

    /// The same over a site that `build` writes.
    pub fn over(
        engine: Engine,
        limits: Limits,
        tls: bool,
        budget: BodyMemory,
        build: impl FnOnce(&Path),
    ) -> Server {
        Server::at(SystemTime::now, engine, limits, tls, budget, build)
    }

    /// The same with a wall clock that shows `now`.
    pub fn at(
        now: fn() -> SystemTime,
        engine: Engine,
        limits: Limits,
        tls: bool,
        budget: BodyMemory,
        build: impl FnOnce(&Path),
    ) -> Server {
        Server::serve(engine, limits, own(tls), budget, new_directory(build), now, None)
    }

    /// Serves a directory that is there already, and removes it in the end.
    pub fn over_directory(
        engine: Engine,
        limits: Limits,
        tls: bool,
        budget: BodyMemory,
        directory: PathBuf,
    ) -> Server {
        Server::serve(engine, limits, own(tls), budget, directory, SystemTime::now, None)
    }

    fn serve(
        engine: Engine,
        limits: Limits,
        (ca, tls): Own,
        budget: BodyMemory,
        directory: PathBuf,
        now: fn() -> SystemTime,
        send_buffer: Option<usize>,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Some(bytes) = send_buffer {
            rustix::net::sockopt::set_socket_send_buffer_size(&listener, bytes).unwrap();
        }
        let address = listener.local_addr().unwrap();
        let incidents = Arc::new(Mutex::new(Vec::new()));
        let panics = Arc::new(AtomicU32::new(0));
        let (told, due) = (Arc::clone(&incidents), Arc::clone(&panics));
        let role = if tls.is_some() { Role::Https } else { Role::Http };
        let spec = Spec {
            listeners: vec![ListenerSpec {
                role,
                is_passed: false,
                proxies: Networks::default(),
                sockets: vec![listener.into()],
            }],
            site: Some(SiteSpec { path: directory.clone(), options: Options::default() }),
            tls,
            limits,
            offload: TlsOffload::None,
            memory: budget,
        };
        let hooks = Hooks {
            may_have_users: false,
            clock: Arc::new(move || {
                // Others ask for the time, too: the helper thread, and the thread that changes
                // sites.
                if std::thread::current().name() == Some("sitar-0") {
                    let due = due.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                    assert!(due.is_err(), "a panic on request");
                }
                now()
            }),
            report: Arc::new(move |incident: Incident| told.lock().unwrap().push(incident.to_string())),
            hosts: None,
            tls: None,
            log: None,
            trusted_proxies: Arc::default(),
            challenges: Arc::default(),
            times: false,
        };
        let alone = engine.alone();
        let worker = engine.start(&spec, &hooks);
        Server { worker, address, incidents, panics, directory, _alone: alone, ca }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection with a window of a few KiB.
    pub fn connect_narrow(&self) -> TcpStream {
        self.connect_narrow_from(1)
    }

    /// The same from 127.0.0.`host`.
    pub fn connect_narrow_from(&self, host: u8) -> TcpStream {
        self.connect_socket(host, |socket| {
            rustix::net::sockopt::set_socket_recv_buffer_size(socket, 4096).unwrap();
        })
    }

    /// A connection from 127.0.0.`host`.
    pub fn connect_from(&self, host: u8) -> TcpStream {
        self.connect_socket(host, |socket| rustix::net::sockopt::set_tcp_nodelay(socket, true).unwrap())
    }

    fn connect_socket(&self, host: u8, prepare: impl FnOnce(&OwnedFd)) -> TcpStream {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        prepare(&socket);
        bind(&socket, &SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        connect(&socket, &self.address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Has other certificates served. Clients that connect from now on trust those only.
    pub fn renew(&mut self) {
        let (ca, tls) = identity();
        self.worker.swap_tls(&tls.unwrap()).unwrap();
        self.ca = ca;
    }

    pub fn connect_tls(&self, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        self.tls_over(self.connect(), version)
    }

    pub fn tls_over(&self, stream: TcpStream, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.clone().unwrap().into()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        rustls::StreamOwned::new(connection, stream)
    }

    /// One exchange on a connection of its own, until the server closes.
    pub fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    pub fn stop(&self) -> Counts {
        self.worker.stop();
        self.worker.wait()
    }

    pub fn directory(&self) -> &PathBuf {
        &self.directory
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.worker.stop();
        self.worker.stop();
        self.worker.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// The authority that clients are to trust, and the server's TLS.
type Own = (Option<Vec<u8>>, Option<TlsSpec>);

fn identity() -> Own {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = TlsSpec {
        identities: vec![Pem { chain: chain.into_bytes(), key: key.into_bytes().into() }],
        by_host: Vec::new(),
        protocols: vec![b"http/1.1".to_vec()],
        min_version: sitar_tls::Version::Tls12,
        seals_max: None,
    };
    (Some(made.cert.der().to_vec()), Some(tls))
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Reads one answer with a Content-Length: its status and its body.
pub fn answer(stream: &mut impl Read) -> (u16, Vec<u8>) {
    let (head, body) = answer_with_head(stream);
    (head[9..12].parse().unwrap(), body)
}

/// The same with its whole head.
pub fn answer_with_head(stream: &mut impl Read) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let n = stream.read(&mut byte).unwrap();
        assert!(n == 1, "closed inside a head: {}", head.escape_ascii());
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// A client that does not read holds no buffer, and is left in peace until its time is over: there
/// are more of them than buffers, and none is closed for the others.
pub fn slow_readers_hold_no_send_buffers<S: Read + Write>(
    engine: Engine,
    tls: bool,
    connect: impl Fn(&Server) -> S,
) {
    let limits = Limits { tx_buffers: 8, connections: 64, ..small() };
    // The body lies in memory, or is read from its file.
    for budget in [BodyMemory::new(64 << 20, 16 << 20), BodyMemory::new(64 << 20, 8 << 20)] {
        let server = Server::start(engine, limits.clone(), tls, budget);
        let ask = |path| {
            let mut stream = connect(&server);
            stream.write_all(&get(path)).unwrap();
            stream
        };
        let slow: Vec<_> = (0..12).map(|_| ask("/m9.bin")).collect();
        std::thread::sleep(Duration::from_millis(1500));
        assert!(answer(&mut ask("/m1.bin")) == (200, body(1 << 20)));
        for mut stream in slow {
            assert!(answer(&mut stream) == (200, body(9 << 20)));
        }
        assert_eq!(server.stop().shed, 0);
    }
}

/// Each of the [`example`]'s files, whole.
pub fn asks_for_every_size(stream: &mut (impl Read + Write)) {
    for (path, len) in [("/k16.bin", 16 << 10), ("/m1.bin", 1 << 20), ("/m9.bin", 9 << 20)] {
        stream.write_all(&get(path)).unwrap();
        assert!(answer(stream) == (200, body(len)), "{path}");
    }
    stream.write_all(&get("/small.txt")).unwrap();
    assert_eq!(answer(stream), (200, b"hello\n".to_vec()));
}
