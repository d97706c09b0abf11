//! Encodings for sites that are folders or plain archives: when they are made, and how they come to
//! the worker.
//!
//! One packer runs at a time. A site is packed a moment after the start and after its last change,
//! first at the fast level. When nothing has changed for a while it is packed again at the best
//! one, in slices, of which each keeps what it has made. What a packer cannot do is said once, and
//! tried again after a pause that grows. Nothing waits for any of it.

mod budget;
mod cleaning;
mod plan;
mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sitar_publish::Encoded;

use self::budget::Budget;
use self::cleaning::Cleaning;
use self::plan::{Plan, RETRY_MAX};
use self::run::Outcome;
use super::child::{Worker, lock};
use super::{Live, Supervisor, site_name};
use crate::cache::Cache;
use crate::config::SiteConfig;
use crate::events::{self, Event, Level};
use crate::handover::{SiteFacts, SiteKind};

/// Changes that are noted at a time: those of all sites.
const CHANGES_MAX: usize = 4096;

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
    /// When the files were opened of the worker that was known last.
    opened: Option<Instant>,
    /// Changes of sites that have not been taken note of.
    changed: Vec<Change>,
    /// By the names of their files in the cache.
    sites: BTreeMap<String, Plan>,
    /// The site that is being packed.
    running: Option<String>,
    budget: Budget,
    /// There may be something to do that the last look has not seen.
    has_news: bool,
    is_ended: bool,
    /// The thread runs.
    is_at_work: bool,
}

/// Another content of a site is served.
#[derive(Debug, Clone)]
struct Change {
    /// The configuration that it belongs to.
    generation: u64,
    /// The place of the site in it.
    site: usize,
    facts: SiteFacts,
}

impl Packing {
    /// Notes that another content of a site is served.
    pub(super) fn note(&self, generation: u64, site: usize, facts: SiteFacts) {
        let mut state = lock(&self.state);
        let is_same = |known: &Change| (known.generation, known.site) == (generation, site);
        state.changed.retain(|known| !is_same(known));
        // More than the sites that there can be are noted twice.
        if state.changed.len() < CHANGES_MAX {
            state.changed.push(Change { generation, site, facts });
        }
        self.tell(state);
    }

    /// Has it look again: what is served is another configuration, or another worker serves it.
    pub(super) fn look(&self) {
        self.tell(lock(&self.state));
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        state.has_news = true;
        self.news.notify_all();
    }

    /// Begins a look: the next wait ends at once if there are news from here on. Returns what has
    /// changed in a configuration, and forgets those before. A worker may be ahead of what is known
    /// here to be served.
    fn begin(&self, generation: u64) -> Vec<Change> {
        let mut state = lock(&self.state);
        state.has_news = false;
        let later = state.changed.iter().filter(|change| change.generation > generation).cloned().collect();
        let mut changed = std::mem::replace(&mut state.changed, later);
        changed.retain(|change| change.generation == generation);
        changed
    }

    /// Waits for news, for that time at most.
    fn wait(&self, time: Duration) {
        let is_quiet = |state: &mut State| !state.has_news && !state.is_ended;
        let waited = self.news.wait_timeout_while(lock(&self.state), time, is_quiet);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes how many bytes a run has written.
    fn spend(&self, bytes: u64) {
        lock(&self.state).budget.spend(bytes, Instant::now());
    }

    /// Ends it.
    pub(super) fn end(&self) {
        lock(&self.state).is_ended = true;
        self.news.notify_all();
    }

    fn set_at_work(&self, is_at_work: bool) {
        lock(&self.state).is_at_work = is_at_work;
        self.news.notify_all();
    }

    /// Waits for its end, after which nothing unfinished is left in the cache. A file system that
    /// does not answer holds up the end of the server no longer than for that time.
    pub(super) fn wait_for_end(&self, time: Duration) {
        let waited = self.news.wait_timeout_while(lock(&self.state), time, |state| state.is_at_work);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
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
            let is_of_it = |change: &Change| {
                change.generation == generation && places.is_some_and(|places| places.contains(&change.site))
            };
            state.changed.iter().any(is_of_it)
        };
        state.is_ended || state.generation != generation || (is_best && is_changed())
    }
}

