//! Reading the configuration again while it is served.
//!
//! One thread does that for SIGHUP and for `sitar reload`. Opening what the configuration names may
//! take long, and for ever on a file system that does not answer. Nothing else waits for it: what
//! is served goes on changing, can be asked about, and stops when it is asked to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::bound::{self, Bound};
use super::certificates::{self, Purpose};
use super::child::{Worker, lock};
use super::{Live, Supervisor, status, user};
use crate::config::{self, Problem, SiteContent};
use crate::error::Error;
use crate::events::{self, Event, Level};
use crate::handover::{Files, Found, Opened, in_order};
use crate::serve::cannot_start_a_thread;
use crate::systemd;
use crate::watch::{Control, Sources};
use crate::{admin, cache, log};

/// Reloads that wait while one is under way. Each reads what is there when its turn comes, so more
/// would add nothing.
const WAITING_MAX: usize = 8;
/// How often the one who waits for a reload looks whether the server has stopped.
const LOOK: Duration = Duration::from_millis(100);

/// Asks for reloads.
#[derive(Clone)]
pub(super) struct Reloads(SyncSender<Option<SyncSender<admin::Reload>>>);

impl Reloads {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn start(server: &Arc<Supervisor>) -> Result<Reloads, Error> {
        let (ask, asked) = sync_channel::<Option<SyncSender<admin::Reload>>>(WAITING_MAX);
        let server = Arc::clone(server);
        let obey = move || {
            while let Ok(answer) = asked.recv() {
                let reload = server.reload();
                if let Some(answer) = answer {
                    // The one who asked has gone.
                    let _ = answer.try_send(reload);
                }
            }
        };
        let thread = thread::Builder::new().name("sitar-reload".into()).spawn(obey);
        thread.map(|_| Reloads(ask)).map_err(cannot_start_a_thread)
    }

    /// Asks for a reload, without waiting for it.
    pub(super) fn ask(&self) {
        // With others waiting, what is there now is read anyway.
        let _ = self.0.try_send(None);
    }

    /// Asks for a reload, and waits for it unless the server stops.
    pub(super) fn wait(&self, server: &Supervisor) -> admin::Reload {
        let (answer, answered) = sync_channel(1);
        let refused = |why: &str| admin::Reload {
            at: status::seconds(SystemTime::now()),
            ok: false,
            changes: Vec::new(),
            problems: vec![Error::new(why)],
        };
        if self.0.try_send(Some(answer)).is_err() {
            return refused("too many reloads are waiting for one that has not ended");
        }
        wait(&answered, server).unwrap_or_else(|| refused("the server stops"))
    }
}

fn wait(answered: &Receiver<admin::Reload>, server: &Supervisor) -> Option<admin::Reload> {
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(reload) => return Some(reload),
            Err(RecvTimeoutError::Timeout) if !server.is_stopping() => {}
            Err(_) => return None,
        }
    }
}

impl Supervisor {
    /// Reads the configuration and everything that it names, and serves that from now on. If
    /// something cannot be read or opened, nothing changes. Says what has happened.
    fn reload(self: &Arc<Self>) -> admin::Reload {
        self.manager.reloading();
        let outcome = self.try_reload();
        let at = status::seconds(SystemTime::now());
        let reload = match outcome {
            Ok(changes) => {
                let what =
                    if changes.is_empty() { "nothing is different".into() } else { changes.join("; ") };
                let event = Event::new(Level::Info, format_args!("the configuration was read again: {what}"));
                event.with("changes", changes.clone()).say();
                admin::Reload { at, ok: true, changes, problems: Vec::new() }
            }
            Err(problems) => {
                for problem in &problems {
                    let what = "not reloaded, what was served still is";
                    Event::new(Level::Error, what).because(problem).say();
                }
                admin::Reload { at, ok: false, changes: Vec::new(), problems }
            }
        };
        self.live().last_reload = Some(reload.clone());
        self.watch_client_cas();
        self.manager.ready(&systemd::summary(&self.status()));
        self.rest_soon();
        reload
    }

