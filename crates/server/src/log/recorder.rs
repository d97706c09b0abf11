//! The side of a shard: what it writes into its queue.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sitar_http::{Method, semantics};
use sitar_io::usdt;

use super::answer::{Answer, Cut, Requested, Texts};
use super::entry::{self, END, Ended, LONGEST};
use super::queue::{WORDS, Writer};
use super::{Queues, Wants, since};
use crate::numbers::{Since, Times};
use crate::wake::Wake;

/// Answers of a shard that may be under way and have an entry: each has a place in the queue for
/// its end. Further ones are not followed.
const OPEN_MAX: usize = WORDS / 4 / END;
/// Answers that may end while one event is handled: more than a connection has streams.
const ENDING_MAX: usize = 1024;

/// Records the answers of a shard where a log is wanted, and times them where that is.
pub(crate) struct Recorder {
    /// `None`: no log has been wanted yet.
    queue: Option<Box<Queue>>,
    times: Option<Times>,
    /// Answers that a tracer follows.
    probed: Probed,
    /// `None`: there is none of these.
    ending: Option<Ending>,
    /// For the reader to take the queue from.
    queues: Arc<Queues>,
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
        let mut recorder = Recorder { queue: None, times, probed: Probed::default(), ending, queues };
        recorder.take_up(wants);
        recorder
    }

    /// Takes up what another snapshot says. The queue is made when the first one wants it, and
    /// stays.
    pub(crate) fn take_up(&mut self, wants: Wants) {
        if self.queue.is_none() && wants.is_any() {
            self.queue = Some(Box::new(Queue::new(&self.queues, wants)));
            self.ending.get_or_insert_with(new_ending);
        } else if let Some(queue) = &mut self.queue {
            queue.trusts = !wants.trusted.is_empty();
            queue.wants = wants;
        }
    }

    /// Whether there are logs.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// A turn begins.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        if let Some(times) = &mut self.times {
            times.begin_turn(now);
        }
    }

    /// Notes an answer that is about to begin, instead of the one before.
    #[inline]
    pub(crate) fn note(&mut self, answer: &Answer<'_>) {
        if let Some(queue) = &mut self.queue {
            queue.note(answer);
        }
    }

    /// Notes that a tracer looks at the answer that is about to begin, with this many bytes of
    /// content. Returns the answer's number.
    #[cold]
    pub(crate) fn probe(&mut self, length: u64) -> u64 {
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
        // Asked once for both, so that a shard that does neither pays for one question.
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
        if queue.is_some() || times.is_some() {
            let end = end();
            queue.into_iter().for_each(|queue| queue.end_turn(start, end));
            times.into_iter().for_each(|times| times.end_turn(end));
        }
        // Where the tracer has gone and nothing else waits for ends, answers cost nothing again.
        let is_seen = std::mem::take(&mut self.probed.is_seen);
        if self.queue.is_none() && self.times.is_none() && !is_seen && self.probed.open == 0 {
            self.ending = None;
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
        }
    }

    /// Whether there is something to hand over.
    #[inline]
    fn has_any(&self) -> bool {
        self.writer.has_any()
    }

    fn note(&mut self, answer: &Answer<'_>) {
        self.noted = Noted::Nothing;
        let log = match answer.requested.host() {
            Some(host) => self.wants.hosts.get(host.index()).copied().flatten(),
            None => self.wants.others,
        };
        let Some(log) = log else { return };
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
