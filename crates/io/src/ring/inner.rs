//! What a ring owns, and what becomes of each completion.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::CString;
use std::net::SocketAddr;
use std::rc::Rc;

use rustix::io::Errno;

use super::config::OPS_RESERVED;
use super::id::ring_number;
use super::sends::Turn;
use crate::arena::{Arena, RxBuf};
use crate::conn::{Closing, Conn, Descs, Listener, Orphans, SlotId};
use crate::engine::{Completion, Engine, Request, Submission};
use crate::event::{Event, Key, RecvEnd, Segment, SendBuf};
use crate::file::File;
use crate::read_buf::ReadBuf;
use crate::sockopt::SockOpt;
use crate::table::{EntryId, Table};
use crate::udp::{self, Udp};
use crate::waker::Waker;

/// An operation in flight: it owns what the kernel was given (I2).
pub(crate) enum Op {
    Accept(Listener),
    Recv(SlotId),
    Send { to: SlotId, buf: Sending, offset: usize, turn: Turn },
    Writable(SlotId),
    Read { key: Key, file: File, at: u64, buf: ReadBuf },
    RecvFrom(Udp),
    SendTo { by: Udp, buf: Segment, to: SocketAddr, segment_size: u16 },
    Open { key: Key, dir: File, path: CString },
    Stat { key: Key, dir: File, path: CString },
    Peer { of: SlotId, ipv6: bool },
    SetOpt { of: SlotId, opt: SockOpt },
    Unacked(SlotId),
    Shutdown(SlotId),
    Close { of: SlotId, key: Key },
    Cancel(EntryId),
    CancelSlot(SlotId),
    CancelAll,
    Wake,
}

/// What a send sends.
pub(crate) enum Sending {
    Buf(SendBuf),
    /// It has ended, after `count` bytes that were all there were, and its slot has been given back.
    Recycled {
        count: usize,
    },
}

impl Op {
    /// The connection that this operation keeps open.
    fn slot(&self) -> Option<SlotId> {
        match self {
            Op::Recv(id) | Op::Writable(id) | Op::Shutdown(id) | Op::Unacked(id) | Op::CancelSlot(id) => {
                Some(*id)
            }
            Op::Send { to, .. } => Some(*to),
            Op::Peer { of, .. } | Op::SetOpt { of, .. } => Some(*of),
            _ => None,
        }
    }

    /// Returns whether this is one of the ring's own operations, by which others end, and which end
    /// soon themselves whatever the peers do. (The waker is the exception: there is one.)
    pub(super) fn ends_others(&self) -> bool {
        matches!(self, Op::Close { .. } | Op::Cancel(_) | Op::CancelSlot(_) | Op::CancelAll | Op::Wake)
    }

