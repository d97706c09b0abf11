//! One shard: a ring, its connections, and the loop that joins them. Shards share nothing but the site and the keys.

pub(crate) mod context;
pub(crate) mod slab;
mod wheel;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use sitar_io::{Conn, Engine, Event, Key, Listener, Ring};
use sitar_site::Site;
use sitar_tls::Handshake;

use self::context::{Context, Gone};
use self::slab::{Slab, index_of};
use self::wheel::Wheel;
use crate::Counts;
use crate::clock::Clock;
use crate::content::cache::Cache;
use crate::content::generation::{Generation, Newest};
use crate::content::inbox::{Mailbox, News};
use crate::content::loader::Loader;
use crate::content::table::Table;
use crate::limits::{Limits, TlsOffload};
use crate::stop::{Answering, Stop};
use crate::tcp::transport::input::Stashes;
use crate::tcp::{Connection, Content, Turn};

/// What a shard is made from; a value, so that it can be made anew.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) listeners: Vec<std::os::fd::OwnedFd>,
    pub(crate) newest: Newest,
    pub(crate) tls: Option<sitar_tls::Config>,
    pub(crate) limits: Limits,
    pub(crate) offload: TlsOffload,
    pub(crate) clock: Clock,
    pub(crate) loader: Loader,
    pub(crate) mailbox: Mailbox,
    pub(crate) stop: Stop,
}

/// A listening socket and whether connections are being accepted from it.
struct Door {
    /// `None`: closed for good, because the server stops.
    listener: Option<Listener>,
    accepting: Option<sitar_io::OpId>,
}

/// After an error other than a full table, accepting pauses for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer whose send has lasted this long may be closed to free its buffer for others.
const SHED_AFTER: Duration = Duration::from_secs(1);
/// Send buffers ran out: how soon to look again for somebody to close.
const SHED_PAUSE: Duration = Duration::from_millis(250);
/// Steps of handshakes in one wake-up. One with an RSA key of 2048 bits takes about a millisecond, with ECDSA a tenth of that.
const HANDSHAKE_STEPS: usize = 4;
/// Keys of listeners: none that a slab gives out (it has fewer than 2³² − 1 places).
pub(crate) const DOORS: u64 = 0xffff_ff00;

pub(crate) struct Shard<E: Engine> {
    ring: Ring<E>,
    doors: Vec<Door>,
    connections: Slab<Connection>,
    wheel: Wheel,
    cache: Cache,
    stashes: Stashes,
    h2: sitar_http::h2::SharedBuffers<Content>,
    starved: VecDeque<Key>,
    /// Connections that wait for their turn to negotiate.
    queue: VecDeque<Key>,
    turn: Turn,
    handshake_steps: usize,
    resumed: Vec<Key>,
    flight: Vec<u8>,
    counts: Counts,
    site: Arc<Site>,
    tls: Option<sitar_tls::Config>,
    limits: Limits,
    offload: TlsOffload,
    clock: Clock,
    mailbox: Mailbox,
    stop: Stop,
    now: Instant,
    date: [u8; 29],
    date_until: Instant,
    /// When to try again to accept, after an error.
    accept_at: Option<Instant>,
    /// When to look for somebody to close, while connections wait for a send buffer.
    shed_at: Option<Instant>,
    /// Set when the server stops.
    drain_until: Option<Instant>,
    answering: Answering,
}

