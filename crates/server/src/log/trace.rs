//! Traces: samples of the answers of all shards, beside the logs and for a time.
//!
//! A trace is a filter, a number that says which of the answers that match are taken, and a bound.
//! Shards match and count, and take nothing of an answer that is not taken. What is taken goes the
//! way of the logs' records, which name the traces that they are for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sitar_http::{Request, Status};

use super::{Queues, Wants};
use crate::content::inbox::{Inbox, Message};
use crate::snapshot::HostId;

/// The most traces at a time.
pub const TRACES_MAX: usize = 4;

/// The most records that a trace takes from a shard between two [grants](Trace::grant).
pub const TRACE_GRANT: u32 = 1000;

/// The numbers of the traces that an answer is for, at the places that their traces have; 0: none.
pub(super) type TraceIds = [u32; TRACES_MAX];

/// The answers that a trace is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceFilter {
    /// The host that was asked for, without a port, or the label of the site that answered
    /// ([`Host::label`](crate::Host::label)), in lower case. `None`: any, and requests that could
    /// not be read.
    pub host: Option<Box<[u8]>>,
    /// The path as it was sent, without its query. `None`: any, and requests that could not be
    /// read.
    pub path: Option<TracePath>,
    /// The first status and the last one.
    pub status: (u16, u16),
    /// Of the answers of a shard that match, each that is a multiple of this is taken. 0 is as 1.
    pub every: u32,
}

impl Default for TraceFilter {
    /// Returns the filter that takes all answers.
    fn default() -> TraceFilter {
        TraceFilter { host: None, path: None, status: (0, u16::MAX), every: 1 }
    }
}

/// The paths that a trace is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TracePath {
    /// This one.
    Exact(Box<[u8]>),
    /// Those that begin so.
    Prefix(Box<[u8]>),
}

/// What shards have counted for a trace.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TraceCounts {
    /// Answers that match the filter.
    pub matched: u64,
    /// Of these, the ones that sampling took.
    pub sampled: u64,
    /// Of the sampled, those beyond what was granted: they have no records.
    pub left_out: u64,
    /// Of the sampled, those for whose records a queue had no room.
    pub no_room: u64,
}

/// A trace that runs, as all sides have it.
pub(super) struct Running {
    /// Not 0, and no other one has it.
    id: u32,
    filter: TraceFilter,
    shards: Mutex<Counted>,
}

/// What the shards of a trace have counted.
#[derive(Default)]
struct Counted {
    shards: Vec<Arc<ShardCounts>>,
    /// Of shards that have let go of it.
    ended: TraceCounts,
}

/// What one shard has counted. It alone writes all but `granted`.
#[derive(Default)]
#[repr(align(128))]
struct ShardCounts {
    /// Answers that match until the next is sampled.
    left: AtomicU32,
    sampled: AtomicU64,
    taken: AtomicU64,
    no_room: AtomicU64,
    /// The most that may be taken until now.
    granted: AtomicU64,
}

impl ShardCounts {
    fn counts(&self, every: u32) -> TraceCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // Sampled and left belong together; while the shard counts on, this is near enough.
        let (sampled, left) = (load(&self.sampled), self.left.load(Ordering::Relaxed));
        let begun = every.saturating_sub(left);
        TraceCounts {
            matched: sampled * u64::from(every) + u64::from(begun),
            sampled,
            left_out: sampled.saturating_sub(load(&self.taken)),
            no_room: load(&self.no_room),
        }
    }
}

impl TraceCounts {
    fn add(&mut self, other: TraceCounts) {
        self.matched += other.matched;
        self.sampled += other.sampled;
        self.left_out += other.left_out;
        self.no_room += other.no_room;
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn every(&self) -> u32 {
        self.filter.every.max(1)
    }

    /// Adds up those that their shards have let go, so that shards that are started again and
    /// again leave nothing behind.
    fn settle(&self, counted: &mut Counted) {
        let every = self.every();
        for gone in counted.shards.extract_if(.., |shard| Arc::strong_count(shard) == 1) {
            // What the shard wrote last is seen.
            std::sync::atomic::fence(Ordering::Acquire);
            counted.ended.add(gone.counts(every));
        }
    }

    /// Adds a shard.
    fn join(&self) -> Arc<ShardCounts> {
        let counts = ShardCounts::default();
        counts.left.store(self.every(), Ordering::Relaxed);
        counts.granted.store(TRACE_GRANT.into(), Ordering::Relaxed);
        let counts = Arc::new(counts);
        let mut counted = self.lock();
        self.settle(&mut counted);
        counted.shards.push(Arc::clone(&counts));
        counts
    }
}

/// The traces of a worker, by their places.
#[derive(Default)]
pub(super) struct Table {
    running: [Option<Arc<Running>>; TRACES_MAX],
    last: u32,
}

impl Table {
    /// Returns whether there is one.
    pub(super) fn is_any(&self) -> bool {
        self.running.iter().any(Option::is_some)
    }

