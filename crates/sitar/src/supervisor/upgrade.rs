//! Another program takes this one's place: the one that is installed now.
//!
//! The new process is started as this one was. Standard input is a channel to it, and a variable
//! says so. It gets the sockets, reads the configuration, starts its worker, and says that it
//! serves. Only then this one says go, and lets its workers drain. A program that ends, does not
//! answer, or refuses its configuration changes nothing: this one serves on.

use std::io::{self, ErrorKind};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use super::bound::Bound;
use super::child::{Leave, lock};
use super::{Supervisor, UPGRADE_OF};
use crate::admin::Upgraded;
use crate::channel::{Channel, Limits, Message};
use crate::error::Error;
use crate::events::{self, Event, Level};
use crate::handover::not_understood;
use crate::listen::Endpoint;
use crate::systemd::{self, Passed};

/// The time for the last word of a program that serves.
const GOING: Duration = Duration::from_secs(30);
/// How often the one who waits looks whether this program is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What a process gets from the one whose place it takes.
pub(super) struct Inherited {
    channel: Channel,
    /// The number of shards, for which there are sockets.
    pub(super) shards: NonZeroU16,
    /// Those that this process does not listen on lose their files when it takes over.
    pub(super) bound: Vec<Bound>,
    pub(super) passed: Passed,
    /// The admin socket, if there is one.
    pub(super) admin: Option<OwnedFd>,
    /// That of the numbers.
    pub(super) metrics: Option<OwnedFd>,
}

/// Whether a process takes over the sockets on which the one before is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    pub(super) admin: bool,
    pub(super) metrics: bool,
}

impl Inherited {
    /// Takes over what the process before passes. `None`: this one takes no other's place.
    ///
    /// # Errors
    /// What it says is not understood.
    pub(super) fn from_environment() -> Result<Option<Inherited>, Error> {
        let Some(of) = std::env::var_os(UPGRADE_OF) else { return Ok(None) };
        let channel = crate::worker::take_standard_input().ok();
        // The variable of another process, which has passed its environment on, means nothing.
        let is_of = |channel: &Channel| channel.maker().is_some_and(|pid| of == *pid.to_string());
        let Some(channel) = channel.filter(is_of) else { return Ok(None) };
        let message = channel.receive(Limits::OF_SUPERVISOR).map_err(broken)?;
        let message = message.ok_or_else(|| broken(ErrorKind::UnexpectedEof.into()))?;
        Inherited::read(channel, message).map(Some).ok_or_else(|| broken(not_understood()))
    }

    fn read(channel: Channel, message: Message) -> Option<Inherited> {
        let Message { value, descriptors, .. } = message;
        let mut descriptors = descriptors.into_iter();
        let shards = value.get("shards")?.as_u64().and_then(|shards| u16::try_from(shards).ok())?;
        let mut bound = Vec::new();
        for (number, one) in (1..).zip(value.get("bound")?.as_array()?) {
            let address = |name: &str| one.get(name)?.as_str()?.parse::<Endpoint>().ok();
            let sockets = descriptors.by_ref().take(usize::from(shards)).collect();
            let has_file = one.get("file").and_then(Value::as_bool).unwrap_or_default();
            let (wanted, address) = (address("wanted")?, address("address")?);
            bound.push(Bound::inherited(wanted, address, sockets, has_file, number));
        }
        let mut passed = Vec::new();
        for name in value.get("passed")?.as_array()? {
            passed.push((name.as_str()?.to_owned(), descriptors.next()?));
        }
        let admin = match value.get("admin")?.as_bool()? {
            true => Some(descriptors.next()?),
            false => None,
        };
        // An older program has none.
        let metrics = match value.get("metrics").and_then(Value::as_bool) {
            Some(true) => Some(descriptors.next()?),
            _ => None,
        };
        let (shards, passed) = (NonZeroU16::new(shards)?, Passed::of_another(passed));
        Some(Inherited { channel, shards, bound, passed, admin, metrics })
    }

    /// Says that this process cannot serve.
    pub(super) fn refuse(&self, why: &Error) {
        let _ = self.channel.send(&json!({ "refused": why.to_json() }), &[], &[]);
    }

