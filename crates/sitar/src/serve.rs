//! Starts the shards.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sitar_io::Ring;
use sitar_server::{Config, Counts, Limits, TlsOffload, Worker};
use sitar_site::{Budget, Options, Site};
use sitar_tls::Identity;

use crate::cli;
use crate::engine::rings::{Memory, NoRing};
use crate::engine::{self, Because, Cores, Engine, Polling, lets_epoll_run};
use crate::error::Error;
use crate::settings::{self, EngineChoice, MinTls, Security, Settings, Tls};
use crate::start::{Content, Encryption, Report};
use crate::watch::{Call, Eye, Watcher};
use crate::{certificate, handbook, identity, listen, offload, output};

pub(crate) mod descriptors;
mod stop;

use self::descriptors::Needs;
use self::stop::Telling;

/// A file may take this part of the memory for contents; larger ones are read from the disk each time.
const FILE_SHARE: u64 = 8;
/// Application protocols in order of preference; without HTTP/2 all but the first. The IANA
/// registry (RFC 7301 §6) also has `http/0.9`, which this server does not speak, and `h2c`, which
/// is not for TLS (RFC 9113 §3.1).
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Serves until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(settings: &Settings) -> Result<(), Error> {
    let plan = settings.plan()?;
    let (site, content, eye) = open_site(settings)?;
    let (tls, encryption, notes) = secure(&plan.security, settings)?;
    let cores = Cores::of_this_process();
    let shards = settings.shards.unwrap_or_else(|| default_shards(&cores, settings.engine));
    let memory = Memory::of_this_process(shards.get());
    let probe = || engine::probe(&memory);
    let engine = Engine::choose(settings.engine, probe, || Polling::new(settings.spin, shards, cores))?;
    let offload = who_seals(settings.tls, &engine)?;
    let limits_of_engine = |engine: &Engine| limits(settings, shards, plan.addresses.len(), engine);
    let (limits, fitted) = limits_of_engine(&engine)?;
    // Before the listeners: a client that gets through is served.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Error::new("cannot catch signals").cause(error.to_string()))?;
    let bound = listen::bind(&plan.addresses, shards)?;

    let budget = u64::from(settings.memory) << 20;
    let was_fitted = usize::from(fitted.is_some());
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        addresses: bound.addresses,
        skipped: bound.skipped,
        encryption,
        offload,
        engine: engine.clone(),
        shards: usize::from(shards.get()),
        content,
        watching: eye.as_ref().map(Eye::watching),
        files: site.len(),
        unencoded: sitar_publish::estimate(&site),
        warnings: fitted
            .into_iter()
            .chain(notes)
            .chain(site.warnings().iter().map(ToString::to_string))
            .collect(),
    };
    let config = |listeners, limits, offload| Config {
        listeners,
        site: Arc::clone(&site),
        tls: tls.clone(),
        limits,
        offload,
        budget: Budget::new(budget, budget / FILE_SHARE),
        clock: Arc::new(SystemTime::now),
        report: Arc::new(|incident| say(&format_args!("sitar: {incident}"))),
    };
    let mut is_polled = matches!(engine, Engine::SqPoll(_));
    let listeners: Listeners =
        bound.shards.into_iter().map(|shard| shard.into_iter().map(Into::into).collect()).collect();
    // For another attempt, when a shard has no ring.
    let again = if let Engine::Epoll(_) = engine { Vec::new() } else { duplicate(&listeners)? };
    let smaller = memory.shrunk(&limits.ring()).filter(|_| matches!(engine, Engine::Uring));
    let mut started = start(config(listeners, limits.clone(), offload), engine, memory);
    if let (Err(Failed::Ring(why)), Some(smaller)) = (&started, smaller)
        && why.is_limit()
    {
        let small = start(config(duplicate(&again)?, limits, offload), Engine::Uring, smaller);
        // Otherwise the first attempt has the better reason.
        started = small.or(started);
    }
    let worker = match started {
        // All shards go over to epoll.
        Err(Failed::Ring(why)) if settings.engine == EngineChoice::Auto && lets_epoll_run(&why) => {
            let engine = Engine::Epoll(Some(Because::from(&why)));
            let (offload, (limits, fitted)) = (who_seals(settings.tls, &engine)?, limits_of_engine(&engine)?);
            report.warnings.splice(..was_fitted, fitted);
            (report.engine, report.offload, is_polled) = (engine.clone(), offload, false);
            start(config(again, limits, offload), engine, memory)
        }
        started => {
            drop(again);
            started
        }
    };
    let worker = worker.map_err(explain)?;
    let since = Instant::now();
    let worker = Arc::new(worker);
    let call = Arc::new(Call::new().map_err(cannot_start_a_thread)?);
    let watcher = watch(eye, site, &worker, &call)?;
    let (stopper, caller) = (Arc::clone(&worker), Arc::clone(&call));
    let handle = signals.handle();
    let had_terminal = is_terminal();
    let (ended, drain) = (Arc::new(AtomicBool::new(false)), seconds(settings.stop_seconds));
    let has_ended = Arc::clone(&ended);
    let thread = thread::Builder::new().name("sitar-signals".into()).spawn(move || {
        let mut telling = None;
        for signal in signals.forever() {
            // When a terminal is closed, whoever runs in it is sent this signal, and means to end; a daemon has no terminal.
            if signal == SIGHUP && had_terminal == is_terminal() {
                caller.read_again();
                continue;
            }
            // Now, while the polling threads are there to be asked.
            if telling.is_none() && is_polled {
                tell_polling(since);
            }
            stopper.stop();
            telling.get_or_insert_with(|| Telling::start(&stopper, drain, &has_ended));
        }
        if let Some(telling) = telling {
            telling.end();
        }
    });
    let thread = thread.map_err(cannot_start_a_thread)?;
    // Nothing of the start can fail any more. A standard output that takes nothing is no reason not
    // to serve.
    if let Err(error) = output::try_print(&report.to_string()) {
        say(&format_args!("sitar: the report of the start could not be printed: {error}"));
    }
    let counts = worker.wait();
    ended.store(true, Ordering::Release);
    handle.close();
    call.stop();
    for thread in [Some(thread), watcher].into_iter().flatten() {
        let _ = thread.join();
    }
    say(&format_args!("sitar: {}", totals(counts)));
    Ok(())
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

