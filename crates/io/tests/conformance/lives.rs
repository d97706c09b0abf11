//! The ends of connections, of accepts and of rings, while things are in flight.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use sitar_io::{Config, Errno, Event, File, Key, ReadBuf, Region, RegionMut, SendBuf, leaked_rings};

use crate::conformance::bench::{Bench, SMALL, Setup};
/// I2, I5: a send that the peer does not read is in flight when the connection is closed; the next
/// connection gets the same place and must not see a byte of it.
pub(crate) fn a_close_waits_for_what_is_in_flight<E: Setup>() {
    let mut b = Bench::<E>::new(Config { connections: 1, ..SMALL });
    for round in 0..5 {
        let (mut client, conn) = b.accept(round);
        b.ring.recv(&conn).unwrap();
        let huge = RegionMut::new(64 << 20).unwrap().freeze();
        b.ring.send(&conn, SendBuf::Shared(huge, 0..64 << 20), 0).unwrap();
        assert!(b.event_within(50).is_none(), "the send cannot end");
        b.ring.close(conn);
        assert!(matches!(b.event(), Event::Closed { key: Key(k) } if k == round));
        assert_eq!(b.ring.stats().connections, 0);
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.iter().all(|byte| *byte == 0));

        let (mut next, conn) = b.accept(round);
        let tx = b.tx(b"mine");
        b.ring.send(&conn, tx.into(), 0).unwrap();
        assert!(matches!(b.sent(round).1, Ok(4)));
        drop(conn);
        assert!(matches!(b.event(), Event::Closed { .. }));
        let mut got = Vec::new();
        next.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"mine");
    }
}

/// I6: events that are dropped unread.
pub(crate) fn dropped_events_lose_no_slot_and_no_descriptor<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    for _ in 0..20 {
        let mut client = TcpStream::connect(b.address).unwrap();
        drop(b.event());
        let Event::Closed { .. } = b.event() else { panic!("an unclaimed connection is closed") };
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    for _ in 0..100 {
        client.write_all(&[1; 200]).unwrap();
        drop(b.event());
    }
    assert_eq!(b.ring.stats().rx_leased, 0);
}

pub(crate) fn accepting_can_be_cancelled_and_resumed<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let again = b.ring.accept(&b.listener).unwrap();
    assert!(b.event_within(20).is_none());
    b.ring.cancel(again);
    assert!(matches!(b.event(), Event::AcceptEnded { error: Some(Errno::CANCELED), .. }));
    b.ring.cancel(again);
    assert!(b.event_within(20).is_none(), "a stale id is inert");
}

/// I3: the ring goes while an accept, a receive, a send and a read are in flight.
pub(crate) fn dropping_a_ring_ends_everything_in_flight<E: Setup>() {
    for panics in [false, true] {
        let mut b = Bench::<E>::new(SMALL);
        let (mut client, conn) = b.accept(1);
        b.ring.recv(&conn).unwrap();
        let huge = Region::copy_of(&vec![5; 32 << 20]).unwrap();
        b.ring.send(&conn, SendBuf::Shared(huge.clone(), 0..huge.len()), 0).unwrap();
        assert!(b.event_within(20).is_none());
        let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
        b.ring.read(&file, 0, ReadBuf::Region(RegionMut::new(1 << 20).unwrap(), 0..1 << 20), Key(2)).unwrap();
        let mut tx = b.ring.take_tx().unwrap();
        if panics {
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _owned = b;
                panic!("a bug in the loop");
            }));
            assert!(unwound.is_err());
        } else {
            drop(b);
        }
        assert_eq!(leaked_rings(), 0, "drained, not leaked");
        // I7: a lease that outlives its ring.
        tx[1023] = 1;
        assert_eq!(tx[1023], 1);
        drop(tx);
        drop(conn);
        // The peer sees the end of the connection.
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < huge.len());
    }
}

