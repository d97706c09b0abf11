//! Bytes, both ways, and what is known of a peer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use sitar_io::{
    Conn, Errno, Event, Key, RecvEnd, RegionMut, Segment, SendBuf, SockOpt, TlsCipher, TlsTx, leaked_rings,
};

use crate::conformance::bench::{Bench, SMALL, Setup};
pub(crate) fn bytes_go_both_ways_and_everything_comes_back<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(7);
    b.ring.recv(&conn).unwrap();
    client.write_all(b"hello").unwrap();
    assert_eq!(b.recv(7), b"hello");

    let tx = b.tx(b"xhow are you");
    b.ring.send(&conn, tx.into(), 1).unwrap();
    let (buf, result) = b.sent(7);
    assert_eq!((buf.len(), result), (12, Ok(11)));
    drop(buf);
    let mut got = [0; 11];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"how are you");

    // Receiving goes on by itself, also far beyond the number of receive slots.
    for round in 0..50_u8 {
        client.write_all(&[round; 3]).unwrap();
        assert_eq!(b.recv(7), [round; 3]);
    }
    client.shutdown(Shutdown::Write).unwrap();
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

pub(crate) fn regions_and_gathered_pieces_are_sent_whole_to_a_slow_reader<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
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
    let pieces = [Some(Segment::Tx(head)), Some(Segment::Shared(body.clone(), 10..usize::MAX))];
    let mut buf = SendBuf::Gather(pieces);
    assert_eq!(buf.len(), 6 + 2_999_990);
    // However the kernel cuts it, what is missing is sent from the offset on.
    let mut sent = 0;
    while sent < 6 + 2_999_990 {
        b.ring.send(&conn, buf, sent).unwrap();
        let (back, result) = b.sent(1);
        buf = back;
        sent += result.unwrap();
    }
    let got = reader.join().unwrap();
    assert_eq!(&got[..6], b"head: ");
    assert!(got[6..] == body[10..]);

    b.ring.send(&conn, SendBuf::Shared(body, 5..5), 0).unwrap();
    assert!(matches!(b.sent(1), (_, Ok(0))));
}

pub(crate) fn receiving_stops_on_request_and_starts_again<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    assert!(b.event_within(20).is_none());
    b.ring.stop_recv(&conn);
    assert!(matches!(b.event(), Event::RecvEnded { key: Key(1), end: RecvEnd::Stopped }));
    client.write_all(b"later").unwrap();
    assert!(b.event_within(50).is_none(), "it was not asked for");
    b.ring.recv(&conn).unwrap();
    assert_eq!(b.recv(1), b"later");
}

pub(crate) fn a_reset_is_an_error_of_the_connection<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
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

