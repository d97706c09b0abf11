//! What a worker serves, and how it comes to serve something else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use serde_json::Value;
use sitar_server::{
    BodyMemory, Challenges, Hooks, HostContent, HostId, Hosts, Incident, Listener, ListenerSpec, LogId,
    Networks, Pem, Snapshot, Spec, Worker,
};
use sitar_site::{Encodings, Site};

use super::keys::{Keys, identity};
use super::opened::{OpenSite, OpenSites};
use super::process::{Process, lock, of_all};
use crate::certificate::Loaded;
use crate::channel::Message;
use crate::config::Config;
use crate::error::Error;
use crate::events::{self, Event, Level};
use crate::handover::{ListenerName, Opened, Running, Served};
use crate::log::Plan;
use crate::serve::attempt::{Machine, Mode, limits};
use crate::serve::{FILE_SHARE, cannot_start_a_thread};
use crate::supervisor::{addresses, site_name};
use crate::watch::{Control, Serve, SourceId, Sources, Warning, Watcher};
use crate::{sandbox, start};
use sitar_engines::Engine;

/// What is served now.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) generation: u64,
    shards: u16,
    pub(super) config: Config,
    pub(super) sites: Vec<OpenSite>,
    certificates: Option<Keys>,
    pub(super) warnings: Vec<Warning>,
    /// Why sites cannot be used as they are now; what was served from them before still is.
    failing: BTreeMap<SourceId, String>,
    pub(super) listeners: BTreeMap<u64, Listener>,
    /// The watcher of all this; others that are still ending are not listened to.
    watcher: Arc<Control>,
}

/// A configuration that is open and waits to be served.
pub(super) struct Pending {
    generation: u64,
    shards: u16,
    config: Config,
    sites: OpenSites,
    logs: Plan,
    certificates: Option<Keys>,
    tls: Option<sitar_tls::Config>,
    /// How the first shards will run.
    mode: Option<Mode>,
    /// The challenges that the first shards answer.
    pub(super) challenges: Arc<Challenges>,
    /// What was served when it was opened.
    before: Option<Live>,
}

impl Pending {
    /// Sets up TLS, and chooses how the shards will run if none does. `live` is what is served.
    pub(super) fn new(
        generation: u64,
        shards: u16,
        config: Config,
        (sites, logs): (OpenSites, Plan),
        certificates: Option<Keys>,
        live: Option<&Live>,
    ) -> Result<Pending, Opened> {
        if live.is_some() && config.needs_peers() && sitar_engines::hides_peers() {
            // Another worker chooses another engine.
            return Err(Opened::OutOfReach);
        }
        let tls = certificates.as_ref().map(|keys| keys.config(&config)).transpose();
        let tls = tls.map_err(|error| of_all(&config, &error))?;
        let mode = match live {
            Some(_) => None,
            None => Some(machine(&config, shards).choose().map_err(Opened::Failed)?),
        };
        let before = live.cloned();
        let challenges = Arc::default();
        Ok(Pending { generation, shards, config, sites, logs, certificates, tls, mode, challenges, before })
    }
}

fn machine(config: &Config, shards: u16) -> Machine<'_> {
    let machine = Machine::with_shards(&config.settings, shards, addresses(config), config.opened());
    machine.telling_peers(config.needs_peers()).receiving(config.passed())
}

impl Process {
    /// Serves what is open. Returns how the shards run, if they had to be started for it.
    ///
    /// # Errors
    /// It cannot be served, and what was served still is.
    pub(super) fn serve(
        self: &Arc<Self>,
        generation: u64,
        listeners: Vec<Served>,
    ) -> Result<Option<Running>, Error> {
        let pending = lock(&self.pending).take().filter(|pending| pending.generation == generation);
        let Some(pending) = pending else { return Err(Error::new("there is nothing to serve")) };
        match self.worker.get() {
            None => self.start(pending, listeners).map(Some),
            Some(worker) => self.change(worker, pending, listeners).map(|()| None),
        }
    }

