//! The ring: one owner of memory, operation table and descriptor table.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::arena::{Arena, Layout, TxBuf};
use crate::backend::{Backend, Completion, Request, Submission};
use crate::conn::{Closing, Conn, Descs, Listener, Orphans, SlotId};
use crate::event::{Busy, Event, Into, Key, RecvEnd, Src};
use crate::file::File;
use crate::table::{OpId, Table};
use crate::waker::Waker;

/// Sizes of a ring, fixed when it is made. Nothing grows afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Connections at most: the size of the file table.
    pub connections: u32,
    /// Receive slots: a power of two, at most 32,768.
    pub rx_count: u16,
    /// Bytes of a receive slot.
    pub rx_len: u32,
    /// Send slots.
    pub tx_count: u32,
    /// Bytes of a send slot.
    pub tx_len: u32,
}

/// Operations in flight on one connection at most: receive, send, cancel and one of shutdown, peer and close.
const OPS_PER_CONNECTION: u32 = 4;
/// Operations that belong to no connection: accepts, reads, cancels, the waker.
const OPS_EXTRA: u32 = 1024;
/// Completions taken from the engine at a time; the rest stays in its queue.
const COMPLETIONS: usize = 4096;
/// How long a ring that is dropped waits for the kernel to finish with its memory before it leaks it.
const DRAIN: Duration = Duration::from_secs(5);

impl Config {
    pub(crate) fn ops(&self) -> u32 {
        self.connections.saturating_mul(OPS_PER_CONNECTION).saturating_add(OPS_EXTRA).min(1 << 20)
    }
}

/// Counters since the ring was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// System calls made by the engine.
    pub calls: u64,
    /// Connections whose descriptor is open, those being closed included.
    pub connections: usize,
    /// Operations in flight.
    pub ops: usize,
    /// Send slots nobody holds.
    pub tx_free: usize,
    /// Receive slots held by [`RxBuf`](crate::RxBuf)s.
    pub rx_leased: usize,
}

/// An operation in flight: it owns what the kernel was given (I2).
enum Op {
    Accept(Listener),
    Recv(SlotId),
    Send { to: SlotId, src: Src, offset: usize },
    Read { key: Key, file: File, at: u64, into: Into },
    Peer { of: SlotId, ipv6: bool },
    Shutdown(SlotId),
    Close(u32),
    Cancel(OpId),
    CancelSlot(SlotId),
    CancelAll,
    Wake,
}

impl Op {
    /// The connection that this operation keeps open.
    fn slot(&self) -> Option<SlotId> {
        match self {
            Op::Recv(id) | Op::Shutdown(id) | Op::CancelSlot(id) => Some(*id),
            Op::Send { to, .. } => Some(*to),
            Op::Peer { of, .. } => Some(*of),
            _ => None,
        }
    }

    fn request(&mut self, waker: &Waker) -> Request<'_> {
        match self {
            Op::Accept(listener) => Request::Accept { listener: listener.raw() },
            Op::Recv(id) => Request::Recv { slot: id.slot },
            Op::Send { to, src, offset } => Request::Send { slot: to.slot, src, offset: *offset },
            Op::Read { file, at, into, .. } => Request::Read { file: file.raw(), at: *at, into },
            Op::Peer { of, ipv6 } => Request::Peer { slot: of.slot, ipv6: *ipv6 },
            Op::Shutdown(id) => Request::Shutdown { slot: id.slot },
            Op::Close(slot) => Request::Close { slot: *slot },
            Op::Cancel(target) => Request::Cancel { target: *target },
            Op::CancelSlot(id) => Request::CancelSlot { slot: id.slot },
            Op::CancelAll => Request::CancelAll,
            Op::Wake => Request::Wake { eventfd: waker.raw() },
        }
    }
}

/// A completion ring that owns all memory the kernel works on.
///
/// One thread makes it, uses it and drops it (`!Send`). Operations are queued by methods and start with
/// [`wait`](Ring::wait), the only one that makes a system call on a warm ring. Dropping a ring cancels everything and
/// waits until the kernel has let go; if it does not within five seconds, the memory is leaked rather than freed (I3).
pub struct Ring<B: Backend> {
    // Never dropped by the compiler: `Drop` below decides whether it may be.
    inner: ManuallyDrop<Inner<B>>,
    not_send: PhantomData<*mut ()>,
}

