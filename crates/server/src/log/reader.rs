//! The side of the reader: records out of the queues of all shards.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Queues;
use super::answer::Cut;
use super::entry::{self, Ended, Entry, Stored};
use super::queue::{Reader, Turn, WORDS};
use super::record::Record;
use super::trace::TraceIds;
use crate::close::Close;

/// Bytes of answers under way that are kept, at most. Of those past that the end is not known.
const KEPT_MAX: usize = 32 << 20;
/// Between two looks while records come; shorter where they come fast.
const NAP: Duration = Duration::from_millis(10);
const SHORTEST_NAP: Duration = Duration::from_micros(250);
/// After this without a record it sleeps until a shard calls.
const QUIET: Duration = Duration::from_secs(1);

/// The records of a worker's answers, for one thread that may block.
pub struct Records {
    queues: Arc<Queues>,
    shards: Vec<Reading>,
    /// Bytes of answers under way, of all shards.
    kept: usize,
    nap: Duration,
    /// When records came last.
    last: Instant,
}

/// The queue of one shard.
struct Reading {
    queue: Reader,
    /// The entries of one turn.
    entries: Vec<u8>,
    /// Answers under way, by their number.
    open: HashMap<u32, Open>,
    /// What the marks of its answers stand for.
    traces: TraceIds,
}

/// An answer that is under way.
struct Open {
    since: Instant,
    traces: TraceIds,
    bytes: Box<[u8]>,
}

/// Ends a [rest](Records::rest) early.
#[derive(Clone)]
pub struct RecordsWaker(Arc<Queues>);

impl RecordsWaker {
    /// Ends the rest of the reader, or its next one.
    pub fn wake(&self) {
        self.0.wake.interrupt();
    }
}

impl Records {
    pub(crate) fn new(queues: Arc<Queues>) -> Records {
        Records { queues, shards: Vec::new(), kept: 0, nap: NAP, last: Instant::now() }
    }

    /// Hands each record that is complete to `take`. Never waits. Returns how many there were.
    ///
    /// Those of one shard come in the order in which the answers ended.
    pub fn read(&mut self, mut take: impl FnMut(&Record<'_>)) -> usize {
        let new = self.queues.take_new().into_iter();
        let reading =
            |queue| Reading { queue, entries: Vec::new(), open: HashMap::new(), traces: TraceIds::default() };
        self.shards.extend(new.map(reading));
        let (epoch, mut count, mut most) = (self.queues.epoch(), 0, 0);
        let mut emit = |answer: Stored<'_>, traces, ended, times| {
            if let Some(record) = answer.record(traces, ended, times) {
                count += 1;
                take(&record);
            }
        };
        self.shards.retain_mut(|shard| {
            // In this order: what was written before the end is read.
            let is_over = shard.queue.is_over();
            most = most.max(shard.take_turns(epoch, &mut self.kept, &mut emit));
            if is_over {
                shard.end(epoch, &mut self.kept, &mut emit);
            }
            !is_over
        });
        self.pace(count, most);
        count
    }

    /// Returns how many records were dropped since the worker's start: shards had no room for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queues.dropped()
    }

    /// Waits until there may be records: for milliseconds while they come, after a second without
    /// any until a shard calls. Returns after `limit` at the latest, and soon when it is
    /// [woken](RecordsWaker::wake).
    pub fn rest(&mut self, limit: Duration) {
        let wake = &self.queues.wake;
        if self.last.elapsed() < QUIET {
            thread::park_timeout(self.nap.min(limit));
            return;
        }
        wake.fall_asleep();
        if !wake.is_interrupted() && self.has_nothing() {
            thread::park_timeout(limit);
        }
        wake.wake_up();
    }

    /// Returns a handle that ends a rest.
    #[must_use]
    pub fn waker(&self) -> RecordsWaker {
        RecordsWaker(Arc::clone(&self.queues))
    }

    /// Returns whether no shard has a queue any more. When the [worker has
    /// ended](crate::Worker::wait), everything has been read then.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shards.is_empty() && !self.queues.has_new()
    }

    fn has_nothing(&self) -> bool {
        let has_none = |queue: &Reader| !queue.is_over() && queue.turns() == 0;
        !self.queues.has_new() && self.shards.iter().all(|shard| has_none(&shard.queue))
    }

    /// Chooses the next nap, by the most words that one queue held.
    fn pace(&mut self, count: usize, most: usize) {
        if count > 0 {
            self.last = Instant::now();
        }
        if most > WORDS / 8 {
            self.nap = (self.nap / 2).max(SHORTEST_NAP);
        } else if most < WORDS / 32 {
            self.nap = (self.nap * 2).min(NAP);
        }
    }
}

