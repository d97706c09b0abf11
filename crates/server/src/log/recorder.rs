//! The side of a shard: what it writes into its queue.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sitar_http::{Method, Request, Status, semantics};
use sitar_io::usdt;

use super::answer::{Answer, Cut, Requested, Texts};
use super::entry::{self, END, Ended, LONGEST, TRACES};
use super::queue::{WORDS, Writer};
use super::record::LogId;
use super::trace::{Sampling, Table};
use super::{Queues, Wants, since};
use crate::numbers::{Since, Times};
use crate::snapshot::HostId;
use crate::wake::Wake;

/// Answers of a shard that may be under way and have an entry: each has a place in the queue for
/// its end. Further ones are not followed.
const OPEN_MAX: usize = WORDS / 4 / END;
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

struct Queue {
    writer: Writer,
    /// Behind the writer: who is called by its drop finds the queue at its end.
    wake: CalledAtTheEnd,
    /// Records of all shards that there was no room for.
    dropped: Arc<AtomicU64>,
    epoch: Instant,
    wants: Wants,
    /// Whether some peers are believed that name their clients.
    trusts: bool,
    /// The answer that was noted last, if it is to be recorded.
    noted: Noted,
    /// Bytes of its content.
    length: u64,
    /// The number that was given last.
    last: u32,
    /// Answers whose ends are not in the queue.
    open: usize,
    sampling: Sampling,
}

/// What has become of an answer that was noted.
#[derive(Clone, Copy)]
enum Noted {
    /// It is in no log.
    Nothing,
    /// Its entry has this many words, which are not counted as written.
    Words(usize),
    /// There was no room for it.
    NoRoom,
}

/// Answers whose ends a tracer waits for, which looks at the probes.
#[derive(Default)]
struct Probed {
    /// The number that was given last.
    last: u64,
    /// Of the answer that was noted last, if a tracer looks, and the bytes of its content.
    noted: Option<(NonZeroU64, u64)>,
    /// Answers that have not ended.
    open: usize,
    /// A tracer has looked in this turn.
    is_seen: bool,
}

/// Calls the reader at the end of a shard as well: what that has not said is recorded then.
struct CalledAtTheEnd(Arc<Wake>);

impl Drop for CalledAtTheEnd {
    fn drop(&mut self) {
        self.0.call();
    }
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
        if queue.sampling.is_due() && queue.is_wanted(requested.request(), requested.host(), status) {
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
        self.probed.is_seen = true;
        self.probed.last = self.probed.last.wrapping_add(1).max(1);
        self.probed.noted = NonZeroU64::new(self.probed.last).map(|number| (number, length));
        self.probed.last
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
        OpenAnswer { number, since, probed: self.probed.begin(goes_on).map(|(probed, _)| probed) }
    }

