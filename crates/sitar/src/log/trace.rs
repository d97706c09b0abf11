//! The traces of a worker, as the thread that writes has them: lines over a connection that a
//! client reads, or does not.
//!
//! A trace never waits and never lasts: it ends when its time is over, when it has its records,
//! when its client is gone or reads nothing, and when the server stops. Then its last line says
//! why, and what was counted.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sitar_server::{Record, Trace, TraceCounts};

use super::format::{self, Addresses, Format};
use super::sink::Sink;
use super::writer::Clock;
use crate::trace::{SCHEMA, Spec};

/// Between two grants of records to a shard.
const SECOND: Duration = Duration::from_secs(1);
/// A client that takes nothing of what waits for it for this time has no trace any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time for shards to take a trace up, and to let go of it.
const SETTLING: Duration = Duration::from_secs(1);
/// Between two looks at a trace, at most, and while its begin or its end is under way.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_SOON: Duration = Duration::from_millis(10);

/// What shards take for a trace. Its drop stops it.
pub(super) trait Taking: Send {
    /// See [`Trace::id`].
    fn id(&self) -> u32;
    /// See [`Trace::joined`].
    fn joined(&self) -> usize;
    /// See [`Trace::grant`].
    fn grant(&self);
    /// See [`Trace::counts`].
    fn counts(&self) -> TraceCounts;
    /// See [`Trace::stop`].
    fn stop(&self);
    /// See [`Trace::is_over`].
    fn is_over(&self) -> bool;
}

impl Taking for Trace {
    fn id(&self) -> u32 {
        Trace::id(self)
    }

    fn joined(&self) -> usize {
        Trace::joined(self)
    }

    fn grant(&self) {
        Trace::grant(self);
    }

    fn counts(&self) -> TraceCounts {
        Trace::counts(self)
    }

    fn stop(&self) {
        Trace::stop(self);
    }

    fn is_over(&self) -> bool {
        Trace::is_over(self)
    }
}

/// A trace that begins.
pub(super) struct NewTrace {
    pub(super) taking: Box<dyn Taking>,
    pub(super) spec: Spec,
    pub(super) shards: usize,
    pub(super) sink: Sink,
    /// Counts those that are not done with, by its handles.
    pub(super) place: Arc<()>,
}

/// The reason why a trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time is over.
    Duration,
    /// It has its records.
    Count,
    /// Its client reads nothing.
    Reader,
    /// The server stops or drains.
    Stopped,
}

impl Why {
    fn name(self) -> &'static str {
        match self {
            Why::Duration => "duration",
            Why::Count => "count",
            Why::Reader => "reader",
            Why::Stopped => "stopped",
        }
    }
}

/// The traces that are not done with.
#[derive(Default)]
pub(super) struct Tracings(Vec<Tracing>);

struct Tracing {
    taking: Box<dyn Taking>,
    sink: Sink,
    _place: Arc<()>,
    /// Records that end it.
    count: u64,
    begun_at: Instant,
    ends_at: Instant,
    granted_at: Instant,
    /// When its client took something last, or nothing waited for it.
    taken_at: Instant,
    /// Records that came, and those among them that the client has, or that wait for it.
    came: u64,
    written: u64,
    dropped: u64,
    stage: Stage,
}

/// The progress of a trace.
enum Stage {
    /// This many shards take it up before its first line says that it has begun.
    Beginning(Value, usize),
    Running,
    /// Shards let go since then.
    Ending(Why, Instant),
    /// They have, and what was under way then is read.
    Counted(Why),
    /// Its last line waits to be read since then, or is.
    Closing(Why, Instant),
}

impl fmt::Debug for Tracings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracings").field("count", &self.0.len()).finish()
    }
}

impl Tracings {
    pub(super) fn begin(&mut self, new: NewTrace) {
        let NewTrace { taking, spec, shards, sink, place } = new;
        let now = Instant::now();
        self.0.push(Tracing {
            taking,
            sink,
            _place: place,
            count: spec.count(),
            ends_at: now + spec.duration(),
            begun_at: now,
            granted_at: now,
            taken_at: now,
            came: 0,
            written: 0,
            dropped: 0,
            stage: Stage::Beginning(spec.first_line(shards), shards),
        });
    }

    /// Returns whether all traces are known that took a record.
    pub(super) fn know(&self, record: &Record<'_>) -> bool {
        let is_known = |id: u32| id == 0 || self.0.iter().any(|tracing| tracing.taking.id() == id);
        record.traces.iter().all(|id| is_known(*id))
    }

