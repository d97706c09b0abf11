//! The engine's own file table: what direct descriptors are to io_uring.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;

use crate::table::EntryId;

/// A socket, what is in flight on it, and what is known of its readiness.
///
/// Readiness is an upper bound: `readable` and `writable` are cleared only when the kernel has said
/// EAGAIN (or, for a stream, has given less than asked for), because an edge is reported once.
pub(super) struct Sock {
    pub(super) fd: OwnedFd,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has finished or the connection has failed: what is left to read ends in 0 or in an
    /// error, for which no further edge comes.
    pub(super) ended: bool,
    pub(super) recv: Option<EntryId>,
    /// Sends in the order in which they were asked for; the rest of the list is in the works.
    pub(super) first_send: Option<EntryId>,
    pub(super) last_send: Option<EntryId>,
    /// Waits for room to send.
    pub(super) room: Option<EntryId>,
}

#[derive(Default)]
struct Place {
    /// Generation of the tenant that the kernel's events are about: 31 bits.
    generation: u32,
    /// Whether the place is in the list of places to work on. Of the place, not of the tenant, so
    /// that the list never holds it twice.
    listed: bool,
    sock: Option<Sock>,
}

pub(super) struct Places {
    places: Box<[Place]>,
    /// The lowest first, as the kernel does it.
    free: BinaryHeap<Reverse<u32>>,
}

impl Places {
    pub(super) fn new(count: u32) -> Places {
        Places {
            places: (0..count).map(|_| Place::default()).collect(),
            free: (0..count).map(Reverse).collect(),
        }
    }

    /// Takes a socket in: its place and the generation to register it under. Hands it back when the
    /// table is full.
    pub(super) fn insert(&mut self, fd: OwnedFd) -> Result<(u32, u32), OwnedFd> {
        let Some(Reverse(slot)) = self.free.pop() else { return Err(fd) };
        let place = &mut self.places[slot as usize];
        place.sock = Some(Sock {
            fd,
            // Registering it reports what has arrived already; room to send there is from the
            // start.
            readable: false,
            writable: true,
            ended: false,
            recv: None,
            first_send: None,
            last_send: None,
            room: None,
        });
        Ok((slot, place.generation))
    }

    /// The socket leaves. Its place is free at once.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Sock> {
        let place = self.places.get_mut(slot as usize)?;
        let sock = place.sock.take()?;
        place.generation = (place.generation + 1) & 0x7fff_ffff;
        self.free.push(Reverse(slot));
        Some(sock)
    }

    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Sock> {
        self.places.get_mut(slot as usize)?.sock.as_mut()
    }

    /// The socket that an event of the kernel's is about, unless that one has left.
    pub(super) fn tenant(&mut self, slot: u32, generation: u32) -> Option<&mut Sock> {
        let place = self.places.get_mut(slot as usize)?;
        if place.generation == generation { place.sock.as_mut() } else { None }
    }

    /// Whether the place is to be put on the list; it is on it from now on.
    pub(super) fn list(&mut self, slot: u32) -> bool {
        self.places.get_mut(slot as usize).is_some_and(|place| !std::mem::replace(&mut place.listed, true))
    }

    pub(super) fn unlist(&mut self, slot: u32) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.listed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn the_lowest_free_place_is_taken_and_a_late_event_finds_nobody() {
        let mut places = Places::new(3);
        assert_eq!(places.insert(fd()).unwrap(), (0, 0));
        assert_eq!(places.insert(fd()).unwrap(), (1, 0));
        assert_eq!(places.insert(fd()).unwrap(), (2, 0));
        assert!(places.insert(fd()).is_err());
        assert!(places.remove(2).is_some());
        assert!(places.remove(0).is_some());
        assert!(places.remove(0).is_none());
        assert_eq!(places.insert(fd()).unwrap(), (0, 1));
        assert!(places.tenant(0, 0).is_none());
        assert!(places.tenant(0, 1).is_some());
        assert!(places.tenant(2, 0).is_none());
        assert!(places.get(3).is_none());
    }

    #[test]
    fn a_place_is_listed_once_also_over_a_change_of_tenants() {
        let mut places = Places::new(1);
        assert!(places.insert(fd()).is_ok());
        assert!(places.list(0));
        assert!(places.remove(0).is_some());
        assert!(places.insert(fd()).is_ok());
        assert!(!places.list(0));
        places.unlist(0);
        assert!(places.list(0));
        assert!(!places.list(1));
    }
}