impl<E: Engine> Shard<E> {
    pub(crate) fn new(mut ring: Ring<E>, setup: Setup) -> Shard<E> {
        let now = ring.now();
        let Setup { index, listeners, newest, tls, limits, offload, clock, loader, mailbox, stop } = setup;
        // In this order: a site that comes after the mailbox was opened is in the mail, one that came before is the newest.
        mailbox.open(ring.waker());
        let generation = newest.get();
        let doors = (DOORS..)
            .zip(listeners)
            .map(|(key, socket)| Door { listener: Some(ring.listener(socket, Key(key))), accepting: None })
            .collect();
        Shard {
            doors,
            connections: Slab::new(limits.connections),
            wheel: Wheel::new(now, limits.connections),
            cache: Cache::new(&generation, limits.files_open, loader, index),
            stashes: Stashes::new(limits.stash, limits.stash_each()),
            h2: sitar_http::h2::SharedBuffers::new(&limits.h2),
            starved: VecDeque::with_capacity(limits.connections as usize),
            queue: VecDeque::with_capacity(limits.connections as usize),
            turn: Turn::Others,
            handshake_steps: 0,
            resumed: Vec::with_capacity(limits.connections as usize),
            flight: Vec::new(),
            counts: Counts::default(),
            ring,
            site: generation.site,
            tls,
            limits,
            offload,
            clock,
            mailbox,
            stop,
            now,
            date: [b' '; 29],
            date_until: now,
            accept_at: None,
            shed_at: None,
            drain_until: None,
            answering: Answering::default(),
        }
    }

