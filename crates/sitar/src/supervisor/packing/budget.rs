//! How much may be written to the cache.

use std::time::{Duration, Instant};

/// Bytes a second, on average.
const RATE: u64 = 4 << 20;
/// What may be written at once after a pause, in the time that it takes on average: 256 MiB.
const BURST: Duration = Duration::from_secs(64);

/// Bytes that runs have written. An encodings file is written as a whole, so where one file of a
/// large site changes all the time, nearly all that is written was there before.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When all of the burst may be used again.
    full_at: Option<Instant>,
}

impl Budget {
    /// Notes what a run has written.
    pub(super) fn spend(&mut self, bytes: u64, now: Instant) {
        let time = Duration::from_millis(bytes.saturating_mul(1000) / RATE);
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        // A time that cannot be told is not waited for.
        self.full_at = full_at.checked_add(time);
    }

    /// Returns when the next run may begin.
    pub(super) fn ready(&self, now: Instant) -> Instant {
        let left = self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        now + left.saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_average_holds() {
        let (now, mib) = (Instant::now(), 1_u64 << 20);
        let mut budget = Budget::default();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(budget.ready(now), now);
        for _ in 0..4 {
            assert_eq!(budget.ready(now), now);
            budget.spend(64 * mib, now);
        }
        assert_eq!(budget.ready(now), now, "256 MiB");
        budget.spend(1024 * mib, now);
        assert_eq!(budget.ready(now), after(256));
        assert_eq!(budget.ready(after(250)), after(256));
        budget.spend(400 * mib, after(256));
        assert_eq!(budget.ready(after(256)), after(356));
        assert_eq!(budget.ready(after(1000)), after(1000));
        budget.spend(64 * mib, after(1000));
        assert_eq!(budget.ready(after(1000)), after(1000), "full again");
        budget.spend(u64::MAX, after(1000));
        budget.spend(u64::MAX, after(1000));
        assert!(budget.ready(after(1000)) >= after(1000));
    }
}
