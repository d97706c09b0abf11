//! A histogram of durations. One thread fills it, and others read it meanwhile.

use std::ops::AddAssign;
use std::time::Duration;

use crate::counts::Counter;

/// Upper bounds of the buckets in nanoseconds, each with its text in seconds, as OpenMetrics writes
/// numbers. A further bucket has what is above the last.
const BOUNDS: [(u64, &str); 16] = [
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations of one thread, by size.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS],
    nanoseconds: Counter,
}

impl Histogram {
    /// Adds `count` durations of as many nanoseconds each. For the one thread that the histogram
    /// belongs to: where two add at a time, what one of them adds is lost.
    #[inline]
    pub(crate) fn observe(&self, nanoseconds: u64, count: u64) {
        // From the shortest, since nearly all are short.
        let bucket = BOUNDS.iter().position(|(bound, _)| nanoseconds <= *bound);
        if let Some(counter) = self.buckets.get(bucket.unwrap_or(BOUNDS.len())) {
            counter.add(count);
        }
        // The sum has room for 584 years.
        self.nanoseconds.add(nanoseconds.wrapping_mul(count));
    }

    /// Returns what has been added until now.
    pub(crate) fn durations(&self) -> Durations {
        Durations { buckets: self.buckets.each_ref().map(Counter::get), nanoseconds: self.nanoseconds.get() }
    }
}

/// Durations by size: those of one shard, or of several.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Durations {
    buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Durations {
    /// The number of buckets.
    pub const BUCKETS: usize = BUCKETS;

    /// Those that another process has told: the number in each bucket, and the sum of all in
    /// nanoseconds.
    #[must_use]
    pub fn new(buckets: [u64; BUCKETS], nanoseconds: u64) -> Durations {
        Durations { buckets, nanoseconds }
    }

    /// Returns what [`Durations::new`] takes.
    #[must_use]
    pub fn parts(&self) -> ([u64; BUCKETS], u64) {
        (self.buckets, self.nanoseconds)
    }

    /// Returns the bounds of the buckets; the last one has none.
    pub fn bounds() -> impl Iterator<Item = Duration> {
        BOUNDS.iter().map(|(bound, _)| Duration::from_nanos(*bound))
    }

    /// Returns each bound in seconds, as text, with the number of durations up to it. The last
    /// bound is `+Inf`, with all.
    pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        let sums = self.buckets.iter().scan(0_u64, |sum, count| {
            *sum = sum.saturating_add(*count);
            Some(*sum)
        });
        bounds.zip(sums)
    }

    /// Returns the sum of all durations.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }
}

impl AddAssign for Durations {
    fn add_assign(&mut self, other: Durations) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        self.nanoseconds = self.nanoseconds.saturating_add(other.nanoseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_the_bound_that_it_does_not_exceed() {
        let histogram = Histogram::default();
        for (nanoseconds, count) in [
            (0, 1),
            (100_000, 1),
            (100_001, 1),
            (1_000_000, 1),
            (1_000_001, 1),
            (10_000_000_000, 1),
            (10_000_000_001, 1),
            (1_000_000_000_000, 2),
        ] {
            histogram.observe(nanoseconds, count);
        }
        let durations = histogram.durations();
        assert_eq!(
            durations.buckets().collect::<Vec<_>>(),
            [
                ("0.0001", 2),
                ("0.00025", 3),
                ("0.0005", 3),
                ("0.001", 4),
                ("0.0025", 5),
                ("0.005", 5),
                ("0.01", 5),
                ("0.025", 5),
                ("0.05", 5),
                ("0.1", 5),
                ("0.25", 5),
                ("0.5", 5),
                ("1.0", 5),
                ("2.5", 5),
                ("5.0", 5),
                ("10.0", 6),
                ("+Inf", 9),
            ]
        );
        assert_eq!(durations.total(), Duration::from_nanos(2_020_002_200_003));
        let mut sum = durations;
        sum += durations;
        assert_eq!(
            (sum.total(), sum.buckets().last()),
            (Duration::from_nanos(4_040_004_400_006), Some(("+Inf", 18)))
        );
    }

    #[test]
    fn each_bound_is_its_text() {
        for (bound, text) in BOUNDS {
            assert_eq!(Duration::from_nanos(bound).as_secs_f64().to_string(), text.trim_end_matches(".0"));
        }
        assert!(BOUNDS.is_sorted_by(|(one, _), (next, _)| one < next));
    }

    #[test]
    fn a_duration_without_end_is_counted() {
        let histogram = Histogram::default();
        histogram.observe(u64::MAX, 1);
        assert_eq!(histogram.durations().buckets().last(), Some(("+Inf", 1)));
    }
}