struct Inner<B> {
    backend: B,
    ops: Table<Op>,
    descs: Descs,
    arena: Rc<Arena>,
    orphans: Rc<Orphans>,
    /// Slots whose operations are to be cancelled, for want of room in the op table.
    uncancelled: Vec<SlotId>,
    waker: Waker,
    waking: bool,
    completions: VecDeque<Completion>,
    /// A second event of one completion.
    after: Option<Event>,
    /// The kernel broke its word: nothing more is submitted (I4).
    broken: Option<&'static str>,
}

impl<B: Backend> Ring<B> {
    pub(crate) fn assemble(
        config: &Config,
        make: impl FnOnce(&Arena) -> io::Result<B>,
    ) -> io::Result<Ring<B>> {
        let arena = Arena::new(Layout {
            rx_count: config.rx_count,
            rx_len: config.rx_len,
            tx_count: config.tx_count,
            tx_len: config.tx_len,
        })?;
        let backend = make(&arena)?;
        let inner = Inner {
            backend,
            ops: Table::new(config.ops()),
            descs: Descs::new(config.connections),
            arena,
            orphans: Orphans::new(config.connections),
            uncancelled: Vec::with_capacity(config.connections as usize),
            waker: Waker::new()?,
            waking: false,
            completions: VecDeque::with_capacity(COMPLETIONS),
            after: None,
            broken: None,
        };
        Ok(Ring { inner: ManuallyDrop::new(inner), not_send: PhantomData })
    }

