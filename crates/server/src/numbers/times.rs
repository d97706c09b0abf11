//! The durations of a shard's answers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::ShardNumbers;

/// Times the answers of a shard: from the turn in which the request was first looked at until all
/// of the answer has been handed to the kernel, or has been given up.
///
/// All that begin and end in a turn take as long as that, so the clock is read once for them. Of
/// one that goes on a number of four bytes is kept; its end is the beginning of its last turn.
pub(crate) struct Times {
    shard: Arc<ShardNumbers>,
    epoch: Instant,
    /// When this turn began.
    turn: Instant,
    /// When the request was first looked at whose answer is about to begin; `None`: in this turn.
    start: Option<Instant>,
    /// Answers that have begun and ended in this turn.
    ended: u32,
}

/// A time, in units of 16 µs of which only odd ones are there, so in steps of 33 µs. It comes again
/// after 19 hours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Since(NonZeroU32);

/// Nanoseconds of a unit, as a power of two.
const UNIT: u32 = 14;

impl Times {
    /// For the one thread that writes these numbers.
    pub(crate) fn new(shard: Arc<ShardNumbers>, now: Instant) -> Times {
        Times { shard, epoch: now, turn: now, start: None, ended: 0 }
    }

    /// A turn begins.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.turn = now;
    }

    /// Notes when the request was first looked at whose answer is about to begin; `None`: in this
    /// turn.
    #[inline]
    pub(crate) fn note(&mut self, start: Option<Instant>) {
        self.start = start;
    }

    /// The answer has begun. Returns what its end needs, if it goes on.
    #[inline]
    pub(crate) fn begin(&mut self, goes_on: bool) -> Option<Since> {
        if !goes_on && self.start.is_none() {
            self.ended += 1;
            return None;
        }
        let since = self.since(self.start.unwrap_or(self.turn));
        if goes_on {
            return Some(since);
        }
        self.end(since);
        None
    }

    /// An answer has ended that went on.
    pub(crate) fn end(&mut self, since: Since) {
        let units = self.since(self.turn).0.get().wrapping_sub(since.0.get());
        if units == 0 {
            self.ended += 1;
        } else {
            self.shard.durations.observe(u64::from(units) << UNIT, 1);
        }
    }

    /// Whether answers have begun and ended in this turn.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended > 0
    }

    /// The end of a turn.
    #[inline]
    pub(crate) fn end_turn(&mut self, end: Instant) {
        if self.ended > 0 {
            let nanoseconds = end.saturating_duration_since(self.turn).as_nanos() as u64;
            self.shard.durations.observe(nanoseconds, self.ended.into());
            self.ended = 0;
        }
    }

    fn since(&self, time: Instant) -> Since {
        let nanoseconds = time.saturating_duration_since(self.epoch).as_nanos() as u64;
        // The last bit is always set, so that it is not zero.
        Since(NonZeroU32::MIN | (nanoseconds >> UNIT) as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The number of durations in each bucket that has some, by the bound.
    fn buckets(shard: &ShardNumbers) -> Vec<(&'static str, u64)> {
        let (mut last, mut buckets) = (0, Vec::new());
        for (bound, count) in shard.durations.durations().buckets() {
            if count > last {
                buckets.push((bound, count - last));
            }
            last = count;
        }
        buckets
    }

    #[test]
    fn answers_are_timed_until_they_are_handed_over() {
        let shard = Arc::new(ShardNumbers::default());
        let epoch = Instant::now();
        let at = |millis: u64| epoch + Duration::from_millis(millis);
        let mut times = Times::new(Arc::clone(&shard), epoch);

        // Two in one turn of 2 ms, and one that goes on.
        times.begin_turn(at(10));
        times.note(None);
        assert!(times.begin(false).is_none() && times.begin(false).is_none());
        let long = times.begin(true).unwrap();
        // One that goes on and ends in the same turn.
        let short = times.begin(true).unwrap();
        times.end(short);
        assert!(times.has_ended());
        times.end_turn(at(12));
        assert!(!times.has_ended());
        assert_eq!(buckets(&shard), [("0.0025", 3)]);

        // One that has waited for 20 ms, and goes on for 100 ms.
        times.begin_turn(at(30));
        times.note(Some(at(10)));
        let waited = times.begin(true).unwrap();
        // One that has waited for 30 ms, and ends at once.
        times.note(Some(at(0)));
        assert!(times.begin(false).is_none());
        assert!(!times.has_ended());
        times.end_turn(at(31));
        assert_eq!(buckets(&shard), [("0.0025", 3), ("0.05", 1)]);

        times.begin_turn(at(130));
        times.end(waited);
        times.begin_turn(at(10_010));
        times.end(long);
        times.end_turn(at(10_020));
        assert_eq!(buckets(&shard), [("0.0025", 3), ("0.05", 1), ("0.25", 1), ("10.0", 1)]);
        let total = shard.durations.durations().total();
        // 3 of 2 ms, 30, 120 and 10,000, each in steps of 33 µs.
        assert!(total.abs_diff(Duration::from_millis(10_156)) < Duration::from_millis(1), "{total:?}");
    }

    #[test]
    fn a_time_is_kept_for_hours() {
        let shard = Arc::new(ShardNumbers::default());
        let epoch = Instant::now();
        let hours = |hours: u64| epoch + Duration::from_secs(3600 * hours);
        let mut times = Times::new(Arc::clone(&shard), epoch);
        times.begin_turn(hours(12));
        let since = times.begin(true).unwrap();
        times.begin_turn(hours(30));
        times.end(since);
        let total = shard.durations.durations().total();
        assert!(total.abs_diff(Duration::from_secs(18 * 3600)) < Duration::from_millis(1), "{total:?}");
    }
}
