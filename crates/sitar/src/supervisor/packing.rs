//! Encodings for sites that are folders or plain archives: when they are made, and how they come to
//! the worker.
//!
//! One packer runs at a time. A site is packed a moment after the start and after its last change,
//! first at the fast level. When nothing has changed for a while it is packed again at the best
//! one, in slices, of which each keeps what it has made. What a packer cannot do is said once, and
//! tried again after a pause that grows. Nothing waits for any of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sitar_publish::Encoded;

use super::child::{self, lock};
use super::{Live, Supervisor, site_name};
use crate::cache::Cache;
use crate::channel::{Channel, Limits};
use crate::config::{SiteConfig, SiteContent};
use crate::handover::{SiteKind, not_understood};
use crate::packer::{self, Job};
use crate::serve::{orphans, say};

/// The time without a change after which a site is packed.
const QUIET: Duration = Duration::from_secs(1);
/// The time after the first change after which it is packed even if others follow.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// The time after which what is packed is packed better, and the pause between two slices.
const CALM: Duration = Duration::from_secs(3);
/// No file is begun after this time of a run at the fast level, and of one at the best.
const FAST_TIME: Duration = Duration::from_secs(10);
const BEST_TIME: Duration = Duration::from_secs(60);
/// A packer that takes nothing of its message for this time, or stops in the midst of its answer,
/// is given up.
const TAKING: Duration = Duration::from_secs(10);
/// A run that takes longer than this is ended.
const RUN_MAX: Duration = Duration::from_secs(7200);
/// Pauses before a run that has failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Runs in a row that make nothing, after which what is left counts as unreadable.
const FUTILE_MAX: u32 = 3;
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Changes that are noted at a time: those of all sites.
const CHANGES_MAX: usize = 4096;
/// How often a run looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// The work on encodings.
#[derive(Debug, Default)]
pub(super) struct Packing {
    state: Mutex<State>,
    /// Told when there may be something to do.
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The configuration that `sites` belong to.
    generation: u64,
    /// Changes of sites that have not been taken note of.
    changed: Vec<(u64, usize)>,
    /// By the names of their files in the cache.
    sites: BTreeMap<String, Plan>,
    /// The site that is being packed.
    running: Option<String>,
    is_ended: bool,
}

/// What is to be done about a site.
#[derive(Debug, Clone)]
struct Plan {
    /// Its places in the configuration.
    places: Vec<usize>,
    due: Option<Instant>,
    /// The first change that has not been packed.
    since: Option<Instant>,
    is_best: bool,
    failures: u32,
    /// Runs that left files and made nothing, one after the other.
    futile: u32,
    /// The worker has not taken the last file.
    is_owed: bool,
    /// What was said last.
    said: Option<String>,
}

impl Plan {
    fn new(now: Instant) -> Plan {
        let due = Some(now + QUIET);
        Plan {
            places: Vec::new(),
            due,
            since: None,
            is_best: false,
            failures: 0,
            futile: 0,
            is_owed: false,
            said: None,
        }
    }

    /// Notes a change.
    fn change(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.due = Some((now + QUIET).min(since + QUIET_MAX).max(now));
        self.is_best = false;
        self.futile = 0;
    }

