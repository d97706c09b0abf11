//! Certificates that an authority gives: the process that orders them, what it asks for, and how
//! what it has ordered comes into service.
//!
//! One process runs as long as a site wants such a certificate. It is ended, and another one
//! started, when something else is wanted. One that ends by itself is started again after a pause
//! that grows. Nothing that is served waits for it.

mod dns;
mod wishes;

use std::collections::BTreeMap;
use std::io;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use sitar_acme::{Pending, Progress, Stage};

pub(super) use self::wishes::Wishes;
use super::Supervisor;
use super::child::{self, lock};
use crate::acme;
use crate::acme::told::Told;
use crate::admin::Ordered;
use crate::certificate::expiry;
use crate::channel::{Channel, Limits, Line, Question};
use crate::error::Error;
use crate::events::{self, Event, Level};
use crate::serve::orphans;

/// The pause before the process is started again; then twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// One that has lived for this time is started again after the shortest pause.
const HEALTHY: Duration = Duration::from_secs(600);
/// The time in which it has to enter its sandbox.
const BEGINNING: Duration = Duration::from_secs(30);
/// The time that it has to end by itself.
const ENDING: Duration = Duration::from_secs(2);
/// One that takes nothing of a message for this time is given up.
const TAKING: Duration = Duration::from_secs(30);
/// What has failed is said no more often than this, whatever the process tells.
const SAYING: Duration = Duration::from_secs(10);
/// What it asks for at a time. It has one thread.
const ASKING_MAX: usize = 4;

/// What is wanted, and what is known of it.
#[derive(Default)]
pub(super) struct Acme {
    state: Mutex<State>,
    /// Told when something else is wanted, or the process has ended.
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// `None`: nothing is wanted.
    wanted: Option<Arc<Wishes>>,
    process: Option<Arc<Process>>,
    /// The challenges that are answered.
    pending: Vec<Pending>,
    progress: BTreeMap<String, Progress>,
    /// When it was said last that one has failed.
    said: BTreeMap<String, Instant>,
    /// The thread runs.
    is_at_work: bool,
    is_ended: bool,
}

/// The process, and the line to it.
struct Process {
    line: Line,
    pid: u32,
    child: Mutex<Option<Child>>,
}

impl Acme {
    /// Returns the challenges that are answered, for a worker that begins.
    pub(super) fn pending(&self) -> Vec<Pending> {
        lock(&self.state).pending.clone()
    }

    /// Returns what is known of certificates that are wanted.
    pub(super) fn progress(&self) -> Vec<Progress> {
        lock(&self.state).progress.values().cloned().collect()
    }

    /// Ends the process for good.
    pub(super) fn end(&self) {
        let process = {
            let mut state = lock(&self.state);
            state.is_ended = true;
            state.process.clone()
        };
        self.news.notify_all();
        if let Some(process) = process {
            process.end();
        }
    }

    /// Has the process do something.
    fn tell(&self, value: &Value) -> Result<(), Error> {
        let process = lock(&self.state).process.clone();
        let told = process.and_then(|process| process.line.ask(value, &[], &[], TAKING).ok());
        match told.map(|told| told.value) {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err(Error::new("the process that orders certificates does not answer")
                .hint("see what it said: sitar cert list")),
        }
    }
}

impl Process {
    /// Has it end, on a thread of its own: it may not listen.
    fn end(self: &Arc<Self>) {
        let process = Arc::clone(self);
        let end = move || {
            let _ = process.line.ask(&json!({ "do": "end" }), &[], &[], ENDING);
            thread::sleep(ENDING);
            process.kill();
        };
        if thread::Builder::new().name("sitar-tell".into()).spawn(end).is_err() {
            self.kill();
        }
    }

    fn kill(&self) {
        if let Some(child) = &mut *lock(&self.child) {
            let _ = child.kill();
        }
    }
}

