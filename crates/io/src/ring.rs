//! The ring: one owner of memory, operation table and descriptor table.

mod config;
mod datagrams;
mod drain;
mod endings;
mod id;
mod inner;
mod names;
mod refuse;
mod sends;
mod turn;

use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub use self::config::Config;
use rustix::io::Errno;

pub use self::id::OpId;
use self::inner::Inner;
use crate::arena::{Arena, TxBuf};
use crate::conn::{Conn, Listener};
use crate::engine::Engine;
use crate::event::Event;
use crate::file::File;
use crate::key::{Busy, Key};
use crate::op::Op;
use crate::read_buf::ReadBuf;
use crate::send_buf::SendBuf;
use crate::sockopt::SockOpt;
use crate::waker::Waker;

/// Counters since the ring was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// System calls made by the engine.
    pub calls: u64,
    /// Connections whose descriptor is open, those being closed included.
    pub connections: usize,
    /// Operations in flight.
    pub ops: usize,
    /// Free send slots.
    pub tx_free: usize,
    /// Receive slots held by [`RxBuf`](crate::RxBuf)s.
    pub rx_leased: usize,
}

/// See [`leaked_rings`].
static LEAKED: AtomicUsize = AtomicUsize::new(0);

/// Returns how many rings of this process were leaked when they were dropped, because the kernel
/// did not let go of their memory within five seconds (I3). Anything but zero deserves a line in a
/// log.
#[must_use]
pub fn leaked_rings() -> usize {
    LEAKED.load(Ordering::Relaxed)
}

/// A completion ring that owns all memory the kernel works on.
///
/// One thread makes it, uses it and drops it (`!Send`). Operations are queued by methods and start
/// with [`wait`](Ring::wait), or with [`submit`](Ring::submit): on a warm ring these two alone make
/// system calls. Dropping a ring cancels everything and waits until the kernel has let go; if it
/// does not within five seconds, the memory is leaked rather than freed (I3).
pub struct Ring<E: Engine> {
    // Never dropped by the compiler: `Drop` below decides whether it may be.
    inner: ManuallyDrop<Inner<E>>,
    not_send: PhantomData<*mut ()>,
}

impl<E: Engine> Ring<E> {
    pub(crate) fn assemble(
        config: &Config,
        make: impl FnOnce(&Arena) -> io::Result<E>,
    ) -> io::Result<Ring<E>> {
        let arena = Arena::new(config.layout()?)?;
        // Before the engine, which gives its descriptors back to the kernel at the end of a ring
        // only.
        let waker = Waker::new()?;
        let engine = make(&arena)?;
        let inner = Inner::new(engine, arena, waker, config.ops(), config.connections);
        Ok(Ring { inner: ManuallyDrop::new(inner), not_send: PhantomData })
    }

    pub(crate) fn engine(&self) -> &E {
        &self.inner.engine
    }

    #[cfg(feature = "attacks")]
    pub(crate) fn engine_mut(&mut self) -> &mut E {
        &mut self.inner.engine
    }

    /// Has the ring look at a completion as it does at all.
    #[cfg(feature = "attacks")]
    pub(crate) fn look_at(&mut self, completion: crate::engine::Completion) {
        self.inner.look_at(completion);
    }

    /// Returns a handle that wakes this ring from other threads.
    pub fn waker(&self) -> Waker {
        self.inner.waker.clone()
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        Stats {
            calls: self.inner.engine.calls(),
            connections: self.inner.descs.in_use(),
            ops: self.inner.ops.live(),
            tx_free: self.inner.arena.tx_free(),
            rx_leased: self.inner.arena.rx_leased(),
        }
    }

    /// Returns the number of connections whose descriptor is open, those being closed included.
    pub fn connections(&self) -> usize {
        self.inner.descs.in_use()
    }

    /// Returns the number of free send slots.
    pub fn tx_free(&self) -> usize {
        self.inner.arena.tx_free()
    }

    /// Gives the memory of free send slots back to the system. It is there again when they are
    /// used.
    pub fn trim(&mut self) {
        self.inner.arena.trim();
    }

