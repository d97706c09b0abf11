//! The order of sends on one connection.
//!
//! io_uring promises none. A send that finds no room waits inside the kernel, and when there is
//! room again, any of those that wait may go on first, also in the middle of another's bytes (seen
//! on 6.12). So the kernel is given one send of a connection at a time. The others wait in the op
//! table, as owned as if they were in flight (I2), each naming the next.

use rustix::io::Errno;

use super::inner::Inner;
use crate::conn::{SendOrder, SlotId};
use crate::engine::Engine;
use crate::op::{Op, Sending, Turn};
use crate::send_buf::SendBuf;
use crate::table::EntryId;

/// Returns what a send that was refused was to send.
fn handed_back(op: Op) -> SendBuf {
    match op {
        Op::Send { buf: Sending::Buf(buf), .. } => buf,
        _ => unreachable!("what was handed over comes back"),
    }
}

impl<E: Engine> Inner<E> {
    /// Hands a send to the engine, or puts it behind those that the connection has already. Full
    /// tables hand it back.
    pub(super) fn send(&mut self, to: SlotId, buf: SendBuf, offset: usize) -> Result<EntryId, SendBuf> {
        if let Some(errno) = self.unsendable(to, &buf) {
            return self.refuse(to, buf, offset, errno);
        }
        let order = self.descs.order(to);
        let buf = Sending::Buf(buf);
        let queued = match order.last {
            None => self.launch(Op::Send { to, buf, offset, turn: Turn::Given { next: None } }),
            Some(_) => self.insert(Op::Send { to, buf, offset, turn: Turn::Waits { next: None } }),
        };
        let id = queued.map_err(handed_back)?;
        if let Some(last) = order.last {
            self.link(last, Some(id));
        }
        self.descs.set_order(to, SendOrder { first: order.first.or(Some(id)), last: Some(id) });
        Ok(id)
    }

    /// Ends a send that no engine is given.
    fn refuse(&mut self, to: SlotId, buf: SendBuf, offset: usize, errno: Errno) -> Result<EntryId, SendBuf> {
        let op = Op::Send { to, buf: Sending::Buf(buf), offset, turn: Turn::TakenBack };
        self.answer(op, errno).map_err(handed_back)
    }

    /// A send has ended, by the engine's word or because it was taken back: the next one's turn has
    /// come.
    pub(super) fn end_turn(&mut self, to: SlotId, turn: Turn) {
        let Turn::Given { next } = turn else { return };
        // The engine has one send of a connection at a time, so the one that has ended was the
        // first.
        let last = self.descs.order(to).last.filter(|_| next.is_some());
        self.descs.set_order(to, SendOrder { first: next, last });
        self.begin_turn(to);
    }

    /// Hands over the first of a connection's sends, or ends it where nothing is to begin any more.
    /// Its end is then reported as if the engine had had it, and so the next one's turn comes. One
    /// after the other, because each may hold a lease whose drop panics: that must find, and leave,
    /// everything else in order.
    fn begin_turn(&mut self, to: SlotId) {
        let Some(first) = self.descs.order(to).first else { return };
        let Some(Op::Send { turn: Turn::Waits { next }, .. }) = self.ops.get(first) else { return };
        let next = *next;
        let is_over = self.draining || self.descs.listening(to).is_none();
        if is_over {
            self.end_without_engine(first, Errno::CANCELED);
        } else if !self.hand_over(first) {
            self.stalled.push(to);
            return;
        }
        self.set_turn(first, Turn::Given { next });
    }

    /// Tries again what the engine's queue had no room for.
    pub(super) fn retry_sends(&mut self) {
        for _ in 0..self.stalled.len() {
            // A connection that finds no room again is pushed again, and so would be all others.
            let (Some(to), before) = (self.stalled.pop(), self.stalled.len()) else { return };
            self.begin_turn(to);
            if self.stalled.len() > before {
                return;
            }
        }
    }

    /// Cancels a send whose turn has not come. Returns `false` when it is none: then it is the
    /// engine's to cancel.
    pub(super) fn take_back(&mut self, id: EntryId) -> bool {
        let Some(Op::Send { to, turn, .. }) = self.ops.get(id) else { return false };
        let (to, next) = match *turn {
            Turn::Waits { next } => (*to, next),
            Turn::TakenBack => return true,
            Turn::Given { .. } => return false,
        };
        let order = self.descs.order(to);
        let mut before = None;
        let mut here = order.first;
        while let Some(other) = here.filter(|other| *other != id) {
            before = here;
            here = match self.ops.get(other) {
                Some(Op::Send { turn, .. }) => turn.next(),
                _ => None,
            };
        }
        match before {
            Some(before) => self.link(before, next),
            None => self.descs.set_order(to, SendOrder { first: next, ..order }),
        }
        if order.last == Some(id) {
            let first = self.descs.order(to).first;
            self.descs.set_order(to, SendOrder { first, last: before });
        }
        self.set_turn(id, Turn::TakenBack);
        self.end_without_engine(id, Errno::CANCELED);
        true
    }

