//! The thread that writes access logs (`sitar-log`), and what is asked of it.
//!
//! It takes records from the shards' queues, makes their lines and hands them to [`Sink`]s. Its
//! owner gives it logs by their numbers, and may replace the sink of each at any time: orders are
//! left under a lock that the shards know nothing of. An order that was left before the shards
//! were given a number is taken before the first record with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use sitar_server::{LogId, Record};

use super::complaint::Complaint;
use super::format::Addresses;
use super::sink::Sink;
use super::trace::{NewTrace, Tracings};
use super::{Style, format};
use crate::events::Level;

/// The time that a stop waits for lines to be written.
const END: Duration = Duration::from_secs(2);
/// How often a sink without room is tried.
const RETRY: Duration = Duration::from_millis(20);
/// Lines wait this long for others while records come all the time.
const LATEST: Duration = Duration::from_millis(100);
/// Logs that are no longer named by a configuration, and stay for answers of the one before.
pub(crate) const RETIRED_MAX: usize = 16;

/// Where records come from: the worker's queues.
pub(crate) trait Source: Send + 'static {
    /// Hands on each record that is complete. Returns how many there were. Never waits.
    fn read(&mut self, take: impl FnMut(&Record<'_>)) -> usize;
    /// Records that were dropped since the start because a queue was full.
    fn dropped(&self) -> u64;
    /// Sleeps until there may be records, the time has passed, or the thread is called.
    fn rest(&mut self, limit: Option<Duration>);
    /// Whether there will be no more records.
    fn is_over(&self) -> bool;
}

/// What was counted of a log.
#[derive(Debug, Default)]
pub(crate) struct LogCounts {
    /// Records that were written.
    pub(crate) written: AtomicU64,
    /// Records that could not be written.
    pub(crate) failed: AtomicU64,
    /// Records that were left out on purpose.
    pub(crate) sampled: AtomicU64,
}

/// A log to be written from now on.
#[derive(Debug)]
pub(crate) struct NewLog {
    pub(crate) id: LogId,
    /// What messages call it.
    pub(crate) name: String,
    pub(crate) style: Style,
    /// `None`: the one that it has.
    pub(crate) sink: Option<Sink>,
    pub(crate) counts: Arc<LogCounts>,
}

/// Asks the thread that writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer {
    orders: Arc<Orders>,
}

enum Order {
    /// These logs are in force.
    Set(Vec<NewLog>),
    /// These were opened again, and no others go on that are not in force any more.
    Reopen(Vec<NewLog>),
    /// A trace begins.
    Trace(NewTrace),
    /// Traces end.
    EndTraces,
}

#[derive(Default)]
struct Orders {
    /// Something was left.
    any: AtomicBool,
    /// In the order in which they were left.
    left: Mutex<Vec<Order>>,
    ends: AtomicBool,
    /// Records whose log is not known, or not any more.
    unknown: AtomicU64,
    /// Records that queues had no room for.
    dropped: AtomicU64,
    wake: Mutex<Option<Wake>>,
}

/// Tells the operator something.
type Say = Box<dyn FnMut(Level, &str) + Send>;

/// Calls the thread from its rest.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Starts the thread. `wake` ends a rest of the source; `say` tells the operator something.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(
        &self,
        source: impl Source,
        wake: Wake,
        say: impl FnMut(Level, &str) + Send + 'static,
    ) -> io::Result<End> {
        *lock(&self.orders.wake) = Some(wake);
        let (ended, has_ended) = sync_channel(0);
        let writing = Writing {
            orders: Arc::clone(&self.orders),
            logs: BTreeMap::new(),
            retired: Vec::new(),
            traces: Tracings::default(),
            source,
            say: Box::new(say),
            full: Complaint::default(),
            dropped: 0,
        };
        thread::Builder::new().name("sitar-log".into()).spawn(move || writing.run(&ended))?;
        Ok(End { writer: self.clone(), has_ended })
    }

    /// Puts logs into force. Others stay for a while, for answers that began before.
    pub(crate) fn set(&self, logs: Vec<NewLog>) {
        self.leave(Order::Set(logs));
    }

    /// Has logs written to what was opened again. Those that are not in force any more and not
    /// among them end: their files may have been removed.
    pub(crate) fn reopen(&self, logs: Vec<NewLog>) {
        self.leave(Order::Reopen(logs));
    }

    /// Has a trace written. `start` starts it, and its records do not come before its order.
    pub(super) fn trace(&self, start: impl FnOnce() -> Option<NewTrace>) -> bool {
        let mut left = lock(&self.orders.left);
        // Who finds a record of it waits for the order.
        self.orders.any.store(true, Ordering::Release);
        let Some(new) = start() else { return false };
        left.push(Order::Trace(new));
        drop(left);
        self.orders.any.store(true, Ordering::Release);
        self.wake();
        true
    }

    /// Has all traces end.
    pub(crate) fn end_traces(&self) {
        self.leave(Order::EndTraces);
    }

    fn leave(&self, order: Order) {
        lock(&self.orders.left).push(order);
        self.orders.any.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns the number of records that were dropped before a log had them: queues were full, or
    /// their log was not known.
    pub(crate) fn dropped(&self) -> u64 {
        self.orders.unknown.load(Ordering::Relaxed) + self.orders.dropped.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        if let Some(wake) = &*lock(&self.orders.wake) {
            wake();
        }
    }
}

