//! From completions to events.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::inner::{After, Inner};
use crate::arena::RxBuf;
use crate::conn::{Conn, Listener, SlotId};
use crate::engine::{Answer, Completion, Engine, Question};
use crate::event::{Event, RecvEnd};
use crate::key::Key;
use crate::op::{Op, Sending};
use crate::refused;
use crate::sockopt::SockOpt;
use crate::table::EntryId;
use crate::udp::{self, Udp};

/// The result of a completion: an event, none where no handle is left, or why it cannot be true
/// (I4).
type Ending = Result<Option<Event>, &'static str>;

/// Returns whether a cancel was not even tried, for want of something. That there was nothing to
/// cancel, or that it came too late, is an answer.
fn failed(cancel: Result<u32, Errno>) -> bool {
    matches!(cancel, Err(Errno::NOMEM | Errno::AGAIN | Errno::INTR))
}

fn ended_by(errno: Errno) -> RecvEnd {
    match errno {
        Errno::CANCELED => RecvEnd::Stopped,
        Errno::NOBUFS => RecvEnd::NoBuffers,
        errno => RecvEnd::Error(errno),
    }
}

fn datagrams(udp: &Udp, buf: Option<RxBuf>) -> Result<Event, &'static str> {
    let key = udp.shared.key;
    let taken = buf.and_then(|buf| udp::take(buf, udp.coalesces()));
    let (from, datagrams) = taken.ok_or("a datagram without its head")?;
    Ok(Event::Datagrams { key, from, datagrams })
}

impl<E: Engine> Inner<E> {
    /// Does what a completion calls for, and keeps the ring as it is.
    #[cfg(feature = "attacks")]
    pub(super) fn look_at(&mut self, completion: Completion) {
        let _ = self.on_completion(completion);
    }

    /// Turns a completion into an event, believing nothing. An `Err` closes the ring.
    pub(super) fn on_completion(&mut self, completion: Completion) -> Ending {
        let Completion { id, result, buffer, more } = completion;
        let result = match u32::try_from(result) {
            Ok(count) => Ok(count),
            // Others are no error numbers, of which there are 4095 (linux/err.h).
            Err(_) if result < -4095 => return Err("an error that no kernel has"),
            Err(_) => Err(Errno::from_raw_os_error(-result)),
        };
        if result == Err(Errno::ACCESS) && self.engine.is_restricted() {
            self.count_refusal(id);
        }
        // First of all, so that the slot is owned by something whatever happens next (I6).
        let buf = match buffer {
            Some(slot) => {
                Some(self.arena.lease(slot, result.unwrap_or(0)).ok_or("a receive slot it did not have")?)
            }
            None => None,
        };
        let op = self.ops.get(id).ok_or("a completion of no operation")?;
        let receives = matches!(op, Op::Recv(_) | Op::RecvFrom(_));
        // The end of a stream may come with a slot, of which nothing was filled.
        if buf.is_some() && !receives || buf.is_none() && receives && result.is_ok_and(|count| count > 0) {
            return Err("bytes without a receive slot, or a slot without a receive");
        }
        if more {
            return match op {
                Op::Accept(listener) => {
                    let (key, ipv6) = (listener.key, listener.is_ipv6());
                    let slot = result.map_err(|_| "an accept that failed and goes on")?;
                    self.accepted(slot, key, ipv6).map(Some)
                }
                Op::Recv(from) => {
                    let from = *from;
                    result.map_err(|_| "a receive that failed and goes on")?;
                    Ok(buf.and_then(|buf| self.received(from, buf)))
                }
                Op::RecvFrom(udp) => {
                    result.map_err(|_| "a receive that failed and goes on")?;
                    datagrams(udp, buf).map(Some)
                }
                _ => Err("more completions of a single operation"),
            };
        }
        // Before it leaves the table: of what a liar speaks about, nothing is let go.
        op.doubt(result)?;
        let Some(op) = self.ops.remove(id) else { return Err("a completion of no operation") };
        if let Some(slot) = op.slot() {
            self.descs.landed(slot);
        }
        self.ended(id, op, result, buf)
    }

