//! Ending operations early: one of them, or all when the ring is dropped.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::inner::Inner;
use crate::engine::{Completion, Engine, Memory};
use crate::op::Op;
use crate::table::EntryId;

/// Time that a ring that is dropped gives the kernel to finish with its memory before it leaks
/// it.
const DRAIN: Duration = Duration::from_secs(5);

impl<E: Engine> Inner<E> {
    /// Asks the kernel to end an operation early, now or as soon as there is room for the question.
    pub(super) fn cancel(&mut self, id: EntryId) {
        if self.ops.get(id).is_none() || self.take_back(id) {
            return;
        }
        if self.launch(Op::Cancel(id)).is_err() {
            self.unended.insert(id);
        }
    }

    /// Tries again what the op table, or the engine's queue, had no room for.
    pub(super) fn retry_cancels(&mut self) {
        while let Some(id) = self.unended.pop_first() {
            if self.ops.get(id).is_some() && self.launch(Op::Cancel(id)).is_err() {
                self.unended.insert(id);
                return;
            }
        }
    }

    /// Cancels everything and waits until the kernel has let go of all of it. Returns `false` when
    /// it does not. The first panic of a lease that was dropped on the way, or of a simulated peer,
    /// is left in `panic`: it must not keep the rest from ending.
    pub(super) fn drain(&mut self, panic: &mut Option<Box<dyn Any + Send>>) -> bool {
        let deadline = self.engine.now() + DRAIN;
        self.after = None;
        self.draining = true;
        self.completions.append(&mut self.later);
        self.retry_sends();
        while self.ops.live() > 0 && self.broken.is_none() {
            if !self.cancelled_all {
                self.cancelled_all = self.launch(Op::CancelAll).is_ok();
            }
            let now = self.engine.now();
            if now >= deadline {
                return false;
            }
            let pause = (deadline - now).min(Duration::from_millis(100));
            // A simulated world may run code of the program's.
            match catch_unwind(AssertUnwindSafe(|| self.pause(pause))) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return false,
                Err(why) => {
                    panic.get_or_insert(why);
                }
            }
            loop {
                while let Some(completion) = self.completions.pop_front() {
                    // What it leaves behind when it unwinds is in order: leases are dropped last.
                    let ended = catch_unwind(AssertUnwindSafe(|| self.let_go(completion)));
                    if let Err(why) = ended {
                        panic.get_or_insert(why);
                    }
                    self.after = None;
                }
                match self.engine.next() {
                    Some(completion) => self.completions.push_back(completion),
                    None => break,
                }
            }
        }
        self.ops.live() == 0
    }

    fn pause(&mut self, time: Duration) -> io::Result<()> {
        let mut memory = Memory { ops: &mut self.ops, arena: &self.arena };
        self.engine.wait(&mut memory, false, Some(time))
    }

    /// Drops what an operation has brought, and what it held.
    fn let_go(&mut self, completion: Completion) {
        match self.on_completion(completion) {
            Ok(event) => drop(event),
            Err(why) => self.broken = Some(why),
        }
    }
}
