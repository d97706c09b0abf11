//! A panic at every callback of a loop, with every kind of operation in flight, on the real kernel
//! and each engine: memory intact, descriptors closed, another ring undisturbed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sitar_io::{
    Config, Conn, Engine, Event, File, Key, ReadBuf, Region, RegionMut, Ring, RxBuf, Segment, SendBuf,
    SockOpt, SqPoll, TxBuf, Udp, leaked_rings,
};

const CONFIG: Config = Config { connections: 8, rx_count: 8, rx_len: 256, tx_count: 8, tx_len: 1024 };

/// Makes a list of all events, and a function that does not compile without one of them.
macro_rules! kinds {
    ($($name:ident)*) => {
        const KINDS: &[&str] = &[$(stringify!($name),)*];

        fn kind_of(event: &Event) -> &'static str {
            match event {
                $(Event::$name { .. } => stringify!($name),)*
            }
        }
    };
}

// `provoke` makes each of them happen.
kinds! {
    Accepted AcceptEnded Adopted Recv RecvEnded Sent Writable
    Datagrams SentTo Peer Read OptSet Unacked
    Opened Stat Shutdown Closed Woken
}

const HUGE: usize = 16 << 20;

/// The values that outlive the loop that panics.
#[derive(Default)]
struct Survivors {
    rx: Option<RxBuf>,
    tx: Option<TxBuf>,
    conns: Vec<Conn>,
}

#[test]
fn a_panic_at_any_event_loses_nothing() {
    // One after the other, since the descriptors of the process are counted.
    let bystander = Bystander::start();
    panic_at_each("io_uring", || Ring::uring(&CONFIG).unwrap());
    panic_at_each("polled", || {
        let poll = SqPoll { spin: Duration::from_micros(50), idle: Duration::from_millis(2), cpu: None };
        Ring::sqpoll(&CONFIG, &poll).unwrap()
    });
    panic_at_each("epoll", || Ring::epoll(&CONFIG).unwrap());
    bystander.finish();
}

fn panic_at_each<E: Engine>(engine: &str, make: impl Fn() -> Ring<E>) {
    for &kind in KINDS {
        println!("{engine}: {kind}");
        let before = descriptors();
        let pattern = vec![0xa5; HUGE];
        let region = Region::copy_of(&pattern).unwrap();
        let survivors = RefCell::new(Survivors::default());
        let mut clients = Vec::new();
        let unwound = catch_unwind(AssertUnwindSafe(|| run(make(), kind, &region, &survivors, &mut clients)));
        let text = *unwound.expect_err(kind).downcast::<String>().unwrap();
        assert_eq!(text, format!("on purpose at {kind}"));
        assert_eq!(leaked_rings(), 0, "{kind}: the ring was drained, not leaked");

        // Memory: what was lent before the panic is still there, unchanged and usable; nothing
        // wrote into the region.
        let Survivors { rx, tx, conns } = survivors.into_inner();
        let mut tx = tx.unwrap();
        assert!(tx.iter().all(|byte| *byte == 0x5a), "{kind}");
        tx.fill(1);
        assert!(tx.iter().all(|byte| *byte == 1), "{kind}");
        if let Some(rx) = rx {
            assert_eq!(&rx[..], b"kept", "{kind}");
        }
        assert!(region[..] == pattern[..], "{kind}");
        drop((tx, conns));

        // Descriptors: every peer sees the end, and the process has as many as before.
        for client in &mut clients {
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut rest = Vec::new();
            match client.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{kind}"),
            }
        }
        drop(clients);
        assert_eq!(descriptors(), before, "{kind}");
    }
}

/// A loop with something of each kind in flight, which panics at the first event of `kind`.
fn run<E: Engine>(
    mut ring: Ring<E>,
    kind: &str,
    region: &Region,
    survivors: &RefCell<Survivors>,
    clients: &mut Vec<TcpStream>,
) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = ring.listener(socket.into(), Key(99));
    ring.accept(&listener).unwrap();
    let mut spare = ring.take_tx().unwrap();
    spare.fill(0x5a);
    survivors.borrow_mut().tx = Some(spare);
    let things = Things {
        file: File::from(std::fs::File::open("/proc/self/exe").unwrap()),
        root: File::directory("/".as_ref()).unwrap(),
        udp: ring.udp(UdpSocket::bind("127.0.0.1:0").unwrap().into(), false, Key(97)).unwrap(),
    };

    // A first connection whose bytes are kept, one with a send that cannot end, and one for
    // everything else.
    for _ in 0..3 {
        clients.push(TcpStream::connect(address).unwrap());
    }
    let mut accepted = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        ring.wait(Some(until)).unwrap();
        while let Some(event) = ring.next() {
            if kind_of(&event) == kind && accepted >= if kind == "Accepted" { 2 } else { 3 } {
                if accepted >= 3 {
                    begin_everything(&mut ring, survivors, region, &things);
                }
                panic!("on purpose at {kind}");
            }
            match event {
                Event::Accepted { conn, .. } => {
                    ring.set_key(&conn, Key(accepted));
                    survivors.borrow_mut().conns.push(conn);
                    accepted += 1;
                    if accepted == 3 {
                        provoke(&mut ring, survivors, region, &things, clients, address);
                    }
                }
                Event::Recv { buf, .. } if &buf[..] == b"kept" => survivors.borrow_mut().rx = Some(buf),
                _ => {}
            }
        }
    }
    unreachable!("no {kind} within a minute");
}

