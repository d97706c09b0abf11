//! A ring with a listener, and clients made of plain sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sitar_io::{Config, Conn, Errno, Event, Key, Listener, Ring, SendBuf, TxBuf};

/// An engine, by the way to make a ring on it.
pub(crate) trait Setup {
    type Engine: sitar_io::Engine;
    /// Whether `submit` has what it can begin begun when it returns.
    const BEGINS_AT_ONCE: bool = true;
    fn ring(config: &Config) -> Result<Ring<Self::Engine>, String>;
}

pub(crate) const LISTENER: Key = Key(99);
pub(crate) const SMALL: Config =
    Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };

pub(crate) struct Bench<E: Setup> {
    pub(crate) ring: Ring<E::Engine>,
    pub(crate) listener: Listener,
    pub(crate) address: SocketAddr,
}

impl<E: Setup> Bench<E> {
    pub(crate) fn new(config: Config) -> Bench<E> {
        Bench::over(config, TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn over(config: Config, socket: TcpListener) -> Bench<E> {
        let mut ring = E::ring(&config).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = ring.listener(socket.into(), LISTENER);
        ring.accept(&listener).unwrap();
        Bench { ring, listener, address }
    }

    /// The next event, or `None` after `ms` milliseconds without one.
    pub(crate) fn event_within(&mut self, ms: u64) -> Option<Event> {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            if let Some(event) = self.ring.next() {
                return Some(event);
            }
            if self.ring.wait(Some(until)).unwrap() >= until {
                return self.ring.next();
            }
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        self.event_within(60_000).expect("an event within a minute")
    }

    pub(crate) fn accept(&mut self, key: u64) -> (TcpStream, Conn) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        match self.event() {
            Event::Accepted { listener: LISTENER, conn } => {
                self.ring.set_key(&conn, Key(key));
                (client, conn)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn recv(&mut self, key: u64) -> Vec<u8> {
        match self.event() {
            Event::Recv { key: Key(k), buf } if k == key => buf.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// The buffer that was sent, which comes back as long as `submit` is not called.
    pub(crate) fn sent(&mut self, key: u64) -> (SendBuf, Result<usize, Errno>) {
        match self.event() {
            Event::Sent { key: Key(k), buf: Some(buf), result } if k == key => (buf, result),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn tx(&mut self, bytes: &[u8]) -> TxBuf {
        let mut tx = self.ring.take_tx().unwrap();
        tx[..bytes.len()].copy_from_slice(bytes);
        tx.set_filled(bytes.len());
        tx
    }

    /// Bytes to the connection and back again, through what is received and one send.
    pub(crate) fn echo(&mut self, client: &mut TcpStream, conn: &Conn, key: u64) {
        client.write_all(b"ping").unwrap();
        let got = self.recv(key);
        let tx = self.tx(&got);
        self.ring.send(conn, tx.into(), 0).unwrap();
        assert!(matches!(self.sent(key).1, Ok(4)));
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"ping");
    }
}