    pub(super) fn ids(&self) -> TraceIds {
        self.running.each_ref().map(|running| running.as_ref().map_or(0, |running| running.id))
    }
}

/// Starts traces of a worker.
#[derive(Clone)]
pub struct Traces {
    queues: Arc<Queues>,
    inboxes: Vec<Inbox>,
}

impl Traces {
    pub(crate) fn new(queues: Arc<Queues>, inboxes: Vec<Inbox>) -> Traces {
        Traces { queues, inboxes }
    }

    /// Starts a trace: each shard takes it up between two events. `None`: there are
    /// [`TRACES_MAX`] already.
    #[must_use]
    pub fn start(&self, filter: TraceFilter) -> Option<Trace> {
        let mut table = self.queues.traces();
        let id = table.last.checked_add(1).unwrap_or(1);
        let place = table.running.iter_mut().find(|place| place.is_none())?;
        let running = Arc::new(Running { id, filter, shards: Mutex::default() });
        *place = Some(Arc::clone(&running));
        table.last = id;
        drop(table);
        self.tell();
        Some(Trace { running, traces: self.clone() })
    }

    /// Has the shards look at the table.
    fn tell(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.post(Message::Traces));
    }
}

/// A trace. Its drop stops it.
pub struct Trace {
    running: Arc<Running>,
    traces: Traces,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("id", &self.running.id).finish_non_exhaustive()
    }
}

impl Trace {
    /// Returns its number, which [its records](super::Record::traces) have.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running.id
    }

    /// Lets each shard take [`TRACE_GRANT`] records more than it has taken, and no more. Called
    /// once a second, it bounds the records of a second.
    pub fn grant(&self) {
        for shard in &self.running.lock().shards {
            let taken = shard.taken.load(Ordering::Relaxed);
            shard.granted.store(taken + u64::from(TRACE_GRANT), Ordering::Relaxed);
        }
    }

    /// Returns what its shards have counted. What a shard has seen since it looked at an answer
    /// last is in it when the shard has let go.
    #[must_use]
    pub fn counts(&self) -> TraceCounts {
        let every = self.running.every();
        let counted = self.running.lock();
        let mut sum = counted.ended;
        counted.shards.iter().for_each(|shard| sum.add(shard.counts(every)));
        sum
    }

    /// Returns how many shards take part by now.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.running.lock().shards.len()
    }

    /// Has the shards take nothing any more. Each lets go between two events.
    pub fn stop(&self) {
        let mut table = self.traces.queues.traces();
        let is_it = |place: &&mut Option<Arc<Running>>| {
            place.as_ref().is_some_and(|running| running.id == self.running.id)
        };
        let Some(place) = table.running.iter_mut().find(is_it) else { return };
        *place = None;
        drop(table);
        self.traces.tell();
    }

    /// Returns whether it was [stopped](Trace::stop), and every shard has let go: what was
    /// counted is final.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let mut counted = self.running.lock();
        self.running.settle(&mut counted);
        counted.shards.is_empty()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The traces, as a shard has them.
pub(super) struct Sampling {
    /// Answers until the next look at one. Where each answer matches and there is no log, the
    /// others cost no more than this.
    skip: u32,
    /// Of these, the number at the last look.
    step: u32,
    traces: Vec<Sampled>,
    ids: TraceIds,
    /// Each answer matches each trace, and is in no log.
    skips: bool,
    /// The first and the last status that some trace or log is about.
    statuses: (u16, u16),
    /// The traces that the answer was taken for that is about to begin, a bit for each place.
    chosen: u8,
}

/// A trace of a shard.
struct Sampled {
    running: Arc<Running>,
    counts: Arc<ShardCounts>,
    bit: u8,
    /// Whether each answer matches.
    takes_all: bool,
    status: (u16, u16),
    /// The hosts whose label it names, by their numbers. Empty: it names none.
    hosts: Box<[bool]>,
}

impl Sampling {
    /// Takes up the traces that run now. Those that ran before go on as they were.
    pub(super) fn take_up(&mut self, table: &Table, wants: &Wants) {
        self.settle();
        let mut before = std::mem::take(&mut self.traces);
        for (place, running) in table.running.iter().enumerate() {
            let Some(running) = running else { continue };
            let known = before.iter().position(|sampled| sampled.running.id == running.id);
            let counts = match known {
                Some(known) => before.swap_remove(known).counts,
                None => running.join(),
            };
            let TraceFilter { host, path, status, .. } = &running.filter;
            let takes_all = host.is_none() && path.is_none() && *status == TraceFilter::default().status;
            let is_named = |label: &Arc<str>| host.as_deref().is_some_and(|host| is(host, label.as_bytes()));
            let hosts = match host {
                Some(_) => wants.labels.iter().map(is_named).collect(),
                None => Box::default(),
            };
            let (running, status) = (Arc::clone(running), *status);
            self.traces.push(Sampled { running, counts, bit: 1 << place, takes_all, status, hosts });
        }
        (self.ids, self.chosen) = (table.ids(), 0);
        let all = TraceFilter::default().status;
        let statuses = self.traces.iter().map(|sampled| sampled.status);
        let statuses = statuses.chain(wants.is_any().then_some(all));
        let widest = |(first, last): (u16, u16), (one, other)| (first.min(one), last.max(other));
        self.statuses = statuses.reduce(widest).unwrap_or(all);
        self.skips = !wants.is_any() && self.traces.iter().all(|sampled| sampled.takes_all);
        self.begin_step();
    }

