//! When a site is packed, and at which level.

use std::time::{Duration, Instant};

use sitar_publish::Encoded;

/// The time without a change after which a site is packed.
const QUIET: Duration = Duration::from_secs(1);
/// The time after the first change after which it is packed even if others follow.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// The time after which what is packed is packed better, and the pause between two slices.
const CALM: Duration = Duration::from_secs(3);
/// The first and the longest pause before a run that has failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(10);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Runs in a row that make nothing, after which what is left counts as unreadable.
const FUTILE_MAX: u32 = 3;

/// What is to be done about a site.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Its places in the configuration.
    pub(super) places: Vec<usize>,
    pub(super) due: Option<Instant>,
    /// The first change since the last run.
    pub(super) since: Option<Instant>,
    pub(super) is_best: bool,
    pub(super) failures: u32,
    /// Runs that left files and made nothing, one after the other.
    pub(super) futile: u32,
    /// The worker has not taken the last file.
    pub(super) is_owed: bool,
    /// When the worker has taken a file last, and when the files of that worker were opened.
    pub(super) handed: Option<(Instant, Instant)>,
    /// What was said last.
    pub(super) said: Option<String>,
}

impl Plan {
    pub(super) fn new(now: Instant) -> Plan {
        let due = Some(now + QUIET);
        Plan {
            places: Vec::new(),
            due,
            since: None,
            is_best: false,
            failures: 0,
            futile: 0,
            is_owed: false,
            handed: None,
            said: None,
        }
    }

    /// Notes a change.
    pub(super) fn change(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.due = Some((now + QUIET).min(since + QUIET_MAX).max(now));
        self.is_best = false;
        self.futile = 0;
    }

    /// Notes the end of a run that was not for nothing. Returns what there is to say.
    pub(super) fn done(&mut self, encoded: &Encoded, now: Instant) -> Option<String> {
        self.failures = 0;
        self.since = None;
        let is_whole = encoded.left == 0;
        self.futile = if is_whole || encoded.made > 0 { 0 } else { self.futile.saturating_add(1) };
        let pause = CALM.saturating_mul(1 << self.futile.saturating_sub(FUTILE_MAX).min(10)).min(RETRY_MAX);
        self.due = if is_whole && self.is_best { None } else { Some(now + pause) };
        // Files that were changed a moment ago are packed at the same level. What is left after
        // that cannot be read, or does not rest, and holds up nothing.
        self.is_best |= is_whole || self.futile >= FUTILE_MAX;
        let what = (encoded.without_room > 0).then(|| {
            format!(
                "there is no room in the cache for encodings of {} files (cache_size)",
                encoded.without_room
            )
        });
        self.tell(what)
    }

    /// Notes when the files were opened that the worker has. What another worker took after that is
    /// not among them, and is offered to this one.
    pub(super) fn serve(&mut self, opened: Instant, now: Instant) {
        let is_missing = self.handed.is_some_and(|(at, to)| at >= opened && to != opened);
        if is_missing && !self.is_owed {
            self.is_owed = true;
            self.due = Some(self.due.map_or(now, |due| due.min(now)));
        }
    }

    /// Notes whether the worker whose files were opened then has taken the file, which it is
    /// offered again otherwise.
    pub(super) fn attached(&mut self, is_taken: bool, opened: Instant, now: Instant) {
        self.is_owed = !is_taken;
        if is_taken {
            self.handed = Some((now, opened));
        } else {
            self.due = Some(self.due.map_or(now + RETRY, |due| due.min(now + RETRY)));
        }
    }

    /// Notes that another server of this configuration writes, perhaps to the file of this site,
    /// which is the worker's as well. Returns what there is to say: nothing.
    pub(super) fn busy(&mut self, now: Instant) -> Option<String> {
        self.since = None;
        self.due = Some(now + RETRY);
        self.is_owed = true;
        None
    }

    /// Notes a run that has failed. Returns what there is to say.
    pub(super) fn fail(&mut self, why: String, now: Instant) -> Option<String> {
        // Later changes are waited for again, or each of them would be followed by a run at once.
        self.since = None;
        self.due = Some(now + RETRY.saturating_mul(1 << self.failures.min(9)).min(RETRY_MAX));
        self.failures = self.failures.saturating_add(1);
        self.tell(Some(why))
    }

