//! The side of a shard: what it records of its answers.

mod entries;
mod probed;

use std::cell::RefCell;
use std::num::{NonZeroU32, NonZeroU64};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use sitar_http::Status;

use self::entries::{Noted, Queue};
use self::probed::Probed;
use super::answer::{Answer, Cut, Requested};
use super::{Queues, Wants};
use crate::numbers::{Since, Times};

/// Answers that may end while one event is handled: more than a connection has streams.
const ENDING_MAX: usize = 1024;

/// Records the answers of a shard where a log or a trace wants it, and times them where that is
/// wanted.
pub(crate) struct Recorder {
    /// `None`: neither is there now, and nothing of one is left.
    queue: Option<Box<Queue>>,
    mode: Mode,
    /// What the snapshot says while there is no queue.
    wants: Wants,
    times: Option<Times>,
    /// Answers that a tracer follows.
    probed: Probed,
    /// `None`: nothing is to be said of an answer that begins, nor at the end of a turn. So where
    /// there is none of these, and where no trace takes an answer.
    ending: Option<Ending>,
    /// The same while nothing is to be said, for the next that a trace takes.
    spare: Option<Ending>,
    /// For the reader to take the queue from.
    queues: Arc<Queues>,
}

/// What asks for records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Off,
    /// Logs, and nothing else.
    Logs,
    /// Traces, and logs if there are some.
    Traces,
}

/// Answers that have just ended, and what was left of them.
type Ending = Rc<RefCell<Vec<(OpenAnswer, u64)>>>;

/// An answer that is under way. What sends it holds this, and says its end.
#[derive(Debug, Default)]
pub(crate) struct OpenAnswer {
    /// Of its entry, if a log waits for its end.
    number: Option<NonZeroU32>,
    /// If it is timed.
    since: Option<Since>,
    /// Its number in the probes, if a tracer looks.
    probed: Option<NonZeroU64>,
}

/// The same, where it can end without a word: its drop says so.
pub(crate) struct Watched {
    answer: OpenAnswer,
    /// Bytes of its content that are not handed over.
    pub(crate) unsent: u64,
    ending: Ending,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut ending = self.ending.borrow_mut();
        // No more of them end at once.
        if ending.len() < ENDING_MAX {
            ending.push((std::mem::take(&mut self.answer), self.unsent));
        }
    }
}

impl Recorder {
    /// Records what a snapshot says is to be recorded.
    pub(crate) fn new(queues: Arc<Queues>, wants: Wants, times: Option<Times>) -> Recorder {
        let ending = times.is_some().then(new_ending);
        let (mode, probed) = (Mode::Off, Probed::default());
        let mut recorder = Recorder { queue: None, mode, wants, times, probed, ending, spare: None, queues };
        recorder.choose_mode();
        recorder
    }

    /// Takes up what another snapshot says.
    pub(crate) fn take_up(&mut self, wants: Wants) {
        match &mut self.queue {
            Some(queue) => queue.set_wants(wants),
            None => self.wants = wants,
        }
        self.choose_mode();
    }

    /// Takes up the traces that run now.
    pub(crate) fn take_up_traces(&mut self) {
        self.choose_mode();
    }

    /// Has recorded what the snapshot and the traces say. The queue is made when one of them wants
    /// it, and goes when none does.
    fn choose_mode(&mut self) {
        let queues = Arc::clone(&self.queues);
        let table = queues.traces();
        let has_logs = self.queue.as_ref().map_or(&self.wants, |queue| &queue.wants).is_any();
        if self.queue.is_none() && (has_logs || table.is_any()) {
            self.queue = Some(Box::new(Queue::new(&queues, std::mem::take(&mut self.wants))));
        }
        if let Some(queue) = &mut self.queue {
            queue.take_up_traces(&table);
            self.mode = match (queue.sampling.is_any(), has_logs) {
                (true, _) => Mode::Traces,
                (false, true) => Mode::Logs,
                (false, false) => Mode::Off,
            };
        }
        drop(table);
        self.rest();
    }

    /// Lets the queue go if nothing wants it, and nothing of it is left to be said.
    #[cold]
    fn rest(&mut self) {
        if self.mode == Mode::Off
            && let Some(mut queue) = self.queue.take_if(|queue| queue.open == 0 && !queue.has_any())
        {
            self.wants = std::mem::take(&mut queue.wants);
        }
        let tells = |queue: &Queue| self.mode == Mode::Logs || queue.open > 0 || queue.has_any();
        let tells = self.times.is_some() || self.queue.as_deref().is_some_and(tells);
        if tells || self.probed.is_awaited() {
            let spare = self.spare.take();
            self.ending.get_or_insert_with(|| spare.unwrap_or_else(new_ending));
        } else if self.queue.is_some() {
            self.spare = self.ending.take().or_else(|| self.spare.take());
        } else {
            (self.ending, self.spare) = (None, None);
        }
    }

    /// Something is to be said of the next answer.
    fn tell(&mut self) {
        if self.ending.is_none() {
            self.ending = self.spare.take();
        }
    }