    fn start(self: &Arc<Self>, pending: Pending, listeners: Vec<Served>) -> Result<Running, Error> {
        let Pending { generation, shards, config, sites, logs, certificates, tls, mode, challenges, .. } =
            pending;
        let Some(mode) = mode else { return Err(Error::new("no engine was chosen")) };
        let bytes = u64::from(config.settings.memory) << 20;
        let (names, specs): (Vec<ListenerName>, _) = listeners
            .into_iter()
            .map(|(name, sockets)| {
                let (role, proxies) = (name.role, name.proxies.iter().copied().collect());
                let is_passed = name.is_passed;
                (name, ListenerSpec { role, is_passed, proxies, sockets })
            })
            .unzip();
        let spec = Spec {
            listeners: specs,
            site: None,
            tls: None,
            limits: mode.limits.clone(),
            offload: mode.offload,
            memory: BodyMemory::new(bytes, bytes / FILE_SHARE),
        };
        let OpenSites { sources, sites, hosts, warnings } = sites;
        let hooks = Hooks {
            clock: Arc::new(SystemTime::now),
            report: self.report(),
            hosts: Some(hosts),
            // With a reload they may come.
            may_have_users: true,
            tls,
            log: logs.others,
            trusted_proxies: trusted(&config),
            challenges,
            times: true,
        };
        let (worker, mode) = machine(&config, shards).start(spec, &hooks, mode)?;
        drop(hooks);
        let worker = Arc::new(worker);
        self.log(&worker, logs)?;
        let sandbox = lock(&self.sandbox).take().map(|entered| entered.seal(mode.rings)).transpose();
        let sandbox = match sandbox {
            Ok(layers) => layers,
            Err(error) => {
                worker.stop();
                worker.stop();
                return Err(error);
            }
        };
        let running = Running {
            engine: start::Described(&mode.engine).to_string(),
            sealer: start::sealer(certificates.is_some(), mode.offload).to_owned(),
            sandbox: sandbox.map(|layers| layers.to_string()).unwrap_or_default(),
            is_polled: matches!(mode.engine, Engine::SqPoll(_)),
            notes: mode.note.into_iter().collect(),
        };
        let control = Arc::new(Control::new().map_err(cannot_start_a_thread)?);
        let own = worker.listeners();
        let listeners = names.iter().map(|name| name.number).zip(own.iter().cloned());
        *self.live() = Some(Live {
            generation,
            shards,
            config,
            sites,
            certificates,
            warnings,
            failing: BTreeMap::new(),
            listeners: listeners.collect(),
            watcher: Arc::clone(&control),
        });
        self.watch(sources, control)?;
        events::refusals::tell(&worker).map_err(cannot_start_a_thread)?;
        self.started(&worker);
        self.receive_passed(&worker);
        Ok(running)
    }

    /// Has the logs of a configuration written, before it is served. Returns the one for answers
    /// that no site gives.
    fn log(&self, worker: &Worker, plan: Plan) -> Result<Option<LogId>, Error> {
        let others = plan.others;
        let mut logs = lock(&self.logs);
        logs.put(plan);
        logs.start(worker).map_err(cannot_start_a_thread)?;
        Ok(others)
    }

    /// Returns what is done with incidents.
    fn report(self: &Arc<Self>) -> sitar_server::Report {
        let process = Arc::downgrade(self);
        Arc::new(move |incident| {
            events::error(&incident);
            if let Incident::Restarted { .. } = incident
                && let Some(process) = process.upgrade()
                && sandbox::keeps_shards_from_starting()
            {
                // A shard waits for nothing.
                let ask = move || process.give_way("a shard cannot be started again inside of the sandbox");
                let _ = thread::Builder::new().name("sitar-work".into()).spawn(ask);
            }
        })
    }

