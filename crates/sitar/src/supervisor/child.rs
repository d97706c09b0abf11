//! A worker as its supervisor sees it: a process, and the line to it.

mod asked;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use sitar_server::Pem;

use super::bound::Bound;
use super::wanted::Wanted;
use crate::channel::{Channel, Limits, Line, Message, Question};
use crate::config::{Config, SiteContent};
use crate::error::Error;
use crate::events::{Event, JOURNAL_STREAM, Level};
use crate::handover::{self, Challenges, Opened, Opening, Running, SiteFacts, not_understood};
use crate::metrics::Numbers;
use crate::serve::{cannot_start_a_thread, orphans, seconds};
use crate::{systemd, worker};

/// A worker that takes nothing of a message for this time is given up.
const TAKING: Duration = Duration::from_secs(30);
/// The time to open or to serve a configuration.
const WORKING: Duration = Duration::from_secs(600);
/// The time in which a worker that drains has to end: that of its connections (`hand_over` of
/// sitar-server), and a little more.
const DRAINING: Duration = Duration::from_secs(24 * 60 * 60 + 60);
/// What a worker that stops has besides the time for its answers.
const GRACE: Duration = Duration::from_secs(10);
/// The time for an answer that needs no work.
pub(super) const ANSWERING: Duration = Duration::from_secs(6);
/// A worker that has not answered is not asked for its numbers again before this; then twice as
/// long each time.
const SILENCE: Duration = Duration::from_secs(5);
/// One that had less time than this, because another one took it, has not been silent.
const HEARING: Duration = Duration::from_secs(1);
/// Things that are opened for a worker at a time. It asks one after the other, but for a moment
/// when one configuration takes another's place.
const OPENING_MAX: usize = 8;

/// The program of this process. Where its file has been replaced, a worker is started from the one
/// that runs, which is of the same version.
#[derive(Debug)]
pub(super) struct Program {
    /// Where it was at the start; where another may be by now.
    pub(super) path: PathBuf,
    /// Device and number of its file then.
    file: Option<(u64, u64)>,
}

impl Program {
    const RUNNING: &str = "/proc/self/exe";

    /// Returns the program of this process, which has just started.
    pub(super) fn of_this_process() -> Program {
        // Without /proc it is what the caller has named.
        let named = || std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let path = std::env::current_exe().unwrap_or_else(|_| named());
        let file = identity(&path);
        Program { path, file }
    }

    fn path(&self) -> &Path {
        let running = Path::new(Program::RUNNING);
        let is_there = self.file.is_some() && identity(&self.path) == self.file;
        if is_there || identity(running).is_none() { &self.path } else { running }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) line: Line,
    pub(super) pid: u32,
    pub(super) since: Instant,
    /// The process itself, whatever has its number. `None` where the kernel gives none.
    process: Option<OwnedFd>,
    /// The paths of roots that it may have opened, by configuration and site.
    roots: Mutex<HashMap<u64, Arc<[Option<PathBuf>]>>>,
    /// The listeners whose sockets it has.
    listeners: Mutex<BTreeSet<u64>>,
    opening: AtomicUsize,
    /// It is to stop, or another has taken its place: its end is no accident.
    pub(super) is_leaving: AtomicBool,
    /// When it is ended, should it not have ended by then.
    pub(super) ends_by: Mutex<Option<Instant>>,
    /// Time for its answers when it has to stop.
    stop: Mutex<Duration>,
    counted: Mutex<Counted>,
}

/// What a worker has told of its numbers.
#[derive(Debug, Default)]
struct Counted {
    /// The last that is known.
    last: Numbers,
    /// How often in a row it has not answered, and when it is asked again after that.
    silences: u32,
    silent_until: Option<Instant>,
    /// The last is in the sum of those that have ended.
    is_over: bool,
}

/// The way in which a worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// As soon as its answers have.
    Stop,
    /// It accepts no more, and ends when its connections have ended by themselves.
    Drain,
}

/// What a supervisor does when a worker asks, or has ended. What may take long is called on threads
/// of their own.
pub(super) trait Oversee: Send + Sync + 'static {
    /// Starts another in the place of a worker, which says why. Returns whether that serves.
    fn replace(self: Arc<Self>, worker: &Arc<Worker>, why: &str) -> bool;

    /// Notes that another content of a site is served, on the thread of the worker's line.
    fn changed(&self, generation: u64, site: usize, facts: SiteFacts);

    /// Notes that a worker has ended.
    fn ended(self: Arc<Self>, worker: &Arc<Worker>, status: io::Result<ExitStatus>);
}

