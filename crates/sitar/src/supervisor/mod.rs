//! `sitar serve --config`: the process that the operator starts. It reads the configuration and the
//! keys, binds, and decides; a worker serves.
//!
//! A start, a reload and a worker that takes another's place all go the same way: a worker opens
//! what the configuration names, out of descriptors that it is given, and then serves it. What
//! cannot be opened keeps a start from starting, and leaves a running server as it is.

mod acme;
mod bound;
mod certificates;
mod check;
mod child;
mod client_cas;
mod logs;
mod numbers;
mod packing;
mod reload;
mod renewal;
mod report;
mod status;
mod stops;
mod traces;
mod upgrade;
mod user;
mod wanted;
mod workers;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use sitar_engines::rings;

use self::acme::Acme;
use self::bound::Bound;
use self::certificates::{Certificates, Purpose};
pub(crate) use self::check::check;
use self::child::{Leave, Program, Worker, lock};
use self::logs::Reopening;
use self::numbers::{Exported, Sockets};
use self::packing::Packing;
use self::reload::Reloads;
use self::renewal::Renewed;
pub(crate) use self::status::site_name;
use self::upgrade::{Inherited, Takes};
use crate::admin::{self, Admin, Leaver};
use crate::config::{self, Config, Problem, Texts};
use crate::error::Error;
use crate::events;
use crate::handover::{Files, Found, Opened, Running, SiteFacts, User, in_order};
use crate::metrics::Metrics;
use crate::serve::attempt::Machine;
use crate::serve::serving::Serving;
use crate::serve::{cannot_start_a_thread, orphans, signals};
use crate::settings::{ConfigFile, Settings, Tls};
use crate::systemd::{self, Notify, Passed};
use crate::watch::{Control, SourceId, Sources, Warning, Watcher};
use crate::{cache, cli, log, sandbox};

/// The variable that tells a program whose place it takes: the number of the process.
pub(crate) const UPGRADE_OF: &str = "SITAR_UPGRADE_OF";

/// A server that runs from a configuration.
pub(crate) struct Supervisor {
    file: ConfigFile,
    at: Instant,
    shards: NonZeroU16,
    /// The sockets that systemd passes; a later configuration may name others of them.
    passed: Passed,
    manager: Notify,
    /// The program that is started when another one is to take over: this one's path, where another
    /// may be by then.
    program: Program,
    /// A duplicate of the admin socket, to be handed over.
    admin_socket: OnceLock<OwnedFd>,
    /// Lets another process serve the admin socket.
    leaver: Mutex<Option<Leaver>>,
    metrics: Exported,
    /// How often it was told to stop.
    stops: AtomicU8,
    /// Held while a change is made, so that status says what is served. Nothing is read or opened
    /// meanwhile.
    live: Mutex<Live>,
    /// Held while a worker opens and serves another configuration, or takes another's place.
    changing: Mutex<()>,
    /// All workers that have not ended.
    workers: Mutex<Vec<Arc<Worker>>>,
    /// Workers that have ended by themselves, one soon after the other.
    crashes: Mutex<u32>,
    /// When the last worker took another's place because that asked for it, and how many have, one
    /// soon after the other.
    replaced: Mutex<(Option<Instant>, u32)>,
    /// When this process gives back what it has in memory, if nothing happens until then.
    rests_at: Mutex<Option<Instant>>,
    /// Taken by what watches the certificates for clients, when there are some.
    unwatched: Mutex<Option<Reloads>>,
    /// Told when one of them ends.
    has_ended: Condvar,
    packing: Packing,
    acme: Acme,
    reopening: Reopening,
}

/// What is served now.
#[derive(Clone)]
pub(crate) struct Live {
    config: Config,
    texts: Texts,
    user: Option<User>,
    generation: u64,
    certificates: Certificates,
    bound: Vec<Bound>,
    /// The number of the last listener.
    last_number: u64,
    /// What a worker has said of its sites.
    sites: Vec<SiteFacts>,
    warnings: Vec<Warning>,
    /// Why certificates cannot be used as they are now; those before still are.
    failing: BTreeMap<SourceId, String>,
    /// The watcher of certificates; others that are still ending are not listened to.
    watcher: Arc<Control>,
    last_reload: Option<admin::Reload>,
    /// The one that accepts; `None`: it has ended, and another one is being started.
    worker: Option<Arc<Worker>>,
    /// When the files that it has were opened, or a moment before.
    opened: Instant,
    running: Running,
    /// How often a worker has ended without being told to.
    restarts: u64,
}

