//! The side of a shard: what it writes into its queue.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rtrb::Producer;
use sitar_http::semantics;

use super::answer::{Answer, Cut, Requested, Texts};
use super::entry::{self, END_LEN, Ended, LONGEST, Turn};
use super::{CAPACITY, Queues, Wake, Wants, since};
use crate::numbers::{Since, Times};

/// Answers of a shard that may be under way and have an entry: each has a place in the ring for its
/// end. Further ones are dropped.
const OPEN_MAX: usize = CAPACITY / 4 / END_LEN;
/// Bytes of answers that are gathered in a turn before they are copied into the ring.
const TURN_MAX: usize = 64 << 10;
/// Answers that may end while one event is handled: more than a connection has streams.
const ENDING_MAX: usize = 1024;

/// Records the answers of a shard where a log is wanted, and times them where that is.
pub(crate) struct Recorder {
    /// `None`: no log has been wanted yet.
    queue: Option<Box<Queue>>,
    times: Option<Times>,
    /// `None`: there is neither.
    ending: Option<Ending>,
    /// For the reader to take the queue from.
    queues: Arc<Queues>,
}

struct Queue {
    ring: Producer<u8>,
    turns: Producer<Turn>,
    /// Bytes in the ring that belong to no turn yet.
    copied: usize,
    /// Behind both rings: who is called by its drop finds them at their end.
    wake: CalledAtTheEnd,
    epoch: Instant,
    wants: Wants,
    /// The answers of this turn, and the one that was noted last.
    turn: Vec<u8>,
    /// Bytes of those in it that have begun.
    begun: usize,
    /// Their number.
    answers: u64,
    /// Bytes of content of the one that was noted last.
    length: u64,
    /// The ends in this turn.
    ends: Vec<u8>,
    /// The number that was given last.
    last: u32,
    /// Answers whose ends are not in the ring.
    open: usize,
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
        let mut recorder = Recorder { queue: None, times, ending, queues };
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
        let number = self.queue.as_mut().and_then(|queue| queue.begin(goes_on));
        let since = self.times.as_mut().and_then(|times| times.begin(goes_on));
        OpenAnswer { number, since }
    }

    /// Records the answer that was noted, which has begun. If it goes on, the drop of what this
    /// returns says its end.
    #[inline]
    pub(crate) fn watch(&mut self, goes_on: bool) -> Option<Watched> {
        let answer = self.begin(goes_on);
        let (false, Some(ending)) = (answer.is_none(), &self.ending) else { return None };
        let unsent = self.queue.as_ref().map_or(0, |queue| queue.length);
        Some(Watched { answer, unsent, ending: Rc::clone(ending) })
    }

    /// An answer has ended.
    #[inline]
    pub(crate) fn end(&mut self, OpenAnswer { number, since }: OpenAnswer, unsent: u64, cut: Option<Cut>) {
        if let (Some(queue), Some(number)) = (&mut self.queue, number) {
            queue.end(number, unsent, cut);
        }
        if let (Some(times), Some(since)) = (&mut self.times, since) {
            times.end(since);
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
        let queue = self.queue.as_mut().filter(|queue| queue.has_any());
        let times = self.times.as_mut().filter(|times| times.has_ended());
        if queue.is_some() || times.is_some() {
            let end = end();
            queue.into_iter().for_each(|queue| queue.end_turn(start, end));
            times.into_iter().for_each(|times| times.end_turn(end));
        }
    }
}

impl OpenAnswer {
    /// Whether nothing waits for its end.
    pub(super) fn is_none(&self) -> bool {
        self.number.is_none() && self.since.is_none()
    }
}

fn new_ending() -> Ending {
    Rc::new(RefCell::new(Vec::with_capacity(ENDING_MAX)))
}