    /// Records the answer that was noted, which has begun. If it goes on, the drop of what this
    /// returns says its end.
    #[inline]
    pub(crate) fn watch(&mut self, goes_on: bool) -> Option<Watched> {
        let probed = self.probed.noted;
        let answer = self.begin(goes_on);
        let (false, Some(ending)) = (answer.is_none(), &self.ending) else { return None };
        let length = probed.map(|(_, length)| length);
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
        let is_seen = std::mem::take(&mut self.probed.is_seen);
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

impl Probed {
    /// The answer that was noted has begun. If it goes on, its end is due.
    #[inline]
    fn begin(&mut self, goes_on: bool) -> Option<(NonZeroU64, u64)> {
        let (number, length) = self.noted.take()?;
        if !goes_on {
            usdt::response_end(number.get(), 0, None);
            return None;
        }
        self.open += 1;
        Some((number, length))
    }

    /// Whether a tracer waits for ends.
    fn is_awaited(&self) -> bool {
        self.is_seen || self.open > 0
    }

    #[cold]
    fn end(&mut self, number: NonZeroU64, unsent: u64, cut: Option<Cut>) {
        self.open = self.open.saturating_sub(1);
        usdt::response_end(number.get(), unsent, cut.and_then(|cut| Cut::name(cut.number())));
    }
}

fn new_ending() -> Ending {
    Rc::new(RefCell::new(Vec::with_capacity(ENDING_MAX)))
}

impl Queue {
    fn new(queues: &Queues, wants: Wants) -> Queue {
        let (writer, wake) = queues.add();
        Queue {
            writer,
            wake: CalledAtTheEnd(wake),
            dropped: Arc::clone(&queues.dropped),
            epoch: queues.epoch(),
            trusts: !wants.trusted.is_empty(),
            wants,
            noted: Noted::Nothing,
            length: 0,
            last: 0,
            open: 0,
            sampling: Sampling::default(),
        }
    }

    fn set_wants(&mut self, wants: Wants) {
        self.trusts = !wants.trusted.is_empty();
        self.wants = wants;
    }

    /// Takes up these traces. They wait if there is no room to say so.
    fn take_up_traces(&mut self, table: &Table) {
        self.noted = Noted::Nothing;
        if self.sampling.ids() != table.ids() {
            if !self.writer.has_room(TRACES + self.open * END) {
                self.sampling = Sampling::default();
                return;
            }
            self.writer.push(entry::traces(table.ids()));
        }
        self.sampling.take_up(table, &self.wants);
    }

    /// Whether there is something to hand over.
    #[inline]
    fn has_any(&self) -> bool {
        self.writer.has_any()
    }

    /// Returns the log of the answer.
    #[inline(always)]
    fn log(&self, host: Option<HostId>) -> Option<LogId> {
        match host {
            Some(host) => self.wants.hosts.get(host.index()).copied().flatten(),
            None => self.wants.others,
        }
    }

    /// Whether a trace takes the answer, or a log does.
    #[inline(never)]
    fn is_wanted(&mut self, request: Option<&Request<'_>>, host: Option<HostId>, status: Status) -> bool {
        self.sampling.choose(request, host, status) || self.log(host).is_some()
    }

    /// Notes an answer that a trace takes, or a log.
    #[cold]
    #[inline(never)]
    fn note_traced(&mut self, answer: &Answer<'_>) {
        let log = self.log(answer.requested.host());
        if !self.writer.has_room(LONGEST + self.open * END) {
            self.sampling.note_no_room();
            // What is dropped is counted for logs.
            self.noted = if log.is_some() { Noted::NoRoom } else { Noted::Nothing };
            return;
        }
        self.length = answer.length;
        let times = (log.unwrap_or(LogId::NONE), answer.start.map(|start| since(self.epoch, start)));
        let (texts, client) = (answer.requested.texts(), self.client(answer));
        let slots = self.writer.next();
        let count = entry::write_other_answer(slots, answer, texts, times, client);
        entry::set_traces(slots, self.sampling.chosen());
        self.noted = Noted::Words(count);
    }

    fn note(&mut self, answer: &Answer<'_>) {
        let Some(log) = self.log(answer.requested.host()) else {
            self.noted = Noted::Nothing;
            return;
        };
        if !self.writer.has_room(LONGEST + self.open * END) {
            self.noted = Noted::NoRoom;
            return;
        }
        self.length = answer.length;
        let times = (log, answer.start.map(|start| since(self.epoch, start)));
        let slots = self.writer.next();
        let count = match &answer.requested {
            // Nearly all of them: what such an answer cannot have is not asked for.
            Requested::Request(request, _) if !self.trusts && request.method != Method::Unknown => {
                let texts = Texts { token: b"", ..Texts::of(request) };
                entry::write_answer(slots, answer, texts, times, None)
            }
            other => entry::write_other_answer(slots, answer, other.texts(), times, self.client(answer)),
        };
        self.noted = Noted::Words(count);
    }

    #[inline]
    fn begin(&mut self, goes_on: bool) -> Option<NonZeroU32> {
        let count = match std::mem::replace(&mut self.noted, Noted::Nothing) {
            Noted::Words(count) => count,
            Noted::Nothing => return None,
            Noted::NoRoom => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let number = if goes_on { self.follow(count) } else { None };
        self.writer.advance(count);
        number
    }

    /// Gives the answer that was noted a number, since it goes on, if its end has a place as well.
    fn follow(&mut self, count: usize) -> Option<NonZeroU32> {
        let need = count + (self.open + 1) * END;
        if self.open == OPEN_MAX || !self.writer.has_room(need) {
            // Whatever others do: a record there is.
            entry::set_not_followed(self.writer.next());
            return None;
        }
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.open += 1;
        let number = NonZeroU32::new(self.last)?;
        entry::set_number(self.writer.next(), number);
        Some(number)
    }

    /// Records an end, whose place was kept.
    fn end(&mut self, answer: NonZeroU32, unsent: u64, cut: Option<Cut>) {
        let cut = cut.map_or(Cut::NONE, Cut::number);
        self.writer.push(entry::end(Ended { number: answer.get(), unsent, cut }));
        self.open -= 1;
    }

    fn end_turn(&mut self, start: Instant, end: Instant) {
        self.writer.end_turn(start, end);
        self.wake.0.call();
    }

    #[cold]
    fn client(&self, answer: &Answer<'_>) -> Option<IpAddr> {
        let (request, peer, trusted) = (answer.requested.request()?, answer.peer?, &self.wants.trusted);
        if !trusted.contain(peer) {
            return None;
        }
        semantics::forwarded(request, |address| trusted.contain_address(address))
    }
}
