//! How often something may happen, for each client: a table that all shards share.
//!
//! The generic cell rate algorithm keeps one time for each client: the one at which everything that
//! it has done would have been done at its rate. That and a part of the client's hash are one
//! number, so a change is one compare-and-swap, and no shard waits for another. The table has a
//! fixed size. Where its places are taken, the client that has been away for longest is forgotten,
//! which lets it do more than its rate, and never less.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients in the table: 512 KiB.
const CLIENTS: usize = 1 << 16;
/// Places in which one client may be.
const WAYS: usize = 8;
/// Bits of a number that are the time. In 16ths of a millisecond they last for 8 years. The others
/// tell clients apart: two of one set are taken for the same in one of 500,000 cases, and which
/// these are no client can know.
const TIME_BITS: u32 = 42;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const PER_SECOND: u64 = 16_000;
const UNIT_NANOS: u64 = 1_000_000_000 / PER_SECOND;
/// A change that other shards have come before as often as this is given up, for the client.
const TRIES: usize = 64;

const YEAR_SECONDS: u64 = 365 * 24 * 60 * 60;

/// The most that may be allowed in a second.
const RATE_MAX: u64 = 1000;
/// The most that may be allowed at once.
const BURST_MAX: u32 = 100_000;

/// How often something may happen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rate {
    /// The time between two, in 16ths of a millisecond.
    interval: u64,
    /// How far ahead of its rate a client may be, in the same unit.
    ahead: u64,
}

impl Rate {
    /// The most that may be allowed at once.
    pub const BURST_MAX: u32 = BURST_MAX;

    /// The same for numbers that are known to be within bounds.
    pub(super) const fn often(count: u64, period: Duration, burst: u64) -> Rate {
        let interval = period.as_secs() * PER_SECOND / count;
        Rate { interval, ahead: interval * (burst - 1) }
    }

    /// `count` times in each `period`, and `burst` times at once. `None`: none at all, more than
    /// 1000 in a second, less than one in a day, more than 100,000 at once, or a burst
    /// that takes more than a year at this rate.
    #[must_use]
    pub fn new(count: u32, period: Duration, burst: u32) -> Option<Rate> {
        let interval = (period.as_secs() * PER_SECOND).checked_div(u64::from(count))?;
        let is_kept = (PER_SECOND / RATE_MAX..=PER_SECOND * 24 * 60 * 60).contains(&interval);
        let is_burst = (1..=BURST_MAX).contains(&burst);
        // What the table holds ends some years ahead: nothing beyond that would be counted.
        let ahead = interval.checked_mul(u64::from(burst.saturating_sub(1)))?;
        let is_counted = ahead <= PER_SECOND * YEAR_SECONDS;
        (is_kept && is_burst && is_counted).then_some(Rate { interval, ahead })
    }
}

/// The table. Has no memory until something is counted.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    seed: RandomState,
    start: OnceLock<Instant>,
    slots: OnceLock<Box<[AtomicU64]>>,
}

/// A client, for one purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Client(u64);

impl Throttle {
    /// Returns the client that `what` names, its purpose included.
    pub(crate) fn client(&self, what: impl Hash) -> Client {
        Client(self.seed.hash_one(what))
    }

    /// Counts that a client does something.
    ///
    /// # Errors
    /// It may not yet; the time after which it may.
    pub(crate) fn take(&self, client: Client, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let now = self.time(now);
        let mut refused = None;
        self.change(client, now, |until| {
            let until = until.max(now);
            refused = (until - now).checked_sub(rate.ahead).filter(|wait| *wait > 0);
            refused.is_none().then_some(until + rate.interval)
        });
        // A unit more: what is less than one has been cut off.
        let wait = |units: u64| Duration::from_nanos(units.saturating_add(1).saturating_mul(UNIT_NANOS));
        refused.map_or(Ok(()), |units| Err(wait(units)))
    }

    /// Takes back what was counted.
    pub(crate) fn give_back(&self, client: Client, rate: &Rate, now: Instant) {
        let now = self.time(now);
        self.change(client, now, |until| until.checked_sub(rate.interval));
    }

    fn time(&self, now: Instant) -> u64 {
        let start = *self.start.get_or_init(|| now);
        let since = now.saturating_duration_since(start);
        // From 1: a place with 0 is free.
        ((since.as_nanos() / u128::from(UNIT_NANOS)) as u64 + 1) & TIME_MASK
    }

