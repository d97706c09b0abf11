//! The loop that keeps certificates valid: one thing at a time, whatever is due first.

mod account;
mod attempt;
mod held;
mod patient;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http::Transport;
use crate::outside::{Command, Level, Outside};
use crate::plan::{Authority, Plan};
use crate::problem::Failure;
use crate::schedule::{self, DAY, HOUR, Limits, MINUTE};
use crate::store::{Store, StoreError};
use held::Held;

/// Opens a way to an authority.
pub type Connect<'a> = dyn FnMut(&Authority) -> Result<Box<dyn Transport>, Failure> + 'a;

/// The looks at a clock that was set back, a minute apart, before it is believed. At the start of a
/// machine it takes a while until the network has told the time.
const DOUBTS_MAX: u32 = 60;

/// Keeps the certificates of a plan valid until a command ends it.
///
/// # Errors
/// The folder cannot be listed. What fails otherwise is tried again, and told to the outside.
pub fn run(
    store: Store,
    plan: Plan,
    connect: &mut Connect<'_>,
    outside: &mut dyn Outside,
) -> Result<(), StoreError> {
    let mut manager = Manager {
        store,
        plan: Plan::default(),
        held: Vec::new(),
        limits: Limits::default(),
        resting: BTreeMap::new(),
        kept: VecDeque::new(),
        doubts: 0,
        newest: 0,
        connect,
        outside,
    };
    manager.load(plan)?;
    while manager.step() {}
    Ok(())
}

struct Manager<'a> {
    store: Store,
    plan: Plan,
    held: Vec<Held>,
    limits: Limits,
    /// Authorities that were not reached: how often, and until when they are left alone.
    resting: BTreeMap<String, (u32, u64)>,
    /// Commands that came during an attempt.
    kept: VecDeque<Command>,
    /// How often the clock was found to be set back, one time after the other.
    doubts: u32,
    /// The newest time of something that has happened.
    newest: u64,
    connect: &'a mut Connect<'a>,
    outside: &'a mut dyn Outside,
}

/// What is due next.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// The certificate at that place is ordered from the authority at that place.
    Order(usize, usize),
    /// The window of the certificate at that place is asked for.
    Window(usize),
    /// The certificate at that place is put into service.
    Offer(usize),
    /// The files of the certificate at that place are read again.
    Load(usize),
}

