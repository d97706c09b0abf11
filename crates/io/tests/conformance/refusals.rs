//! Requests that compile and cannot be met: every engine says so, in an event like any other.

use std::io::Read;
use std::net::UdpSocket;

use rustix::fs::SeekFrom;
use sitar_io::sim::World;
use sitar_io::{COALESCED_MAX, Config, Errno, Event, Key, ReadBuf, RecvEnd, RegionMut, Runs, SendBuf};

use crate::conformance::bench::{Bench, SMALL, Setup};

/// A record with a type, where no kernel seals. What is sent before it and after it is not held up.
pub(crate) fn a_refused_send_holds_up_no_other<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    let (first, last) = (b.tx(b"be"), b.tx(b"low"));
    let (alert, nothing) = (b.tx(b"0123456789"), b.tx(b""));
    b.ring.send(&conn, first.into(), 0).unwrap();
    b.ring.send(&conn, SendBuf::Record(21, alert), 0).unwrap();
    b.ring.send(&conn, SendBuf::Record(21, nothing), 0).unwrap();
    b.ring.send(&conn, last.into(), 0).unwrap();
    let (mut refused, mut sent) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        match b.sent(1) {
            (SendBuf::Record(21, tx), Err(Errno::OPNOTSUPP)) => refused.push(tx.filled()),
            (_, Ok(count)) => sent.push(count),
            (buf, result) => panic!("{buf:?}: {result:?}"),
        }
    }
    assert_eq!((&refused[..], &sent[..]), (&[10, 0][..], &[2, 3][..]));
    let mut got = [0; 5];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"below");
    assert_eq!(b.ring.stats().tx_free, 4);
}

/// The largest `u64` stands for the descriptor's own position in the kernel's calls: nothing is
/// read from there, and it is not moved.
pub(crate) fn offsets_that_no_file_has_are_refused<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let file = World::file(b"0123456789").unwrap();
    rustix::fs::seek(&file, SeekFrom::Start(3)).unwrap();
    for at in [
        u64::MAX,
        u64::MAX - 1,
        0x8000_0000_0000_0000,
        // The last byte of four would be the first one that no file has.
        0x7fff_ffff_ffff_fffc,
        0x7fff_ffff_ffff_ffff,
    ] {
        let tx = b.ring.take_tx().unwrap();
        b.ring.read(&file, at, ReadBuf::Tx(tx, 0..4), Key(1)).unwrap();
        match b.event() {
            Event::Read { key: Key(1), buf: ReadBuf::Tx(tx, range), result: Err(Errno::INVAL) } => {
                assert_eq!((&tx[..4], range), (&[0; 4][..], 0..4), "{at}");
            }
            other => panic!("{at}: {other:?}"),
        }
        let tx = b.ring.take_tx().unwrap();
        let runs = Runs { start: 0, each: 2, gap: 1, len: 4 };
        b.ring.read(&file, at, ReadBuf::Runs(tx, runs), Key(2)).unwrap();
        assert!(matches!(b.event(), Event::Read { key: Key(2), result: Err(Errno::INVAL), .. }), "{at}");
        let region = RegionMut::new(4).unwrap();
        b.ring.read(&file, at, ReadBuf::Region(region, 0..9), Key(3)).unwrap();
        assert!(matches!(b.event(), Event::Read { key: Key(3), result: Err(Errno::INVAL), .. }), "{at}");
    }
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(&file, 0x7fff_ffff_ffff_fffb, ReadBuf::Tx(tx, 0..4), Key(4)).unwrap();
    assert!(matches!(b.event(), Event::Read { key: Key(4), result: Ok(0), .. }), "the last that there are");
    assert_eq!(rustix::fs::tell(&file).unwrap(), 3);
    assert_eq!(b.ring.stats().tx_free, 4);
}

/// A socket remembers what it may deliver, so that the size of the slots is looked at on every ring
/// it comes to.
pub(crate) fn a_datagram_socket_needs_its_slots_on_every_ring<E: Setup>() {
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let mut large = Bench::<E>::new(SMALL);
    let udp = large.ring.udp(socket(), false, Key(1)).unwrap();
    let mut small = Bench::<E>::new(Config { rx_len: 72, ..SMALL });
    assert!(small.ring.udp(socket(), false, Key(2)).is_err(), "its own it refuses when it is made");
    small.ring.recv_from(&udp).unwrap();
    match small.event() {
        Event::RecvEnded { key: Key(1), end: RecvEnd::Error(Errno::INVAL) } => {}
        other => panic!("{other:?}"),
    }
    // Where it was made it is received from all the same.
    large.ring.recv_from(&udp).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"hello", udp.address()).unwrap();
    match large.event() {
        Event::Datagrams { key: Key(1), datagrams, .. } => assert_eq!(datagrams.bytes(), b"hello"),
        other => panic!("{other:?}"),
    }

    let coalesced = COALESCED_MAX as u32;
    let mut larger = Bench::<E>::new(Config { rx_count: 1, rx_len: coalesced, ..SMALL });
    let udp = larger.ring.udp(socket(), true, Key(3)).unwrap();
    large.ring.recv_from(&udp).unwrap();
    if large.ring.has_gro() {
        match large.event() {
            Event::RecvEnded { key: Key(3), end: RecvEnd::Error(Errno::INVAL) } => {}
            other => panic!("{other:?}"),
        }
    } else {
        // Where nothing is coalesced, slots of any size will do.
        sender.send_to(b"hello", udp.address()).unwrap();
        assert!(matches!(large.event(), Event::Datagrams { key: Key(3), .. }));
    }
}
