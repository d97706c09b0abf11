//! The worker's side of the line: it obeys, and asks for what it may not do itself.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sitar_server::Worker;

use super::challenges;
use super::containment::Contained;
use super::keys::{Keys, check_client_cas, read_client_cas};
use super::live::{Live, Pending};
use super::opened::{self, Refused};
use super::passed::Receivers;
use crate::channel::{Channel, Limits, Line, Message};
use crate::config::{self, Config, SiteContent};
use crate::error::Error;
use crate::events;
use crate::handover::{self, Found, Opened, Opening, SiteFacts, SiteFiles, not_understood};
use crate::log::{LogNumbers, Logs};
use crate::metrics::Numbers;
use crate::sandbox::Entered;
use crate::serve::seconds;
use crate::serve::stop::Telling;
use crate::settings::ConfigFile;
use crate::trace::Spec;
use crate::watch::Opener;

/// The time for the supervisor to open something.
const OPENING: Duration = Duration::from_secs(60);

/// The time in which every shard has to come round.
const TURNING: Duration = Duration::from_secs(5);

/// The worker's process.
pub(super) struct Process {
    pub(super) line: Line,
    file: ConfigFile,
    /// Gets the worker when it serves, or nothing if it never will.
    started: SyncSender<Option<Arc<Worker>>>,
    pub(super) worker: OnceLock<Arc<Worker>>,
    /// Given to the first that serves.
    pub(super) sandbox: Mutex<Option<Entered>>,
    /// What is open and waits to be served.
    pub(super) pending: Mutex<Option<Pending>>,
    /// What is served. Held while a change is made.
    live: Mutex<Option<Live>>,
    has_ended: Arc<AtomicBool>,
    telling: Mutex<Option<Telling>>,
    receivers: Mutex<Receivers>,
    /// The access logs.
    pub(super) logs: Mutex<Logs>,
    /// The supervisor was asked to start a worker in the place of this one.
    is_to_go: AtomicBool,
}

impl Process {
    pub(super) fn new(
        channel: Channel,
        file: &ConfigFile,
        started: SyncSender<Option<Arc<Worker>>>,
    ) -> Process {
        Process {
            line: Line::new(channel),
            file: file.clone(),
            started,
            worker: OnceLock::new(),
            sandbox: Mutex::default(),
            pending: Mutex::default(),
            live: Mutex::default(),
            has_ended: Arc::default(),
            telling: Mutex::default(),
            receivers: Mutex::default(),
            logs: Mutex::default(),
            is_to_go: AtomicBool::new(false),
        }
    }

    /// Does what the supervisor says, until it is gone.
    pub(super) fn obey(self: Arc<Self>) {
        let ended = self.line.run(Limits::OF_SUPERVISOR, |question| {
            let what = question.message.value.get("do").and_then(Value::as_str).unwrap_or_default();
            match what {
                "stop" => {
                    self.stop();
                    self.answer(question.number, &Value::Null);
                }
                "drain" => {
                    self.drain();
                    self.apart(question.number, |process| {
                        if let Some(worker) = process.worker.get() {
                            // What it has not heard of yet, it may still accept.
                            let _ = worker.has_stopped_accepting();
                        }
                        Value::Null
                    });
                }
                _ => self.apart(question.number, |process| process.work(question.message)),
            }
        });
        if let Err(error) = ended {
            events::error(format_args!("the supervisor is not understood: {error}"));
        }
        self.drain();
        if self.worker.get().is_none() {
            let _ = self.started.try_send(None);
        }
    }

    /// Answers the question with that number on a thread of its own: what may take its time holds
    /// up nothing else.
    fn apart(self: &Arc<Self>, number: u64, work: impl FnOnce(&Arc<Process>) -> Value + Send + 'static) {
        let process = Arc::clone(self);
        let answer = move || {
            let answer = work(&process);
            process.answer(number, &answer);
        };
        if thread::Builder::new().name("sitar-work".into()).spawn(answer).is_err() {
            self.answer(number, &Value::Null);
        }
    }

    /// Lets connections end, and takes no more.
    fn drain(&self) {
        if let Some(worker) = self.worker.get() {
            worker.drain();
        }
        lock(&self.logs).end_traces();
        lock(&self.receivers).leave();
    }

    /// Receives the connections that are passed by way of what is served.
    pub(super) fn receive_passed(&self, worker: &Worker) {
        let live = self.live();
        let mut receivers = lock(&self.receivers);
        if let Some(live) = &*live {
            receivers.replace(worker, &live.listeners);
        }
    }

    /// Answers the question with that number. Without a supervisor it is lost.
    pub(super) fn answer(&self, number: u64, answer: &Value) {
        let _ = self.line.answer(number, answer, &[]);
    }

