//! The parts of a ring, and the way of an operation into its table.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use rustix::io::Errno;

use super::config::{COMPLETIONS, OPS_RESERVED};
use super::id::{OpId, ring_number};
use crate::arena::Arena;
use crate::conn::{Closing, Conn, Descs, Orphans, SlotId};
use crate::engine::{Completion, Engine, Submission};
use crate::event::{Event, RecvEnd};
use crate::key::{Busy, Key};
use crate::op::Op;
use crate::table::{EntryId, Table};
use crate::waker::Waker;

/// The second event of one completion, an end, which is reported only if its connection is
/// still open by then.
pub(super) enum After {
    Accept { listener: Key, error: Option<Errno> },
    Recv { from: SlotId, end: RecvEnd },
    Datagrams { key: Key },
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
    /// Completions that a submit brought, kept for after the next wait.
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

/// Gives the engine the free receive slots.
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
            completions: VecDeque::with_capacity(COMPLETIONS),
            later: VecDeque::with_capacity(COMPLETIONS),
            after: None,
            broken: None,
            draining: false,
            cancelled_all: false,
        }
    }

    /// Returns the entry of this ring's op table that `id` names, `None` when it names one of
    /// another ring's.
    pub(super) fn entry(&self, id: OpId) -> Option<EntryId> {
        id.entry(self.number)
    }

    /// Names an operation that was queued, or refuses with what was handed over.
    pub(super) fn name<T>(&self, queued: Result<EntryId, T>) -> Result<OpId, Busy<T>> {
        queued.map(|entry| OpId::new(self.number, entry)).map_err(Busy)
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

    /// Gives an operation of the table to the engine. Returns `false` when its queue is full.
    pub(super) fn hand_over(&mut self, id: EntryId) -> bool {
        let Some(op) = self.ops.get_mut(id) else { return false };
        if matches!(op, Op::Recv(_) | Op::RecvFrom(_)) {
            // A polled engine may begin at once, and would find no slot.
            offer_slots(&self.arena, &mut self.engine);
        }
        // MSG_WAITALL is refused on sockets that have the kernel's TLS.
        let whole = !op.slot().is_some_and(|slot| self.descs.has_ulp(slot));
        // Of the connections that wait for receive slots, those that got none are served before
        // those that did: or one flood would take them all, again and again.
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
            if !self.descs.needs_cancel(id) {
                continue;
            }
            // An idle connection only receives. That the kernel finds at once, where by descriptor
            // it walks over all polls of the ring: 300 µs with 8,000 connections.
            let cancel = self.descs.only_recv(id).map_or(Op::CancelSlot(id), Op::Cancel);
            if self.launch(cancel).is_err() {
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
}