    /// Says that this process serves and what it takes over, and waits for the word of the one
    /// before.
    ///
    /// # Errors
    /// That serves on.
    pub(super) fn wait_for_go(&self, takes: Takes) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        let word = json!({ "version": version, "admin": takes.admin, "metrics": takes.metrics });
        self.channel.send(&word, &[], &[]).map_err(broken)?;
        match self.channel.receive(Limits::OF_SUPERVISOR).map_err(broken)? {
            Some(message) if message.value.get("go").is_some() => Ok(()),
            _ => Err(Error::new("the program before this one serves on")),
        }
    }

    /// Says that this process does everything, and waits until the service manager knows it.
    pub(super) fn gone(&self) {
        let _ = self.channel.send(&json!({ "gone": true }), &[], &[]);
        // Whatever comes, or nothing in time: the one before has left by then.
        let _ = self.channel.patience(GOING);
        let _ = self.channel.receive(Limits::OF_SUPERVISOR);
    }
}

fn broken(error: io::Error) -> Error {
    Error::new("the program before this one is not understood").cause(error)
}

impl Supervisor {
    /// Lets the program that is installed now take over, on a thread of its own.
    pub(super) fn start_upgrade(self: &Arc<Self>) {
        let supervisor = Arc::clone(self);
        let upgrade = move || {
            // Both outcomes are said.
            let _ = supervisor.upgrade(Duration::from_secs(u64::from(crate::admin::UPGRADE_WAIT)));
        };
        if let Err(error) = thread::Builder::new().name("sitar-upgrade".into()).spawn(upgrade) {
            events::error(format_args!("not upgraded: {error}"));
        }
    }

    /// Lets the program that is installed now take over. It may take so long until it serves.
    ///
    /// # Errors
    /// It does not, and this one serves on.
    pub(super) fn upgrade(self: &Arc<Self>, limit: Duration) -> Result<Upgraded, Error> {
        let done = self.change_now(limit).and_then(|_one_at_a_time| self.try_upgrade(limit));
        match &done {
            Ok(Upgraded { version, pid }) => {
                let what = format_args!("sitar {version} serves now, process {pid}; this one ends soon");
                Event::new(Level::Info, what).with("version", version.as_str()).with("pid", *pid).say();
            }
            Err(error) => {
                Event::new(Level::Error, "not upgraded, this program serves on").because(error).say();
            }
        }
        done
    }

    /// Waits for the end of other changes for that long.
    fn change_now(&self, limit: Duration) -> Result<MutexGuard<'_, ()>, Error> {
        let until = Instant::now() + limit;
        loop {
            match self.changing.try_lock() {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if self.is_stopping() => return Err(stopping()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(Error::new("another change has not ended yet, such as a reload"));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK),
            }
        }
    }

    fn try_upgrade(self: &Arc<Self>, limit: Duration) -> Result<Upgraded, Error> {
        if self.is_stopping() {
            return Err(stopping());
        }
        if std::process::id() == 1 {
            return Err(Error::new(
                "the first process of a container cannot hand over: its end ends the container",
            )
            .hint("start a new container, and stop this one: it drains"));
        }
        let failed = |error: io::Error| {
            Error::new(format!("cannot start {}", self.program.path.display())).cause(error)
        };
        let (own, other) = Channel::pair().map_err(failed)?;
        let mut command = Command::new(&self.program.path);
        let mut arguments = std::env::args_os();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).env(UPGRADE_OF, std::process::id().to_string());
        systemd::orphan(&mut command);
        let between = command.stdin(Stdio::from(other.into_socket())).spawn().map_err(failed)?;
        // It holds the other end, too, and the end of the new program would not be noticed.
        drop(command);
        let mut successor =
            Successor { of: Arc::clone(self), between, process: None, channel: own, is_done: false };
        let until = Instant::now() + limit;
        let pid = successor.begin(until)?;
        self.hand_over(&successor.channel)?;
        let (version, takes) = successor.version(until)?;
        successor.go()?;
        successor.is_done = true;
        self.manager.main_pid(pid);
        self.leave(takes);
        // It waits for that, and needs nothing of it.
        let _ = successor.channel.send(&json!({ "left": true }), &[], &[]);
        Ok(Upgraded { version, pid })
    }

    /// Sends everything that another program needs to serve.
    fn hand_over(&self, channel: &Channel) -> Result<(), Error> {
        let failed = |error: io::Error| Error::new("the new program takes nothing").cause(error);
        let live = self.live().clone();
        let bound = live.bound.iter().map(
            |bound| json!({ "wanted": bound.wanted().to_string(), "address": bound.address.to_string(), "file": bound.has_file() }),
        );
        let passed = self.passed.iter().map(|(name, _)| name);
        let metrics = self.metrics.socket();
        let value = json!({
            "shards": self.shards.get(),
            "bound": bound.collect::<Vec<Value>>(),
            "passed": passed.collect::<Vec<_>>(),
            "admin": self.admin_socket.get().is_some(),
            "metrics": metrics.is_some(),
        });
        let sockets: Vec<Arc<Vec<OwnedFd>>> = live.bound.iter().map(Bound::sockets).collect();
        let sockets = sockets.iter().flat_map(|each| each.iter());
        let all = sockets.chain(self.passed.iter().map(|(_, fd)| fd)).chain(self.admin_socket.get());
        let all = all.chain(metrics.as_deref());
        let descriptors: Vec<BorrowedFd<'_>> = all.map(|fd| fd.as_fd()).collect();
        channel.give_up_after(GOING).map_err(failed)?;
        channel.send(&value, &[], &descriptors).map_err(failed)
    }

    /// Lets every worker drain: another program serves, and has taken these sockets over.
    fn leave(&self, takes: Takes) {
        if let Some(leaver) = lock(&self.leaver).take().filter(|_| takes.admin) {
            leaver.leave();
        }
        self.metrics.leave(takes.metrics);
        self.stops.fetch_add(1, Ordering::SeqCst);
        // The successor packs, in the same cache, and orders, in the same folder.
        self.packing.end();
        self.acme.end();
        {
            let mut live = self.live();
            live.watcher.stop();
            live.bound.iter().for_each(Bound::leave);
            // Nothing would accept what waits there.
            live.close();
        }
        self.have_all(Leave::Drain);
    }
}

