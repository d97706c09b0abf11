//! A histogram of durations. One thread fills it, and others read it meanwhile.

use std::ops::AddAssign;
use std::time::Duration;

use crate::counts::Counter;

/// Upper bounds of the buckets, each with its text in seconds, as OpenMetrics writes numbers. A
/// further bucket has what is above the last.
const BOUNDS: [(Duration, &str); 16] = [
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1.0"),
    (Duration::from_millis(2500), "2.5"),
    (Duration::from_secs(5), "5.0"),
    (Duration::from_secs(10), "10.0"),
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations of one thread, by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    nanoseconds: Counter,
}

impl Histogram {
    /// Adds a duration. For the one thread that the histogram belongs to: where two add at a time,
    /// one of both may be lost.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < duration);
        if let Some(count) = self.buckets.get(bucket) {
            count.add(1);
        }
        // The sum has room for 584 years.
        self.nanoseconds.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Returns what has been added until now.
    #[must_use]
    pub fn durations(&self) -> Durations {
        Durations { buckets: self.buckets.each_ref().map(Counter::get), nanoseconds: self.nanoseconds.get() }
    }
}

/// What a [`Histogram`] has, or several have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Durations {
    buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Durations {
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
        let nanos = Duration::from_nanos;
        for duration in [
            Duration::ZERO,
            nanos(100_000),
            nanos(100_001),
            nanos(1_000_000),
            nanos(1_000_001),
            nanos(10_000_000_000),
            nanos(10_000_000_001),
            Duration::from_secs(3600),
        ] {
            histogram.observe(duration);
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
                ("+Inf", 8),
            ]
        );
        assert_eq!(durations.total(), nanos(3_620_002_200_003));
        let mut sum = durations;
        sum += durations;
        assert_eq!((sum.total(), sum.buckets().last()), (nanos(7_240_004_400_006), Some(("+Inf", 16))));
    }

    #[test]
    fn each_bound_is_its_text() {
        for (bound, text) in BOUNDS {
            assert_eq!(bound.as_secs_f64().to_string(), text.trim_end_matches(".0"));
        }
        assert!(BOUNDS.is_sorted_by(|(one, _), (next, _)| one < next));
    }

    #[test]
    fn a_duration_without_end_is_counted() {
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX);
        assert_eq!(histogram.durations().buckets().last(), Some(("+Inf", 1)));
    }
}
