//! The side of a shard: what it writes into its queue.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rtrb::Producer;
use sitar_http::{Request, semantics};

use super::answer::{Answer, Cut};
use super::entry::{self, END_LEN, Ended, LONGEST, TURN_LEN};
use super::{CAPACITY, Queues, Wake, Wants, since};
use crate::peer::Peer;

/// Answers of a shard that may be under way and have an entry: each has a place in the queue for
/// its end. Further ones are dropped.
const OPEN_MAX: usize = CAPACITY / 4 / END_LEN;
/// Answers that may end while one event is handled: more than a connection has streams.
const ENDING_MAX: usize = 1024;

/// Records the answers of a shard, where a log is wanted.
#[derive(Default)]
pub(crate) struct Recorder {
    queue: Option<Box<Queue>>,
}

struct Queue {
    bytes: Producer<u8>,
    wake: Arc<Wake>,
    epoch: Instant,
    wants: Wants,
    /// An answer, before it is copied into the queue.
    entry: Vec<u8>,
    /// Bytes of its content.
    length: u64,
    /// It is about to begin.
    is_noted: bool,
    /// The number that was given last.
    last: u32,
    /// Answers whose ends are still to come.
    open: usize,
    /// There are entries since the end of the last turn.
    in_turn: bool,
    ending: Ending,
}

/// Answers that have just ended, and what was left of them.
type Ending = Rc<RefCell<Vec<(NonZeroU32, u64)>>>;

/// An answer that is under way and has an entry. Whoever sends it holds this, and says its end.
#[derive(Debug)]
pub(crate) struct OpenAnswer(NonZeroU32);

/// The same, where it can end without a word: its drop says so.
pub(crate) struct Watched {
    answer: NonZeroU32,
    /// Bytes of its content that are not handed over.
    pub(crate) unsent: u64,
    ending: Ending,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut ending = self.ending.borrow_mut();
        // No more of them end at once.
        if ending.len() < ENDING_MAX {
            ending.push((self.answer, self.unsent));
        }
    }
}

impl Recorder {
    /// Takes up what a snapshot says of logs. The queue is made when the first one wants it, and
    /// stays.
    pub(crate) fn take_up(&mut self, wants: Wants, queues: &Queues) {
        if self.queue.is_none() && wants.is_any() {
            self.queue = Some(Box::new(Queue::new(queues, wants)));
        } else if let Some(queue) = &mut self.queue {
            queue.wants = wants;
        }
    }

    /// Whether there are logs.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Notes an answer that is about to begin, instead of the one before.
    #[inline]
    pub(crate) fn note(&mut self, answer: &Answer<'_>) {
        if let Some(queue) = &mut self.queue {
            queue.note(answer);
        }
    }

    /// Records the answer that was noted, which has begun. If it goes on, the caller says its end.
    #[inline]
    pub(crate) fn begin(&mut self, goes_on: bool) -> Option<OpenAnswer> {
        self.queue.as_mut()?.begin(goes_on).map(OpenAnswer)
    }

    /// Records the answer that was noted, which has begun. If it goes on, the drop of what this
    /// returns says its end.
    #[inline]
    pub(crate) fn watch(&mut self, goes_on: bool) -> Option<Watched> {
        let queue = self.queue.as_mut()?;
        let answer = queue.begin(goes_on)?;
        Some(Watched { answer, unsent: queue.length, ending: Rc::clone(&queue.ending) })
    }

    /// An answer has ended.
    pub(crate) fn end(&mut self, OpenAnswer(answer): OpenAnswer, unsent: u64, cut: Option<Cut>) {
        if let Some(queue) = &mut self.queue {
            queue.end(answer, unsent, cut);
        }
    }

    /// Records the ends of watched answers; `cut` is why those have ended of which something is
    /// left.
    #[inline]
    pub(crate) fn note_ends(&mut self, cut: Cut) {
        let Some(queue) = &mut self.queue else { return };
        if !queue.ending.borrow().is_empty() {
            queue.note_ends(cut);
        }
    }

    /// The end of a turn: what was gathered is handed to the kernel. `now` reads the clock.
    #[inline]
    pub(crate) fn end_turn(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(queue) = &mut self.queue
            && queue.in_turn
        {
            queue.end_turn(now());
        }
    }
}

impl Queue {
    fn new(queues: &Queues, wants: Wants) -> Queue {
        let (bytes, wake) = queues.add();
        Queue {
            bytes,
            wake,
            epoch: queues.epoch(),
            wants,
            entry: Vec::with_capacity(LONGEST),
            length: 0,
            is_noted: false,
            last: 0,
            open: 0,
            in_turn: false,
            ending: Rc::new(RefCell::new(Vec::with_capacity(ENDING_MAX))),
        }
    }

    fn note(&mut self, answer: &Answer<'_>) {
        let log = match answer.requested.host() {
            Some(host) => self.wants.hosts.get(host.index()).copied().flatten(),
            None => self.wants.others,
        };
        self.is_noted = log.is_some();
        let Some(log) = log else { return };
        let client = answer.requested.request().and_then(|request| self.client(request, answer.peer));
        let start = since(self.epoch, answer.start);
        self.length = answer.length;
        entry::write_answer(&mut self.entry, answer, (log, start), client);
    }

    fn begin(&mut self, goes_on: bool) -> Option<NonZeroU32> {
        if !std::mem::take(&mut self.is_noted) {
            return None;
        }
        // The ends that are still to come have their places, so that none is lost.
        let ends = (self.open + usize::from(goes_on)) * END_LEN;
        let need = self.entry.len() + ends + TURN_LEN;
        let has_room = self.bytes.cached_slots() >= need || self.bytes.slots() >= need;
        if !has_room || (goes_on && self.open >= OPEN_MAX) {
            self.wake.count_dropped();
            return None;
        }
        let number = if goes_on { NonZeroU32::new(self.next_number()) } else { None };
        if let Some(number) = number {
            entry::set_number(&mut self.entry, number);
            self.open += 1;
        }
        // There is room.
        let _ = self.bytes.push_entire_slice(&self.entry);
        self.in_turn = true;
        number
    }

    fn end(&mut self, answer: NonZeroU32, unsent: u64, cut: Option<Cut>) {
        let cut = cut.map_or(Cut::NONE, Cut::number);
        // Its place was kept.
        let _ = self.bytes.push_entire_slice(&entry::end(Ended { number: answer.get(), unsent, cut }));
        self.open -= 1;
        self.in_turn = true;
    }

    fn note_ends(&mut self, cut: Cut) {
        loop {
            let Some((answer, unsent)) = self.ending.borrow_mut().pop() else { return };
            self.end(answer, unsent, (unsent > 0).then_some(cut));
        }
    }

    fn end_turn(&mut self, now: Instant) {
        // Its place was kept.
        let _ = self.bytes.push_entire_slice(&entry::turn(since(self.epoch, now)));
        self.in_turn = false;
        self.wake.call();
    }

    fn next_number(&mut self) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.last
    }

    fn client(&self, request: &Request<'_>, peer: Option<Peer>) -> Option<IpAddr> {
        if self.wants.trusted.is_empty() || !self.wants.trusted.contain(peer?) {
            return None;
        }
        semantics::forwarded(request, |address| self.wants.trusted.contain_address(address))
    }
}