/// Takes a record that is complete: the answer, its traces, how it ended, and the times of its
/// request and end.
trait Emit: FnMut(Stored<'_>, TraceIds, Ended, (Instant, Instant)) {}
impl<F: FnMut(Stored<'_>, TraceIds, Ended, (Instant, Instant))> Emit for F {}

impl Reading {
    /// Reads what is there now, and no more: a shard that is faster than this thread holds up
    /// neither the other shards nor what this thread has to do beside reading. Returns how many
    /// words these were.
    fn take_turns(&mut self, epoch: Instant, kept: &mut usize, emit: &mut impl Emit) -> usize {
        let before = self.queue.place();
        for _ in 0..self.queue.turns() {
            let Some(turn) = self.queue.next_turn() else { break };
            self.unpack(turn.until);
            self.take_turn(turn, epoch, kept, emit);
        }
        self.queue.place().wrapping_sub(before)
    }

    /// Moves the entries before `until` from the queue to `entries`.
    fn unpack(&mut self, until: usize) {
        self.entries.clear();
        while let Some(slots) = self.queue.next(until) {
            entry::unpack(slots, &mut self.entries);
        }
        self.queue.give_back();
    }

    /// Emits the answers that ended in a turn, and keeps those that go on.
    fn take_turn(&mut self, turn: Turn, epoch: Instant, kept: &mut usize, emit: &mut impl Emit) {
        let mut rest = &self.entries[..];
        while let Some((entry, len)) = entry::read(rest) {
            rest = &rest[len..];
            match entry {
                Entry::Answer(answer) if answer.number() == 0 => {
                    let times = (answer.start(turn.start, epoch), turn.end);
                    emit(answer, answer.traces(self.traces), answer.ended(), times);
                }
                // A client that lets many stand still keeps none from the log.
                Entry::Answer(answer) if *kept + len > KEPT_MAX => {
                    let times = (answer.start(turn.start, epoch), turn.end);
                    emit(answer, answer.traces(self.traces), Ended::NOT_FOLLOWED, times);
                }
                Entry::Answer(answer) => {
                    *kept += len;
                    let since = answer.start(turn.start, epoch);
                    let (traces, bytes) = (answer.traces(self.traces), answer.bytes().into());
                    self.open.insert(answer.number(), Open { since, traces, bytes });
                }
                Entry::End(ended) => {
                    let Some(open) = self.open.remove(&ended.number) else { continue };
                    *kept -= open.bytes.len();
                    if let Some(answer) = Stored::kept(&open.bytes) {
                        emit(answer, open.traces, ended, (open.since, turn.end));
                    }
                }
                Entry::Traces(traces) => self.traces = traces,
            }
        }
    }

    /// The shard has failed in the midst of a turn: that is the end of all its answers, and how
    /// much of them was sent is not known.
    fn end(&mut self, epoch: Instant, kept: &mut usize, emit: &mut impl Emit) {
        let cut = Cut::Closed(Close::Ours("a shard that has failed")).number();
        let (ended, now) = (Ended { number: 0, unsent: u64::MAX, cut }, Instant::now());
        for (_, open) in self.open.drain() {
            *kept -= open.bytes.len();
            if let Some(answer) = Stored::kept(&open.bytes) {
                emit(answer, open.traces, ended, (open.since, now));
            }
        }
        self.unpack(self.queue.end());
        let mut rest = &self.entries[..];
        while let Some((entry, len)) = entry::read(rest) {
            rest = &rest[len..];
            match entry {
                Entry::Answer(answer) => {
                    let times = (answer.start(now, epoch), now);
                    emit(answer, answer.traces(self.traces), ended, times);
                }
                Entry::Traces(traces) => self.traces = traces,
                Entry::End(_) => {}
            }
        }
    }
}
