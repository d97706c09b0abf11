//! The polled io_uring engine on the real kernel: what it shares with the others, and the system
//! calls it does not make.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sitar_io::{
    Config, Conn, Event, File, Key, Listener, ReadBuf, RecvEnd, Region, RegionMut, Ring, Segment, SendBuf,
    SqPoll, Unavailable, Uring, leaked_rings,
};

const LISTENER: Key = Key(99);
const SMALL: Config = Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };
/// Both sides stay awake for as long as any of these tests takes.
const AWAKE: SqPoll = SqPoll { spin: Duration::from_secs(60), idle: Duration::from_secs(60), cpu: None };
/// This side sleeps at once, the poller after a millisecond.
const SLEEPY: SqPoll = SqPoll { spin: Duration::ZERO, idle: Duration::ZERO, cpu: None };
/// Spins a little, then sleeps.
const MIXED: SqPoll =
    SqPoll { spin: Duration::from_micros(50), idle: Duration::from_millis(2), cpu: Some(0) };

struct Bench {
    ring: Ring<Uring>,
    listener: Listener,
    address: SocketAddr,
}

impl Bench {
    fn new(config: &Config, poll: &SqPoll) -> Bench {
        Bench::over(Ring::sqpoll(config, poll).unwrap())
    }

    fn over(mut ring: Ring<Uring>) -> Bench {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = ring.listener(socket.into(), LISTENER);
        ring.accept(&listener).unwrap();
        Bench { ring, listener, address }
    }

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
        self.event_within(10_000).expect("an event within ten seconds")
    }

    fn accept(&mut self, key: u64) -> (TcpStream, Conn) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match self.event() {
            Event::Accepted { listener: LISTENER, conn } => {
                self.ring.set_key(&conn, Key(key));
                (client, conn)
            }
            other => panic!("{other:?}"),
        }
    }

    /// A byte there and back.
    fn echo(&mut self, client: &mut TcpStream, conn: &Conn, byte: u8) {
        client.write_all(&[byte]).unwrap();
        let Event::Recv { buf, .. } = self.event() else { panic!("nothing received") };
        let mut tx = self.ring.take_tx().unwrap();
        tx[..buf.len()].copy_from_slice(&buf);
        tx.set_filled(buf.len());
        drop(buf);
        self.ring.send(conn, tx.into(), 0).unwrap();
        let Event::Sent { result, .. } = self.event() else { panic!("nothing sent") };
        assert_eq!(result, Ok(1));
        let mut got = [0];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, [byte]);
    }
}

#[test]
fn bytes_go_both_ways_whoever_sleeps() {
    for poll in [AWAKE, SLEEPY, MIXED] {
        let mut b = Bench::new(&SMALL, &poll);
        let (mut client, conn) = b.accept(7);
        b.ring.recv(&conn).unwrap();
        for round in 0..40 {
            b.echo(&mut client, &conn, round);
            if round % 10 == 0 {
                // Long enough for a poller that may sleep to do so.
                std::thread::sleep(Duration::from_millis(15));
            }
        }
        // More than the socket takes at once.
        let body = Region::copy_of(&vec![5; 3_000_000]).unwrap();
        let tx = b.ring.take_tx().unwrap();
        let buf = SendBuf::Gather([Some(Segment::Tx(tx)), Some(Segment::Shared(body, 0..3_000_000))]);
        b.ring.send(&conn, buf, 0).unwrap();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 3_000_000];
            client.read_exact(&mut got).unwrap();
            got
        });
        assert!(matches!(b.event(), Event::Sent { result: Ok(3_000_000), .. }));
        assert!(reader.join().unwrap().iter().all(|byte| *byte == 5));
        // The client was dropped by its thread.
        assert!(matches!(b.event(), Event::RecvEnded { key: Key(7), .. }));
        b.ring.close(conn);
        assert!(matches!(b.event(), Event::Closed { key: Key(7) }));
        let stats = b.ring.stats();
        assert_eq!((stats.connections, stats.tx_free, stats.rx_leased, stats.ops), (0, 4, 0, 2));
    }
}

/// The point of the engine.
#[test]
fn a_warm_loop_makes_no_system_call() {
    let mut b = Bench::new(&SMALL, &AWAKE);
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    b.echo(&mut client, &conn, 0);
    let before = b.ring.stats().calls;
    for round in 0..200 {
        b.echo(&mut client, &conn, round);
    }
    assert!(b.event_within(20).is_none(), "a deadline needs no call either");
    assert_eq!(b.ring.stats().calls - before, 0);
}