impl Supervisor {
    /// Has what is wanted be ordered: something else than before, or nothing.
    pub(super) fn order(self: &Arc<Self>, wanted: Option<&Arc<Wishes>>) {
        let old = {
            let mut state = lock(&self.acme.state);
            let is_same = match (&state.wanted, wanted) {
                (Some(before), Some(now)) => before.is_same(now),
                (None, None) => true,
                _ => false,
            };
            if is_same {
                return;
            }
            state.wanted = wanted.cloned();
            let names: Vec<String> =
                wanted.iter().flat_map(|wanted| &wanted.plan().certificates).map(|one| one.name()).collect();
            state.progress.retain(|name, _| names.contains(name));
            state.said.retain(|name, _| names.contains(name));
            if wanted.is_some() && !state.is_at_work && !state.is_ended {
                let supervisor = Arc::clone(self);
                let work = move || supervisor.have_ordered();
                match thread::Builder::new().name("sitar-acme".into()).spawn(work) {
                    Ok(_) => state.is_at_work = true,
                    Err(error) => events::error(format_args!("no certificates are ordered: {error}")),
                }
            }
            state.process.clone()
        };
        self.acme.news.notify_all();
        if let Some(old) = old {
            old.end();
        }
    }

    /// Starts processes as long as something is wanted.
    fn have_ordered(self: Arc<Self>) {
        let mut pause = PAUSE;
        let mut last_said = None;
        loop {
            let wanted = {
                let mut state = lock(&self.acme.state);
                loop {
                    if state.is_ended {
                        return;
                    }
                    match &state.wanted {
                        Some(wanted) => break Arc::clone(wanted),
                        None => state = self.acme.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            let begin = Instant::now();
            let ended = self.run_process(&wanted);
            self.answer_none();
            if begin.elapsed() >= HEALTHY {
                pause = PAUSE;
            }
            let is_current = |state: &State| {
                !state.is_ended && state.wanted.as_ref().is_some_and(|now| Arc::ptr_eq(now, &wanted))
            };
            let state = lock(&self.acme.state);
            if !is_current(&state) {
                pause = PAUSE;
                continue;
            }
            let why = ended.map_or_else(|error| error.sentence(), |()| "it has ended by itself".to_owned());
            if last_said.as_ref() != Some(&why) {
                let what = format_args!("the process that orders certificates is started again: {why}");
                events::error(what);
                last_said = Some(why);
            }
            let wait = self.acme.news.wait_timeout_while(state, pause, |state| is_current(state));
            drop(wait);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Runs a process until it has ended.
    fn run_process(self: &Arc<Self>, wanted: &Arc<Wishes>) -> Result<(), Error> {
        let failed = |error: io::Error| Error::new("it cannot be started").cause(error);
        let (own, other) = Channel::pair().map_err(failed)?;
        own.give_up_after(TAKING).map_err(failed)?;
        let child = child::start(&self.program, other.into_socket(), acme::NAME, acme::ACME_OF);
        let child = child.map_err(failed)?;
        let pid = child.id();
        let process = Arc::new(Process { line: Line::new(own), pid, child: Mutex::new(Some(child)) });
        let is_wanted = {
            let mut state = lock(&self.acme.state);
            state.process = Some(Arc::clone(&process));
            let is_same = state.wanted.as_ref().is_some_and(|now| Arc::ptr_eq(now, wanted));
            is_same && !state.is_ended
        };
        let attending = {
            let (supervisor, process, wanted) = (Arc::clone(self), Arc::clone(&process), Arc::clone(wanted));
            let attend = move || supervisor.attend(&process, &wanted);
            thread::Builder::new().name("sitar-line".into()).spawn(attend).map_err(failed)
        };
        let begun = attending.and_then(|attending| {
            let begun = if is_wanted { self.begin_process(&process, wanted) } else { Ok(()) };
            if begun.is_err() || !is_wanted {
                process.kill();
            }
            let _ = attending.join();
            begun
        });
        process.kill();
        lock(&self.acme.state).process = None;
        let child = lock(&process.child).take();
        let status = child.map(orphans::wait);
        begun?;
        match status {
            Some(Ok(status)) if !status.success() => Err(Error::new(format!("it has ended ({status})"))),
            _ => Ok(()),
        }
    }

    fn begin_process(&self, process: &Process, wanted: &Wishes) -> Result<(), Error> {
        let (value, blobs, descriptors) = wanted.job.parts(wanted.folder.descriptor());
        let answer = process.line.ask(&value, &blobs, &descriptors, BEGINNING);
        let answer = answer.map_err(|error| Error::new("it does not answer").cause(error))?;
        match answer.value.as_str() {
            Some(why) => Err(Error::new(crate::handover::said(why))),
            None => Ok(()),
        }
    }

    /// Answers a process until it is gone.
    fn attend(self: &Arc<Self>, process: &Arc<Process>, wanted: &Arc<Wishes>) {
        let asking = Arc::new(());
        let ended = process.line.run(Limits::OF_ACME, |question| {
            let Question { number, message } = question;
            let told = Told::read(&message.value).filter(|_| Arc::strong_count(&asking) <= ASKING_MAX);
            let Some(told) = told else {
                let what = format_args!("the process {} asks for nothing known, and is ended", process.pid);
                events::error(what);
                return process.kill();
            };
            // What hangs holds up no answer.
            let (supervisor, process, wanted) = (Arc::clone(self), Arc::clone(process), Arc::clone(wanted));
            let (asking, line) = (Arc::clone(&asking), Arc::clone(&process));
            let attend = move || {
                let done = supervisor.obey_process(told, &wanted);
                let answer = done.map_or_else(Value::String, |()| true.into());
                let _ = process.line.answer(number, &answer, &[]);
                drop(asking);
            };
            if thread::Builder::new().name("sitar-work".into()).spawn(attend).is_err() {
                let _ = line.line.answer(number, &"no thread is left".into(), &[]);
            }
        });
        if let Err(error) = ended {
            events::error(format_args!(
                "the process {} is not understood, and is ended: {error}",
                process.pid
            ));
            process.kill();
        }
    }

    fn obey_process(&self, told: Told, wanted: &Wishes) -> Result<(), String> {
        match told {
            Told::Answer(pending) => {
                wanted.check(&pending)?;
                self.answer_challenges(&pending)
            }
            Told::ChangeDns { change, name, value } => {
                if !wanted.wants_record(&name, &value) {
                    return Err("the record is none of a challenge for a name that is wanted".to_owned());
                }
                let program = wanted.dns.as_ref().ok_or("there is no dns_command")?;
                program.run(change, &name, &value, &|| self.is_stopping())
            }
            Told::Issued(name) => self.serve_issued(wanted, &name),
            Told::Progress(progress) => {
                self.note_progress(wanted, &progress);
                Ok(())
            }
        }
    }

    /// Has the worker that serves answer these challenges, and no others.
    fn answer_challenges(&self, pending: &[Pending]) -> Result<(), String> {
        // A worker that begins gets them with its configuration.
        let _one_at_a_time = lock(&self.changing);
        let worker = self.live().worker.clone();
        // It goes on with those before where it refuses these.
        if let Some(worker) = &worker {
            worker.challenge(pending)?;
        }
        lock(&self.acme.state).pending = pending.to_vec();
        worker.map(drop).ok_or_else(|| "no worker serves: one is being started".to_owned())
    }

    fn answer_none(&self) {
        if !lock(&self.acme.state).pending.is_empty() && !self.is_stopping() {
            let _ = self.answer_challenges(&[]);
        }
    }

    /// Serves a certificate that lies in the folder.
    fn serve_issued(&self, wanted: &Wishes, name: &str) -> Result<(), String> {
        let loaded = wanted.certificate(name).ok_or("it lies there as nothing that can be served")?;
        let _one_at_a_time = lock(&self.changing);
        let (generation, worker, place) = {
            let live = self.live();
            let list = &live.certificates.list;
            let place = list.iter().position(|one| one.ordered.as_deref() == Some(name));
            let Some(place) = place else { return Err("nothing that is served wants it".to_owned()) };
            if list.get(place).is_some_and(|one| one.pem.chain == loaded.pem.chain) {
                return Ok(());
            }
            (live.generation, live.worker.clone(), place)
        };
        if let Some(worker) = worker {
            worker.renew(generation, place, &loaded.pem)?;
        }
        let end = expiry(&loaded.identity, SystemTime::now());
        let print = loaded.report.fingerprint.clone();
        let what = format_args!("the certificate for {name} is served: it {end}, SHA-256 {print}");
        Event::new(Level::Info, what).with("certificate", name).with("sha256", print.as_str()).say();
        {
            let mut live = self.live();
            if let Some(one) = live.certificates.list.get_mut(place) {
                (one.identity, one.report, one.pem) = (loaded.identity, loaded.report, loaded.pem);
                one.is_local = false;
            }
        }
        self.rest_soon();
        Ok(())
    }

    fn note_progress(&self, wanted: &Wishes, progress: &Progress) {
        if wanted.identifiers_of(&progress.name).is_none() {
            return;
        }
        let is_to_be_said = {
            let mut state = lock(&self.acme.state);
            let before = state.progress.insert(progress.name.clone(), progress.clone());
            let failures = before.map_or(0, |before| before.failures);
            let last = state.said.get(&progress.name);
            let is_due = last.is_none_or(|last| last.elapsed() >= SAYING);
            let is_news = progress.failures > failures && is_due;
            if is_news {
                state.said.insert(progress.name.clone(), Instant::now());
            }
            is_news
        };
        if is_to_be_said && let Some(why) = &progress.failed {
            let hint = progress.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
            let what = format_args!("no certificate for {}: {why}{hint}", progress.name);
            Event::new(Level::Error, what).with("certificate", progress.name.as_str()).say();
        }
    }

    /// Returns what is known of certificates that are ordered.
    pub(super) fn ordered(&self) -> Vec<Ordered> {
        let progress = self.acme.progress();
        let wanted = lock(&self.acme.state).wanted.clone();
        let live = self.live();
        let all = wanted.iter().flat_map(|wanted| &wanted.plan().certificates).map(|one| {
            let name = one.name();
            let known = progress.iter().find(|progress| progress.name == name).cloned();
            let mut served = live.certificates.list.iter();
            Ordered {
                names: one.identifiers.iter().map(ToString::to_string).collect(),
                is_served: served.any(|one| one.ordered.as_ref() == Some(&name) && !one.is_local),
                progress: known.unwrap_or_else(|| nothing_known(name)),
            }
        });
        all.collect()
    }

    /// Has a certificate be ordered now.
    ///
    /// # Errors
    /// Nothing wants it, or the process does not answer.
    pub(super) fn renew_certificate(&self, name: &str) -> Result<(), Error> {
        self.known(name)?;
        self.acme.tell(&json!({ "do": "renew", "name": name }))
    }

    /// Has a certificate be revoked, and ordered again.
    ///
    /// # Errors
    /// Nothing wants it, or the process does not answer.
    pub(super) fn revoke_certificate(&self, name: &str, reason: u8) -> Result<(), Error> {
        self.known(name)?;
        self.acme.tell(&json!({ "do": "revoke", "name": name, "reason": reason }))
    }

    /// Has the keys of all accounts be replaced.
    ///
    /// # Errors
    /// The process does not answer.
    pub(super) fn roll_over(&self) -> Result<(), Error> {
        self.acme.tell(&json!({ "do": "roll_over" }))
    }

    fn known(&self, name: &str) -> Result<(), Error> {
        let wanted = lock(&self.acme.state).wanted.clone();
        let has = |wanted: &Arc<Wishes>| wanted.identifiers_of(name).is_some();
        if wanted.as_ref().is_some_and(has) {
            return Ok(());
        }
        let mut names = wanted.iter().flat_map(|wanted| &wanted.plan().certificates).map(|one| one.name());
        let error = Error::new(format!("no site here has an ordered certificate called {name}"));
        Err(match names.next() {
            Some(first) => error.hint(format!("see what there is, such as {first}: sitar cert list")),
            None => error.hint("a site has one with: certificate = \"acme\""),
        })
    }
}

/// What is known before the process has said something.
fn nothing_known(name: String) -> Progress {
    Progress {
        name,
        stage: Stage::Resting,
        serial: None,
        validity: None,
        authority: None,
        next: None,
        failed: None,
        hint: None,
        failures: 0,
    }
}

/// Returns a sentence for each certificate that is wanted and not there, or could not be renewed.
pub(super) fn warnings(all: &[Ordered]) -> Vec<String> {
    let one = |one: &Ordered| {
        let Progress { name, stage, failed, hint, next, failures, .. } = &one.progress;
        let state = match (one.is_served, stage, failed) {
            (true, _, None) => return None,
            // A command.
            (true, _, Some(why)) if *failures == 0 => why.clone(),
            (true, _, Some(why)) => format!("the certificate for {name} could not be renewed: {why}"),
            (false, Stage::Ordering, None) => {
                format!(
                    "{name}: the local certificate is served until an authority has given one; it is being ordered"
                )
            }
            (false, _, None) => {
                format!("{name}: the local certificate is served until an authority has given one")
            }
            (false, _, Some(why)) => {
                format!("{name}: the local certificate is served, since an authority has given none: {why}")
            }
        };
        let hint = hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        let next = next.as_ref().map_or_else(String::new, |next| format!("; tried again {}", when(*next)));
        Some(format!("{state}{hint}{next}"))
    };
    all.iter().filter_map(one).collect()
}

/// Returns a time in words: `at 2030-01-31 12:00:00 UTC`.
fn when(time: SystemTime) -> String {
    format!("at {}", crate::admin::time(super::status::seconds(time)))
}