    fn try_reload(self: &Arc<Self>) -> Result<Vec<String>, Vec<Error>> {
        let each = |problems: Vec<Problem>| problems.iter().map(config::error).collect::<Vec<_>>();
        let one = |error: Error| vec![error];
        if self.is_stopping() {
            return Err(vec![Error::new("the server stops")]);
        }
        let file = &self.file;
        // How its sites have changed meanwhile is no change of this reload.
        self.ask_worker();
        // A copy: nothing waits for what is opened here.
        let before = self.live().clone();
        let (config, texts) = config::read_with_texts(file).map_err(each)?;
        if config.admin_socket != before.config.admin_socket {
            return Err(vec![
                Error::new("the path of the admin socket cannot be changed while it is served")
                    .hint("leave it as it is, or start sitar again"),
            ]);
        }
        if config.admin_listen != before.config.admin_listen {
            return Err(vec![
                Error::new("the address of the numbers cannot be changed while they are served")
                    .hint("leave the key listen of [admin] as it is, or start sitar again"),
            ]);
        }
        let user = user::of_worker(config.user.as_deref()).map_err(one)?;
        let mut read = certificates::read(&config, &Purpose::Reload(&before));
        read.found.extend(cache::problems(&config));
        let opened = Instant::now();
        let reopened = self.logs_reopened();
        let files = Files::open(&config);
        read.found.extend(log::open::problems(&config, &files.logs).into_iter().map(Found::of_all));
        // Only what cannot take long: renewals and upgrades wait for it.
        let _one_at_a_time = lock(&self.changing);
        // Another worker may have come meanwhile, and another certificate.
        let first = before;
        let before = self.live().clone();
        read.certificates.take_newer(&first.certificates, &before.certificates);
        let mut next = Live {
            config,
            texts,
            user,
            generation: before.generation + 1,
            opened,
            certificates: read.certificates,
            warnings: read.warnings,
            failing: BTreeMap::new(),
            watcher: Arc::new(Control::new().map_err(cannot_start_a_thread).map_err(one)?),
            ..before.clone()
        };
        let worker = before.worker.clone().filter(|_| can_stay(&before, &next));
        match &worker {
            Some(worker) => self.change(worker, &mut next, files, read.found)?,
            None => self.start_changed(&mut next, files, read.found)?,
        }
        let changes = {
            let mut live = self.live();
            live.watcher.stop();
            // It may have ended meanwhile, or be another one.
            (next.restarts, next.worker) = (live.restarts, live.worker.clone());
            let changes = status::changes(&before, &next);
            if self.is_stopping() {
                // Nothing would accept what waits there.
                next.close();
            }
            live.clone_from(&next);
            events::set_form(live.config.log.events);
            Bound::close_all_but(&before.bound, &live.bound);
            live.bound.iter().for_each(Bound::set_mode);
            changes
        };
        self.reopen_logs_since(reopened);
        self.watch_again(read.sources, &next);
        self.packing.look();
        self.order(read.wishes.as_ref());
        Ok(changes)
    }

    fn watch_again(self: &Arc<Self>, sources: Sources, next: &Live) {
        if let Err(error) = self.watch(sources, Arc::clone(&next.watcher)) {
            Event::new(Level::Warning, "changes are not noticed").because(&error).say();
        }
    }

    /// Has the worker that serves change over to a configuration, or starts another one where it
    /// cannot reach what that names.
    fn change(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        next: &mut Live,
        files: Files,
        mut found: Vec<Found>,
    ) -> Result<(), Vec<Error>> {
        let each = |problems: Vec<Problem>| problems.iter().map(config::error).collect::<Vec<_>>();
        let one = |error: Error| vec![error];
        let opening = next.opening(self.shards, files, self.acme.pending());
        match worker.open(&next.config, &opening).map_err(one)? {
            Opened::Fine { sites, .. } => next.sites = sites,
            Opened::Refused(more) => found.extend(more),
            Opened::Failed(error) => return Err(vec![error]),
            Opened::OutOfReach => {
                let files = Files { sites: opening.files, logs: opening.logs };
                return self.start_changed(next, files, found);
            }
        }
        if !found.is_empty() {
            worker.abort(next.generation);
            return Err(each(in_order(found)));
        }
        match self.bind(next).and_then(|()| worker.serve(next.generation, &next.bound).map_err(one)) {
            Ok(_) => Ok(()),
            Err(errors) => {
                worker.abort(next.generation);
                Err(errors)
            }
        }
    }

    fn bind(&self, next: &mut Live) -> Result<(), Vec<Error>> {
        let each = |problems: Vec<Problem>| problems.iter().map(config::error).collect::<Vec<_>>();
        let bound = bound::bind(&next.config, &self.passed, self.shards, &next.bound, &mut next.last_number);
        next.bound = bound.map_err(each)?;
        Ok(())
    }

    /// Starts a worker that serves a configuration.
    fn start_changed(
        self: &Arc<Self>,
        next: &mut Live,
        files: Files,
        found: Vec<Found>,
    ) -> Result<(), Vec<Error>> {
        if !found.is_empty() {
            let problems = in_order(found);
            return Err(problems.iter().map(config::error).collect());
        }
        self.bind(next)?;
        let before = self.sites_of(next);
        *next = self.start_with(next.clone(), files, &before).map_err(|error| vec![error])?;
        Ok(())
    }
}

/// Whether the worker that serves one configuration may serve another one.
fn can_stay(before: &Live, next: &Live) -> bool {
    let follows = |live: &Live| {
        let mut sites = live.config.sites.iter();
        sites.any(|site| matches!(&site.content, SiteContent::Root { options, .. } if options.follow_links))
    };
    before.user == next.user && (follows(before) || !follows(next))
}