/// Waits for the end of the thread.
#[derive(Debug)]
pub(crate) struct End {
    writer: Writer,
    has_ended: Receiver<()>,
}

impl End {
    /// Waits until all is written, for [`END`] at most. The source is over, or ends now.
    pub(crate) fn wait(self) {
        self.writer.orders.ends.store(true, Ordering::Release);
        self.writer.wake();
        // One that hangs in a write is left alone.
        let _ = self.has_ended.recv_timeout(END + Duration::from_millis(500));
    }
}

/// A log, as its thread has it.
struct Log {
    name: String,
    style: Style,
    sink: Sink,
    counts: Arc<LogCounts>,
    /// Records of each class so far.
    seen: [u32; 5],
    complaint: Complaint,
}

struct Writing<S> {
    orders: Arc<Orders>,
    logs: BTreeMap<LogId, Log>,
    /// Logs that are not in force any more, the oldest first.
    retired: Vec<LogId>,
    traces: Tracings,
    source: S,
    say: Say,
    /// Queues that were full, and logs that ended before their records were read.
    full: Complaint,
    dropped: u64,
}

impl<S: Source> Writing<S> {
    fn run(mut self, ended: &SyncSender<()>) {
        let mut ends_at = None;
        let mut flushed = Instant::now();
        loop {
            let (logs, orders, retired) = (&mut self.logs, &self.orders, &mut self.retired);
            let (say, traces) = (&mut self.say, &mut self.traces);
            take_orders(orders, (&mut *logs, &mut *traces), retired, say);
            let clock = Clock::now();
            let count = self.source.read(|record| {
                if !logs.contains_key(&record.log) || !traces.know(record) {
                    take_orders(orders, (&mut *logs, &mut *traces), retired, say);
                }
                if !traces.is_empty() {
                    // Without a log nothing says that whole addresses may be kept.
                    let log = logs.get(&record.log);
                    let addresses = log.map_or(Addresses::Truncated, |log| log.style.addresses);
                    traces.take(record, addresses, clock);
                }
                match logs.get_mut(&record.log) {
                    Some(log) => log.take(record, clock, say),
                    None if record.log == LogId::NONE => {}
                    None => drop(orders.unknown.fetch_add(1, Ordering::Relaxed)),
                }
            });
            if count == 0 || flushed.elapsed() >= LATEST {
                self.flush();
                flushed = Instant::now();
            }
            if self.orders.ends.load(Ordering::Acquire) {
                self.traces.stop();
                let at = *ends_at.get_or_insert_with(|| Instant::now() + END);
                let is_done =
                    count == 0 && self.source.is_over() && !self.is_pending() && self.traces.is_empty();
                if is_done || Instant::now() >= at {
                    break;
                }
            }
            if count == 0 {
                self.rest();
            }
        }
        // Where the time is over, what was counted last is said, too.
        self.flush();
        for log in self.logs.values_mut() {
            log.end(&mut self.say);
        }
        if let Some(dropped) = self.full.end() {
            (self.say)(Level::Warning, &format!("access logs end; {dropped} records were dropped"));
        }
        drop(self.logs);
        // The owner may not wait any more.
        let _ = ended.try_send(());
    }

    fn is_pending(&self) -> bool {
        self.logs.values().any(|log| log.sink.is_pending())
    }

    /// Writes what there is, and speaks of what has changed.
    fn flush(&mut self) {
        self.traces.go_on();
        for log in self.logs.values_mut() {
            log.flush(&mut self.say);
            if let Some(dropped) = log.complaint.is_over() {
                let name = &log.name;
                let line = format!("the access log {name} is written again; {dropped} records were dropped");
                (self.say)(Level::Info, &line);
            }
        }
        let full = self.source.dropped();
        // A log that has ended had records in a queue that was behind.
        let dropped = full + self.orders.unknown.load(Ordering::Relaxed);
        if dropped > self.dropped {
            if self.full.add(dropped - self.dropped) {
                let line = "access logs are not written as fast as records come; some are dropped";
                (self.say)(Level::Warning, line);
            }
            // It is over once no more of them are dropped.
            self.full.works();
            self.dropped = dropped;
            self.orders.dropped.store(full, Ordering::Relaxed);
        }
        if let Some(dropped) = self.full.is_over() {
            let line = format!("access logs keep up again; {dropped} records were dropped");
            (self.say)(Level::Info, &line);
        }
    }

    /// Sleeps until there is something to do.
    fn rest(&mut self) {
        let complaints = self.logs.values().map(|log| &log.complaint).chain([&self.full]);
        let retry = self.is_pending() || self.orders.ends.load(Ordering::Acquire);
        let limits = complaints.filter_map(Complaint::ends_in).chain(retry.then_some(RETRY));
        let limit = limits.chain(self.traces.next()).min();
        self.source.rest(limit);
    }
}

