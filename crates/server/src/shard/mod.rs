//! One shard: a ring, its connections, and the loop that joins them. Shards share the snapshot that
//! they serve from, and nothing else that the path of a request touches.

pub(crate) mod addresses;
pub(crate) mod context;
mod dates;
pub(crate) mod files;
pub(crate) mod handshakes;
mod listeners;
mod newcomers;
mod passed;
mod peak;
mod places;
mod pressure;
pub(crate) mod quota;
mod sending;
mod slab;
mod wheel;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;

use sitar_http::h2::SharedBuffers;
use sitar_io::{Engine, Event, Key, Ring, usdt};

use self::addresses::Addresses;
use self::context::{Context, Shared};
use self::dates::Dates;
use self::files::SpareFiles;
#[cfg(test)]
use self::handshakes::HANDSHAKE_STEPS;
use self::handshakes::Handshakes;
use self::listeners::Acceptors;
#[cfg(test)]
pub(crate) use self::listeners::FIRST_KEY;
use self::passed::Arrivals;
use self::peak::Peak;
use self::quota::Quota;
use self::slab::{Slab, index_of};
use self::wheel::Wheel;
#[cfg(test)]
use crate::Counts;
use crate::access::Fingerprint;
use crate::access::gate::Gate;
use crate::close::Close;
use crate::content::cache::Cache;
use crate::content::inbox::{Inbox, Message};
use crate::content::lookup::Served;
use crate::content::table::Table;
use crate::log::{Cut, Recorder};
use crate::numbers::{Numbers, Times};
use crate::peer::Peer;
use crate::snapshot::Snapshot;
use crate::stop::{Answering, Stage, Stop};
use crate::tcp::Connection;
use crate::worker::ShardSpec;

pub(crate) struct Shard<E: Engine> {
    cx: Context<E>,
    acceptors: Acceptors,
    arrivals: Arrivals,
    connections: Slab<Connection>,
    addresses: Addresses,
    wheel: Wheel,
    /// Connections whose file has come, about to be resumed.
    resumed: Vec<Key>,
    dates: Dates,
    inbox: Inbox,
    /// The time to look for connections to close, while others wait for a send buffer.
    shed_at: Option<Instant>,
    /// What connections have needed lately.
    peak: Peak,
    stop: Stop,
    drain: Drain,
}

/// The progress of a shard's drain or stop.
#[derive(Default)]
struct Drain {
    /// The time at which open connections are closed; set when the server drains or stops.
    until: Option<Instant>,
    answering: Answering,
}

impl<E: Engine> Shard<E> {
    /// Makes shard number `index`.
    ///
    /// # Errors
    /// Its listening sockets cannot be duplicated.
    pub(crate) fn new(mut ring: Ring<E>, index: usize, spec: &ShardSpec) -> io::Result<Shard<E>> {
        let now = ring.now();
        let inbox = spec.inboxes.get(index).cloned().unwrap_or_default();
        // In this order: a snapshot that comes after the inbox was opened is in it, one that came
        // before is the latest.
        inbox.open(ring.waker());
        let snapshot = spec.latest.get();
        let limits = snapshot.limits.clone();
        let acceptors = Acceptors::new(&mut ring, &snapshot.listeners, index)?;
        let connections = limits.ring().connections as usize;
        let cache = Cache::new(&snapshot, limits.files_open, spec.loader.clone(), index);
        let gate = Gate::new(Arc::clone(&spec.throttle), spec.verifier.clone(), index);
        let numbers = spec.numbers.get(index).cloned().unwrap_or_default();
        let times = spec.times.then(|| Times::new(Arc::clone(&numbers), now));
        let log = Recorder::new(Arc::clone(&spec.queues), snapshot.log_wants(), times);
        let numbers = Numbers::new(numbers, &snapshot.hosts);
        let served = Served::new(snapshot, cache, gate);
        Ok(Shard {
            acceptors,
            arrivals: Arrivals::new(Arc::clone(&spec.passed), index),
            connections: Slab::new(connections as u32),
            addresses: Addresses::new(limits.connections),
            wheel: Wheel::new(now, connections as u32),
            resumed: Vec::with_capacity(connections),
            dates: Dates::new(Arc::clone(&spec.clock), now),
            inbox,
            shed_at: None,
            peak: Peak::new(now),
            stop: spec.stop.clone(),
            drain: Drain::default(),
            cx: Context {
                served,
                files: SpareFiles::new(limits.files_spare, spec.memory.clone()),
                shared: Shared {
                    key: Key(u64::MAX),
                    now,
                    date: [b' '; 29],
                    stage: Stage::Serving,
                    offload: spec.offload,
                    ring,
                    quota: Quota::new(limits.held_max, limits.held_each_max()),
                    h2: SharedBuffers::new(&limits.h2),
                    starved: VecDeque::with_capacity(connections),
                    handshakes: Handshakes::new(connections),
                    numbers,
                    log,
                    client: None,
                    limits,
                },
            },
        })
    }

