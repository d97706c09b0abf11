//! The ring on the real kernel: each operation once, and the invariants I2 to I7 under awkward circumstances.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sitar_io::{
    Busy, Config, Conn, Errno, Event, File, Into, Key, Listener, Piece, RecvEnd, Region, RegionMut, Ring,
    Src, Uring,
};

const LISTENER: Key = Key(99);
const SMALL: Config = Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };

struct Bench {
    ring: Ring<Uring>,
    listener: Listener,
    address: SocketAddr,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let mut ring = Ring::uring(&config).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = ring.listener(socket.into(), LISTENER);
        ring.accept(&listener).unwrap();
        Bench { ring, listener, address }
    }

    /// The next event, or `None` after `ms` milliseconds without one.
    fn event_within(&mut self, ms: u64) -> Option<Event> {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            if let Some(event) = self.ring.next() {
                return Some(event);
            }
            if self.ring.wait(Some(until)).unwrap() >= until {
                return self.ring.next();
            }
        }
    }

    fn event(&mut self) -> Event {
        self.event_within(5000).expect("an event within five seconds")
    }

    fn accept(&mut self, key: u64) -> (TcpStream, Conn) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        match self.event() {
            Event::Accepted { listener: LISTENER, conn } => {
                self.ring.bind(&conn, Key(key));
                (client, conn)
            }
            other => panic!("{other:?}"),
        }
    }

    fn recv(&mut self, key: u64) -> Vec<u8> {
        match self.event() {
            Event::Recv { key: Key(k), buf } if k == key => buf.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn sent(&mut self, key: u64) -> (Src, Result<usize, Errno>) {
        match self.event() {
            Event::Sent { key: Key(k), src, result } if k == key => (src, result),
            other => panic!("{other:?}"),
        }
    }

    fn tx(&mut self, bytes: &[u8]) -> sitar_io::TxBuf {
        let mut tx = self.ring.tx().unwrap();
        tx[..bytes.len()].copy_from_slice(bytes);
        tx.set_filled(bytes.len());
        tx
    }
}

#[test]
fn bytes_go_both_ways_and_everything_comes_back() {
    let mut b = Bench::new(SMALL);
    let (mut client, conn) = b.accept(7);
    b.ring.recv(&conn).unwrap();
    client.write_all(b"hello").unwrap();
    assert_eq!(b.recv(7), b"hello");

    let tx = b.tx(b"xhow are you");
    b.ring.send(&conn, tx.into(), 1).unwrap();
    let (src, result) = b.sent(7);
    assert_eq!((src.len(), result), (12, Ok(11)));
    drop(src);
    let mut got = [0; 11];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"how are you");

    // Receiving goes on by itself, also far beyond the number of receive slots.
    for round in 0..50_u8 {
        client.write_all(&[round; 3]).unwrap();
        assert_eq!(b.recv(7), [round; 3]);
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(b.event(), Event::RecvEnded { key: Key(7), end: RecvEnd::Eof }));
    b.ring.shutdown(&conn).unwrap();
    assert!(matches!(b.event(), Event::Shutdown { key: Key(7), result: Ok(()) }));
    assert_eq!(client.read(&mut got).unwrap(), 0);
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { key: Key(7) }));
    let stats = b.ring.stats();
    assert_eq!((stats.connections, stats.tx_free, stats.rx_leased), (0, 4, 0));
    assert_eq!(stats.ops, 2, "accept and waker");
}

#[test]
fn regions_and_gathered_pieces_are_sent_whole_to_a_slow_reader() {
    let mut b = Bench::new(SMALL);
    let (mut client, conn) = b.accept(1);
    let mut body = RegionMut::new(3_000_000).unwrap();
    for (i, byte) in body.iter_mut().enumerate() {
        *byte = (i % 251) as u8;
    }
    let body = body.freeze();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        let mut chunk = [0; 10_000];
        while got.len() < 6 + 2_999_990 {
            let n = client.read(&mut chunk).unwrap();
            assert!(n > 0);
            got.extend_from_slice(&chunk[..n]);
            if got.len() % 7 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        got
    });
    let head = b.tx(b"head: ");
    let pieces = [Some(Piece::Tx(head)), Some(Piece::Shared(body.clone(), 10..usize::MAX))];
    let mut src = Src::Gather(pieces);
    assert_eq!(src.len(), 6 + 2_999_990);
    // However the kernel cuts it, what is missing is sent from the offset on.
    let mut sent = 0;
    while sent < 6 + 2_999_990 {
        b.ring.send(&conn, src, sent).unwrap();
        let (back, result) = b.sent(1);
        src = back;
        sent += result.unwrap();
    }
    let got = reader.join().unwrap();
    assert_eq!(&got[..6], b"head: ");
    assert!(got[6..] == body[10..]);

    b.ring.send(&conn, Src::Shared(body, 5..5), 0).unwrap();
    assert!(matches!(b.sent(1), (_, Ok(0))));
}

