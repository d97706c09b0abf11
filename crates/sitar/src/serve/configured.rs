//! `sitar serve --config`: several sites in one process, which change when the configuration is
//! read again.
//!
//! A start and a reload open the same things in the same way ([`open`]), and put them into service
//! as one snapshot. What cannot be opened keeps a start from starting, and leaves a running server
//! as it is.

mod bound;
mod certificates;
mod opened;
mod report;
mod status;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use sitar_server::{BodyMemory, Hooks, HostContent, HostId, Hosts, Snapshot, Spec, Worker};
use sitar_site::Site;

use self::bound::Bound;
pub(super) use self::bound::try_addresses;
use self::certificates::Certificates;
pub(super) use self::opened::open;
use self::opened::{OpenSite, Opened};
use self::status::Started;
use super::attempt::{Machine, limits};
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
    /// Held while a change is made, so that what is told is what is served.
    live: Mutex<Live>,
}

/// What is served now.
struct Live {
    config: Config,
    sites: Vec<OpenSite>,
    certificates: Option<Certificates>,
    bound: Vec<Bound>,
    warnings: Vec<String>,
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
    let Opened { sources, sites, hosts, certificates, warnings } = open(&config).map_err(refused)?;
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
        tls: certificates.as_ref().map(Certificates::spec),
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
    let all = mode.note.iter().chain(&warnings).cloned().collect();
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
    let admin = admin.map(|admin| server.serve_admin(admin)).transpose()?;
    let (ask, asked) = sync_channel(1);
    server.obey_reloads(asked)?;
    let obeying = signals::obey(signals, &worker, read_again(ask), drain, is_polled)?;
    // Nothing of the start can fail any more.
    if let Err(error) = output::try_print(&text) {
        say(&format_args!("sitar: the report of the start could not be printed: {error}"));
    }

    let counts = worker.wait();
    obeying.end();
    drop(admin);
    server.live().watcher.stop();
    say(&format_args!("sitar: {}", totals(counts)));
    Ok(())
}

/// What SIGHUP does. One that comes while another waits adds nothing.
fn read_again(ask: SyncSender<()>) -> impl Fn() + Send + 'static {
    move || {
        let _ = ask.try_send(());
    }
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

    fn serve_admin(self: &Arc<Self>, admin: Admin) -> Result<admin::Serving, Error> {
        let server = Arc::clone(self);
        admin.serve(move |request| match request {
            admin::Request::Status => admin::Reply::Status(Box::new(server.status())),
            admin::Request::Reload => admin::Reply::Reload(server.reload()),
        })
    }

    /// Reads the configuration again whenever SIGHUP asks for it.
    fn obey_reloads(self: &Arc<Self>, asked: Receiver<()>) -> Result<(), Error> {
        let server = Arc::clone(self);
        let obey = move || {
            while asked.recv().is_ok() {
                let _ = server.reload();
            }
        };
        let thread = thread::Builder::new().name("sitar-reload".into()).spawn(obey);
        thread.map(drop).map_err(cannot_start_a_thread)
    }

    /// Reads the configuration and everything that it names, and serves that from now on. If
    /// something cannot be read or opened, nothing changes. Says what has happened.
    fn reload(self: &Arc<Self>) -> admin::Reload {
        let mut live = self.live();
        let outcome = self.try_reload(&mut live);
        let at = status::seconds(SystemTime::now());
        let reload = match outcome {
            Ok(changes) => {
                let what =
                    if changes.is_empty() { "nothing is different".into() } else { changes.join("; ") };
                say(&format_args!("sitar: the configuration was read again: {what}"));
                admin::Reload { at, ok: true, changes, problems: Vec::new() }
            }
            Err(problems) => {
                for problem in &problems {
                    say(&format_args!(
                        "sitar: not reloaded, what was served still is: {}",
                        problem.sentence()
                    ));
                }
                admin::Reload { at, ok: false, changes: Vec::new(), problems }
            }
        };
        live.last_reload = Some(reload.clone());
        reload
    }

    fn try_reload(self: &Arc<Self>, live: &mut Live) -> Result<Vec<String>, Vec<Error>> {
        let each = |problems: Vec<Problem>| problems.iter().map(config::error).collect::<Vec<_>>();
        let file = &self.file;
        let config = config::read_with_port(&file.path, &file.given, file.port).map_err(each)?;
        let Opened { sources, mut sites, hosts, certificates, warnings } = open(&config).map_err(each)?;
        let tls = certificates.as_ref().map(Certificates::config).transpose().map_err(|error| vec![error])?;
        let bound = bound::bind(&config, self.started.shards, &live.bound).map_err(each)?;
        if config.admin_socket != live.config.admin_socket {
            return Err(vec![
                Error::new("the path of the admin socket cannot be changed while it is served")
                    .hint("leave it as it is, or start sitar again"),
            ]);
        }
        let control = Arc::new(Control::new().map_err(|error| vec![cannot_start_a_thread(error)])?);
        let listeners: Vec<_> = bound.iter().map(|bound| bound.listener.clone()).collect();
        let limits = limits(&config.settings, self.started.shards);
        let change = |next: &mut Snapshot| {
            next.hosts = hosts;
            next.listeners = listeners.into();
            next.tls = match (tls, &next.tls) {
                (Some(tls), Some(last)) => Some(tls.with_tickets_of(last)),
                (tls, _) => tls,
            };
            next.limits = limits;
        };
        self.worker.change(change).map_err(|error| vec![Error::new(error.to_string())])?;
        let changes = status::changes(live, &config, &sites, &bound, certificates.as_ref());
        live.watcher.stop();
        for (site, open) in config.sites.iter().zip(&mut sites) {
            let before = live.config.sites.iter().position(|last| last.content == site.content);
            if let Some(last) = before.and_then(|place| live.sites.get(place)) {
                open.follow(last);
            }
        }
        live.sites = sites;
        (live.config, live.certificates, live.bound, live.warnings) = (config, certificates, bound, warnings);
        live.watcher = Arc::clone(&control);
        live.failing.clear();
        if let Err(error) = self.watch(sources, control) {
            say(&format_args!("sitar: changes are not noticed: {}", error.sentence()));
        }
        Ok(changes)
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
            Ok(()) => live.sites[place].serve(&site),
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