    fn work(self: &Arc<Self>, message: Message) -> Value {
        let what = message.value.get("do").and_then(Value::as_str).unwrap_or_default().to_owned();
        match &*what {
            "open" => match Opening::read(message) {
                Some(opening) => self.open_next(opening).to_json(),
                None => Value::Null,
            },
            "serve" => match handover::read_serve(message) {
                Some((generation, listeners)) => handover::served(&self.serve(generation, listeners)),
                None => Value::Null,
            },
            "abort" => {
                *lock(&self.pending) = None;
                Value::Null
            }
            "certificate" => match self.renew(message) {
                Ok(()) => json!({ "ok": true }),
                Err(why) => json!({ "refused": why }),
            },
            "challenges" => match self.challenge(message) {
                Ok(()) => json!({ "ok": true }),
                Err(why) => json!({ "refused": why }),
            },
            "encodings" => match self.attach(message) {
                Ok(()) => json!({ "ok": true }),
                Err(why) => json!({ "refused": why }),
            },
            "trace" => match self.trace(message) {
                Ok(()) => json!({ "ok": true }),
                Err(why) => json!({ "refused": why }),
            },
            "logs" => {
                lock(&self.logs).reopen(handover::read_reopen_logs(message));
                Value::Null
            }
            "status" => self.status(),
            "numbers" => self.worker.get().map_or(Value::Null, |worker| self.numbers(worker).to_json()),
            "turn" => self.worker.get().is_some_and(|worker| worker.turns(TURNING)).into(),
            _ => Value::Null,
        }
    }

    /// Opens the first configuration.
    pub(super) fn open_first(self: &Arc<Self>, opening: Opening, contained: Contained) -> Opened {
        let Contained { config, sandbox } = contained;
        *lock(&self.sandbox) = Some(sandbox);
        self.open(opening, config, None)
    }

    fn open_next(self: &Arc<Self>, opening: Opening) -> Opened {
        let before = self.live().clone();
        match config::read_texts(&opening.texts, &self.file.given, self.file.port) {
            Ok(config) => self.open(opening, config, before.as_ref()),
            // They were read before.
            Err(problems) => Opened::Failed(config::refused(&problems)),
        }
    }

    fn open(self: &Arc<Self>, opening: Opening, config: Config, live: Option<&Live>) -> Opened {
        let Opening { generation, shards, identities, by_host, client_cas, mut files, logs, .. } = opening;
        let logs = lock(&self.logs).plan(&config.log, &config.sites, logs);
        let client_cas = match read_client_cas(client_cas.iter().map(|(site, pem)| (*site, &pem[..]))) {
            Ok(clients) => clients,
            Err(error) => return of_all(&config, &error),
        };
        if let Err(error) = check_client_cas(&config, &client_cas) {
            return of_all(&config, &error);
        }
        let opener = self.opener(generation, &config, &mut files);
        let sites = match opened::open(&config, files, &client_cas, &logs, opener, live) {
            Ok(sites) => sites,
            Err(Refused::Mistakes(found)) => return Opened::Refused(found),
            Err(Refused::OutOfReach) => return Opened::OutOfReach,
        };
        let facts = sites.sites.iter().map(|open| open.facts.clone()).collect();
        let warnings = sites.warnings.iter().map(|warning| warning.text.clone()).collect();
        let certificates = match Keys::read(&identities, by_host, client_cas) {
            Ok(certificates) => certificates,
            Err(error) => return of_all(&config, &error),
        };
        match Pending::new(generation, shards, config, (sites, logs), certificates, live) {
            Ok(mut pending) => {
                pending.challenges = challenges::open_first(&opening.challenges, live.is_some());
                *lock(&self.pending) = Some(pending);
                Opened::Fine { sites: facts, warnings }
            }
            Err(failed) => failed,
        }
    }

    /// Returns what opens the sites of a configuration: what has come with it, and later the
    /// supervisor.
    fn opener(self: &Arc<Self>, generation: u64, config: &Config, files: &mut [SiteFiles]) -> Opener {
        let mut first: HashMap<PathBuf, Vec<io::Result<OwnedFd>>> = HashMap::new();
        let mut numbers: HashMap<PathBuf, usize> = HashMap::new();
        for ((number, site), files) in config.sites.iter().enumerate().zip(files) {
            let SiteContent::Root { path, .. } = &site.content else { continue };
            numbers.entry(path.clone()).or_insert(number);
            first.entry(path.clone()).or_default().extend(files.root.take());
        }
        let first = Mutex::new(first);
        let process = Arc::clone(self);
        Arc::new(move |path: &Path| {
            if let Some(opened) = lock(&first).get_mut(path).and_then(Vec::pop) {
                return opened;
            }
            let number = numbers.get(path).ok_or(io::ErrorKind::NotFound)?;
            process.reopen(generation, *number)
        })
    }