impl Worker {
    /// Starts the process.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn start<O: Oversee>(overseer: &Arc<O>, program: &Program) -> Result<Arc<Worker>, Error> {
        let failed = |error: io::Error| Error::new("cannot start a worker").cause(error);
        let (own, other) = Channel::pair().map_err(failed)?;
        own.give_up_after(TAKING).map_err(failed)?;
        let child = spawn(program, other.into_socket()).map_err(failed)?;
        let worker = Arc::new(Worker {
            line: Line::new(own),
            pid: child.id(),
            since: Instant::now(),
            process: pid(child.id()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            roots: Mutex::default(),
            listeners: Mutex::default(),
            opening: AtomicUsize::new(0),
            is_leaving: AtomicBool::new(false),
            ends_by: Mutex::default(),
            stop: Mutex::default(),
            counted: Mutex::default(),
        });
        let (watched, overseer) = (Arc::clone(&worker), Arc::clone(overseer));
        let thread = thread::Builder::new().name("sitar-line".into());
        thread.spawn(move || watched.attend(child, &overseer)).map_err(cannot_start_a_thread)?;
        Ok(worker)
    }

    /// Answers the worker until it is gone.
    fn attend<O: Oversee>(self: Arc<Self>, mut child: Child, overseer: &Arc<O>) {
        let ended = self.line.run(Limits::OF_WORKER, |question| self.attend_to(&question, overseer));
        if let Err(error) = ended {
            let what = format_args!("the worker {} is not understood, and is ended: {error}", self.pid);
            Event::new(Level::Error, what).with("worker", self.pid).say();
            let _ = child.kill();
        }
        // Without its line it can be told nothing, and could serve on for ever. One that leaves has
        // a limit.
        if !self.is_leaving.load(Ordering::SeqCst) {
            let _ = child.kill();
        }
        let status = orphans::wait(child);
        Arc::clone(overseer).ended(&self, status);
    }

    fn attend_to<O: Oversee>(self: &Arc<Self>, question: &Question, overseer: &Arc<O>) {
        let number = question.number;
        let Some(wanted) = Wanted::read(&question.message.value) else {
            let what = format_args!("the worker {} asks for nothing known, and is ended", self.pid);
            Event::new(Level::Error, what).with("worker", self.pid).say();
            return self.end();
        };
        if matches!(wanted, Wanted::Changed { .. } | Wanted::Counted(_)) {
            // It waits for nothing, so what hangs holds it up no more than others.
            return self.answer(number, &wanted, Arc::clone(overseer));
        }
        if self.opening.fetch_add(1, Ordering::Relaxed) >= OPENING_MAX {
            self.opening.fetch_sub(1, Ordering::Relaxed);
            let _ = self.line.answer(number, &rustix::io::Errno::AGAIN.raw_os_error().into(), &[]);
            return;
        }
        // A file system that does not answer holds up nothing else.
        let (worker, overseer) = (Arc::clone(self), Arc::clone(overseer));
        let attend = move || {
            worker.answer(number, &wanted, overseer);
            worker.opening.fetch_sub(1, Ordering::Relaxed);
        };
        if thread::Builder::new().name("sitar-open".into()).spawn(attend).is_err() {
            self.opening.fetch_sub(1, Ordering::Relaxed);
            let _ = self.line.answer(number, &Value::Null, &[]);
        }
    }

    fn answer<O: Oversee>(self: &Arc<Self>, number: u64, wanted: &Wanted, overseer: Arc<O>) {
        let answer = match wanted {
            Wanted::Successor { why } => overseer.replace(self, &handover::said(why)).into(),
            Wanted::Counted(numbers) => {
                self.note(numbers);
                true.into()
            }
            Wanted::Changed { generation, site, facts } => {
                let has_it = self.root(*generation, *site).is_ok();
                if has_it {
                    overseer.changed(*generation, *site, facts.clone());
                }
                has_it.into()
            }
            Wanted::Root { generation, site } => match self.reopen(*generation, *site) {
                Ok(fd) => {
                    let _ = self.line.answer(number, &Value::Null, &[fd.as_fd()]);
                    return;
                }
                Err(error) => handover::number(&error).into(),
            },
        };
        let _ = self.line.answer(number, &answer, &[]);
    }

