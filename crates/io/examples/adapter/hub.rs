//! Keeps what arrives for a connection until it is asked for.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::task::Poll::{self, Pending, Ready};

use sitar_io::{Config, Conn, Errno, Event, Key, Listener, RecvEnd, Ring, TxBuf, Uring};

use super::{Begin, Op, index};

/// Receiving is stopped at each multiple of this number of unread bytes; what is under way still
/// comes.
const UNREAD_MAX: usize = 32 << 10;

#[derive(Default)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
    /// Copied out of receive slots at once, so that a slow connection holds none of those that all
    /// share.
    unread: VecDeque<u8>,
    receiving: bool,
    end: Option<Result<usize, Errno>>,
    op: Op,
}

pub struct Hub {
    pub(super) ring: Ring<Uring>,
    listener: Listener,
    accepting: bool,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Connections that wait for a send slot, first come, first served.
    starved: VecDeque<Key>,
}

impl Hub {
    pub(super) fn new(config: &Config, socket: OwnedFd) -> std::io::Result<Hub> {
        let mut ring = Ring::uring(config).map_err(std::io::Error::other)?;
        let listener = ring.listener(socket, Key(u64::MAX));
        let slots = Vec::from_iter((0..config.connections).map(|_| Slot::default()));
        let free = (0..slots.len()).rev().collect();
        Ok(Hub { ring, listener, accepting: false, slots, free, starved: VecDeque::new() })
    }

    pub(super) fn wait(&mut self, until: Option<std::time::Instant>) -> std::io::Result<()> {
        // On a full table accepting would end at once, over and over; it begins again after a
        // close.
        if !self.accepting && self.ring.connections() < self.slots.len() {
            self.accepting = self.ring.accept(&self.listener).is_ok();
        }
        self.ring.wait(until).map(drop)
    }

    fn admit(&mut self, conn: Conn) -> Option<Key> {
        let index = self.free.pop()?;
        let key = Key(u64::from(self.slots[index].generation) << 32 | index as u64);
        self.ring.set_key(&conn, key);
        self.slots[index].conn = Some(conn);
        Some(key)
    }

    pub(super) fn release(&mut self, key: Key) {
        let slot = &mut self.slots[index(key)];
        *slot = Slot { generation: slot.generation.wrapping_add(1), ..Slot::default() };
        self.free.push(index(key));
    }

    /// Returns the connection whose turn it is, and whether it is new, `None` before the next wait.
    pub(super) fn next(&mut self) -> Option<(Key, bool)> {
        while let Some(event) = self.ring.next() {
            let key = match event {
                Event::Accepted { conn, .. } => match self.admit(conn) {
                    Some(key) => return Some((key, true)),
                    None => continue,
                },
                Event::Recv { key, .. } | Event::RecvEnded { key, .. } => key,
                Event::Sent { key, .. } | Event::Read { key, .. } => key,
                event => {
                    self.accepting &= !matches!(event, Event::AcceptEnded { .. });
                    continue;
                }
            };
            let Some(slot) = self.slots.get_mut(index(key)) else { continue };
            match event {
                // A file read of a connection that is gone: what it owns is given back here.
                _ if u64::from(slot.generation) != key.0 >> 32 => continue,
                Event::Recv { buf, .. } => {
                    let before = slot.unread.len() / UNREAD_MAX;
                    slot.unread.extend(&buf[..]);
                    if let Some(conn) = slot.conn.as_ref().filter(|_| slot.unread.len() / UNREAD_MAX > before)
                    {
                        self.ring.stop_recv(conn);
                    }
                }
                Event::RecvEnded { end, .. } => {
                    slot.receiving = false;
                    slot.end = match end {
                        RecvEnd::Eof => Some(Ok(0)),
                        RecvEnd::Error(errno) => Some(Err(errno)),
                        RecvEnd::NoBuffers | RecvEnd::Stopped => None,
                    };
                }
                event => slot.op = Op::Done(event),
            }
            return Some((key, false));
        }
        let first = (self.ring.tx_free() > 0).then(|| self.starved.pop_front());
        first.flatten().map(|key| (key, false))
    }

    /// Takes received bytes; 0 is the end. An empty `out` waits until there is something.
    pub(super) fn poll_recv(&mut self, key: Key, out: &mut [u8]) -> Poll<Result<usize, Errno>> {
        let slot = &mut self.slots[index(key)];
        if !slot.unread.is_empty() {
            return Ready(slot.unread.read(out).map_err(|_| Errno::IO));
        }
        if let (None, Some(conn)) = (slot.end, &slot.conn) {
            slot.receiving = slot.receiving || self.ring.recv(conn).is_ok();
        }
        let pending = || if slot.receiving { Pending } else { Ready(Err(Errno::NOBUFS)) };
        slot.end.map_or_else(pending, Ready)
    }

    pub(super) fn poll_tx(&mut self, key: Key) -> Poll<TxBuf> {
        let tx = self.ring.take_tx();
        if tx.is_none() && !self.starved.contains(&key) {
            self.starved.push_back(key);
        }
        tx.map_or(Pending, Ready)
    }

    /// Begins an operation once the last one has ended, then waits for its event.
    pub(super) fn poll_op(&mut self, key: Key, begin: &mut Option<impl Begin>) -> Poll<Result<Event, Errno>> {
        let Slot { conn: Some(conn), op, .. } = &mut self.slots[index(key)] else {
            return Ready(Err(Errno::BADF));
        };
        match (std::mem::take(op), begin.take()) {
            (Op::InFlight, later) => *begin = later,
            (Op::Done(event), None) => return Ready(Ok(event)),
            (_, Some(begin)) => {
                if !begin(&mut self.ring, conn, key) {
                    return Ready(Err(Errno::NOBUFS));
                }
            }
            (Op::Idle, None) => return Ready(Err(Errno::BADF)),
        }
        *op = Op::InFlight;
        Pending
    }
}
