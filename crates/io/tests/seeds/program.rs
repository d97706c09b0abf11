//! The program under test: an echo and file server on a ring, with a will of its own to do awkward
//! things.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use sitar_io::sim::{PASSED, Rng, Sim, World};
use sitar_io::{
    Conn, Errno, Event, File, Key, Listener, OpId, ReadBuf, RecvEnd, Region, Ring, RxBuf, Segment, SendBuf,
};

use crate::peer::{Ask, FILE_LEN, pattern};

pub(crate) const LISTENER: Key = Key(1 << 40);
const ADOPTED: Key = Key(1 << 41);
/// Above this, a connection's bytes are left in its socket.
const PENDING_MAX: usize = 2000;

pub(crate) struct Connection {
    conn: Conn,
    key: Key,
    receiving: bool,
    /// We have asked for receiving to stop.
    stopped: bool,
    eof: bool,
    head: Vec<u8>,
    seen: usize,
    /// Bytes to be sent back.
    pending: VecDeque<u8>,
    /// A send or a read is in flight.
    busy: bool,
    /// A send to be repeated from here.
    again: Option<(SendBuf, usize)>,
    /// The offset at which the source in flight began.
    offset: usize,
    file_at: usize,
    region_sent: bool,
    finishing: bool,
}

pub(crate) struct Program {
    world: World,
    pub(crate) ring: Ring<Sim>,
    listener: Listener,
    accepting: Option<OpId>,
    pub(crate) connections: Vec<Option<Connection>>,
    generation: u64,
    pub(crate) held: Vec<RxBuf>,
    ops: Vec<OpId>,
    dropped: Vec<Key>,
    file: File,
    region: Region,
    rng: Rng,
    /// Do awkward things that lose connections.
    pub(crate) chaos: bool,
    /// Takes all events of a wait before the next one.
    pub(crate) takes_all: bool,
    hurry: bool,
    pub(crate) failure: Option<String>,
    pub(crate) events: u64,
}

impl Program {
    pub(crate) fn new(
        world: &World,
        mut ring: Ring<Sim>,
        file: &File,
        region: &Region,
        seed: u64,
    ) -> Program {
        let listener = ring.sim_listener(LISTENER);
        Program {
            world: world.clone(),
            ring,
            listener,
            accepting: None,
            connections: Vec::new(),
            generation: 0,
            held: Vec::new(),
            ops: Vec::new(),
            dropped: Vec::new(),
            file: file.clone(),
            region: region.clone(),
            rng: Rng::new(seed),
            chaos: false,
            takes_all: false,
            hurry: false,
            failure: None,
            events: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.connections.iter().all(Option::is_none) && self.held.is_empty()
    }

    /// One turn of the loop.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.turn_with(None)
    }

    /// The same, which ends when nothing has happened for so long.
    pub(crate) fn turn_until(&mut self, time: Duration) -> io::Result<()> {
        self.turn_with(Some(time))
    }

    fn turn_with(&mut self, most: Option<Duration>) -> io::Result<()> {
        self.hurry = false;
        if self.accepting.is_none() {
            self.accepting = self.ring.accept(&self.listener).ok();
            self.hurry |= self.accepting.is_none();
        }
        for index in 0..self.connections.len() {
            self.push(index);
        }
        if self.chaos {
            self.mischief();
        }
        if self.rng.chance(300) {
            self.ring.submit()?;
        }
        self.hurry |= !self.held.is_empty();
        if self.rng.chance(700) {
            self.held.clear();
        }
        let until = self
            .hurry
            .then(|| Duration::from_micros(self.rng.below(1500) as u64))
            .or(most)
            .map(|time| self.ring.now() + time);
        self.ring.wait(until)?;
        self.dropped.clear();
        while let Some(event) = self.ring.next() {
            self.events += 1;
            self.world.note(&format!("{event:?}"), 0);
            self.on_event(event);
            if self.chaos && self.rng.chance(30) && !self.takes_all {
                // The rest is seen after the next wait.
                break;
            }
        }
        Ok(())
    }

    fn at(&mut self, key: Key) -> Option<(usize, &mut Connection)> {
        let index = (key.0 & 0xffff) as usize;
        let connection =
            self.connections.get_mut(index)?.as_mut().filter(|connection| connection.key == key)?;
        Some((index, connection))
    }

    fn end(&mut self, index: usize) {
        let Some(connection) = self.connections[index].take() else { return };
        // Both ways to close. A `Conn` that is only dropped may be heard of until the next wait.
        if self.rng.chance(500) {
            self.ring.close(connection.conn);
        } else {
            self.dropped.push(connection.key);
            drop(connection);
        }
    }