/// Handles of other kinds than connections.
struct Things {
    file: File,
    root: File,
    udp: Udp,
}

/// Makes each kind of event happen.
fn provoke<E: Engine>(
    ring: &mut Ring<E>,
    survivors: &RefCell<Survivors>,
    region: &Region,
    things: &Things,
    clients: &mut Vec<TcpStream>,
    address: SocketAddr,
) {
    begin_everything(ring, survivors, region, things);
    clients[0].write_all(b"kept").unwrap();
    let conns = &mut survivors.borrow_mut().conns;
    let tx = ring.take_tx().unwrap();
    ring.send(&conns[0], tx.into(), 0).unwrap();
    ring.stop_recv(&conns[1]);
    ring.writable(&conns[0]).unwrap();
    ring.shutdown(&conns[0]).unwrap();
    ring.waker().wake();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let extra = ring.listener(socket.into(), Key(98));
    let accept = ring.accept(&extra).unwrap();
    ring.cancel(accept);
    // One that was accepted elsewhere.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    clients.push(TcpStream::connect(elsewhere.local_addr().unwrap()).unwrap());
    ring.adopt(elsewhere.accept().unwrap().0.into(), Key(96)).unwrap();
    // One more connection, to be closed with an operation in flight.
    let closing = conns.pop().unwrap();
    clients.push(TcpStream::connect(address).unwrap());
    ring.close(closing);
}

/// Accept, receive, a send that cannot end and one behind it, a read into a region, a file by its
/// name, datagrams, a socket option, and questions about the peer and what it has acknowledged: all
/// in flight.
fn begin_everything<E: Engine>(
    ring: &mut Ring<E>,
    survivors: &RefCell<Survivors>,
    region: &Region,
    things: &Things,
) {
    let survivors = survivors.borrow();
    for conn in &survivors.conns {
        ring.recv(conn).unwrap();
    }
    if let Some(conn) = survivors.conns.get(1) {
        ring.send(conn, SendBuf::Shared(region.clone(), 0..HUGE), 0).unwrap();
        ring.send(conn, SendBuf::Shared(region.clone(), 0..HUGE), 0).unwrap();
        ring.peer(conn).unwrap();
        ring.set_opt(conn, SockOpt::NoDelay(true)).unwrap();
        ring.unacked(conn).unwrap();
    }
    let target = RegionMut::new(1 << 20).unwrap();
    ring.read(&things.file, 0, ReadBuf::Region(target, 0..1 << 20), Key(7)).unwrap();
    ring.open_at(&things.root, c"proc/version".to_owned(), Key(6)).unwrap();
    ring.stat_at(&things.root, c"proc".to_owned(), Key(5)).unwrap();
    ring.recv_from(&things.udp).unwrap();
    let datagram = Segment::Shared(region.clone(), 0..100);
    ring.send_to(&things.udp, datagram, things.udp.address(), None).unwrap();
}

fn descriptors() -> usize {
    // Closed sockets of a ring that is gone are put away by the kernel a moment later.
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut last = count();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        let now = count();
        if now == last {
            return now;
        }
        last = now;
    }
    last
}

/// Another ring, on another thread, that echoes all the while.
struct Bystander {
    stop: Arc<AtomicBool>,
    ring: std::thread::JoinHandle<()>,
    client: std::thread::JoinHandle<u64>,
}

impl Bystander {
    fn start() -> Bystander {
        let stop = Arc::new(AtomicBool::new(false));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let ring = std::thread::spawn(move || {
            let mut ring = Ring::uring(&CONFIG).unwrap();
            let listener = ring.listener(socket.into(), Key(0));
            ring.accept(&listener).unwrap();
            let mut held = None;
            loop {
                ring.wait(None).unwrap();
                while let Some(event) = ring.next() {
                    match event {
                        Event::Accepted { conn, .. } => {
                            ring.recv(&conn).unwrap();
                            held = Some(conn);
                        }
                        Event::Recv { buf, .. } => {
                            let mut tx = ring.take_tx().unwrap();
                            tx[..buf.len()].copy_from_slice(&buf);
                            tx.set_filled(buf.len());
                            ring.send(held.as_ref().unwrap(), tx.into(), 0).unwrap();
                        }
                        Event::RecvEnded { .. } => return,
                        _ => {}
                    }
                }
            }
        });
        let stopped = Arc::clone(&stop);
        let (tell, told) = std::sync::mpsc::channel();
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut rounds = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                stream.write_all(&rounds.to_le_bytes()).unwrap();
                let mut got = [0; 8];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(u64::from_le_bytes(got), rounds);
                rounds += 1;
                let _ = tell.send(());
            }
            rounds
        });
        // All its descriptors are there before any are counted.
        told.recv().unwrap();
        drop(told);
        Bystander { stop, ring, client }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.client.join().unwrap() > 100);
        self.ring.join().unwrap();
    }
}
