//! Descriptors: the owner of each, what is in flight on it, and when it may be closed.
//!
//! A connection is a *direct descriptor*: an index into the ring's own file table, no file
//! descriptor of the process. The kernel reuses an index as soon as it is closed, so closing while
//! an operation is still queued would hand that operation to the next connection. Hence the states:
//!
//! ```text
//!  Free ── accepted ──▶ Open ── close / Conn dropped ──▶ Closing ── nothing in flight ──▶ Closable
//!   ▲                    ▲                                                                  │
//!   │                    └───────── accepted ──────────┐                             close queued
//!   └──────────────────────── done ──────────────── CloseSent ◀──────────────────────────────┘
//! ```
//!
//! From CloseSent to Open: the kernel frees the index when it executes the close, and may hand it
//! to the next connection and report that one before it reports the close (with deferred task work,
//! multishot completions overtake others).

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use rustix::net::AddressFamily;

use crate::key::Key;
use crate::table::{CAPACITY_MAX, EntryId};

/// Slots whose `Conn` was dropped instead of closed, to be closed at the next wait.
/// The capacity for all is reserved, so that a drop never allocates.
pub(crate) struct Orphans(RefCell<Vec<SlotId>>);

impl Orphans {
    pub(crate) fn new(capacity: u32) -> Rc<Orphans> {
        Rc::new(Orphans(RefCell::new(Vec::with_capacity(capacity as usize))))
    }

    pub(crate) fn pop(&self) -> Option<SlotId> {
        self.0.borrow_mut().pop()
    }
}

/// A place in the file table and the generation of its present tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SlotId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A connection: the only handle to one direct descriptor. Dropping it queues its close.
#[must_use = "dropping a connection closes it"]
pub struct Conn {
    pub(crate) id: SlotId,
    orphans: Rc<Orphans>,
}

impl Conn {
    pub(crate) fn new(id: SlotId, orphans: &Rc<Orphans>) -> Conn {
        Conn { id, orphans: Rc::clone(orphans) }
    }

    pub(crate) fn belongs_to(&self, orphans: &Rc<Orphans>) -> bool {
        Rc::ptr_eq(&self.orphans, orphans)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.orphans.0.borrow_mut().push(self.id);
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({}.{})", self.id.slot, self.id.generation)
    }
}

/// A listening socket as a ring uses it. Dropping it ends nothing by itself: cancel its accept, or
/// drop the ring.
#[derive(Clone)]
#[must_use = "no connection arrives until the listener is accepted from"]
pub struct Listener {
    /// `None`: the simulated engine's, which knows a listener by its key.
    pub(crate) socket: Option<Rc<OwnedFd>>,
    pub(crate) key: Key,
    /// The family of its connections' addresses; `None`: the simulated engine's, or not known.
    pub(crate) family: Option<AddressFamily>,
}

impl Listener {
    /// Returns whether it is a Unix socket: then its connections have no address that could be
    /// asked for by [`peer`](crate::Ring::peer).
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.family == Some(AddressFamily::UNIX)
    }

    /// Returns whether its connections have IPv6 addresses, for which the kernel is asked in
    /// another way.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.family == Some(AddressFamily::INET6)
    }

    /// Returns the socket, if it is a real one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| socket.as_fd())
    }

    pub(crate) fn raw(&self) -> RawFd {
        // No descriptor: the kernel answers EBADF.
        self.socket.as_ref().map_or(-1, |socket| socket.as_raw_fd())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Free,
    Open,
    /// Operations are in flight.
    Closing,
    /// Nothing is in flight, and the slot is in `closable`: once, because it gets there by this
    /// state alone.
    Closable,
    CloseSent,
}

struct Desc {
    generation: u32,
    state: State,
    /// Each has an entry in the op table, which has fewer than 2³² places ([`CAPACITY_MAX`]), so
    /// this cannot wrap.
    in_flight: u32,
    key: Key,
    recv: Option<EntryId>,
    order: SendOrder,
    tls: Tls,
    served: bool,
    ipv6: bool,
}