    fn change(
        self: &Arc<Self>,
        worker: &Worker,
        pending: Pending,
        listeners: Vec<Served>,
    ) -> Result<(), Error> {
        let Pending { generation, shards, config, sites, logs, certificates, tls, before, .. } = pending;
        let control = Arc::new(Control::new().map_err(cannot_start_a_thread)?);
        let OpenSites { sources, mut sites, mut hosts, warnings } = sites;
        let mut guard = self.live();
        let (Some(live), Some(before)) = (&mut *guard, before) else {
            return Err(Error::new("nothing is served yet"));
        };
        let listeners = named(listeners, &live.listeners).map_err(cannot_start_a_thread)?;
        // What has come into service since it was opened here is newer.
        for (place, site) in config.sites.iter().enumerate() {
            let last = live.config.sites.iter().position(|last| last.content == site.content);
            let Some(last) = last else { continue };
            let (Some(now), Some(then), Some(open)) =
                (live.sites.get(last), before.sites.get(last), sites.get_mut(place))
            else {
                continue;
            };
            open.follow(now);
            if let Some(newer) = now.site.as_ref().filter(|_| now.serial != then.serial)
                && let Some(id) = host(&hosts, place)
                && let Ok(with) = hosts.with_content(id, HostContent::Site(Arc::clone(newer)))
            {
                hosts = with;
                let attached = Arc::clone(&open.attached);
                *open = OpenSite { source: open.source, attached, ..now.clone() };
            }
        }
        let limits = limits(&config.settings, live.shards());
        let (others, trusted_proxies) = (self.log(worker, logs)?, trusted(&config));
        let next_listeners: Vec<Listener> = listeners.iter().map(|(_, listener)| listener.clone()).collect();
        let change = |next: &mut Snapshot| {
            next.hosts = hosts;
            next.listeners = next_listeners.into();
            next.tls = tls;
            next.limits = limits;
            (next.log, next.trusted_proxies) = (others, trusted_proxies);
        };
        worker.change(change).map_err(|error| Error::new(error.to_string()))?;
        events::set_form(config.log.events);
        live.watcher.stop();
        *live = Live {
            generation,
            shards,
            config,
            sites,
            certificates,
            warnings,
            failing: BTreeMap::new(),
            listeners: listeners.into_iter().collect(),
            watcher: Arc::clone(&control),
        };
        drop(guard);
        self.receive_passed(worker);
        if let Err(error) = self.watch(sources, control) {
            Event::new(Level::Warning, "changes are not noticed").because(&error).say();
        }
        Ok(())
    }

    /// Has a site be opened again with these encodings.
    ///
    /// # Errors
    /// They cannot be used.
    pub(super) fn attach(&self, message: Message) -> Result<(), String> {
        let Message { value, descriptors, .. } = message;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let file = descriptors.into_iter().next().ok_or("no file has come")?;
        let encodings = Encodings::open(file).map_err(|error| error.to_string())?;
        let guard = self.live();
        let live = guard.as_ref().filter(|live| number("generation") == Some(live.generation));
        let live = live.ok_or("the configuration is another now")?;
        let site = number("site").and_then(|site| live.sites.get(usize::try_from(site).ok()?));
        *lock(&site.ok_or("there is no such site")?.attached) = Some(Arc::new(encodings));
        live.watcher.attach();
        Ok(())
    }

    /// Puts another certificate into service in the place of one.
    ///
    /// # Errors
    /// It cannot be, and the one before stays.
    pub(super) fn renew(&self, message: Message) -> Result<(), String> {
        let Message { value, blobs, .. } = message;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let mut guard = self.live();
        let (Some(live), Some(worker)) = (&mut *guard, self.worker.get()) else {
            return Err("nothing is served yet".into());
        };
        if number("generation") != Some(live.generation) {
            return Err("the configuration is another now".into());
        }
        let mut blobs = blobs.into_iter();
        let (Some(mut chain), Some(key), Some(place), Some(mut keys)) =
            (blobs.next(), blobs.next(), number("place"), live.certificates.clone())
        else {
            return Err("nothing speaks TLS".into());
        };
        let pem = Pem { chain: std::mem::take(&mut *chain), key };
        let place = usize::try_from(place).ok().and_then(|place| keys.identities.get_mut(place));
        *place.ok_or("there is no such certificate")? = identity(&pem).map_err(|error| error.sentence())?;
        let config = keys.config(&live.config).map_err(|error| error.sentence())?;
        worker.change(|next| next.tls = Some(config)).map_err(|error| error.to_string())?;
        live.certificates = Some(keys);
        Ok(())
    }

    /// Watches sources on a thread of their own. What they find counts while `control` is that of
    /// what is served.
    fn watch(self: &Arc<Self>, sources: Sources, control: Arc<Control>) -> Result<(), Error> {
        if sources.is_empty() {
            return Ok(());
        }
        let process = Arc::clone(self);
        let watch = move || {
            let found = Found { process, control: Arc::clone(&control) };
            Watcher::new(sources, &control, &found).run();
        };
        let thread = thread::Builder::new().name("sitar-watch".into()).spawn(watch);
        thread.map(drop).map_err(cannot_start_a_thread)
    }
}

impl Live {
    fn shards(&self) -> std::num::NonZeroU16 {
        std::num::NonZeroU16::new(self.shards).unwrap_or(std::num::NonZeroU16::MIN)
    }