pub(crate) fn the_peer_is_known_by_its_address<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (client, conn) = b.accept(1);
    b.ring.peer(&conn).unwrap();
    match b.event() {
        Event::Peer { result, .. } if b.ring.has_peer() => {
            assert_eq!(result, Ok(client.local_addr().unwrap()));
        }
        Event::Peer { result, .. } => assert!(result.is_err(), "{result:?}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn the_peer_is_known_by_its_ipv6_address<E: Setup>() {
    let Ok(socket) = TcpListener::bind("[::1]:0") else { return };
    let mut b = Bench::<E>::over(SMALL, socket);
    let (client, conn) = b.accept(1);
    b.ring.peer(&conn).unwrap();
    match b.event() {
        Event::Peer { result, .. } if b.ring.has_peer() => {
            assert_eq!(result, Ok(client.local_addr().unwrap()));
        }
        Event::Peer { result, .. } => assert!(result.is_err(), "{result:?}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn another_thread_wakes_it_and_a_deadline_ends_the_wait<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
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

/// The end of the stream comes with its last bytes, before the program has asked for either.
pub(crate) fn bytes_before_the_end_are_not_lost<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    for key in 0..20 {
        let (mut client, conn) = b.accept(key);
        let bytes: Vec<u8> = (0..1000_u32).map(|i| (i % 247) as u8).collect();
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(b.event_within(5).is_none(), "it was not asked for");
        b.ring.recv(&conn).unwrap();
        let mut got = Vec::new();
        while got.len() < 1000 {
            got.extend(b.recv(key));
        }
        assert!(got == bytes);
        assert!(matches!(b.event(), Event::RecvEnded { end: RecvEnd::Eof, .. }));
        // Asking again finds the end again.
        b.ring.recv(&conn).unwrap();
        assert!(matches!(b.event(), Event::RecvEnded { end: RecvEnd::Eof, .. }));
        b.ring.close(conn);
        assert!(matches!(b.event(), Event::Closed { .. }));
    }
}

pub(crate) fn sends_that_were_queued_together_leave_in_order<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    for bytes in [b"one ", b"two ", b"half", b"four"] {
        let tx = b.tx(bytes);
        b.ring.send(&conn, tx.into(), 0).unwrap();
    }
    for bytes in [b"one ", b"two ", b"half", b"four"] {
        match b.sent(1) {
            (SendBuf::Tx(tx), Ok(4)) => assert_eq!(&tx[..4], bytes),
            other => panic!("{other:?}"),
        }
    }
    let mut got = [0; 16];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"one two halffour");
}

/// More than the socket takes at once, so that each has to wait in the middle: none may be cut by
/// another.
pub(crate) fn sends_that_have_to_wait_leave_in_order<E: Setup>() {
    const EACH: usize = 1 << 20;
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    for byte in 0..8_u8 {
        let mut region = RegionMut::new(EACH).unwrap();
        region.fill(byte);
        b.ring.send(&conn, SendBuf::Shared(region.freeze(), 0..EACH), 0).unwrap();
    }
    let reader = std::thread::spawn(move || {
        let mut chunk = vec![0; 30_000];
        for at in (0..8 * EACH).step_by(30_000) {
            let chunk = &mut chunk[..30_000.min(8 * EACH - at)];
            client.read_exact(chunk).unwrap();
            let expected = |index| ((at + index) / EACH) as u8;
            let wrong = (0..chunk.len()).find(|index| chunk[*index] != expected(*index));
            assert_eq!(wrong, None, "from byte {at} on");
        }
    });
    for byte in 0..8_u8 {
        match b.sent(1) {
            (SendBuf::Shared(region, _), Ok(EACH)) => assert_eq!(region[0], byte),
            other => panic!("{other:?}"),
        }
    }
    reader.join().unwrap();
}

/// Sends that are queued behind one that waits end with their connection, and its buffers come
/// back.
pub(crate) fn sends_that_were_queued_end_with_their_connection<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (_client, conn) = b.accept(1);
    let huge = RegionMut::new(32 << 20).unwrap().freeze();
    b.ring.send(&conn, SendBuf::Shared(huge.clone(), 0..32 << 20), 0).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let tx = b.tx(b"never");
        waiting.push(b.ring.send(&conn, tx.into(), 0).unwrap());
    }
    assert!(b.event_within(50).is_none(), "none can end");
    // From the middle, from the end, from the front, and twice.
    for (index, left) in [(1, 1), (3, 2), (0, 3)] {
        b.ring.cancel(waiting[index]);
        b.ring.cancel(waiting[index]);
        match b.sent(1) {
            (SendBuf::Tx(tx), Err(Errno::CANCELED)) => drop(tx),
            other => panic!("{other:?}"),
        }
        assert_eq!(b.ring.stats().tx_free, left);
    }
    let tx = b.tx(b"never");
    b.ring.send(&conn, tx.into(), 0).unwrap();
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { key: Key(1) }));
    assert_eq!(b.ring.stats().tx_free, 4);

    let (_client, conn) = b.accept(2);
    b.ring.send(&conn, SendBuf::Shared(huge, 0..32 << 20), 0).unwrap();
    let (first, second) = (b.tx(b"a"), b.tx(b"b"));
    b.ring.send(&conn, first.into(), 0).unwrap();
    b.ring.send(&conn, second.into(), 0).unwrap();
    assert!(b.event_within(20).is_none(), "none can end");
    drop(b);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
}