/// Serves what the configuration says until a signal stops it.
///
/// # Errors
/// The reason that it cannot start.
pub(crate) fn run(file: &ConfigFile) -> Result<(), Error> {
    let mut inherited = Inherited::from_environment()?;
    let done = run_with(file, inherited.as_mut());
    if let (Err(error), Some(inherited)) = (&done, &inherited) {
        inherited.refuse(error);
    }
    done
}

fn run_with(file: &ConfigFile, mut inherited: Option<&mut Inherited>) -> Result<(), Error> {
    let refused = |problems: Vec<Problem>| config::refused(&problems);
    // Before anything is opened that could be taken for them.
    let passed = match &mut inherited {
        Some(inherited) => std::mem::take(&mut inherited.passed),
        None => Passed::from_environment()?,
    };
    // What was left open by the program that has started this one is no worker's business.
    let inherits = sitar_io::inherit::pass_nothing_on();
    let (form, read) = config::read_first(file);
    events::set_form(form);
    cli::unread_variables().into_iter().for_each(events::warning);
    if let Err(errno) = inherits {
        events::warning(format_args!("descriptors that this process inherits may reach workers: {errno}"));
    }
    let (config, texts) = read.map_err(refused)?;
    let mut read = certificates::read(&config, &Purpose::Start);
    read.found.extend(cache::problems(&config));
    let shards = match &inherited {
        Some(inherited) => inherited.shards,
        None => shards(&config.settings),
    };
    let bound = inherited.as_ref().map(|inherited| inherited.bound.clone());
    let user = user::of_worker(config.user.as_deref())?;
    rings::pass_exemption_on();
    sandbox::keep_those_of_a_supervisor();
    let signals = signals::catch()?;
    orphans::reap()?;
    let supervisor = Arc::new(Supervisor {
        file: file.clone(),
        at: Instant::now(),
        shards,
        passed,
        manager: Notify::from_environment(),
        program: Program::of_this_process(),
        admin_socket: OnceLock::new(),
        leaver: Mutex::default(),
        metrics: Exported::new(),
        stops: AtomicU8::new(0),
        live: Mutex::new(Live {
            config,
            texts,
            user,
            generation: 1,
            certificates: read.certificates,
            last_number: bound.as_ref().map_or(0, |bound| bound.len() as u64),
            bound: bound.unwrap_or_default(),
            sites: Vec::new(),
            warnings: read.warnings,
            failing: BTreeMap::new(),
            watcher: Arc::new(Control::new().map_err(cannot_start_a_thread)?),
            last_reload: None,
            worker: None,
            opened: Instant::now(),
            running: Running::default(),
            restarts: 0,
        }),
        changing: Mutex::default(),
        workers: Mutex::default(),
        crashes: Mutex::default(),
        replaced: Mutex::default(),
        rests_at: Mutex::default(),
        unwatched: Mutex::default(),
        has_ended: Condvar::new(),
        packing: Packing::default(),
        acme: Acme::default(),
        reopening: Reopening::default(),
    });
    let Sockets { mut admin, metrics } = supervisor.begin(read.found, inherited.as_deref_mut())?;
    let control = Arc::clone(&supervisor.live().watcher);
    supervisor.watch(read.sources, control)?;
    let reloads = Reloads::start(&supervisor)?;
    if let Some(inherited) = &inherited {
        let takes =
            Takes { admin: admin.is_some(), metrics: metrics.as_ref().is_some_and(Metrics::is_inherited) };
        if let Err(error) = inherited.wait_for_go(takes) {
            supervisor.stops.fetch_add(1, Ordering::SeqCst);
            supervisor.have_all(Leave::Stop);
            supervisor.wait();
            return Err(error);
        }
        admin.iter_mut().for_each(Admin::own);
        metrics.iter().for_each(Metrics::own);
        inherited.bound.iter().for_each(Bound::own);
        let live = supervisor.live();
        Bound::close_all_but(&inherited.bound, &live.bound);
        live.bound.iter().for_each(Bound::set_mode);
    }
    let serving = admin.map(|admin| supervisor.serve_admin(admin, reloads.clone())).transpose()?;
    let exporting = metrics.map(|metrics| supervisor.serve_metrics(metrics)).transpose()?;
    if let Some(inherited) = &inherited {
        inherited.gone();
        // A signal for that came to the process before until now.
        supervisor.reopen_logs();
    }
    *lock(&supervisor.unwatched) = Some(reloads.clone());
    supervisor.watch_client_cas();
    let obeying = signals::obey(signals, Obey { supervisor: Arc::clone(&supervisor), reloads })?;
    // Nothing of the start can fail any more.
    let (report, started) = supervisor.report(&read.notes);
    started.tell(&report, supervisor.live().config.logs_to_stdout());

    supervisor.manager.ready(&systemd::summary(&supervisor.status()));
    supervisor.feed_watchdog()?;
    supervisor.start_packing();
    supervisor.order(read.wishes.as_ref());

    supervisor.rest_soon();
    supervisor.wait();
    supervisor.packing.end();
    supervisor.acme.end();
    supervisor.packing.wait_for_end(Duration::from_secs(1));
    obeying.end();
    drop((serving, exporting));
    Ok(())
}