    /// Counts an operation that the kernel refused because the ring is restricted.
    #[cold]
    fn count_refusal(&self, id: EntryId) {
        match self.ops.get(id).map(Op::restricted_name) {
            None => refused::count_operation(None),
            Some(Some(name)) => refused::count_operation(Some(name)),
            Some(None) => {}
        }
    }

    fn accepted(&mut self, slot: u32, listener: Key, ipv6: bool) -> Result<Event, &'static str> {
        let id = self.descs.open(slot, listener).ok_or("a descriptor that is in use")?;
        if ipv6 {
            self.descs.set_ipv6(id);
        }
        Ok(Event::Accepted { listener, conn: Conn::new(id, &self.orphans) })
    }

    fn received(&mut self, from: SlotId, buf: RxBuf) -> Option<Event> {
        if buf.is_empty() {
            return None;
        }
        self.descs.serve(from);
        let key = self.descs.listening(from)?;
        Some(Event::Recv { key, buf })
    }

    /// Turns the terminal completion of `op`, which has left the table, into an event.
    ///
    /// A buffer that was sent may hold a lease, whose drop is the program's code and may panic. So
    /// it is dropped last, when everything that is to be noted has been.
    fn ended(&mut self, id: EntryId, op: Op, result: Result<u32, Errno>, buf: Option<RxBuf>) -> Ending {
        let bytes = result.map(|count| count as usize);
        Ok(match op {
            Op::Accept(listener) => return self.accept_ended(&listener, result),
            Op::Adopt { key, socket } => return self.adopt_ended(id, key, socket, result),
            Op::Recv(from) => self.recv_ended(from, result, buf),
            Op::Send { to, buf, turn, .. } => {
                self.end_turn(to, turn);
                let buf = match buf {
                    Sending::Buf(buf) => Some(buf),
                    Sending::Recycled { .. } => None,
                };
                self.descs.listening(to).map(|key| Event::Sent { key, buf, result: bytes })
            }
            // The next send reports an error, if there is one.
            Op::Writable(of) => self.descs.listening(of).map(|key| Event::Writable { key }),
            Op::Read { key, buf, .. } => Some(Event::Read { key, buf, result: bytes }),
            Op::RecvFrom(udp) => return self.recv_from_ended(id, &udp, result, buf),
            Op::SendTo { by, buf, .. } => Some(Event::SentTo { key: by.shared.key, buf, result: bytes }),
            Op::Open { key, path, .. } => {
                let result = self.found(id, Question::Open, result, |answer| match answer {
                    Answer::File(file) => Some(file),
                    _ => None,
                })?;
                Some(Event::Opened { key, path, result })
            }
            Op::Stat { key, path, .. } => {
                let result = self.found(id, Question::Stat, result, |answer| match answer {
                    Answer::Stat(stat) => Some(stat),
                    _ => None,
                })?;
                Some(Event::Stat { key, path, result })
            }
            Op::Peer { of, .. } => {
                let result = result.and_then(|number| match self.engine.answer(id, Question::Peer, number) {
                    Some(Answer::Address(address)) => Ok(address),
                    _ => Err(Errno::AFNOSUPPORT),
                });
                self.descs.listening(of).map(|key| Event::Peer { key, result })
            }
            Op::SetOpt { of, opt } => self.set_opt_ended(id, of, opt, result),
            Op::Unacked(of) => {
                let result = result.map(|number| match self.engine.answer(id, Question::Unacked, number) {
                    Some(Answer::Bytes(bytes)) => bytes as usize,
                    // Then it is not known, and nothing may be taken for acknowledged.
                    _ => u32::MAX as usize,
                });
                self.descs.listening(of).map(|key| Event::Unacked { key, result })
            }
            Op::Shutdown(of) => {
                self.descs.listening(of).map(|key| Event::Shutdown { key, result: result.map(drop) })
            }
            Op::Close { of, key } => {
                // As with close(2), the descriptor is gone, with an error or without.
                self.descs.closed(of);
                Some(Event::Closed { key })
            }
            Op::Cancel(_) | Op::CancelSlot(_) | Op::CancelAll => {
                self.cancel_ended(&op, result);
                None
            }
            Op::Wake => {
                self.waking = false;
                Some(Event::Woken)
            }
        })
    }

    fn accept_ended(&mut self, from: &Listener, result: Result<u32, Errno>) -> Ending {
        let listener = from.key;
        Ok(Some(match result {
            Ok(slot) => {
                let event = self.accepted(slot, listener, from.is_ipv6())?;
                self.after = Some(After::Accept { listener, error: None });
                event
            }
            Err(errno) => Event::AcceptEnded { listener, error: Some(errno) },
        }))
    }

    fn adopt_ended(
        &mut self,
        id: EntryId,
        key: Key,
        socket: Option<OwnedFd>,
        result: Result<u32, Errno>,
    ) -> Ending {
        let result = self.found(id, Question::Place, result, |answer| match answer {
            Answer::Place(slot) => Some(slot),
            _ => None,
        })?;
        // The file table has it, or nothing has.
        drop(socket);
        let result = match result {
            Ok(slot) => {
                let of = self.descs.open(slot, key).ok_or("a descriptor that is in use")?;
                Ok(Conn::new(of, &self.orphans))
            }
            Err(errno) => Err(errno),
        };
        Ok(Some(Event::Adopted { key, result }))
    }

    fn recv_ended(&mut self, from: SlotId, result: Result<u32, Errno>, buf: Option<RxBuf>) -> Option<Event> {
        self.descs.set_recv(from, None);
        let end = match result {
            Ok(0) => RecvEnd::Eof,
            Ok(_) => RecvEnd::Stopped,
            Err(errno) => ended_by(errno),
        };
        match buf.and_then(|buf| self.received(from, buf)) {
            Some(event) => {
                self.after = Some(After::Recv { from, end });
                Some(event)
            }
            None => self.descs.listening(from).map(|key| Event::RecvEnded { key, end }),
        }
    }

    fn recv_from_ended(
        &mut self,
        id: EntryId,
        udp: &Udp,
        result: Result<u32, Errno>,
        buf: Option<RxBuf>,
    ) -> Ending {
        self.receiving.retain(|other| *other != id);
        let key = udp.shared.key;
        Ok(Some(match result {
            Ok(_) => {
                // Also after a datagram of no bytes, which io_uring takes for an end.
                let event = datagrams(udp, buf)?;
                self.after = Some(After::Datagrams { key });
                event
            }
            Err(errno) => Event::RecvEnded { key, end: ended_by(errno) },
        }))
    }

    /// Returns what a look for a file has found.
    fn found<T>(
        &mut self,
        id: EntryId,
        question: Question,
        result: Result<u32, Errno>,
        wanted: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<Result<T, Errno>, &'static str> {
        match result {
            Ok(number) => {
                let answer = self.engine.answer(id, question, number).and_then(wanted);
                answer.map(Ok).ok_or("something that was not found")
            }
            Err(errno) => Ok(Err(errno)),
        }
    }

    fn set_opt_ended(
        &mut self,
        id: EntryId,
        of: SlotId,
        opt: SockOpt,
        result: Result<u32, Errno>,
    ) -> Option<Event> {
        // The option's own copy is wiped by its drop.
        if let (SockOpt::TlsTx(_), Ok(_)) = (&opt, result) {
            self.descs.seal(of);
        }
        drop(opt);
        self.engine.wipe(id);
        self.descs.listening(of).map(|key| Event::OptSet { key, result: result.map(drop) })
    }

    /// The cancelled operation itself reports what became of it (I2). A cancel that failed is made
    /// again, because a receive that is to stop, or a close, depends on it.
    fn cancel_ended(&mut self, op: &Op, result: Result<u32, Errno>) {
        match op {
            Op::Cancel(target) if failed(result) => self.cancel(*target),
            Op::CancelSlot(of) if failed(result) => self.uncancelled.push(*of),
            Op::CancelAll => self.cancelled_all = !failed(result),
            _ => {}
        }
    }
}