#[test]
fn a_ring_without_work_sleeps_in_a_system_call() {
    let mut b = Bench::new(&SMALL, &SLEEPY);
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    b.echo(&mut client, &conn, 0);
    while b.event_within(20).is_some() {}
    let before = b.ring.stats().calls;
    let start = Instant::now();
    let now = b.ring.wait(Some(start + Duration::from_millis(30))).unwrap();
    assert!(now >= start + Duration::from_millis(30));
    assert_eq!(b.ring.stats().calls - before, 1, "one call for all of the wait");
    assert!(b.ring.next().is_none());
}

/// A caller that never waits still gets everything started.
#[test]
fn looking_without_waiting_wakes_the_poller() {
    for poll in [AWAKE, SLEEPY, MIXED] {
        let mut b = Bench::new(&SMALL, &poll);
        let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
        for _ in 0..3 {
            while b.event_within(20).is_some() {}
            let tx = b.ring.take_tx().unwrap();
            b.ring.read(&file, 0, ReadBuf::Tx(tx, 0..4), Key(5)).unwrap();
            let patience = Instant::now() + Duration::from_secs(10);
            let event = loop {
                assert!(b.ring.wait(Some(Instant::now())).unwrap() < patience, "the read was not started");
                if let Some(event) = b.ring.next() {
                    break event;
                }
            };
            assert!(matches!(event, Event::Read { result: Ok(4), .. }), "{event:?}");
        }
    }
}

/// Waits that end by a deadline do not restart the time of spinning.
#[test]
fn frequent_deadlines_do_not_keep_an_idle_ring_awake() {
    let poll = SqPoll { spin: Duration::from_millis(20), ..SLEEPY };
    let mut b = Bench::new(&SMALL, &poll);
    let _pair = b.accept(1);
    let before = b.ring.stats().calls;
    for _ in 0..20 {
        let until = Instant::now() + Duration::from_millis(5);
        while b.ring.wait(Some(until)).unwrap() < until {
            assert!(b.ring.next().is_none());
        }
    }
    assert!(b.ring.stats().calls > before);
}

#[test]
fn a_wake_up_arrives_whether_it_spins_or_sleeps() {
    for poll in [AWAKE, SLEEPY, MIXED] {
        let mut b = Bench::new(&SMALL, &poll);
        for _ in 0..3 {
            let waker = b.ring.waker();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                waker.wake();
                waker.wake();
            });
            assert!(matches!(b.event(), Event::Woken));
            thread.join().unwrap();
            while let Some(event) = b.event_within(20) {
                assert!(matches!(event, Event::Woken), "{event:?}");
            }
        }
    }
}

/// I2, I5: the next connection must not see a byte of a send that was in flight when its
/// predecessor was closed.
#[test]
fn a_close_waits_for_what_is_in_flight() {
    for poll in [AWAKE, SLEEPY] {
        let mut b = Bench::new(&Config { connections: 1, ..SMALL }, &poll);
        for round in 0..5 {
            let (mut client, conn) = b.accept(round);
            b.ring.recv(&conn).unwrap();
            let huge = RegionMut::new(64 << 20).unwrap().freeze();
            b.ring.send(&conn, SendBuf::Shared(huge, 0..64 << 20), 0).unwrap();
            assert!(b.event_within(50).is_none(), "the send cannot end");
            b.ring.close(conn);
            assert!(matches!(b.event(), Event::Closed { key: Key(k) } if k == round));
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
            assert!(rest.iter().all(|byte| *byte == 0));

            let (mut next, conn) = b.accept(round);
            let mut tx = b.ring.take_tx().unwrap();
            tx[..4].copy_from_slice(b"mine");
            tx.set_filled(4);
            b.ring.send(&conn, tx.into(), 0).unwrap();
            assert!(matches!(b.event(), Event::Sent { result: Ok(4), .. }));
            drop(conn);
            assert!(matches!(b.event(), Event::Closed { .. }));
            let mut got = Vec::new();
            next.read_to_end(&mut got).unwrap();
            assert_eq!(got, b"mine");
        }
    }
}