    /// Returns why sites that are served cannot be used as they are now.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        self.failing.iter().filter_map(|(source, why)| {
            let place = self.sites.iter().position(|open| open.source == Some(*source))?;
            self.sites.get(place)?.facts.unavailable.is_none().then_some(())?;
            let what = site_name(self.config.sites.get(place)?);
            Some(format!("{what} as it is now cannot be served, the one before still is: {why}"))
        })
    }
}

fn trusted(config: &Config) -> Arc<Networks> {
    Arc::new(config.trusted_proxies.iter().copied().collect())
}

/// Returns listeners by their numbers: new ones, known ones, and those with the sockets of another.
fn named(listeners: Vec<Served>, known: &BTreeMap<u64, Listener>) -> std::io::Result<Vec<(u64, Listener)>> {
    let all = listeners.into_iter().map(|(name, sockets)| {
        let listener = match (known.get(&name.number), name.of.and_then(|of| known.get(&of))) {
            (Some(same), _) => same.clone(),
            (None, Some(other)) => other.with_use(name.proxies.iter().copied().collect(), name.role)?,
            (None, None) if name.is_passed => Listener::passed(name.role, sockets),
            (None, None) => Listener::behind(name.proxies.iter().copied().collect(), name.role, sockets),
        };
        Ok((name.number, listener))
    });
    all.collect()
}

/// Returns the host of the site at that place of the configuration.
fn host(hosts: &Hosts, place: usize) -> Option<HostId> {
    hosts.iter().nth(place).map(|(id, _)| id)
}

/// Serves what one watcher finds, as long as it is the watcher of what is served.
struct Found {
    process: Arc<Process>,
    control: Arc<Control>,
}

impl Found {
    /// Does something with what is served; nothing where another watcher's finds count.
    fn with_live<T>(&self, with: impl FnOnce(&mut Live) -> T) -> Option<T> {
        let mut guard = self.process.live();
        guard.as_mut().filter(|live| Arc::ptr_eq(&live.watcher, &self.control)).map(with)
    }

    /// Puts a site into service; with `is_same`, only its encodings are others. Returns its place.
    fn swap(&self, live: &mut Live, id: SourceId, site: Site, is_same: bool) -> Option<usize> {
        let worker = self.process.worker.get()?;
        let place = live.sites.iter().position(|open| open.source == Some(id))?;
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
        let changed = worker.change(change).map_err(|error| error.to_string());
        match changed.and(failed.map_or(Ok(()), Err)) {
            Ok(()) => {
                if is_same {
                    live.sites[place].encode(&site);
                } else {
                    live.sites[place].serve(&site);
                }
                live.warnings.retain(|warning| warning.source != Some(id));
                let named = live.config.sites[place].place.clone();
                live.warnings.extend(Warning::of_site(id, &named, &site));
                Some(place)
            }
            Err(why) => {
                events::error(format_args!("a site cannot be put into service: {why}"));
                None
            }
        }
    }
}

impl Serve for Found {
    fn site(&self, id: SourceId, site: Site) {
        let changed = self.with_live(|live| {
            let place = self.swap(live, id, site, false)?;
            Some((live.generation, place, live.sites.get(place)?.facts.clone()))
        });
        if let Some((generation, place, facts)) = changed.flatten() {
            self.process.tell_changed(generation, place, &facts);
        }
    }

    fn encoded(&self, id: SourceId, site: Site) {
        self.with_live(|live| self.swap(live, id, site, true));
    }

    fn certificate(&self, _: SourceId, _: Loaded) -> Result<(), String> {
        Err("certificates are the supervisor's".into())
    }

    fn failing(&self, id: SourceId, why: Option<&str>) {
        self.with_live(|live| match why {
            Some(why) => live.failing.insert(id, why.to_owned()),
            None => live.failing.remove(&id),
        });
    }

    fn out_of_reach(&self, id: SourceId) -> bool {
        let name = self.with_live(|live| {
            let place = live.sites.iter().position(|open| open.source == Some(id))?;
            live.config.sites.get(place).map(site_name)
        });
        let Some(name) = name.flatten() else { return true };
        sandbox::bounds_reading()
            && self
                .process
                .give_way(&format!("{name} lies where the sandbox of the one before does not reach"))
    }

    fn say(&self, level: Level, line: &str) {
        if self.with_live(|_| ()).is_some() {
            Event::new(level, line).say();
        }
    }
}
