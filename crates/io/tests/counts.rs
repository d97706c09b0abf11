//! More of something than a narrow counter can hold: what a ring counts, it counts to the end.
// Tens of thousands of operations are too many for an interpreter.
#![cfg(not(miri))]

use std::io::Write;

use sitar_io::sim::{Faults, Sim, Stream, World};
use sitar_io::{Config, Conn, Event, Key, Region, Ring, SendBuf, leaked_rings};

/// An op table of 67,024 places.
const MANY: Config = Config { connections: 22_000, rx_count: 1, rx_len: 16, tx_count: 1, tx_len: 16 };
const DOOR: Key = Key(5);

/// A ring that accepts, its first peer, and that peer's connection under key 1.
fn connected(world: &World) -> (Ring<Sim>, Stream, Conn) {
    let mut ring = Ring::sim(&MANY, world).unwrap();
    let listener = ring.sim_listener(DOOR);
    ring.accept(&listener).unwrap();
    let peer = world.connect(DOOR);
    loop {
        match ring.next() {
            Some(Event::Accepted { conn, .. }) => {
                ring.set_key(&conn, Key(1));
                return (ring, peer, conn);
            }
            Some(Event::AcceptEnded { .. }) => drop(ring.accept(&listener).unwrap()),
            Some(_) => {}
            None => drop(ring.wait(None).unwrap()),
        }
    }
}

/// I5: the descriptor is closed when the last of them has ended, and the next connection in its
/// place is left alone.
#[test]
fn a_connection_closes_after_any_number_of_operations() {
    for queued in [65_534, 65_535, 65_536, 65_537] {
        let world = World::with(1, Faults::none());
        let (mut ring, _peer, conn) = connected(&world);
        // The first waits for a peer that does not read, and the others for the first.
        let region = Region::copy_of(&[7; 100_000]).unwrap();
        for _ in 0..queued {
            ring.send(&conn, SendBuf::Shared(region.clone(), 0..100_000), 0).unwrap();
        }
        ring.close(conn);
        let mut next_peer = world.connect(DOOR);
        let mut next = None;
        let mut closed = false;
        while !closed || next.is_none() {
            match ring.next() {
                Some(Event::Closed { key: Key(1) }) => closed = true,
                Some(Event::Accepted { conn, .. }) => {
                    ring.set_key(&conn, Key(2));
                    next = Some(conn);
                }
                Some(other) => panic!("{queued}: {other:?}"),
                None => drop(ring.wait(None).unwrap()),
            }
        }
        assert_eq!(world.blamed(), None, "{queued}");
        let next = next.unwrap();
        ring.recv(&next).unwrap();
        next_peer.write_all(b"hello").unwrap();
        loop {
            match ring.next() {
                Some(Event::Recv { key: Key(2), buf }) => break assert_eq!(&buf[..], b"hello"),
                Some(other) => panic!("{queued}: {other:?}"),
                None => drop(ring.wait(None).unwrap()),
            }
        }
        // The accept, the receive and the waker.
        assert_eq!((ring.stats().ops, ring.stats().connections), (3, 1), "{queued}");
        drop((next, ring));
        assert_eq!((world.blamed(), leaked_rings()), (None, 0), "{queued}");
    }
}

/// While it is open: each send is reported, in order, and no place of the op table stays behind.
#[test]
fn a_connection_serves_any_number_of_operations() {
    let world = World::with(1, Faults::none());
    let (mut ring, _peer, conn) = connected(&world);
    let region = Region::copy_of(&[7; 60_000]).unwrap();
    for _ in 0..65_536 {
        ring.send(&conn, SendBuf::Shared(region.clone(), 0..0), 0).unwrap();
    }
    assert_eq!(ring.stats().ops, 65_538);
    let mut sent = 0;
    while sent < 65_536 {
        match ring.next() {
            Some(Event::Sent { key: Key(1), result: Ok(0), .. }) => sent += 1,
            Some(other) => panic!("{other:?}"),
            None => drop(ring.wait(None).unwrap()),
        }
    }
    ring.close(conn);
    loop {
        match ring.next() {
            Some(Event::Closed { key: Key(1) }) => break,
            Some(other) => panic!("{other:?}"),
            None => drop(ring.wait(None).unwrap()),
        }
    }
    assert_eq!((world.blamed(), ring.stats().ops, ring.stats().connections), (None, 2, 0));
}
