//! `sitar serve`, step by step.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use sitar_engines::Engine;
use sitar_server::{BodyMemory, Counts, Hooks, Hosts, ListenerSpec, Networks, Role, Spec, Worker};
use sitar_site::Site;

use crate::certificate::Loaded;
use crate::engine;
use crate::error::Error;
use crate::events::{self, Event, Level};
use crate::sandbox::{self, Reach};
use crate::settings::Settings;
use crate::start::Report;
use crate::watch::{Control, Serve, SourceId, Sources, Watcher};
use crate::{acme, cli, listen, packer, supervisor, worker};

pub(crate) mod attempt;
pub(crate) mod certificates;
pub(crate) mod descriptors;
mod domain;
mod one_log;
pub(crate) mod orphans;
pub(crate) mod serving;
pub(crate) mod signals;
mod site;
pub(crate) mod stop;

use self::attempt::Machine;
pub(crate) use self::attempt::{default_shards, seconds};
use self::certificates::Renewal;
use self::one_log::OneLog;
use self::stop::Telling;

/// A file may take this part of the memory for contents; larger ones are read from the disk each
/// time.
pub(crate) const FILE_SHARE: u64 = 8;

/// Serves until a signal stops it.
///
/// # Errors
/// The reason that it cannot start.
pub fn run(settings: &Settings) -> Result<(), Error> {
    events::begin(settings.log_events);
    if let Some(file) = &settings.config {
        if acme::is_this_process() {
            return acme::run();
        }
        if packer::is_this_process() {
            return packer::run();
        }
        if worker::is_this_process() {
            return worker::run(file);
        }
        return supervisor::run(&domain::begin(file, settings));
    }
    cli::unread_variables().into_iter().for_each(events::warning);
    let plan = settings.plan()?;
    let mut sources = Sources::new();
    let opened = site::open(settings, &mut sources)?;
    let certificates = certificates::load(&plan.security, settings, &mut sources)?;
    let machine = Machine::of_this_process(settings, plan.addresses.len(), 1);
    let mode = machine.choose()?;
    let mut logs = OneLog::open(settings)?;
    // Before the listeners: a client that gets through is served.
    let signals = signals::catch()?;
    let bound = listen::bind(&plan.addresses, machine.shards)?;

    let unencoded = sitar_publish::estimate(&opened.site);
    let (site_spec, source) = opened.place.unzip();
    let bytes = u64::from(settings.memory) << 20;
    let role = if certificates.tls.is_some() { Role::Https } else { Role::Http };
    let spec = Spec {
        listeners: bound
            .groups
            .into_iter()
            .map(|group| ListenerSpec {
                role,
                is_passed: false,
                proxies: Networks::default(),
                sockets: group.into_iter().map(Into::into).collect(),
            })
            .collect(),
        site: site_spec,
        tls: certificates.tls,
        limits: mode.limits.clone(),
        offload: mode.offload,
        memory: BodyMemory::new(bytes, bytes / FILE_SHARE),
    };
    let hooks = Hooks {
        clock: Arc::new(SystemTime::now),
        report: Arc::new(events::error),
        hosts: Some(logs.hosts(Hosts::one(Arc::clone(&opened.site)))),
        may_have_users: false,
        tls: None,
        log: logs.id(),
        trusted_proxies: Arc::default(),
        challenges: Arc::default(),
        times: false,
    };
    // Before the threads, which inherit it.
    let entered = sandbox::enter(settings.sandbox, Reach::OneProcess)?;
    let (worker, mode) = machine.start(spec, &hooks, mode)?;
    drop(hooks);
    logs.start(&worker)?;
    let sandbox = entered.seal(mode.rings)?;
    let is_polled = matches!(mode.engine, Engine::SqPoll(_));
    let warnings = opened.site.warnings().iter().map(ToString::to_string);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        addresses: bound.addresses,
        skipped: bound.skipped,
        encryption: certificates.encryption,
        offload: mode.offload,
        engine: mode.engine,
        shards: usize::from(machine.shards.get()),
        sandbox,
        content: opened.content,
        watching: source.map(|source| sources.watching(source)),
        files: opened.site.len(),
        unencoded,
        warnings: mode.note.into_iter().chain(certificates.notes).chain(warnings).collect(),
    };

    // From here on the worker alone holds it, so that it is freed when another takes its place.
    drop(opened.site);
    let worker = Arc::new(worker);
    let control = Arc::new(Control::new().map_err(cannot_start_a_thread)?);
    let live = Live { worker: Arc::clone(&worker), renewal: certificates.renewal };
    let watcher = watch(sources, live, &control)?;
    let drain = Duration::from_secs(u64::from(settings.stop_seconds));
    let ended = Arc::new(AtomicBool::new(false));
    let obeying = signals::obey(
        signals,
        Obey {
            worker: Arc::clone(&worker),
            control: Arc::clone(&control),
            drain,
            polling_since: is_polled.then(Instant::now),
            ended: Arc::clone(&ended),
            telling: None,
        },
    )?;
    orphans::reap()?;
    events::refusals::tell(&worker).map_err(cannot_start_a_thread)?;
    // Nothing of the start can fail any more. A standard output that takes nothing is no reason not
    // to serve.
    report.serving().tell(&report.to_string(), logs.takes_stdout());

    let counts = worker.wait();
    ended.store(true, Ordering::Release);
    logs.end();
    obeying.end();
    control.stop();
    if let Some(watcher) = watcher {
        let _ = watcher.join();
    }
    stopped(counts).say();
    Ok(())
}

