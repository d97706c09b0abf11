//! The interface between a ring and its engine.
//!
//! The trait is sealed: its methods can be called by [`Ring`](crate::Ring) alone. Completions are
//! untrusted all the same (I4): whatever an engine reports is checked against the op table, the
//! descriptor table and the receive slots before anything is believed, so that an engine can be
//! wrong without being unsound.

use std::ffi::CStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::file::{File, FileStat};
use crate::op::{Op, Request, Sending};
use crate::read_buf::ReadBuf;
use crate::send_buf::SendBuf;
use crate::table::{EntryId, Table};
use crate::udp::Udp;

/// An engine that a [`Ring`](crate::Ring) can run on, such as [`Uring`](crate::Uring) and
/// [`Epoll`](crate::Epoll).
pub trait Engine: Sealed + 'static {}

/// One operation as the engine sees it. Made by [`Ring`](crate::Ring) from an entry of its op table
/// only; the memory that it names stays where it is until the operation's terminal completion has
/// been taken out of the table (I2).
pub struct Submission<'a> {
    pub(crate) id: EntryId,
    pub(crate) op: Request<'a>,
}

/// A report of an engine about one operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub(crate) id: EntryId,
    /// A count or a descriptor when not negative, else a negated errno.
    pub(crate) result: i32,
    /// The receive slot that was filled.
    pub(crate) buffer: Option<u16>,
    /// More completions of this operation will follow.
    pub(crate) more: bool,
}

/// The finding of an operation, besides the number in its completion.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    /// The place in the file table, after an `Adopt`.
    Place,
    /// The address, after a `Peer`.
    Peer,
    /// The bytes in the queue, after an `Unacked`.
    Unacked,
    /// The file, after an `Open`.
    Open,
    /// The facts about a file, after a `Stat`.
    Stat,
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    Place(u32),
    Address(SocketAddr),
    Bytes(u32),
    File(File),
    Stat(FileStat),
}

/// The sealed part of [`Engine`].
pub trait Sealed {
    /// Queues an operation for the next wait.
    #[doc(hidden)]
    fn submit(&mut self, submission: Submission<'_>) -> Result<(), Full>;
    /// Gives a receive slot to the engine.
    #[doc(hidden)]
    fn publish(&mut self, slot: u16, addr: *mut u8, len: u32);
    /// Submits what is queued and, unless `poll`, waits for a completion or until `timeout` has
    /// passed. At most one system call. An engine that moves bytes itself does so now, through
    /// `memory`.
    #[doc(hidden)]
    fn wait(&mut self, memory: &mut Memory<'_>, poll: bool, timeout: Option<Duration>) -> io::Result<()>;
    /// Returns the time, which is its own for an engine that has a clock of its own.
    #[doc(hidden)]
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Takes the next completion.
    #[doc(hidden)]
    fn next(&mut self) -> Option<Completion>;
    /// Returns what an operation that succeeded with `number` has found, `None` when there is
    /// nothing. Called once, after the operation's terminal completion.
    #[doc(hidden)]
    fn answer(&mut self, id: EntryId, question: Question, number: u32) -> Option<Answer>;
    /// Returns whether received datagrams can be coalesced.
    #[doc(hidden)]
    fn has_gro(&self) -> bool;
    /// Returns whether `Peer` can be asked for.
    #[doc(hidden)]
    fn has_peer(&self) -> bool;
    /// Returns whether options can be set by `SetOpt`.
    #[doc(hidden)]
    fn has_set_opt(&self) -> bool;
    /// Returns whether the kernel refuses operations that the engine does not use.
    #[doc(hidden)]
    fn is_restricted(&self) -> bool {
        false
    }
    /// Wipes the copy of an option, which may hold a key. Called when its `SetOpt` has ended.
    #[doc(hidden)]
    fn wipe(&mut self, _id: EntryId) {}
    /// Starts what is queued, without waiting.
    #[doc(hidden)]
    fn start(&mut self, memory: &mut Memory<'_>) -> io::Result<()>;
    /// Returns the number of system calls made so far.
    #[doc(hidden)]
    fn calls(&self) -> u64;
    /// Gives descriptors and memory back to the kernel. Called when nothing is in flight any more.
    #[doc(hidden)]
    fn shut(&mut self);
}

/// The bytes of operations in flight, for engines that move them in this process instead of leaving
/// it to the kernel. (io_uring's does not use it: its kernel has the addresses.)
pub struct Memory<'a> {
    pub(crate) ops: &'a mut Table<Op>,
    pub(crate) arena: &'a Arena,
}

impl Memory<'_> {
    /// Returns the socket that an accept in flight accepts from.
    pub(crate) fn listener(&self, id: EntryId) -> Option<BorrowedFd<'_>> {
        match self.ops.get(id)? {
            Op::Accept(listener) => listener.fd(),
            _ => None,
        }
    }

