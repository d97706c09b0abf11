//! `sitar serve --config`: several sites in one process, which change when the configuration is
//! read again.
//!
//! A start and a reload open the same things in the same way ([`open`]), and put them into service
//! as one snapshot. What cannot be opened keeps a start from starting, and leaves a running server
//! as it is.

mod bound;
mod certificates;
mod opened;
mod reload;
mod report;
mod status;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use sitar_server::{BodyMemory, Hooks, HostContent, HostId, Hosts, Snapshot, Spec, Worker};
use sitar_site::Site;

use self::bound::Bound;
use self::certificates::Certificates;
use self::opened::{OpenSite, Opened, Warning};
pub(super) use self::opened::{Purpose, open};
use self::reload::Reloads;
use self::status::Started;
use super::attempt::Machine;
use super::{FILE_SHARE, cannot_start_a_thread, say, signals, totals};
use crate::admin::{self, Admin};
use crate::certificate::Loaded;
use crate::config::{self, Config, Problem};
use crate::engine::Engine;
use crate::error::Error;
use crate::output;
use crate::settings::{ConfigFile, Settings, Tls};
use crate::watch::{Control, Serve, SourceId, Sources, Watcher};

/// A server that runs from a configuration.
pub(super) struct Server {
    worker: Arc<Worker>,
    file: ConfigFile,
    started: Started,
    has_stopped: AtomicBool,
    /// Held while a change is made, so that status says what is served. Nothing is read or
    /// opened meanwhile.
    live: Mutex<Live>,
}

/// What is served now.
#[derive(Clone)]
pub(super) struct Live {
    config: Config,
    sites: Vec<OpenSite>,
    certificates: Option<Certificates>,
    bound: Vec<Bound>,
    warnings: Vec<Warning>,
    /// Why sources cannot be used as they are now; what was served from them before still is.
    failing: BTreeMap<SourceId, String>,
    /// The watcher of all this; others that are still ending are not listened to.
    watcher: Arc<Control>,
    last_reload: Option<admin::Reload>,
}

/// Serves what the configuration says until a signal stops it.
///
/// # Errors
/// The reason that it cannot start.
pub(super) fn run(file: &ConfigFile) -> Result<(), Error> {
    let refused = |problems: Vec<Problem>| config::refused(&problems);
    let config = config::read_with_port(&file.path, &file.given, file.port).map_err(refused)?;
    let opened = open(&config, &Purpose::Start).map_err(refused)?;
    let Opened { sources, sites, hosts, certificates, pems, warnings, notes } = opened;
    let addresses = bound::addresses(&config);
    let machine = Machine::of_this_process(&config.settings, addresses.len(), sites.len());
    let mode = machine.choose()?;
    // Before the listeners: a client that gets through is served.
    let signals = signals::catch()?;
    let bound = bound::bind(&config, machine.shards, &[]).map_err(refused)?;
    let admin = config.admin_socket.as_deref().map(Admin::bind).transpose()?;

    let bytes = u64::from(config.settings.memory) << 20;
    let spec = Spec {
        listeners: bound::specs(&bound)?,
        site: None,
        tls: certificates.as_ref().map(|certificates| certificates.spec(pems)),
        limits: mode.limits.clone(),
        offload: mode.offload,
        memory: BodyMemory::new(bytes, bytes / FILE_SHARE),
    };
    let hooks = Hooks {
        clock: Arc::new(SystemTime::now),
        report: Arc::new(|incident| say(&format_args!("sitar: {incident}"))),
        hosts: Some(hosts),
    };
    let (worker, mode) = machine.start(spec, &hooks, mode)?;
    drop(hooks);
    let worker = Arc::new(worker);
    let bound = bound::adopt(bound, &worker);
    let is_polled = matches!(mode.engine, Engine::SqPoll(_));
    let told = warnings.iter().map(|warning| &warning.text);
    let all = mode.note.iter().chain(&notes).chain(told).cloned().collect();
    let text = report::text(&report::Facts {
        config: &config,
        sites: &sites,
        bound: &bound,
        certificates: certificates.as_ref(),
        mode: &mode,
        shards: machine.shards.get(),
        warnings: all,
    });
    let drain = Duration::from_secs(u64::from(config.settings.stop_seconds));
    let server = Arc::new(Server {
        worker: Arc::clone(&worker),
        file: file.clone(),
        started: Started::now(machine.shards),
        has_stopped: AtomicBool::new(false),
        live: Mutex::new(Live {
            config: config.clone(),
            sites,
            certificates,
            bound,
            warnings,
            failing: BTreeMap::new(),
            watcher: Arc::new(Control::new().map_err(cannot_start_a_thread)?),
            last_reload: None,
        }),
    });
    let control = Arc::clone(&server.live().watcher);
    server.watch(sources, control)?;
    let reloads = Reloads::start(&server)?;
    let admin = admin.map(|admin| server.serve_admin(admin, reloads.clone())).transpose()?;
    let read_again = move || reloads.ask();
    let obeying = signals::obey(signals, &worker, read_again, drain, is_polled)?;
    // Nothing of the start can fail any more.
    if let Err(error) = output::try_print(&text) {
        say(&format_args!("sitar: the report of the start could not be printed: {error}"));
    }

    let counts = worker.wait();
    server.has_stopped.store(true, Ordering::Release);
    obeying.end();
    drop(admin);
    // Others may be in the midst of something, and end with the process.
    say(&format_args!("sitar: {}", totals(counts)));
    Ok(())
}