    /// Serves until asked to stop.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        // Before waiting: a wake-up that came before this ring existed was lost, the flag behind it was not.
        while !(self.stop.is_asked() && self.is_stopped()) {
            self.turn()?;
        }
        Ok(())
    }

    /// Returns what this shard has counted since it was made.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Once around the loop: one wait, and all that came of it.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.mind_the_doors();
        // Whoever is still queued goes on after a look at what else has happened.
        let until = if self.queue.is_empty() { self.next_deadline() } else { Some(self.now) };
        self.now = self.ring.wait(until)?;
        if self.now >= self.date_until {
            self.tell_date();
        }
        while let Some(event) = self.ring.next() {
            self.on_event(event);
        }
        while let Some(index) = self.wheel.expired(self.now) {
            if let Some(key) = self.connections.key_at(index as u32) {
                self.with(key, Connection::on_timer);
            }
        }
        self.feed_the_starved();
        self.negotiate();
        self.relieve();
        Ok(())
    }

    /// What must hold between any two turns (I8: no receive slot outlives its wake-up; limits).
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let stats = self.ring.stats();
        assert_eq!(stats.rx_leased, 0, "a receive slot was kept");
        assert!(self.connections.len() <= self.limits.connections as usize);
        assert!(self.stashes.used() <= self.limits.stash + self.limits.stash / 8);
        assert!(self.flight.is_empty());
        assert!(self.handshake_steps <= HANDSHAKE_STEPS, "handshakes without limit");
    }

    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.cache.generation()
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        // A read from a file may outlive the connection that it was for, and holds a buffer.
        let buffers = self.ring.tx_free() == self.limits.ring().tx_count as usize;
        self.connections.len() == 0 && self.ring.connections() == 0 && buffers
    }

    /// What must hold when nobody is left: nothing is held for anybody.
    #[cfg(test)]
    pub(crate) fn check_idle(&self) {
        let stats = self.ring.stats();
        assert!(
            self.connections.len() == 0 && self.ring.connections() == 0,
            "{} connections, {} descriptors left",
            self.connections.len(),
            self.ring.connections()
        );
        assert_eq!((stats.rx_leased, stats.tx_free), (0, self.limits.ring().tx_count as usize));
        assert_eq!(self.stashes.used(), 0);
        assert_eq!(self.wheel.armed(), 0);
        assert!(self.starved.is_empty() || self.starved.iter().all(|key| key.0 != u64::MAX));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Recv { key, buf } => self.with(key, |connection, cx| connection.on_recv(cx, buf)),
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
            Event::Accepted { conn, .. } => self.on_accept(conn),
            Event::AcceptEnded { listener, error } => {
                if let Some(door) = self.doors.get_mut((listener.0 - DOORS) as usize) {
                    door.accepting = None;
                    if self.drain_until.is_some() {
                        door.listener = None;
                        self.say_goodbye();
                    }
                }
                if error.is_some() {
                    self.accept_at = Some(self.now + ACCEPT_PAUSE);
                }
            }
            Event::OptSet { key, result } => {
                self.with(key, |connection, cx| connection.on_opt_set(cx, result));
            }
            Event::Unacked { key, result } => {
                self.with(key, |connection, cx| connection.on_unacked(cx, result));
            }
            Event::Woken => self.read_mail(),
            Event::Closed { .. } | Event::Shutdown { .. } | Event::Peer { .. } => {}
            // Asked for by nobody here.
            Event::Opened { .. } | Event::Stat { .. } | Event::Datagrams { .. } | Event::SentTo { .. } => {}
        }
    }

    /// Lets a connection handle something, and closes it when that was the end.
    fn with(
        &mut self,
        key: Key,
        handle: impl FnOnce(&mut Connection, &mut Context<'_, E>) -> Result<(), Gone>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut cx = Context {
            key,
            now: self.now,
            date: &self.date,
            stopping: self.drain_until.is_some(),
            limits: &self.limits,
            offload: self.offload,
            site: &self.site,
            ring: &mut self.ring,
            cache: &mut self.cache,
            stashes: &mut self.stashes,
            h2: &mut self.h2,
            flight: &mut self.flight,
            starved: &mut self.starved,
            queue: &mut self.queue,
            turn: self.turn,
            handshake_steps: &mut self.handshake_steps,
            counts: &mut self.counts,
        };
        match handle(connection, &mut cx) {
            Ok(()) => self.wheel.schedule(index_of(key), connection.deadline()),
            Err(Gone) => self.remove(key),
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(connection) = self.connections.remove(key) else { return };
        self.flight.clear();
        self.wheel.cancel(index_of(key));
        let conn = connection.end(&mut self.stashes, &mut self.h2, &mut self.cache, key);
        self.ring.close(conn);
    }

    fn on_accept(&mut self, conn: Conn) {
        self.counts.accepted += 1;
        let handshake = match &self.tls {
            // A connection that cannot be served is closed by the drop of `conn`.
            Some(config) => match Handshake::new(config) {
                Ok(handshake) => Some(handshake),
                Err(_) => return,
            },
            None => None,
        };
        let (now, limits, ring) = (self.now, &self.limits, &mut self.ring);
        let key = self.connections.insert_with(|key| {
            ring.set_key(&conn, key);
            Connection::new(conn, handshake, now, limits)
        });
        if let Some(key) = key {
            self.with(key, Connection::on_accept);
        }
    }

    /// Accepts while there is room, and not while there is none: newcomers then wait in the kernel's queue.
    fn mind_the_doors(&mut self) {
        let room = self.ring.connections() < self.limits.connections as usize
            && self.connections.len() < self.limits.connections as usize;
        if self.accept_at.is_some_and(|at| self.now >= at) {
            self.accept_at = None;
        }
        let open = room && self.accept_at.is_none() && self.drain_until.is_none();
        for door in &mut self.doors {
            match (door.accepting, &door.listener) {
                (None, Some(listener)) if open => door.accepting = self.ring.accept(listener).ok(),
                (Some(op), _) if !room => self.ring.cancel(op),
                _ => {}
            }
        }
    }

    fn read_mail(&mut self) {
        for news in self.mailbox.take() {
            match news {
                // Asked for before the site was changed: whoever waited for it has asked again.
                News::Loaded { generation, .. } if generation != self.cache.generation() => {}
                News::Loaded { file, result, displaced, .. } => {
                    self.cache.arrived(file, result);
                    // Collected first: serving one may make it wait for the next file.
                    while let Some(key) = self.cache.next_waiting(file) {
                        self.resumed.push(key);
                    }
                    while let Some(key) = self.resumed.pop() {
                        self.with(key, Connection::on_loaded);
                    }
                    self.cache.settled(file, displaced);
                }
                News::Evict(bytes) => self.cache.evict(bytes),
                News::Swap(generation, table) => self.change_site(generation, table),
            }
        }
    }

    /// From here on requests are answered from another site. Answers that have been begun hold what they need of the old
    /// one; a request that waits for a file has not been answered at all, and is looked up anew.
    fn change_site(&mut self, next: Generation, table: Table) {
        if next.number <= self.cache.generation() {
            return;
        }
        let old = std::mem::replace(&mut self.site, next.site);
        for key in self.cache.renew(next.number, table, old) {
            self.with(key, Connection::on_loaded);
        }
    }

    /// Lets some connections go on with their handshakes, in the order in which they came.
    fn negotiate(&mut self) {
        self.turn = Turn::Handshakes;
        self.handshake_steps = 0;
        // More than there are connections: some of them have gone.
        if self.queue.len() > self.limits.connections as usize {
            let connections = &mut self.connections;
            self.queue.retain(|key| connections.get_mut(*key).is_some());
        }
        for _ in 0..self.queue.len() {
            if self.handshake_steps >= HANDSHAKE_STEPS {
                break;
            }
            let Some(key) = self.queue.pop_front() else { break };
            self.with(key, Connection::on_turn);
        }
        self.turn = Turn::Others;
    }

    /// Lets connections go on that wait for a send buffer, in the order in which they came.
    fn feed_the_starved(&mut self) {
        for _ in 0..self.starved.len() {
            if self.ring.tx_free() <= self.limits.reserve() / 2 {
                return;
            }
            let Some(key) = self.starved.pop_front() else { return };
            self.with(key, Connection::on_buffers);
        }
    }

    /// When memory for peers runs out, closes those who use most of it to no avail.
    fn relieve(&mut self) {
        if let Some(mut excess) = self.stashes.excess() {
            // Whoever has most put aside; among equals whoever has waited for longest.
            let holders = self.connections.iter().filter(|(_, connection)| connection.stashed() > 0);
            let mut holders: Vec<_> = holders
                .map(|(key, connection)| (Reverse(connection.stashed()), connection.deadline(), key.0))
                .collect();
            holders.sort_unstable();
            for (Reverse(stashed), _, key) in holders {
                self.counts.shed += 1;
                self.remove(Key(key));
                excess = excess.saturating_sub(stashed);
                if excess == 0 {
                    break;
                }
            }
        }
        let reserve = self.limits.reserve();
        let free = self.ring.tx_free();
        if free >= reserve && self.starved.is_empty() {
            self.shed_at = None;
            return;
        }
        if self.shed_at.is_some_and(|at| self.now < at) {
            return;
        }
        self.shed_at = Some(self.now + SHED_PAUSE);
        let mut senders: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(key, connection)| Some((connection.sending_since()?, key.0)))
            .filter(|(since, _)| self.now.saturating_duration_since(*since) >= SHED_AFTER)
            .collect();
        senders.sort_unstable();
        for (_, key) in senders.into_iter().take((2 * reserve).max(1).saturating_sub(free)) {
            self.counts.shed += 1;
            self.remove(Key(key));
        }
    }

    fn is_stopped(&mut self) -> bool {
        let until = match self.drain_until {
            Some(until) => until,
            None => {
                let until = self.now + self.limits.drain;
                self.drain_until = Some(until);
                for door in &mut self.doors {
                    match door.accepting {
                        // The socket closes when that operation has ended.
                        Some(op) => self.ring.cancel(op),
                        None => door.listener = None,
                    }
                }
                self.say_goodbye();
                until
            }
        };
        let connections = &self.connections;
        let is_over = connections.len() == 0 || self.now >= until || self.stop.is_urgent();
        self.answering.tell(&self.stop, self.now, connections.len(), is_over, || {
            connections.iter().filter(|(_, connection)| connection.is_answering()).count()
        });
        is_over
    }

    /// Tells connections to finish, once all doors are shut: who is told to go finds nobody to come back to.
    fn say_goodbye(&mut self) {
        if self.doors.iter().any(|door| door.listener.is_some()) {
            return;
        }
        for key in self.connections.keys() {
            self.with(key, Connection::on_stop);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let own =
            [self.wheel.next(), self.accept_at, self.shed_at, self.drain_until, self.answering.deadline()];
        own.into_iter().flatten().min()
    }

    fn tell_date(&mut self) {
        let wall = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.date = sitar_http::date::write_imf(wall.as_secs());
        self.date_until =
            self.now + (Duration::from_secs(1) - Duration::from_nanos(u64::from(wall.subsec_nanos())));
    }
}