    /// Takes a send slot, `None` when all are in use.
    pub fn take_tx(&mut self) -> Option<TxBuf> {
        self.inner.arena.take_tx()
    }

    /// Returns the length of a send slot in bytes.
    pub fn tx_len(&self) -> usize {
        self.inner.arena.layout().tx_len as usize
    }

    /// Returns the engine's time. It stands still between waits where the engine has a clock of its
    /// own ([`Sim`](crate::sim::Sim)).
    pub fn now(&self) -> Instant {
        self.inner.engine.now()
    }

    /// Takes over a listening stream socket, of TCP or a Unix one; its events carry `key`.
    pub fn listener(&mut self, socket: OwnedFd, key: Key) -> Listener {
        let family = rustix::net::sockopt::socket_domain(&socket).ok();
        Listener { socket: Some(Rc::new(socket)), key, family }
    }

    /// Accepts connections until [`Event::AcceptEnded`] (multishot, into direct descriptors).
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    pub fn accept(&mut self, listener: &Listener) -> Result<OpId, Busy> {
        let queued = self.inner.launch(Op::Accept(listener.clone()));
        self.inner.name(queued.map_err(drop))
    }

    /// Takes over a connected stream socket that was accepted elsewhere; [`Event::Adopted`] carries
    /// `key`, and brings the connection, whose events carry it from then on
    /// ([`set_key`](Ring::set_key)). The socket has to block, as one does that was not made
    /// otherwise. Its peer cannot be asked for by [`peer`](Ring::peer): the program that has the
    /// descriptor can ask the kernel.
    ///
    /// # Errors
    /// [`Busy`] with the socket when the op table is full.
    pub fn adopt(&mut self, socket: OwnedFd, key: Key) -> Result<OpId, Busy<OwnedFd>> {
        let queued = self.inner.launch(Op::Adopt { key, socket: Some(socket) });
        self.inner.name(queued.map_err(|op| match op {
            Op::Adopt { socket: Some(socket), .. } => socket,
            _ => unreachable!("launch hands back what it was given"),
        }))
    }

    /// Gives the connection the key that its events carry from now on.
    ///
    /// # Panics
    /// If `conn` belongs to another ring, which would otherwise touch a connection of this one.
    pub fn set_key(&mut self, conn: &Conn, key: Key) {
        let id = self.inner.id_of(conn);
        self.inner.descs.set_key(id, key);
    }

