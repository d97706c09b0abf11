//! Datagrams: sockets known by their address, and a network that loses, doubles and reorders.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Weak;

use rustix::io::Errno;

use super::kernel::Task;
use super::state::{Due, State};
use super::{Inner, World};
use crate::engine::Memory;
use crate::udp::{DATAGRAM_HEAD, DATAGRAM_MAX, Head, SEGMENTS_MAX};

/// Datagrams that wait at one address; what comes on top is lost.
const INBOX_MAX: usize = 256;

/// Datagrams that wait at an address.
#[derive(Default)]
pub(super) struct Inbox {
    arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    /// The script that minds it.
    watcher: Option<usize>,
}

/// A peer's datagram socket. It never blocks.
pub struct Socket {
    // Weak: scripts hold sockets and the world holds scripts.
    world: Weak<Inner>,
    address: SocketAddr,
}

impl World {
    /// A datagram socket at this address, for a peer. Several at one address share what arrives
    /// there.
    #[must_use]
    pub fn socket(&self, address: SocketAddr) -> Socket {
        self.0.state.borrow_mut().inboxes.entry(address).or_default();
        Socket { world: std::rc::Rc::downgrade(&self.0), address }
    }
}

impl Socket {
    /// Puts a datagram on its way. Whether it arrives is up to the network; one for an address that
    /// no socket has is lost.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) {
        let Some(world) = self.world.upgrade() else { return };
        let state = &mut *world.state.borrow_mut();
        self.mind(state);
        state.post_datagram(self.address, to, bytes);
    }

    /// The next datagram that has arrived, and who sent it.
    pub fn recv_from(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let world = self.world.upgrade()?;
        let state = &mut *world.state.borrow_mut();
        self.mind(state);
        state.inboxes.get_mut(&self.address)?.arrived.pop_front()
    }

    fn mind(&self, state: &mut State) {
        if let (Some(script), Some(inbox)) = (state.running, state.inboxes.get_mut(&self.address)) {
            inbox.watcher = Some(script);
        }
    }
}

impl State {
    fn post_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.note("datagram", bytes.len() as u64, 0);
        if self.rng.chance(self.faults.lose_datagram) {
            return self.note("lost", bytes.len() as u64, 0);
        }
        let copies = if self.rng.chance(self.faults.double_datagram) { 2 } else { 1 };
        for _ in 0..copies {
            // Each takes its own time: that is what reorders them.
            let when = self.now + self.rng.time(self.faults.latency);
            self.datagrams.push(Some((from, to, bytes.to_vec())));
            self.schedule(when, Due::Datagram(self.datagrams.len() - 1));
        }
    }

    pub(super) fn datagram_arrives(&mut self, index: usize) {
        let Some((from, to, bytes)) = self.datagrams.get_mut(index).and_then(Option::take) else { return };
        let Some(inbox) = self.inboxes.get_mut(&to).filter(|inbox| inbox.arrived.len() < INBOX_MAX) else {
            return self.note("lost", bytes.len() as u64, 1);
        };
        inbox.arrived.push_back((from, bytes));
        let watcher = inbox.watcher;
        self.alert(watcher);
    }

    pub(super) fn work_recv_from(
        &mut self,
        mut task: Task,
        at: SocketAddr,
        memory: &Memory<'_>,
    ) -> Option<Task> {
        if self.rng.chance(self.faults.cancelled) {
            self.end(task, Err(Errno::CANCELED));
            return None;
        }
        while let Some((from, bytes)) = self.inboxes.entry(at).or_default().arrived.pop_front() {
            let starved = self.rng.chance(self.faults.no_buffers);
            let Some(slot) = (if starved { None } else { self.kernel.take_slot() }) else {
                if let Some(inbox) = self.inboxes.get_mut(&at) {
                    inbox.arrived.push_front((from, bytes));
                }
                self.end(task, Err(Errno::NOBUFS));
                return None;
            };
            let filled = memory.arena.fill_with(slot, |slot| {
                let room = slot.get_mut(DATAGRAM_HEAD..)?;
                let payload = bytes.len().min(room.len());
                room[..payload].copy_from_slice(&bytes[..payload]);
                let truncated = payload < bytes.len();
                let head =
                    Head { from, segment_size: 0, payload: payload as u32, truncated, control_cut: false };
                head.write(slot).then_some(DATAGRAM_HEAD + payload)
            });
            let Some(Some(count)) = filled else {
                self.blame("a receive slot was published that was not free, or has no room for a datagram");
                self.end(task, Err(Errno::FAULT));
                return None;
            };
            // io_uring takes an empty one for an end.
            let more = !bytes.is_empty() && !self.rng.chance(self.faults.end_multishot);
            self.post(&mut task, Ok(count as u32), Some(slot), more);
            if !more {
                return None;
            }
        }
        Some(task)
    }

    pub(super) fn start_send_to(&mut self, task: Task, memory: &Memory<'_>) {
        let Some((udp, bytes, segment_size, to)) = memory.datagrams(task.id) else {
            return self.end(task, Err(Errno::BADF));
        };
        if segment_size > 0 && bytes.len() > usize::from(segment_size) * SEGMENTS_MAX {
            return self.end(task, Err(Errno::INVAL));
        }
        if bytes.len() > DATAGRAM_MAX {
            return self.end(task, Err(Errno::MSGSIZE));
        }
        let from = udp.address();
        if bytes.is_empty() || segment_size == 0 {
            self.post_datagram(from, to, bytes);
        } else {
            for datagram in bytes.chunks(segment_size.into()) {
                self.post_datagram(from, to, datagram);
            }
        }
        let len = bytes.len() as u32;
        self.end(task, Ok(len));
    }
}
