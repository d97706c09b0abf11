//! Operations: what the op table holds, and what an engine sees of it.

use std::ffi::{CStr, CString};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::conn::{Listener, SlotId};
use crate::file::File;
use crate::key::Key;
use crate::read_buf::ReadBuf;
use crate::send_buf::{Segment, SendBuf};
use crate::sockopt::SockOpt;
use crate::table::EntryId;
use crate::udp::Udp;
use crate::waker::Waker;

/// An operation in flight: it owns what the kernel was given (I2).
pub(crate) enum Op {
    Accept(Listener),
    /// `None`: the engine has taken the socket.
    Adopt {
        key: Key,
        socket: Option<OwnedFd>,
    },
    Recv(SlotId),
    Send {
        to: SlotId,
        buf: Sending,
        offset: usize,
        turn: Turn,
    },
    Writable(SlotId),
    Read {
        key: Key,
        file: File,
        at: u64,
        buf: ReadBuf,
    },
    RecvFrom(Udp),
    SendTo {
        by: Udp,
        buf: Segment,
        to: SocketAddr,
        segment_size: u16,
    },
    Open {
        key: Key,
        dir: File,
        path: CString,
    },
    Stat {
        key: Key,
        dir: File,
        path: CString,
    },
    Peer {
        of: SlotId,
        ipv6: bool,
    },
    SetOpt {
        of: SlotId,
        opt: SockOpt,
    },
    Unacked(SlotId),
    Shutdown(SlotId),
    Close {
        of: SlotId,
        key: Key,
    },
    Cancel(EntryId),
    CancelSlot(SlotId),
    CancelAll,
    Wake,
}

/// The buffer of a send.
pub(crate) enum Sending {
    Buf(SendBuf),
    /// The send has ended after `count` bytes, which were all there were, and its slot has been
    /// given back.
    Recycled {
        count: usize,
    },
}

impl Op {
    /// Returns the connection that this operation keeps open.
    pub(crate) fn slot(&self) -> Option<SlotId> {
        match self {
            Op::Recv(id) | Op::Writable(id) | Op::Shutdown(id) | Op::Unacked(id) | Op::CancelSlot(id) => {
                Some(*id)
            }
            Op::Send { to, .. } => Some(*to),
            Op::Peer { of, .. } | Op::SetOpt { of, .. } => Some(*of),
            // By these a connection comes and goes.
            Op::Accept(_) | Op::Adopt { .. } | Op::Close { .. } => None,
            Op::Read { .. } | Op::Open { .. } | Op::Stat { .. } => None,
            Op::RecvFrom(_) | Op::SendTo { .. } => None,
            Op::Cancel(_) | Op::CancelAll | Op::Wake => None,
        }
    }

    /// Returns whether this is one of the ring's own operations, by which others end, and which end
    /// soon themselves whatever the peers do. (The waker is the exception: there is one.)
    pub(crate) fn ends_others(&self) -> bool {
        matches!(self, Op::Close { .. } | Op::Cancel(_) | Op::CancelSlot(_) | Op::CancelAll | Op::Wake)
    }

