//! The engine on a world: waiting is what makes time pass.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::{STEPS_MAX, TICK, World};
use crate::conn::Listener;
use crate::engine::{Answer, Completion, Engine, Full, Memory, Question, Sealed, Submission};
use crate::key::Key;
use crate::ring::{Config, Ring};
use crate::table::EntryId;
use crate::udp::Udp;

/// The simulated engine of a [`World`].
pub struct Sim {
    world: World,
    calls: u64,
    /// Scripts to be called. Kept for its capacity.
    due: VecDeque<usize>,
}

impl Ring<Sim> {
    /// Makes a ring in a world. Another can follow when this one is gone: listeners' queues and
    /// peers outlive it.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] while the world has a ring; what the memory of a ring costs.
    pub fn sim(config: &Config, world: &World) -> io::Result<Ring<Sim>> {
        if world.0.state.borrow().has_ring {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ring::assemble(config, |_| {
            let mut state = world.0.state.borrow_mut();
            state.has_ring = true;
            state.kernel = Kernel::new(config.connections, config.rx_len);
            drop(state);
            Ok(Sim { world: world.clone(), calls: 0, due: VecDeque::new() })
        })
    }

    /// A datagram socket at `address`, to which datagrams find from its first receive on. (A socket
    /// given to [`Ring::udp`] is known by its address too, and otherwise ignored.)
    pub fn sim_udp(&mut self, address: SocketAddr, key: Key) -> Udp {
        Udp::new(None, address, key, false)
    }

    /// A listener that [`World::connect`] finds by its key. ([`Ring::listener`] does as well: the
    /// socket that it is given is kept and otherwise ignored.)
    pub fn sim_listener(&mut self, key: Key) -> Listener {
        Listener { socket: None, key, family: None }
    }
}

impl Engine for Sim {}

impl Sealed for Sim {
    fn submit(&mut self, submission: Submission<'_>) -> Result<(), Full> {
        self.world.0.state.borrow_mut().submit(submission.id, &submission.op)
    }

    fn publish(&mut self, slot: u16, _: *mut u8, _: u32) {
        self.world.0.state.borrow_mut().kernel.publish(slot);
    }

    fn wait(&mut self, memory: &mut Memory<'_>, poll: bool, timeout: Option<Duration>) -> io::Result<()> {
        self.calls += 1;
        let mut state = self.world.0.state.borrow_mut();
        state.now += TICK;
        let deadline = timeout.map(|timeout| state.now.saturating_add(timeout));
        if !state.start_queued(memory) {
            return Ok(());
        }
        let chance = state.faults.interrupted;
        if state.rng.chance(chance) {
            state.note("interrupted", 0, 0);
            return Ok(());
        }
        for _ in 0..STEPS_MAX {
            state.happen(&mut self.due);
            if !self.due.is_empty() {
                drop(state);
                // One by one: if a script panics, the others are still due.
                while let Some(index) = self.due.pop_front() {
                    self.world.run(index);
                }
                state = self.world.0.state.borrow_mut();
            }
            state.work_all(memory);
            state.deliver();
            if let Some(why) = state.blamed {
                return Err(io::Error::other(why));
            }
            if state.kernel.has_visible() || poll {
                return Ok(());
            }
            let next = state.next_moment();
            if next.is_some_and(|next| next <= state.now) {
                continue;
            }
            if let Some(waker) = state.kernel.waker().filter(|_| !state.outside.is_zero()) {
                let outside = state.outside;
                drop(state);
                let woken = waker.block(outside);
                state = self.world.0.state.borrow_mut();
                if woken {
                    continue;
                }
            }
            match (next, deadline) {
                (Some(next), None) => state.pass_to(next),
                (Some(next), Some(deadline)) if next <= deadline => state.pass_to(next),
                (_, Some(deadline)) => {
                    state.pass_to(deadline);
                    return Ok(());
                }
                (None, None) => {
                    return Err(io::Error::new(io::ErrorKind::Deadlock, "nothing is left that could happen"));
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the scripts never let the ring go on"))
    }

    fn start(&mut self, memory: &mut Memory<'_>) -> io::Result<()> {
        self.calls += 1;
        let mut state = self.world.0.state.borrow_mut();
        if state.start_queued(memory) {
            state.work_all(memory);
        }
        state.deliver();
        match state.blamed {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(()),
        }
    }

    fn now(&self) -> Instant {
        self.world.now()
    }

    fn next(&mut self) -> Option<Completion> {
        self.world.0.state.borrow_mut().kernel.take()
    }

    fn answer(&mut self, id: EntryId, question: Question, number: u32) -> Option<Answer> {
        match question {
            Question::Unacked => Some(Answer::Bytes(number)),
            _ => self.world.0.state.borrow_mut().kernel.answer(id),
        }
    }

    fn has_set_opt(&self) -> bool {
        true
    }

    fn has_gro(&self) -> bool {
        false
    }

    fn has_peer(&self) -> bool {
        true
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn shut(&mut self) {
        let mut state = self.world.0.state.borrow_mut();
        state.shut();
        state.has_ring = false;
    }
}