/// Takes what was left since the last time.
fn take_orders(
    orders: &Orders,
    (logs, traces): (&mut BTreeMap<LogId, Log>, &mut Tracings),
    retired: &mut Vec<LogId>,
    say: &mut dyn FnMut(Level, &str),
) {
    if !orders.any.swap(false, Ordering::Acquire) {
        return;
    }
    for order in std::mem::take(&mut *lock(&orders.left)) {
        let mut gone = Vec::new();
        let all = match order {
            Order::Set(all) => {
                let stay: Vec<LogId> = all.iter().map(|log| log.id).collect();
                retired.retain(|id| !stay.contains(id));
                for id in logs.keys() {
                    if !stay.contains(id) && !retired.contains(id) {
                        retired.push(*id);
                    }
                }
                let many = retired.len().saturating_sub(RETIRED_MAX);
                gone.extend(retired.drain(..many));
                all
            }
            Order::Reopen(all) => {
                gone.extend(retired.extract_if(.., |id| all.iter().all(|log| log.id != *id)));
                all
            }
            Order::Trace(new) => {
                traces.begin(new);
                continue;
            }
            Order::EndTraces => {
                traces.stop();
                continue;
            }
        };
        for new in all {
            replace(new, logs, say);
        }
        for id in gone {
            if let Some(mut log) = logs.remove(&id) {
                log.flush(say);
                log.end(say);
            }
        }
    }
}

fn replace(new: NewLog, logs: &mut BTreeMap<LogId, Log>, say: &mut dyn FnMut(Level, &str)) {
    let NewLog { id, name, style, sink, counts } = new;
    match (logs.get_mut(&id), sink) {
        (Some(log), sink) => {
            // What came before goes where it would have gone.
            log.flush(say);
            let cut_off = sink.map_or(0, |sink| log.sink.replace(sink));
            if cut_off > 0 {
                log.fail(cut_off, "it was not read", say);
            }
            (log.name, log.style, log.counts) = (name, style, counts);
        }
        (None, Some(sink)) => {
            let complaint = Complaint::default();
            logs.insert(id, Log { name, style, sink, counts, seen: [0; 5], complaint });
        }
        // It never had one.
        (None, None) => {}
    }
}

impl Log {
    fn take(&mut self, record: &Record<'_>, clock: Clock, say: &mut dyn FnMut(Level, &str)) {
        if self.leaves_out(record) {
            self.counts.sampled.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Style { format, addresses, .. } = self.style;
        let line = |out: &mut Vec<u8>| format::write(format, addresses, record, clock.of(record.start), out);
        if !self.sink.add(line) {
            self.fail(1, "it is not read, or not fast enough", say);
        } else if self.sink.has_piece() {
            self.flush(say);
        }
    }

    /// Whether sampling leaves a record out. The first of each run is written.
    fn leaves_out(&mut self, record: &Record<'_>) -> bool {
        let class = usize::from(record.status.code() / 100).saturating_sub(1);
        let every = self.style.sample.0.get(class).copied().unwrap_or(0);
        let Some(seen) = self.seen.get_mut(class) else { return false };
        if every < 2 {
            return false;
        }
        let is_left_out = *seen > 0;
        *seen = (*seen + 1) % every;
        is_left_out
    }

    fn flush(&mut self, say: &mut dyn FnMut(Level, &str)) {
        if !self.sink.is_pending() {
            return;
        }
        let wrote = self.sink.flush();
        self.counts.written.fetch_add(wrote.lines, Ordering::Relaxed);
        if let Some(why) = wrote.why {
            self.fail(wrote.failed, &io::Error::from(why).to_string(), say);
        } else if wrote.lines > 0 {
            self.complaint.works();
        }
    }

    fn fail(&mut self, records: u64, why: &str, say: &mut dyn FnMut(Level, &str)) {
        self.counts.failed.fetch_add(records, Ordering::Relaxed);
        if self.complaint.add(records) {
            let name = &self.name;
            let line =
                format!("the access log {name} cannot be written: {why}; records are dropped meanwhile");
            say(Level::Error, &line);
        }
    }

    /// Counts what can no longer be written, and says what was dropped in a trouble that is there.
    fn end(&mut self, say: &mut dyn FnMut(Level, &str)) {
        let records = self.sink.drop_pending();
        if records > 0 {
            self.fail(records, "it is not read", say);
        }
        if let Some(dropped) = self.complaint.end() {
            let name = &self.name;
            say(Level::Warning, &format!("the access log {name} ends; {dropped} records were dropped"));
        }
    }
}

/// The time of day of an instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    instant: Instant,
    /// Since the epoch.
    time: Duration,
}

impl Clock {
    fn now() -> Clock {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock { instant: Instant::now(), time }
    }

    pub(super) fn of(self, instant: Instant) -> Duration {
        match self.instant.checked_duration_since(instant) {
            Some(before) => self.time.saturating_sub(before),
            None => self.time + instant.saturating_duration_since(self.instant),
        }
    }
}
