//! Echo as a plain loop over events, without any adapter: `cargo run -p sitar-io --example
//! plain_echo [ADDRESS]`.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a module of the tests as well")]

use std::collections::VecDeque;
use std::io::Read;
use std::net::TcpListener;
use std::time::Instant;

use sitar_io::{Config, Conn, Event, Key, Listener, RecvEnd, Ring, SendBuf, Stats, Uring};

/// Sizes for a thousand connections: 4 MiB to receive into, 16 MiB of address space to send from.
pub const CONFIG: Config =
    Config { connections: 1000, rx_count: 1024, rx_len: 4096, tx_count: 1024, tx_len: 16 << 10 };
/// Receiving is stopped at each multiple of this number of unsent bytes; what is under way still
/// comes.
const UNSENT_MAX: usize = 32 << 10;

#[derive(Default)]
struct Peer {
    generation: u32,
    conn: Option<Conn>,
    /// Arrived while a send was in flight.
    unsent: VecDeque<u8>,
    sending: bool,
    /// Bytes sent of what is being sent.
    sent: usize,
    receiving: bool,
    ended: bool,
}

/// An echo server.
pub struct Echo {
    ring: Ring<Uring>,
    listener: Listener,
    accepting: bool,
    peers: Vec<Peer>,
    free: Vec<usize>,
    /// Peers that wait for a send slot, first come, first served.
    starved: VecDeque<usize>,
}

impl Echo {
    /// A server for what connects to `listener`.
    pub fn new(config: &Config, listener: TcpListener) -> std::io::Result<Echo> {
        let mut ring = Ring::uring(config).map_err(std::io::Error::other)?;
        let listener = ring.listener(listener.into(), Key(u64::MAX));
        let peers: Vec<Peer> = (0..config.connections).map(|_| Peer::default()).collect();
        let free = (0..peers.len()).rev().collect();
        Ok(Echo { ring, listener, accepting: false, peers, free, starved: VecDeque::new() })
    }

    /// Waits until something has happened or `until` has passed, and answers it.
    pub fn turn(&mut self, until: Option<Instant>) -> std::io::Result<()> {
        // On a full table accepting would end at once, over and over; it begins again after a
        // close.
        if !self.accepting && self.ring.connections() < self.peers.len() {
            self.accepting = self.ring.accept(&self.listener).is_ok();
        }
        self.ring.wait(until)?;
        while let Some(event) = self.ring.next() {
            match event {
                Event::Accepted { conn, .. } => self.admit(conn),
                Event::AcceptEnded { .. } => self.accepting = false,
                Event::Recv { key, .. } | Event::RecvEnded { key, .. } | Event::Sent { key, .. } => {
                    let index = (key.0 & 0xffff_ffff) as usize;
                    if self.peers.get(index).is_some_and(|peer| u64::from(peer.generation) == key.0 >> 32) {
                        self.on(index, event);
                    }
                }
                _ => {}
            }
        }
        while self.ring.tx_free() > 0
            && let Some(index) = self.starved.pop_front()
        {
            self.go_on(index);
        }
        Ok(())
    }

    fn admit(&mut self, conn: Conn) {
        let Some(index) = self.free.pop() else { return };
        self.ring.set_key(&conn, Key(u64::from(self.peers[index].generation) << 32 | index as u64));
        self.peers[index].conn = Some(conn);
        self.go_on(index);
    }

    fn on(&mut self, index: usize, event: Event) {
        let peer = &mut self.peers[index];
        match event {
            Event::Recv { buf, .. } => {
                let before = peer.unsent.len() / UNSENT_MAX;
                peer.unsent.extend(&buf[..]);
                if let Some(conn) = peer.conn.as_ref().filter(|_| peer.unsent.len() / UNSENT_MAX > before) {
                    self.ring.stop_recv(conn);
                }
            }
            Event::RecvEnded { end, .. } => {
                peer.receiving = false;
                peer.ended = matches!(end, RecvEnd::Eof | RecvEnd::Error(_));
            }
            Event::Sent { buf, result: Ok(count @ 1..), .. } => {
                peer.sending = false;
                peer.sent += count;
                if let Some(rest) = buf.filter(|buf| peer.sent < buf.len()) {
                    return self.send(index, rest);
                }
            }
            _ => return self.close(index),
        }
        self.go_on(index);
    }

    /// Sends what has arrived, or receives more, or closes.
    fn go_on(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(conn) = peer.conn.as_ref().filter(|_| !peer.sending) else { return };
        if peer.unsent.is_empty() {
            peer.receiving = peer.receiving || !peer.ended && self.ring.recv(conn).is_ok();
            if !peer.receiving {
                self.close(index);
            }
            return;
        }
        let Some(mut tx) = self.ring.take_tx() else {
            if !self.starved.contains(&index) {
                self.starved.push_back(index);
            }
            return;
        };
        let len = peer.unsent.read(&mut tx).unwrap_or(0);
        tx.set_filled(len);
        peer.sent = 0;
        self.send(index, tx.into());
    }

    fn send(&mut self, index: usize, buf: SendBuf) {
        let peer = &mut self.peers[index];
        let conn = peer.conn.as_ref();
        peer.sending = conn.is_some_and(|conn| self.ring.send(conn, buf, peer.sent).is_ok());
        if !peer.sending {
            self.close(index);
        }
    }

    /// Dropping the `Conn` closes it.
    fn close(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        *peer = Peer { generation: peer.generation.wrapping_add(1), ..Peer::default() };
        self.free.push(index);
    }

    /// The ring's counters.
    pub fn stats(&self) -> Stats {
        self.ring.stats()
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".into());
    let listener = TcpListener::bind(&address)?;
    println!("echo on {}, a plain loop", listener.local_addr()?);
    let mut server = Echo::new(&CONFIG, listener)?;
    loop {
        server.turn(None)?;
    }
}