    /// Something that wakes this ring from other threads.
    pub fn waker(&self) -> Waker {
        self.inner.waker.clone()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            calls: self.inner.backend.calls(),
            connections: self.inner.descs.in_use(),
            ops: self.inner.ops.live(),
            tx_free: self.inner.arena.tx_free(),
            rx_leased: self.inner.arena.rx_leased(),
        }
    }

    /// Connections whose descriptor is open, those being closed included.
    pub fn open(&self) -> usize {
        self.inner.descs.in_use()
    }

    /// A send slot, or `None` when all are in use.
    pub fn tx(&mut self) -> Option<TxBuf> {
        self.inner.arena.tx()
    }

    /// Bytes of a send slot.
    pub fn tx_len(&self) -> usize {
        self.inner.arena.layout().tx_len as usize
    }

    /// Takes over a listening socket; its events carry `key`.
    pub fn listener(&mut self, socket: OwnedFd, key: Key) -> Listener {
        Listener { fd: Rc::new(socket), key }
    }

    /// Accepts connections until [`Event::AcceptEnded`] (multishot, into direct descriptors).
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    pub fn accept(&mut self, listener: &Listener) -> Result<OpId, Busy> {
        self.inner.launch(Op::Accept(listener.clone())).map_err(|_| Busy(()))
    }

    /// Gives the connection the key that its events carry from now on.
    ///
    /// # Panics
    /// When `conn` belongs to another ring: a mistake of the caller's that would otherwise touch a stranger.
    pub fn bind(&mut self, conn: &Conn, key: Key) {
        let id = self.inner.id_of(conn);
        self.inner.descs.set_key(id, key);
    }

    /// Receives until [`Event::RecvEnded`] (multishot, into the ring's receive slots). Does nothing when the
    /// connection is already being received from.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    ///
    /// # Panics
    /// As [`bind`](Ring::bind).
    pub fn recv(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let id = self.inner.id_of(conn);
        if let Some(op) = self.inner.descs.recv_op(id) {
            return Ok(op);
        }
        let op = self.inner.launch(Op::Recv(id)).map_err(|_| Busy(()))?;
        self.inner.descs.set_recv(id, Some(op));
        Ok(op)
    }

    /// Stops receiving, so that the peer's bytes stay in the socket. [`Event::RecvEnded`] follows if it was receiving.
    ///
    /// # Panics
    /// As [`bind`](Ring::bind).
    pub fn stop_recv(&mut self, conn: &Conn) {
        let id = self.inner.id_of(conn);
        if let Some(op) = self.inner.descs.recv_op(id) {
            self.cancel(op);
        }
    }

    /// Sends `src` from byte `offset` on. The whole is sent unless the connection fails or the ring closes it, and
    /// `src` comes back with [`Event::Sent`]. Keep it to 64 KiB or so: progress inside one send cannot be seen.
    ///
    /// # Errors
    /// [`Busy`] with `src` when the op table is full.
    ///
    /// # Panics
    /// As [`bind`](Ring::bind).
    pub fn send(&mut self, conn: &Conn, src: Src, offset: usize) -> Result<OpId, Busy<Src>> {
        let to = self.inner.id_of(conn);
        self.inner.launch(Op::Send { to, src, offset }).map_err(|op| match op {
            Op::Send { src, .. } => Busy(src),
            _ => unreachable!("launch hands back what it was given"),
        })
    }

    /// Reads from byte `at` of `file` into `into`; [`Event::Read`] carries `key`.
    ///
    /// # Errors
    /// [`Busy`] with `into` when the op table is full.
    pub fn read(&mut self, file: &File, at: u64, into: Into, key: Key) -> Result<OpId, Busy<Into>> {
        self.inner.launch(Op::Read { key, file: file.clone(), at, into }).map_err(|op| match op {
            Op::Read { into, .. } => Busy(into),
            _ => unreachable!("launch hands back what it was given"),
        })
    }

    /// Asks for the peer's address; [`Event::Peer`] answers. `ipv6` is the family of the listener that it came from.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full. Where the kernel cannot tell (before 6.7) the event says `EOPNOTSUPP`.
    ///
    /// # Panics
    /// As [`bind`](Ring::bind).
    pub fn peer(&mut self, conn: &Conn, ipv6: bool) -> Result<OpId, Busy> {
        let of = self.inner.id_of(conn);
        self.inner.launch(Op::Peer { of, ipv6 }).map_err(|_| Busy(()))
    }

    /// Whether [`peer`](Ring::peer) can answer on this kernel.
    pub fn has_peer(&self) -> bool {
        self.inner.backend.has_peer()
    }

    /// Ends sending (FIN); [`Event::Shutdown`] follows.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    ///
    /// # Panics
    /// As [`bind`](Ring::bind).
    pub fn shutdown(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let id = self.inner.id_of(conn);
        self.inner.launch(Op::Shutdown(id)).map_err(|_| Busy(()))
    }

    /// Asks the kernel to end an operation early. Its own last event tells what became of it; a stale id does nothing.
    pub fn cancel(&mut self, id: OpId) {
        if self.inner.ops.get(id).is_some() {
            // A full table means that the cancel is dropped: the operation then ends when it ends.
            let _ = self.inner.launch(Op::Cancel(id));
        }
    }

    /// Closes a connection: cancels its operations, waits for the last of them, then closes the descriptor.
    /// [`Event::Closed`] is the only event about it from here on.
    ///
    /// # Panics
    /// As [`bind`](Ring::bind).
    pub fn close(&mut self, conn: Conn) {
        self.inner.id_of(&conn);
        // Its drop queues the close like any other.
        drop(conn);
        self.inner.adopt_orphans();
    }

    /// Starts what was queued, gives returned receive slots back to the kernel, and waits until there is an event or
    /// `until` has passed. Does not wait when events are left over. At most one system call; the time on return.
    ///
    /// # Errors
    /// The kernel refuses to go on (or broke its word, [`io::ErrorKind::InvalidData`]): the ring can only be dropped.
    pub fn wait(&mut self, until: Option<Instant>) -> io::Result<Instant> {
        self.inner.wait(until)
    }

    /// The next event, `None` when all have been taken.
    #[allow(clippy::should_implement_trait, reason = "events borrow nothing, but a ring is not an iterator")]
    pub fn next(&mut self) -> Option<Event> {
        self.inner.next()
    }
}

impl<B: Backend> Inner<B> {
    fn id_of(&self, conn: &Conn) -> SlotId {
        assert!(conn.belongs_to(&self.orphans), "a connection was used with a ring that did not accept it");
        conn.id
    }

