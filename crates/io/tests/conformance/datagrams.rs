//! Datagrams: one at a time, cut by the kernel, coalesced by the kernel.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use sitar_io::{
    COALESCED_MAX, Config, DATAGRAM_HEAD, Errno, Event, Key, RecvEnd, RegionMut, Segment, Udp, leaked_rings,
};

use crate::conformance::bench::{Bench, SMALL, Setup};

const SOCKET: Key = Key(50);
/// Slots for datagrams of up to 1,500 bytes.
const CONFIG: Config = Config { rx_len: 1500 + DATAGRAM_HEAD as u32, tx_len: 9000, ..SMALL };

fn socket<E: Setup>(b: &mut Bench<E>, coalesce: bool) -> Udp {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    b.ring.udp(socket.into(), coalesce, SOCKET).unwrap()
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

/// The next datagram, and how many came with it; receiving goes on whatever ends it.
struct Receiver {
    udp: Udp,
    waiting: VecDeque<Vec<u8>>,
    events: usize,
}

impl Receiver {
    fn new<E: Setup>(b: &mut Bench<E>, udp: &Udp) -> Receiver {
        b.ring.recv_from(udp).unwrap();
        Receiver { udp: udp.clone(), waiting: VecDeque::new(), events: 0 }
    }

    fn next<E: Setup>(&mut self, b: &mut Bench<E>, from: SocketAddr) -> Vec<u8> {
        loop {
            if let Some(datagram) = self.waiting.pop_front() {
                return datagram;
            }
            match b.event() {
                Event::Datagrams { key: SOCKET, from: sender, datagrams } => {
                    assert_eq!((sender, datagrams.is_truncated()), (from, false));
                    self.waiting.extend(datagrams.iter().map(<[u8]>::to_vec));
                    self.events += 1;
                }
                Event::RecvEnded { key: SOCKET, end: RecvEnd::Stopped | RecvEnd::NoBuffers } => {
                    b.ring.recv_from(&self.udp).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn sent_to<E: Setup>(b: &mut Bench<E>) -> (Segment, Result<usize, Errno>) {
    match b.event() {
        Event::SentTo { key: SOCKET, buf, result } => (buf, result),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn datagrams_go_both_ways_with_their_addresses<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let udp = socket(&mut b, false);
    let mut receiver = Receiver::new(&mut b, &udp);
    for round in 0..20_u8 {
        let client = client();
        let here = client.local_addr().unwrap();
        // An empty one is one, and nothing ends with it for good.
        for datagram in [&[round; 1400][..], b"", &[round]] {
            client.send_to(datagram, udp.address()).unwrap();
        }
        assert_eq!(receiver.next(&mut b, here), [round; 1400]);
        assert_eq!(receiver.next(&mut b, here), b"");
        assert_eq!(receiver.next(&mut b, here), [round]);

        let tx = b.tx(&[round; 700]);
        b.ring.send_to(&udp, Segment::Tx(tx), here, None).unwrap();
        let (buf, result) = sent_to(&mut b);
        assert!(matches!(buf, Segment::Tx(tx) if tx.filled() == 700));
        assert_eq!(result, Ok(700));
        let mut got = [0; 2000];
        assert_eq!(client.recv_from(&mut got).unwrap(), (700, udp.address()));
        assert_eq!(got[..700], [round; 700]);
    }
    drop(receiver);
    let stats = b.ring.stats();
    assert_eq!((stats.tx_free, stats.rx_leased), (4, 0));
}

pub(crate) fn datagrams_go_over_ipv6<E: Setup>() {
    let (Ok(socket), Ok(client)) = (UdpSocket::bind("[::1]:0"), UdpSocket::bind("[::1]:0")) else { return };
    let mut b = Bench::<E>::new(CONFIG);
    let udp = b.ring.udp(socket.into(), false, SOCKET).unwrap();
    let mut receiver = Receiver::new(&mut b, &udp);
    client.send_to(b"six", udp.address()).unwrap();
    assert_eq!(receiver.next(&mut b, client.local_addr().unwrap()), b"six");
    let tx = b.tx(b"back");
    b.ring.send_to(&udp, Segment::Tx(tx), client.local_addr().unwrap(), None).unwrap();
    assert_eq!(sent_to(&mut b).1, Ok(4));
    let mut got = [0; 10];
    assert_eq!(client.recv_from(&mut got).unwrap(), (4, udp.address()));
}

/// One send, six datagrams (GSO).
pub(crate) fn one_send_is_cut_into_datagrams<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let udp = socket(&mut b, false);
    let client = client();
    let bytes: Vec<u8> = (0..5500_u32).map(|i| (i % 239) as u8).collect();
    let tx = b.tx(&bytes);
    let here = client.local_addr().unwrap();
    b.ring.send_to(&udp, Segment::Tx(tx), here, NonZeroU16::new(1000)).unwrap();
    assert_eq!(sent_to(&mut b).1, Ok(5500));
    for expected in bytes.chunks(1000) {
        let mut got = [0; 2000];
        let (len, from) = client.recv_from(&mut got).unwrap();
        assert_eq!((from, &got[..len]), (udp.address(), expected));
    }
    // The same memory as many datagrams to many: a region is sent from without a copy.
    let region = RegionMut::new(3000).unwrap().freeze();
    for range in [0..1000, 1000..3000] {
        b.ring.send_to(&udp, Segment::Shared(region.clone(), range), here, NonZeroU16::new(500)).unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(sent_to(&mut b), (Segment::Shared(..), Ok(1000 | 2000))));
    }
    for _ in 0..6 {
        assert_eq!(client.recv_from(&mut [0; 2000]).unwrap().0, 500);
    }
}

pub(crate) fn what_the_kernel_does_not_cut_or_send_is_an_error<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let udp = socket(&mut b, false);
    let to = client().local_addr().unwrap();
    let tx = b.tx(&[1; 2000]);
    b.ring.send_to(&udp, Segment::Tx(tx), to, NonZeroU16::new(1)).unwrap();
    assert_eq!(sent_to(&mut b).1, Err(Errno::INVAL), "more than the kernel cuts at a time");
    let region = RegionMut::new(65_508).unwrap().freeze();
    b.ring.send_to(&udp, Segment::Shared(region, 0..65_508), to, None).unwrap();
    assert_eq!(sent_to(&mut b).1, Err(Errno::MSGSIZE), "longer than IP allows");
    let tx = b.tx(b"");
    b.ring.send_to(&udp, Segment::Tx(tx), to, NonZeroU16::new(100)).unwrap();
    assert_eq!(sent_to(&mut b).1, Ok(0));
    assert_eq!(b.ring.stats().tx_free, 4);
}

/// Datagrams that left in one send arrive in one event where the kernel coalesces (GRO), and each
/// keeps its own bounds.
pub(crate) fn datagrams_may_arrive_together<E: Setup>() {
    let mut b = Bench::<E>::new(Config { rx_len: COALESCED_MAX as u32, ..CONFIG });
    let udp = socket(&mut b, true);
    let mut receiver = Receiver::new(&mut b, &udp);
    let sender = socket(&mut b, false);
    let bytes: Vec<u8> = (0..5500_u32).map(|i| (i % 233) as u8).collect();
    let tx = b.tx(&bytes);
    b.ring.send_to(&sender, Segment::Tx(tx), udp.address(), NonZeroU16::new(1000)).unwrap();
    let mut sent = false;
    let mut got: Vec<Vec<u8>> = Vec::new();
    while got.len() < 6 || !sent {
        match b.event() {
            Event::SentTo { result, .. } => {
                assert_eq!(result, Ok(5500));
                sent = true;
            }
            Event::Datagrams { from, datagrams, .. } => {
                assert_eq!(from, sender.address());
                assert!(datagrams.segment_size() == 1000 || datagrams.bytes().len() <= 1000);
                got.extend(datagrams.iter().map(<[u8]>::to_vec));
                receiver.events += 1;
            }
            // Apart, they may come faster than their slots are given back; the rest waits in the
            // socket.
            Event::RecvEnded { end: RecvEnd::NoBuffers, .. } if !b.ring.has_gro() => {
                b.ring.recv_from(&udp).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    let expected: Vec<Vec<u8>> = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
    assert_eq!(got, expected);
    match b.ring.has_gro() {
        true => assert_eq!(receiver.events, 1, "over loopback the kernel leaves them together"),
        false => assert_eq!(receiver.events, 6),
    }
}

pub(crate) fn a_datagram_longer_than_its_slot_says_so<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let udp = socket(&mut b, false);
    b.ring.recv_from(&udp).unwrap();
    client().send_to(&[3; 1501], udp.address()).unwrap();
    match b.event() {
        Event::Datagrams { datagrams, .. } => {
            assert!(datagrams.is_truncated());
            assert_eq!(datagrams.bytes(), [3; 1500]);
            assert_eq!(datagrams.iter().count(), 1);
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn without_receive_slots_datagrams_wait_in_the_socket<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let udp = socket(&mut b, false);
    let client = client();
    b.ring.recv_from(&udp).unwrap();
    for number in 0..12_u8 {
        client.send_to(&[number], udp.address()).unwrap();
    }
    let mut held = Vec::new();
    loop {
        match b.event() {
            Event::Datagrams { datagrams, .. } => held.push(datagrams),
            Event::RecvEnded { key: SOCKET, end: RecvEnd::NoBuffers } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((held.len(), b.ring.stats().rx_leased), (8, 8));
    let mut got: Vec<u8> = held.drain(..).map(|datagrams| datagrams.bytes()[0]).collect();
    let mut receiver = Receiver::new(&mut b, &udp);
    while got.len() < 12 {
        got.extend(receiver.next(&mut b, client.local_addr().unwrap()));
    }
    assert_eq!(got, (0..12).collect::<Vec<u8>>());
}

pub(crate) fn receiving_datagrams_is_cancelled_and_ends_with_the_ring<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let udp = socket(&mut b, false);
    for _ in 0..3 {
        let op = b.ring.recv_from(&udp).unwrap();
        assert_eq!(b.ring.recv_from(&udp).unwrap(), op, "one receive at a time");
        assert!(b.event_within(20).is_none());
        b.ring.cancel(op);
        assert!(matches!(b.event(), Event::RecvEnded { key: SOCKET, end: RecvEnd::Stopped }));
    }
    b.ring.recv_from(&udp).unwrap();
    b.ring.wait(Some(Instant::now())).unwrap();
    let address = udp.address();
    drop(udp);
    drop(b);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
    // Its descriptor has gone with the last operation.
    UdpSocket::bind(address).unwrap();
}

pub(crate) fn what_is_no_datagram_socket_is_refused<E: Setup>() {
    let mut b = Bench::<E>::new(CONFIG);
    let stream = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
    for (socket, coalesce) in [(stream.into(), false), (unix.into(), false), (udp().into(), true)] {
        let error = b.ring.udp(socket, coalesce, SOCKET).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
    let mut b = Bench::<E>::new(Config { rx_len: DATAGRAM_HEAD as u32, ..SMALL });
    assert!(b.ring.udp(udp().into(), false, SOCKET).is_err(), "no room for a single byte");
}

/// A socket is received from once on each ring, whatever other rings do with it.
pub(crate) fn a_socket_on_two_rings_is_received_from_once_on_each<E: Setup>() {
    let (mut a, mut b) = (Bench::<E>::new(SMALL), Bench::<E>::new(SMALL));
    let udp = a.ring.udp(UdpSocket::bind("127.0.0.1:0").unwrap().into(), false, Key(1)).unwrap();
    let first = a.ring.recv_from(&udp).unwrap();
    let other = b.ring.recv_from(&udp).unwrap();
    assert_ne!(first, other);
    let before = a.ring.stats().ops;
    assert_eq!(a.ring.recv_from(&udp).unwrap(), first);
    assert_eq!(a.ring.stats().ops, before);
    assert_eq!(b.ring.recv_from(&udp).unwrap(), other);
    assert!(a.event_within(10).is_none());
    a.ring.cancel(first);
    assert!(matches!(a.event(), Event::RecvEnded { key: Key(1), end: RecvEnd::Stopped }));
    assert!(a.event_within(10).is_none(), "there was one");
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"hello", udp.address()).unwrap();
    assert!(matches!(b.event(), Event::Datagrams { key: Key(1), .. }));
    assert_ne!(a.ring.recv_from(&udp).unwrap(), first);
}

/// A socket that reports more than there is room for: what arrives together may have lost its ends,
/// and is not taken for one datagram.
pub(crate) fn datagrams_that_lost_their_ends_say_so<E: Setup>() {
    let mut b = Bench::<E>::new(Config { rx_count: 4, rx_len: COALESCED_MAX as u32, ..SMALL });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let on = 1;
    // SAFETY: the kernel reads the four bytes of `on` during the call only.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            std::ptr::from_ref::<libc::c_int>(&on).cast(),
            4,
        )
    };
    assert_eq!(done, 0);
    let udp = b.ring.udp(socket.into(), true, Key(1)).unwrap();
    b.ring.recv_from(&udp).unwrap();
    assert!(b.event_within(10).is_none());
    let region = RegionMut::new(3000).unwrap().freeze();
    let to = udp.address();
    b.ring.send_to(&udp, Segment::Shared(region, 0..3000), to, NonZeroU16::new(1000)).unwrap();
    let mut arrived = 0;
    while arrived < 3000 {
        match b.event() {
            Event::Datagrams { datagrams, .. } => {
                arrived += datagrams.bytes().len();
                let lost = datagrams.iter().any(|datagram| datagram.len() != 1000);
                assert!(!lost || datagrams.is_truncated(), "{datagrams:?}");
            }
            Event::SentTo { result, .. } => assert_eq!(result, Ok(3000)),
            other => panic!("{other:?}"),
        }
    }
}