    /// Has `step` make another time out of a client's; `None`: it stays.
    fn change(&self, client: Client, now: u64, mut step: impl FnMut(u64) -> Option<u64>) {
        let slots = self.slots.get_or_init(|| (0..CLIENTS).map(|_| AtomicU64::new(0)).collect());
        let set = (client.0 as usize % (CLIENTS / WAYS)) * WAYS;
        let Some(ways) = slots.get(set..set + WAYS) else { return };
        let tag = client.0 & !TIME_MASK;
        for _ in 0..TRIES {
            let seen = ways.iter().map(|slot| (slot, slot.load(Ordering::Relaxed)));
            let mut oldest = None;
            let mut own = None;
            for (slot, number) in seen {
                if number & !TIME_MASK == tag && number & TIME_MASK != 0 {
                    own = Some((slot, number));
                }
                if oldest.is_none_or(|(_, other)| number & TIME_MASK < other & TIME_MASK) {
                    oldest = Some((slot, number));
                }
            }
            let (before, place) = match own {
                Some((slot, number)) => (number & TIME_MASK, Some((slot, number))),
                None => (now, oldest),
            };
            let (Some(next), Some((slot, number))) = (step(before), place) else { return };
            let next = tag | next.min(TIME_MASK);
            if slot.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_may_do_a_burst_at_once_and_then_its_rate() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let rate = Rate::new(2, seconds(1), 3).unwrap();
        let (one, other) = (throttle.client("one"), throttle.client("other"));
        let at = |client, millis| throttle.take(client, &rate, start + Duration::from_millis(millis));
        assert_eq!([at(one, 0), at(one, 0), at(one, 0)], [Ok(()); 3]);
        let wait = at(one, 0).unwrap_err();
        assert!(wait > Duration::from_millis(499) && wait <= Duration::from_millis(501), "{wait:?}");
        assert_eq!(at(other, 0), Ok(()));
        assert!(at(one, 499).is_err());
        assert_eq!((at(one, 501), at(one, 502).is_err()), (Ok(()), true), "a refusal is not counted");
        assert_eq!([at(one, 60_000), at(one, 60_000), at(one, 60_000)], [Ok(()); 3]);
        assert!(at(one, 60_000).is_err(), "time away adds no more than a burst");
    }

    #[test]
    fn what_is_given_back_may_be_done_again() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let rate = Rate::new(1, seconds(3600), 1).unwrap();
        let client = throttle.client(7);
        assert_eq!(throttle.take(client, &rate, now), Ok(()));
        assert!(throttle.take(client, &rate, now).is_err());
        throttle.give_back(client, &rate, now);
        assert_eq!(throttle.take(client, &rate, now), Ok(()));
        assert!(throttle.take(client, &rate, now).unwrap_err() > seconds(3599));
    }

    #[test]
    fn the_table_stays_as_large_as_it_is_and_forgets_the_oldest() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let rate = Rate::new(1, seconds(60), 1).unwrap();
        let is_refused = |number: &u64| {
            let now = start + Duration::from_millis(number / 100);
            throttle.take(throttle.client(number), &rate, now).is_err()
        };
        // A few clients are taken for others.
        assert!((0..200_000).filter(is_refused).count() < 20);
        let last = throttle.client(199_999_u64);
        assert!(throttle.take(last, &rate, start + seconds(2)).is_err());
        assert_eq!(throttle.slots.get().unwrap().len(), CLIENTS);
    }

    #[test]
    fn shards_count_together() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let rate = Rate::new(1, seconds(3600), 1000).unwrap();
        let client = throttle.client("all");
        let count = || (0..500).filter(|_| throttle.take(client, &rate, now).is_ok()).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(all, 1000);
    }

    #[test]
    fn rates_have_bounds() {
        assert!(Rate::new(1000, seconds(1), 1).is_some() && Rate::new(1001, seconds(1), 1).is_none());
        assert!(Rate::new(0, seconds(1), 1).is_none() && Rate::new(1, seconds(0), 1).is_none());
        assert!(Rate::new(1, seconds(1), 0).is_none() && Rate::new(1, seconds(1), 100_001).is_none());
        // In a year there are 8760 hours.
        assert!(Rate::new(1, seconds(3600), 8761).is_some() && Rate::new(1, seconds(3600), 8762).is_none());
        assert!(Rate::new(1, seconds(86_400), 1).is_some() && Rate::new(1, seconds(86_401), 1).is_none());
    }
}