    /// Receives until [`Event::RecvEnded`] (multishot, into the ring's receive slots). Does nothing
    /// when the connection is already being received from.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn recv(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let id = self.inner.id_of(conn);
        let queued = match self.inner.descs.recv_op(id) {
            Some(op) => Ok(op),
            None => self.inner.launch(Op::Recv(id)).map_err(drop),
        };
        if let Ok(op) = queued {
            self.inner.descs.set_recv(id, Some(op));
        }
        self.inner.name(queued)
    }

    /// Stops receiving, so that the peer's bytes stay in the socket. [`Event::RecvEnded`] follows
    /// if it was receiving.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn stop_recv(&mut self, conn: &Conn) {
        let id = self.inner.id_of(conn);
        if let Some(op) = self.inner.descs.recv_op(id) {
            self.inner.cancel(op);
        }
    }

    /// Sends `buf` from byte `offset` on. The whole is sent unless the connection fails or the ring
    /// closes it, and `buf` comes back with [`Event::Sent`]. Keep it to 64 KiB or so: progress
    /// inside one send cannot be seen.
    ///
    /// On connections whose records the kernel seals, a send may be short. Programs that use those
    /// send the rest:
    ///
    /// ```
    /// use sitar_io::{Busy, Conn, Engine, Event, Ring, SendBuf};
    ///
    /// /// `sent` counts what earlier operations have sent of the same buffer.
    /// fn on_event<E: Engine>(
    ///     ring: &mut Ring<E>,
    ///     conn: &Conn,
    ///     sent: &mut usize,
    ///     event: Event,
    /// ) -> Result<(), Busy<SendBuf>> {
    ///     if let Event::Sent { buf, result: Ok(count), .. } = event {
    ///         *sent += count;
    ///         // No buffer: all of it was sent, and its slot is free again.
    ///         if let Some(rest) = buf.filter(|buf| *sent < buf.len()) {
    ///             ring.send(conn, rest, *sent)?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Sends of one connection leave in the order in which they were asked for: the next is handed
    /// to the kernel when the one before has ended, since two that wait for room at the same time
    /// would mix their bytes. So a program that gathers what it has into one send gets on faster
    /// than one that queues many.
    ///
    /// # Errors
    /// [`Busy`] with `buf` when the op table is full.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn send(&mut self, conn: &Conn, buf: SendBuf, offset: usize) -> Result<OpId, Busy<SendBuf>> {
        let to = self.inner.id_of(conn);
        let queued = self.inner.send(to, buf, offset);
        self.inner.name(queued)
    }

    /// Asks for an event when the socket has room (POLLOUT): [`Event::Writable`] follows, soon if
    /// there is room already. A program that fills a send slot only then holds none while the peer
    /// is slow. Once at a time for a connection. Asked while a send is on its way, it may be
    /// answered before that has ended, and of room that it will take.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn writable(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let id = self.inner.id_of(conn);
        let queued = self.inner.launch(Op::Writable(id));
        self.inner.name(queued.map_err(drop))
    }

    /// Starts what was queued now, at the price of a system call, and not with the next
    /// [`wait`](Ring::wait). For what is large: a send slot of which the kernel takes everything is
    /// free at once, so that one slot serves many connections one after the other and stays in the
    /// processor's cache ([`Event::Sent`] then carries no buffer); and what was read is the next
    /// event. Everything else is reported after the next `wait`. With a polling kernel thread,
    /// which starts operations by itself, this makes no call and hastens nothing.
    ///
    /// # Errors
    /// As [`wait`](Ring::wait).
    pub fn submit(&mut self) -> io::Result<()> {
        self.inner.submit()
    }

    /// Reads from byte `at` of `file` into `buf`; [`Event::Read`] carries `key`. It says `EINVAL`
    /// where that is beyond the largest offset that a file can have, `i64::MAX`.
    ///
    /// # Errors
    /// [`Busy`] with `buf` when the op table is full.
    pub fn read(&mut self, file: &File, at: u64, buf: ReadBuf, key: Key) -> Result<OpId, Busy<ReadBuf>> {
        let readable = refuse::is_readable(at, &buf);
        let op = Op::Read { key, file: file.clone(), at, buf };
        let queued = if readable { self.inner.launch(op) } else { self.inner.answer(op, Errno::INVAL) };
        self.inner.name(queued.map_err(|op| match op {
            Op::Read { buf, .. } => buf,
            _ => unreachable!("launch hands back what it was given"),
        }))
    }

    /// Asks for the peer's address, of IPv4 or IPv6; [`Event::Peer`] answers. On a Unix socket the
    /// answer is an error.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full. Where the kernel cannot tell (before 6.7) the event says
    /// `EOPNOTSUPP`.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn peer(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let of = self.inner.id_of(conn);
        let ipv6 = self.inner.descs.is_ipv6(of);
        let queued = self.inner.launch(Op::Peer { of, ipv6 });
        self.inner.name(queued.map_err(drop))
    }

    /// Returns whether [`peer`](Ring::peer) can answer on this kernel.
    pub fn has_peer(&self) -> bool {
        self.inner.engine.has_peer()
    }

    /// Sets an option of the socket; [`Event::OptSet`] follows. Operations on a connection begin in
    /// the order in which they were asked for, but what was asked for before may still be going on.
    ///
    /// # Errors
    /// [`Busy`] with `opt` when the op table is full. Where options cannot be set through the ring
    /// (see [`has_set_opt`](Ring::has_set_opt)) the event says `EOPNOTSUPP`.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn set_opt(&mut self, conn: &Conn, opt: SockOpt) -> Result<OpId, Busy<SockOpt>> {
        let of = self.inner.id_of(conn);
        let ulp = matches!(opt, SockOpt::TlsUlp);
        let queued = self.inner.launch(Op::SetOpt { of, opt });
        if ulp && queued.is_ok() {
            self.inner.descs.try_ulp(of);
        }
        self.inner.name(queued.map_err(|op| match op {
            Op::SetOpt { opt, .. } => opt,
            _ => unreachable!("launch hands back what it was given"),
        }))
    }

    /// Asks how much the socket holds that the peer has not acknowledged (SO_MEMINFO);
    /// [`Event::Unacked`] answers. Nothing after a reset, unlike what SIOCOUTQ counts. Records that
    /// a sealing kernel has not yet given to TCP are not counted: there are none unless TCP's own
    /// queue is full.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full. Where [`has_set_opt`](Ring::has_set_opt) is false the
    /// event says `EOPNOTSUPP`.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn unacked(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let of = self.inner.id_of(conn);
        let queued = self.inner.launch(Op::Unacked(of));
        self.inner.name(queued.map_err(drop))
    }

    /// Whether [`set_opt`](Ring::set_opt) can do all that [`SockOpt`] lists: on io_uring, since
    /// kernel 6.7.
    pub fn has_set_opt(&self) -> bool {
        self.inner.engine.has_set_opt()
    }

    /// Ends sending (FIN); [`Event::Shutdown`] follows. Of a send that has not ended by then the
    /// rest may be lost: its [`Event::Sent`] says how much, or `EPIPE`.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn shutdown(&mut self, conn: &Conn) -> Result<OpId, Busy> {
        let id = self.inner.id_of(conn);
        let queued = self.inner.launch(Op::Shutdown(id));
        self.inner.name(queued.map_err(drop))
    }

    /// Asks the kernel to end an operation early. Its own last event tells what became of it. A
    /// stale id does nothing, nor does one of another ring.
    pub fn cancel(&mut self, id: OpId) {
        if let Some(op) = self.inner.entry(id) {
            self.inner.cancel(op);
        }
    }

    /// Closes a connection: cancels its operations, waits for the last of them, then closes the
    /// descriptor. [`Event::Closed`] is the only event about it from here on.
    ///
    /// # Panics
    /// As [`set_key`](Ring::set_key).
    pub fn close(&mut self, conn: Conn) {
        self.inner.id_of(&conn);
        // Its drop queues the close like any other.
        drop(conn);
        self.inner.adopt_orphans();
    }

    /// Starts what was queued, gives returned receive slots back to the kernel, and waits until
    /// there is an event or `until` has passed. Does not wait when events are left over. At most
    /// one system call; the time on return.
    ///
    /// # Errors
    /// The kernel refuses to go on (or broke its word, [`io::ErrorKind::InvalidData`]): the ring
    /// can only be dropped.
    pub fn wait(&mut self, until: Option<Instant>) -> io::Result<Instant> {
        self.inner.wait(until)
    }

    /// Takes the next event, `None` when all have been taken.
    #[allow(clippy::should_implement_trait, reason = "events borrow nothing, but a ring is not an iterator")]
    pub fn next(&mut self) -> Option<Event> {
        self.inner.next()
    }
}

impl<E: Engine> Drop for Ring<E> {
    fn drop(&mut self) {
        let mut panic = None;
        if self.inner.drain(&mut panic) {
            self.inner.engine.shut();
            // SAFETY: `inner` is dropped here once, and never used again: this is the ring's own
            // `Drop`. Nothing is in flight, so the kernel holds no address of it.
            unsafe { ManuallyDrop::drop(&mut self.inner) };
        } else {
            LEAKED.fetch_add(1, Ordering::Relaxed);
            // Arena, op table, scratch and the kernel's ring leak, which is the only sound thing
            // left to do (I3).
        }
        // Of two panics at a time a process dies, so one that unwinds already is left to it.
        if let Some(panic) = panic.filter(|_| !std::thread::panicking()) {
            std::panic::resume_unwind(panic);
        }
    }
}
