//! The outside during an attempt: commands are kept until it has ended.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::outside::{Command, DnsChange, Level, Outside, Pending, Progress};

/// The commands that are kept; further ones are lost.
const KEPT_MAX: usize = 256;

/// An outside whose waits last until their end, or the process's.
pub(super) struct Patient<'a> {
    pub(super) outside: &'a mut dyn Outside,
    pub(super) kept: &'a mut VecDeque<Command>,
}

impl Outside for Patient<'_> {
    fn now(&self) -> SystemTime {
        self.outside.now()
    }

    fn wait(&mut self, until: Option<SystemTime>) -> Option<Command> {
        loop {
            match self.outside.wait(until)? {
                Command::End => {
                    self.kept.push_front(Command::End);
                    return Some(Command::End);
                }
                command if self.kept.len() < KEPT_MAX => self.kept.push_back(command),
                _ => self.outside.say(Level::Warning, "too many commands came during an order"),
            }
        }
    }

    fn answer(&mut self, pending: &[Pending]) -> Result<(), String> {
        self.outside.answer(pending)
    }

    fn change_dns(&mut self, change: DnsChange, name: &str, value: &str) -> Result<(), String> {
        self.outside.change_dns(change, name, value)
    }

    fn issued(&mut self, name: &str) -> Result<(), String> {
        self.outside.issued(name)
    }

    fn progress(&mut self, progress: &Progress) {
        self.outside.progress(progress);
    }

    fn say(&mut self, level: Level, text: &str) {
        self.outside.say(level, text);
    }

    fn is_ending(&mut self) -> bool {
        self.outside.is_ending() || self.kept.front() == Some(&Command::End)
    }
}