    /// Has the supervisor open the root of a site once more.
    fn reopen(&self, generation: u64, site: usize) -> io::Result<OwnedFd> {
        let question = json!({ "reopen": site, "generation": generation });
        let answer = self.line.ask(&question, &[], &[], OPENING)?;
        if let Some(fd) = answer.descriptors.into_iter().next() {
            return Ok(fd);
        }
        let errno = answer.value.as_i64().and_then(|errno| i32::try_from(errno).ok());
        Err(errno.map_or_else(not_understood, io::Error::from_raw_os_error))
    }

    /// Tells the supervisor that another content of a site is served.
    pub(super) fn tell_changed(&self, generation: u64, site: usize, facts: &SiteFacts) {
        // It makes encodings of what has changed; without an answer there are none.
        let value = json!({ "changed": site, "generation": generation, "facts": facts.to_json() });
        let _ = self.line.ask(&value, &[], &[], TURNING);
    }

    /// Tells the supervisor, if there is one, what this worker has counted until its end.
    pub(super) fn tell_counted(&self, worker: &Worker) {
        let value = json!({ "counted": self.numbers(worker).to_json() });
        let _ = self.line.ask(&value, &[], &[], TURNING);
    }

    /// Asks for a worker in the place of this one. Returns whether that serves, or will.
    pub(super) fn give_way(&self, why: &str) -> bool {
        if self.is_to_go.swap(true, Ordering::SeqCst) {
            return true;
        }
        let answer = self.line.ask(&json!({ "give_way": why }), &[], &[], OPENING);
        let has_taken_over = answer.is_ok_and(|answer| answer.value.as_bool() == Some(true));
        self.is_to_go.store(has_taken_over, Ordering::SeqCst);
        has_taken_over
    }

    /// Stops, and a second time at once.
    fn stop(&self) {
        let Some(worker) = self.worker.get() else {
            let _ = self.started.try_send(None);
            return;
        };
        worker.stop();
        lock(&self.logs).end_traces();
        lock(&self.receivers).leave();
        let drain = self.live().as_ref().map_or(0, |live| live.config.settings.stop_seconds);
        lock(&self.telling).get_or_insert_with(|| Telling::start(worker, seconds(drain), &self.has_ended));
    }

    /// Notes that the shards have ended.
    pub(super) fn ended(&self) {
        self.has_ended.store(true, Ordering::Release);
        if let Some(telling) = lock(&self.telling).take() {
            telling.end();
        }
    }

    /// Waits until what is logged has been written, for a moment at most. The shards have ended.
    pub(super) fn end_logs(&self) {
        let end = lock(&self.logs).take_end();
        if let Some(end) = end {
            end.wait();
        }
    }

    /// Has a trace written to the connection that has come with it.
    fn trace(&self, message: Message) -> Result<(), String> {
        let Message { value, descriptors, .. } = message;
        let spec = Spec::from_json(value.get("trace").unwrap_or(&Value::Null))?;
        let client = descriptors.into_iter().next().ok_or("no connection has come")?;
        let worker = self.worker.get().ok_or("nothing is served yet")?;
        lock(&self.logs).trace(worker, spec, client)
    }

    fn numbers(&self, worker: &Worker) -> Numbers {
        let logs = lock(&self.logs);
        let ([written, sampled, failed], dropped) = (logs.sums(), logs.dropped());
        drop(logs);
        Numbers::of(&worker.numbers(), [written, sampled, failed, dropped])
    }

    /// Notes that the shards run.
    pub(super) fn started(&self, worker: &Arc<Worker>) {
        let _ = self.worker.set(Arc::clone(worker));
        let _ = self.started.try_send(Some(Arc::clone(worker)));
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Option<Live>> {
        lock(&self.live)
    }

    fn status(&self) -> Value {
        let live = self.live();
        let Some(live) = &*live else { return Value::Null };
        let sites: Vec<Value> = live.sites.iter().map(|open| open.facts.to_json()).collect();
        let warnings: Vec<String> =
            live.warnings.iter().map(|warning| warning.text.clone()).chain(live.failures()).collect();
        let refusals = crate::sandbox::refusals();
        let refused = (refusals.total() > 0).then(|| refusals.to_string());
        let logs = lock(&self.logs);
        let numbers = logs.numbers().into_iter().map(|log| {
            let LogNumbers { name, written, failed, sampled } = log;
            json!({ "name": name, "written": written, "failed": failed, "sampled": sampled })
        });
        json!({
            "generation": live.generation,
            "sites": sites,
            "warnings": warnings,
            "refused": refused,
            "logs": numbers.collect::<Vec<_>>(),
            "logs_dropped": logs.dropped(),
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a mistake that concerns the configuration as a whole.
pub(super) fn of_all(config: &Config, error: &Error) -> Opened {
    let whole = config::Place { file: config.file.as_path().into(), line: 0, column: 0 };
    Opened::Refused(vec![Found::of_all(config::problem(&whole, error))])
}
