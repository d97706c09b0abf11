//! Encodings for sites that are folders or plain archives: when they are made, and how they come to
//! the worker.
//!
//! One packer runs at a time. A site is packed a moment after the start and after its last change,
//! first at the fast level. When nothing has changed for a while it is packed again at the best
//! one, in slices, of which each keeps what it has made. What a packer cannot do is said once, and
//! tried again after a pause that grows. Nothing waits for any of it.

mod plan;
mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sitar_publish::Encoded;

use self::plan::{Plan, RETRY_MAX};
use self::run::Outcome;
use super::child::lock;
use super::{Live, Supervisor, site_name};
use crate::cache::Cache;
use crate::config::SiteConfig;
use crate::handover::SiteKind;
use crate::serve::say;

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
    /// Changes of sites that have not been taken note of.
    changed: Vec<(u64, usize)>,
    /// By the names of their files in the cache.
    sites: BTreeMap<String, Plan>,
    /// The site that is being packed.
    running: Option<String>,
    is_ended: bool,
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
            let plan = sites.entry(name).or_insert_with(|| {
                let mut plan = known.unwrap_or_else(|| Plan::new(now));
                plan.places.clear();
                plan
            });
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
            let cache = Cache::of(&live.config);
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
                // It is begun again when it is time.
                Ok(Outcome::Ended) => None,
                Ok(Outcome::Busy) => plan.busy(Instant::now()),
                Ok(Outcome::Done(encoded)) => plan.done(encoded, Instant::now()),
                Err(why) => plan.fail(why.clone(), Instant::now()),
            }
        };
        if let Some(what) = what {
            say(&format_args!("sitar: {} goes out without some encodings: {what}", site_name(site)));
        }
        let Ok(Outcome::Done(Encoded { is_unchanged, .. })) = outcome else { return };
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
        let file = cache.open().and_then(|folder| folder.file(&cache.name(site).unwrap_or_default()));
        let Ok(file) = file else { return false };
        let attach = |place: &usize| worker.attach(live.generation, *place, &file).is_ok();
        places.iter().filter(|place| !attach(place)).count() == 0
    }
}
