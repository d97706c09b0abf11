//! Open files of a shard: the places of those that connections of HTTP/2 send at the same time, and
//! the connections that wait until one is closed.
//!
//! A body that is not in memory is sent from a descriptor. Each connection may send from one; more
//! at the same time take places of a pool, so that a few peers that open no windows cannot hold all
//! descriptors. How many are open in the process is counted by the [`Budget`]: where it has no
//! more, a load fails with `QuotaExceeded`, and the connection waits here as well.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sitar_io::Key;
use sitar_site::Budget;

/// Places that one connection may take while more than half of them are free; later it is one. So
/// there is one left for many others behind a few that take all they can.
pub(crate) const EACH_MAX: usize = 8;
/// While connections wait: how soon to look again for some to close, and to try again what the
/// kernel refused.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// Connections that try again at a time, if no file has been closed meanwhile.
const RETRIES: usize = 8;

/// The places for open files beyond one for each connection, and the connections that wait.
pub(crate) struct SpareFiles {
    places: usize,
    pub(super) free: usize,
    /// Connections that wait for a first place.
    pub(super) first: VecDeque<Key>,
    /// Connections that have one, and wait until more than half are free.
    pub(super) more: VecDeque<Key>,
    /// Connections whose file could not be opened, for want of descriptors.
    pub(super) unopened: VecDeque<Key>,
    /// Another shard waits for a file.
    pub(super) is_wanted: bool,
    /// The files of the whole process.
    pub(super) budget: Budget,
    /// Files that could be opened when it was last looked.
    seen_left: usize,
    retry_at: Option<Instant>,
    pub(super) shed_at: Option<Instant>,
}

impl SpareFiles {
    pub(crate) fn new(places: usize, budget: Budget) -> SpareFiles {
        SpareFiles {
            places,
            free: places,
            first: VecDeque::new(),
            more: VecDeque::new(),
            unopened: VecDeque::new(),
            is_wanted: false,
            budget,
            seen_left: 0,
            retry_at: None,
            shed_at: None,
        }
    }

    /// Takes one more place for a connection that has `taken`.
    pub(crate) fn take(&mut self, taken: &mut u32) -> bool {
        let each = if self.is_half_free() { EACH_MAX } else { 1 };
        let takes = self.free > 0 && (*taken as usize) < each;
        if takes {
            self.free -= 1;
            *taken += 1;
        }
        takes
    }

    /// Gives back what is taken beyond `left`.
    pub(crate) fn refund(&mut self, taken: &mut u32, left: usize) {
        // Few: `left` is fewer than what is taken, or all of it.
        let left = u32::try_from(left).map_or(*taken, |left| left.min(*taken));
        self.free += (*taken - left) as usize;
        *taken = left;
    }

    fn is_half_free(&self) -> bool {
        self.free > self.places / 2
    }