#[test]
fn files_are_read_into_slots_and_regions() {
    let mut b = Bench::new(SMALL);
    let mut named = tempfile();
    named.write_all(b"0123456789").unwrap();
    let file = File::from(named);
    let tx = b.ring.tx().unwrap();
    b.ring.read(&file, 3, Into::Tx(tx, 100..104), Key(5)).unwrap();
    match b.event() {
        Event::Read { key: Key(5), into: Into::Tx(tx, _), result: Ok(4) } => {
            assert_eq!(&tx[99..105], b"\x003456\0");
        }
        other => panic!("{other:?}"),
    }
    let region = RegionMut::new(8).unwrap();
    b.ring.read(&file, 8, Into::Region(region, 0..8), Key(6)).unwrap();
    match b.event() {
        Event::Read { key: Key(6), into: Into::Region(region, _), result: Ok(2) } => {
            assert_eq!(&region.freeze()[..], b"89\0\0\0\0\0\0");
        }
        other => panic!("{other:?}"),
    }
    let tx = b.ring.tx().unwrap();
    b.ring.read(&file, 10, Into::Tx(tx, 0..10), Key(7)).unwrap();
    assert!(matches!(b.event(), Event::Read { result: Ok(0), .. }), "the end of the file");
}

fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!(
        "sitar-io-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file =
        std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

#[test]
fn the_peer_is_known_by_its_address() {
    let mut b = Bench::new(SMALL);
    let (client, conn) = b.accept(1);
    b.ring.peer(&conn, false).unwrap();
    match b.event() {
        Event::Peer { result, .. } if b.ring.has_peer() => {
            assert_eq!(result, Ok(client.local_addr().unwrap()));
        }
        Event::Peer { result, .. } => assert!(result.is_err(), "{result:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_peer_is_known_by_its_ipv6_address() {
    let Ok(socket) = TcpListener::bind("[::1]:0") else { return };
    let mut ring = Ring::uring(&SMALL).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = ring.listener(socket.into(), LISTENER);
    ring.accept(&listener).unwrap();
    let mut b = Bench { ring, listener, address };
    let (client, conn) = b.accept(1);
    b.ring.peer(&conn, true).unwrap();
    match b.event() {
        Event::Peer { result, .. } if b.ring.has_peer() => {
            assert_eq!(result, Ok(client.local_addr().unwrap()));
        }
        Event::Peer { result, .. } => assert!(result.is_err(), "{result:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_thread_wakes_it_and_a_deadline_ends_the_wait() {
    let mut b = Bench::new(SMALL);
    for _ in 0..3 {
        let waker = b.ring.waker();
        let thread = std::thread::spawn(move || {
            waker.wake();
            waker.wake();
        });
        assert!(matches!(b.event(), Event::Woken));
        thread.join().unwrap();
    }
    while b.event_within(50).is_some() {}
    let start = Instant::now();
    let now = b.ring.wait(Some(start + Duration::from_millis(30))).unwrap();
    assert!(now >= start + Duration::from_millis(30));
    assert!(b.ring.next().is_none());
}

#[test]
fn one_wait_is_one_system_call_however_much_was_queued() {
    let mut b = Bench::new(Config { connections: 64, rx_count: 64, tx_count: 64, ..SMALL });
    let mut pairs = Vec::new();
    for key in 0..50 {
        pairs.push(b.accept(key));
    }
    for (client, conn) in &mut pairs {
        b.ring.recv(conn).unwrap();
        client.write_all(b"x").unwrap();
    }
    let before = b.ring.stats().calls;
    b.ring.wait(None).unwrap();
    assert_eq!(b.ring.stats().calls - before, 1);
    let mut got = 0;
    while b.ring.next().is_some() {
        got += 1;
    }
    assert!(got > 1, "several completions from one call");
}

/// I2, I5: a send that the peer does not read is in flight when the connection is closed; the next connection gets the
/// same place and must not see a byte of it.
#[test]
fn a_close_waits_for_what_is_in_flight() {
    let mut b = Bench::new(Config { connections: 1, ..SMALL });
    for round in 0..5 {
        let (mut client, conn) = b.accept(round);
        b.ring.recv(&conn).unwrap();
        let huge = RegionMut::new(64 << 20).unwrap().freeze();
        b.ring.send(&conn, Src::Shared(huge, 0..64 << 20), 0).unwrap();
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

/// I6: events that nobody looks at.
#[test]
fn dropped_events_lose_no_slot_and_no_descriptor() {
    let mut b = Bench::new(SMALL);
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

#[test]
fn without_receive_slots_nothing_is_lost() {
    let mut b = Bench::new(SMALL);
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

#[test]
fn receiving_stops_on_request_and_starts_again() {
    let mut b = Bench::new(SMALL);
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    assert!(b.event_within(20).is_none());
    b.ring.stop_recv(&conn);
    assert!(matches!(b.event(), Event::RecvEnded { key: Key(1), end: RecvEnd::Stopped }));
    client.write_all(b"later").unwrap();
    assert!(b.event_within(50).is_none(), "nobody asked");
    b.ring.recv(&conn).unwrap();
    assert_eq!(b.recv(1), b"later");
}

#[test]
fn a_full_file_table_ends_accepting_and_a_closed_connection_lets_it_go_on() {
    let mut b = Bench::new(Config { connections: 1, ..SMALL });
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

#[test]
fn accepting_can_be_cancelled_and_resumed() {
    let mut b = Bench::new(SMALL);
    let again = b.ring.accept(&b.listener).unwrap();
    assert!(b.event_within(20).is_none());
    b.ring.cancel(again);
    assert!(matches!(b.event(), Event::AcceptEnded { error: Some(Errno::CANCELED), .. }));
    b.ring.cancel(again);
    assert!(b.event_within(20).is_none(), "a stale id is inert");
}

#[test]
fn a_reset_is_an_error_of_the_connection() {
    let mut b = Bench::new(SMALL);
    let (client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    assert!(b.event_within(20).is_none());
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(matches!(b.event(), Event::RecvEnded { key: Key(1), end: RecvEnd::Error(Errno::CONNRESET) }));
    let tx = b.tx(b"x");
    b.ring.send(&conn, tx.into(), 0).unwrap();
    assert!(matches!(b.sent(1).1, Err(Errno::PIPE | Errno::CONNRESET)));
}

#[test]
fn a_full_op_table_hands_everything_back() {
    let mut b = Bench::new(SMALL);
    let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
    let mut queued = 0;
    let refused = loop {
        match b.ring.read(&file, 0, Into::Region(RegionMut::new(3).unwrap(), 0..3), Key(queued)) {
            Ok(_) => queued += 1,
            Err(Busy(into)) => break into,
        }
        assert!(queued < 1 << 20, "the table is bounded");
    };
    assert!(matches!(refused, Into::Region(region, _) if region.len() == 3));
    for _ in 0..queued {
        assert!(matches!(b.event(), Event::Read { result: Ok(3), .. }));
    }
    assert!(b.ring.read(&file, 0, Into::Region(RegionMut::new(3).unwrap(), 0..3), Key(0)).is_ok());
}

/// I3: the ring goes while an accept, a receive, a send and a read are in flight.
#[test]
fn dropping_a_ring_ends_everything_in_flight() {
    for panics in [false, true] {
        let start = Instant::now();
        let mut b = Bench::new(SMALL);
        let (mut client, conn) = b.accept(1);
        b.ring.recv(&conn).unwrap();
        let huge = Region::copy_of(&vec![5; 32 << 20]).unwrap();
        b.ring.send(&conn, Src::Shared(huge.clone(), 0..huge.len()), 0).unwrap();
        assert!(b.event_within(20).is_none());
        let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
        b.ring.read(&file, 0, Into::Region(RegionMut::new(1 << 20).unwrap(), 0..1 << 20), Key(2)).unwrap();
        let mut tx = b.ring.tx().unwrap();
        if panics {
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _owned = b;
                panic!("a bug in the loop");
            }));
            assert!(unwound.is_err());
        } else {
            drop(b);
        }
        assert!(start.elapsed() < Duration::from_secs(4), "drained, not timed out and leaked");
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

#[test]
#[should_panic(expected = "a ring that did not accept it")]
fn a_connection_of_another_ring_is_refused() {
    let mut a = Bench::new(SMALL);
    let mut b = Bench::new(SMALL);
    let (_client, conn) = a.accept(1);
    let _ = b.ring.recv(&conn);
}

#[test]
fn limits_that_cannot_be_had_are_named() {
    let config = Config { connections: u32::MAX, ..SMALL };
    let Err(why) = Ring::uring(&config) else { panic!("a file table of four thousand million places") };
    let text = why.to_string();
    assert!(text.contains("limit on open files") || text.contains("file table"), "{text}");
    assert!(Ring::uring(&Config { rx_count: 3, ..SMALL }).is_err());
}
