//! Workers that end, and those that take their place.

use std::io;
use std::num::NonZeroU16;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sitar_acme::Pending;

use super::child::{Leave, Oversee, Worker, lock};
use super::{Live, Supervisor, site_name};
use crate::error::Error;
use crate::events::{self, Event, Level};
use crate::handover::{Challenges, Files, Opened, Opening, SiteFacts};
use crate::listen::BACKLOG;
use crate::start::count;

/// The pause before a worker is started again, from the second time on; then twice as long each
/// time.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(16);
/// A worker that has lived for this time is started again at once.
const HEALTHY: Duration = Duration::from_secs(60);
/// The time without anything to do, after which memory is given back.
const REST: Duration = Duration::from_secs(1);
/// Workers that drain at a time. With one more, the oldest of them has to stop.
const DRAINING_MAX: usize = 8;
/// How often the one who pauses looks whether the server is to stop.
const LOOK: Duration = Duration::from_millis(100);

impl Live {
    /// Returns what a worker needs to open the configuration.
    pub(super) fn opening(&self, shards: NonZeroU16, files: Files, challenges: Vec<Pending>) -> Opening {
        Opening {
            generation: self.generation,
            user: self.user,
            shards: shards.get(),
            texts: self.texts.clone(),
            identities: self.certificates.list.iter().map(|one| one.pem.clone()).collect(),
            by_host: self.certificates.by_host.clone(),
            client_cas: self.certificates.client_cas.iter().map(|one| (one.site, one.pem.clone())).collect(),
            challenges: Challenges(challenges),
            files: files.sites,
            logs: files.logs,
        }
    }
}

impl Supervisor {
    /// Starts the process of a worker.
    pub(super) fn new_worker(self: &Arc<Self>) -> Result<Arc<Worker>, Error> {
        for bound in &self.live().bound {
            for socket in &*bound.sockets() {
                // The one before may have had its listening ended (shutdown(2)).
                let _ = rustix::net::listen(socket, BACKLOG);
            }
        }
        // Before it can end.
        let mut workers = lock(&self.workers);
        let worker = Worker::start(self, &self.program)?;
        workers.push(Arc::clone(&worker));
        Ok(worker)
    }

    /// Notes that a worker serves; if it has ended by now, starts another one.
    pub(super) fn set_worker(self: &Arc<Self>, worker: &Arc<Worker>) {
        self.live().worker = Some(Arc::clone(worker));
        let has_ended = !lock(&self.workers).iter().any(|other| Arc::ptr_eq(other, worker));
        if has_ended && self.take_worker(worker) {
            let (supervisor, worker) = (Arc::clone(self), Arc::clone(worker));
            let start = move || supervisor.start_after(&worker, "as soon as it served");
            if let Err(error) = thread::Builder::new().name("sitar-start".into()).spawn(start) {
                events::error(format_args!("no worker can be started: {error}"));
            }
        }
        self.rest_soon();
    }

    /// Notes that a worker serves no longer. Returns whether it did until now.
    fn take_worker(&self, worker: &Arc<Worker>) -> bool {
        let mut live = self.live();
        let is_serving = live.worker.as_ref().is_some_and(|now| Arc::ptr_eq(now, worker));
        if is_serving {
            live.worker = None;
            let is_told = self.is_stopping() || worker.is_leaving.load(Ordering::SeqCst);
            live.restarts += u64::from(!is_told);
        }
        is_serving
    }

