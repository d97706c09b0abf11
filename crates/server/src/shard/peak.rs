//! When to give memory back that was needed at a peak.
//!
//! Allocators and send slots keep what was ever in use at the same time, which is right for a load
//! that comes and goes within seconds, and wrong after a flood.

use std::time::{Duration, Instant};

/// The span over which a peak is taken. What is needed is the peak of two of them.
const SPAN: Duration = Duration::from_secs(1);
/// Less than this is not worth it, in bytes.
const WORTH: usize = 2 << 20;

/// The memory that a shard needs for its connections, over time.
pub(crate) struct Peak {
    /// The most since memory was given back: no less than what is resident.
    high: usize,
    /// The peak of the present span, and of the one before.
    present: usize,
    last: usize,
    /// Needed at this moment.
    now: usize,
    /// The end of the present span.
    until: Instant,
}

impl Peak {
    pub(crate) fn new(now: Instant) -> Peak {
        Peak { high: 0, present: 0, last: 0, now: 0, until: now + SPAN }
    }

    /// Notes that this many bytes are needed now. Returns whether what is beyond should be given
    /// back.
    #[inline]
    pub(crate) fn note(&mut self, now: Instant, bytes: usize) -> bool {
        (self.now, self.present) = (bytes, self.present.max(bytes));
        now >= self.until && self.next_span(now, bytes)
    }

    fn next_span(&mut self, now: Instant, bytes: usize) -> bool {
        self.high = self.high.max(self.present);
        let needed = self.present.max(self.last);
        (self.last, self.present, self.until) = (self.present, bytes, now + SPAN);
        let is_due = is_worth(self.high, needed);
        if is_due {
            self.high = needed;
        }
        is_due
    }

    /// Whether more was needed at some time than is worth being given back.
    #[inline]
    pub(crate) fn is_high(&self) -> bool {
        self.high.max(self.present) > WORTH
    }

    /// Returns when [`note`](Peak::note) is to be called at the latest; `None`: nothing can have to
    /// be given back.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.is_high() {
            return None;
        }
        is_worth(self.high.max(self.present), self.now).then_some(self.until)
    }
}

/// Whether the memory of a peak of `high` bytes is to be given back where `needed` are needed.
fn is_worth(high: usize, needed: usize) -> bool {
    high > 2 * needed + WORTH
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_memory_of_a_flood_goes_back_once() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let mut peak = Peak::new(start);
        assert!(!peak.note(at(1), MIB));
        assert_eq!(peak.deadline(), None, "an idle shard is not woken");
        assert!(!peak.note(at(5), 30 * MIB));
        assert!(!peak.note(at(6), 0));
        let mut due = Vec::new();
        let mut now = 6;
        while let Some(deadline) = peak.deadline() {
            now = (deadline - start).as_millis() as u64 / 100;
            if peak.note(at(now), 0) {
                due.push(now);
            }
            assert!(now < 60, "for ever");
        }
        assert_eq!(due, [30], "when it has been gone for two spans");
        assert!(!peak.note(at(now + 10), MIB));
        assert!(!peak.note(at(now + 20), 2 * MIB), "too little to be worth it");
        assert_eq!(peak.deadline(), None);
    }

    #[test]
    fn connections_that_are_idle_wake_nothing() {
        let start = Instant::now();
        let mut peak = Peak::new(start);
        assert!(!peak.note(start, 12 * MIB));
        assert!(!peak.note(start + SPAN, 10 * MIB));
        assert_eq!(peak.deadline(), None);
    }

    #[test]
    fn a_load_that_comes_and_goes_keeps_its_memory() {
        let start = Instant::now();
        let mut peak = Peak::new(start);
        for tenths in 0..600 {
            let bytes = if tenths % 20 < 2 { 30 * MIB } else { 0 };
            let now = start + Duration::from_millis(100 * tenths);
            assert!(!peak.note(now, bytes), "after {tenths} tenths of a second");
        }
    }
}