/// Gives back memory that is not needed while nothing happens.
fn rest() {
    sitar_io::trim_heap();
    // Without /proc it stays.
    let _ = sitar_io::release_program_pages();
}

/// Returns the number of shards that settings ask for on this machine.
fn shards(settings: &Settings) -> NonZeroU16 {
    Machine::of_this_process(settings, 0, 0).shards
}

impl Live {
    /// Listens on nothing any more.
    fn close(&mut self) {
        Bound::close_all_but(&self.bound, &[]);
        self.bound.clear();
    }
}

impl Supervisor {
    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    /// Starts the first worker. `found` is what keeps certificates from being served. Returns the
    /// sockets on which this process is asked.
    fn begin(
        self: &Arc<Self>,
        mut found: Vec<Found>,
        inherited: Option<&mut Inherited>,
    ) -> Result<Sockets, Error> {
        let live = self.live().clone();
        let worker = self.new_worker()?;
        let files = Files::open(&live.config);
        found.extend(log::open::problems(&live.config, &files.logs).into_iter().map(Found::of_all));
        let opened = worker.open(&live.config, &live.opening(self.shards, files, Vec::new()));
        let asked = opened.and_then(|opened| self.begin_with(&worker, opened, found, inherited));
        if asked.is_err() {
            // What it says goes first.
            worker.leave(Leave::Stop);
            worker.kill();
            self.wait_for_workers();
        }
        asked
    }

    fn begin_with(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        opened: Opened,
        mut found: Vec<Found>,
        mut inherited: Option<&mut Inherited>,
    ) -> Result<Sockets, Error> {
        let refused = |problems: Vec<Problem>| config::refused(&problems);
        let mut next = self.live().clone();
        match opened {
            Opened::Fine { sites, warnings } => {
                next.sites = sites;
                next.warnings.extend(warnings.into_iter().map(|text| Warning { source: None, text }));
            }
            Opened::Refused(more) => found.extend(more),
            Opened::Failed(error) => return Err(error),
            Opened::OutOfReach => return Err(Error::new("a site is out of the sandbox's reach")),
        }
        if !found.is_empty() {
            return Err(refused(in_order(found)));
        }
        let mut number = next.last_number;
        let bound = bound::bind(&next.config, &self.passed, self.shards, &next.bound, &mut number)
            .map_err(refused)?;
        (next.bound, next.last_number) = (bound, number);
        let passed = inherited.as_mut().and_then(|inherited| inherited.admin.take());
        let admin = match (next.config.admin_socket.as_deref(), passed) {
            (Some(path), Some(socket)) if Admin::is_at(path, &socket) => {
                Some(Admin::take_over(path, socket)?)
            }
            (Some(path), _) => Some(Admin::bind(path)?),
            (None, _) => None,
        };
        let metrics = numbers::bind(&mut next, inherited)?;
        next.running = worker.serve(next.generation, &next.bound)?;
        *self.live() = next;
        self.set_worker(worker);
        Ok(Sockets { admin, metrics })
    }

    /// Returns the report of the start for people, and as events.
    fn report(&self, notes: &[String]) -> (String, Serving) {
        let mut live = self.live();
        let told = live.warnings.iter().map(|warning| &warning.text);
        let unused = self.passed.unused(&live.config);
        let all = live.running.notes.iter().chain(notes).chain(&unused).chain(told);
        let warnings = all.cloned().collect();
        let facts = report::Facts {
            config: &live.config,
            sites: &live.sites,
            bound: &live.bound,
            certificates: &live.certificates,
            running: &live.running,
            shards: self.shards.get(),
            warnings,
        };
        let both = (report::text(&facts), report::event(&facts));
        // A worker knows what its sites warn of now.
        live.warnings.retain(|warning| warning.source.is_some());
        both
    }