    /// Notes the end of a run that was not for nothing. Returns what there is to say.
    fn done(&mut self, encoded: &Encoded, now: Instant) -> Option<String> {
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

    /// Notes whether the worker has taken the file, which it is offered again otherwise.
    fn attached(&mut self, is_taken: bool, now: Instant) {
        self.is_owed = !is_taken;
        if !is_taken {
            self.due = Some(self.due.map_or(now + RETRY, |due| due.min(now + RETRY)));
        }
    }

    /// Notes a run that has failed. Returns what there is to say.
    fn fail(&mut self, why: String, now: Instant) -> Option<String> {
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

impl Packing {
    /// Notes that another content of a site is served.
    pub(super) fn note(&self, generation: u64, site: usize) {
        let mut state = lock(&self.state);
        // More than the sites that there can be are noted twice.
        if state.changed.len() < CHANGES_MAX && !state.changed.contains(&(generation, site)) {
            state.changed.push((generation, site));
        }
        self.news.notify_all();
    }

    /// Has it look again: what is served is another configuration, or the server ends.
    pub(super) fn look(&self) {
        let _state = lock(&self.state);
        self.news.notify_all();
    }

    /// Ends it.
    pub(super) fn end(&self) {
        lock(&self.state).is_ended = true;
        self.news.notify_all();
    }

    /// Returns whether a site is being packed.
    pub(super) fn is_running(&self, place: usize) -> bool {
        let state = lock(&self.state);
        let running = state.running.as_ref().and_then(|name| state.sites.get(name));
        running.is_some_and(|plan| plan.places.contains(&place))
    }

    /// Returns what keeps sites from being encoded.
    pub(super) fn complaints(&self) -> Vec<String> {
        let state = lock(&self.state);
        let mut all: Vec<String> = state.sites.values().filter_map(|plan| plan.said.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether the run of a site is of no use any more.
    fn is_over(&self, name: &str, is_best: bool, live: &dyn Fn() -> u64) -> bool {
        let generation = live();
        let state = lock(&self.state);
        let is_changed = || {
            let places = state.sites.get(name).map(|plan| &plan.places);
            state.changed.iter().any(|(_, site)| places.is_some_and(|places| places.contains(site)))
        };
        state.is_ended || state.generation != generation || (is_best && is_changed())
    }
}

impl State {
    /// Takes note of the configuration that is served, and of changes.
    fn follow(&mut self, live: &Live, cache: &Cache, now: Instant) {
        let mut sites: BTreeMap<String, Plan> = BTreeMap::new();
        for (place, (site, facts)) in live.config.sites.iter().zip(&live.sites).enumerate() {
            let is_packed = facts.kind == SiteKind::Pack || facts.unavailable.is_some();
            let Some(name) = cache.name(site).filter(|_| !is_packed) else { continue };
            let known = self.sites.get(&name).cloned();
            let plan = sites
                .entry(name)
                .or_insert_with(|| Plan { places: Vec::new(), ..known.unwrap_or_else(|| Plan::new(now)) });
            plan.places.push(place);
        }
        let is_other = self.generation != live.generation;
        for plan in sites.values_mut() {
            let is_changed = |&(generation, site): &(u64, usize)| {
                generation == live.generation && plan.places.contains(&site)
            };
            if is_other || self.changed.iter().any(is_changed) {
                plan.change(now);
            }
        }
        (self.sites, self.generation) = (sites, live.generation);
        self.changed.clear();
    }

    /// Returns the site that is to be packed first.
    fn next(&self) -> Option<(&String, &Plan)> {
        self.sites.iter().filter(|(_, plan)| plan.due.is_some()).min_by_key(|(_, plan)| plan.due)
    }
}

impl Supervisor {
    /// Makes encodings on a thread of its own, until the server ends.
    pub(super) fn start_packing(self: &Arc<Self>) {
        let supervisor = Arc::clone(self);
        let work = move || supervisor.pack();
        if let Err(error) = thread::Builder::new().name("sitar-packing".into()).spawn(work) {
            say(&format_args!("sitar: sites are not compressed: {error}"));
        }
    }

    fn pack(&self) {
        loop {
            let live = self.live().clone();
            let cache = Cache::of(&live.config, live.user);
            let mut state = lock(&self.packing.state);
            if state.is_ended {
                return;
            }
            let now = Instant::now();
            match &cache {
                Some(cache) => state.follow(&live, cache, now),
                None => *state = State { generation: live.generation, ..State::default() },
            }
            let next = state.next().map(|(name, plan)| (name.clone(), plan.clone()));
            match (next, cache) {
                (Some((name, plan)), Some(cache)) if plan.due.is_some_and(|due| due <= now) => {
                    state.running = Some(name.clone());
                    drop(state);
                    self.pack_one(&live, &cache, &name, &plan);
                    lock(&self.packing.state).running = None;
                }
                (next, _) => {
                    let due = next.and_then(|(_, plan)| plan.due);
                    // What has come in between has been noted, and is there to be seen.
                    if !state.changed.is_empty() {
                        continue;
                    }
                    let news = &self.packing.news;
                    let left = due.map_or(Duration::MAX, |due| due.saturating_duration_since(now));
                    let waited = news.wait_timeout(state, left.min(RETRY_MAX));
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }

    fn pack_one(&self, live: &Live, cache: &Cache, name: &str, plan: &Plan) {
        let outcome = self.run_packer(live, cache, name, plan);
        let Some(site) = plan.places.first().and_then(|place| live.config.sites.get(*place)) else { return };
        let what = {
            let mut state = lock(&self.packing.state);
            let Some(plan) = state.sites.get_mut(name) else { return };
            match &outcome {
                // It was ended, and is begun again when it is time.
                Ok(None) => None,
                Ok(Some(encoded)) => plan.done(encoded, Instant::now()),
                Err(why) => plan.fail(why.clone(), Instant::now()),
            }
        };
        if let Some(what) = what {
            say(&format_args!("sitar: {} goes out without some encodings: {what}", site_name(site)));
        }
        let Ok(Some(Encoded { is_unchanged, .. })) = outcome else { return };
        if is_unchanged && !plan.is_owed {
            return;
        }
        let is_taken = self.attach(live, cache, site, &plan.places);
        if let Some(plan) = lock(&self.packing.state).sites.get_mut(name) {
            plan.attached(is_taken, Instant::now());
        }
    }

    /// Hands the encodings of a site to the worker. Returns whether it has taken them. A worker
    /// that has come in between has opened them itself; one without them serves on.
    fn attach(&self, live: &Live, cache: &Cache, site: &SiteConfig, places: &[usize]) -> bool {
        let worker = self.live().worker.clone();
        let Some(worker) = worker else { return false };
        let attach = |place: &usize| match cache.open(site) {
            Ok(file) => worker.attach(live.generation, *place, &file).is_ok(),
            Err(_) => false,
        };
        places.iter().filter(|place| !attach(place)).count() == 0
    }

    /// Runs a packer. `None`: it was ended, because its work is of no use any more.
    fn run_packer(
        &self,
        live: &Live,
        cache: &Cache,
        name: &str,
        plan: &Plan,
    ) -> Result<Option<Encoded>, String> {
        let failed = |error: io::Error| format!("no packer can be started: {error}");
        let site = plan.places.first().and_then(|place| live.config.sites.get(*place));
        let Some(SiteContent::Root { path, options, .. }) = site.map(|site| &site.content) else {
            return Ok(None);
        };
        if is_within(&cache.folder, path) {
            return Err("the cache lies in the site".to_owned());
        }
        let root =
            sitar_site::open_root(path).map_err(|error| format!("its root cannot be opened: {error}"))?;
        let used = live.config.sites.iter().filter_map(|site| cache.name(site)).collect();
        let job = Job {
            path: path.clone(),
            options: options.clone(),
            folder: cache.folder.clone(),
            name: name.to_owned(),
            prefix: cache.prefix().to_owned(),
            used,
            size: cache.size,
            is_best: plan.is_best,
            time: if plan.is_best { BEST_TIME } else { FAST_TIME },
            user: live.user,
            policy: live.config.settings.sandbox,
        };
        let (own, other) = Channel::pair().map_err(failed)?;
        let child = child::start(&self.program, other.into_socket(), packer::NAME, packer::PACKER_OF);
        let mut child = child.map_err(failed)?;
        let (value, blobs) = job.parts();
        let answer = own.give_up_after(TAKING).and_then(|()| {
            own.patience(TAKING)?;
            own.send(&value, &blobs, &[root.as_fd()])?;
            self.wait_for_packer(&own, name, plan.is_best)
        });
        end(&mut child, answer.is_ok());
        let ended = orphans::wait(child);
        match answer {
            Ok(None) => Ok(None),
            Ok(Some(value)) => {
                packer::read_done(&value).ok_or_else(|| not_understood().to_string())?.map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(format!("the packer has ended ({how})"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits for the answer of a packer. `None`: it is not wanted any more.
    fn wait_for_packer(
        &self,
        channel: &Channel,
        name: &str,
        is_best: bool,
    ) -> io::Result<Option<serde_json::Value>> {
        let begin = Instant::now();
        let pause = Timespec::try_from(LOOK).ok();
        loop {
            let mut fds = [PollFd::new(channel, PollFlags::IN)];
            let _ = poll(&mut fds, pause.as_ref());
            if !fds[0].revents().is_empty() {
                let message = channel.receive(Limits::OF_WORKER)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                return Ok(Some(message.value));
            }
            if self.is_stopping() || self.packing.is_over(name, is_best, &|| self.live().generation) {
                return Ok(None);
            }
            if begin.elapsed() >= RUN_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the packer takes too long"));
            }
        }
    }
}

/// Whether a folder, which need not be there yet, lies in a site's.
fn is_within(folder: &Path, site: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let folder = folder.ancestors().find_map(whole);
    folder.zip(whole(site)).is_some_and(|(folder, site)| folder.starts_with(site))
}

/// Ends a packer, unless it ends by itself because it has answered.
fn end(child: &mut Child, has_answered: bool) {
    if !has_answered || matches!(child.try_wait(), Ok(None)) {
        // It has put its file in place by then, or has none.
        let _ = child.kill();
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
        plan.attached(false, now);
        assert_eq!((plan.is_owed, plan.due), (true, Some(now + Duration::from_secs(10))));
        plan.due = None;
        plan.attached(true, now);
        assert_eq!((plan.is_owed, plan.due), (false, None));
    }

    #[test]
    fn a_cache_in_a_site_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let [site, link] = ["site", "link"].map(|name| folder.path().join(name));
        std::fs::create_dir(&site).unwrap();
        std::os::unix::fs::symlink(&site, &link).unwrap();
        for (cache, expected) in [("site", true), ("link/a/b", true), ("sites", false), ("", false)] {
            assert_eq!(is_within(&folder.path().join(cache), &link), expected, "{cache}");
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