fn is_terminal() -> bool {
    io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Keeps what is served the same as what lies at the path; nothing to do for the handbook.
fn watch(
    eye: Option<Eye>,
    site: Arc<Site>,
    worker: &Arc<Worker>,
    call: &Arc<Call>,
) -> Result<Option<JoinHandle<()>>, Error> {
    let Some(eye) = eye else { return Ok(None) };
    let (worker, call) = (Arc::clone(worker), Arc::clone(call));
    let watch = move || {
        let serve = |site| worker.swap(Arc::new(site));
        let watcher = Watcher::new(eye, &site, &call, &serve, &|line| say(&format_args!("sitar: {line}")));
        drop(site);
        watcher.run();
    };
    let thread = thread::Builder::new().name("sitar-watch".into()).spawn(watch);
    thread.map(Some).map_err(cannot_start_a_thread)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn cannot_start_a_thread(error: io::Error) -> Error {
    engine::hint_for(Error::new("cannot start a thread").cause(error.to_string()), &error)
}

/// Why the worker did not start.
enum Failed {
    Ring(NoRing),
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Ring(why) => why.fmt(f),
            Failed::Io(error) => error.fmt(f),
        }
    }
}

/// Each shard's sockets.
type Listeners = Vec<Vec<OwnedFd>>;

fn duplicate(listeners: &Listeners) -> Result<Listeners, Error> {
    let shard = |shard: &Vec<OwnedFd>| shard.iter().map(OwnedFd::try_clone).collect();
    let all: io::Result<Listeners> = listeners.iter().map(shard).collect();
    all.map_err(|error| {
        engine::hint_for(Error::new("cannot duplicate the listening sockets").cause(&error), &error)
    })
}

/// Starts the shards on the engine: the only place that knows the engines.
fn start(config: Config, engine: Engine, memory: Memory) -> Result<Worker, Failed> {
    match engine {
        Engine::Uring => Worker::start(config, move |ring| {
            memory.make(ring, |queues| Ring::uring_with(ring, queues)).map_err(Failed::Ring)
        }),
        Engine::SqPoll(polling) => {
            let next = AtomicUsize::new(0);
            Worker::start(config, move |ring| polling.ring(ring, &memory, &next).map_err(Failed::Ring))
        }
        Engine::Epoll(_) => Worker::start(config, |ring| Ring::epoll(ring).map_err(Failed::Io)),
    }
}

fn explain(failed: Failed) -> Error {
    match failed {
        Failed::Ring(why) => engine::explain(&why),
        Failed::Io(error) => engine::hint_for(Error::new("cannot start the shards").cause(&error), &error),
    }
}

/// One line about what polling cost.
fn tell_polling(since: Instant) {
    let elapsed = since.elapsed().as_secs_f64();
    match engine::pollers_cpu(Path::new("/proc/self/task")) {
        Some((cpu, threads)) => say(&format_args!(
            "sitar: {threads} polling thread(s) used {:.2} s of CPU time in {elapsed:.2} s",
            cpu.as_secs_f64()
        )),
        None => say(&format_args!("sitar: this kernel does not tell the CPU time of polling threads")),
    }
}