    fn on_event(&mut self, event: Event) {
        if self.chaos && self.rng.chance(5) {
            // An event that is dropped unread. Its connection cannot go on without it.
            let key = match &event {
                Event::Recv { key, .. } | Event::RecvEnded { key, .. } | Event::Sent { key, .. } => {
                    Some(*key)
                }
                Event::Read { key, .. } | Event::Writable { key } => Some(*key),
                Event::Accepted { .. } | Event::Closed { .. } | Event::Peer { .. } | Event::Woken => None,
                _ => return self.handle(event),
            };
            drop(event);
            if let Some((index, _)) = key.and_then(|key| self.at(key)) {
                self.end(index);
            }
            return;
        }
        self.handle(event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, conn } => {
                if listener != LISTENER {
                    self.failure = Some("another listener's key".into());
                }
                self.accepted(conn);
            }
            Event::AcceptEnded { .. } => self.accepting = None,
            Event::Adopted { key: ADOPTED, result: Ok(conn) } if self.rng.chance(500) => {
                self.ring.close(conn);
            }
            Event::Adopted { key: ADOPTED, .. } => {}
            Event::Recv { key, buf } => self.received(key, buf),
            Event::RecvEnded { key, end } => {
                let Some((index, connection)) = self.at(key) else { return self.stranger(key) };
                connection.receiving = false;
                connection.stopped = false;
                match end {
                    RecvEnd::Eof => connection.eof = true,
                    RecvEnd::NoBuffers | RecvEnd::Stopped => {}
                    RecvEnd::Error(Errno::NOMEM | Errno::CANCELED) => {}
                    RecvEnd::Error(_) => self.end(index),
                }
            }
            Event::Sent { key, buf, result } => {
                let Some((index, connection)) = self.at(key) else { return self.stranger(key) };
                connection.busy = false;
                let offset = connection.offset;
                match (buf, result) {
                    (Some(buf), Ok(n)) if offset + n < buf.len() => {
                        connection.again = Some((buf, offset + n));
                    }
                    (_, Ok(_)) => {}
                    (Some(buf), Err(Errno::NOMEM | Errno::CANCELED)) => {
                        connection.again = Some((buf, offset));
                    }
                    (None, Err(errno)) => {
                        self.failure = Some(format!("{errno:?} without what was to be sent"));
                    }
                    (_, Err(_)) => self.end(index),
                }
            }
            Event::Writable { key } => match self.at(key) {
                Some((_, connection)) => connection.busy = false,
                None => self.stranger(key),
            },
            Event::Read { key, buf, result } => self.has_read(key, buf, result),
            Event::Shutdown { key, .. } => {
                let Some((index, _)) = self.at(key) else { return self.stranger(key) };
                self.end(index);
            }
            Event::Closed { .. }
            | Event::Peer { .. }
            | Event::OptSet { .. }
            | Event::Unacked { .. }
            | Event::Woken => {}
            other => self.failure = Some(format!("{other:?}, which was not asked for")),
        }
    }

    /// Nothing may be reported of a connection that was closed, but its end.
    fn stranger(&mut self, key: Key) {
        if !self.dropped.contains(&key) {
            self.failure = Some(format!("an event for {key:?}, which is closed"));
        }
    }

    fn accepted(&mut self, conn: Conn) {
        let free = self.connections.iter().position(Option::is_none).unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.generation += 1;
        let key = Key(self.generation << 16 | free as u64);
        self.ring.set_key(&conn, key);
        if self.rng.chance(300) {
            // A draw without a use, so that each seed keeps its course.
            let _ = self.rng.chance(100);
            let _ = self.ring.peer(&conn);
        }
        self.connections[free] = Some(Connection {
            conn,
            key,
            receiving: false,
            stopped: false,
            eof: false,
            head: Vec::new(),
            seen: 0,
            pending: VecDeque::new(),
            busy: false,
            again: None,
            offset: 0,
            file_at: 0,
            region_sent: false,
            finishing: false,
        });
    }

    fn received(&mut self, key: Key, buf: RxBuf) {
        let Some((_, connection)) = self.at(key) else { return self.stranger(key) };
        if buf.is_empty() {
            self.failure = Some("an empty receive".into());
            return;
        }
        let mut wrong = false;
        for &byte in &buf[..] {
            if connection.head.len() < 2 {
                connection.head.push(byte);
                continue;
            }
            wrong |= byte != pattern(connection.head[1], connection.seen);
            connection.seen += 1;
            connection.pending.push_back(byte);
        }
        if wrong {
            self.failure = Some(format!("{key:?}: a wrong byte arrived"));
        }
        if self.rng.chance(150) {
            self.held.push(buf);
        }
    }

    fn has_read(&mut self, key: Key, buf: ReadBuf, result: Result<usize, Errno>) {
        let Some((index, connection)) = self.at(key) else { return };
        connection.busy = false;
        let ReadBuf::Tx(mut tx, _) = buf else { return };
        match result {
            Ok(0) => self.failure = Some("the file ended early".into()),
            Ok(n) => {
                connection.file_at += n;
                tx.set_filled(n);
                connection.again = Some((tx.into(), 0));
            }
            // Tried again.
            Err(Errno::NOMEM | Errno::CANCELED | Errno::IO) => {}
            Err(errno) => {
                self.failure = Some(format!("{errno:?} from a file"));
                self.end(index);
            }
        }
    }

    /// Starts whatever a connection can do next.
    fn push(&mut self, index: usize) {
        let Some(mut connection) = self.connections[index].take() else { return };
        if !connection.finishing {
            self.receive(&mut connection);
            if !connection.busy && self.answer(&mut connection) {
                // All is said: close at once, or after a shutdown.
                if self.rng.chance(500) {
                    match self.ring.shutdown(&connection.conn) {
                        Ok(_) => connection.finishing = true,
                        Err(_) => self.hurry = true,
                    }
                } else {
                    self.connections[index] = Some(connection);
                    return self.end(index);
                }
            }
        }
        self.connections[index] = Some(connection);
    }

    fn receive(&mut self, connection: &mut Connection) {
        let room = connection.pending.len() < PENDING_MAX;
        if room && !connection.receiving && !connection.eof {
            match self.ring.recv(&connection.conn) {
                Ok(op) => {
                    connection.receiving = true;
                    self.ops.push(op);
                }
                Err(_) => self.hurry = true,
            }
        }
        if !room && connection.receiving && !connection.stopped {
            connection.stopped = true;
            self.ring.stop_recv(&connection.conn);
        }
    }

    /// Starts a send or a read. True when there is nothing left to answer.
    fn answer(&mut self, connection: &mut Connection) -> bool {
        if self.rng.chance(200) {
            match self.ring.writable(&connection.conn) {
                Ok(op) => {
                    connection.busy = true;
                    self.ops.push(op);
                }
                Err(_) => self.hurry = true,
            }
            return false;
        }
        let (buf, offset) = match connection.again.take() {
            Some(again) => again,
            None => {
                let ask = if connection.head.len() == 2 { connection.head[0] } else { 0 };
                let echo = !connection.pending.is_empty();
                let region = ask == Ask::Region as u8 && !connection.region_sent;
                let file = ask == Ask::File as u8 && connection.file_at < FILE_LEN;
                if !(echo || region || file) {
                    return connection.eof;
                }
                let Some(mut tx) = self.ring.take_tx() else {
                    self.hurry = true;
                    return false;
                };
                let len = 1 + self.rng.below(tx.len());
                if echo {
                    let len = len.min(connection.pending.len());
                    for (to, byte) in tx.iter_mut().zip(connection.pending.drain(..len)) {
                        *to = byte;
                    }
                    tx.set_filled(len);
                    (SendBuf::from(tx), 0)
                } else if region {
                    connection.region_sent = true;
                    // The answer begins at the fifth byte, to have an offset.
                    tx[..8].copy_from_slice(b"junkhead");
                    tx.set_filled(8);
                    let body = Segment::Shared(self.region.clone(), 0..usize::MAX);
                    (SendBuf::Gather([Some(Segment::Tx(tx)), Some(body)]), 4)
                } else {
                    let at = connection.file_at as u64;
                    match self.ring.read(&self.file, at, ReadBuf::Tx(tx, 0..len), connection.key) {
                        Ok(op) => {
                            connection.busy = true;
                            self.ops.push(op);
                        }
                        Err(_) => self.hurry = true,
                    }
                    return false;
                }
            }
        };
        connection.offset = offset;
        match self.ring.send(&connection.conn, buf, offset) {
            Ok(op) => {
                connection.busy = true;
                self.ops.push(op);
            }
            Err(busy) => {
                connection.again = Some((busy.0, offset));
                self.hurry = true;
            }
        }
        false
    }

    /// Does what no sensible program does, but any may.
    fn mischief(&mut self) {
        if self.rng.chance(20) && !self.connections.is_empty() {
            let index = self.rng.below(self.connections.len());
            self.end(index);
        }
        if self.rng.chance(50) && !self.ops.is_empty() {
            // Live or long gone.
            self.ring.cancel(self.ops[self.rng.below(self.ops.len())]);
        }
        if let Some(accepting) = self.accepting.filter(|_| self.rng.chance(20)) {
            self.ring.cancel(accepting);
        }
        if self.rng.chance(50) {
            self.ring.waker().wake();
        }
        if self.rng.chance(50) && !self.connections.is_empty() {
            let index = self.rng.below(self.connections.len());
            if let Some(connection) = &mut self.connections[index] {
                connection.stopped = true;
                self.ring.stop_recv(&connection.conn);
                if self.rng.chance(300) {
                    let _ = self.ring.peer(&connection.conn);
                }
            }
        }
        if self.rng.chance(30) {
            // Its client has left by the time that it is adopted.
            drop(self.world.connect(PASSED));
            let socket = std::fs::File::open("/dev/null").unwrap();
            let _ = self.ring.adopt(socket.into(), ADOPTED);
        }
        self.ops.truncate(1000);
    }
}