/// The shard fails, or leaves: what it has begun to say is said.
impl Drop for Queue {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Queue {
    fn new(queues: &Queues, wants: Wants) -> Queue {
        let (ring, turns, wake) = queues.add();
        Queue {
            ring,
            turns,
            copied: 0,
            wake: CalledAtTheEnd(wake),
            epoch: queues.epoch(),
            wants,
            turn: Vec::with_capacity(TURN_MAX + LONGEST),
            begun: 0,
            answers: 0,
            length: 0,
            ends: Vec::with_capacity(TURN_MAX),
            last: 0,
            open: 0,
        }
    }

    /// Whether there is something to hand over.
    #[inline]
    fn has_any(&self) -> bool {
        self.begun > 0 || !self.ends.is_empty() || self.copied > 0
    }

    fn note(&mut self, answer: &Answer<'_>) {
        self.turn.truncate(self.begun);
        let log = match answer.requested.host() {
            Some(host) => self.wants.hosts.get(host.index()).copied().flatten(),
            None => self.wants.others,
        };
        let Some(log) = log else { return };
        if self.begun > TURN_MAX {
            self.flush();
        }
        let client = if self.wants.trusted.is_empty() { None } else { self.client(answer) };
        let start = answer.start.map(|start| since(self.epoch, start));
        self.length = answer.length;
        match &answer.requested {
            // Nearly all of them: what such an answer cannot have is not asked for.
            Requested::Request(request, _) => {
                entry::write_answer(&mut self.turn, answer, Texts::of(request), (log, start), client);
            }
            other => {
                let texts = other.texts();
                entry::write_other_answer(&mut self.turn, answer, texts, (log, start), client);
            }
        }
    }

    fn begin(&mut self, goes_on: bool) -> Option<NonZeroU32> {
        if self.turn.len() == self.begun {
            return None;
        }
        let is_followed = goes_on && self.has_room_for_end();
        if goes_on && !is_followed {
            // Whatever others do: a record there is.
            entry::set_not_followed(&mut self.turn[self.begun..]);
        }
        let number = if is_followed { NonZeroU32::new(self.next_number()) } else { None };
        if let Some(number) = number {
            entry::set_number(&mut self.turn[self.begun..], number);
            self.open += 1;
        }
        self.begun = self.turn.len();
        self.answers += 1;
        number
    }

    /// Whether one more end has a place in the ring.
    fn has_room_for_end(&mut self) -> bool {
        let need = (self.open + 1) * END_LEN;
        self.open < OPEN_MAX && (self.ring.cached_slots() >= need || self.ring.slots() >= need)
    }

    fn end(&mut self, answer: NonZeroU32, unsent: u64, cut: Option<Cut>) {
        let cut = cut.map_or(Cut::NONE, Cut::number);
        self.ends.extend_from_slice(&entry::end(Ended { number: answer.get(), unsent, cut }));
    }

    /// Copies the answers of this turn into the ring. Where there is no room, they are dropped: the
    /// ends that are still to come have their places, so that none of them is lost.
    fn flush(&mut self) {
        let need = self.begun + self.open * END_LEN;
        let has_room = self.open == 0 || self.ring.cached_slots() >= need || self.ring.slots() >= need;
        if has_room && self.ring.push_entire_slice(&self.turn[..self.begun]).is_ok() {
            self.copied += self.begun;
        } else {
            self.wake.0.count_dropped(self.answers);
        }
        self.turn.clear();
        (self.begun, self.answers) = (0, 0);
    }

    fn end_turn(&mut self, start: Instant, end: Instant) {
        if self.begun > 0 {
            self.flush();
        }
        if !self.ends.is_empty() {
            // Their places were kept.
            let _ = self.ring.push_entire_slice(&self.ends);
            self.copied += self.ends.len();
            self.open -= self.ends.len() / END_LEN;
            self.ends.clear();
        }
        // There are fewer turns than there is room for, unless the reader stands still: then these
        // entries are counted to the next turn.
        if self.turns.push(Turn { start, end, len: self.copied }).is_ok() {
            self.copied = 0;
        }
        self.wake.0.call();
    }

    fn next_number(&mut self) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.last
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