/// A peer that does not read holds the sends up; the one that is cancelled leaves no byte, the
/// others arrive.
pub(crate) fn a_send_that_waits_can_be_cancelled<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    let huge = RegionMut::new(32 << 20).unwrap().freeze();
    b.ring.send(&conn, SendBuf::Shared(huge, 0..32 << 20), 0).unwrap();
    let tx = b.tx(b"never");
    let waiting = b.ring.send(&conn, tx.into(), 0).unwrap();
    assert!(b.event_within(50).is_none(), "neither can end");
    b.ring.cancel(waiting);
    match b.sent(1) {
        (SendBuf::Tx(tx), Err(Errno::CANCELED)) => assert_eq!(&tx[..5], b"never"),
        other => panic!("{other:?}"),
    }
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    assert!(matches!(b.sent(1), (SendBuf::Shared(..), Ok(n)) if n == 32 << 20));
    let tx = b.tx(b"last");
    b.ring.send(&conn, tx.into(), 0).unwrap();
    assert!(matches!(b.sent(1).1, Ok(4)));
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { .. }));
    let got = reader.join().unwrap();
    assert_eq!(got.len(), (32 << 20) + 4);
    assert!(got.ends_with(b"\0last"));
}

/// No operation moves more than 2,147,479,552 bytes: of more, as many are sent, as with send(2).
/// They are the same zeros again and again, which take no memory, and are on their way when the
/// connection is broken off.
pub(crate) fn a_send_of_gigabytes_is_begun<E: Setup>() {
    let Ok(region) = RegionMut::new(2_147_479_553) else { return };
    let region = region.freeze();
    let buf = || Some(Segment::Shared(region.clone(), 0..usize::MAX));
    for buf in [SendBuf::Shared(region.clone(), 0..usize::MAX), SendBuf::Gather([buf(), buf()])] {
        let mut b = Bench::<E>::new(SMALL);
        let (mut client, conn) = b.accept(1);
        b.ring.send(&conn, buf, 0).unwrap();
        assert!(b.event_within(1).is_none(), "it goes on");
        let mut got = [7; 1000];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, [0; 1000]);
    }
}

/// Whether this says that there is room; nothing else is expected.
fn is_room(event: &Event) -> bool {
    assert!(matches!(event, Event::Writable { key: Key(1) }), "{event:?}");
    true
}

/// Whether room is reported before the event that is waited for.
fn room_before<E: Setup>(b: &mut Bench<E>, wanted: fn(&Event) -> bool) -> bool {
    let mut room = false;
    loop {
        match b.event() {
            event if wanted(&event) => return room,
            event => room |= is_room(&event),
        }
    }
}

/// Room is reported soon where there is some, else when the peer has read enough or has failed; and
/// no more once it is closed.
pub(crate) fn room_is_told_when_there_is_some<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    // Or the kernel makes it larger and larger while it is read from.
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 64 << 10).unwrap();
    b.ring.writable(&conn).unwrap();
    assert!(matches!(b.event(), Event::Writable { key: Key(1) }));
    // Together with a send that there is room for: about the room behind that.
    let tx = b.tx(b"first");
    b.ring.send(&conn, tx.into(), 0).unwrap();
    b.ring.writable(&conn).unwrap();
    assert!(matches!(b.event(), Event::Sent { key: Key(1), result: Ok(5), .. }));
    assert!(matches!(b.event(), Event::Writable { key: Key(1) }));
    // Until one is taken whole, and there is no room behind it.
    let buf = RegionMut::new(16 << 10).unwrap().freeze();
    let mut taken = 5;
    loop {
        b.ring.send(&conn, SendBuf::Shared(buf.clone(), 0..16 << 10), 0).unwrap();
        b.ring.writable(&conn).unwrap();
        assert!(matches!(b.sent(1).1, Ok(n) if n == 16 << 10));
        taken += 16 << 10;
        // A busy machine says it late, at any point from here on: then there is room, and the next
        // one is taken whole.
        let mut room = b.event_within(300).is_some_and(|e| is_room(&e));
        // What comes in says nothing about room.
        b.ring.recv(&conn).unwrap();
        client.write_all(b"input").unwrap();
        room |= room_before(&mut b, |e| matches!(e, Event::Recv { key: Key(1), .. }));
        room = room || b.event_within(50).is_some_and(|e| is_room(&e));
        b.ring.stop_recv(&conn);
        room |= room_before(&mut b, |e| matches!(e, Event::RecvEnded { key: Key(1), .. }));
        if !room {
            break;
        }
    }
    let mut left = vec![0; taken];
    client.read_exact(&mut left).unwrap();
    assert!(matches!(b.event(), Event::Writable { key: Key(1) }), "all has been read");

    let huge = RegionMut::new(32 << 20).unwrap().freeze();
    let mut sending = b.ring.send(&conn, SendBuf::Shared(huge.clone(), 0..32 << 20), 0).unwrap();
    assert!(b.event_within(50).is_none(), "it waits");
    let room = b.ring.writable(&conn).unwrap();
    assert!(b.event_within(50).is_none(), "there is no room");
    b.ring.cancel(room);
    assert!(matches!(b.event(), Event::Writable { key: Key(1) }), "every operation has an end");
    b.ring.cancel(sending);
    let (_, sent) = b.sent(1);
    let sent = sent.unwrap();
    b.ring.writable(&conn).unwrap();
    assert!(b.event_within(50).is_none(), "there is no room");
    let mut left = vec![0; sent];
    client.read_exact(&mut left).unwrap();
    assert!(matches!(b.event(), Event::Writable { key: Key(1) }), "all has been read");

    sending = b.ring.send(&conn, SendBuf::Shared(huge.clone(), 0..32 << 20), 0).unwrap();
    assert!(b.event_within(50).is_none(), "it waits");
    b.ring.writable(&conn).unwrap();
    assert!(b.event_within(50).is_none(), "there is no room");
    // What has not been read makes it a reset.
    drop(client);
    let mut told = (false, false);
    while told != (true, true) {
        match b.event() {
            Event::Writable { key: Key(1) } => told.0 = true,
            Event::Sent { key: Key(1), .. } => told.1 = true,
            other => panic!("{other:?}"),
        }
    }
    b.ring.cancel(sending);
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { key: Key(1) }));

    let (_client, conn) = b.accept(2);
    b.ring.send(&conn, SendBuf::Shared(huge, 0..32 << 20), 0).unwrap();
    assert!(b.event_within(50).is_none(), "it waits");
    b.ring.writable(&conn).unwrap();
    assert!(b.event_within(50).is_none(), "there is no room");
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { key: Key(2) }), "nothing else is heard of it");
    assert_eq!(b.ring.stats().ops, 2, "accept and waker");
}