impl Server {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches sources on a thread of their own. What they find counts while `control` is that of
    /// what is served.
    fn watch(self: &Arc<Self>, sources: Sources, control: Arc<Control>) -> Result<(), Error> {
        if sources.is_empty() {
            return Ok(());
        }
        let server = Arc::clone(self);
        let watch = move || {
            let found = Found { server, control: Arc::clone(&control) };
            Watcher::new(sources, &control, &found).run();
        };
        let thread = thread::Builder::new().name("sitar-watch".into()).spawn(watch);
        thread.map(drop).map_err(cannot_start_a_thread)
    }

    fn serve_admin(self: &Arc<Self>, admin: Admin, reloads: Reloads) -> Result<admin::Serving, Error> {
        let server = Arc::clone(self);
        admin.serve(move |request| match request {
            admin::Request::Status => admin::Reply::Status(Box::new(server.status())),
            admin::Request::Reload => admin::Reply::Reload(reloads.wait(&server)),
        })
    }

    fn is_stopping(&self) -> bool {
        self.has_stopped.load(Ordering::Acquire)
    }
}

/// Serves what one watcher finds, as long as it is the watcher of what is served.
struct Found {
    server: Arc<Server>,
    control: Arc<Control>,
}

impl Found {
    fn live(&self) -> Option<MutexGuard<'_, Live>> {
        Some(self.server.live()).filter(|live| Arc::ptr_eq(&live.watcher, &self.control))
    }
}

impl Serve for Found {
    fn site(&self, id: SourceId, site: Site) {
        let Some(mut live) = self.live() else { return };
        let Some(place) = live.sites.iter().position(|open| open.source == Some(id)) else { return };
        let site = Arc::new(site);
        let content = HostContent::Site(Arc::clone(&site));
        let mut failed = None;
        let change = |next: &mut Snapshot| match host(&next.hosts, place) {
            Some(host) => match next.hosts.with_content(host, content) {
                Ok(hosts) => next.hosts = hosts,
                Err(error) => failed = Some(error.to_string()),
            },
            None => failed = Some("it has no place".to_owned()),
        };
        let changed = self.server.worker.change(change).map_err(|error| error.to_string());
        match changed.and(failed.map_or(Ok(()), Err)) {
            Ok(()) => {
                live.sites[place].serve(&site);
                live.warnings.retain(|warning| warning.source != Some(id));
                let named = live.config.sites[place].place.clone();
                live.warnings.extend(Warning::of_site(id, &named, &site));
            }
            Err(why) => say(&format_args!("sitar: a site cannot be put into service: {why}")),
        }
    }

    fn certificate(&self, id: SourceId, loaded: Loaded) -> Result<(), String> {
        let Some(mut live) = self.live() else { return Err("the configuration is another now".into()) };
        let Some(certificates) = &live.certificates else { return Err("nothing speaks TLS".into()) };
        let renewed = certificates.with(id, loaded);
        let config = renewed.config().map_err(|error| error.sentence())?;
        let change = |next: &mut Snapshot| {
            next.tls = Some(match &next.tls {
                Some(last) => config.with_tickets_of(last),
                None => config,
            });
        };
        self.server.worker.change(change).map_err(|error| error.to_string())?;
        live.certificates = Some(renewed);
        live.warnings.retain(|warning| warning.source != Some(id));
        Ok(())
    }

    fn failing(&self, id: SourceId, why: Option<&str>) {
        let Some(mut live) = self.live() else { return };
        match why {
            Some(why) => live.failing.insert(id, why.to_owned()),
            None => live.failing.remove(&id),
        };
    }

    fn say(&self, line: &str) {
        if self.live().is_some() {
            say(&format_args!("sitar: {line}"));
        }
    }
}

/// Returns the host of the site at that place of the configuration.
fn host(hosts: &Hosts, place: usize) -> Option<HostId> {
    hosts.iter().nth(place).map(|(id, _)| id)
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

/// Opens everything that a start would open, changes nothing, and closes it again. Returns what a
/// start would warn of.
///
/// # Errors
/// Everything that a start would refuse.
pub(super) fn check(config: &Config) -> Result<Vec<String>, Vec<Problem>> {
    let whole = config::Place { file: config.file.as_path().into(), line: 0, column: 0 };
    let mut problems = Vec::new();
    let mut told = Vec::new();
    match open(config, &Purpose::Check) {
        Ok(opened) => {
            told.extend(opened.notes);
            told.extend(opened.warnings.into_iter().map(|warning| warning.text));
        }
        Err(more) => problems.extend(more),
    }
    problems.extend(bound::try_addresses(config).err().unwrap_or_default());
    let addresses = bound::addresses(config).len();
    match Machine::of_this_process(&config.settings, addresses, config.sites.len()).choose() {
        Ok(mode) => told.extend(mode.note),
        Err(error) => problems.push(config::problem(&whole, &error)),
    }
    let admin = config.admin_socket.as_deref().map(admin::check).transpose();
    problems.extend(admin.err().map(|error| config::problem(&whole, &error)));
    if problems.is_empty() { Ok(told) } else { Err(problems) }
}