impl State {
    /// Takes note of the configuration that is served, and of sites that have changed.
    fn follow(&mut self, live: &Live, cache: &Cache, changed: &[Change], now: Instant) {
        let mut sites: BTreeMap<String, Plan> = BTreeMap::new();
        for (place, (site, facts)) in live.config.sites.iter().zip(&live.sites).enumerate() {
            let is_packed = facts.kind == SiteKind::Pack || facts.unavailable.is_some();
            let Some(name) = cache.name(site).filter(|_| !is_packed) else { continue };
            let known = self.sites.get(&name).cloned();
            let plan = sites.entry(name).or_insert_with(|| {
                let mut plan = known.unwrap_or_else(|| Plan::new(now));
                plan.places.clear();
                plan
            });
            plan.places.push(place);
        }
        // Another worker does not say how the sites that it has opened differ from those before.
        let is_other = self.generation != live.generation || self.opened != Some(live.opened);
        for plan in sites.values_mut() {
            if is_other || changed.iter().any(|change| plan.places.contains(&change.site)) {
                plan.change(now);
            }
            plan.serve(live.opened, now);
        }
        (self.sites, self.generation, self.opened) = (sites, live.generation, Some(live.opened));
    }

    /// Returns the site that is to be packed first, and when.
    fn next(&self, now: Instant) -> Option<(&String, &Plan, Instant)> {
        let due = self.sites.iter().filter_map(|(name, plan)| Some((name, plan, plan.due?)));
        let (name, plan, due) = due.min_by_key(|(_, _, due)| *due)?;
        Some((name, plan, due.max(self.budget.ready(now))))
    }
}

impl Supervisor {
    /// Makes encodings on a thread of its own, until the server ends.
    pub(super) fn start_packing(self: &Arc<Self>) {
        let supervisor = Arc::clone(self);
        let work = move || {
            supervisor.pack();
            supervisor.packing.set_at_work(false);
        };
        self.packing.set_at_work(true);
        if let Err(error) = thread::Builder::new().name("sitar-packing".into()).spawn(work) {
            self.packing.set_at_work(false);
            events::warning(format_args!("sites are not compressed: {error}"));
        }
    }

    fn pack(&self) {
        let mut cleaning = Cleaning::default();
        loop {
            let (live, changed) = self.with_changes();
            let cache = Cache::of(&live.config);
            let now = Instant::now();
            let cleans_at = cleaning.follow(live.generation, &live.config, &encoded(&live), now);
            let next = {
                let mut state = lock(&self.packing.state);
                if state.is_ended {
                    return;
                }
                match &cache {
                    Some(cache) => state.follow(&live, cache, &changed, now),
                    None => (state.sites, state.generation) = (BTreeMap::new(), live.generation),
                }
                let next = match state.next(now) {
                    Some((name, plan, at)) if at <= now => Ok((name.clone(), plan.clone())),
                    next => Err(next.map(|(_, _, at)| at)),
                };
                state.running = next.as_ref().ok().map(|(name, _)| name.clone());
                next
            };
            match (next, cache) {
                (Ok((name, plan)), Some(cache)) => {
                    self.pack_one(&live, &cache, &name, &plan);
                    lock(&self.packing.state).running = None;
                }
                (next, _) => {
                    let due = next.err().flatten().into_iter().chain(cleans_at).min();
                    let left = due.map_or(RETRY_MAX, |due| due.saturating_duration_since(now));
                    self.packing.wait(left.min(RETRY_MAX));
                }
            }
        }
    }

    /// Returns what is served, and the sites of it that have changed. What their worker has said of
    /// them is known from here on.
    fn with_changes(&self) -> (Live, Vec<Change>) {
        let mut live = self.live();
        let changed = self.packing.begin(live.generation);
        for change in &changed {
            if let Some(facts) = live.sites.get_mut(change.site) {
                facts.clone_from(&change.facts);
            }
        }
        (live.clone(), changed)
    }

    fn pack_one(&self, live: &Live, cache: &Cache, name: &str, plan: &Plan) {
        let outcome = self.run_packer(live, cache, name, plan);
        let Some(site) = plan.places.first().and_then(|place| live.config.sites.get(*place)) else { return };
        let what = {
            let mut state = lock(&self.packing.state);
            let Some(plan) = state.sites.get_mut(name) else { return };
            match &outcome {
                // It is begun again when it is time.
                Ok(Outcome::Ended) => None,
                Ok(Outcome::Busy) => plan.busy(Instant::now()),
                Ok(Outcome::Done(encoded)) => plan.done(encoded, Instant::now()),
                Err(why) => plan.fail(why.clone(), Instant::now()),
            }
        };
        if let Some(what) = what {
            let name = site_name(site);
            let what = format_args!("{name} goes out without some encodings: {what}");
            Event::new(Level::Warning, what).with("site", name).say();
        }
        let Ok(Outcome::Done(Encoded { is_unchanged, .. })) = outcome else { return };
        if is_unchanged && !plan.is_owed {
            return;
        }
        let (worker, opened) = {
            let live = self.live();
            (live.worker.clone(), live.opened)
        };
        let is_taken =
            worker.is_some_and(|worker| attach(&worker, live.generation, cache, site, &plan.places));
        if let Some(plan) = lock(&self.packing.state).sites.get_mut(name) {
            plan.attached(is_taken, opened, Instant::now());
        }
    }
}

