//! The simulated world by itself: time, streams, scripts. What a ring makes of its faults is shown
//! by the seeds.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

use super::{Faults, Lie, Next, Sim, World};
use crate::{
    Config, Conn, Event, Key, Listener, ReadBuf, RecvEnd, Region, RegionMut, Ring, SendBuf, SockOpt,
    TlsCipher, TlsTx, leaked_rings,
};

const CONFIG: Config = Config { connections: 2, rx_count: 4, rx_len: 100, tx_count: 2, tx_len: 100 };
const DOOR: Key = Key(5);

struct Bench {
    world: World,
    ring: Ring<Sim>,
    listener: Listener,
}

impl Bench {
    fn new(faults: Faults) -> Bench {
        let world = World::with(1, faults);
        let mut ring = Ring::sim(&CONFIG, &world).unwrap();
        let listener = ring.sim_listener(DOOR);
        ring.accept(&listener).unwrap();
        Bench { world, ring, listener }
    }

    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.ring.next() {
                return event;
            }
            self.ring.wait(None).unwrap();
        }
    }

    fn accepted(&mut self) -> Conn {
        match self.event() {
            Event::Accepted { listener: DOOR, conn } => {
                self.ring.set_key(&conn, Key(1));
                conn
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn time_passes_in_a_wait_only_and_jumps_to_its_end() {
    let mut b = Bench::new(Faults::none());
    let start = b.world.now();
    assert_eq!(b.ring.now(), start);
    let until = start + Duration::from_secs(3600);
    let end = b.ring.wait(Some(until)).unwrap();
    assert!(end >= until && end < until + Duration::from_millis(1), "{:?}", b.world.age());
    assert_eq!(b.ring.now(), end);
    b.world.advance(Duration::from_secs(5));
    assert_eq!(b.ring.now(), end + Duration::from_secs(5));
}

#[test]
fn waiting_for_what_cannot_come_is_an_error_and_not_a_hang() {
    let mut b = Bench::new(Faults::none());
    assert_eq!(b.ring.wait(None).unwrap_err().kind(), ErrorKind::Deadlock);
}

#[test]
fn a_stream_is_a_socket_that_never_blocks() {
    let mut b = Bench::new(Faults::none());
    let mut peer = b.world.connect(DOOR);
    let mut buf = [0; 300];
    assert_eq!(peer.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    peer.write_all(&[7; 150]).unwrap();
    peer.finish();
    assert_eq!(peer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let conn = b.accepted();
    b.ring.recv(&conn).unwrap();
    assert!(matches!(b.event(), Event::Recv { key: Key(1), buf } if buf[..] == [7; 100]));
    assert!(matches!(b.event(), Event::Recv { key: Key(1), buf } if buf[..] == [7; 50]));
    assert!(matches!(b.event(), Event::RecvEnded { key: Key(1), end: RecvEnd::Eof }));
    b.ring.peer(&conn).unwrap();
    let Event::Peer { result: Ok(address), .. } = b.event() else { panic!("no address") };
    assert_eq!(address.to_string(), "192.0.2.1:1024");
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { key: Key(1) }));
    assert_eq!(peer.read(&mut buf).unwrap(), 0, "the end of the stream");
}

/// The kernel finds an operation by its name at once, and those of a descriptor by a walk over all.
#[test]
fn a_connection_that_only_receives_is_closed_by_the_name_of_its_receive() {
    for writable in [false, true] {
        let mut b = Bench::new(Faults::none());
        let _peer = b.world.connect(DOOR);
        let conn = b.accepted();
        b.ring.recv(&conn).unwrap();
        if writable {
            let Some(mut tx) = b.ring.take_tx() else { panic!("no slot") };
            let len = tx.len();
            tx.set_filled(len);
            b.ring.send(&conn, tx.into(), 0).unwrap();
        }
        b.world.start_trace();
        b.ring.close(conn);
        loop {
            if let Event::Closed { .. } = b.event() {
                break;
            }
        }
        let trace = b.world.take_trace();
        let is_done = |what: &str| trace.iter().any(|line| line.contains(what));
        assert_eq!((is_done(" cancel "), is_done(" cancel-slot ")), (!writable, writable), "{trace:#?}");
    }
}

#[test]
fn a_send_waits_for_a_peer_that_does_not_read() {
    let mut b = Bench::new(Faults::none());
    let mut peer = b.world.connect(DOOR);
    let conn = b.accepted();
    let body = Region::copy_of(&[3; 100_000]).unwrap();
    b.ring.send(&conn, SendBuf::Shared(body, 0..usize::MAX), 0).unwrap();
    assert_eq!(b.ring.wait(None).unwrap_err().kind(), ErrorKind::Deadlock, "the window is 64 KiB");
    let mut got = vec![0; 100_000];
    assert_eq!(peer.read(&mut got).unwrap(), 65_536);
    assert!(matches!(b.event(), Event::Sent { key: Key(1), result: Ok(100_000), .. }));
    assert_eq!(peer.read(&mut got).unwrap(), 34_464);
}

#[test]
fn leaving_with_bytes_unread_is_a_reset_for_the_other_end() {
    let mut b = Bench::new(Faults::none());
    let peer = b.world.connect(DOOR);
    let conn = b.accepted();
    b.ring.recv(&conn).unwrap();
    let mut tx = b.ring.take_tx().unwrap();
    tx.set_filled(10);
    b.ring.send(&conn, tx.into(), 0).unwrap();
    assert!(matches!(b.event(), Event::Sent { result: Ok(10), .. }));
    b.ring.wait(Some(b.world.now())).unwrap();
    drop(peer);
    assert!(matches!(b.event(), Event::RecvEnded { end: RecvEnd::Error(Errno::CONNRESET), .. }));
    let mut tx = b.ring.take_tx().unwrap();
    tx.set_filled(10);
    b.ring.send(&conn, tx.into(), 0).unwrap();
    assert!(matches!(b.event(), Event::Sent { result: Err(Errno::PIPE), .. }));
}

#[test]
fn bytes_travel_for_as_long_as_the_latency_says_and_in_order() {
    let mut b = Bench::new(Faults { latency: Duration::from_millis(10), cut: 1000, ..Faults::none() });
    let mut peer = b.world.connect(DOOR);
    let sent: Vec<u8> = (0..200).collect();
    peer.write_all(&sent).unwrap();
    peer.finish();
    let conn = b.accepted();
    b.ring.recv(&conn).unwrap();
    let (mut got, mut pieces) = (Vec::new(), 0);
    loop {
        match b.event() {
            Event::Recv { buf, .. } => {
                got.extend_from_slice(&buf);
                pieces += 1;
            }
            Event::RecvEnded { end: RecvEnd::Eof, .. } => break,
            // There are four slots, and there may be more pieces at a time.
            Event::RecvEnded { end: RecvEnd::NoBuffers, .. } => {
                b.ring.recv(&conn).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, sent);
    assert!(pieces > 3, "{pieces}");
    assert!(b.world.age() > Duration::from_millis(1) && b.world.age() < Duration::from_millis(11));
}

#[test]
fn scripts_run_inside_the_wait_at_their_time_and_on_news() {
    let mut b = Bench::new(Faults::none());
    let log = Rc::new(RefCell::new(Vec::new()));
    let (start, heard) = (b.world.now() + Duration::from_secs(2), Rc::clone(&log));
    let mut stream = None;
    b.world.script(move |world| {
        if world.now() < start {
            return Next::At(start);
        }
        let stream = stream.get_or_insert_with(|| {
            let mut stream = world.connect(DOOR);
            stream.write_all(b"ping").unwrap();
            stream
        });
        let mut buf = [0; 10];
        match stream.read(&mut buf) {
            Ok(n) => {
                heard.borrow_mut().extend_from_slice(&buf[..n]);
                Next::Done
            }
            Err(_) => Next::News,
        }
    });
    let conn = b.accepted();
    assert_eq!(b.world.age().as_secs(), 2);
    b.ring.recv(&conn).unwrap();
    assert!(matches!(b.event(), Event::Recv { buf, .. } if buf[..] == *b"ping"));
    let mut tx = b.ring.take_tx().unwrap();
    tx[..4].copy_from_slice(b"pong");
    tx.set_filled(4);
    b.ring.send(&conn, tx.into(), 0).unwrap();
    assert!(matches!(b.event(), Event::Sent { result: Ok(4), .. }));
    // The script has finished and dropped its stream.
    assert!(matches!(b.event(), Event::RecvEnded { end: RecvEnd::Eof, .. }));
    assert_eq!(*log.borrow(), b"pong");
    assert_eq!(b.world.census().scripts, 0);
}

#[test]
fn a_world_has_one_ring_at_a_time_and_what_waits_outlives_it() {
    let mut b = Bench::new(Faults::none());
    assert_eq!(Ring::sim(&CONFIG, &b.world).err().unwrap().kind(), ErrorKind::ResourceBusy);
    let mut first = b.world.connect(DOOR);
    let conn = b.accepted();
    let mut second = b.world.connect(DOOR);
    second.write_all(b"still here").unwrap();
    let Bench { world, ring, .. } = b;
    drop(ring);
    drop(conn);
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "closed with its ring");
    let mut ring = Ring::sim(&CONFIG, &world).unwrap();
    let listener = ring.sim_listener(DOOR);
    ring.accept(&listener).unwrap();
    let mut b = Bench { world, ring, listener };
    let conn = b.accepted();
    b.ring.recv(&conn).unwrap();
    assert!(matches!(b.event(), Event::Recv { buf, .. } if buf[..] == *b"still here"));
}

#[test]
fn files_are_real_bytes() {
    let mut b = Bench::new(Faults::none());
    let file = World::file(b"0123456789").unwrap();
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(&file, 4, ReadBuf::Tx(tx, 10..20), Key(3)).unwrap();
    match b.event() {
        Event::Read { key: Key(3), buf: ReadBuf::Tx(tx, _), result: Ok(6) } => {
            assert_eq!(&tx[9..17], b"\x00456789\0");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_thread_can_wake_it_when_the_world_is_told_to_expect_that() {
    let mut b = Bench::new(Faults::none());
    b.world.set_outside(Duration::from_secs(20));
    let waker = b.ring.waker();
    let thread = std::thread::spawn(move || waker.wake());
    assert!(matches!(b.event(), Event::Woken));
    thread.join().unwrap();
    b.ring.waker().wake();
    assert!(matches!(b.event(), Event::Woken), "a second time");
}

#[test]
fn a_full_table_loses_the_newcomer_as_the_kernel_does() {
    let mut b = Bench::new(Faults::none());
    let mut peers: Vec<_> = (0..3).map(|_| b.world.connect(DOOR)).collect();
    let _kept = [b.accepted(), b.accepted()];
    assert!(matches!(b.event(), Event::AcceptEnded { listener: DOOR, error: Some(Errno::NFILE) }));
    assert_eq!(peers[2].read(&mut [0]).unwrap(), 0);
    assert_eq!(peers[1].read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(b.listener.key, DOOR);
}

/// I3: an operation that never ends. The drop gives up after its five seconds and leaks, so that a
/// late kernel would still write into memory that was not freed.
#[test]
fn a_ring_that_cannot_drain_leaks() {
    let mut b = Bench::new(Faults::none());
    let peer = b.world.connect(DOOR);
    let conn = b.accepted();
    b.ring.recv(&conn).unwrap();
    b.world.lose_completion();
    drop(peer);
    assert_eq!(b.ring.wait(None).unwrap_err().kind(), ErrorKind::Deadlock);
    let (before, leaked) = (b.world.age(), leaked_rings());
    let Bench { world, ring, .. } = b;
    drop(ring);
    assert!(leaked_rings() > leaked);
    let drained = world.age() - before;
    assert!(drained >= Duration::from_secs(5) && drained < Duration::from_secs(6), "{drained:?}");
    assert_eq!(Ring::sim(&CONFIG, &world).err().unwrap().kind(), ErrorKind::ResourceBusy);
    drop(conn);
}

#[test]
fn a_lie_is_told_once_and_found_out() {
    let mut b = Bench::new(Faults::none());
    b.world.lie(Lie::UnknownPlace, 0);
    let _peer = b.world.connect(DOOR);
    b.ring.wait(None).unwrap();
    assert!(b.ring.next().is_none() && b.world.has_lied());
    let error = b.ring.wait(None).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::InvalidData, "a descriptor that is in use".into())
    );
}

#[test]
fn a_script_that_never_rests_does_not_stop_the_clock() {
    let mut b = Bench::new(Faults::none());
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    b.world.script(move |world| {
        count.set(count.get() + 1);
        Next::At(world.now())
    });
    b.ring.wait(Some(b.world.now() + Duration::from_millis(1))).unwrap();
    assert!((900..1100).contains(&calls.get()), "{} calls in a millisecond", calls.get());
}

/// A peer that stops to read holds a send and a question about room. The op table has room for
/// these of all connections, or there would be none for closing them.
#[test]
fn every_connection_may_wait_for_all_that_there_is() {
    const CONNECTIONS: u32 = 1500;
    let world = World::with(1, Faults::none());
    let mut ring = Ring::sim(&Config { connections: CONNECTIONS, ..CONFIG }, &world).unwrap();
    let listener = ring.sim_listener(DOOR);
    ring.accept(&listener).unwrap();
    let peers: Vec<_> = (0..CONNECTIONS).map(|_| world.connect(DOOR)).collect();
    let body = RegionMut::new(1 << 20).unwrap().freeze();
    let mut conns = Vec::new();
    while conns.len() < peers.len() {
        ring.wait(None).unwrap();
        while let Some(event) = ring.next() {
            let Event::Accepted { conn, .. } = event else { panic!("{event:?}") };
            ring.recv(&conn).unwrap();
            ring.send(&conn, SendBuf::Shared(body.clone(), 0..1 << 20), 0).unwrap();
            ring.writable(&conn).unwrap();
            // The queue to the kernel is another matter.
            ring.submit().unwrap();
            conns.push(conn);
        }
    }
    conns.into_iter().for_each(|conn| ring.close(conn));
    let mut closed = 0;
    while closed < CONNECTIONS {
        ring.wait(None).unwrap();
        while let Some(event) = ring.next() {
            assert!(matches!(event, Event::Closed { .. }), "{event:?}");
            closed += 1;
        }
    }
}

/// The simulation refuses what the other engines refuse: a record with a type where no kernel
/// seals, and a datagram socket on a ring whose slots have no room for a datagram's head.
#[test]
fn what_cannot_be_done_is_refused_in_an_event() {
    let mut b = Bench::new(Faults::none());
    let _peer = b.world.connect(DOOR);
    let conn = b.accepted();
    let tx = b.ring.take_tx().unwrap();
    b.ring.send(&conn, SendBuf::Record(21, tx), 0).unwrap();
    match b.event() {
        Event::Sent { key: Key(1), buf: Some(SendBuf::Record(21, _)), result } => {
            assert_eq!(result, Err(Errno::OPNOTSUPP));
        }
        other => panic!("{other:?}"),
    }
    let world = World::with(1, Faults::none());
    let mut small = Ring::sim(&Config { rx_len: 72, ..CONFIG }, &world).unwrap();
    let udp = small.sim_udp("192.0.2.1:443".parse().unwrap(), Key(2));
    small.recv_from(&udp).unwrap();
    let ended = loop {
        match small.next() {
            Some(event) => break event,
            None => drop(small.wait(None).unwrap()),
        }
    };
    assert!(
        matches!(ended, Event::RecvEnded { key: Key(2), end: RecvEnd::Error(Errno::INVAL) }),
        "{ended:?}"
    );
    assert_eq!((b.world.blamed(), world.blamed()), (None, None));
}

/// The drop of a lease is the program's own code: each of its panics comes out of the
/// ring, which goes on.
#[test]
fn a_lease_that_panics_leaves_its_connection_closing() {
    struct Lease;
    impl Drop for Lease {
        fn drop(&mut self) {
            panic!("a lease");
        }
    }
    let mut b = Bench::new(Faults::none());
    let _peer = b.world.connect(DOOR);
    let conn = b.accepted();
    for _ in 0..4 {
        let region = RegionMut::new(100_000).unwrap().freeze_with(Lease);
        b.ring.send(&conn, SendBuf::Shared(region, 0..100_000), 0).unwrap();
    }
    b.ring.close(conn);
    let mut panics = 0;
    loop {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| b.event())) {
            Ok(event) => break assert!(matches!(event, Event::Closed { key: Key(1) }), "{event:?}"),
            Err(_) => panics += 1,
        }
        assert!(panics <= 4);
    }
    assert_eq!((panics, b.ring.stats().connections, b.ring.stats().ops), (4, 0, 2));
    drop(b.ring);
    assert_eq!(b.world.blamed(), None);
    assert!(Ring::sim(&CONFIG, &b.world).is_ok(), "drained, not leaked");
}

/// The sum of the two is beyond what a `usize` holds.
#[test]
fn a_false_count_of_a_send_from_the_largest_offset_closes_the_ring() {
    let mut b = Bench::new(Faults::none());
    let _peer = b.world.connect(DOOR);
    let conn = b.accepted();
    let mut tx = b.ring.take_tx().unwrap();
    tx.set_filled(100);
    b.world.lie(Lie::TooLong, 0);
    b.ring.send(&conn, tx.into(), usize::MAX).unwrap();
    b.ring.submit().unwrap();
    assert!(b.world.has_lied());
    b.ring.wait(None).unwrap();
    assert!(b.ring.next().is_none());
    assert_eq!(b.ring.wait(None).unwrap_err().kind(), ErrorKind::InvalidData);
}

/// Longer than the real clock can tell.
#[test]
fn a_world_may_wait_for_other_threads_for_ever() {
    let mut b = Bench::new(Faults::none());
    b.world.set_outside(Duration::MAX);
    let waker = b.ring.waker();
    let thread = std::thread::spawn(move || waker.wake());
    assert!(matches!(b.event(), Event::Woken));
    thread.join().unwrap();
}

/// The kernel's TLS is attached once. Asking again is refused, and the kernel goes on sealing.
#[test]
fn what_seals_goes_on_sealing_when_asked_to_begin() {
    let mut b = Bench::new(Faults::none());
    b.world.set_kernel_tls(false, |_| Box::new(|kind, plain| [&[kind], plain].concat()));
    let mut peer = b.world.connect(DOOR);
    let conn = b.accepted();
    let key = TlsTx::tls13(TlsCipher::Aes128Gcm, &[1; 16], &[1; 12], 0).unwrap();
    b.ring.set_opt(&conn, SockOpt::TlsUlp).unwrap();
    assert!(matches!(b.event(), Event::OptSet { result: Ok(()), .. }));
    b.ring.set_opt(&conn, SockOpt::TlsTx(Box::new(key))).unwrap();
    assert!(matches!(b.event(), Event::OptSet { result: Ok(()), .. }));
    b.ring.set_opt(&conn, SockOpt::TlsUlp).unwrap();
    assert!(matches!(b.event(), Event::OptSet { result: Err(Errno::EXIST), .. }));
    let mut tx = b.ring.take_tx().unwrap();
    tx[..2].copy_from_slice(&[1, 0]);
    tx.set_filled(2);
    b.ring.send(&conn, SendBuf::Record(21, tx), 0).unwrap();
    assert!(matches!(b.event(), Event::Sent { result: Ok(2), .. }));
    let mut got = [0; 3];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, [21, 1, 0]);
}

#[test]
fn time_goes_on_after_the_largest_step() {
    let mut b = Bench::new(Faults::none());
    for _ in 0..3 {
        b.world.advance(Duration::MAX);
        let now = b.world.now();
        let mut far = Duration::MAX;
        let until = loop {
            match now.checked_add(far) {
                Some(until) => break until,
                None => far /= 2,
            }
        };
        assert!(b.ring.wait(Some(until)).unwrap() > now);
    }
    let before = b.world.age();
    b.world.advance(Duration::from_secs(1));
    assert_eq!(b.world.age() - before, Duration::from_secs(1));
    drop(b.ring);
    assert!(Ring::sim(&CONFIG, &b.world).is_ok(), "the world has no ring");
}

/// The first panic comes out, when the ring has gone; a second one would end the process.
#[test]
fn a_peer_that_panics_while_a_ring_drains_leaves_nothing_behind() {
    for unwinds in [false, true] {
        let mut b = Bench::new(Faults { late: 1000, ..Faults::none() });
        // What is late is so by some milliseconds, during which the peers act.
        b.world.script(|world| {
            assert_eq!(world.age(), Duration::ZERO, "a peer");
            Next::At(world.now())
        });
        let world = b.world.clone();
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            b.ring.submit().unwrap();
            assert!(!unwinds, "the program");
        }));
        let text = *gone.unwrap_err().downcast::<String>().unwrap_or_default();
        assert_eq!(text.contains("a peer"), !unwinds, "{text}");
        assert!(Ring::sim(&CONFIG, &world).is_ok(), "the world has no ring");
    }
}