fn open_site(settings: &Settings) -> Result<(Arc<Site>, Content, Option<Eye>), Error> {
    let Some(path) = &settings.path else {
        let site = Site::embedded(handbook::FILES).map_err(|error| Error::new(error.to_string()))?;
        return Ok((Arc::new(site), Content::Handbook, None));
    };
    let options = Options {
        prefix: settings.prefix.clone(),
        follow_links: settings.follow_links,
        config_files: settings.serve_config_files,
    };
    let mut eye = Eye::new(path, &options, settings.watch());
    let site = eye.open().map_err(|error| {
        let error = Error::new(error.to_string());
        let other = cli::instead_of_site(path).filter(|_| !path.exists());
        other.into_iter().fold(error, Error::hint).hint(
            "PATH is a directory or a tar archive, made for example by `sitar pack public/ -o site.tar`",
        )
    })?;
    let content = if path.is_dir() {
        Content::Directory(path.clone())
    } else if site.is_pack() {
        Content::Pack(path.clone())
    } else {
        Content::Archive(path.clone())
    };
    Ok((Arc::new(site), content, Some(eye)))
}

/// Sets up TLS, and returns what the operator must know about it.
fn secure(
    security: &Security,
    settings: &Settings,
) -> Result<(Option<sitar_tls::Config>, Encryption, Vec<String>), Error> {
    let mut notes = Vec::new();
    let (identities, encryption) = match security {
        Security::Plain => return Ok((None, Encryption::Plain, notes)),
        Security::Local => {
            let place = identity::Place::of_environment()?;
            let local = identity::open(&place, SystemTime::now())?;
            notes = place.notes();
            let own = Identity::from_pem(&local.chain_pem, &local.key_pem).map_err(|error| {
                Error::new("the local certificate cannot be used").cause(error.to_string())
            })?;
            let encryption =
                Encryption::Local { fingerprint: local.fingerprint, ca: local.ca_path, origin: local.origin };
            (vec![own], encryption)
        }
        Security::Certificates(files) => {
            let now = SystemTime::now();
            let (mut identities, mut reports) = (Vec::new(), Vec::new());
            for files in files {
                let loaded = certificate::load(files, now)?;
                identities.push(loaded.identity);
                reports.push(loaded.report);
                notes.extend(loaded.warnings);
            }
            (identities, Encryption::Certificates(reports))
        }
    };
    let min = match settings.min_tls {
        None | Some(MinTls::Tls12) => sitar_tls::Version::Tls12,
        Some(MinTls::Tls13) => sitar_tls::Version::Tls13,
    };
    let config =
        sitar_tls::Config::with_min_version(identities, &ALPN[usize::from(settings.no_http2)..], min)
            .map_err(|error| Error::new("cannot set up TLS").cause(error.to_string()))?;
    Ok((Some(config), encryption, notes))
}

/// Tries the kernel where it is wanted.
fn who_seals(wanted: Tls, engine: &Engine) -> Result<TlsOffload, Error> {
    match (wanted, engine) {
        (Tls::Kernel, Engine::Epoll(why)) => {
            let error =
                Error::new("the kernel can seal TLS records only with an io_uring engine (--tls kernel)");
            Err(match why {
                Some(because) => error.cause(&because.why),
                None => error.cause("--engine epoll"),
            }
            .hint("let sitar seal, which is the default: --tls user"))
        }
        (Tls::Kernel, _) => offload::probe().map_err(|why| offload::explain(&why)),
        (Tls::Auto | Tls::User | Tls::Off, _) => Ok(TlsOffload::None),
    }
}

/// One for each core; with the polling engine one for two, since each has a polling thread beside it.
pub(crate) fn default_shards(cores: &Cores, engine: EngineChoice) -> NonZeroU16 {
    let shards = if engine == EngineChoice::Sqpoll { cores.count / 2 } else { cores.count };
    let shards = u16::try_from(shards).unwrap_or(u16::MAX).clamp(1, settings::SHARDS_MAX);
    NonZeroU16::new(shards).unwrap_or(NonZeroU16::MIN)
}

/// The limits of each shard, as far as open files allow, and what the operator should know about
/// that.
fn limits(
    settings: &Settings,
    shards: NonZeroU16,
    addresses: usize,
    engine: &Engine,
) -> Result<(Limits, Option<String>), Error> {
    let limits = Limits {
        handshake: seconds(settings.handshake_seconds),
        head: seconds(settings.head_seconds),
        idle: seconds(settings.idle_seconds),
        send: seconds(settings.send_seconds),
        drain: seconds(settings.stop_seconds),
        http2: !settings.no_http2,
        ..descriptors::wanted(settings.connections, shards)
    };
    let needs = Needs { shards: shards.get(), addresses, shared: matches!(engine, Engine::Epoll(_)) };
    descriptors::fit(limits, needs, settings.connections)
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn say(line: &fmt::Arguments<'_>) {
    // Nobody may be listening any more, which is no reason to stop.
    let _ = writeln!(io::stderr(), "{line}");
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
