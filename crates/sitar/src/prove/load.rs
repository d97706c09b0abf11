//! The clients: threads with a connection each, which ask for one file after the other over
//! HTTP/1.1 and TLS, and compare each answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};

use super::child::NAME;
use super::{Amount, Interrupted};
use crate::error::Error;

/// The time for a step of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of each connection before anything is counted.
const WARM_UP: u64 = 50;
/// The beginning of what is said of an answer that is none with content.
const STATUS: &str = "its status line is";
/// Bytes of an answer's head and body, at most.
const HEAD_MAX: usize = 64 << 10;
const BODY_MAX: usize = 256 << 20;

/// What clients have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) answers: u64,
    pub(super) content: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.answers += other.answers;
        self.content += other.content;
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// What is to be done until when.
struct Task {
    left: AtomicU64,
    end: Option<Instant>,
}

/// What all clients share.
struct Shared {
    request: Vec<u8>,
    /// The content of every answer; that of the first one where it is not known before.
    expected: Mutex<Option<Arc<Vec<u8>>>>,
    interrupted: Interrupted,
}

/// The clients, connected.
pub(super) struct Load {
    streams: Vec<Stream>,
    shared: Shared,
}

impl Load {
    /// Connects the clients and has each of them ask a few times.
    pub(super) fn connect(
        address: SocketAddr,
        certificate: &CertificateDer<'static>,
        connections: u16,
        target: &str,
        expected: Option<Vec<u8>>,
        interrupted: &Interrupted,
    ) -> Result<Load, Error> {
        let failed = |why: String| Error::new("the clients cannot be made").cause(why);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).map_err(|error| failed(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let request = format!("GET {target} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into_bytes();
        let expected = Mutex::new(expected.map(Arc::new));
        let shared = Shared { request, expected, interrupted: interrupted.clone() };
        let streams = (0..connections).map(|_| connect(address, &config)).collect::<io::Result<_>>();
        let streams = streams.map_err(|error| failed(error.to_string()))?;
        let mut load = Load { streams, shared };
        load.run(Amount::Requests(WARM_UP * u64::from(connections)))?;
        Ok(load)
    }

    /// Has the clients ask, each on a thread, and returns what they have counted when the last of
    /// them is done. They stay connected.
    pub(super) fn run(&mut self, amount: Amount) -> Result<Tally, Error> {
        let (left, end) = match amount {
            Amount::Requests(requests) => (requests, None),
            Amount::Seconds(seconds) => {
                (u64::MAX, Some(Instant::now() + Duration::from_secs(seconds.into())))
            }
        };
        let task = Task { left: AtomicU64::new(left), end };
        let sum = Mutex::new(Ok(Tally::default()));
        let shared = &self.shared;
        let started = thread::scope(|scope| {
            for stream in &mut self.streams {
                let (task, sum) = (&task, &sum);
                let work = move || {
                    let done = work(stream, shared, task);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *sum, done) {
                        (Ok(sum), Ok(tally)) => sum.add(tally),
                        (Err(_), _) => {}
                        (sum, Err(why)) => {
                            *sum = Err(why);
                            // The others need not go on.
                            task.left.store(0, Ordering::Relaxed);
                        }
                    }
                };
                thread::Builder::new().name("sitar-client".into()).spawn_scoped(scope, work).inspect_err(
                    // Those that have started need not go on either.
                    |_| task.left.store(0, Ordering::Relaxed),
                )?;
            }
            Ok(())
        });
        started.map_err(crate::serve::cannot_start_a_thread)?;
        self.shared.interrupted.check()?;
        sum.into_inner().unwrap_or_else(PoisonError::into_inner).map_err(|why| {
            let is_status = why.to_string().starts_with(STATUS);
            let error = Error::new("an answer of the server is not what it has to be").cause(why);
            if is_status { error.hint("name a file of the site: --target /a%20file.html") } else { error }
        })
    }

    /// The length of the content.
    pub(super) fn content_len(&self) -> usize {
        let expected = self.shared.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.as_ref().map_or(0, |content| content.len())
    }
}

/// A connection that counts what goes over it.
struct Counting {
    socket: TcpStream,
    received: u64,
    sent: u64,
}

impl Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.socket.read(into)?;
        self.received += len as u64;
        Ok(len)
    }
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.socket.write(bytes)?;
        self.sent += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

type Stream = StreamOwned<ClientConnection, Counting>;

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(tls, Counting { socket, received: 0, sent: 0 }))
}

fn work(stream: &mut Stream, shared: &Shared, task: &Task) -> io::Result<Tally> {
    let (received, sent) = (stream.sock.received, stream.sock.sent);
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    let take = |left: u64| left.checked_sub(1);
    while task.end.is_none_or(|end| Instant::now() < end)
        && shared.interrupted.check().is_ok()
        && task.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    {
        stream.write_all(&shared.request)?;
        let head = read_answer(stream, &mut buffer)?;
        let content = &buffer[head..];
        let expected = {
            let mut expected = shared.expected.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(expected.get_or_insert_with(|| Arc::new(content.to_vec())))
        };
        if *content != **expected {
            return Err(io::Error::other("its content differs"));
        }
        tally.answers += 1;
        tally.content += content.len() as u64;
    }
    tally.received = stream.sock.received - received;
    tally.sent = stream.sock.sent - sent;
    Ok(tally)
}

/// Reads one answer, and returns the length of its head.
pub(super) fn read_answer(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.clear();
    let mut part = [0; 16 << 10];
    let mut wanted = None;
    loop {
        if let Some((head, len)) = wanted {
            if buffer.len() >= len {
                let is_whole = buffer.len() == len;
                return if is_whole { Ok(head) } else { Err(io::Error::other("bytes behind its end")) };
            }
        } else if buffer.len() > HEAD_MAX {
            return Err(io::Error::other("its head has no end"));
        }
        let len = stream.read(&mut part)?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&part[..len]);
        if wanted.is_none() {
            wanted = sizes(buffer)?;
        }
    }
}

/// Returns the lengths of a head and of the whole answer; `None` while the head is not whole.
fn sizes(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(format!("{STATUS} {status:?}")));
    }
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let len = lengths.next().filter(|len| *len <= BODY_MAX);
    let len = len.ok_or_else(|| io::Error::other("it does not say its length, or is too large"))?;
    Ok(Some((end + 4, end + 4 + len)))
}