    /// Watches certificates on a thread of their own. What they find counts while `control` is that
    /// of what is served.
    fn watch(self: &Arc<Self>, sources: Sources, control: Arc<Control>) -> Result<(), Error> {
        if sources.is_empty() {
            return Ok(());
        }
        let supervisor = Arc::clone(self);
        let watch = move || {
            let renewed = Renewed { supervisor, control: Arc::clone(&control) };
            Watcher::new(sources, &control, &renewed).run();
        };
        let thread = thread::Builder::new().name("sitar-watch".into()).spawn(watch);
        thread.map(drop).map_err(cannot_start_a_thread)
    }

    fn serve_admin(self: &Arc<Self>, admin: Admin, reloads: Reloads) -> Result<admin::Serving, Error> {
        if let Ok(socket) = admin.socket() {
            let _ = self.admin_socket.set(socket);
        }
        let supervisor = Arc::clone(self);
        let serving = admin.serve(move |request, client| {
            supervisor.rest_soon();
            match request {
                admin::Request::Status => admin::Reply::Status(Box::new(supervisor.status())),
                admin::Request::Numbers => admin::Reply::Numbers(Box::new(supervisor.totals())),
                admin::Request::Reload => admin::Reply::Reload(reloads.wait(&supervisor)),
                admin::Request::Drain => {
                    supervisor.drain();
                    admin::Reply::Drain
                }
                admin::Request::Upgrade { wait } => {
                    admin::Reply::Upgrade(supervisor.upgrade(Duration::from_secs(u64::from(wait))))
                }
                admin::Request::Certificates => admin::Reply::Certificates(supervisor.ordered()),
                admin::Request::Renew { name } => admin::Reply::Begun(supervisor.renew_certificate(&name)),
                admin::Request::Revoke { name, reason } => {
                    admin::Reply::Begun(supervisor.revoke_certificate(&name, reason))
                }
                admin::Request::RollOver => admin::Reply::Begun(supervisor.roll_over()),
                admin::Request::Trace(spec) => match supervisor.trace(&spec, client) {
                    Ok(()) => admin::Reply::HandedOver,
                    Err(error) => admin::Reply::Refused(error),
                },
            }
        })?;
        *lock(&self.leaver) = Some(serving.leaver());
        Ok(serving)
    }

    /// Tells systemd that this process lives, as often as it wants to hear it, while every shard
    /// turns or a worker is being started.
    fn feed_watchdog(self: &Arc<Self>) -> Result<(), Error> {
        let Some(interval) = systemd::interval().filter(|_| self.manager.is_heard()) else { return Ok(()) };
        let supervisor = Arc::clone(self);
        let feed = move || {
            loop {
                let worker = supervisor.live().worker.clone();
                if worker.is_none_or(|worker| worker.turns()) {
                    supervisor.manager.watchdog();
                }
                thread::sleep(interval);
            }
        };
        let thread = thread::Builder::new().name("sitar-watchdog".into()).spawn(feed);
        thread.map(drop).map_err(cannot_start_a_thread)
    }
}

/// What signals ask for.
struct Obey {
    supervisor: Arc<Supervisor>,
    reloads: Reloads,
}

impl signals::Obey for Obey {
    fn read_again(&mut self) {
        self.reloads.ask();
    }

    fn stop(&mut self) {
        self.supervisor.stop();
    }

    fn upgrade(&mut self) {
        self.supervisor.start_upgrade();
    }

    fn reopen_logs(&mut self) {
        self.supervisor.reopen_logs();
    }
}

/// Settings that a reload cannot change, in words.
fn fixed(settings: &Settings) -> [(&'static str, String); 7] {
    [
        // Whether TLS is spoken is another matter: listeners change at once.
        ("tls", (settings.tls == Tls::Kernel).to_string()),
        ("engine", format!("{:?}", settings.engine)),
        ("spin", format!("{:?}", settings.spin)),
        ("shards", format!("{:?}", settings.shards)),
        ("connections", format!("{:?}", settings.connections)),
        ("memory", settings.memory.to_string()),
        ("stop_seconds", settings.stop_seconds.to_string()),
    ]
}

/// Returns how many addresses a configuration listens on.
pub(crate) fn addresses(config: &Config) -> usize {
    bound::count(config)
}