    /// Whether there are logs or traces.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// A turn begins.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        if let Some(times) = &mut self.times {
            times.begin_turn(now);
        }
    }

    /// Notes an answer that is about to begin, instead of the one before. `gather` says more of it
    /// than whether it is to be recorded depends on.
    #[inline]
    pub(crate) fn note<'a>(
        &mut self,
        requested: Requested<'_>,
        status: Status,
        gather: impl FnOnce() -> Answer<'a>,
    ) {
        let Some(queue) = &mut self.queue else { return };
        if self.mode == Mode::Logs {
            return queue.note(&gather());
        }
        // Of no trace where the last one is over, and an answer of it is not.
        queue.noted = Noted::Nothing;
        if queue.sampling.is_due()
            && queue.sampling.may_want(status)
            && queue.is_wanted(requested.request(), requested.host(), status)
        {
            queue.note_traced(&gather());
            self.tell();
        }
    }

    /// Notes an answer of which all has been gathered.
    #[cfg(test)]
    pub(super) fn note_whole(&mut self, answer: &Answer<'_>) {
        self.note(answer.requested, answer.status, || *answer);
    }

    /// Notes that a tracer looks at the answer that is about to begin, with this many bytes of
    /// content. Returns the answer's number.
    #[cold]
    pub(crate) fn probe(&mut self, length: u64) -> u64 {
        self.tell();
        self.ending.get_or_insert_with(new_ending);
        self.probed.note(length)
    }

    /// Notes when the request was first looked at whose answer is about to begin; `None`: in this
    /// turn.
    #[inline]
    pub(crate) fn note_start(&mut self, start: Option<Instant>) {
        if let Some(times) = &mut self.times {
            times.note(start);
        }
    }

    /// Records the answer that was noted, which has begun. If it goes on, the caller says its end.
    #[inline]
    pub(crate) fn begin(&mut self, goes_on: bool) -> OpenAnswer {
        if self.ending.is_none() {
            return OpenAnswer::default();
        }
        let number = self.queue.as_mut().and_then(|queue| queue.begin(goes_on));
        let since = self.times.as_mut().and_then(|times| times.begin(goes_on));
        OpenAnswer { number, since, probed: self.probed.begin(goes_on) }
    }

    /// Records the answer that was noted, which has begun. If it goes on, the drop of what this
    /// returns says its end.
    #[inline]
    pub(crate) fn watch(&mut self, goes_on: bool) -> Option<Watched> {
        let length = self.probed.length();
        let answer = self.begin(goes_on);
        let (false, Some(ending)) = (answer.is_none(), &self.ending) else { return None };
        let unsent = length.or(self.queue.as_ref().map(|queue| queue.length)).unwrap_or_default();
        Some(Watched { answer, unsent, ending: Rc::clone(ending) })
    }

    /// An answer has ended.
    #[inline]
    pub(crate) fn end(
        &mut self,
        OpenAnswer { number, since, probed }: OpenAnswer,
        unsent: u64,
        cut: Option<Cut>,
    ) {
        if let (Some(queue), Some(number)) = (&mut self.queue, number) {
            queue.end(number, unsent, cut);
        }
        if let (Some(times), Some(since)) = (&mut self.times, since) {
            times.end(since);
        }
        if let Some(number) = probed {
            self.probed.end(number, unsent, cut);
        }
    }

    /// Records the ends of watched answers; `cut` is why those have ended of which something is
    /// left.
    #[inline]
    pub(crate) fn note_ends(&mut self, cut: Cut) {
        if self.ending.as_ref().is_some_and(|ending| !ending.borrow().is_empty()) {
            self.take_ends(cut);
        }
    }

    fn take_ends(&mut self, cut: Cut) {
        loop {
            let last = self.ending.as_ref().and_then(|ending| ending.borrow_mut().pop());
            let Some((answer, unsent)) = last else { return };
            self.end(answer, unsent, (unsent > 0).then_some(cut));
        }
    }

    /// The end of a turn that began at `start`: what was gathered is handed to the kernel. `end`
    /// reads the clock.
    #[inline]
    pub(crate) fn end_turn(&mut self, start: Instant, end: impl FnOnce() -> Instant) {
        if self.ending.is_none() {
            return;
        }
        let queue = self.queue.as_mut().filter(|queue| queue.has_any());
        let times = self.times.as_mut().filter(|times| times.has_ended());
        let has_any = queue.is_some();
        if has_any || times.is_some() {
            let end = end();
            times.into_iter().for_each(|times| times.end_turn(end));
            queue.into_iter().for_each(|queue| queue.end_turn(start, end));
        }
        let is_seen = self.probed.end_turn();
        // What a trace or a tracer wanted may be over.
        if self.mode != Mode::Logs && (has_any || (self.times.is_none() && !is_seen)) {
            self.rest();
        }
    }
}

impl OpenAnswer {
    /// Whether nothing waits for its end.
    pub(super) fn is_none(&self) -> bool {
        self.number.is_none() && self.since.is_none() && self.probed.is_none()
    }
}

fn new_ending() -> Ending {
    Rc::new(RefCell::new(Vec::with_capacity(ENDING_MAX)))
}