impl Manager<'_> {
    fn now(&self) -> u64 {
        seconds(self.outside.now())
    }

    fn say(&mut self, level: Level, text: &str) {
        self.outside.say(level, text);
    }

    /// Takes another plan. What is known about a certificate that stays, stays.
    fn load(&mut self, plan: Plan) -> Result<(), StoreError> {
        let now = self.now();
        let mut before = std::mem::take(&mut self.held);
        for wanted in &plan.certificates {
            let name = wanted.name();
            if self.held.iter().any(|held| held.name == name) {
                continue;
            }
            match before.iter().position(|held| held.name == name) {
                Some(place) => {
                    let mut held = before.swap_remove(place);
                    held.wanted = wanted.clone();
                    self.held.push(held);
                }
                None => self.held.push(Held::new(wanted)),
            }
        }
        self.plan = plan;
        self.count(now)?;
        for place in 0..self.held.len() {
            match self.held.get_mut(place) {
                Some(held) if held.is_loaded => held.end_other_back_off(&self.plan),
                _ => self.read(place),
            }
            self.tell(place);
        }
        Ok(())
    }

    /// Counts what has happened to all certificates that are known, wanted or not.
    fn count(&mut self, now: u64) -> Result<(), StoreError> {
        self.limits = Limits::default();
        for name in self.store.names()? {
            // One that cannot be read is said where it is wanted.
            for event in
                self.store.record(&name, now).ok().flatten().map(|record| record.events).into_iter().flatten()
            {
                self.newest = self.newest.max(event.at);
                self.limits.add(event);
            }
        }
        self.limits.forget(now);
        Ok(())
    }

    /// Reads the files of a certificate. One that is there may be served.
    fn read(&mut self, place: usize) {
        let now = self.now();
        let Some(held) = self.held.get_mut(place) else { return };
        let is_there = held.read(&mut self.store, now);
        held.end_other_back_off(&self.plan);
        let name = held.name.clone();
        for text in self.store.take_said() {
            self.outside.say(Level::Warning, &text);
        }
        if is_there {
            self.hand_over(&name);
        }
    }

    /// Has a certificate be served. Where that fails, as when a worker ends at this moment, it is
    /// tried again in a while.
    fn hand_over(&mut self, name: &str) {
        let done = self.outside.issued(name);
        let now = self.now();
        let Some(held) = self.held.iter_mut().find(|held| held.name == name) else { return };
        let before = held.unserved.take().map_or(0, |(times, _)| times);
        let Err(error) = done else { return };
        let times = before.saturating_add(1);
        held.unserved = Some((times, schedule::offer(now, times)));
        if before == 0 {
            self.say(Level::Warning, &format!("the certificate of {name} is not served: {error}"));
        }
    }

    /// Does what is due, or waits for it. Returns whether to go on.
    fn step(&mut self) -> bool {
        if self.outside.is_ending() {
            return false;
        }
        if let Some(command) = self.kept.pop_front() {
            return self.obey(command);
        }
        let now = self.now();
        if !self.is_plausible(now) {
            return self.wait(now + MINUTE);
        }
        match self.next(now) {
            Some((at, task)) if at <= now => self.perform(task),
            // The clock may be set meanwhile.
            Some((at, _)) => return self.wait(at.min(now + HOUR)),
            None => return self.wait(now + HOUR),
        }
        true
    }

    fn wait(&mut self, until: u64) -> bool {
        match self.outside.wait(Some(time(until))) {
            Some(command) => self.obey(command),
            None => true,
        }
    }

    /// Returns whether the clock can be right.
    fn is_plausible(&mut self, now: u64) -> bool {
        let is_back = now.saturating_add(DAY) < self.newest;
        let is_right = now >= schedule::EARLIEST && (!is_back || self.doubts >= DOUBTS_MAX);
        if !is_right {
            if self.doubts == 0 {
                self.say(Level::Warning, "the clock is wrong, and no certificate is ordered until it is set");
            }
            self.doubts = self.doubts.saturating_add(1);
            return false;
        }
        if is_back {
            // What seemed to happen in the future has happened by now.
            self.newest = now;
            self.limits.bound(now);
            for held in &mut self.held {
                schedule::bound(&mut held.record.events, now);
            }
        }
        self.newest = self.newest.max(now);
        self.doubts = 0;
        for held in &mut self.held {
            held.record.bound(now);
        }
        true
    }

    fn next(&self, now: u64) -> Option<(u64, Task)> {
        let mut tasks = Vec::new();
        for (place, held) in self.held.iter().enumerate() {
            if !held.is_loaded {
                tasks.push((held.load_at, 0, Task::Load(place)));
                continue;
            }
            if let Some((at, authority)) = self.due(held, now) {
                // Of several that are late, one that has no certificate goes first.
                let end = held.known.as_ref().map_or(0, |known| known.validity.end);
                tasks.push((at.max(now), end, Task::Order(place, authority)));
            }
            if let Some((_, at)) = held.unserved {
                tasks.push((at.max(now), u64::MAX, Task::Offer(place)));
            }
            if let Some(at) = self.ask_due(held, now) {
                tasks.push((at.max(now), u64::MAX, Task::Window(place)));
            }
        }
        tasks.into_iter().min_by_key(|(at, order, _)| (*at, *order)).map(|(at, _, task)| (at, task))
    }

    fn perform(&mut self, task: Task) {
        let place = match task {
            Task::Order(place, authority) => {
                self.attempt(place, authority);
                place
            }
            Task::Window(place) => {
                self.ask(place);
                place
            }
            Task::Offer(place) => {
                let name = self.held.get(place).map(|held| held.name.clone());
                self.hand_over(&name.unwrap_or_default());
                place
            }
            Task::Load(place) => {
                self.read(place);
                place
            }
        };
        self.tell(place);
    }

    /// Tells what is known about a certificate, if it is news.
    fn tell(&mut self, place: usize) {
        let now = self.now();
        let Some(held) = self.held.get(place) else { return };
        let next =
            if held.is_loaded { self.due(held, now).map(|(at, _)| at.max(now)) } else { Some(held.load_at) };
        let progress = held.progress(next.map(time));
        let Some(held) = self.held.get_mut(place) else { return };
        if held.told.as_ref() != Some(&progress) {
            self.outside.progress(&progress);
            held.told = Some(progress);
        }
    }

    /// Obeys a command. Returns whether to go on.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::End => return false,
            Command::Plan(plan) => {
                if let Err(error) = self.load(plan) {
                    self.say(Level::Warning, &error.to_string());
                }
            }
            Command::Renew(name) => match self.place(&name) {
                Some(place) => {
                    if let Some(held) = self.held.get_mut(place) {
                        held.force();
                    }
                    // An authority that could not be reached may be reached again.
                    self.resting.clear();
                    self.tell(place);
                }
                None => self.say(Level::Warning, &format!("no certificate is called {name:?}")),
            },
            Command::Revoke { name, reason } => match self.place(&name) {
                Some(place) => self.revoke(place, reason),
                None => self.say(Level::Warning, &format!("no certificate is called {name:?}")),
            },
            Command::RollOver => self.roll_over(),
        }
        true
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.held.iter().position(|held| held.name == name)
    }
}

/// Returns seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the time of seconds since 1970; of more than 30,000 years, the last of them.
fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(1_000_000_000_000))
}