    /// Whether other connections wait for a first place. New requests do not overtake them.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.first.is_empty()
    }

    /// Puts a connection that has `taken` places in a queue for another one; it gets an event.
    pub(crate) fn wait(&mut self, key: Key, taken: u32) {
        let queue = if taken == 0 { &mut self.first } else { &mut self.more };
        queue.push_back(key);
    }

    /// Returns the next connection that waits and may take a place.
    pub(super) fn next(&mut self) -> Option<Key> {
        let first = if self.free > 0 { self.first.pop_front() } else { None };
        first.or_else(|| if self.is_half_free() { self.more.pop_front() } else { None })
    }

    /// Puts a connection in the queue of those whose file could not be opened.
    pub(crate) fn wait_to_open(&mut self, key: Key, now: Instant) {
        if self.unopened.is_empty() {
            self.retry_at = Some(now + PAUSE);
            self.seen_left = self.budget.files_left();
        }
        if !self.unopened.contains(&key) {
            self.unopened.push_back(key);
        }
    }

    /// Returns how many connections may try again to have their file opened: one for each file that
    /// has been closed, and a few now and then, since others than this server may have taken the
    /// descriptors.
    pub(super) fn retries(&mut self, now: Instant) -> usize {
        let left = self.budget.files_left();
        let closed = left.saturating_sub(self.seen_left);
        self.seen_left = left;
        let few = match self.retry_at {
            Some(at) if at <= now => {
                self.retry_at = Some(now + PAUSE);
                left.clamp(1, RETRIES)
            }
            _ => 0,
        };
        closed.max(few).min(self.unopened.len())
    }

    /// Another shard waits for a file, and none can be opened.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Returns how many wait until a file is closed, where no other can be opened.
    pub(super) fn unopenable(&self) -> usize {
        let waiting = self.unopened.len().max(usize::from(self.is_wanted));
        if self.budget.files_left() == 0 { waiting } else { 0 }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, key: Key) {
        for queue in [&mut self.first, &mut self.more, &mut self.unopened] {
            queue.retain(|waiting| *waiting != key);
        }
    }

    /// Whether no connection waits, here or elsewhere, and none has to be looked for.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        let waiting = self.first.len() + self.more.len() + self.unopened.len();
        waiting == 0 && self.shed_at.is_none() && !self.is_wanted
    }

    /// Returns when something is due.
    #[inline]
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.is_quiet() { None } else { self.next_due(now) }
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        // A place that became free while others were given out.
        let can_go_on =
            (self.free > 0 && !self.first.is_empty()) || (self.is_half_free() && !self.more.is_empty());
        let retry_at = self.retry_at.filter(|_| !self.unopened.is_empty());
        [can_go_on.then_some(now), self.shed_at, retry_at].into_iter().flatten().min()
    }

    /// Whether no place is taken.
    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.free == self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(places: usize, files: usize) -> SpareFiles {
        SpareFiles::new(places, Budget::new(0, 0).with_files(files))
    }

    #[test]
    fn a_few_leave_one_place_for_many() {
        let mut files = pool(64, 0);
        let mut taken = [0; 50];
        for taken in &mut taken {
            while files.take(taken) {}
        }
        assert_eq!(taken[..4], [8; 4]);
        assert_eq!(taken[4..36], [1; 32]);
        assert_eq!(taken[36..], [0; 14]);
        files.refund(&mut taken[0], 2);
        assert!((0..6).all(|nth| files.take(&mut taken[36 + nth])) && !files.take(&mut taken[42]));
        for taken in &mut taken {
            files.refund(taken, 0);
        }
        assert!(files.is_whole() && taken == [0; 50]);
    }

    #[test]
    fn connections_without_a_place_are_called_first_and_in_order() {
        let (now, mut files) = (Instant::now(), pool(4, 0));
        let mut taken = [0; 4];
        for taken in &mut taken {
            while files.take(taken) {}
        }
        assert_eq!(taken, [2, 1, 1, 0]);
        files.wait(Key(0), taken[0]);
        files.wait(Key(3), 0);
        files.wait(Key(4), 0);
        assert!(files.is_awaited());
        assert_eq!((files.next(), files.deadline(now)), (None, None));
        files.refund(&mut taken[0], 1);
        assert_eq!(files.deadline(now), Some(now));
        assert_eq!([files.next(), files.next(), files.next()], [Some(Key(3)), Some(Key(4)), None]);
        for taken in &mut taken {
            files.refund(taken, 0);
        }
        assert_eq!([files.next(), files.next()], [Some(Key(0)), None]);
        assert!(files.is_whole() && !files.is_awaited());
    }

    #[test]
    fn what_other_shards_wait_for_counts_while_no_file_can_be_opened() {
        let (now, mut files) = (Instant::now(), pool(4, 0));
        assert_eq!(files.unopenable(), 0);
        assert!(files.is_quiet());
        files.want();
        assert_eq!((files.unopenable(), files.is_quiet()), (1, false));
        files.wait_to_open(Key(1), now);
        files.wait_to_open(Key(2), now);
        assert_eq!(files.unopenable(), 2);
        files.budget = Budget::new(0, 0).with_files(1);
        assert_eq!(files.unopenable(), 0);
    }

    #[test]
    fn what_could_not_be_opened_is_tried_when_a_file_is_closed_and_now_and_then() {
        let (now, mut files) = (Instant::now(), pool(0, 0));
        assert_eq!(files.deadline(now), None);
        for key in [1, 2, 2, 3] {
            files.wait_to_open(Key(key), now);
        }
        assert_eq!((files.unopened.len(), files.retries(now)), (3, 0));
        files.budget = Budget::new(0, 0).with_files(2);
        assert_eq!((files.retries(now), files.retries(now)), (2, 0), "one for each, once");
        assert_eq!(files.deadline(now), Some(now + PAUSE));
        assert_eq!(files.retries(now + PAUSE), 2);
        assert_eq!(files.retries(now + PAUSE), 0);
        files.budget = Budget::new(0, 0);
        assert_eq!(files.retries(now + 2 * PAUSE), 3, "no more than wait");
        files.forget(Key(2));
        assert_eq!(files.unopened, [Key(1), Key(3)]);
    }
}