    /// Opens what a configuration names, and nothing else.
    fn reopen(&self, generation: u64, site: usize) -> io::Result<OwnedFd> {
        sitar_site::open_root(&self.root(generation, site)?)
    }

    /// Returns the root of a site of a configuration that the worker has.
    fn root(&self, generation: u64, site: usize) -> io::Result<PathBuf> {
        let roots = lock(&self.roots);
        let path = roots.get(&generation).and_then(|roots| roots.get(site)?.clone());
        path.ok_or_else(not_understood)
    }

    /// Has the worker open a configuration. What it may have opened again is noted.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn open(&self, config: &Config, opening: &Opening) -> Result<Opened, Error> {
        let roots = config.sites.iter().map(|site| match &site.content {
            SiteContent::Root { path, .. } => Some(path.clone()),
            SiteContent::Redirect { .. } => None,
        });
        lock(&self.roots).insert(opening.generation, roots.collect());
        *lock(&self.stop) = seconds(config.settings.stop_seconds);
        let (value, blobs, descriptors) = opening.parts();
        let answer = self.line.ask(&value, &blobs, &descriptors, WORKING).map_err(|error| gone(&error))?;
        Opened::from_json(&answer.value, &opening.texts).ok_or_else(|| gone(&not_understood()))
    }

    /// Has the worker serve what it has opened.
    ///
    /// # Errors
    /// It cannot, or is gone.
    pub(super) fn serve(&self, generation: u64, bound: &[Bound]) -> Result<Running, Error> {
        let known = lock(&self.listeners).clone();
        let sockets: Vec<Arc<Vec<OwnedFd>>> = bound.iter().map(Bound::sockets).collect();
        let listeners = bound.iter().zip(&sockets).map(|(bound, sockets)| {
            let has =
                known.contains(&bound.name.number) || bound.name.of.is_some_and(|of| known.contains(&of));
            (bound.name.clone(), (!has).then_some(&sockets[..]))
        });
        let (value, blobs, descriptors) = handover::serve(generation, listeners);
        let answer = self.line.ask(&value, &blobs, &descriptors, WORKING).map_err(|error| gone(&error))?;
        let running = handover::read_served(&answer.value).ok_or_else(|| gone(&not_understood()))??;
        *lock(&self.listeners) = bound.iter().map(|bound| bound.name.number).collect();
        lock(&self.roots).retain(|other, _| *other >= generation);
        Ok(running)
    }

    /// Has the worker forget what it has opened.
    pub(super) fn abort(&self, generation: u64) {
        let _ = self.ask(&json!({ "do": "abort", "generation": generation }));
        lock(&self.roots).remove(&generation);
    }

    /// Puts a certificate into service in the place of one.
    ///
    /// # Errors
    /// It cannot be.
    pub(super) fn renew(&self, generation: u64, place: usize, pem: &Pem) -> Result<(), String> {
        let value = json!({ "do": "certificate", "generation": generation, "place": place });
        let answer = self.line.ask(&value, &[&pem.chain, &pem.key], &[], TAKING);
        let answer = answer.map_err(|error| gone(&error).sentence())?.value;
        match answer.get("refused").and_then(Value::as_str) {
            Some(why) => Err(why.to_owned()),
            None => Ok(()),
        }
    }

    /// Has the worker answer these challenges, and none of those before. Returns when every shard
    /// does.
    ///
    /// # Errors
    /// It cannot, and goes on with those before.
    pub(super) fn challenge(&self, pending: &[sitar_acme::Pending]) -> Result<(), String> {
        Challenges::check(pending)?;
        let challenges = Challenges(pending.to_vec());
        let (value, blobs, descriptors) = challenges.parts();
        self.tell(&value, &blobs, &descriptors)
    }

    /// Has the worker send the encodings in a file for a site.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn attach(&self, generation: u64, site: usize, file: &OwnedFd) -> Result<(), String> {
        let value = json!({ "do": "encodings", "generation": generation, "site": site });
        let answer = self.line.ask(&value, &[], &[file.as_fd()], TAKING);
        let answer = answer.map_err(|error| gone(&error).sentence())?.value;
        match answer.get("refused").and_then(Value::as_str) {
            Some(why) => Err(handover::said(why)),
            None => Ok(()),
        }
    }

    /// Has the worker do something, which it says when it is done.
    ///
    /// # Errors
    /// The reason that it is not.
    pub(super) fn tell(
        &self,
        value: &Value,
        blobs: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), String> {
        let answer = self.line.ask(value, blobs, descriptors, TAKING);
        let answer = answer.map_err(|error| gone(&error).sentence())?.value;
        match answer.get("refused").and_then(Value::as_str) {
            Some(why) => Err(handover::said(why)),
            None => Ok(()),
        }
    }

    /// Returns what the worker says of itself; `None`: it does not answer.
    pub(super) fn status(&self) -> Option<Value> {
        self.ask(&json!({ "do": "status" })).ok().map(|answer| answer.value)
    }

    /// Returns whether every shard of the worker turns.
    pub(super) fn turns(&self) -> bool {
        self.ask(&json!({ "do": "turn" })).is_ok_and(|answer| answer.value.as_bool() == Some(true))
    }

    /// Returns its numbers as far as they are known.
    pub(super) fn numbers(&self) -> Numbers {
        lock(&self.counted).last.clone()
    }

    /// Returns the same of a worker that has ended. From here on they stay as they are.
    pub(super) fn last_numbers(&self) -> Numbers {
        let mut counted = lock(&self.counted);
        counted.is_over = true;
        counted.last.clone()
    }

    /// Notes that the worker is about to leave: its end is no accident, and has a limit.
    pub(super) fn is_to_leave(&self, way: Leave) {
        self.is_leaving.store(true, Ordering::SeqCst);
        let time = match way {
            Leave::Stop => *lock(&self.stop) + GRACE,
            Leave::Drain => DRAINING,
        };
        let end = Instant::now() + time;
        let mut ends_by = lock(&self.ends_by);
        *ends_by = Some(ends_by.map_or(end, |before| before.min(end)));
    }

    /// Tells the worker to leave. Told once more to stop, it ends at once.
    pub(super) fn leave(&self, way: Leave) {
        self.is_to_leave(way);
        let what = match way {
            Leave::Stop => "stop",
            Leave::Drain => "drain",
        };
        if self.ask(&json!({ "do": what })).is_err() {
            self.kill();
        }
    }

    /// Ends the process by order.
    pub(super) fn kill(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
        self.end();
    }

    /// Ends the process. If it serves, another one takes its place.
    fn end(&self) {
        // It may have ended already.
        let _ = match (&self.process, pid(self.pid)) {
            (Some(process), _) => pidfd_send_signal(process, Signal::KILL),
            (None, Some(pid)) => kill_process(pid, Signal::KILL),
            (None, None) => Ok(()),
        };
    }

    fn ask(&self, value: &Value) -> io::Result<Message> {
        self.line.ask(value, &[], &[], ANSWERING)
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Whether a worker reads the variable, or what it is made of: libc and its loader, Rust's, and the
/// library of TLS. Others may be secrets.
fn is_for_workers(name: &OsStr) -> bool {
    const NAMES: [&str; 6] =
        ["PORT", "NO_COLOR", JOURNAL_STREAM, "GLIBC_TUNABLES", "OPENSSL_ia32cap", "LLVM_PROFILE_FILE"];
    let begins = |beginning: &str| name.as_bytes().starts_with(beginning.as_bytes());
    NAMES.iter().any(|known| name == *known) || ["SITAR_", "RUST_", "LD_", "MALLOC_"].into_iter().any(begins)
}

fn spawn(program: &Program, socket: OwnedFd) -> io::Result<Child> {
    start(program, socket, worker::NAME, worker::WORKER_OF)
}

/// Starts the same program with the same arguments under another name, and a variable that says
/// what it is.
pub(super) fn start(program: &Program, socket: OwnedFd, name: &str, variable: &str) -> io::Result<Child> {
    let mut command = Command::new(program.path());
    command.arg0(name).args(std::env::args_os().skip(1));
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| is_for_workers(name)));
    systemd::hide_from(&mut command);
    command.env_remove(super::UPGRADE_OF).env(variable, std::process::id().to_string());
    orphans::start(command.stdin(Stdio::from(socket)).stdout(Stdio::null()))
}

