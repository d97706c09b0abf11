//! Misuse that compiles, and does nothing: names of what is gone, and a ring that is forgotten.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sitar_io::{Config, Conn, Event, Key, RecvEnd, Ring, Uring};

const CONFIG: Config = Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };

fn ring() -> (Ring<Uring>, SocketAddr) {
    let mut ring = Ring::uring(&CONFIG).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = ring.listener(socket.into(), Key(99));
    ring.accept(&listener).unwrap();
    (ring, address)
}

fn event_within(ring: &mut Ring<Uring>, time: Duration) -> Option<Event> {
    let until = Instant::now() + time;
    loop {
        if let Some(event) = ring.next() {
            return Some(event);
        }
        if ring.wait(Some(until)).unwrap() >= until {
            return ring.next();
        }
    }
}

fn event(ring: &mut Ring<Uring>) -> Event {
    event_within(ring, Duration::from_secs(60)).expect("an event within a minute")
}

fn accept(ring: &mut Ring<Uring>, address: SocketAddr, key: Key) -> (TcpStream, Conn) {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match event(ring) {
        Event::Accepted { conn, .. } => {
            ring.set_key(&conn, key);
            (client, conn)
        }
        other => panic!("{other:?}"),
    }
}

/// The place in the op table that an id names, as its `Debug` tells.
fn index(id: impl std::fmt::Debug) -> String {
    let text = format!("{id:?}");
    let (_, index) = text.split_once("index: ").unwrap();
    index.split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned()
}

#[test]
fn a_stale_operation_id_names_nothing() {
    let (mut ring, address) = ring();
    let (mut client, conn) = accept(&mut ring, address, Key(1));
    let stale = ring.recv(&conn).unwrap();
    ring.stop_recv(&conn);
    assert!(matches!(event(&mut ring), Event::RecvEnded { key: Key(1), end: RecvEnd::Stopped }));
    // The cancel's own completion has freed the place that it had.
    assert!(event_within(&mut ring, Duration::from_millis(20)).is_none());

    // Two operations take the two places that are free, so one of them has the place of the id that
    // is kept.
    let mut successors = vec![ring.recv(&conn).unwrap()];
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = ring.listener(socket.into(), Key(98));
    successors.push(ring.accept(&other).unwrap());
    assert!(successors.iter().any(|id| index(id) == index(stale)), "{stale:?}, {successors:?}");
    assert!(!successors.contains(&stale));

    let before = ring.stats().ops;
    ring.cancel(stale);
    assert_eq!(ring.stats().ops, before, "nothing was asked of the kernel");
    assert!(event_within(&mut ring, Duration::from_millis(50)).is_none(), "neither of them has ended");
    client.write_all(b"still here").unwrap();
    match event(&mut ring) {
        Event::Recv { key: Key(1), buf } => assert_eq!(&buf[..], b"still here"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_operation_id_of_another_ring_names_nothing() {
    // The first operation of each, so that both have the same place in their tables.
    let first = |ring: &mut Ring<Uring>| {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = ring.listener(socket.into(), Key(99));
        (ring.accept(&listener).unwrap(), address)
    };
    let (mut a, mut b) = (Ring::uring(&CONFIG).unwrap(), Ring::uring(&CONFIG).unwrap());
    let (ours, address) = first(&mut a);
    let (theirs, b_address) = first(&mut b);
    assert_eq!(index(ours), index(theirs));
    assert_ne!(ours, theirs);
    let (mut client, conn) = accept(&mut a, address, Key(1));
    let id = a.recv(&conn).unwrap();
    assert!(event_within(&mut b, Duration::from_millis(5)).is_none());
    let before = b.stats().ops;
    b.cancel(ours);
    b.cancel(id);
    assert_eq!(b.stats().ops, before, "nothing was asked of the kernel");
    assert!(event_within(&mut b, Duration::from_millis(20)).is_none(), "none of them has ended");
    let (_client, _conn) = accept(&mut b, b_address, Key(2));
    client.write_all(b"untouched").unwrap();
    assert!(matches!(event(&mut a), Event::Recv { key: Key(1), .. }));
}

#[test]
#[allow(clippy::mem_forget, reason = "what is tested")]
fn a_forgotten_ring_leaks_and_takes_nothing_with_it() {
    let (mut forgotten, address) = ring();
    let (mut client, conn) = accept(&mut forgotten, address, Key(1));
    forgotten.recv(&conn).unwrap();
    assert!(event_within(&mut forgotten, Duration::from_millis(5)).is_none());
    let mut tx = forgotten.take_tx().unwrap();
    std::mem::forget(forgotten);

    // What is in flight stays so: the peer is neither answered nor cut off, and what it sends goes
    // where it always would.
    client.write_all(&[7; 200]).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let waited = client.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(waited, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waited:?}");
    // A lease of the arena is as good as ever, and so is a ring made after it.
    tx.fill(9);
    assert!(tx.iter().all(|&byte| byte == 9));
    drop((tx, conn));
    let (mut next, address) = ring();
    let (mut client, conn) = accept(&mut next, address, Key(2));
    next.recv(&conn).unwrap();
    client.write_all(b"hello").unwrap();
    assert!(matches!(event(&mut next), Event::Recv { key: Key(2), .. }));
}
