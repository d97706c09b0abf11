//! The side of the reader: records out of the queues of all shards.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rtrb::Consumer;

use super::answer::Cut;
use super::entry::{self, Ended, Entry, Stored};
use super::record::Record;
use super::{CAPACITY, Queues, since};
use crate::close::Close;

/// Bytes of answers under way that are kept, at most. Those past that are dropped.
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
    kept: Kept,
    nap: Duration,
    /// When records came last.
    last: Instant,
}

/// The queue of one shard.
struct Reading {
    queue: Consumer<u8>,
    /// What has been read, from the beginning of a turn.
    bytes: Vec<u8>,
    /// Answers under way, by their number.
    open: HashMap<u32, Box<[u8]>>,
}

/// Answers under way, of all shards.
#[derive(Default)]
struct Kept {
    /// Their bytes.
    bytes: usize,
    /// Those that were too much to keep.
    dropped: u64,
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
        Records { queues, shards: Vec::new(), kept: Kept::default(), nap: NAP, last: Instant::now() }
    }

    /// Hands each record that is complete to `take`. Never waits. Returns how many there were.
    ///
    /// Those of one shard come in the order in which the answers ended.
    pub fn read(&mut self, mut take: impl FnMut(&Record<'_>)) -> usize {
        let new = self.queues.take_new().into_iter();
        self.shards.extend(new.map(|queue| Reading { queue, bytes: Vec::new(), open: HashMap::new() }));
        let (epoch, mut count, mut most) = (self.queues.epoch(), 0, 0);
        let mut emit = |answer: Stored<'_>, ended, time| {
            if let Some(record) = answer.record(ended, epoch, time) {
                count += 1;
                take(&record);
            }
        };
        self.shards.retain_mut(|shard| {
            // In this order: what was written before the end is read.
            let is_over = shard.queue.is_abandoned();
            most = most.max(shard.fill());
            shard.take_turns(&mut self.kept, &mut emit);
            if is_over {
                shard.end(&mut self.kept, since(epoch, Instant::now()), &mut emit);
            }
            !is_over
        });
        self.pace(count, most);
        count
    }

    /// Returns how many records were dropped since the worker's start: shards had no room for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queues.dropped() + self.kept.dropped
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
        !self.queues.has_new() && self.shards.iter().all(|shard| shard.queue.is_empty())
    }

    /// Chooses the next nap, by the most bytes that one queue held.
    fn pace(&mut self, count: usize, most: usize) {
        if count > 0 {
            self.last = Instant::now();
        }
        if most > CAPACITY / 8 {
            self.nap = (self.nap / 2).max(SHORTEST_NAP);
        } else if most < CAPACITY / 32 {
            self.nap = (self.nap * 2).min(NAP);
        }
    }
}

impl Reading {
    /// Takes over what the shard has written. Returns how many bytes that was.
    fn fill(&mut self) -> usize {
        let Ok(chunk) = self.queue.read_chunk(self.queue.slots()) else { return 0 };
        let (first, second) = chunk.as_slices();
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(second);
        let len = chunk.len();
        chunk.commit_all();
        len
    }

    /// Emits the answers that ended in turns that have ended.
    fn take_turns(&mut self, kept: &mut Kept, emit: &mut impl FnMut(Stored<'_>, Ended, u64)) {
        let (mut done, mut at) = (0, 0);
        while let Some((entry, len)) = entry::read(&self.bytes[at..]) {
            at += len;
            if let Entry::Turn(time) = entry {
                let turn = &self.bytes[done..at];
                take_turn(turn, &mut self.open, time, kept, emit);
                done = at;
            }
        }
        self.bytes.drain(..done);
    }

    /// The shard has failed in the midst of a turn: that is the end of all its answers, and how
    /// much of them was sent is not known.
    fn end(&mut self, kept: &mut Kept, now: u64, emit: &mut impl FnMut(Stored<'_>, Ended, u64)) {
        let cut = Cut::Closed(Close::Ours("a shard that has failed")).number();
        let ended = Ended { number: 0, unsent: u64::MAX, cut };
        for (_, bytes) in self.open.drain() {
            kept.bytes -= bytes.len();
            if let Some(answer) = Stored::kept(&bytes) {
                emit(answer, ended, now);
            }
        }
        let mut at = 0;
        while let Some((entry, len)) = entry::read(&self.bytes[at..]) {
            at += len;
            if let Entry::Answer(answer) = entry {
                emit(answer, ended, now);
            }
        }
    }
}

/// Emits the answers that ended in a turn, which ended at `time`.
fn take_turn(
    mut turn: &[u8],
    open: &mut HashMap<u32, Box<[u8]>>,
    time: u64,
    kept: &mut Kept,
    emit: &mut impl FnMut(Stored<'_>, Ended, u64),
) {
    while let Some((entry, len)) = entry::read(turn) {
        turn = &turn[len..];
        match entry {
            Entry::Answer(answer) if answer.number() == 0 => emit(answer, Ended::NOTHING, time),
            Entry::Answer(_) if kept.bytes + len > KEPT_MAX => kept.dropped += 1,
            Entry::Answer(answer) => {
                kept.bytes += len;
                open.insert(answer.number(), answer.bytes().into());
            }
            Entry::End(ended) => {
                let Some(bytes) = open.remove(&ended.number) else { continue };
                kept.bytes -= bytes.len();
                if let Some(answer) = Stored::kept(&bytes) {
                    emit(answer, ended, time);
                }
            }
            Entry::Turn(_) => {}
        }
    }
}
