//! Leases whose drop panics: a program's own code, which runs where the ring lets go of what was to
//! be sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sitar_io::{Event, Key, Region, RegionMut, SendBuf, leaked_rings};

use crate::conformance::bench::{Bench, SMALL, Setup};

/// More than sockets of both ends hold.
const HUGE: usize = 16 << 20;

struct Lease(Arc<AtomicU32>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a lease");
    }
}

fn leased(len: usize, drops: &Arc<AtomicU32>) -> Region {
    RegionMut::new(len).unwrap().freeze_with(Lease(Arc::clone(drops)))
}

/// One send that cannot end, and three behind it.
fn send_four<E: Setup>(b: &mut Bench<E>, conn: &sitar_io::Conn, drops: &Arc<AtomicU32>) {
    b.ring.send(conn, SendBuf::Shared(leased(HUGE, drops), 0..HUGE), 0).unwrap();
    for _ in 0..3 {
        b.ring.send(conn, SendBuf::Shared(leased(10, drops), 0..10), 0).unwrap();
    }
    assert!(b.event_within(1).is_none(), "all four are in flight");
}

/// Each panic comes out of the ring by itself, and what is left closes as if there had been none.
pub(crate) fn a_panic_in_a_queued_send_leaves_its_connection_closing<E: Setup>() {
    let drops = Arc::new(AtomicU32::new(0));
    let mut b = Bench::<E>::new(SMALL);
    let (_client, conn) = b.accept(1);
    send_four(&mut b, &conn, &drops);
    b.ring.close(conn);
    let mut panics = 0;
    loop {
        match catch_unwind(AssertUnwindSafe(|| b.event_within(60_000))) {
            Ok(Some(Event::Closed { key: Key(1) })) => break,
            Ok(other) => panic!("{other:?} after {panics} panics"),
            Err(_) => panics += 1,
        }
    }
    assert_eq!((panics, drops.load(Ordering::Relaxed)), (4, 4));
    assert_eq!(b.ring.stats().connections, 0);
    // The ring goes on, with the place of the one that has left.
    let (mut client, conn) = b.accept(2);
    b.ring.recv(&conn).unwrap();
    b.echo(&mut client, &conn, 2);
    drop((conn, b));
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
}

/// The first panic comes out of the drop, when all is done.
pub(crate) fn a_panic_while_a_ring_is_dropped_leaves_nothing_behind<E: Setup>() {
    let drops = Arc::new(AtomicU32::new(0));
    let mut b = Bench::<E>::new(SMALL);
    let (_client, conn) = b.accept(1);
    send_four(&mut b, &conn, &drops);
    let panic = catch_unwind(AssertUnwindSafe(|| drop(b))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a lease"));
    assert_eq!(drops.load(Ordering::Relaxed), 4);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
}

/// A second panic that got out of a drop would end the process.
pub(crate) fn a_panic_while_a_ring_unwinds_is_the_first_one<E: Setup>() {
    let drops = Arc::new(AtomicU32::new(0));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut b = Bench::<E>::new(SMALL);
        let (_client, conn) = b.accept(1);
        send_four(&mut b, &conn, &drops);
        panic!("the program");
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the program"));
    assert_eq!(drops.load(Ordering::Relaxed), 4);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
}
