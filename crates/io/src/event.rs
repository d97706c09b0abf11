//! Events: the reports of a ring.

use std::ffi::CString;
use std::fmt;

use rustix::io::Errno;

use crate::RxBuf;
use crate::conn::Conn;
use crate::file::{File, FileStat};
use crate::key::Key;
use crate::read_buf::ReadBuf;
use crate::send_buf::{Segment, SendBuf};
use crate::udp::Datagrams;

/// The reason why a subscription to received bytes ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecvEnd {
    /// The peer has finished sending (FIN).
    Eof,
    /// No receive slot was free (ENOBUFS). Nothing is lost: subscribe again once leases have been
    /// dropped.
    NoBuffers,
    /// The kernel ended a multishot receive without an error, or the receive was cancelled:
    /// subscribe again if wanted.
    Stopped,
    /// The connection failed.
    Error(Errno),
}

/// One thing that happened. Each owns what it reports, so that dropping an event loses no slot and
/// no descriptor (I6).
pub enum Event {
    /// A connection arrived. Its [`Key`] is the listener's until [`set_key`](crate::Ring::set_key).
    Accepted {
        /// The listener's key.
        listener: Key,
        /// The connection.
        conn: Conn,
    },
    /// Accepting ended: call [`accept`](crate::Ring::accept) again, at once or (after an error such
    /// as ENFILE) when a connection has closed. Nothing is accepted until then.
    AcceptEnded {
        /// The listener's key.
        listener: Key,
        /// The kernel's reason, `None` when it gave none.
        error: Option<Errno>,
    },
    /// The answer to [`adopt`](crate::Ring::adopt).
    Adopted {
        /// The key given to [`adopt`](crate::Ring::adopt), which is the connection's, too.
        key: Key,
        /// The connection. An error, as ENFILE of a full file table, closes the socket.
        result: Result<Conn, Errno>,
    },
    /// Bytes arrived, at least one.
    Recv {
        /// The connection's key.
        key: Key,
        /// The bytes.
        buf: RxBuf,
    },
    /// Receiving ended.
    RecvEnded {
        /// The connection's or the datagram socket's key.
        key: Key,
        /// The reason, which decides whether to subscribe again.
        end: RecvEnd,
    },
    /// A send ended.
    Sent {
        /// The connection's key.
        key: Key,
        /// The buffer that was sent. `None` if the socket took everything out of a send slot and
        /// the ring has the slot back already ([`submit`](crate::Ring::submit)): then there is
        /// nothing to send again.
        buf: Option<SendBuf>,
        /// Bytes that the socket took in this operation. When they are fewer than were asked for,
        /// the program sends the rest.
        result: Result<usize, Errno>,
    },
    /// The socket has room, or has failed (the next send reports it), or the question was
    /// cancelled.
    Writable {
        /// The connection's key.
        key: Key,
    },
    /// The peer's address.
    Peer {
        /// The connection's key.
        key: Key,
        /// The address.
        result: Result<std::net::SocketAddr, Errno>,
    },
    /// A file read ended.
    Read {
        /// The key given to [`read`](crate::Ring::read).
        key: Key,
        /// The buffer that was filled.
        buf: ReadBuf,
        /// Bytes read; 0 is the end of the file.
        result: Result<usize, Errno>,
    },
    /// A socket option was set, or not.
    OptSet {
        /// The connection's key.
        key: Key,
        /// Its result.
        result: Result<(), Errno>,
    },
    /// The answer to [`unacked`](crate::Ring::unacked): bytes that the peer has not acknowledged.
    Unacked {
        /// The connection's key.
        key: Key,
        /// Bytes of memory: somewhat more than those of the content, and 0 where there are none.
        result: Result<usize, Errno>,
    },
    /// A file was opened, or not.
    Opened {
        /// The key given to [`open_at`](crate::Ring::open_at).
        key: Key,
        /// The path that was given.
        path: CString,
        /// The file; dropped unread it is closed. `EXDEV`: the path leads out of the directory.
        result: Result<File, Errno>,
    },
    /// The answer to [`stat_at`](crate::Ring::stat_at).
    Stat {
        /// The key given to [`stat_at`](crate::Ring::stat_at).
        key: Key,
        /// The path that was given.
        path: CString,
        /// The facts about the file. `EXDEV`: the path leads out of the directory.
        result: Result<FileStat, Errno>,
    },
    /// Datagrams arrived: one, or several of one sender that the kernel has coalesced.
    Datagrams {
        /// The socket's key.
        key: Key,
        /// The sender.
        from: std::net::SocketAddr,
        /// The datagrams.
        datagrams: Datagrams,
    },
    /// A send of datagrams ended.
    SentTo {
        /// The socket's key.
        key: Key,
        /// The bytes that were sent.
        buf: Segment,
        /// Bytes that the socket took. They may still be lost on the way.
        result: Result<usize, Errno>,
    },
    /// A shutdown ended.
    Shutdown {
        /// The connection's key.
        key: Key,
        /// Its result.
        result: Result<(), Errno>,
    },
    /// A connection's descriptor is closed and its place free again: the last event about it.
    Closed {
        /// The connection's key.
        key: Key,
    },
    /// A [`Waker`](crate::Waker) was used since the last such event.
    Woken,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Accepted { listener, .. } => write!(f, "Accepted({})", listener.0),
            Event::AcceptEnded { listener, error } => write!(f, "AcceptEnded({}, {error:?})", listener.0),
            Event::Adopted { key, result } => {
                write!(f, "Adopted({}, {:?})", key.0, result.as_ref().map(drop))
            }
            Event::Recv { key, buf } => write!(f, "Recv({}, {} bytes)", key.0, buf.len()),
            Event::RecvEnded { key, end } => write!(f, "RecvEnded({}, {end:?})", key.0),
            Event::Sent { key, buf: Some(buf), result } => {
                write!(f, "Sent({}, {result:?} of {})", key.0, buf.len())
            }
            Event::Sent { key, buf: None, result } => write!(f, "Sent({}, {result:?}, recycled)", key.0),
            Event::Writable { key } => write!(f, "Writable({})", key.0),
            Event::Peer { key, result } => write!(f, "Peer({}, {result:?})", key.0),
            Event::Read { key, result, .. } => write!(f, "Read({}, {result:?})", key.0),
            Event::OptSet { key, result } => write!(f, "OptSet({}, {result:?})", key.0),
            Event::Unacked { key, result } => write!(f, "Unacked({}, {result:?})", key.0),
            Event::Opened { key, path, result } => {
                write!(f, "Opened({}, {path:?}, {:?})", key.0, result.as_ref().map(drop))
            }
            Event::Stat { key, path, result } => write!(f, "Stat({}, {path:?}, {result:?})", key.0),
            Event::Datagrams { key, from, datagrams } => {
                write!(f, "Datagrams({}, {from}, {datagrams:?})", key.0)
            }
            Event::SentTo { key, buf, result } => {
                write!(f, "SentTo({}, {result:?} of {})", key.0, buf.bytes().len())
            }
            Event::Shutdown { key, result } => write!(f, "Shutdown({}, {result:?})", key.0),
            Event::Closed { key } => write!(f, "Closed({})", key.0),
            Event::Woken => write!(f, "Woken"),
        }
    }
}
