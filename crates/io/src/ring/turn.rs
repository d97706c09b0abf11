//! The two ways in which a ring hands over to its engine what was queued, and takes what has ended.

use std::io;
use std::time::{Duration, Instant};

use super::config::COMPLETIONS;
use super::inner::{Inner, offer_slots};
use crate::engine::{Completion, Engine, Memory};
use crate::op::{Op, Sending, Turn};
use crate::send_buf::SendBuf;

/// Pause before a second try of what found a table full. A completion, which makes room, ends the
/// wait earlier.
const RETRY: Duration = Duration::from_millis(1);

impl<E: Engine> Inner<E> {
    pub(super) fn wait(&mut self, until: Option<Instant>) -> io::Result<Instant> {
        if let Some(why) = self.broken {
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if !self.waking {
            self.waking = self.launch(Op::Wake).is_ok();
        }
        self.adopt_orphans();
        self.retry_cancels();
        self.retry_sends();
        offer_slots(&self.arena, &mut self.engine);
        self.completions.append(&mut self.later);
        let left_over = !self.completions.is_empty() || self.after.is_some();
        let mut timeout = until.map(|until| until.saturating_duration_since(self.engine.now()));
        // Something still to submit that the tables had no room for must not wait for the peers:
        // not a close, not a cancel, not a send whose turn has come, and not the waker, which would
        // go unheard.
        let unsubmitted =
            !self.uncancelled.is_empty() || !self.unended.is_empty() || !self.stalled.is_empty();
        if !self.waking || self.descs.has_closable() || unsubmitted {
            timeout = Some(timeout.map_or(RETRY, |timeout| timeout.min(RETRY)));
        }
        let mut memory = Memory { ops: &mut self.ops, arena: &self.arena };
        self.engine.wait(&mut memory, left_over, timeout)?;
        while let Some(completion) = self.take() {
            self.completions.push_back(completion);
        }
        Ok(self.engine.now())
    }

    pub(super) fn submit(&mut self) -> io::Result<()> {
        // A broken ring says so when it is waited on.
        if self.broken.is_some() {
            return Ok(());
        }
        let mut memory = Memory { ops: &mut self.ops, arena: &self.arena };
        self.engine.start(&mut memory)?;
        while let Some(completion) = self.take() {
            // What has been read is looked at first, while it is in the processor's cache. A read
            // has one completion, so none of its own is overtaken.
            if let Some(Op::Read { .. }) = self.ops.get(completion.id) {
                self.completions.push_front(completion);
                continue;
            }
            if !completion.more {
                self.give_back_early(completion);
            }
            // Otherwise a program that submits for each event would never come to the end of
            // events, nor back to what only a wait does.
            self.later.push_back(completion);
        }
        Ok(())
    }

    /// Takes the engine's next completion, as long as there is room for it.
    fn take(&mut self) -> Option<Completion> {
        let is_room = self.completions.len() + self.later.len() < COMPLETIONS;
        if is_room { self.engine.next() } else { None }
    }

    /// Gives back the slot of a send that has ended, before its event is reported, if all of
    /// it was sent.
    fn give_back_early(&mut self, completion: Completion) {
        if let Some(Op::Send { buf, offset, turn: Turn::Given { .. }, .. }) = self.ops.get_mut(completion.id)
            && let Sending::Buf(SendBuf::Tx(tx)) = &*buf
            && let Ok(count) = usize::try_from(completion.result)
            && count.checked_add(*offset) == Some(tx.filled())
        {
            *buf = Sending::Recycled { count };
        }
    }
}