    /// Returns what the engine is asked for, `None` for what has ended already. `whole`: a send need not be
    /// short. `yields`: a receive lets others go first.
    fn request<'a>(&'a mut self, waker: &'a Waker, whole: bool, yields: bool) -> Option<Request<'a>> {
        Some(match self {
            Op::Accept(listener) => Request::Accept { listener },
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
}

/// The second event of one completion, an end, which comes out only if it still concerns anybody by then.
pub(super) enum After {
    Accept { listener: Key, error: Option<Errno> },
    Recv { from: SlotId, end: RecvEnd },
    Datagrams { key: Key },
}

/// Whether a cancel was not even tried, for want of something. That there was nothing to cancel, or that it came too late,
/// is an answer.
fn failed(cancel: Result<u32, Errno>) -> bool {
    matches!(cancel, Err(Errno::NOMEM | Errno::AGAIN | Errno::INTR))
}

/// Checks what an engine says about the end of an operation (I4).
///
/// # Errors
/// It cannot be true.
fn doubt(op: &Op, result: Result<u32, Errno>) -> Result<(), &'static str> {
    let count = result.unwrap_or(0) as usize;
    match op {
        Op::Send { turn: Turn::Waits { .. }, .. } => Err("an operation ended that had not begun"),
        Op::Send { buf: Sending::Buf(buf), offset, .. } if count > buf.wanted(*offset) => {
            Err("more bytes sent than there were")
        }
        Op::Send { buf: Sending::Recycled { count }, .. } if result != Ok(*count as u32) => {
            Err("a send that ended in two ways")
        }
        Op::SendTo { buf, .. } if count > buf.bytes().len() => Err("more bytes sent than there were"),
        Op::Read { buf, .. } if count > buf.len() => Err("more bytes read than asked for"),
        _ => Ok(()),
    }
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

pub(super) struct Inner<E> {
    /// Tells this ring's ids from those of others.
    pub(super) number: u64,
    pub(super) engine: E,
    pub(super) ops: Table<Op>,
    pub(super) descs: Descs,
    pub(super) arena: Rc<Arena>,
    pub(super) orphans: Rc<Orphans>,
    /// Slots whose operations are to be cancelled, for want of room in the op table.
    pub(super) uncancelled: Vec<SlotId>,
    /// Operations that are to be cancelled, for want of room in the op table.
    pub(super) unended: BTreeSet<EntryId>,
    /// Receives of datagrams in flight. Here and not with the sockets, which other rings may use
    /// too.
    pub(super) receiving: Vec<EntryId>,
    /// Slots whose next send is to be handed over, for want of room in the engine's queue.
    pub(super) stalled: Vec<SlotId>,
    pub(super) waker: Waker,
    pub(super) waking: bool,
    pub(super) completions: VecDeque<Completion>,
    /// What a submit brought, for after the next wait.
    pub(super) later: VecDeque<Completion>,
    /// A second event of one completion.
    pub(super) after: Option<After>,
    /// The kernel broke its word: nothing more is submitted (I4).
    pub(super) broken: Option<&'static str>,
    /// The ring is being dropped: nothing new begins.
    pub(super) draining: bool,
    /// The one cancel of a ring that is being dropped has been asked for, and has not failed.
    pub(super) cancelled_all: bool,
}

/// Gives the engine the receive slots that nobody holds.
pub(super) fn offer_slots<E: Engine>(arena: &Arena, engine: &mut E) {
    let len = arena.layout().rx_len;
    arena.publish(|slot| engine.publish(slot, arena.rx_addr(slot), len));
}

impl<E: Engine> Inner<E> {
    pub(super) fn new(engine: E, arena: Rc<Arena>, waker: Waker, ops: u32, connections: u32) -> Inner<E> {
        Inner {
            number: ring_number(),
            engine,
            ops: Table::new(ops),
            descs: Descs::new(connections),
            arena,
            orphans: Orphans::new(connections),
            uncancelled: Vec::with_capacity(connections as usize),
            unended: BTreeSet::new(),
            receiving: Vec::new(),
            stalled: Vec::with_capacity(connections as usize),
            waker,
            waking: false,
            completions: VecDeque::with_capacity(super::turn::COMPLETIONS),
            later: VecDeque::with_capacity(super::turn::COMPLETIONS),
            after: None,
            broken: None,
            draining: false,
            cancelled_all: false,
        }
    }

    pub(super) fn id_of(&self, conn: &Conn) -> SlotId {
        assert!(conn.belongs_to(&self.orphans), "a connection was used with a ring that did not accept it");
        conn.id
    }

    pub(super) fn launch(&mut self, op: Op) -> Result<EntryId, Op> {
        let id = self.insert(op)?;
        if !self.hand_over(id) {
            let Some(op) = self.ops.remove(id) else { unreachable!("it was inserted just now") };
            if let Some(slot) = op.slot() {
                self.descs.landed(slot);
            }
            return Err(op);
        }
        Ok(id)
    }

    /// Enters an operation in the table, as one in flight.
    pub(super) fn insert(&mut self, op: Op) -> Result<EntryId, Op> {
        let reserved = if op.ends_others() { 0 } else { OPS_RESERVED };
        if self.broken.is_some() || self.ops.room() <= reserved {
            return Err(op);
        }
        let slot = op.slot();
        let id = self.ops.insert(op)?;
        if let Some(slot) = slot {
            self.descs.launched(slot);
        }
        Ok(id)
    }

    /// Gives an operation of the table to the engine. `false` when its queue is full.
    pub(super) fn hand_over(&mut self, id: EntryId) -> bool {
        let Some(op) = self.ops.get_mut(id) else { return false };
        if matches!(op, Op::Recv(_) | Op::RecvFrom(_)) {
            // A polled engine may begin at once, and would find no slot.
            offer_slots(&self.arena, &mut self.engine);
        }
        // MSG_WAITALL is refused on sockets that have the kernel's TLS.
        let whole = !op.slot().is_some_and(|slot| self.descs.has_ulp(slot));
        // Of those that wait for receive slots, whoever got none is served before whoever did: or one flood would take them all,
        // again and again.
        let yields = match op {
            Op::Recv(from) => self.descs.take_served(*from),
            _ => false,
        };
        let Some(op) = op.request(&self.waker, whole, yields) else { return false };
        self.engine.submit(Submission { id, op }).is_ok()
    }

    pub(super) fn adopt_orphans(&mut self) {
        while let Some(id) = self.orphans.pop() {
            if self.descs.start_close(id) == Closing::Cancel {
                self.uncancelled.push(id);
            }
        }
        while let Some(id) = self.uncancelled.pop() {
            if self.descs.needs_cancel(id) && self.launch(Op::CancelSlot(id)).is_err() {
                self.uncancelled.push(id);
                break;
            }
        }
        while let Some((of, key)) = self.descs.next_closable() {
            if self.launch(Op::Close { of, key }).is_err() {
                self.descs.close_later(of);
                break;
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        match self.after.take() {
            Some(After::Accept { listener, error }) => {
                return Some(Event::AcceptEnded { listener, error });
            }
            Some(After::Datagrams { key }) => {
                return Some(Event::RecvEnded { key, end: RecvEnd::Stopped });
            }
            // It may have been closed on account of the first event.
            Some(After::Recv { from, end }) => {
                if let Some(key) = self.descs.listening(from) {
                    return Some(Event::RecvEnded { key, end });
                }
            }
            None => {}
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
    pub(super) fn on_completion(&mut self, completion: Completion) -> Result<Option<Event>, &'static str> {
        let Completion { id, result, buffer, more } = completion;
        let result = match u32::try_from(result) {
            Ok(count) => Ok(count),
            // Others are no error numbers, of which there are 4095 (linux/err.h).
            Err(_) if result < -4095 => return Err("an error that no kernel has"),
            Err(_) => Err(Errno::from_raw_os_error(-result)),
        };
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
                    let key = listener.key;
                    let slot = result.map_err(|_| "an accept that failed and goes on")?;
                    self.accepted(slot, key).map(Some)
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
        doubt(op, result)?;
        let Some(op) = self.ops.remove(id) else { return Err("a completion of no operation") };
        if let Some(slot) = op.slot() {
            self.descs.landed(slot);
        }
        self.ended(id, op, result, buf)
    }

    fn accepted(&mut self, slot: u32, listener: Key) -> Result<Event, &'static str> {
        let id = self.descs.open(slot, listener).ok_or("a descriptor that is in use")?;
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

    /// The terminal completion of `op`, which has left the table.
    ///
    /// What is sent may hold a lease, whose drop is the program's code and may panic. So it is
    /// dropped last, when everything that is to be noted has been.
    fn ended(
        &mut self,
        id: EntryId,
        op: Op,
        result: Result<u32, Errno>,
        buf: Option<RxBuf>,
    ) -> Result<Option<Event>, &'static str> {
        Ok(match op {
            Op::Accept(listener) => {
                let listener = listener.key;
                match result {
                    Ok(slot) => {
                        let event = self.accepted(slot, listener)?;
                        self.after = Some(After::Accept { listener, error: None });
                        Some(event)
                    }
                    Err(errno) => Some(Event::AcceptEnded { listener, error: Some(errno) }),
                }
            }
            Op::Recv(from) => {
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
            Op::Send { to, buf, turn, .. } => {
                let result = result.map(|count| count as usize);
                self.end_turn(to, turn);
                let buf = match buf {
                    Sending::Buf(buf) => Some(buf),
                    Sending::Recycled { .. } => None,
                };
                self.descs.listening(to).map(|key| Event::Sent { key, buf, result })
            }
            // An error is told by the next send.
            Op::Writable(of) => self.descs.listening(of).map(|key| Event::Writable { key }),
            Op::Read { key, buf, .. } => {
                let result = result.map(|count| count as usize);
                Some(Event::Read { key, buf, result })
            }
            Op::RecvFrom(udp) => {
                self.receiving.retain(|other| *other != id);
                let key = udp.shared.key;
                match result {
                    Ok(_) => {
                        // Also after a datagram of no bytes, which io_uring takes for an end.
                        let event = datagrams(&udp, buf)?;
                        self.after = Some(After::Datagrams { key });
                        Some(event)
                    }
                    Err(errno) => Some(Event::RecvEnded { key, end: ended_by(errno) }),
                }
            }
            Op::SendTo { by, buf, .. } => {
                let result = result.map(|count| count as usize);
                Some(Event::SentTo { key: by.shared.key, buf, result })
            }
            Op::Open { key, path, .. } => {
                let opened = |number| self.engine.opened(id, number).ok_or("a file that was not opened");
                let result = result.map(opened).map_or_else(|errno| Ok(Err(errno)), |file| file.map(Ok))?;
                Some(Event::Opened { key, path, result })
            }
            Op::Stat { key, path, .. } => {
                let found = |_| self.engine.stat(id).ok_or("a file that was not looked at");
                let result = result.map(found).map_or_else(|errno| Ok(Err(errno)), |stat| stat.map(Ok))?;
                Some(Event::Stat { key, path, result })
            }
            Op::Peer { of, .. } => {
                let result = result.and_then(|_| self.engine.peer(id).ok_or(Errno::AFNOSUPPORT));
                self.descs.listening(of).map(|key| Event::Peer { key, result })
            }
            Op::SetOpt { of, opt } => {
                // The option's own copy is wiped by its drop.
                if let (SockOpt::TlsTx(_), Ok(_)) = (&opt, result) {
                    self.descs.seal(of);
                }
                drop(opt);
                self.engine.wipe(id);
                self.descs.listening(of).map(|key| Event::OptSet { key, result: result.map(drop) })
            }
            Op::Unacked(of) => {
                let result = result.map(|number| self.engine.unacked(id, number) as usize);
                self.descs.listening(of).map(|key| Event::Unacked { key, result })
            }
            Op::Shutdown(of) => {
                self.descs.listening(of).map(|key| Event::Shutdown { key, result: result.map(drop) })
            }
            Op::Close { of, key } => {
                // Whatever close says, the descriptor is gone (as with close(2)).
                self.descs.closed(of);
                Some(Event::Closed { key })
            }
            // What a cancel found or did not find is told by the cancelled operation itself (I2). One that failed is
            // made again: whoever stops receiving, or closes, counts on it.
            Op::Cancel(target) => {
                if failed(result) {
                    self.cancel(target);
                }
                None
            }
            Op::CancelSlot(of) => {
                if failed(result) {
                    self.uncancelled.push(of);
                }
                None
            }
            Op::CancelAll => {
                self.cancelled_all = !failed(result);
                None
            }
            Op::Wake => {
                self.waking = false;
                Some(Event::Woken)
            }
        })
    }
}
