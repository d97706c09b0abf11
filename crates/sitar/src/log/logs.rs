//! The logs of one worker: their numbers, over all configurations that it serves.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sitar_server::{LogId, Record, Records, TRACES_MAX, Worker};

use super::open::name;
use super::sink::Sink;
use super::trace::NewTrace;
use super::writer::{End, LogCounts, NewLog, RETIRED_MAX, Source, Writer};
use super::{LogNumbers, Style};
use crate::config::{LogConfig, SiteConfig, Target};
use crate::events::Event;
use crate::trace::Spec;

/// A rest without an end.
const LONG: Duration = Duration::from_secs(60 * 60);

/// The logs that a worker writes.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    writer: Writer,
    /// The thread, once there was a log.
    end: Option<End>,
    current: Vec<Known>,
    /// Those that the writer still has for answers that began before, the oldest first.
    retired: Vec<Known>,
    last: u16,
    /// Those that the writer may still write what it has for, before it lets them go.
    leaving: Vec<Known>,
    /// What was counted of those that it has let go: written, sampled, failed.
    forgotten: [u64; 3],
    /// Has a handle more for each trace that is not done with.
    traces: Arc<()>,
    /// The worker leaves, and there are no traces any more.
    is_leaving: bool,
}

/// A log, and its number.
#[derive(Debug, Clone)]
struct Known {
    target: Target,
    style: Style,
    id: LogId,
    counts: Arc<LogCounts>,
}

/// The logs of a configuration that is not in force yet.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    all: Vec<(Known, Option<Sink>)>,
    ids: HashMap<Target, LogId>,
    /// The log of answers that no site gives.
    pub(crate) others: Option<LogId>,
    default: Target,
}

impl Plan {
    /// Returns the log of a site.
    pub(crate) fn of(&self, site: &SiteConfig) -> Option<LogId> {
        self.ids.get(site.log.as_ref().map_or(&self.default, |log| &log.target)).copied()
    }
}

impl Logs {
    /// Gives numbers to the logs of a configuration. `opened` are its targets, in their order; one
    /// that is not open keeps what it has.
    pub(crate) fn plan(
        &self,
        config: &LogConfig,
        sites: &[SiteConfig],
        opened: Vec<io::Result<OwnedFd>>,
    ) -> Plan {
        let mut plan = Plan { default: config.target.target.clone(), ..Plan::default() };
        let mut last = self.last;
        let mut opened = opened.into_iter();
        for target in config.targets(sites) {
            let known = self.find(&target.target, &config.style).unwrap_or_else(|| Known {
                target: target.target.clone(),
                style: config.style.clone(),
                id: self.unused(&mut last),
                counts: Arc::default(),
            });
            let sink = opened.next().and_then(|fd| sink(&target.target, fd.ok()?));
            plan.ids.insert(target.target.clone(), known.id);
            plan.all.push((known, sink));
        }
        plan.others = plan.ids.get(&plan.default).copied();
        plan
    }

    fn find(&self, target: &Target, style: &Style) -> Option<Known> {
        let mut all = self.current.iter().chain(&self.retired);
        all.find(|known| known.target == *target && known.style == *style).cloned()
    }

    fn unused(&self, last: &mut u16) -> LogId {
        let is_used = |id| self.current.iter().chain(&self.retired).any(|known| known.id == id);
        // Fewer than 2,000 are in use.
        loop {
            *last = last.wrapping_add(1);
            if !is_used(LogId(*last)) && LogId(*last) != LogId::NONE {
                return LogId(*last);
            }
        }
    }

    /// Has the logs of a configuration written from now on: before the first answer of it.
    pub(crate) fn put(&mut self, plan: Plan) {
        let (next, logs): (Vec<Known>, Vec<NewLog>) =
            plan.all.into_iter().map(|(known, sink)| (known.clone(), new(known, sink))).unzip();
        self.last = next.iter().map(|known| known.id.0).fold(self.last, u16::max);
        let stays = |known: &Known| next.iter().any(|other| other.id == known.id);
        self.retired.retain(|known| !stays(known));
        // It may have ended since it was planned again: its counters go on.
        self.leaving.retain(|known| !stays(known));
        self.retired.extend(self.current.drain(..).filter(|known| !stays(known)));
        let many = self.retired.len().saturating_sub(RETIRED_MAX);
        let gone: Vec<Known> = self.retired.drain(..many).collect();
        self.current = next;
        self.writer.set(logs);
        self.forget(gone);
    }