pub(super) fn gone(error: &io::Error) -> Error {
    let error = match error.kind() {
        io::ErrorKind::BrokenPipe => "it has ended".to_owned(),
        _ => error.to_string(),
    };
    Error::new("the worker does not answer").cause(error)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<(u64, usize)>>);

    impl Oversee for Notes {
        fn replace(self: Arc<Self>, _: &Arc<Worker>, _: &str) -> bool {
            false
        }

        fn changed(&self, generation: u64, site: usize, _: SiteFacts) {
            lock(&self.0).push((generation, site));
        }

        fn ended(self: Arc<Self>, _: &Arc<Worker>, _: io::Result<ExitStatus>) {}
    }

    /// A worker without a process, and the other end of its line.
    fn worker() -> (Arc<Worker>, Channel) {
        let (own, other) = Channel::pair().unwrap();
        let worker = Worker {
            line: Line::new(own),
            pid: 0,
            since: Instant::now(),
            process: None,
            roots: Mutex::default(),
            listeners: Mutex::default(),
            opening: AtomicUsize::new(0),
            is_leaving: AtomicBool::new(false),
            ends_by: Mutex::default(),
            stop: Mutex::default(),
            counted: Mutex::default(),
        };
        (Arc::new(worker), other)
    }

    fn counted(accepted: u64) -> Value {
        let mut value = Numbers::default().to_json();
        let (counts, ends) = (sitar_server::Counts::default(), sitar_server::Ends::default());
        let zeros = |names: Vec<&'static str>| names.into_iter().map(|name| (name.to_owned(), 0.into()));
        value["ends"] = Value::Object(zeros(ends.named().map(|(name, _)| name).to_vec()).collect());
        value["counts"] = Value::Object(zeros(counts.named().map(|(name, _)| name).to_vec()).collect());
        value["counts"]["accepted"] = accepted.into();
        value
    }

    #[test]
    fn the_last_numbers_of_a_worker_are_kept() {
        let (worker, other) = worker();
        for (told, accepted) in [(3, 3), (7, 7), (5, 7)] {
            let message = Message {
                value: json!({ "counted": counted(told) }),
                blobs: Vec::new(),
                descriptors: Vec::new(),
            };
            worker.attend_to(&Question { number: told, message }, &Arc::new(Notes::default()));
            let answer = other.receive(Limits::OF_WORKER).unwrap().unwrap().value;
            assert_eq!(answer, json!({ "answer": told, "value": true }));
            assert_eq!(worker.numbers(), Numbers::from_json(&counted(accepted)).unwrap());
        }
        assert!(Wanted::read(&json!({ "counted": { "accepted": 7 } })).is_none());
    }

    #[test]
    fn the_numbers_of_a_worker_that_has_ended_stay_as_they_were_kept() {
        let (worker, _other) = worker();
        let numbers = |accepted| Numbers::from_json(&counted(accepted)).unwrap();
        worker.note(&numbers(3));
        assert_eq!(worker.last_numbers(), numbers(3));
        // An answer that another thread has waited for.
        worker.note(&numbers(7));
        assert_eq!(worker.numbers(), numbers(3));
    }

    #[test]
    fn a_worker_that_does_not_answer_is_asked_ever_less_often() {
        let (worker, other) = worker();
        assert_eq!(worker.ask_numbers(Duration::ZERO), None);
        // One that has no time to answer has not been silent.
        assert_eq!(worker.ask_numbers(Duration::from_millis(1)), None);
        assert_eq!(lock(&worker.counted).silences, 0);
        other.receive(Limits::OF_SUPERVISOR).unwrap().unwrap();
        for silences in 1..=3 {
            let before = Instant::now();
            assert_eq!(worker.ask_numbers(HEARING), None);
            // It was asked once, and is not asked again now.
            assert_eq!(worker.ask_numbers(Duration::from_secs(600)), None);
            let asked = other.receive(Limits::OF_SUPERVISOR).unwrap().unwrap().value;
            assert_eq!(asked, json!({ "ask": silences + 1, "value": { "do": "numbers" } }));
            let mut counted = lock(&worker.counted);
            let (until, pause) = (counted.silent_until.unwrap(), Duration::from_secs(5 << (silences - 1)));
            assert!((before + pause..=Instant::now() + pause).contains(&until), "after {silences}");
            counted.silent_until = Some(Instant::now());
        }
        worker.note(&Numbers::default());
        assert_eq!(lock(&worker.counted).silences, 0);
    }

    #[test]
    fn a_worker_that_is_silent_is_not_asked_for_a_trace_either() {
        let (worker, other) = worker();
        let (client, _end) = std::os::unix::net::UnixStream::pair().unwrap();
        lock(&worker.counted).silent_until = Some(Instant::now() + Duration::from_secs(600));
        let answer = worker.ask_trace(&json!({}), client.as_fd());
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Nothing was sent: what comes first is the next question.
        worker.note(&Numbers::default());
        thread::scope(|scope| {
            let asking = scope.spawn(|| worker.ask_trace(&json!({ "sample": 2 }), client.as_fd()));
            let asked = other.receive(Limits::OF_SUPERVISOR).unwrap().unwrap().value;
            assert_eq!(asked["value"], json!({ "do": "trace", "trace": { "sample": 2 } }));
            drop(other);
            assert!(asking.join().unwrap().is_err());
        });
    }

    #[test]
    fn those_who_ask_at_a_time_hear_one_silence() {
        let (worker, other) = worker();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(worker.ask_numbers(Duration::from_secs(2)), None));
            }
            (0..4).for_each(|_| drop(other.receive(Limits::OF_SUPERVISOR).unwrap().unwrap()));
        });
        assert_eq!(lock(&worker.counted).silences, 1);
    }

    #[test]
    fn challenges_are_handed_over_and_a_refusal_comes_back() {
        let (worker, other) = worker();
        let pending = |token: &str| {
            let identifier = sitar_acme::Identifier::parse("a.example").unwrap();
            let (token, authorization) = (token.to_owned(), "text".to_owned());
            [sitar_acme::Pending::Http01 { identifier, token, authorization }]
        };
        let listening = Arc::clone(&worker);
        thread::spawn(move || listening.line.run(Limits::OF_WORKER, |_| ()));
        for (number, answer, expected) in [
            (1, json!({ "ok": true }), Ok(())),
            (2, json!({ "refused": "a\u{7}b" }), Err("a\\u{7}b".to_owned())),
        ] {
            thread::scope(|scope| {
                let told = scope.spawn(|| worker.challenge(&pending("token")));
                let asked = other.receive(Limits::OF_SUPERVISOR).unwrap().unwrap().value;
                let one = json!({ "identifier": "a.example", "token": "token", "authorization": "text" });
                let value = json!({ "do": "challenges", "challenges": [one] });
                assert_eq!(asked, json!({ "ask": number, "value": value }));
                other.send(&json!({ "answer": number, "value": answer }), &[], &[]).unwrap();
                assert_eq!(told.join().unwrap(), expected);
            });
        }
        // It is not asked for what is out of bounds.
        let error = worker.challenge(&pending(&"x".repeat(257))).unwrap_err();
        assert_eq!(error, "the token of a challenge is larger than 256 bytes");
    }

    #[test]
    fn a_worker_that_asks_for_nothing_known_does_not_leave_by_order() {
        let (worker, _other) = worker();
        for value in [json!({ "what": 1 }), json!({ "counted": { "accepted": 7 } })] {
            let message = Message { value, blobs: Vec::new(), descriptors: Vec::new() };
            worker.attend_to(&Question { number: 1, message }, &Arc::new(Notes::default()));
        }
        // Or no other one would be started in its place.
        assert!(!worker.is_leaving.load(Ordering::SeqCst));
    }

    #[test]
    fn changes_of_its_own_sites_are_noted_while_all_that_it_has_opened_hangs() {
        let (own, other) = Channel::pair().unwrap();
        let worker = Arc::new(Worker {
            line: Line::new(own),
            pid: 0,
            since: Instant::now(),
            process: None,
            roots: Mutex::new(HashMap::from([(2, [Some("/srv".into()), None].into())])),
            listeners: Mutex::default(),
            opening: AtomicUsize::new(OPENING_MAX),
            is_leaving: AtomicBool::new(false),
            ends_by: Mutex::default(),
            stop: Mutex::default(),
            counted: Mutex::default(),
        });
        let notes = Arc::new(Notes::default());
        // The second site is a redirect, and a third is not there, nor is another configuration.
        for (generation, site, is_noted) in [(2, 0, true), (2, 1, false), (2, 2, false), (u64::MAX, 0, false)]
        {
            let value = json!({
                "changed": site, "generation": generation, "facts": SiteFacts::default().to_json(),
            });
            let message = Message { value, blobs: Vec::new(), descriptors: Vec::new() };
            worker.attend_to(&Question { number: 7, message }, &notes);
            let answer = other.receive(Limits::OF_WORKER).unwrap().unwrap().value;
            assert_eq!(answer, json!({ "answer": 7, "value": is_noted }), "{generation} {site}");
        }
        assert_eq!(*lock(&notes.0), [(2, 0)]);
    }
}