    /// Writes a record for those that took it.
    pub(super) fn take(&mut self, record: &Record<'_>, addresses: Addresses, clock: Clock) {
        for tracing in &mut self.0 {
            if record.traces.contains(&tracing.taking.id()) {
                tracing.take(record, addresses, clock);
            }
        }
    }

    /// Ends all of them.
    pub(super) fn stop(&mut self) {
        self.0.iter_mut().for_each(|tracing| tracing.end(Why::Stopped));
    }

    /// Goes on with all of them. What a shard had taken before it let go has been read since the
    /// last call.
    pub(super) fn go_on(&mut self) {
        let now = Instant::now();
        self.0.retain_mut(|tracing| tracing.go_on(now));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the time until they are to go on.
    pub(super) fn next(&self) -> Option<Duration> {
        let now = Instant::now();
        self.0.iter().map(|tracing| tracing.next(now)).min()
    }
}

impl Tracing {
    fn take(&mut self, record: &Record<'_>, addresses: Addresses, clock: Clock) {
        if self.written == self.count || matches!(self.stage, Stage::Closing(..)) {
            return;
        }
        self.begin();
        self.came += 1;
        let time = clock.of(record.start);
        if self.sink.add(|line| format::write(Format::Json, addresses, record, time, line)) {
            self.written += 1;
        } else {
            self.dropped += 1;
        }
        if self.written == self.count {
            self.end(Why::Count);
        }
    }

    /// Says that it has begun, unless that was said.
    fn begin(&mut self) {
        if let Stage::Beginning(first, _) = &self.stage {
            self.sink.add(|line| add_line(line, first));
            self.stage = Stage::Running;
        }
    }

    /// Has shards let go.
    fn end(&mut self, why: Why) {
        self.begin();
        if let Stage::Running = self.stage {
            self.taking.stop();
            self.stage = Stage::Ending(why, Instant::now());
        }
    }

    /// Returns whether there is more to do.
    fn go_on(&mut self, now: Instant) -> bool {
        if !self.write(now) {
            return false;
        }
        if now.saturating_duration_since(self.granted_at) >= SECOND {
            self.granted_at = now;
            self.taking.grant();
        }
        let has_patience = now.saturating_duration_since(self.taken_at) < PATIENCE;
        match &self.stage {
            Stage::Beginning(_, shards) => {
                let waits = now.saturating_duration_since(self.begun_at) < SETTLING;
                if self.taking.joined() >= *shards || !waits {
                    self.begin();
                    return self.write(now);
                }
            }
            Stage::Running if now >= self.ends_at => self.end(Why::Duration),
            Stage::Running if !has_patience => self.end(Why::Reader),
            Stage::Running => {}
            &Stage::Ending(why, since) => {
                if self.taking.is_over() || now.saturating_duration_since(since) >= SETTLING {
                    self.stage = Stage::Counted(why);
                }
            }
            &Stage::Counted(why) => {
                let last = self.last_line(why);
                self.sink.add_last(|line| add_line(line, &last));
                self.stage = Stage::Closing(why, now);
                return self.write(now);
            }
            // One patience for all that waits: a client that takes a little now and then holds no
            // place for longer.
            Stage::Closing(why, since) => {
                let is_late = now.saturating_duration_since(*since) >= PATIENCE;
                return has_patience && !is_late && *why != Why::Reader;
            }
        }
        true
    }

    /// Writes what waits. Returns whether there is a client, and something that it has not got.
    fn write(&mut self, now: Instant) -> bool {
        let before = self.sink.waiting();
        let has_failed = self.sink.flush().why.is_some();
        let waits = self.sink.waiting();
        if waits == 0 || waits < before {
            self.taken_at = now;
        }
        let is_done = waits == 0 && matches!(self.stage, Stage::Closing(..));
        !has_failed && !is_done && !self.sink.is_hung_up()
    }

    fn last_line(&self, why: Why) -> Value {
        let TraceCounts { matched, sampled, left_out, no_room } = self.taking.counts();
        // Of what was taken: what came, what found no room, and what had not come to its end.
        let unfinished = sampled.saturating_sub(left_out + no_room + self.came);
        let end = json!({
            "why": why.name(),
            "matched": matched,
            "sampled": sampled,
            "written": self.written,
            "dropped": self.dropped + no_room,
            "left_out": left_out,
            "unfinished": unfinished,
        });
        json!({ "schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "end": end })
    }

    fn next(&self, now: Instant) -> Duration {
        match self.stage {
            Stage::Running => self.ends_at.saturating_duration_since(now).min(LOOK),
            _ => LOOK_SOON,
        }
    }
}

fn add_line(line: &mut Vec<u8>, value: &Value) {
    line.extend_from_slice(value.to_string().as_bytes());
    line.push(b'\n');
}
