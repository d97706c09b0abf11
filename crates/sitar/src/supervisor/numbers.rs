//! The numbers of all workers, and where they are served.
//!
//! Nothing is done for them until they are asked for. A worker that drains is asked as well as the
//! one that serves. What one has counted that has ended is kept: it tells its numbers on its way
//! out, and of one that was killed what it said last is known.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::child::{Worker, lock};
use super::status::{seconds, site_name};
use super::upgrade::Inherited;
use super::{Live, Supervisor};
use crate::admin::{Admin, Totals};
use crate::error::Error;
use crate::metrics::{self, Answer, Asked, Facts, Metrics, Numbers};
use crate::watch::Warning;

/// The time in which workers have to tell their numbers, all together. Scrapers wait for 10 s.
const TELLING: Duration = Duration::from_secs(4);

/// Where the numbers are served, and those that no worker can be asked for.
pub(super) struct Exported {
    /// The start of the supervisor.
    started: SystemTime,
    /// What workers have counted that have ended, as far as they have told it.
    ended: Mutex<Numbers>,
    /// A duplicate of the socket, to be handed over. `None`: there is no socket, or it is another
    /// process's by now.
    socket: Mutex<Option<Arc<OwnedFd>>>,
    /// Lets another process serve it.
    leaver: Mutex<Option<metrics::Leaver>>,
}

impl Exported {
    /// That of a supervisor that starts now.
    pub(super) fn new() -> Exported {
        Exported {
            started: SystemTime::now(),
            ended: Mutex::default(),
            socket: Mutex::default(),
            leaver: Mutex::default(),
        }
    }

    /// Keeps what a worker has counted that has ended.
    pub(super) fn keep(&self, worker: &Worker) {
        lock(&self.ended).add_ended(&worker.last_numbers());
    }

    /// Returns the socket, to be handed over.
    pub(super) fn socket(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.socket).clone()
    }

    /// Ends with the numbers, because another process serves. `is_taken`: on this socket, too.
    pub(super) fn leave(&self, is_taken: bool) {
        // While this process drains, clients would wait there for an answer that nothing gives.
        *lock(&self.socket) = None;
        match lock(&self.leaver).take() {
            Some(leaver) if is_taken => leaver.leave(),
            Some(leaver) => leaver.end(),
            None => {}
        }
    }
}

/// The sockets on which a supervisor is asked.
pub(super) struct Sockets {
    pub(super) admin: Option<Admin>,
    pub(super) metrics: Option<Metrics>,
}

/// Binds the socket that a configuration names, or takes over the one that is inherited. Adds a
/// warning where others than this machine may reach it.
///
/// # Errors
/// It cannot be bound.
pub(super) fn bind(live: &mut Live, inherited: Option<&mut Inherited>) -> Result<Option<Metrics>, Error> {
    // Closed where it is not wanted any more, or clients would wait there for ever.
    let passed = inherited.and_then(|inherited| inherited.metrics.take());
    let Some(endpoint) = &live.config.admin_listen else { return Ok(None) };
    live.warnings.extend(metrics::reach(endpoint).map(|text| Warning { source: None, text }));
    if let Some(metrics) = passed.and_then(|socket| Metrics::take_over(endpoint, socket)) {
        return Ok(Some(metrics));
    }
    Metrics::bind(endpoint).map(Some)
}

impl Supervisor {
    /// Serves the numbers until the result is dropped.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn serve_metrics(self: &Arc<Self>, metrics: Metrics) -> Result<metrics::Serving, Error> {
        if let Ok(socket) = metrics.socket() {
            *lock(&self.metrics.socket) = Some(Arc::new(socket));
        }
        let supervisor = Arc::clone(self);
        let serving = metrics.serve(move |asked| {
            supervisor.rest_soon();
            supervisor.answer(asked)
        })?;
        *lock(&self.metrics.leaver) = Some(serving.leaver());
        Ok(serving)
    }

    fn answer(&self, asked: Asked) -> Answer {
        use sitar_http::Status;
        match asked {
            Asked::Metrics(format) => Answer::numbers(format, metrics::text(&self.facts(), format)),
            Asked::Health => Answer::line(Status::OK, "ok"),
            Asked::Ready => match self.not_ready() {
                None => Answer::line(Status::OK, "ready"),
                Some(why) => Answer::line(Status::SERVICE_UNAVAILABLE, why),
            },
        }
    }

    /// Returns why no client should be sent here now.
    fn not_ready(&self) -> Option<&'static str> {
        match &self.live().worker {
            _ if self.is_stopping() => Some("the server drains or stops"),
            None => Some("no worker serves: one is being started"),
            Some(worker) if worker.is_leaving.load(Ordering::SeqCst) => Some("the worker leaves"),
            Some(_) => None,
        }
    }

    /// Returns the document of the admin socket with the same numbers.
    pub(super) fn totals(&self) -> Totals {
        let facts = self.facts();
        let live = self.live();
        Totals {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_milliseconds: u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX),
            engine: live.running.engine.clone(),
            worker: live.worker.as_ref().map(|worker| worker.pid),
            ..facts.totals()
        }
    }

    /// Returns the sum of the numbers of all workers, and whether the one that serves has told its
    /// own.
    fn numbers(&self) -> (Numbers, bool) {
        // Together, so that one that ends meanwhile is counted once.
        let (workers, mut sum): (Vec<Arc<Worker>>, Numbers) = {
            let workers = lock(&self.workers);
            (workers.clone(), lock(&self.metrics.ended).clone())
        };
        let serving = self.live().worker.clone();
        let is_serving =
            |worker: &Arc<Worker>| serving.as_ref().is_some_and(|serving| Arc::ptr_eq(serving, worker));
        let until = Instant::now() + TELLING;
        let mut is_up = false;
        // The one that serves first: others may hang.
        let (first, others): (Vec<_>, Vec<_>) = workers.iter().partition(|worker| is_serving(worker));
        for worker in first.into_iter().chain(others) {
            let left = until.saturating_duration_since(Instant::now());
            let has_told = worker.ask_numbers(left).is_some();
            is_up |= has_told && is_serving(worker);
            sum.add(&worker.numbers());
        }
        (sum, is_up)
    }

    fn facts(&self) -> Facts {
        let (numbers, is_up) = self.numbers();
        let live = self.live();
        let certificates = live.certificates.list.iter().filter_map(|one| {
            let (_, end) = one.identity.validity()?;
            Some((one.report.names.first().cloned().unwrap_or_default(), end))
        });
        let sites = live.config.sites.iter().zip(&live.sites);
        let started = seconds(self.metrics.started);
        Facts {
            numbers,
            is_up,
            is_uring: live.running.engine.starts_with("io_uring"),
            restarts: live.restarts,
            reload: live.last_reload.as_ref().map_or((true, started), |reload| (reload.ok, reload.at)),
            started,
            certificates: certificates.collect(),
            sites: sites
                .map(|(site, facts)| (site_name(site), facts.version.clone().unwrap_or_default()))
                .collect(),
        }
    }
}