    /// Returns what was not said the last time.
    fn tell(&mut self, what: Option<String>) -> Option<String> {
        let is_new = what != self.said;
        self.said.clone_from(&what);
        what.filter(|_| is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_packed_when_it_is_calm_and_at_the_latest_after_a_while() {
        let now = Instant::now();
        let mut plan = Plan::new(now);
        assert_eq!(plan.due, Some(now + Duration::from_secs(1)));
        for second in 0..60 {
            plan.change(now + Duration::from_millis(500 * second));
        }
        assert_eq!(plan.due, Some(now + Duration::from_millis(29_500)), "long since due");
        let mut plan = Plan::new(now);
        plan.change(now);
        plan.change(now + Duration::from_millis(9_500));
        assert_eq!(plan.due, Some(now + Duration::from_secs(10)));
    }

    #[test]
    fn the_best_level_comes_after_the_fast_one_and_ends() {
        let now = Instant::now();
        let later = Some(now + Duration::from_secs(3));
        let mut plan = Plan::new(now);
        let whole = Encoded::default();
        let part = Encoded { left: 1, ..whole };
        assert_eq!(plan.done(&part, now), None);
        assert_eq!((plan.is_best, plan.due), (false, later));
        assert_eq!(plan.done(&whole, now), None);
        assert_eq!((plan.is_best, plan.due), (true, later));
        assert_eq!(plan.done(&part, now), None);
        assert_eq!((plan.is_best, plan.due), (true, later));
        assert_eq!(plan.done(&whole, now), None);
        assert_eq!((plan.is_best, plan.due), (true, None));
        plan.change(now);
        assert_eq!((plan.is_best, plan.due), (false, Some(now + Duration::from_secs(1))));
    }

    #[test]
    fn what_can_never_be_read_holds_up_nothing_and_is_looked_at_less_and_less() {
        let now = Instant::now();
        let mut plan = Plan::new(now);
        let nothing = Encoded { left: 1, ..Encoded::default() };
        let mut after = |encoded: &Encoded| {
            plan.done(encoded, now);
            (plan.is_best, plan.due.map(|due| (due - now).as_secs()))
        };
        assert_eq!(after(&nothing), (false, Some(3)));
        assert_eq!(after(&nothing), (false, Some(3)));
        assert_eq!(after(&nothing), (true, Some(3)));
        assert_eq!(after(&Encoded { made: 5, ..nothing }), (true, Some(3)));
        let pauses: Vec<_> = (0..15).map(|_| after(&nothing).1.unwrap()).collect();
        assert_eq!(pauses[..6], [3, 3, 3, 6, 12, 24]);
        assert_eq!(pauses[14], 3072);
        plan.change(now);
        assert_eq!((plan.is_best, plan.futile), (false, 0));
    }

    #[test]
    fn a_file_that_the_worker_has_not_taken_is_offered_again() {
        let now = Instant::now();
        let mut plan = Plan { due: None, ..Plan::new(now) };
        plan.attached(false, now, now);
        assert_eq!((plan.is_owed, plan.due), (true, Some(now + Duration::from_secs(10))));
        plan.due = None;
        plan.attached(true, now, now);
        assert_eq!((plan.is_owed, plan.due), (false, None));
    }

    #[test]
    fn a_file_that_comes_while_another_worker_starts_is_offered_to_that() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut plan = Plan { due: None, ..Plan::new(begin) };
        plan.serve(begin, begin);
        plan.attached(true, begin, after(5));
        plan.serve(begin, after(6));
        assert_eq!((plan.is_owed, plan.due), (false, None), "it has it");
        plan.serve(after(4), after(6));
        assert_eq!((plan.is_owed, plan.due), (true, Some(after(6))), "its files were opened before");
        // It is not tried without a pause.
        plan.attached(false, after(4), after(7));
        plan.serve(after(4), after(8));
        assert_eq!(plan.due, Some(after(6)), "due since then");
        plan.due = Some(after(17));
        plan.serve(after(4), after(8));
        assert_eq!((plan.is_owed, plan.due), (true, Some(after(17))));
        plan.due = None;
        plan.attached(true, after(4), after(18));
        for opened in [4, 20] {
            plan.serve(after(opened), after(21));
            assert_eq!((plan.is_owed, plan.due), (false, None));
        }
    }

    #[test]
    fn another_server_is_waited_for_and_what_it_has_made_is_taken() {
        let now = Instant::now();
        let mut plan = Plan::new(now);
        for _ in 0..5 {
            assert_eq!(plan.busy(now), None);
            assert_eq!((plan.is_owed, plan.due), (true, Some(now + Duration::from_secs(10))));
        }
    }

    #[test]
    fn a_site_that_goes_on_changing_is_not_tried_all_the_time() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        for end in [|plan: &mut Plan, now| plan.fail(String::new(), now), Plan::busy] {
            let mut plan = Plan::new(now);
            plan.change(now);
            end(&mut plan, after(20));
            plan.change(after(21));
            assert_eq!(plan.due, Some(after(22)));
            (22..40).for_each(|second| plan.change(after(second)));
            assert_eq!(plan.due, Some(after(39)), "the first of them is long ago");
        }
    }

    #[test]
    fn what_fails_is_said_once_and_tried_again_less_and_less() {
        let now = Instant::now();
        let mut plan = Plan::new(now);
        let why = || "the disk is full".to_owned();
        assert_eq!(plan.fail(why(), now), Some(why()));
        assert_eq!(plan.due, Some(now + Duration::from_secs(10)));
        assert_eq!(plan.fail(why(), now), None);
        assert_eq!(plan.due, Some(now + Duration::from_secs(20)));
        for _ in 0..20 {
            assert_eq!(plan.fail(why(), now), None);
        }
        assert_eq!(plan.due, Some(now + Duration::from_secs(3600)));
        assert_eq!(plan.fail("another".to_owned(), now), Some("another".to_owned()));
        assert_eq!(plan.done(&Encoded::default(), now), None);
        assert_eq!(plan.fail(why(), now), Some(why()), "after it was well again");
    }
}