    /// Waits until the server has stopped, and every worker with it. Ends workers whose time is
    /// over, and rests when nothing happens.
    pub(super) fn wait(&self) {
        let mut workers = lock(&self.workers);
        while !self.is_stopping() || !workers.is_empty() {
            let now = Instant::now();
            for worker in workers.iter() {
                let mut ends_by = lock(&worker.ends_by);
                if ends_by.is_some_and(|at| at <= now) {
                    *ends_by = None;
                    worker.kill();
                }
            }
            let rests_at = self.rest_if_due(now);
            let ends = workers.iter().filter_map(|worker| *lock(&worker.ends_by));
            workers = match ends.chain(rests_at).min() {
                None => self.has_ended.wait(workers).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    self.has_ended.wait_timeout(workers, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Gives memory back if it is time for that. Returns when it is, otherwise.
    fn rest_if_due(&self, now: Instant) -> Option<Instant> {
        let mut rests_at = lock(&self.rests_at);
        if rests_at.is_some_and(|at| at <= now) {
            *rests_at = None;
            super::rest();
        }
        *rests_at
    }

    /// Has the one who [waits](Supervisor::wait) rest when nothing happens for a moment.
    pub(super) fn rest_soon(&self) {
        *lock(&self.rests_at) = Some(Instant::now() + REST);
        self.notify();
    }

    /// Waits until every worker has ended.
    pub(super) fn wait_for_workers(&self) {
        let mut workers = lock(&self.workers);
        while !workers.is_empty() {
            workers = self.has_ended.wait(workers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Opens what the sites that are served name, which may take long, and then has all other
    /// changes wait. Returns when they were opened as well.
    fn open_and_lock(&self) -> (MutexGuard<'_, ()>, (Instant, Files)) {
        loop {
            let live = self.live().clone();
            let files = (Instant::now(), Files::open(&live.config));
            let one_at_a_time = lock(&self.changing);
            // Or another configuration has come meanwhile.
            if self.live().generation == live.generation {
                return (one_at_a_time, files);
            }
        }
    }

    /// Starts a worker that serves what is served, and lets the one before drain. With
    /// `is_careful`, it must be able to serve all that the one before does.
    ///
    /// # Errors
    /// It does not serve, and the one before still does.
    fn start_again(
        self: &Arc<Self>,
        (opened, files): (Instant, Files),
        is_careful: bool,
    ) -> Result<(), Error> {
        let now = self.live().clone();
        let before: Vec<SiteFacts> = if is_careful { now.sites.clone() } else { Vec::new() };
        let next = self.start_with(now, files, &before)?;
        {
            let mut live = self.live();
            (live.sites, live.running, live.opened) = (next.sites, next.running, opened);
        }
        // What it was given may have been renamed meanwhile.
        self.reopen_logs();
        // It may have opened more of them, and have older encodings.
        self.packing.look();
        Ok(())
    }

    /// Starts a worker that serves `next`, and lets the one before drain. It must be able to serve
    /// each site that is served in `before`. Returns what is served then.
    ///
    /// # Errors
    /// It does not serve, and the one before still does.
    pub(super) fn start_with(
        self: &Arc<Self>,
        mut next: Live,
        files: Files,
        before: &[SiteFacts],
    ) -> Result<Live, Error> {
        let worker = self.new_worker()?;
        let opening = next.opening(self.shards, files, self.acme.pending());
        let done = worker.open(&next.config, &opening).and_then(|opened| {
            next.sites = fine(opened, before)?;
            worker.serve(next.generation, &next.bound)
        });
        next.running = match done {
            Ok(running) => running,
            Err(error) => {
                worker.kill();
                return Err(error);
            }
        };
        let old = next.worker.replace(Arc::clone(&worker));
        // From here on its end is an accident.
        self.set_worker(&worker);
        if let Some(old) = old {
            old.leave(Leave::Drain);
        }
        self.stop_oldest();
        self.notify();
        if self.is_stopping() {
            worker.leave(Leave::Stop);
        }
        Ok(next)
    }

    /// Stops the oldest of the workers that drain, if there are too many of them.
    fn stop_oldest(&self) {
        let workers = lock(&self.workers).clone();
        let drains = |worker: &&Arc<Worker>| worker.is_leaving.load(Ordering::SeqCst);
        let many = workers.iter().filter(drains).count();
        for worker in workers.iter().filter(drains).take(many.saturating_sub(DRAINING_MAX)) {
            worker.leave(Leave::Stop);
        }
    }

    /// Returns whether a worker may take another's place that asks for it now: the first may, and
    /// others after a pause.
    fn may_replace(&self) -> bool {
        let mut replaced = lock(&self.replaced);
        let (last, count) = *replaced;
        let since = last.map(|last| last.elapsed());
        let count = if since.is_none_or(|since| since >= HEALTHY) { 0 } else { count };
        let pause = if count < 2 { Duration::ZERO } else { pause(count) };
        let may = since.is_none_or(|since| since >= pause);
        if may {
            *replaced = (Some(Instant::now()), count.saturating_add(1));
        }
        may
    }

    /// Returns what is known of the sites of a configuration as far as they are served now, in its
    /// order.
    pub(super) fn sites_of(&self, next: &Live) -> Vec<SiteFacts> {
        let live = self.live();
        let known = next.config.sites.iter().map(|site| {
            let place = live.config.sites.iter().position(|last| last.content == site.content);
            let known = place.and_then(|place| live.sites.get(place)).cloned();
            // One that is new has to be there.
            known.unwrap_or_default()
        });
        known.collect()
    }
}

/// Returns the pause before the next one, after two or more.
fn pause(many: u32) -> Duration {
    PAUSE.saturating_mul(1 << many.saturating_sub(2).min(6)).min(PAUSE_MAX)
}

/// Returns the sites of a worker that has opened a configuration.
fn fine(opened: Opened, before: &[SiteFacts]) -> Result<Vec<SiteFacts>, Error> {
    let sites = match opened {
        Opened::Fine { sites, .. } => sites,
        Opened::Refused(found) => {
            let problems = crate::handover::in_order(found);
            return Err(crate::config::refused(&problems));
        }
        Opened::Failed(error) => return Err(error),
        Opened::OutOfReach => return Err(Error::new("a site is out of the sandbox's reach")),
    };
    let mut both = before.iter().zip(&sites);
    match both.find_map(|(before, now)| now.unavailable.as_ref().filter(|_| before.unavailable.is_none())) {
        Some(why) => Err(Error::new(why.clone())),
        None => Ok(sites),
    }
}

impl Oversee for Supervisor {
    fn replace(self: Arc<Self>, worker: &Arc<Worker>, why: &str) -> bool {
        let is_over = || {
            let live = self.live();
            let is_serving = live.worker.as_ref().is_some_and(|now| Arc::ptr_eq(now, worker));
            !is_serving || self.is_stopping()
        };
        if is_over() {
            return true;
        }
        let (_one_at_a_time, files) = self.open_and_lock();
        if is_over() {
            return true;
        }
        if !self.may_replace() {
            return false;
        }
        let before = self.live().sites.clone();
        if let Err(error) = self.start_again(files, true) {
            if self.is_stopping() {
                return true;
            }
            let what = format_args!("no other worker can serve instead ({why})");
            Event::new(Level::Error, what).because(&error).say();
            return false;
        }
        events::info(format_args!("another worker serves now: {why}"));
        let live = self.live();
        for ((site, before), now) in live.config.sites.iter().zip(&before).zip(&live.sites) {
            if let (Some(_), None, Some(files)) = (&before.unavailable, &now.unavailable, now.files) {
                let files = count(usize::try_from(files).unwrap_or(usize::MAX), "file");
                let name = site_name(site);
                let what = format_args!("the site can be served now: {files} now ({name})");
                Event::new(Level::Info, what).with("site", name).say();
            }
        }
        true
    }

    fn changed(&self, generation: u64, site: usize, facts: SiteFacts) {
        {
            let mut live = self.live();
            let is_current = live.generation == generation;
            if let Some(known) = live.sites.get_mut(site).filter(|_| is_current) {
                known.clone_from(&facts);
            }
        }
        self.packing.note(generation, site, facts);
    }

    fn ended(self: Arc<Self>, worker: &Arc<Worker>, status: io::Result<ExitStatus>) {
        {
            let mut workers = lock(&self.workers);
            workers.retain(|other| !Arc::ptr_eq(other, worker));
            // Together: those who add up all workers count this one once.
            self.metrics.keep(worker);
        }
        let is_serving = self.take_worker(worker);
        if is_serving && !self.is_stopping() && !worker.is_leaving.load(Ordering::SeqCst) {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            self.start_after(worker, &how);
        }
        self.notify();
    }
}

impl Supervisor {
    /// Starts workers until one serves.
    fn start_after(self: &Arc<Self>, ended: &Worker, how: &str) {
        let crashes = {
            let mut crashes = lock(&self.crashes);
            *crashes = if ended.since.elapsed() >= HEALTHY { 1 } else { crashes.saturating_add(1) };
            *crashes
        };
        let what = format_args!("the worker {} has ended ({how})", ended.pid);
        let then = match crashes {
            1 => Some("another one is started"),
            2 => Some("another one is started after a pause, and this is not said again"),
            _ => None,
        };
        if let Some(then) = then {
            let event = Event::new(Level::Error, format_args!("{what}; {then}"));
            event.with("worker", ended.pid).with("status", how).say();
        }
        let mut pause = if crashes < 2 { Duration::ZERO } else { pause(crashes) };
        let mut last_said = None;
        loop {
            if !self.sleep(pause) {
                return;
            }
            let (one_at_a_time, files) = self.open_and_lock();
            // A reload may have started one meanwhile.
            if self.live().worker.is_some() {
                return;
            }
            let started = self.start_again(files, false);
            drop(one_at_a_time);
            let Err(error) = started else { return };
            if self.is_stopping() {
                return;
            }
            let sentence = error.sentence();
            if last_said.as_ref() != Some(&sentence) {
                let what = "no worker can be started, and it is tried again";
                Event::new(Level::Error, what).because(&error).say();
                last_said = Some(sentence);
            }
            pause = (pause * 2).clamp(PAUSE, PAUSE_MAX);
        }
    }

    /// Sleeps. Returns whether the server is still to run.
    fn sleep(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LOOK));
        }
        false
    }
}
