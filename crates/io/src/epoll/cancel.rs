//! Ending operations early. The operation itself tells what became of it; the cancel only says
//! whether there was one.

use rustix::io::Errno;

use super::{By, Doing, Epoll};
use crate::engine::Memory;
use crate::table::EntryId;

impl Epoll {
    /// # Errors
    /// io_uring's: ENOENT when there is no such operation, EALREADY when it cannot be stopped any
    /// more.
    pub(super) fn cancel(&mut self, memory: &Memory<'_>, op: EntryId) -> Result<(), Errno> {
        match self.doing(op) {
            Doing::Nothing => return Err(Errno::NOENT),
            Doing::Accept => {
                let index = self.accepts.iter().position(|accept| accept.op == op).ok_or(Errno::NOENT)?;
                self.end_accept(memory, index, Errno::CANCELED);
            }
            Doing::Recv { slot } => {
                if let Some(sock) = self.places.get(slot) {
                    sock.recv = None;
                }
                self.end(op, Err(Errno::CANCELED));
            }
            Doing::Writable { slot } => {
                if let Some(sock) = self.places.get(slot) {
                    sock.room = None;
                }
                self.end(op, Err(Errno::CANCELED));
            }
            Doing::Send { slot, .. } => {
                let sent = self.unlink_send(op).unwrap_or(0);
                self.end_partly(op, sent);
                self.ask_about_room(slot);
            }
            Doing::RecvFrom => self.end_recv_from(memory, op, Errno::CANCELED),
            Doing::SendTo { sent } => {
                let result = if sent > 0 { Ok(sent) } else { Err(Errno::CANCELED) };
                self.end_send_to(memory, op, result);
            }
            Doing::Look { by: By::Ring } => {
                self.backlog.retain(|other| *other != op);
                self.end(op, Err(Errno::CANCELED));
            }
            Doing::Look { by: By::Helper | By::Last } => {
                self.set(op, Doing::Look { by: By::Last });
                return Err(Errno::ALREADY);
            }
            Doing::Read { done, by: By::Ring } => {
                self.reads.retain(|other| *other != op);
                self.backlog.retain(|other| *other != op);
                self.end_partly(op, done);
            }
            Doing::Read { done, by: By::Helper | By::Last } => {
                self.set(op, Doing::Read { done, by: By::Last });
                return Err(Errno::ALREADY);
            }
            Doing::Wake => {
                self.wake = None;
                self.end(op, Err(Errno::CANCELED));
            }
        }
        Ok(())
    }

    /// Bytes that were moved stay moved, as on io_uring.
    fn end_partly(&mut self, op: EntryId, done: usize) {
        self.end(op, if done > 0 { Ok(done) } else { Err(Errno::CANCELED) });
    }

    pub(super) fn cancel_slot(&mut self, memory: &Memory<'_>, slot: u32) {
        while let Some(sock) = self.places.get(slot) {
            let Some(op) = sock.recv.or(sock.first_send).or(sock.room) else { return };
            if self.cancel(memory, op).is_err() {
                return;
            }
        }
    }

    pub(super) fn cancel_all(&mut self, memory: &Memory<'_>) {
        for index in 0..self.works.len() {
            let Some(op) = self.works[index].op else { continue };
            // One that is not there, or that the helper has, ends by itself.
            let _ = self.cancel(memory, op);
        }
    }
}