    /// Serves until asked to stop, and counts what it still has open then.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        self.settle();
        // Before waiting: a wake-up that came before this ring existed was lost, the flag behind it
        // was not.
        while !self.is_over() {
            self.turn()?;
        }
        // The drop of the ring closes them.
        let Shared { log, ring, numbers, now, .. } = &mut self.cx.shared;
        for (key, connection) in self.connections.iter_mut() {
            let why = connection.why(Close::Operator);
            numbers.end(why);
            connection.abandon(log, why);
            usdt::connection_closed(key.0, &|| why.name());
        }
        log.end_turn(*now, || ring.now());
        Ok(())
    }

    /// Returns its numbers.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.cx.shared.numbers
    }

    /// Returns what the shard of this number has counted since the worker was started.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> Counts {
        self.cx.shared.numbers.counts().get()
    }

    /// Goes once around the loop: one wait, and all that came of it.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.update_accepting();
        if !self.arrivals.are_none() {
            self.adopt();
        }
        // Handshakes that are still queued go on after a look at what else has happened.
        let until = if self.cx.shared.handshakes.queue.is_empty() {
            self.next_deadline()
        } else {
            Some(self.cx.shared.now)
        };
        self.cx.shared.now = self.cx.shared.ring.wait(until)?;
        self.cx.shared.log.begin_turn(self.cx.shared.now);
        if self.dates.is_over(self.cx.shared.now) {
            self.cx.shared.date = self.dates.next(self.cx.shared.now);
        }
        while let Some(event) = self.cx.shared.ring.next() {
            self.on_event(event);
        }
        while let Some(index) = self.wheel.expired(self.cx.shared.now) {
            if let Some(key) = self.connections.key_at(index as u32) {
                self.with(key, Connection::on_timer);
            }
        }
        self.resume_waiting();
        self.negotiate();
        self.shed_load();
        self.give_out_files();
        self.note_peak();
        self.note_numbers();
        let Shared { log, ring, now, .. } = &mut self.cx.shared;
        log.end_turn(*now, || ring.now());
        Ok(())
    }

    /// Checks the invariants that hold between any two turns (I8: no receive slot outlives its
    /// wake-up; limits).
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let stats = self.cx.shared.ring.stats();
        assert_eq!(stats.rx_leased, 0, "a receive slot was kept");
        let places = self.cx.shared.limits.connections as usize;
        assert!(self.connections.len() - self.addresses.asked() <= places, "more connections than places");
        assert!(self.cx.shared.quota.used() <= self.cx.shared.limits.held_max);
        assert!(self.cx.shared.handshakes.flight.is_empty());
        assert!(self.cx.shared.handshakes.steps <= HANDSHAKE_STEPS, "handshakes without limit");
    }

    /// Returns the peers of its connections, as far as they are known.
    #[cfg(test)]
    pub(crate) fn peers(&self) -> impl Iterator<Item = Peer> {
        self.connections.iter().filter_map(|(_, connection)| connection.peer())
    }

    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> u64 {
        self.cx.served.cache.snapshot()
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        // A read from a file may outlive the connection that it was for, and holds a buffer.
        let buffers = self.cx.shared.ring.tx_free() == self.cx.shared.limits.ring().tx_count as usize;
        self.connections.len() == 0 && self.cx.shared.ring.connections() == 0 && buffers
    }

    /// Checks that, with no connections left, every buffer, timer and byte of quota has been
    /// returned.
    #[cfg(test)]
    pub(crate) fn check_idle(&self) {
        let stats = self.cx.shared.ring.stats();
        assert!(
            self.connections.len() == 0 && self.cx.shared.ring.connections() == 0,
            "{} connections, {} descriptors left",
            self.connections.len(),
            self.cx.shared.ring.connections()
        );
        assert_eq!((stats.rx_leased, stats.tx_free), (0, self.cx.shared.limits.ring().tx_count as usize));
        assert_eq!(self.cx.shared.quota.used(), 0);
        assert!(self.cx.files.is_whole(), "places of files that are not given back");
        assert!(self.addresses.is_empty(), "an address has connections");
        assert_eq!(self.wheel.armed(), 0);
        assert!(
            self.cx.shared.starved.is_empty() || self.cx.shared.starved.iter().all(|key| key.0 != u64::MAX)
        );
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Recv { key, buf } => {
                self.with(key, |connection, cx| connection.on_recv(cx, buf));
                if let Some(client) = self.cx.shared.client.take() {
                    self.on_client(key, client);
                }
            }
            Event::Sent { key, buf, result } => {
                self.with(key, |connection, cx| connection.on_sent(cx, buf, result));
            }
            Event::RecvEnded { key, end } => {
                self.with(key, |connection, cx| connection.on_recv_ended(cx, end));
            }
            Event::Read { key, buf, result } => {
                self.with(key, |connection, cx| connection.on_read(cx, buf, result));
            }
            Event::Writable { key } => self.with(key, Connection::on_writable),
            Event::Accepted { conn, listener } => self.on_accept(conn, listener),
            Event::AcceptEnded { listener, error } => {
                let shared = &mut self.cx.shared;
                let is_closed =
                    self.acceptors.on_ended(&mut shared.ring, listener, error.is_some(), shared.now);
                if is_closed {
                    if self.drain.until.is_some() {
                        self.begin_drain();
                    }
                    self.settle();
                }
            }
            Event::Adopted { key, result } => self.on_adopted(key, result),
            Event::OptSet { key, result } => {
                self.with(key, |connection, cx| connection.on_opt_set(cx, result));
            }
            Event::Unacked { key, result } => {
                self.with(key, |connection, cx| connection.on_unacked(cx, result));
            }
            Event::Woken => self.read_inbox(),
            Event::Peer { key, result } => {
                usdt::connection_peer(key.0, result.ok());
                self.on_peer(key, result.map(Peer::at));
            }
            Event::Closed { .. } | Event::Shutdown { .. } => {}
            // Nothing here asks for these.
            Event::Opened { .. } | Event::Stat { .. } | Event::Datagrams { .. } | Event::SentTo { .. } => {}
        }
    }

    /// Lets a connection handle something, and closes it when that was the end.
    fn with(&mut self, key: Key, handle: impl FnOnce(&mut Connection, &mut Context<E>) -> Result<(), Close>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        self.cx.shared.key = key;
        let handled = handle(connection, &mut self.cx);
        // Streams of HTTP/2 end in many ways, but all within an event.
        self.cx.shared.log.note_ends(Cut::StreamReset);
        match handled {
            Ok(()) => self.wheel.schedule(index_of(key), connection.deadline()),
            Err(why) => return self.remove(key, why),
        }
        let quota = &mut self.cx.shared.quota;
        if let Err(why) = connection.settle_charge(quota) {
            return self.remove(key, why);
        }
        if let Some(excess) = quota.excess() {
            self.shed_held(excess);
        }
    }

    /// Closes a connection; `why` is the last reason, beside the one for which its end was begun.
    fn remove(&mut self, key: Key, why: Close) {
        let Some(connection) = self.connections.remove(key) else { return };
        let ended = connection.why(why);
        self.cx.shared.numbers.end(ended);
        self.addresses.remove(connection.address);
        self.cx.shared.handshakes.flight.clear();
        self.wheel.cancel(index_of(key));
        let conn = connection.release(&mut self.cx, ended);
        usdt::connection_closed(key.0, &|| ended.name());
        self.cx.served.cache.forget(key);
        self.cx.served.gate.forget(key);
        self.cx.files.forget(key);
        self.cx.shared.ring.close(conn);
    }

    fn read_inbox(&mut self) {
        for message in self.inbox.take() {
            match message {
                // Asked for before a change: the connections that waited for it have asked again.
                Message::Loaded { snapshot, .. } if snapshot != self.cx.served.cache.snapshot() => {}
                // No descriptor is left for it.
                Message::Loaded { file, result: Err(ErrorKind::QuotaExceeded), .. } => {
                    self.cx.served.cache.put_off(file);
                    while let Some(key) = self.cx.served.cache.next_waiting(file) {
                        self.resumed.push(key);
                    }
                    while let Some(key) = self.resumed.pop() {
                        self.cx.files.wait_to_open(key, self.cx.shared.now);
                        self.with(key, Connection::on_unopened);
                    }
                }
                Message::Loaded { file, result, .. } => {
                    self.cx.served.cache.arrived(file, result);
                    // Collected first: serving one may make it wait for the next file.
                    while let Some(key) = self.cx.served.cache.next_waiting(file) {
                        self.resumed.push(key);
                    }
                    while let Some(key) = self.resumed.pop() {
                        self.with(key, Connection::on_loaded);
                    }
                    self.cx.served.cache.settled(file);
                }
                Message::Verified { fingerprint, is_right } => self.on_verified(fingerprint, is_right),
                Message::Passed(handed) => self.arrivals.add(*handed),
                Message::Evict(bytes) => self.cx.served.cache.evict(bytes),
                Message::FilesWanted => self.cx.files.want(),
                Message::Traces => self.cx.shared.log.take_up_traces(),
                Message::Swap(next, table) => self.take_up(next, table),
            }
        }
    }

    /// A password has been verified: the connections that wait for that ask again.
    fn on_verified(&mut self, fingerprint: Fingerprint, is_right: bool) {
        self.cx.shared.numbers.counts().hashes.add(1);
        let gate = &mut self.cx.served.gate;
        gate.verified(fingerprint, is_right, self.cx.shared.now);
        self.resumed.extend(std::iter::from_fn(|| gate.next_waiting(fingerprint)));
        while let Some(key) = self.resumed.pop() {
            self.with(key, Connection::on_loaded);
        }
    }

    /// Switches to another snapshot: from here on requests are answered from it, and new
    /// connections get its certificates. Answers that have begun hold what they need of the old
    /// one; a request that waits for a file has not been answered at all, and is looked up again.
    fn take_up(&mut self, next: Arc<Snapshot>, table: Table) {
        let number = next.number;
        if number <= self.cx.served.cache.snapshot() {
            return;
        }
        self.cx.shared.limits = next.limits.clone();
        self.cx.shared.log.take_up(next.log_wants());
        if self.drain.until.is_none() {
            self.acceptors.replace(&mut self.cx.shared.ring, &next.listeners, self.cx.shared.now);
        }
        self.cx.shared.numbers.take_up(&next.hosts);
        usdt::snapshot_swapped(number, next.hosts.iter().count());
        let old = self.cx.served.replace(next);
        for key in self.cx.served.cache.renew(number, table, old) {
            self.with(key, Connection::on_loaded);
        }
        self.settle();
    }

    /// Lets those who wait for a change, or for the end of accepting, know that it is done.
    fn settle(&self) {
        if !self.acceptors.are_closing() {
            let is_draining = self.drain.until.is_some();
            self.inbox.settle(if is_draining { Inbox::NO_MORE } else { self.cx.served.cache.snapshot() });
        }
    }

    /// Takes up what is asked of the worker. Returns whether the shard has come to its end.
    pub(crate) fn is_over(&mut self) -> bool {
        let asked = self.stop.asked();
        asked > Stage::Serving && self.is_drained(asked)
    }

    fn is_drained(&mut self, asked: Stage) -> bool {
        let now = self.cx.shared.now;
        let until = match self.drain.until {
            Some(until) if self.cx.shared.stage >= asked.min(Stage::Stopping) => until,
            // A stop in the midst of a drain has time of its own.
            _ => {
                let limits = &self.cx.shared.limits;
                let until = now + if asked == Stage::Draining { limits.hand_over } else { limits.drain };
                self.drain.until = Some(until);
                self.cx.shared.stage = asked;
                self.acceptors.shut(&mut self.cx.shared.ring);
                self.begin_drain();
                self.settle();
                until
            }
        };
        let connections = &self.connections;
        // What is accepted while accepting comes to its end is served.
        let is_empty = connections.len() == 0 && !self.acceptors.are_open() && !self.arrivals.are_expected();
        let is_over = is_empty || now >= until || asked == Stage::Aborting;
        if asked >= Stage::Stopping {
            self.drain.answering.tell(&self.stop, now, connections.len(), is_over, || {
                connections.iter().filter(|(_, connection)| connection.is_answering()).count()
            });
        }
        is_over
    }

    /// Tells connections to finish, once all listeners are closed: a client that has to go finds
    /// no listener of this server to come back to.
    fn begin_drain(&mut self) {
        if self.acceptors.are_open() {
            return;
        }
        let is_stop = self.cx.shared.is_stopping();
        for key in self.connections.keys() {
            self.with(key, if is_stop { Connection::on_stop } else { Connection::on_drain });
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        // Compared one by one: all but the first are rare, and this is done in each turn.
        let next = sooner(self.wheel.next(), self.acceptors.pause_until());
        let next = sooner(next, self.shed_at);
        let next = sooner(next, self.cx.files.deadline(self.cx.shared.now));
        let next = sooner(next, self.drain.until);
        let next = sooner(next, self.drain.answering.deadline());
        sooner(next, self.peak.deadline())
    }
}

/// Returns the sooner of two times, of which there may be none.
#[inline]
fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}