    /// Returns what the engine is asked for, `None` for what has ended already. `whole`: a send
    /// need not be short. `yields`: a receive lets others go first.
    pub(crate) fn request<'a>(
        &'a mut self,
        waker: &'a Waker,
        whole: bool,
        yields: bool,
    ) -> Option<Request<'a>> {
        Some(match self {
            Op::Accept(listener) => Request::Accept { listener },
            Op::Adopt { socket, .. } => Request::Adopt { socket: socket.as_ref()?.as_fd() },
            Op::Recv(id) => Request::Recv { slot: id.slot, yields },
            Op::Send { to, buf: Sending::Buf(buf), offset, .. } => {
                Request::Send { slot: to.slot, buf, offset: *offset, whole }
            }
            Op::Send { buf: Sending::Recycled { .. }, .. } => return None,
            Op::Writable(id) => Request::Writable { slot: id.slot },
            Op::Read { file, at, buf, .. } => Request::Read { file, at: *at, buf },
            Op::RecvFrom(at) => Request::RecvFrom { at },
            Op::SendTo { by, buf, to, segment_size } => {
                Request::SendTo { by, to: *to, segment_size: *segment_size, bytes: buf.bytes() }
            }
            Op::Open { dir, path, .. } => Request::Open { dir, path },
            Op::Stat { dir, path, .. } => Request::Stat { dir, path },
            Op::Peer { of, ipv6 } => Request::Peer { slot: of.slot, ipv6: *ipv6 },
            Op::SetOpt { of, opt } => Request::SetOpt { slot: of.slot, opt },
            Op::Unacked(id) => Request::Unacked { slot: id.slot },
            Op::Shutdown(id) => Request::Shutdown { slot: id.slot },
            Op::Close { of, .. } => Request::Close { slot: of.slot },
            Op::Cancel(target) => Request::Cancel { target: *target },
            Op::CancelSlot(id) => Request::CancelSlot { slot: id.slot },
            Op::CancelAll => Request::CancelAll,
            Op::Wake => Request::Wake { waker },
        })
    }

    /// Returns the name of the io_uring operation, as far as the kernel refuses it with EACCES for
    /// one reason alone: that the ring is restricted. Files have permissions, and so do the
    /// destinations of datagrams.
    pub(crate) fn restricted_name(&self) -> Option<&'static str> {
        Some(match self {
            Op::Open { .. } | Op::Stat { .. } | Op::SendTo { .. } => return None,
            Op::Accept(_) => "ACCEPT",
            Op::Adopt { .. } => "FILES_UPDATE",
            Op::Recv(_) => "RECV",
            Op::Send { .. } => "SEND",
            Op::Writable(_) => "POLL_ADD",
            Op::Read { .. } | Op::Wake => "READ",
            Op::RecvFrom(_) => "RECVMSG",
            Op::Peer { .. } | Op::SetOpt { .. } | Op::Unacked(_) => "URING_CMD",
            Op::Shutdown(_) => "SHUTDOWN",
            Op::Close { .. } => "CLOSE",
            Op::Cancel(_) | Op::CancelSlot(_) | Op::CancelAll => "ASYNC_CANCEL",
        })
    }

    /// Checks what an engine says about the end of an operation (I4).
    ///
    /// # Errors
    /// The reason why it cannot be true.
    pub(crate) fn doubt(&self, result: Result<u32, Errno>) -> Result<(), &'static str> {
        let count = result.unwrap_or(0) as usize;
        match self {
            Op::Send { turn: Turn::Waits { .. }, .. } => Err("an operation ended that had not begun"),
            Op::Send { buf: Sending::Buf(buf), offset, .. } if count > buf.wanted(*offset) => {
                Err("more bytes sent than there were")
            }
            Op::Send { buf: Sending::Recycled { count }, .. } if result != Ok(*count as u32) => {
                Err("a send that ended in two ways")
            }
            Op::SendTo { buf, .. } if count > buf.bytes().len() => Err("more bytes sent than there were"),
            Op::Read { buf, .. } if count > buf.len() => Err("more bytes read than asked for"),
            // Its place has not been written then.
            Op::Adopt { .. } if result.is_ok() && count != 1 => {
                Err("an adoption of no descriptor, or of several")
            }
            // No count, or one that is within bounds.
            Op::Send { .. } | Op::SendTo { .. } | Op::Read { .. } => Ok(()),
            Op::Accept(_) | Op::Adopt { .. } | Op::Recv(_) | Op::Writable(_) | Op::RecvFrom(_) => Ok(()),
            Op::Open { .. } | Op::Stat { .. } | Op::Peer { .. } => Ok(()),
            Op::SetOpt { .. } | Op::Unacked(_) | Op::Shutdown(_) | Op::Close { .. } => Ok(()),
            Op::Cancel(_) | Op::CancelSlot(_) | Op::CancelAll | Op::Wake => Ok(()),
        }
    }
}

/// The place of a send in the order of its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// The turn has not come; the engine has not been given the send.
    Waits { next: Option<EntryId> },
    /// The engine has the send, or its end is on its way; another may come behind it.
    Given { next: Option<EntryId> },
    /// The send was cancelled before its turn came, or refused: it is not in the order, and its end
    /// is on its way.
    TakenBack,
}

impl Turn {
    pub(crate) fn next(self) -> Option<EntryId> {
        match self {
            Turn::Waits { next } | Turn::Given { next } => next,
            Turn::TakenBack => None,
        }
    }

    pub(crate) fn followed_by(self, next: Option<EntryId>) -> Turn {
        match self {
            Turn::Waits { .. } => Turn::Waits { next },
            Turn::Given { .. } => Turn::Given { next },
            Turn::TakenBack => Turn::TakenBack,
        }
    }
}

/// `whole`: after a short send the kernel is to go on by itself. `yields`: receives that were asked
/// for at the same time get their slots first.
pub(crate) enum Request<'a> {
    Accept { listener: &'a Listener },
    Adopt { socket: BorrowedFd<'a> },
    Recv { slot: u32, yields: bool },
    Send { slot: u32, buf: &'a SendBuf, offset: usize, whole: bool },
    Writable { slot: u32 },
    Read { file: &'a File, at: u64, buf: &'a mut ReadBuf },
    RecvFrom { at: &'a Udp },
    SendTo { by: &'a Udp, to: SocketAddr, segment_size: u16, bytes: &'a [u8] },
    Open { dir: &'a File, path: &'a CStr },
    Stat { dir: &'a File, path: &'a CStr },
    Peer { slot: u32, ipv6: bool },
    SetOpt { slot: u32, opt: &'a SockOpt },
    Unacked { slot: u32 },
    Shutdown { slot: u32 },
    Close { slot: u32 },
    Cancel { target: EntryId },
    CancelSlot { slot: u32 },
    CancelAll,
    Wake { waker: &'a Waker },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the kernel has put it stands in memory that holds the descriptor before that.
    #[test]
    fn an_adoption_is_of_one_descriptor() {
        let op = Op::Adopt { key: Key(0), socket: None };
        assert!(op.doubt(Ok(1)).is_ok() && op.doubt(Err(Errno::NFILE)).is_ok());
        assert!(op.doubt(Ok(0)).is_err() && op.doubt(Ok(2)).is_err());
    }
}