/// I3: the ring goes while an accept, a receive, a send and a read are in flight.
#[test]
fn dropping_a_ring_ends_everything_in_flight() {
    for poll in [AWAKE, SLEEPY] {
        let mut b = Bench::new(&SMALL, &poll);
        let (mut client, conn) = b.accept(1);
        b.ring.recv(&conn).unwrap();
        let huge = Region::copy_of(&vec![5; 32 << 20]).unwrap();
        b.ring.send(&conn, SendBuf::Shared(huge.clone(), 0..huge.len()), 0).unwrap();
        assert!(b.event_within(20).is_none());
        let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
        b.ring.read(&file, 0, ReadBuf::Region(RegionMut::new(1 << 20).unwrap(), 0..1 << 20), Key(2)).unwrap();
        let mut tx = b.ring.take_tx().unwrap();
        drop(b);
        assert_eq!(leaked_rings(), 0, "drained, not leaked");
        tx[1023] = 1;
        drop((tx, conn));
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < huge.len());
    }
}

/// More operations than the submission queue (4,096 entries) holds, pushed without a wait in
/// between: none is lost, none reported twice.
#[test]
fn a_full_submission_queue_loses_nothing() {
    const READS: u32 = 16_000;
    // The op table has at least two places for each connection.
    let config = Config { connections: 8_000, tx_count: READS, tx_len: 16, ..SMALL };
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    for poll in [AWAKE, SLEEPY] {
        let mut b = match Ring::sqpoll(&config, &poll) {
            Err(Unavailable::FileLimit { .. }) => {
                eprintln!("SKIPPED: the limit on open files is below 8,000");
                return;
            }
            ring => Bench::over(ring.unwrap()),
        };
        let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
        let mut seen = vec![0_u8; READS as usize];
        for key in 0..READS {
            let tx = b.ring.take_tx().unwrap();
            b.ring.read(&file, 0, ReadBuf::Tx(tx, 0..4), Key(key.into())).unwrap();
        }
        for _ in 0..READS {
            match b.event() {
                Event::Read { key, buf: ReadBuf::Tx(tx, _), result: Ok(4) } => {
                    assert_eq!(&tx[..4], b"\x7fELF");
                    seen[key.0 as usize] += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(seen.iter().all(|times| *times == 1));
        assert!(b.event_within(20).is_none());
    }
}

/// More completions than the completion queue (8,192 entries) holds, while none are taken: the
/// poller needs no wait of ours to receive.
#[test]
fn a_full_completion_queue_loses_nothing() {
    const SLOTS: usize = 16_384;
    const SLOT: usize = 16;
    for poll in [AWAKE, SLEEPY] {
        let mut b = Bench::new(&Config { rx_count: SLOTS as u16, rx_len: SLOT as u32, ..SMALL }, &poll);
        let (mut client, conn) = b.accept(1);
        b.ring.recv(&conn).unwrap();
        assert!(b.event_within(20).is_none(), "armed, and nothing there yet");
        let sent: Vec<u8> = (0..SLOTS * SLOT * 2 / 3).map(|i| (i % 251) as u8).collect();
        client.write_all(&sent).unwrap();
        // Time for the poller to receive all of it; less makes the test weaker, not wrong.
        std::thread::sleep(Duration::from_millis(100));
        let mut got = Vec::new();
        while got.len() < sent.len() {
            match b.event() {
                Event::Recv { buf, .. } => got.extend_from_slice(&buf),
                Event::RecvEnded { end: RecvEnd::Stopped | RecvEnd::NoBuffers, .. } => {
                    b.ring.recv(&conn).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(got == sent);
    }
}

#[test]
fn accepting_can_be_cancelled_and_resumed() {
    let mut b = Bench::new(&SMALL, &AWAKE);
    let again = b.ring.accept(&b.listener).unwrap();
    assert!(b.event_within(20).is_none());
    b.ring.cancel(again);
    assert!(matches!(b.event(), Event::AcceptEnded { .. }));
    b.ring.cancel(again);
    assert!(b.event_within(20).is_none(), "a stale id is inert");
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    let poll = SqPoll { cpu: Some(1 << 20), ..SLEEPY };
    let Err(why) = Ring::sqpoll(&SMALL, &poll) else { panic!("a million CPUs") };
    assert_eq!(why.to_string(), "io_uring_setup: Invalid argument (os error 22)");
}
