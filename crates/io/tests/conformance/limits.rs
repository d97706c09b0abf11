//! Tables and pools that are full.

use std::io::{Read, Write};
use std::net::TcpStream;

use sitar_io::{
    Busy, Config, Conn, Errno, Event, File, Key, OpId, ReadBuf, RecvEnd, RegionMut, SendBuf, leaked_rings,
};

use crate::conformance::bench::{Bench, LISTENER, SMALL, Setup};
pub(crate) fn without_receive_slots_nothing_is_lost<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    let sent: Vec<u8> = (0..4096_u32).map(|i| (i % 249) as u8).collect();
    client.write_all(&sent).unwrap();
    let mut held = Vec::new();
    loop {
        match b.event() {
            Event::Recv { buf, .. } => held.push(buf),
            Event::RecvEnded { end: RecvEnd::NoBuffers, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(held.len(), 8);
    let mut got: Vec<u8> = held.drain(..).flat_map(|buf| buf.to_vec()).collect();
    while got.len() < sent.len() {
        let _ = b.ring.recv(&conn).unwrap();
        match b.event() {
            Event::Recv { buf, .. } => got.extend_from_slice(&buf),
            Event::RecvEnded { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(got == sent);
}

pub(crate) fn a_full_file_table_ends_accepting_and_a_closed_connection_lets_it_go_on<E: Setup>() {
    let mut b = Bench::<E>::new(Config { connections: 1, ..SMALL });
    let (_client, conn) = b.accept(1);
    let _refused = TcpStream::connect(b.address).unwrap();
    match b.event() {
        Event::AcceptEnded { listener: LISTENER, error: Some(Errno::NFILE) } => {}
        other => panic!("{other:?}"),
    }
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { .. }));
    b.ring.accept(&b.listener).unwrap();
    let (mut client, conn) = b.accept(2);
    drop(conn);
    assert!(matches!(b.event(), Event::Closed { .. }));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

pub(crate) fn a_full_op_table_hands_everything_back<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
    let mut queued = 0;
    let refused = loop {
        match b.ring.read(&file, 0, ReadBuf::Region(RegionMut::new(3).unwrap(), 0..3), Key(queued)) {
            Ok(_) => queued += 1,
            Err(Busy(buf)) => break buf,
        }
        assert!(queued < 1 << 20, "the table is bounded");
    };
    assert!(matches!(refused, ReadBuf::Region(region, _) if region.len() == 3));
    for _ in 0..queued {
        assert!(matches!(b.event(), Event::Read { result: Ok(3), .. }));
    }
    assert!(b.ring.read(&file, 0, ReadBuf::Region(RegionMut::new(3).unwrap(), 0..3), Key(0)).is_ok());
}

pub(crate) fn limits_that_cannot_be_had_are_named<E: Setup>() {
    let config = Config { connections: u32::MAX, ..SMALL };
    let Err(why) = E::ring(&config) else { panic!("a file table of four thousand million places") };
    assert!(why.contains("limit on open files") || why.contains("file table"), "{why}");
    assert!(E::ring(&Config { rx_count: 3, ..SMALL }).is_err());
}

/// Every engine refuses them in the same words, so a program that runs on one of them runs on the
/// others.
pub(crate) fn sizes_that_mean_nothing_are_refused<E: Setup>() {
    for (config, wanted) in [
        (Config { connections: 0, ..SMALL }, "the file table must have 1 to 1,048,576 places"),
        (Config { connections: 1_048_577, ..SMALL }, "the file table must have 1 to 1,048,576 places"),
        (Config { rx_count: 0, ..SMALL }, "the number of receive slots must be a power of two"),
        (Config { rx_count: 12, ..SMALL }, "the number of receive slots must be a power of two"),
        (Config { rx_count: u16::MAX, ..SMALL }, "the number of receive slots must be a power of two"),
        (Config { rx_len: 0, ..SMALL }, "must have at least one byte"),
        (Config { tx_len: 0, ..SMALL }, "must have at least one byte"),
        // All bytes together are 2^64 + 1,050,625.
        (
            Config { connections: 1, rx_count: 32768, rx_len: 262_176, tx_count: u32::MAX, tx_len: u32::MAX },
            "the slots do not fit buf the address space",
        ),
    ] {
        match E::ring(&config).map(drop) {
            Err(why) => assert!(why.contains(wanted), "{config:?}: {why}"),
            Ok(()) => panic!("{config:?}"),
        }
    }
    // A ring that sends regions only, or nothing, needs no send slots.
    let mut ring = E::ring(&Config { tx_count: 0, ..SMALL }).unwrap();
    assert!(ring.take_tx().is_none());
}

/// Fills the op table with sends that cannot end, because their peer does not read.
fn fill_with_sends<E: Setup>(b: &mut Bench<E>, conn: &Conn) {
    let huge = RegionMut::new(64 << 20).unwrap().freeze();
    while b.ring.send(conn, SendBuf::Shared(huge.clone(), 0..64 << 20), 0).is_ok() {}
    assert!(b.event_within(10).is_none(), "none of them ends");
    assert!(b.ring.writable(conn).is_err(), "the table is full");
}

/// Fills the op table with accepts, and returns them.
fn fill_with_accepts<E: Setup>(b: &mut Bench<E>) -> Vec<OpId> {
    let mut accepts = Vec::new();
    while let Ok(id) = b.ring.accept(&b.listener) {
        accepts.push(id);
    }
    assert!(accepts.len() > 900, "{}", accepts.len());
    assert!(b.event_within(10).is_none(), "none of them ends");
    accepts
}

/// Operations that make room find room themselves.
pub(crate) fn a_full_op_table_closes_its_connections<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (_client, conn) = b.accept(1);
    fill_with_sends(&mut b, &conn);
    b.ring.close(conn);
    match b.event_within(10_000) {
        Some(Event::Closed { key: Key(1) }) => {}
        other => panic!("{other:?}"),
    }
    // The accept and the waker.
    assert_eq!((b.ring.stats().connections, b.ring.stats().ops), (0, 2));
}

pub(crate) fn a_full_op_table_stops_receiving<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    let (_other, other) = b.accept(2);
    b.ring.recv(&conn).unwrap();
    fill_with_sends(&mut b, &other);
    b.ring.stop_recv(&conn);
    match b.event_within(10_000) {
        Some(Event::RecvEnded { key: Key(1), end: RecvEnd::Stopped }) => {}
        other => panic!("{other:?}"),
    }
    client.write_all(b"unheard").unwrap();
    assert!(b.event_within(20).is_none());
}

/// Cancels end every operation, also when there are more cancels than there is room for at a time.
pub(crate) fn a_full_op_table_cancels_everything<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let accepts = fill_with_accepts(&mut b);
    for id in &accepts {
        b.ring.cancel(*id);
        b.ring.cancel(*id);
    }
    for ended in 0..accepts.len() {
        match b.event_within(10_000) {
            Some(Event::AcceptEnded { listener: LISTENER, error: Some(Errno::CANCELED) }) => {}
            other => panic!("{other:?} after {ended}"),
        }
    }
    assert!(b.event_within(10).is_none());
    assert_eq!(b.ring.stats().ops, 2, "the first accept and the waker");
}

/// I3: nothing is leaked for want of room to ask for its end.
pub(crate) fn a_full_op_table_lets_its_ring_go<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    fill_with_accepts(&mut b);
    drop(b);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
}