    /// Counts the answers since the last look.
    fn settle(&mut self) {
        let passed = self.step.wrapping_sub(self.skip);
        if self.skips && passed > 0 {
            for sampled in &self.traces {
                sampled.pass(passed);
            }
        }
        (self.step, self.skip) = (1, 1);
    }

    /// Chooses the number of answers until the next look.
    fn begin_step(&mut self) {
        let mut step = 1;
        if self.skips {
            let left = |sampled: &Sampled| sampled.counts.left.load(Ordering::Relaxed);
            step = self.traces.iter().map(left).min().unwrap_or(u32::MAX);
        }
        (self.step, self.skip) = (step, step);
    }

    /// Whether an answer that is due may be for a trace or a log, by its status. If not, it is
    /// counted.
    #[inline(always)]
    pub(super) fn may_want(&mut self, status: Status) -> bool {
        let (first, last) = self.statuses;
        let may = (first..=last).contains(&status.code());
        if !may {
            // Each answer is due: where some are not, traces are about all statuses.
            self.skip = 1;
        }
        may
    }

    /// Whether it is time to look at an answer.
    #[inline(always)]
    pub(super) fn is_due(&mut self) -> bool {
        self.skip = self.skip.wrapping_sub(1);
        self.skip == 0
    }

    pub(super) fn is_any(&self) -> bool {
        !self.traces.is_empty()
    }

    pub(super) fn ids(&self) -> TraceIds {
        self.ids
    }

    /// Returns the traces that the answer is for which was looked at last, a bit for each place.
    pub(super) fn chosen(&self) -> u8 {
        self.chosen
    }

    /// Counts an answer that is due, and those before it. Returns whether some trace takes it.
    #[inline]
    pub(super) fn choose(
        &mut self,
        request: Option<&Request<'_>>,
        host: Option<HostId>,
        status: Status,
    ) -> bool {
        let (mut chosen, step) = (0, self.step);
        for sampled in &self.traces {
            if !sampled.takes_all && !sampled.matches(request, host, status.code()) {
                continue;
            }
            if sampled.pass(step) == 0 && sampled.take() {
                chosen |= sampled.bit;
            }
        }
        self.chosen = chosen;
        self.begin_step();
        chosen != 0
    }

    /// Notes that there was no room for what was chosen.
    #[cold]
    pub(super) fn note_no_room(&mut self) {
        let chosen = std::mem::take(&mut self.chosen);
        for sampled in self.traces.iter().filter(|sampled| sampled.bit & chosen != 0) {
            add_one(&sampled.counts.no_room);
        }
    }
}

impl Default for Sampling {
    fn default() -> Sampling {
        let (traces, ids) = (Vec::new(), TraceIds::default());
        Sampling { skip: 1, step: 1, traces, ids, skips: false, statuses: (0, 0), chosen: 0 }
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Sampled {
    /// Counts answers that match. Returns how many are left until the next is sampled.
    #[inline]
    fn pass(&self, count: u32) -> u32 {
        let left = self.counts.left.load(Ordering::Relaxed).wrapping_sub(count);
        self.counts.left.store(left, Ordering::Relaxed);
        left
    }

    /// Samples an answer. Returns whether it has a record.
    #[cold]
    fn take(&self) -> bool {
        let counts = &*self.counts;
        counts.left.store(self.running.every(), Ordering::Relaxed);
        add_one(&counts.sampled);
        let may = counts.taken.load(Ordering::Relaxed) < counts.granted.load(Ordering::Relaxed);
        if may {
            add_one(&counts.taken);
        }
        may
    }

    fn matches(&self, request: Option<&Request<'_>>, host: Option<HostId>, status: u16) -> bool {
        let (first, last) = self.status;
        if !(first..=last).contains(&status) {
            return false;
        }
        let filter = &self.running.filter;
        let Some(request) = request else {
            return filter.host.is_none() && filter.path.is_none();
        };
        let has_path = match &filter.path {
            None => true,
            Some(TracePath::Exact(path)) => request.target.path == &**path,
            Some(TracePath::Prefix(path)) => request.target.path.starts_with(path),
        };
        has_path
            && filter.host.as_deref().is_none_or(|name| {
                let is_named = host.and_then(|host| self.hosts.get(host.index()));
                is_named == Some(&true) || request.authority.is_some_and(|asked| is_asked(name, asked))
            })
    }
}

/// Adds one to a number that one thread writes.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Whether an authority, which may have a port, is for the host of a filter.
fn is_asked(host: &[u8], authority: &[u8]) -> bool {
    let Some((name, rest)) = authority.split_at_checked(host.len()) else { return false };
    // Nearly always it is written as in the filter.
    (name == host || name.eq_ignore_ascii_case(host))
        && matches!(rest, [] | [b'.'] | [b':', ..] | [b'.', b':', ..])
}

/// Whether a name is the one of a filter, which is in lower case.
fn is(host: &[u8], name: &[u8]) -> bool {
    name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(host)
}