/// The program that takes over. It is ended where it does not.
struct Successor {
    of: Arc<Supervisor>,
    /// The process that starts it, and ends.
    between: Child,
    /// Its own process, once it is known.
    process: Option<OwnedFd>,
    channel: Channel,
    is_done: bool,
}

impl Successor {
    /// Waits until its process has been started, and returns the number.
    fn begin(&mut self, until: Instant) -> Result<u32, Error> {
        let value = self.word(until)?;
        let started = value.get("started").and_then(Value::as_u64);
        let pid = started.and_then(|pid| u32::try_from(pid).ok()).ok_or_else(not_ours)?;
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // One that has ended by now has no descriptor, and needs none.
        self.process = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let _ = self.between.wait();
        Ok(pid)
    }

    /// Waits until it serves. Returns its version, and what it takes over.
    fn version(&mut self, until: Instant) -> Result<(String, Takes), Error> {
        let value = self.word(until)?;
        let version = value.get("version").and_then(Value::as_str).ok_or_else(not_ours)?;
        let takes = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
        Ok((version.to_owned(), Takes { admin: takes("admin"), metrics: takes("metrics") }))
    }

    /// Lets it go ahead.
    fn go(&mut self) -> Result<(), Error> {
        let failed = |error: io::Error| Error::new("the new program takes nothing").cause(error);
        self.channel.send(&json!({ "go": true }), &[], &[]).map_err(failed)?;
        let value = self.word(Instant::now() + GOING)?;
        if value.get("gone").is_some() { Ok(()) } else { Err(not_ours()) }
    }

    /// Waits for its next word, which is no refusal, while this program is not told to stop.
    fn word(&mut self, until: Instant) -> Result<Value, Error> {
        let failed = |error: io::Error| Error::new("the new program does not answer").cause(error);
        loop {
            let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
            let pause = Timespec::try_from(LOOK).ok();
            match rustix::event::poll(&mut fds, pause.as_ref()) {
                Ok(0) | Err(Errno::INTR) if self.of.is_stopping() => return Err(stopping()),
                Ok(0) | Err(Errno::INTR) if Instant::now() >= until => {
                    return Err(Error::new("the new program does not serve in time, and was ended")
                        .hint("give it more: sitar upgrade --wait SECONDS"));
                }
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        self.channel.patience(GOING).map_err(failed)?;
        let message = self.channel.receive(Limits::OF_WORKER).map_err(failed)?;
        let value = message.map(|message| message.value).ok_or_else(|| {
            Error::new("the new program has ended before it served")
                .hint("what it said stands where this server's messages go")
        })?;
        match value.get("refused").and_then(Error::from_json) {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }
}

fn stopping() -> Error {
    Error::new("this program is stopping")
}

fn not_ours() -> Error {
    Error::new("the new program is not understood")
        .cause("it is no sitar, or of a version that cannot take over")
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        // It has ended, or is another program.
        let _ = self.between.kill();
        let _ = self.between.wait();
    }
}