/// The sends of a connection, in order. The links between them are in the op table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct SendOrder {
    /// The one whose turn it is.
    pub(crate) first: Option<EntryId>,
    pub(crate) last: Option<EntryId>,
}

/// The TLS that the kernel does on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tls {
    No,
    /// The kernel's TLS was put under the socket, or this was tried.
    Ulp,
    /// The kernel seals what is sent.
    Sealed,
}

/// The file table as seen from this side.
pub(crate) struct Descs {
    descs: Vec<Desc>,
    open: usize,
    /// Closing slots with nothing in flight, whose close is still to be submitted. Capacity
    /// reserved for all.
    closable: Vec<u32>,
}

/// The step that is left when a slot starts to close.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Closing {
    /// It was closed already, or the id is stale.
    Not,
    /// Nothing is in flight: its close has been queued.
    Now,
    /// Operations are in flight and must be cancelled first.
    Cancel,
}

impl Descs {
    pub(crate) fn new(capacity: u32) -> Descs {
        let descs = (0..capacity)
            .map(|_| Desc {
                generation: 0,
                state: State::Free,
                in_flight: 0,
                key: Key(0),
                recv: None,
                order: SendOrder::default(),
                tls: Tls::No,
                served: false,
                ipv6: false,
            })
            .collect();
        Descs { descs, open: 0, closable: Vec::with_capacity(capacity as usize) }
    }

    /// Returns the number of slots that are not free, closing ones included.
    pub(crate) fn in_use(&self) -> usize {
        self.open
    }

    /// Enters a new tenant, as the kernel says, `None` when that cannot be true (I4).
    pub(crate) fn open(&mut self, slot: u32, key: Key) -> Option<SlotId> {
        let desc = self.descs.get_mut(slot as usize)?;
        let generation = match desc.state {
            State::Free => desc.generation,
            State::CloseSent => desc.generation.wrapping_add(1),
            State::Open | State::Closing | State::Closable => return None,
        };
        let order = SendOrder::default();
        *desc = Desc {
            generation,
            state: State::Open,
            in_flight: 0,
            key,
            recv: None,
            order,
            tls: Tls::No,
            served: false,
            ipv6: false,
        };
        self.open += 1;
        Some(SlotId { slot, generation })
    }

    /// Returns the tenant, `None` when it has gone.
    fn get(&self, id: SlotId) -> Option<&Desc> {
        self.descs.get(id.slot as usize).filter(|desc| desc.generation == id.generation)
    }

    fn get_mut(&mut self, id: SlotId) -> Option<&mut Desc> {
        self.descs.get_mut(id.slot as usize).filter(|desc| desc.generation == id.generation)
    }

    pub(crate) fn set_key(&mut self, id: SlotId, key: Key) {
        if let Some(desc) = self.get_mut(id) {
            desc.key = key;
        }
    }

    /// Notes that the peer has an address of IPv6.
    pub(crate) fn set_ipv6(&mut self, id: SlotId) {
        if let Some(desc) = self.get_mut(id) {
            desc.ipv6 = true;
        }
    }

    pub(crate) fn is_ipv6(&self, id: SlotId) -> bool {
        self.get(id).is_some_and(|desc| desc.ipv6)
    }

    /// Returns the key to report an event under, `None` when the program has closed this tenant.
    pub(crate) fn listening(&self, id: SlotId) -> Option<Key> {
        self.get(id).filter(|desc| desc.state == State::Open).map(|desc| desc.key)
    }

    pub(crate) fn recv_op(&self, id: SlotId) -> Option<EntryId> {
        self.get(id)?.recv
    }

    pub(crate) fn set_recv(&mut self, id: SlotId, op: Option<EntryId>) {
        if let Some(desc) = self.get_mut(id) {
            desc.recv = op;
        }
    }

    pub(crate) fn order(&self, id: SlotId) -> SendOrder {
        self.get(id).map(|desc| desc.order).unwrap_or_default()
    }

    pub(crate) fn set_order(&mut self, id: SlotId, order: SendOrder) {
        if let Some(desc) = self.get_mut(id) {
            desc.order = order;
        }
    }

