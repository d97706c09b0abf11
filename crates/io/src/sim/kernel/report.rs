//! Completions of the simulated kernel: their order, and the lies it can be made to tell.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use rustix::io::Errno;

use super::{Task, Work};
use crate::engine::Completion;
use crate::sim::Lie;
use crate::sim::state::State;
use crate::table::EntryId;

/// A completion on its way to the ring.
pub(super) struct Posted {
    pub(super) due: Duration,
    /// Decides between completions of one moment.
    ticket: u64,
    order: u64,
    kind: Kind,
    completion: Completion,
}

/// Kinds of completions that a lie can be told about.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Accept,
    Recv,
    /// Counts bytes.
    Bytes,
    /// The close of this place.
    Close(u32),
    /// A file found at a path.
    Look,
    Other,
}

impl Posted {
    fn key(&self) -> (Duration, u64, u64) {
        (self.due, self.ticket, self.order)
    }
}

impl PartialEq for Posted {
    fn eq(&self, other: &Posted) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Posted {}
impl PartialOrd for Posted {
    fn partial_cmp(&self, other: &Posted) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Posted {
    fn cmp(&self, other: &Posted) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl State {
    pub(in crate::sim) fn end(&mut self, mut task: Task, result: Result<u32, Errno>) {
        self.post(&mut task, result, None, false);
    }

    pub(in crate::sim) fn post(
        &mut self,
        task: &mut Task,
        result: Result<u32, Errno>,
        buffer: Option<u16>,
        more: bool,
    ) {
        let late = match self.rng.chance(self.faults.late) {
            true => self.rng.time(Duration::from_millis(3)),
            false => Duration::ZERO,
        };
        let ticket = if self.rng.chance(self.faults.reorder) { self.rng.next() } else { 1 << 63 };
        let key = (self.now + late, ticket).max(task.last);
        task.last = key;
        let result = match result {
            Ok(count) => count as i32,
            Err(errno) => -errno.raw_os_error(),
        };
        self.note(task.work.names().1, u64::from(task.id.index()), i64::from(result));
        let order = self.kernel.order;
        self.kernel.order += 1;
        let kind = match task.work {
            Work::Accept(_) => Kind::Accept,
            Work::Recv | Work::RecvFrom(_) => Kind::Recv,
            Work::Send { .. } | Work::SendTo | Work::Read { .. } => Kind::Bytes,
            Work::Look { .. } => Kind::Look,
            Work::Close => Kind::Close(task.place.unwrap_or(u32::MAX)),
            Work::Adopt
            | Work::Writable
            | Work::Peer { .. }
            | Work::SetOpt(_)
            | Work::Unacked
            | Work::Shutdown
            | Work::Cancel(_)
            | Work::CancelSlot
            | Work::CancelAll
            | Work::Wake(_) => Kind::Other,
        };
        let completion = Completion { id: task.id, result, buffer, more };
        let posted = Posted { due: key.0, ticket: key.1, order, kind, completion };
        self.kernel.posted.push(Reverse(posted));
    }

    /// Makes completions visible that are due; fewer when the queue overflows.
    pub(in crate::sim) fn deliver(&mut self) {
        let mut room = if self.rng.chance(self.faults.overflow) { 1 + self.rng.below(4) } else { usize::MAX };
        while room > 0 && self.kernel.next_due().is_some_and(|due| due <= self.now) {
            let Some(Reverse(posted)) = self.kernel.posted.pop() else { return };
            self.note("told", u64::from(posted.completion.id.index()), i64::from(posted.completion.result));
            if let (Kind::Accept, Ok(place)) = (posted.kind, u32::try_from(posted.completion.result)) {
                let late = Kind::Close(place);
                if self.kernel.posted.iter().any(|Reverse(other)| other.kind == late) {
                    self.note("overtakes a close", u64::from(place), 0);
                }
            }
            self.tell(posted.kind, posted.completion);
            room -= 1;
        }
    }

    /// Passes a completion on, or what a lying kernel makes of it.
    fn tell(&mut self, kind: Kind, truth: Completion) {
        if std::mem::take(&mut self.lose) {
            return;
        }
        let Some((lie, after)) = self.lie else { return self.kernel.visible.push_back(truth) };
        let told = if after > 0 { None } else { self.distort(lie, kind, truth) };
        match told {
            Some(told) => {
                self.note("lie", lie as u64, 0);
                self.lie = None;
                self.lied = true;
                if lie == Lie::NothingFound {
                    drop(self.kernel.answer(told.0.id));
                }
                // Both in one batch, so that no slot can have been published again in between.
                self.kernel.visible.push_back(told.0);
                self.kernel.visible.extend(told.1);
            }
            None => {
                self.lie = Some((lie, after.saturating_sub(1)));
                self.kernel.visible.push_back(truth);
            }
        }
    }

    /// Returns what a liar says instead, if this completion lends itself to it.
    fn distort(&self, lie: Lie, kind: Kind, truth: Completion) -> Option<(Completion, Option<Completion>)> {
        let accepted = kind == Kind::Accept && truth.result >= 0;
        let single = !matches!(kind, Kind::Accept | Kind::Recv);
        let counted = truth.buffer.is_some() || (kind == Kind::Bytes && truth.result >= 0);
        let (index, generation) = (truth.id.index(), truth.id.generation());
        let false_id =
            |index, generation| Completion { id: EntryId::new(index, generation), buffer: None, ..truth };
        let endless = Completion { more: true, ..truth };
        // The lie, and after it the truth, where it is not the lie itself that ends the
        // operation.
        let told = match lie {
            Lie::UnknownOp => (false_id(u32::MAX, generation), Some(truth)),
            Lie::StaleOp => (false_id(index, generation - 1), Some(truth)),
            Lie::Twice => (truth, Some(truth)),
            Lie::TooLong if counted => (Completion { result: i32::MAX, ..truth }, None),
            Lie::UnknownSlot if truth.buffer.is_some() => {
                (Completion { buffer: Some(u16::MAX), ..truth }, None)
            }
            Lie::LeasedSlot if truth.buffer.is_some() => (endless, Some(truth)),
            Lie::UnknownPlace if accepted => {
                let result = i32::try_from(self.kernel.table.len()).unwrap_or(i32::MAX);
                (Completion { result, ..truth }, None)
            }
            Lie::TakenPlace if accepted => (endless, Some(truth)),
            Lie::EndlessSingle if single => (endless, None),
            Lie::EndlessFailure if !single && truth.result < 0 => (endless, None),
            Lie::NoSlot if truth.buffer.is_some() && truth.result > 0 => {
                (Completion { buffer: None, ..truth }, None)
            }
            Lie::NothingFound if kind == Kind::Look && truth.result >= 0 => (truth, None),
            // One that the kernel does have, so that nothing else about it is wrong.
            Lie::SlotOfAnother if single && truth.result == 0 => {
                (Completion { buffer: Some(*self.kernel.slots.front()?), ..truth }, None)
            }
            _ => return None,
        };
        Some(told)
    }
}