/// A slot of which the socket has taken everything can be filled again before its event is
/// reported; one that waits cannot.
pub(crate) fn what_is_submitted_gives_its_slot_back_early<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    for (offset, wanted) in [(0, &b"early"[..]), (2, b"rly")] {
        let tx = b.tx(b"early");
        b.ring.send(&conn, tx.into(), offset).unwrap();
        assert_eq!(b.ring.tx_free(), 3);
        b.ring.submit().unwrap();
        assert!(b.ring.tx_free() == 4 || !E::BEGINS_AT_ONCE);
        assert!(b.ring.next().is_none(), "a loop that submits for each event comes to an end");
        let Event::Sent { key: Key(1), buf, result } = b.event() else { panic!("nothing was sent") };
        assert_eq!(result, Ok(wanted.len()));
        // Where there is a buffer, it is the whole.
        assert_eq!(buf.as_ref().map_or(5, SendBuf::len), 5);
        assert!(buf.is_none() || !E::BEGINS_AT_ONCE);
        let mut got = vec![0; wanted.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, wanted);
    }

    let huge = RegionMut::new(32 << 20).unwrap().freeze();
    b.ring.send(&conn, SendBuf::Shared(huge, 0..32 << 20), 0).unwrap();
    let tx = b.tx(b"behind");
    b.ring.send(&conn, tx.into(), 0).unwrap();
    b.ring.submit().unwrap();
    assert_eq!(b.ring.tx_free(), 3, "its turn has not come");
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; (32 << 20) + 6];
        client.read_exact(&mut got).unwrap();
        got
    });
    assert!(matches!(b.sent(1), (SendBuf::Shared(..), Ok(n)) if n == 32 << 20));
    assert!(matches!(b.sent(1), (SendBuf::Tx(_), Ok(6))));
    assert!(reader.join().unwrap().ends_with(b"\0behind"));
}

