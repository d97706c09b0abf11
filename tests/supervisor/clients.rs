//! Clients that do as they are told, and notice everything else.

use super::place::{NAME, Service};
use crate::common::client::{Client, socket};
use crate::common::h2;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use rustls::ClientConfig;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes that a download reads at a time while it takes its time, and its pause between them. It
/// takes minutes that way.
const PIECE: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(50);

/// What may happen to a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Losses {
    /// Nothing: each request is answered, and an end was announced.
    None,
    /// It may be lost once it is there.
    Connections,
}

/// Connections that ask all the time.
pub(super) struct Load {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    losses: Losses,
    address: SocketAddr,
    is_over: AtomicBool,
    answered: AtomicUsize,
    /// Connections that the server ended, as it had said.
    closed: AtomicUsize,
    /// Connections that ended otherwise.
    lost: AtomicUsize,
}

impl Load {
    /// Starts clients of HTTP/1.1 and as many of HTTP/2.
    pub(super) fn start(service: &Service, pairs: usize, losses: Losses) -> Load {
        let state = Arc::new(State {
            losses,
            address: service.https(),
            is_over: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        });
        let (h1, h2) = (service.clients(b"http/1.1"), service.clients(b"h2"));
        let threads = (0..2 * pairs).map(|number| {
            let state = Arc::clone(&state);
            let config = Arc::clone(if number % 2 == 0 { &h1 } else { &h2 });
            thread::spawn(move || state.keep_asking(&config, number % 2 == 1))
        });
        Load { threads: threads.collect(), state }
    }

    pub(super) fn answered(&self) -> usize {
        self.state.answered.load(Ordering::Relaxed)
    }

    pub(super) fn closed(&self) -> usize {
        self.state.closed.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> usize {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Panics if a client has met with what may not happen.
    pub(super) fn check(&self) {
        assert!(!self.threads.iter().any(JoinHandle::is_finished), "a client has failed, and says why above");
    }

    /// Ends it. Each client must have gone well.
    pub(super) fn finish(mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn keep_asking(&self, config: &Arc<ClientConfig>, is_h2: bool) {
        while !self.is_over.load(Ordering::Relaxed) {
            // Nothing ever closes the listening sockets.
            let socket = socket(self.address).unwrap_or_else(|error| panic!("refused: {error}"));
            let done = Client::over(config, socket).and_then(|client| match is_h2 {
                false => self.ask(client),
                true => self.ask_h2(h2::Client::over(client, h2::WINDOW_MAX)?),
            });
            match (done, self.losses) {
                (Ok(()), _) => {}
                (Err(error), Losses::None) => panic!("HTTP/2 {is_h2}: {error}"),
                (Err(_), Losses::Connections) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Asks until it is over, or the server says that this connection ends.
    fn ask(&self, mut client: Client) -> io::Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            let response = client.get("/name.txt")?;
            assert_eq!((response.status, response.body.as_slice()), (200, NAME.as_bytes()));
            self.answered.fetch_add(1, Ordering::Relaxed);
            if response.field("connection") == Some("close") {
                let more = client.read_some(&mut [0; 16])?;
                assert_eq!(more, 0, "there is more behind the last answer");
                self.closed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Ok(())
    }

    fn ask_h2(&self, mut client: h2::Client) -> io::Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            for response in client.get_all(&["/name.txt"; 4], &[])? {
                assert_eq!((response.status, response.body.as_slice()), (200, NAME.as_bytes()));
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            if client.left_by_server {
                assert!(client.is_ended()?, "an end that is not clean");
                self.closed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A download in progress, which takes its time until it is told to hurry.
pub(super) struct Download {
    hurries: Arc<AtomicBool>,
    read: Arc<AtomicUsize>,
    thread: JoinHandle<(usize, Digest)>,
}

impl Download {
    /// Asks for the large file over TLS, and returns when its content is coming.
    pub(super) fn start(service: &Service) -> Download {
        let mut client = service.connect();
        client.send(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut held = Vec::new();
        let body = loop {
            let mut piece = [0; PIECE];
            let len = client.read_some(&mut piece).unwrap();
            assert!(len > 0, "an end in the head");
            held.extend_from_slice(&piece[..len]);
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break held.split_off(at + 4);
            }
        };
        let head = String::from_utf8(held).unwrap().to_ascii_lowercase();
        let length = head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap();
        let length: usize = length.parse().unwrap();
        let (hurries, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(body.len())));
        let (told, count) = (Arc::clone(&hurries), Arc::clone(&read));
        let thread = thread::spawn(move || {
            let mut digest = Context::new(&SHA256);
            digest.update(&body);
            let mut piece = vec![0; PIECE];
            while count.load(Ordering::Relaxed) < length {
                let len = client.read_some(&mut piece).unwrap();
                assert!(len > 0, "an end after {} of {length} bytes", count.load(Ordering::Relaxed));
                digest.update(&piece[..len]);
                count.fetch_add(len, Ordering::Relaxed);
                if !told.load(Ordering::Relaxed) {
                    thread::sleep(PAUSE);
                }
            }
            (length, digest.finish())
        });
        Download { hurries, read, thread }
    }

    /// Returns how many bytes have come.
    pub(super) fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Reads the rest, and returns how much came in all, and what it hashes to.
    pub(super) fn finish(self) -> (usize, Digest) {
        self.hurries.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A connection of HTTP/1.1 on which nothing happens for a time.
pub(super) enum Idle {
    Plain(TcpStream),
    Tls(Box<Client>),
}

/// What came on it for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// The server says that it closes the connection.
    pub(super) is_last: bool,
}

impl Idle {
    /// Opens connections, each of which has been used once. Some speak TLS.
    pub(super) fn open(service: &Service, count: usize) -> Vec<Idle> {
        let config = service.clients(b"http/1.1");
        let one = |number: usize| {
            let mut idle = match number % 5 {
                0 => Idle::Tls(Box::new(Client::open(&config, service.https()).unwrap())),
                _ => Idle::Plain(socket(service.http).unwrap()),
            };
            let answer = idle.ask("localhost");
            assert_eq!(answer, Answer { status: 200, body: NAME.to_owned(), is_last: false });
            idle
        };
        (0..count).map(one).collect()
    }

    /// Asks for `name.txt` of a host.
    pub(super) fn ask(&mut self, host: &str) -> Answer {
        let head = format!("GET /name.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
        match self {
            Idle::Tls(client) => {
                client.send(head.as_bytes()).unwrap();
                let response = client.response(false).unwrap();
                let is_last = response.field("connection") == Some("close");
                Answer { status: response.status, body: String::from_utf8(response.body).unwrap(), is_last }
            }
            Idle::Plain(stream) => {
                stream.write_all(head.as_bytes()).unwrap();
                plain(stream)
            }
        }
    }

    /// Waits for the end of the connection; nothing may come before it.
    pub(super) fn end(self) {
        let more = match self {
            Idle::Tls(mut client) => client.read_some(&mut [0; 16]),
            Idle::Plain(mut stream) => stream.read(&mut [0; 16]),
        };
        assert_eq!(more.unwrap(), 0, "there is more behind the last answer");
    }
}

fn plain(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "an end in the head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    Answer {
        status: head["http/1.1 ".len()..][..3].parse().unwrap(),
        body: String::from_utf8(body).unwrap(),
        is_last: head.contains("\r\nconnection: close\r\n"),
    }
}
