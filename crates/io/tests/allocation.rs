//! No allocation after start: every operation of a warm connection, counted by the allocator itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use sitar_io::{Config, Event, File, Into, Key, Piece, Region, Ring, Src};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_after_start() {
    let config = Config { connections: 8, rx_count: 8, rx_len: 512, tx_count: 8, tx_len: 2048 };
    let mut ring = Ring::uring(&config).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = ring.listener(socket.into(), Key(0));
    ring.accept(&listener).unwrap();
    let region = Region::copy_of(&[7; 1000]).unwrap();
    let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());

    let start = COUNT.load(Ordering::Relaxed);
    for _ in 0..20 {
        // The client's side of std allocates nothing either.
        let mut client = TcpStream::connect(address).unwrap();
        let mut held = None;
        let mut answered = 0;
        while answered < 10 {
            ring.wait(None).unwrap();
            while let Some(event) = ring.next() {
                match event {
                    Event::Accepted { conn, .. } => {
                        ring.bind(&conn, Key(1));
                        ring.recv(&conn).unwrap();
                        client.write_all(b"ping").unwrap();
                        held = Some(conn);
                    }
                    Event::Recv { buf, .. } => {
                        let mut tx = ring.tx().unwrap();
                        tx[..buf.len()].copy_from_slice(&buf);
                        tx.set_filled(buf.len());
                        let src =
                            Src::Gather([Some(Piece::Tx(tx)), Some(Piece::Shared(region.clone(), 0..1000))]);
                        ring.send(held.as_ref().unwrap(), src, 0).unwrap();
                    }
                    Event::Sent { result, .. } => {
                        assert_eq!(result, Ok(1004));
                        let mut got = [0; 1004];
                        client.read_exact(&mut got).unwrap();
                        let tx = ring.tx().unwrap();
                        ring.read(&file, 0, Into::Tx(tx, 0..4), Key(2)).unwrap();
                    }
                    Event::Closed { .. } => {}
                    Event::Read { into: Into::Tx(tx, _), .. } => {
                        assert_eq!(&tx[..4], b"\x7fELF");
                        answered += 1;
                        client.write_all(b"ping").unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        // Its last events come in one of the next rounds.
        ring.close(held.take().unwrap());
    }
    assert_eq!(COUNT.load(Ordering::Relaxed) - start, 0);
}
