//! The state of a world: clock, network and kernel in one place.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::kernel::Kernel;
use super::net::{Clock, End, Link};
use super::sealing::TlsSupport;
use super::socket::Inbox;
use super::{Faults, Lie, Rng, TRACE_MAX};
use crate::key::Key;
use crate::table::EntryId;

/// Things that happen at a moment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Due {
    /// Something arrives on this link.
    Arrive(usize),
    /// A script's own moment, or news for it.
    Script(usize),
    /// A cancelled operation ends at last.
    Doom(u64),
    /// An operation may go on.
    Look,
    /// This one does.
    Datagram(usize),
}

/// The moment at which a script is to be called.
#[derive(Default)]
pub(super) struct Alarm {
    pub(super) news: bool,
    pub(super) at: Option<Duration>,
}

pub(super) struct State {
    pub(super) now: Duration,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) kernel: Kernel,
    /// Connections ever made. They are never removed, so that an index means one connection for
    /// good.
    pub(super) links: Vec<Link>,
    pub(super) backlogs: Vec<(Key, VecDeque<usize>)>,
    /// Datagrams that wait at each address of a datagram socket.
    pub(super) inboxes: BTreeMap<SocketAddr, Inbox>,
    /// Datagrams ever sent: from, to, bytes; `None` when they have arrived.
    pub(super) datagrams: Vec<Option<(SocketAddr, SocketAddr, Vec<u8>)>>,
    pub(super) timeline: BinaryHeap<Reverse<(Duration, u64, Due)>>,
    pub(super) scheduled: u64,
    pub(super) alarms: Vec<Alarm>,
    /// The script that runs now: streams that it uses report to it.
    pub(super) running: Option<usize>,
    pub(super) outside: Duration,
    pub(super) lie: Option<(Lie, u32)>,
    pub(super) lied: bool,
    pub(super) lose: bool,
    pub(super) blamed: Option<&'static str>,
    pub(super) has_ring: bool,
    pub(super) kernel_tls: Option<TlsSupport>,
    pub(super) hash: u64,
    pub(super) trace: Option<Vec<String>>,
}

/// Half of the time that an `Instant` can express. From then on time passes by a minute at most, so
/// that there is always a later.
const LATE: Duration = Duration::from_secs(1 << 62);
const LATE_STEP: Duration = Duration::from_secs(60);

impl State {
    /// Lets time pass until `moment`.
    pub(super) fn pass_to(&mut self, moment: Duration) {
        self.now = moment.min(LATE.max(self.now + LATE_STEP));
    }

    pub(super) fn schedule(&mut self, when: Duration, due: Due) {
        self.scheduled += 1;
        self.timeline.push(Reverse((when, self.scheduled, due)));
    }

    /// There is news for a script.
    pub(super) fn alert(&mut self, script: Option<usize>) {
        let Some(index) = script else { return };
        let Some(alarm) = self.alarms.get_mut(index) else { return };
        if !std::mem::replace(&mut alarm.news, true) {
            self.schedule(self.now, Due::Script(index));
        }
    }

    /// Uses one link, and schedules what that sets in motion.
    pub(super) fn with_link<R>(
        &mut self,
        index: usize,
        use_it: impl FnOnce(&mut Link, &mut Clock<'_>) -> R,
    ) -> R {
        let mut due = Vec::new();
        let mut clock = Clock { now: self.now, rng: &mut self.rng, faults: &self.faults, due: &mut due };
        let result = use_it(&mut self.links[index], &mut clock);
        if self.links[index].take_broken() {
            due.push(self.now);
        }
        for when in due {
            self.schedule(when, Due::Arrive(index));
        }
        result
    }

    /// Everything that is due now. Scripts to call are pushed to `calls`.
    pub(super) fn happen(&mut self, calls: &mut VecDeque<usize>) {
        while let Some(Reverse((when, _, _))) = self.timeline.peek() {
            if *when > self.now {
                return;
            }
            let Some(Reverse((_, _, due))) = self.timeline.pop() else { return };
            match due {
                Due::Arrive(index) => self.arrive(index),
                Due::Doom(id) => self.doom(EntryId::from_bits(id)),
                Due::Look => {}
                Due::Datagram(index) => self.datagram_arrives(index),
                Due::Script(index) => {
                    let alarm = &mut self.alarms[index];
                    if alarm.news || alarm.at.is_some_and(|at| at <= self.now) {
                        *alarm = Alarm::default();
                        calls.push_back(index);
                    }
                }
            }
        }
    }

    pub(super) fn arrive(&mut self, index: usize) {
        self.with_link(index, |link, clock| {
            link.arrive(End::Peer, clock);
            link.arrive(End::Server, clock);
        });
        let watcher = self.links[index].watcher;
        self.alert(watcher);
    }

    /// Bytes on their way to a stream that is looked at now.
    pub(super) fn catch_up(&mut self, index: usize) {
        self.with_link(index, |link, clock| {
            link.arrive(End::Peer, clock);
            link.arrive(End::Server, clock);
        });
    }

    pub(super) fn blame(&mut self, why: &'static str) {
        self.note(why, 0, 0);
        self.blamed.get_or_insert(why);
    }

    pub(super) fn note(&mut self, what: &str, a: u64, b: i64) {
        // FNV-1a over words: good enough to tell two runs apart.
        let mut mix =
            |word: u64| self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        mix(self.now.as_micros() as u64);
        what.bytes().for_each(|byte| mix(u64::from(byte)));
        mix(a);
        mix(b as u64);
        if let Some(lines) = self.trace.as_mut().filter(|lines| lines.len() < TRACE_MAX) {
            lines.push(format!("{:>12} µs  {what} {a} {b}", self.now.as_micros()));
        }
    }

    /// Returns the moment at which something happens next.
    pub(super) fn next_moment(&self) -> Option<Duration> {
        let event = self.timeline.peek().map(|Reverse((when, _, _))| *when);
        event.into_iter().chain(self.kernel.next_due()).min()
    }
}
