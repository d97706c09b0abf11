//! The world of the process: its supervisor.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sitar_acme::{
    Authority, Command, DnsChange, Https, Level, Outside, Pending, Plan, Progress, Store, Transport,
};

use super::DNS_COMMAND_TIME;
use super::told::Told;
use crate::channel::{Limits, Line};
use crate::error::Error;
use crate::events;
use crate::settings::duration;

/// What authorities see as the client.
const AGENT: &str = concat!("sitar/", env!("CARGO_PKG_VERSION"));
/// The time for every shard to answer a challenge.
const ANSWERING: Duration = Duration::from_secs(60);
/// The time for the operator's command, for the longest `dns_wait` behind it, and a little more.
const CHANGING: Duration =
    DNS_COMMAND_TIME.saturating_add(duration::MAX).saturating_add(Duration::from_secs(90));
/// The time for what needs no work.
const TELLING: Duration = Duration::from_secs(30);
/// The commands that wait for their turn.
const COMMANDS_MAX: usize = 64;
/// The longest wait at a time: the clock may be set meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The supervisor, asked and obeyed.
pub(super) struct World {
    line: Arc<Line>,
    commands: Receiver<Command>,
    is_ending: Arc<AtomicBool>,
}

/// What comes from the supervisor, for the thread that reads it.
pub(super) struct Commands {
    line: Arc<Line>,
    commands: SyncSender<Command>,
    is_ending: Arc<AtomicBool>,
}

impl World {
    pub(super) fn new(line: Arc<Line>) -> (World, Commands) {
        let (sender, commands) = sync_channel(COMMANDS_MAX);
        let is_ending = Arc::new(AtomicBool::new(false));
        let reader =
            Commands { line: Arc::clone(&line), commands: sender, is_ending: Arc::clone(&is_ending) };
        (World { line, commands, is_ending }, reader)
    }

    /// Orders what is wanted until the supervisor is gone.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(super) fn order(mut self, plan: Plan, folder: BorrowedFd<'_>) -> Result<(), Error> {
        let unusable =
            |error: sitar_acme::StoreError| Error::new(format!("certificates cannot be ordered: {error}"));
        let store = Store::open(folder).map_err(unusable)?;
        let mut connect = |authority: &Authority| {
            let way = Https::new(authority.roots.as_deref(), AGENT)?;
            Ok(Box::new(way) as Box<dyn Transport>)
        };
        sitar_acme::run(store, plan, &mut connect, &mut self).map_err(unusable)
    }

    fn ask(&self, told: &Told, limit: Duration) -> Result<Value, String> {
        let answer = self.line.ask(&told.to_json(), &[], &[], limit);
        answer.map(|answer| answer.value).map_err(|error| format!("the supervisor does not answer: {error}"))
    }

    /// Asks for something that is done, or not: then a sentence is the answer.
    fn have(&self, told: &Told, limit: Duration) -> Result<(), String> {
        match self.ask(told, limit)? {
            Value::String(why) => Err(why),
            _ => Ok(()),
        }
    }
}

impl Outside for World {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn wait(&mut self, until: Option<SystemTime>) -> Option<Command> {
        loop {
            let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
            match self.commands.recv_timeout(left.unwrap_or(WAIT_MAX).min(WAIT_MAX)) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Disconnected) => return Some(Command::End),
                Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= WAIT_MAX) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn answer(&mut self, pending: &[Pending]) -> Result<(), String> {
        self.have(&Told::Answer(pending.to_vec()), ANSWERING)
    }

    fn change_dns(&mut self, change: DnsChange, name: &str, value: &str) -> Result<(), String> {
        let told = Told::ChangeDns { change, name: name.to_owned(), value: value.to_owned() };
        self.have(&told, CHANGING)
    }

    fn issued(&mut self, name: &str) -> Result<(), String> {
        self.have(&Told::Issued(name.to_owned()), ANSWERING)
    }

    fn progress(&mut self, progress: &Progress) {
        let _ = self.ask(&Told::Progress(Box::new(progress.clone())), TELLING);
    }

    fn say(&mut self, level: Level, text: &str) {
        match level {
            Level::Note => events::info(format_args!("{text}")),
            Level::Warning => events::warning(format_args!("{text}")),
        }
    }

    fn is_ending(&mut self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }
}

impl Commands {
    /// Passes on what the supervisor says, until it is gone.
    pub(super) fn obey(self) {
        let ended = self.line.run(Limits::OF_SUPERVISOR, |question| {
            let value = &question.message.value;
            let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let command = match &*text("do") {
                "renew" => Some(Command::Renew(text("name"))),
                "revoke" => {
                    let reason = value.get("reason").and_then(Value::as_u64).unwrap_or_default();
                    let reason = u8::try_from(reason).unwrap_or_default();
                    Some(Command::Revoke { name: text("name"), reason })
                }
                "roll_over" => Some(Command::RollOver),
                "end" => Some(Command::End),
                _ => None,
            };
            let is_end = command == Some(Command::End);
            self.is_ending.fetch_or(is_end, Ordering::Relaxed);
            let is_taken = command.is_some_and(|command| self.commands.try_send(command).is_ok());
            let _ = self.line.answer(question.number, &json!(is_taken), &[]);
        });
        if let Err(error) = ended {
            events::error(format_args!("the supervisor is not understood: {error}"));
        }
        // What is known is on disk, and the next process goes on from there.
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_waited_for_as_long_as_the_configuration_allows() {
        let command = Duration::from_secs(240);
        let wait = duration::parse_wait("3600s").unwrap();
        assert!(CHANGING > command + wait);
        assert_eq!(DNS_COMMAND_TIME, command);
    }
}