    /// Takes the socket of an adoption in flight.
    pub(crate) fn take_socket(&mut self, id: EntryId) -> Option<OwnedFd> {
        match self.ops.get_mut(id)? {
            Op::Adopt { socket, .. } => socket.take(),
            _ => None,
        }
    }

    /// Returns the file of a read in flight, the offset in it, and the buffer to fill.
    pub(crate) fn reading(&mut self, id: EntryId) -> Option<(&File, u64, &mut ReadBuf)> {
        match self.ops.get_mut(id)? {
            Op::Read { file, at, buf, .. } => Some((file, *at, buf)),
            _ => None,
        }
    }

    /// Returns the directory and the path of an operation in flight that looks for a file.
    pub(crate) fn looking(&self, id: EntryId) -> Option<(&File, &CStr, Look)> {
        match self.ops.get(id)? {
            Op::Open { dir, path, .. } => Some((dir, path, Look::Open)),
            Op::Stat { dir, path, .. } => Some((dir, path, Look::Stat)),
            _ => None,
        }
    }

    /// Returns the datagram socket of an operation in flight.
    pub(crate) fn udp(&self, id: EntryId) -> Option<&Udp> {
        match self.ops.get(id)? {
            Op::RecvFrom(udp) | Op::SendTo { by: udp, .. } => Some(udp),
            _ => None,
        }
    }

    /// Returns the bytes of a send of datagrams in flight, the size of each (0: it is one), and the
    /// destination.
    pub(crate) fn datagrams(&self, id: EntryId) -> Option<(&Udp, &[u8], u16, SocketAddr)> {
        match self.ops.get(id)? {
            Op::SendTo { by, buf, to, segment_size } => Some((by, buf.bytes(), *segment_size, *to)),
            _ => None,
        }
    }

    /// Returns the buffer of a send in flight, and the first byte to send.
    pub(crate) fn source(&self, id: EntryId) -> Option<(&SendBuf, usize)> {
        match self.ops.get(id)? {
            Op::Send { buf: Sending::Buf(buf), offset, .. } => Some((buf, *offset)),
            _ => None,
        }
    }

    /// Returns the buffer that a read in flight fills.
    pub(crate) fn target(&mut self, id: EntryId) -> Option<&mut ReadBuf> {
        match self.ops.get_mut(id)? {
            Op::Read { buf, .. } => Some(buf),
            _ => None,
        }
    }

    /// Lets `f` write into a slot that was published to the engine, and returns what `f` says;
    /// `None` when the slot is not the engine's.
    pub(crate) fn fill_with<R>(&mut self, slot: u16, f: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        self.arena.fill_with(slot, f)
    }

    /// Copies received bytes into a slot that was published to the engine. Returns how many fitted,
    /// `None` when the slot is not the engine's.
    pub(crate) fn fill(&mut self, slot: u16, bytes: &[u8]) -> Option<usize> {
        self.arena.fill(slot, bytes)
    }
}

/// An operation on a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    Open,
    Stat,
}

/// The engine's queue is full; nothing was queued.
#[derive(Debug)]
pub struct Full;