    fn tls(&self, id: SlotId) -> Tls {
        self.get(id).map_or(Tls::No, |desc| desc.tls)
    }

    pub(crate) fn has_ulp(&self, id: SlotId) -> bool {
        self.tls(id) != Tls::No
    }

    pub(crate) fn is_sealed(&self, id: SlotId) -> bool {
        self.tls(id) == Tls::Sealed
    }

    /// Notes that the kernel's TLS is being put under the socket. The kernel refuses this where it
    /// seals already, and goes on sealing.
    pub(crate) fn try_ulp(&mut self, id: SlotId) {
        if let Some(desc) = self.get_mut(id).filter(|desc| desc.tls == Tls::No) {
            desc.tls = Tls::Ulp;
        }
    }

    /// Notes that the kernel seals from now on.
    pub(crate) fn seal(&mut self, id: SlotId) {
        if let Some(desc) = self.get_mut(id) {
            desc.tls = Tls::Sealed;
        }
    }

    /// Notes that its receive has brought something.
    pub(crate) fn serve(&mut self, id: SlotId) {
        if let Some(desc) = self.get_mut(id) {
            desc.served = true;
        }
    }

    /// Returns whether its receive has brought something since the last call.
    pub(crate) fn take_served(&mut self, id: SlotId) -> bool {
        self.get_mut(id).is_some_and(|desc| std::mem::take(&mut desc.served))
    }

    /// Notes that an operation has entered the op table.
    pub(crate) fn launched(&mut self, id: SlotId) {
        const { assert!(CAPACITY_MAX < u32::MAX) };
        if let Some(desc) = self.get_mut(id) {
            desc.in_flight += 1;
        }
    }

    /// Notes that one operation has ended for good.
    pub(crate) fn landed(&mut self, id: SlotId) {
        let Some(desc) = self.get_mut(id) else { return };
        desc.in_flight = desc.in_flight.saturating_sub(1);
        if desc.in_flight == 0 && desc.state == State::Closing {
            desc.state = State::Closable;
            self.closable.push(id.slot);
        }
    }

    pub(crate) fn start_close(&mut self, id: SlotId) -> Closing {
        let Some(desc) = self.get_mut(id).filter(|desc| desc.state == State::Open) else {
            return Closing::Not;
        };
        if desc.in_flight == 0 {
            desc.state = State::Closable;
            self.closable.push(id.slot);
            return Closing::Now;
        }
        desc.state = State::Closing;
        Closing::Cancel
    }

    /// Returns whether operations of this tenant are still to be cancelled. Not when it has left
    /// meanwhile: a cancel by slot would hit the next one.
    pub(crate) fn needs_cancel(&self, id: SlotId) -> bool {
        self.get(id).is_some_and(|desc| desc.state == State::Closing && desc.in_flight > 0)
    }

    /// Returns the receive of a tenant that has nothing else in flight.
    pub(crate) fn only_recv(&self, id: SlotId) -> Option<EntryId> {
        self.get(id).filter(|desc| desc.in_flight == 1)?.recv
    }

    /// Takes a tenant whose close is to be submitted now (I5: nothing is in flight on it), and its
    /// key.
    pub(crate) fn next_closable(&mut self) -> Option<(SlotId, Key)> {
        let slot = self.closable.pop()?;
        let desc = &mut self.descs[slot as usize];
        desc.state = State::CloseSent;
        Some((SlotId { slot, generation: desc.generation }, desc.key))
    }

    /// Puts off a close for which the table had no room.
    pub(crate) fn close_later(&mut self, id: SlotId) {
        self.descs[id.slot as usize].state = State::Closable;
        self.closable.push(id.slot);
    }

    pub(crate) fn has_closable(&self) -> bool {
        !self.closable.is_empty()
    }

