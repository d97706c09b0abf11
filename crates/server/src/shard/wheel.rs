//! One timer wheel per shard, driven by the time-out of the ring's wait.
//!
//! Every connection has at most one timer, and it fires at or after its deadline, never before.
//! Moving a deadline *later* costs nothing: the timer stays where it is, and its owner looks at its
//! real deadline when it fires. That is the common case, a connection that is kept alive by its
//! requests.

use std::time::{Duration, Instant};

/// Width of a slot.
const TICK: Duration = Duration::from_millis(128);
/// Slots: a horizon of 65 s. A timer beyond it fires at the horizon and is put back.
const SLOTS: usize = 512;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Timer {
    /// The tick it is filed under, if it is.
    tick: Option<u64>,
    next: u32,
    prev: u32,
}

pub(crate) struct Wheel {
    start: Instant,
    /// Everything filed under this tick or an earlier one has fired.
    now: u64,
    heads: [u32; SLOTS],
    timers: Vec<Timer>,
    armed: usize,
}

impl Wheel {
    /// Creates a wheel for the timers `0..capacity`.
    pub(crate) fn new(start: Instant, capacity: u32) -> Wheel {
        Wheel { start, now: 0, heads: [NONE; SLOTS], timers: Vec::with_capacity(capacity as usize), armed: 0 }
    }

    /// Makes timer `index` fire soon after `deadline`, or earlier if it was due earlier already.
    pub(crate) fn schedule(&mut self, index: usize, deadline: Instant) {
        if self.timers.len() <= index {
            // Within what was reserved: no allocation.
            self.timers.resize(index + 1, Timer { tick: None, next: NONE, prev: NONE });
        }
        // Rounded up, and one tick later than the present one: never early, and never missed.
        let wanted = self.tick_of(deadline) + 1;
        let tick = wanted.clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        match self.timers[index].tick {
            Some(filed) if filed <= tick => return,
            Some(_) => self.cancel(index),
            None => {}
        }
        let head = &mut self.heads[(tick % SLOTS as u64) as usize];
        self.timers[index] = Timer { tick: Some(tick), next: *head, prev: NONE };
        if *head != NONE {
            self.timers[*head as usize].prev = index as u32;
        }
        *head = index as u32;
        self.armed += 1;
    }

    /// Returns how many timers are on the wheel.
    #[cfg(test)]
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    pub(crate) fn cancel(&mut self, index: usize) {
        let Some(&Timer { tick: Some(tick), next, prev }) = self.timers.get(index) else { return };
        if prev == NONE {
            self.heads[(tick % SLOTS as u64) as usize] = next;
        } else {
            self.timers[prev as usize].next = next;
        }
        if next != NONE {
            self.timers[next as usize].prev = prev;
        }
        self.timers[index].tick = None;
        self.armed -= 1;
    }

    /// Takes a timer that is due off the wheel. To be called until `None`.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<usize> {
        let target = self.tick_of(now);
        while self.now <= target {
            if self.armed == 0 {
                self.now = target;
                return None;
            }
            let head = self.heads[(self.now % SLOTS as u64) as usize];
            if head != NONE {
                self.cancel(head as usize);
                return Some(head as usize);
            }
            if self.now == target {
                return None;
            }
            self.now += 1;
        }
        None
    }

    /// Returns when to look again; `None`: no timer is set.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let ahead =
            (0..SLOTS as u64).find(|ahead| self.heads[((self.now + ahead) % SLOTS as u64) as usize] != NONE);
        ahead.map(|ahead| self.start + TICK * u32::try_from(self.now + ahead).unwrap_or(u32::MAX))
    }

    fn tick_of(&self, instant: Instant) -> u64 {
        (instant.saturating_duration_since(self.start).as_millis() / TICK.as_millis()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, at: Instant) -> Vec<usize> {
        let mut fired: Vec<usize> = std::iter::from_fn(|| wheel.expired(at)).collect();
        fired.sort_unstable();
        fired
    }

    #[test]
    fn fires_after_the_deadline_and_only_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut wheel = Wheel::new(start, 4);
        assert_eq!(wheel.next(), None);
        wheel.schedule(0, at(1000));
        wheel.schedule(1, at(300));
        wheel.schedule(2, at(300));
        assert!(wheel.next().unwrap() > at(300));
        assert_eq!(fired(&mut wheel, at(299)), [0; 0]);
        assert_eq!(fired(&mut wheel, at(300 + 128)), [1, 2]);
        assert_eq!(fired(&mut wheel, at(999)), [0; 0]);
        assert_eq!(fired(&mut wheel, at(5000)), [0]);
        assert_eq!(fired(&mut wheel, at(500_000)), [0; 0]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn moves_earlier_but_not_later() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut wheel = Wheel::new(start, 2);
        wheel.schedule(0, at(10_000));
        wheel.schedule(0, at(1000));
        wheel.schedule(0, at(20_000));
        assert_eq!(fired(&mut wheel, at(1300)), [0]);
        wheel.schedule(1, at(2000));
        wheel.cancel(1);
        wheel.cancel(1);
        assert_eq!(fired(&mut wheel, at(9000)), [0; 0]);
    }

    #[test]
    fn beyond_the_horizon_it_fires_at_the_horizon() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start, 1);
        wheel.schedule(0, start + Duration::from_secs(1000));
        assert_eq!(fired(&mut wheel, start + Duration::from_secs(64)), [0; 0]);
        assert_eq!(fired(&mut wheel, start + Duration::from_secs(66)), [0]);
    }

    #[test]
    fn a_wait_until_next_always_fires_something() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start, 64);
        for index in 0..64 {
            wheel.schedule(index, start + Duration::from_millis(index as u64 * 997 % 60_000));
        }
        let mut count = 0;
        while let Some(next) = wheel.next() {
            let now = fired(&mut wheel, next);
            assert!(!now.is_empty());
            for index in now {
                assert!(next >= start + Duration::from_millis(index as u64 * 997 % 60_000), "early");
                count += 1;
            }
        }
        assert_eq!(count, 64);
    }
}