/// What signals ask for.
struct Obey {
    worker: Arc<Worker>,
    control: Arc<Control>,
    /// The time that a stop takes at most.
    drain: Duration,
    /// When polling threads were started, if there are any: their cost is reported at the end.
    polling_since: Option<Instant>,
    ended: Arc<AtomicBool>,
    telling: Option<Telling>,
}

impl signals::Obey for Obey {
    fn read_again(&mut self) {
        self.control.read_again();
    }

    fn stop(&mut self) {
        // Now, while the polling threads are there to be asked.
        if let Some(since) = self.polling_since.take() {
            tell_polling(Path::new("/proc/self/task"), since);
        }
        self.worker.stop();
        self.telling.get_or_insert_with(|| Telling::start(&self.worker, self.drain, &self.ended));
    }

    fn reopen_logs(&mut self) {
        // The sandbox lets this process make no file.
        events::warning(
            "only a server with a configuration (--config) opens its access log again; let logrotate use \
             copytruncate",
        );
    }

    fn upgrade(&mut self) {
        events::warning("only a server with a configuration (--config) hands over to another program");
    }
}

impl Drop for Obey {
    fn drop(&mut self) {
        // The server has stopped.
        if let Some(telling) = self.telling.take() {
            telling.end();
        }
    }
}

/// One line about what polling cost. `tasks` are the threads of the process that polls.
pub(crate) fn tell_polling(tasks: &Path, since: Instant) {
    let elapsed = since.elapsed().as_secs_f64();
    match sitar_engines::polling::pollers_cpu(tasks) {
        Some((cpu, threads)) => events::info(format_args!(
            "{threads} polling thread(s) used {:.2} s of CPU time in {elapsed:.2} s",
            cpu.as_secs_f64()
        )),
        None => events::info("this kernel does not tell the CPU time of polling threads"),
    }
}

/// Keeps what is served the same as what lies at the paths; nothing to do for the handbook with the
/// local certificate.
fn watch(sources: Sources, live: Live, control: &Arc<Control>) -> Result<Option<JoinHandle<()>>, Error> {
    if sources.is_empty() {
        return Ok(None);
    }
    let control = Arc::clone(control);
    let watch = move || Watcher::new(sources, &control, &live).run();
    let thread = thread::Builder::new().name("sitar-watch".into()).spawn(watch);
    thread.map(Some).map_err(cannot_start_a_thread)
}

/// Serves with the worker what the watcher finds.
struct Live {
    worker: Arc<Worker>,
    renewal: Renewal,
}

impl Serve for Live {
    fn site(&self, _: SourceId, site: Site) {
        self.worker.swap(Arc::new(site));
    }

    fn certificate(&self, id: SourceId, loaded: Loaded) -> Result<(), String> {
        self.renewal.renew(id, &loaded.identity, &self.worker)
    }

    fn say(&self, level: Level, line: &str) {
        Event::new(level, line).say();
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn cannot_start_a_thread(error: io::Error) -> Error {
    engine::hint_for(Error::new("cannot start a thread").cause(error.to_string()), &error)
}

/// Returns what was counted from the start to the stop; counters that are zero are left out.
fn totals(counts: Counts) -> String {
    let counted = counts.named().into_iter().filter(|(_, count)| *count > 0);
    let counted: Vec<String> =
        counted.map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect();
    if counted.is_empty() {
        "stopped; no connection was accepted".to_owned()
    } else {
        format!("stopped; {}", counted.join(", "))
    }
}

/// Returns the last event: what was counted from the start to the stop.
pub(crate) fn stopped(counts: Counts) -> Event {
    let event = Event::new(Level::Info, "stopped").in_text(totals(counts));
    let counted = counts.named().into_iter().filter(|(_, count)| *count > 0);
    counted.fold(event, |event, (name, count)| event.with(name, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_every_counter_that_is_not_zero() {
        assert_eq!(totals(Counts::default()), "stopped; no connection was accepted");
        let counts = Counts { accepted: 3, kernel_sealed: 1, calmed: 2, ..Counts::default() };
        assert_eq!(totals(counts), "stopped; accepted 3, kernel sealed 1, calmed 2");
    }
}
