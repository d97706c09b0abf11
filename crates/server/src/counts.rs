//! Counters of a shard, and their sum over all shards of a worker.

use std::ops::AddAssign;

/// What has happened since the worker was started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// TLS handshakes completed.
    pub handshakes: u64,
    /// Connections that the kernel seals for.
    pub kernel_sealed: u64,
    /// Requests answered, refusals included.
    pub requests: u64,
    /// Connections of HTTP/2 ended because the peer made useless work (ENHANCE_YOUR_CALM).
    pub calmed: u64,
    /// Connections closed because send buffers ran out and they had not read for longest.
    pub shed: u64,
}

/// The number of counters.
const LEN: usize = size_of::<Counts>() / size_of::<u64>();

impl Counts {
    /// Returns each counter with its name, in the order in which they are shown.
    #[must_use]
    pub fn named(mut self) -> [(&'static str, u64); LEN] {
        self.fields().map(|(name, count)| (name, *count))
    }

    /// Lists all counters. A counter that is missing here does not compile: neither the pattern nor
    /// the length of the array would fit.
    fn fields(&mut self) -> [(&'static str, &mut u64); LEN] {
        let Counts { accepted, handshakes, kernel_sealed, requests, calmed, shed } = self;
        [
            ("accepted", accepted),
            ("handshakes", handshakes),
            ("kernel_sealed", kernel_sealed),
            ("requests", requests),
            ("calmed", calmed),
            ("shed", shed),
        ]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, mut other: Counts) {
        for ((_, sum), (_, count)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_in_the_sum_under_its_own_name() {
        let mut one = Counts::default();
        for ((_, count), number) in one.fields().into_iter().zip(1..) {
            *count = number;
        }
        let mut sum = one;
        sum += one;
        let shown = format!("{one:?}");
        for ((name, count), number) in sum.named().into_iter().zip(1..) {
            assert_eq!(count, 2 * number, "{name}");
            assert!(shown.contains(&format!("{name}: {number}")), "{name} names another field: {shown}");
        }
        assert_eq!(sum.calmed, 2 * one.calmed);
        assert_ne!(sum.calmed, 0);
    }
}
