//! No allocation after start: every operation of a warm connection, counted by the allocator
//! itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use sitar_io::{Config, Engine, Event, File, Key, ReadBuf, Region, Ring, Segment, SendBuf};

struct Counting;

thread_local! {
    /// Allocations of this thread: the test harness has a thread of its own, which allocates when
    /// it likes.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() -> u64 {
    COUNT.with(Cell::get)
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
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

const CONFIG: Config = Config { connections: 8, rx_count: 8, rx_len: 512, tx_count: 8, tx_len: 2048 };

#[test]
fn nothing_is_allocated_after_start_on_uring() {
    nothing_is_allocated_after_start(Ring::uring(&CONFIG).unwrap());
}

#[test]
fn nothing_is_allocated_after_start_on_epoll() {
    nothing_is_allocated_after_start(Ring::epoll(&CONFIG).unwrap());
}

fn nothing_is_allocated_after_start<E: Engine>(mut ring: Ring<E>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = ring.listener(socket.into(), Key(0));
    ring.accept(&listener).unwrap();
    let region = Region::copy_of(&[7; 1000]).unwrap();
    let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());

    let start = count();
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
                        ring.set_key(&conn, Key(1));
                        ring.recv(&conn).unwrap();
                        client.write_all(b"ping").unwrap();
                        held = Some(conn);
                    }
                    Event::Recv { buf, .. } => {
                        let mut tx = ring.take_tx().unwrap();
                        tx[..buf.len()].copy_from_slice(&buf);
                        tx.set_filled(buf.len());
                        let buf = SendBuf::Gather([
                            Some(Segment::Tx(tx)),
                            Some(Segment::Shared(region.clone(), 0..1000)),
                        ]);
                        ring.send(held.as_ref().unwrap(), buf, 0).unwrap();
                    }
                    Event::Sent { result, .. } => {
                        assert_eq!(result, Ok(1004));
                        let mut got = [0; 1004];
                        client.read_exact(&mut got).unwrap();
                        let tx = ring.take_tx().unwrap();
                        ring.read(&file, 0, ReadBuf::Tx(tx, 0..4), Key(2)).unwrap();
                    }
                    Event::Closed { .. } => {}
                    Event::Read { buf: ReadBuf::Tx(tx, _), .. } => {
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
    assert_eq!(count() - start, 0);
}
