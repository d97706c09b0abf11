//! The time to look: soon after the last write, not too late while writing goes on, and never most
//! of the time.

use std::time::{Duration, Instant};

/// The pause in changes after which the site is read again.
pub(crate) const QUIET: Duration = Duration::from_millis(100);
/// After the first change it is read at the latest, however long writing goes on.
pub(crate) const LATEST: Duration = Duration::from_secs(2);
/// After a failure it is tried again, in case that what stood in the way has gone without a trace.
const RETRY: Duration = Duration::from_secs(10);
/// Reading takes at most one part in this many of the time: a site of a million files is not
/// read all the time.
const SHARE: u32 = 10;

/// The state of a pause between changes and the next look. Time comes in as a value.
#[derive(Debug, Default)]
pub(crate) struct Debounce {
    /// The first and the last change that has not been looked at.
    changes: Option<(Instant, Instant)>,
    /// Not before this, because the last look took long.
    rest_until: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Debounce {
    /// Something has changed.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.changes = Some(self.changes.map_or((now, now), |(first, _)| (first, now)));
    }

    /// Returns when to look next, if nothing else happens. `held`: a writer is in the midst of it,
    /// and only its end counts.
    #[must_use]
    pub(crate) fn due(&self, held: bool) -> Option<Instant> {
        if held {
            return None;
        }
        let changed = self.changes.map(|(first, last)| {
            let due = (last + QUIET).min(first + LATEST);
            self.rest_until.map_or(due, |rest| due.max(rest))
        });
        [changed, self.retry_at].into_iter().flatten().min()
    }

    /// A look has ended, for better or worse.
    pub(crate) fn reloaded(&mut self, from: Instant, until: Instant, well: bool) {
        self.changes = None;
        self.rest_until = Some(until + until.saturating_duration_since(from) * (SHARE - 1));
        self.retry_at = (!well).then(|| until + RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soon_after_the_last_write_and_not_too_late() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut debounce = Debounce::default();
        assert_eq!(debounce.due(false), None);
        debounce.changed(at(0));
        assert_eq!(debounce.due(false), Some(at(100)));
        debounce.changed(at(90));
        assert_eq!(debounce.due(false), Some(at(190)));
        for millis in (100..3000).step_by(50) {
            debounce.changed(at(millis));
        }
        assert_eq!(debounce.due(false), Some(at(2000)), "although it goes on");
        assert_eq!(debounce.due(true), None, "half an archive is none");
        debounce.reloaded(at(2000), at(2000), true);
        assert_eq!(debounce.due(false), None);
    }

    #[test]
    fn a_long_look_is_followed_by_a_longer_rest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut debounce = Debounce::default();
        debounce.changed(at(0));
        debounce.reloaded(at(1), at(4), true);
        debounce.changed(at(5));
        assert_eq!(debounce.due(false), Some(at(4 + 27)), "three seconds in thirty");
        debounce.reloaded(at(31), at(31), true);
        debounce.changed(at(40));
        assert_eq!(debounce.due(false), Some(at(40) + QUIET));
    }

    #[test]
    fn what_failed_is_tried_again() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.changed(start);
        debounce.reloaded(start, start, false);
        assert_eq!(debounce.due(false), Some(start + RETRY));
        assert_eq!(debounce.due(true), None, "not in the midst of it");
        debounce.reloaded(start, start, true);
        assert_eq!(debounce.due(false), None);
    }
}