/// Hands the encodings of a site to a worker. Returns whether it has taken them. One without them
/// serves on.
fn attach(worker: &Worker, generation: u64, cache: &Cache, site: &SiteConfig, places: &[usize]) -> bool {
    let file = cache.open().and_then(|folder| folder.file(&cache.name(site).unwrap_or_default()));
    let Ok(file) = file else { return false };
    let attach = |place: &usize| worker.attach(generation, *place, &file).is_ok();
    places.iter().filter(|place| !attach(place)).count() == 0
}

/// Returns the sites that have encodings in the cache, or will have some once they can be served.
fn encoded(live: &Live) -> Vec<&SiteConfig> {
    let is_pack = |place: usize| live.sites.get(place).is_some_and(|facts| facts.kind == SiteKind::Pack);
    let sites = live.config.sites.iter().enumerate().filter(|(place, _)| !is_pack(*place));
    sites.map(|(_, site)| site).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn packing(sites: &[(&str, usize)]) -> Packing {
        let now = Instant::now();
        let plan = |place: usize| Plan { places: vec![place], ..Plan::new(now) };
        let sites = sites.iter().map(|(name, place)| ((*name).to_owned(), plan(*place))).collect();
        let state = State { generation: 2, sites, ..State::default() };
        Packing { state: Mutex::new(state), news: Condvar::new() }
    }

    #[test]
    fn news_between_a_look_and_its_wait_end_the_wait() {
        for tell in [Packing::look, |packing: &Packing| packing.note(1, 0, SiteFacts::default())] {
            let packing = Arc::new(Packing::default());
            packing.begin(1);
            tell(&packing);
            let (done, is_done) = sync_channel(1);
            let waiting = Arc::clone(&packing);
            thread::spawn(move || {
                waiting.wait(Duration::from_secs(3600));
                done.send(()).unwrap();
            });
            is_done.recv_timeout(Duration::from_secs(30)).unwrap();
        }
    }

    #[test]
    fn the_next_run_waits_until_it_may_write_again() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let packing = packing(&[("a", 0), ("b", 1)]);
        let mut state = lock(&packing.state);
        for (name, due) in [("a", Some(after(30))), ("b", Some(after(20)))] {
            state.sites.get_mut(name).unwrap().due = due;
        }
        let next = |state: &State| state.next(now).map(|(name, _, at)| (name.clone(), at));
        assert_eq!(next(&state), Some(("b".to_owned(), after(20))));
        // 1 GiB, of which 256 MiB are free, at 4 MiB a second.
        state.budget.spend(1 << 30, now);
        assert_eq!(next(&state), Some(("b".to_owned(), after(192))));
    }

    #[test]
    fn changes_count_for_the_configuration_that_they_belong_to() {
        let packing = packing(&[("a", 0), ("b", 1)]);
        let is_over = |name: &str| packing.is_over(name, true, &|| 2);
        packing.note(1, 0, SiteFacts::default());
        packing.note(3, 0, SiteFacts::default());
        assert!(!is_over("a"), "those are changes of other configurations");
        packing.note(2, 1, SiteFacts::default());
        assert_eq!((is_over("a"), is_over("b")), (false, true));
        assert!(!packing.is_over("b", false, &|| 2), "at the fast level it goes on");
        let facts = SiteFacts { files: Some(7), ..SiteFacts::default() };
        packing.note(2, 1, facts.clone());
        let taken: Vec<_> = packing.begin(2).into_iter().map(|change| (change.site, change.facts)).collect();
        assert_eq!(taken, [(1, facts)], "the last of them");
        assert!(packing.begin(2).is_empty());
        // The one that was ahead is there when its configuration is.
        assert_eq!(packing.begin(3).len(), 1);
    }
}
