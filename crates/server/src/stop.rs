//! Draining and stopping: what was asked of the shards, and how many answers they still have under
//! way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Between two counts of the connections of a shard that stops, as long as none goes.
const COUNT_PAUSE: Duration = Duration::from_millis(100);

/// The stages of a worker's life, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Stage {
    Serving,
    /// Nothing is accepted any more. Connections stay until their next answer.
    Draining,
    /// Connections that wait for a request end; what was asked for is answered.
    Stopping,
    /// Everything ends at once.
    Aborting,
}

/// The stage that the worker is asked to be in, and how far a stop has come.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<StopState>);

#[derive(Default)]
struct StopState {
    /// A [`Stage`].
    stage: AtomicU8,
    /// Connections with an answer under way, of the shards that have begun to stop.
    answering: AtomicUsize,
}

impl Stop {
    /// Asks for the next answer of each connection to be its last.
    pub(crate) fn drain(&self) {
        self.0.stage.fetch_max(Stage::Draining as u8, Ordering::SeqCst);
    }

    /// Asks to finish what has been begun; a second time: to end at once.
    pub(crate) fn more(&self) {
        let next = |stage| {
            let next = if stage < Stage::Stopping as u8 { Stage::Stopping } else { Stage::Aborting };
            Some(next as u8)
        };
        let _ = self.0.stage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }

    /// Returns the stage that is asked for.
    pub(crate) fn asked(&self) -> Stage {
        let stages = [Stage::Serving, Stage::Draining, Stage::Stopping];
        let stage = usize::from(self.0.stage.load(Ordering::SeqCst));
        stages.get(stage).copied().unwrap_or(Stage::Aborting)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked() > Stage::Serving
    }

    /// Connections with an answer under way, shortly ago.
    pub(crate) fn answering(&self) -> usize {
        self.0.answering.load(Ordering::Relaxed)
    }

    /// A shard had `before` of them and has `now`.
    fn count(&self, before: usize, now: usize) {
        self.0.answering.fetch_add(now, Ordering::Relaxed);
        self.0.answering.fetch_sub(before, Ordering::Relaxed);
    }
}

/// The answers under way in a shard that stops, as last counted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answering {
    /// Connections with an answer under way.
    count: usize,
    /// All of its connections when they were counted.
    of: usize,
    /// The time to count them again, if none has gone by then.
    again: Option<Instant>,
}

impl Answering {
    /// Tells how many answers a stop of this shard waits for: `count` counts them, among `all`
    /// connections. The last count is what was cut off, so it is never an old one.
    pub(crate) fn tell(
        &mut self,
        stop: &Stop,
        now: Instant,
        all: usize,
        is_last: bool,
        count: impl FnOnce() -> usize,
    ) {
        if !is_last && self.of == all && self.again.is_some_and(|again| now < again) {
            return;
        }
        let before = self.count;
        *self = Answering { count: count(), of: all, again: Some(now + COUNT_PAUSE) };
        stop.count(before, self.count);
    }

    /// Returns when to count again, whatever happens: an answer may have come to its end since,
    /// without another event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.again.filter(|_| self.count > 0)
    }
}