    /// Starts the thread that writes, if there is something to write.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(&mut self, worker: &Worker) -> io::Result<()> {
        if self.current.is_empty() { Ok(()) } else { self.start_thread(worker) }
    }

    fn start_thread(&mut self, worker: &Worker) -> io::Result<()> {
        if self.end.is_some() {
            return Ok(());
        }
        let records = worker.records();
        let waker = records.waker();
        let say = |level, line: &str| Event::new(level, line).say();
        self.end = Some(self.writer.start(records, Box::new(move || waker.wake()), say)?);
        Ok(())
    }

    /// Has a trace written to a client's connection.
    ///
    /// # Errors
    /// It cannot be: a sentence.
    pub(crate) fn trace(&mut self, worker: &Worker, spec: Spec, client: OwnedFd) -> Result<(), String> {
        if self.is_leaving {
            return Err("the server stops, or another worker takes over".to_owned());
        }
        // Those that have ended and wait for their clients count as well.
        let full = || format!("{TRACES_MAX} traces run already, and that is the most at a time");
        if Arc::strong_count(&self.traces) > TRACES_MAX {
            return Err(full());
        }
        let sink = Sink::new(client).map_err(|errno| errno.to_string())?;
        self.start_thread(worker).map_err(|error| error.to_string())?;
        let (traces, shards) = (worker.traces(), worker.shards());
        let place = Arc::clone(&self.traces);
        let start = || {
            let taking = Box::new(traces.start(spec.filter())?);
            Some(NewTrace { taking, spec, shards, sink, place })
        };
        if self.writer.trace(start) { Ok(()) } else { Err(full()) }
    }

    /// Ends traces: the worker leaves.
    pub(crate) fn end_traces(&mut self) {
        if !std::mem::replace(&mut self.is_leaving, true) {
            self.writer.end_traces();
        }
    }

    /// Has logs written to what was opened again. One that is not in force any more ends, unless
    /// its target was opened for another.
    pub(crate) fn reopen(&mut self, opened: impl IntoIterator<Item = (Target, OwnedFd)>) {
        let opened: HashMap<Target, OwnedFd> = opened.into_iter().collect();
        let retired = std::mem::take(&mut self.retired).into_iter();
        let (stay, gone): (Vec<_>, Vec<_>) = retired.partition(|known| opened.contains_key(&known.target));
        self.retired = stay;
        let all = self.current.iter().chain(&self.retired).map(|known| {
            let fd = opened.get(&known.target).and_then(|fd| fd.try_clone().ok());
            new(known.clone(), fd.and_then(|fd| sink(&known.target, fd)))
        });
        self.writer.reopen(all.collect());
        self.forget(gone);
    }

    /// Takes what ends the thread, when the worker has ended.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// Returns the number of records that no log has got: queues were full, or it was retired.
    pub(crate) fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// These are not in force any more. What was counted of them is final when the writer has let
    /// go of the counters.
    fn forget(&mut self, gone: Vec<Known>) {
        self.leaving.extend(gone);
        let is_final = |known: &mut Known| Arc::get_mut(&mut known.counts).is_some();
        let done: Vec<Known> = self.leaving.extract_if(.., is_final).collect();
        add(&mut self.forgotten, &done);
    }

    /// Returns how many records of all logs were written, sampled and not written, until now.
    pub(crate) fn sums(&self) -> [u64; 3] {
        let mut sums = self.forgotten;
        add(&mut sums, &self.current);
        add(&mut sums, &self.retired);
        add(&mut sums, &self.leaving);
        sums
    }

    /// Returns what was counted of each log that is in force.
    pub(crate) fn numbers(&self) -> Vec<LogNumbers> {
        let of = |known: &Known| LogNumbers {
            name: name(&known.target),
            written: known.counts.written.load(Ordering::Relaxed),
            failed: known.counts.failed.load(Ordering::Relaxed),
            sampled: known.counts.sampled.load(Ordering::Relaxed),
        };
        self.current.iter().map(of).collect()
    }
}

/// Adds what was counted of logs.
fn add(sums: &mut [u64; 3], logs: &[Known]) {
    for known in logs {
        let LogCounts { written, sampled, failed } = &*known.counts;
        for (sum, count) in sums.iter_mut().zip([written, sampled, failed]) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

fn new(known: Known, sink: Option<Sink>) -> NewLog {
    let Known { target, style, id, counts } = known;
    NewLog { id, name: name(&target), style, sink, counts }
}

fn sink(target: &Target, fd: OwnedFd) -> Option<Sink> {
    match target {
        Target::Journal => Some(Sink::journal(fd)),
        _ => Sink::new(fd).ok(),
    }
}

impl Source for Records {
    fn read(&mut self, take: impl FnMut(&Record<'_>)) -> usize {
        Records::read(self, take)
    }

    fn dropped(&self) -> u64 {
        Records::dropped(self)
    }

    fn rest(&mut self, limit: Option<Duration>) {
        Records::rest(self, limit.unwrap_or(LONG));
    }

    fn is_over(&self) -> bool {
        Records::is_over(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::config::{LogTarget, Place};
    use crate::events;

    fn config(path: &str) -> LogConfig {
        let place = Place { file: Path::new("sitar.toml").into(), line: 1, column: 1 };
        let target = LogTarget { target: Target::File(path.into()), place };
        LogConfig { target, style: Style::default(), events: events::Form::default() }
    }

    fn null() -> OwnedFd {
        File::options().write(true).open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_log_that_ends_while_it_is_planned_again_is_counted_once() {
        let mut logs = Logs::default();
        let plan = |logs: &Logs, path| logs.plan(&config(path), &[], vec![Ok(null())]);
        logs.put(plan(&logs, "a"));
        logs.current[0].counts.written.store(5, Ordering::Relaxed);
        logs.put(plan(&logs, "b"));
        // A reload goes back to the first one, and the logs in force are opened again meanwhile.
        let again = plan(&logs, "a");
        logs.reopen([(Target::File("b".into()), null())]);
        logs.put(again);
        assert_eq!(logs.sums(), [5, 0, 0]);
        // It ends once more, and is final then.
        logs.put(plan(&logs, "b"));
        logs.reopen([(Target::File("b".into()), null())]);
        logs.writer = Writer::default();
        logs.forget(Vec::new());
        assert_eq!((logs.sums(), logs.forgotten), ([5, 0, 0], [5, 0, 0]));
    }
}