    fn link(&mut self, id: EntryId, next: Option<EntryId>) {
        if let Some(Op::Send { turn, .. }) = self.ops.get_mut(id) {
            *turn = turn.followed_by(next);
        }
    }

    fn set_turn(&mut self, id: EntryId, new: Turn) {
        if let Some(Op::Send { turn, .. }) = self.ops.get_mut(id) {
            *turn = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::engine::Completion;
    use crate::sim::{Faults, Sim, World};
    use crate::{Config, Conn, Event, Key, Ring};

    const CONFIG: Config = Config { connections: 1, rx_count: 1, rx_len: 1, tx_count: 8, tx_len: 8 };

    fn accepted(ring: &mut Ring<Sim>) -> Conn {
        let listener = ring.sim_listener(Key(0));
        loop {
            let _ = ring.accept(&listener);
            let until = ring.now() + Duration::from_millis(1);
            ring.wait(Some(until)).unwrap();
            while let Some(event) = ring.next() {
                if let Event::Accepted { conn, .. } = event {
                    return conn;
                }
            }
        }
    }

    fn buf(ring: &mut Ring<Sim>, byte: u8) -> SendBuf {
        let mut tx = ring.take_tx().unwrap();
        tx[0] = byte;
        tx.set_filled(1);
        tx.into()
    }

    /// I4, for an operation that the engine cannot know of.
    #[test]
    fn the_end_of_a_send_that_has_not_begun_closes_the_ring() {
        let world = World::with(1, Faults::none());
        let mut ring = Ring::sim(&CONFIG, &world).unwrap();
        let _peer = world.connect(Key(0));
        let conn = accepted(&mut ring);
        let (first, second) = (buf(&mut ring, 1), buf(&mut ring, 2));
        ring.send(&conn, first, 0).unwrap();
        let id = ring.send(&conn, second, 0).unwrap();
        let id = ring.inner.entry(id).unwrap();
        ring.inner.completions.push_back(Completion { id, result: 1, buffer: None, more: false });
        assert!(ring.next().is_none());
        assert_eq!(ring.wait(None).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }

    /// I4, for a number that is none of an error's.
    #[test]
    fn an_error_that_no_kernel_has_closes_the_ring() {
        for result in [-4096, -65_537, i32::MIN] {
            let world = World::with(1, Faults::none());
            let mut ring = Ring::sim(&CONFIG, &world).unwrap();
            let _peer = world.connect(Key(0));
            let conn = accepted(&mut ring);
            let buf = buf(&mut ring, 1);
            let id = ring.send(&conn, buf, 0).unwrap();
            let id = ring.inner.entry(id).unwrap();
            ring.inner.completions.push_back(Completion { id, result, buffer: None, more: false });
            assert!(ring.next().is_none());
            assert_eq!(ring.wait(None).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
        }
    }

    /// However often the engine's queue is full, every send that was taken leaves, in order.
    #[test]
    fn a_full_queue_puts_a_turn_off() {
        let mut put_off = 0;
        for seed in 0..200 {
            let faults = Faults { full_queue: 400, ..Faults::none() };
            let world = World::with(seed, faults);
            let mut ring = Ring::sim(&CONFIG, &world).unwrap();
            let mut peer = world.connect(Key(0));
            let conn = accepted(&mut ring);
            let mut wanted = Vec::new();
            for byte in 0..6 {
                let buf = buf(&mut ring, byte);
                if ring.send(&conn, buf, 0).is_ok() {
                    wanted.push(byte);
                }
            }
            let mut ended = 0;
            while ended < wanted.len() {
                put_off += ring.inner.stalled.len();
                ring.wait(None).unwrap();
                while let Some(event) = ring.next() {
                    if let Event::Sent { buf: Some(SendBuf::Tx(tx)), result, .. } = event {
                        assert_eq!((tx[0], result), (wanted[ended], Ok(1)), "seed {seed}");
                        ended += 1;
                    }
                }
            }
            let mut got = vec![0; wanted.len()];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(got, wanted, "seed {seed}");
            assert_eq!(ring.stats().tx_free, 8);
        }
        assert!(put_off > 100, "{put_off}");
    }
}