    /// Notes that the kernel has closed this tenant's descriptor. The next one may have moved in
    /// already.
    pub(crate) fn closed(&mut self, id: SlotId) {
        self.open = self.open.saturating_sub(1);
        if let Some(desc) = self.get_mut(id).filter(|desc| desc.state == State::CloseSent) {
            desc.state = State::Free;
            desc.generation = desc.generation.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_closes_only_when_nothing_is_in_flight() {
        let mut descs = Descs::new(2);
        let id = descs.open(1, Key(7)).unwrap();
        assert!(descs.open(1, Key(8)).is_none(), "the kernel cannot hand out a slot twice");
        assert!(descs.open(2, Key(8)).is_none(), "nor one that does not exist");
        descs.launched(id);
        descs.launched(id);
        assert_eq!(descs.start_close(id), Closing::Cancel);
        assert_eq!(descs.start_close(id), Closing::Not);
        assert_eq!(descs.listening(id), None, "a closing tenant hears nothing");
        descs.landed(id);
        assert_eq!(descs.next_closable(), None);
        descs.landed(id);
        assert!(!descs.needs_cancel(id));
        assert_eq!(descs.next_closable(), Some((id, Key(7))));
        assert_eq!(descs.next_closable(), None);
        assert_eq!(descs.in_use(), 1);
        descs.closed(id);
        assert_eq!(descs.in_use(), 0);
        let next = descs.open(1, Key(9)).unwrap();
        assert_ne!(next, id);
        assert_eq!(descs.listening(id), None, "a stale id is inert");
        assert_eq!(descs.start_close(id), Closing::Not);
        assert_eq!(descs.listening(next), Some(Key(9)));
    }

    /// The second close would be the next tenant's.
    #[test]
    fn a_slot_is_closed_once_whatever_ends_meanwhile() {
        let mut descs = Descs::new(1);
        let id = descs.open(0, Key(7)).unwrap();
        descs.launched(id);
        assert_eq!(descs.start_close(id), Closing::Cancel);
        descs.landed(id);
        descs.landed(id);
        assert_eq!(descs.next_closable(), Some((id, Key(7))));
        assert_eq!(descs.next_closable(), None);
        descs.close_later(id);
        descs.landed(id);
        assert_eq!(descs.next_closable(), Some((id, Key(7))));
        assert_eq!(descs.next_closable(), None);
        descs.closed(id);
        let next = descs.open(0, Key(8)).unwrap();
        assert_eq!((descs.listening(next), descs.has_closable()), (Some(Key(8)), false));
    }

    #[test]
    fn a_slot_counts_as_many_operations_as_the_table_holds() {
        let mut descs = Descs::new(1);
        let id = descs.open(0, Key(7)).unwrap();
        for _ in 0..1_048_576 {
            descs.launched(id);
        }
        assert_eq!(descs.start_close(id), Closing::Cancel);
        for _ in 0..1_048_575 {
            descs.landed(id);
        }
        assert_eq!((descs.needs_cancel(id), descs.next_closable()), (true, None));
        descs.landed(id);
        assert_eq!(descs.next_closable(), Some((id, Key(7))));
    }

    #[test]
    fn the_next_tenant_may_be_reported_before_the_close_of_the_last() {
        let mut descs = Descs::new(1);
        let first = descs.open(0, Key(1)).unwrap();
        descs.launched(first);
        assert_eq!(descs.start_close(first), Closing::Cancel);
        assert!(descs.needs_cancel(first));
        assert!(descs.open(0, Key(2)).is_none(), "not before the close was submitted");
        descs.landed(first);
        assert_eq!(descs.next_closable(), Some((first, Key(1))));
        let second = descs.open(0, Key(2)).unwrap();
        assert_ne!(first, second);
        descs.closed(first);
        assert_eq!((descs.listening(second), descs.in_use()), (Some(Key(2)), 1));
        assert!(!descs.needs_cancel(first), "a late cancel must not hit the next tenant");
        descs.landed(first);
        assert_eq!(descs.next_closable(), None);
    }

    #[test]
    fn a_dropped_conn_is_an_orphan() {
        let orphans = Orphans::new(1);
        let id = SlotId { slot: 3, generation: 4 };
        drop(Conn::new(id, &orphans));
        assert_eq!(orphans.pop(), Some(id));
        assert_eq!(orphans.pop(), None);
    }
}