/// One connection that always has more does not keep the others from being served.
pub(crate) fn a_flood_does_not_starve_the_others<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut flood, flooded) = b.accept(1);
    let (mut client, conn) = b.accept(2);
    b.ring.recv(&flooded).unwrap();
    b.ring.recv(&conn).unwrap();
    let thread = std::thread::spawn(move || while flood.write_all(&[7; 10_000]).is_ok() {});
    let (mut rounds, mut received) = (0, 0);
    while rounds < 100 || received < 1 << 20 {
        rounds += 1;
        assert!(rounds < 1 << 20, "the flood is not received at all");
        client.write_all(b"ping").unwrap();
        let mut answered = false;
        while !answered {
            match b.event() {
                Event::Recv { key: Key(2), buf } => {
                    let tx = b.tx(&buf);
                    b.ring.send(&conn, tx.into(), 0).unwrap();
                }
                Event::Recv { buf, .. } => received += buf.len(),
                Event::Sent { result, .. } => {
                    assert_eq!(result, Ok(4));
                    answered = true;
                }
                // The flood takes all receive slots, again and again.
                Event::RecvEnded { key: Key(1), .. } => drop(b.ring.recv(&flooded).unwrap()),
                Event::RecvEnded { .. } => drop(b.ring.recv(&conn).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        client.read_exact(&mut [0; 4]).unwrap();
    }
    drop((b, flooded));
    thread.join().unwrap();
}

/// Asks until nothing is left that could be acknowledged.
fn all_is_sent<E: Setup>(b: &mut Bench<E>, conn: &Conn) {
    for _ in 0..600 {
        b.ring.unacked(conn).unwrap();
        let Event::Unacked { key: Key(3), result } = b.event() else { panic!("how much is unsent") };
        if result.unwrap() == 0 {
            return;
        }
        assert!(b.event_within(10).is_none(), "nothing else happens here");
    }
    panic!("something is never sent");
}

/// With the kernel's TLS under the socket, or where it was refused, bytes go through as before, in
/// possibly short sends. Sealing itself needs a kernel that can: see the lab (`cargo xtask vm`).
pub(crate) fn options_are_set_and_a_record_needs_a_kernel_that_seals<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(3);
    b.ring.set_opt(&conn, SockOpt::NoDelay(true)).unwrap();
    let Event::OptSet { key: Key(3), result } = b.event() else { panic!("an option") };
    // io_uring sets options since 6.7; epoll never needed it for this one.
    let is_old = !b.ring.has_set_opt() && result == Err(Errno::OPNOTSUPP);
    assert!(result.is_ok() || is_old, "{result:?}");
    b.ring.set_opt(&conn, SockOpt::TlsUlp).unwrap();
    let Event::OptSet { key: Key(3), result } = b.event() else { panic!("an option") };
    if !b.ring.has_set_opt() {
        assert_eq!(result, Err(Errno::OPNOTSUPP));
    }
    let record = b.tx(b"secret");
    b.ring.send(&conn, SendBuf::Record(21, record), 0).unwrap();
    let (buf, result) = b.sent(3);
    assert_eq!((buf.len(), result), (6, Err(Errno::OPNOTSUPP)), "nothing seals it");
    drop(buf);
    let wrong = TlsTx::tls13(TlsCipher::Aes128Gcm, &[1; 16], &[2; 12], 3).unwrap();
    if !b.ring.has_set_opt() {
        b.ring.set_opt(&conn, SockOpt::TlsTx(Box::new(wrong))).unwrap();
        assert!(matches!(b.event(), Event::OptSet { key: Key(3), result: Err(Errno::OPNOTSUPP) }));
    }
    let tx = b.tx(b"in the clear");
    b.ring.send(&conn, tx.into(), 0).unwrap();
    assert_eq!(b.sent(3).1, Ok(12));
    let mut got = [0; 12];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"in the clear");
    if b.ring.has_set_opt() {
        all_is_sent(&mut b, &conn);
        // What a peer that is gone answers with a reset will never be acknowledged: that is no
        // reason to wait either.
        drop(client);
        let tx = b.tx(b"lost");
        b.ring.send(&conn, tx.into(), 0).unwrap();
        assert_eq!(b.sent(3).1, Ok(4));
        all_is_sent(&mut b, &conn);
    } else {
        b.ring.unacked(&conn).unwrap();
        assert!(matches!(b.event(), Event::Unacked { key: Key(3), result: Err(Errno::OPNOTSUPP) }));
    }
    b.ring.close(conn);
    assert!(matches!(b.event(), Event::Closed { key: Key(3) }));
    assert_eq!(b.ring.stats().tx_free, 4);
}