pub(crate) fn a_connection_of_another_ring_is_refused<E: Setup>() {
    let mut a = Bench::<E>::new(SMALL);
    let mut b = Bench::<E>::new(SMALL);
    let (_client, conn) = a.accept(1);
    let _ = b.ring.recv(&conn);
}

/// A send that has room is not overtaken by the shutdown that was asked for after it.
pub(crate) fn what_is_sent_before_a_shutdown_leaves_before_it<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    for submits in [false, true] {
        let (mut client, conn) = b.accept(1);
        let tx = b.tx(b"last");
        b.ring.send(&conn, tx.into(), 0).unwrap();
        b.ring.shutdown(&conn).unwrap();
        if submits {
            b.ring.submit().unwrap();
        }
        let events = [b.event(), b.event()];
        let sent = |event: &Event| matches!(event, Event::Sent { key: Key(1), result: Ok(4), .. });
        let shut = |event: &Event| matches!(event, Event::Shutdown { key: Key(1), result: Ok(()) });
        assert!(events.iter().any(sent) && events.iter().any(shut), "{submits}: {events:?}");
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"last", "{submits}");
        drop(conn);
        assert!(matches!(b.event(), Event::Closed { .. }));
    }
}

/// Of TCP and a Unix one. Another process may have a duplicate of the descriptor.
pub(crate) fn a_connection_that_was_accepted_elsewhere_is_one_like_others<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    for round in 0..8 {
        let mut client = TcpStream::connect(elsewhere.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        client.write_all(b"before").unwrap();
        let accepted = elsewhere.accept().unwrap().0;
        let duplicate = accepted.try_clone().unwrap();
        b.ring.adopt(accepted.into(), Key(round)).unwrap();
        let Event::Adopted { key, result: Ok(conn) } = b.event() else { panic!("no connection") };
        assert_eq!(key, Key(round));
        drop(duplicate);
        b.ring.recv(&conn).unwrap();
        assert_eq!(b.recv(round), b"before");
        b.echo(&mut client, &conn, round);
        b.ring.close(conn);
        assert!(matches!(b.event(), Event::Closed { key } if key == Key(round)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let (mut client, accepted) = UnixStream::pair().unwrap();
    b.ring.adopt(accepted.into(), Key(9)).unwrap();
    let Event::Adopted { result: Ok(conn), .. } = b.event() else { panic!("no connection") };
    b.ring.recv(&conn).unwrap();
    client.write_all(b"ping").unwrap();
    assert_eq!(b.recv(9), b"ping");
    assert_eq!(b.ring.stats().connections, 1);
    // An event that is dropped unread, and one that is on its way when its ring goes.
    for _ in 0..2 {
        let (mut client, accepted) = UnixStream::pair().unwrap();
        b.ring.adopt(accepted.into(), Key(10)).unwrap();
        drop(b.event());
        assert!(matches!(b.event(), Event::Closed { key: Key(10) }));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let (mut late, accepted) = UnixStream::pair().unwrap();
    b.ring.adopt(accepted.into(), Key(11)).unwrap();
    drop(conn);
    drop(b);
    assert_eq!(late.read(&mut [0]).unwrap_or(0), 0);
}

pub(crate) fn what_is_adopted_into_a_full_table_is_closed<E: Setup>() {
    let mut b = Bench::<E>::new(Config { connections: 1, ..SMALL });
    let (_client, conn) = b.accept(1);
    let (mut client, accepted) = UnixStream::pair().unwrap();
    b.ring.adopt(accepted.into(), Key(2)).unwrap();
    let Event::Adopted { key: Key(2), result: Err(errno) } = b.event() else { panic!("a full table") };
    assert_eq!(errno, Errno::NFILE);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(conn);
    assert!(matches!(b.event(), Event::Closed { .. }));
    let (_client, accepted) = UnixStream::pair().unwrap();
    b.ring.adopt(accepted.into(), Key(3)).unwrap();
    assert!(matches!(b.event(), Event::Adopted { key: Key(3), result: Ok(_) }));
}
