//! Operations that the ring answers itself, because no engine may be given them.

use rustix::io::Errno;

use super::inner::Inner;
use crate::conn::SlotId;
use crate::engine::{Completion, Engine};
use crate::op::Op;
use crate::read_buf::ReadBuf;
use crate::send_buf::SendBuf;
use crate::table::EntryId;
use crate::udp::{COALESCED_MAX, DATAGRAM_HEAD, Udp};

/// The largest offset in a file. What is above is a negative number to the kernel, and the largest
/// `u64`, -1, stands for the position that the descriptor has, which io_uring and preadv2(2) would
/// then read from and move.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl<E: Engine> Inner<E> {
    /// Ends an operation with `errno` without the engine, in an event like any other.
    pub(super) fn answer(&mut self, op: Op, errno: Errno) -> Result<EntryId, Op> {
        let id = self.insert(op)?;
        self.end_without_engine(id, errno);
        Ok(id)
    }

    /// Ends an operation of the table that the engine has not got, in an event like any other.
    pub(super) fn end_without_engine(&mut self, id: EntryId, errno: Errno) {
        let result = errno.raw_os_error().wrapping_neg();
        self.completions.push_back(Completion { id, result, buffer: None, more: false });
    }

    /// Returns why `buf` cannot be sent.
    pub(super) fn unsendable(&self, to: SlotId, buf: &SendBuf) -> Option<Errno> {
        match buf {
            // The kernel would ignore the type, and send plain text.
            SendBuf::Record(..) if !self.descs.is_sealed(to) => Some(Errno::OPNOTSUPP),
            _ => None,
        }
    }

    /// Returns whether a ring with these receive slots, on this engine, can receive what the socket
    /// is set to deliver.
    pub(super) fn can_receive(&self, udp: &Udp) -> bool {
        let slot = self.arena.layout().rx_len as usize;
        let coalesced = udp.coalesces();
        slot > DATAGRAM_HEAD && (!coalesced || (slot >= COALESCED_MAX && self.engine.has_gro()))
    }
}

/// Returns whether all that is to be filled can be read from offsets that a file can have.
pub(super) fn is_readable(at: u64, buf: &ReadBuf) -> bool {
    let end = u64::try_from(buf.len()).ok().and_then(|len| at.checked_add(len));
    end.is_some_and(|end| end <= OFFSET_MAX)
}