    fn launch(&mut self, op: Op) -> Result<OpId, Op> {
        if self.broken.is_some() {
            return Err(op);
        }
        let slot = op.slot();
        let id = self.ops.insert(op)?;
        let Some(op) = self.ops.get_mut(id) else { unreachable!("it was inserted just now") };
        let submission = Submission { id, op: op.request(&self.waker) };
        if self.backend.submit(submission).is_err() {
            return match self.ops.remove(id) {
                Some(op) => Err(op),
                None => unreachable!("it was inserted just now"),
            };
        }
        if let Some(slot) = slot {
            self.descs.launched(slot);
        }
        Ok(id)
    }

    fn adopt_orphans(&mut self) {
        while let Some(id) = self.orphans.pop() {
            if self.descs.start_close(id) == Closing::Cancel {
                self.uncancelled.push(id);
            }
        }
        while let Some(id) = self.uncancelled.pop() {
            if self.launch(Op::CancelSlot(id)).is_err() {
                self.uncancelled.push(id);
                break;
            }
        }
        while let Some(slot) = self.descs.next_closable() {
            if self.launch(Op::Close(slot)).is_err() {
                self.descs.close_later(slot);
                break;
            }
        }
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<Instant> {
        if let Some(why) = self.broken {
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if !self.waking {
            self.waking = self.launch(Op::Wake).is_ok();
        }
        self.adopt_orphans();
        let (arena, backend) = (&self.arena, &mut self.backend);
        let len = arena.layout().rx_len;
        arena.publish(|slot| backend.publish(slot, arena.rx_addr(slot), len));

        let left_over = !self.completions.is_empty() || self.after.is_some();
        // Something still to submit that the tables had no room for must not wait for the peers.
        let urgent = left_over || self.descs.has_closable() || !self.uncancelled.is_empty();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        self.backend.wait(urgent, timeout)?;
        while self.completions.len() < COMPLETIONS {
            let Some(completion) = self.backend.next() else { break };
            self.completions.push_back(completion);
        }
        Ok(Instant::now())
    }

    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.after.take() {
            return Some(event);
        }
        while self.broken.is_none() {
            let completion = self.completions.pop_front()?;
            match self.on_completion(completion) {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(why) => self.broken = Some(why),
            }
        }
        None
    }

    /// Turns a completion into an event, believing nothing. An `Err` closes the ring.
    fn on_completion(&mut self, completion: Completion) -> Result<Option<Event>, &'static str> {
        let Completion { id, result, buffer, more } = completion;
        let result = match u32::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => Err(Errno::from_raw_os_error(result.wrapping_neg())),
        };
        // First of all, so that the slot is owned by something whatever happens next (I6).
        let buf = match buffer {
            Some(slot) => {
                Some(self.arena.lease(slot, result.unwrap_or(0)).ok_or("a receive slot it did not have")?)
            }
            None => None,
        };
        let op = self.ops.get(id).ok_or("a completion of no operation")?;
        if more {
            return match op {
                Op::Accept(listener) => {
                    let key = listener.key;
                    let slot = result.map_err(|_| "an accept that failed and goes on")?;
                    self.accepted(slot, key).map(Some)
                }
                Op::Recv(from) => {
                    let from = *from;
                    Ok(buf.and_then(|buf| self.received(from, buf)))
                }
                _ => Err("more completions of a single operation"),
            };
        }
        let Some(op) = self.ops.remove(id) else { return Err("a completion of no operation") };
        let slot = op.slot();
        let event = self.ended(id, op, result, buf);
        if let Some(slot) = slot {
            self.descs.landed(slot);
        }
        event
    }

    fn accepted(&mut self, slot: u32, listener: Key) -> Result<Event, &'static str> {
        let id = self.descs.open(slot, listener).ok_or("a descriptor that is in use")?;
        Ok(Event::Accepted { listener, conn: Conn::new(id, &self.orphans) })
    }

    fn received(&mut self, from: SlotId, buf: crate::RxBuf) -> Option<Event> {
        let key = self.descs.listening(from)?;
        (!buf.is_empty()).then_some(Event::Recv { key, buf })
    }

    /// The terminal completion of `op`, which has left the table.
    fn ended(
        &mut self,
        id: OpId,
        op: Op,
        result: Result<u32, Errno>,
        buf: Option<crate::RxBuf>,
    ) -> Result<Option<Event>, &'static str> {
        Ok(match op {
            Op::Accept(listener) => {
                let ended = Event::AcceptEnded { listener: listener.key, error: result.err() };
                match result {
                    Ok(slot) => {
                        let event = self.accepted(slot, listener.key)?;
                        self.after = Some(ended);
                        Some(event)
                    }
                    Err(_) => Some(ended),
                }
            }
            Op::Recv(from) => {
                self.descs.set_recv(from, None);
                let key = self.descs.listening(from);
                let end = match result {
                    Ok(0) => RecvEnd::Eof,
                    Ok(_) | Err(Errno::CANCELED) => RecvEnd::Stopped,
                    Err(Errno::NOBUFS) => RecvEnd::NoBuffers,
                    Err(errno) => RecvEnd::Error(errno),
                };
                let ended = key.map(|key| Event::RecvEnded { key, end });
                match buf.and_then(|buf| self.received(from, buf)) {
                    Some(event) => {
                        self.after = ended;
                        Some(event)
                    }
                    None => ended,
                }
            }
            Op::Send { to, src, offset } => {
                let result = result.map(|count| count as usize);
                if result.is_ok_and(|count| count > src.len().saturating_sub(offset)) {
                    return Err("more bytes sent than there were");
                }
                self.descs.listening(to).map(|key| Event::Sent { key, src, result })
            }
            Op::Read { key, mut into, .. } => {
                let result = result.map(|count| count as usize);
                if result.is_ok_and(|count| count > into.target().1) {
                    return Err("more bytes read than asked for");
                }
                Some(Event::Read { key, into, result })
            }
            Op::Peer { of, .. } => {
                let result = result.and_then(|_| self.backend.peer(id).ok_or(Errno::AFNOSUPPORT));
                self.descs.listening(of).map(|key| Event::Peer { key, result })
            }
            Op::Shutdown(of) => {
                self.descs.listening(of).map(|key| Event::Shutdown { key, result: result.map(drop) })
            }
            Op::Close(slot) => {
                // Whatever close says, the descriptor is gone (as with close(2)).
                Some(Event::Closed { key: self.descs.closed(slot).ok_or("a close of an open descriptor")? })
            }
            // What a cancel found or did not find is told by the cancelled operation itself (I2).
            Op::Cancel(_) | Op::CancelSlot(_) | Op::CancelAll => None,
            Op::Wake => {
                self.waking = false;
                Some(Event::Woken)
            }
        })
    }

    /// Cancels everything and waits until the kernel has let go of all of it. `false` when it does not.
    fn drain(&mut self) -> bool {
        let deadline = Instant::now() + DRAIN;
        self.after = None;
        let mut cancelled = false;
        while self.ops.live() > 0 && self.broken.is_none() {
            if !cancelled {
                cancelled = self.launch(Op::CancelAll).is_ok();
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            let pause = (deadline - now).min(Duration::from_millis(100));
            if self.backend.wait(false, Some(pause)).is_err() {
                return false;
            }
            loop {
                while let Some(completion) = self.completions.pop_front() {
                    if let Err(why) = self.on_completion(completion) {
                        self.broken = Some(why);
                    }
                    self.after = None;
                }
                match self.backend.next() {
                    Some(completion) => self.completions.push_back(completion),
                    None => break,
                }
            }
        }
        self.ops.live() == 0
    }
}

impl<B: Backend> Drop for Ring<B> {
    fn drop(&mut self) {
        if self.inner.drain() {
            self.inner.backend.shut();
            // SAFETY: `inner` is dropped here once, and never used again: this is the ring's own `Drop`.
            // Nothing is in flight, so the kernel holds no address of it.
            unsafe { ManuallyDrop::drop(&mut self.inner) };
        }
        // Else arena, op table, scratch and the kernel's ring leak, which is the only sound thing left to do (I3).
    }
}
