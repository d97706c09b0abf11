//! Numbers of a shard that other threads read while it serves: what is asked of an operator's
//! server from outside.
//!
//! Each number has one writer, the shard's thread, so it takes neither a lock nor an operation that
//! other cores wait for. What a reader adds up may be of two moments, a few requests apart.

mod histogram;
mod sites;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sitar_http::Status;
use sitar_io::Stats;
use sitar_tls::Version;

pub use self::histogram::Durations;
use self::histogram::Histogram;
pub use self::sites::{Answers, CountedMethod, HttpVersion, SiteNumbers};
use self::sites::{SiteCounters, Sum};
pub(crate) use self::times::{Since, Times};
use crate::Counts;
use crate::close::Close;
use crate::counts::{Counter, Counters};
use crate::refusals::Refusal;
use crate::snapshot::{HostId, Hosts};
use crate::wake::Wake;

/// Sites whose numbers are kept, at most. With more, those are forgotten that are served no longer.
const SITES_MAX: usize = Hosts::MAX;

/// The numbers of one shard. Its thread writes them, any thread reads them.
#[derive(Debug, Default)]
// Not on a line of the processor's cache that another shard writes to, nor beside one.
#[repr(align(128))]
pub(crate) struct ShardNumbers {
    pub(crate) counts: Counters,
    /// Handshakes completed, by version, whole and resumed.
    handshakes: [[Counter; 2]; VERSIONS.len()],
    /// How long answers took, where that is asked for.
    durations: Histogram,
    /// Connections that were given up for a fault in TLS, in a header of the PROXY protocol, and in
    /// HTTP.
    faults: [Counter; 3],
    /// Called when a connection is refused.
    refusals: Arc<Wake>,
    /// System calls of the ring's engine.
    calls: Counter,
    /// Send buffers, and those of them that are free.
    send_buffers: Counter,
    send_buffers_free: Counter,
    /// Bytes that peers make the shard hold.
    held: Counter,
    /// Answers that no site gives.
    unrouted: Arc<SiteCounters>,
    /// Sites that are served or were. Locked by the shard when it takes up a snapshot, and by
    /// readers; never for a request.
    sites: Mutex<BTreeMap<Arc<str>, Arc<SiteCounters>>>,
}

/// The versions of TLS, in the order of their counters.
const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

/// The numbers of a shard as its thread has them.
pub(crate) struct Numbers {
    shard: Arc<ShardNumbers>,
    /// Those of the snapshot's sites, by the place of the host.
    sites: Box<[Arc<SiteCounters>]>,
    /// System calls of this ring that have been counted.
    calls: u64,
}

/// What an answer is counted by that is known of its request: the method, and the host whose site
/// answers. In two bytes, since each connection has it: the place of the host or [`NO_SITE`], and
/// below that two bits for the method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RequestLabels(u16);

/// Above the place of every host.
const NO_SITE: u16 = Hosts::MAX as u16;

impl RequestLabels {
    /// Those of what has not been read as a request.
    pub(crate) const UNKNOWN: RequestLabels = RequestLabels(NO_SITE << 2 | CountedMethod::Other as u16);

    /// Those of a request with that method, which no site answers.
    #[inline]
    pub(crate) fn of(method: CountedMethod) -> RequestLabels {
        RequestLabels(NO_SITE << 2 | method as u16)
    }

    /// The same, of a request that a host's site answers.
    #[inline]
    pub(crate) fn at(self, host: HostId) -> RequestLabels {
        RequestLabels((host.index() as u16) << 2 | self.0 & 3)
    }

    /// Returns the host that the request led to, whatever the answer.
    #[inline]
    pub(crate) fn host(self) -> Option<HostId> {
        let place = self.0 >> 2;
        (place != NO_SITE).then_some(HostId::at(place))
    }

    fn place(self) -> usize {
        usize::from(self.0 >> 2)
    }
}

impl ShardNumbers {
    /// Numbers for a thread that is called when a connection is refused.
    pub(crate) fn calling(refusals: &Arc<Wake>) -> ShardNumbers {
        ShardNumbers { refusals: Arc::clone(refusals), ..ShardNumbers::default() }
    }

    /// Returns how many connections were refused, of a kind.
    pub(crate) fn refused(&self, kind: Refusal) -> u64 {
        let Counters { refused, calmed, ends, .. } = &self.counts;
        let [tls, proxy_header, http] = &self.faults;
        match kind {
            Refusal::NoPlace => refused.get(),
            Refusal::Shed => ends.no_room.get().saturating_sub(refused.get()),
            Refusal::Flood => calmed.get(),
            Refusal::Tls => tls.get(),
            Refusal::ProxyHeader => proxy_header.get(),
            Refusal::Http => http.get(),
        }
    }

    #[cold]
    fn refuse(&self, kind: Refusal) {
        let [tls, proxy_header, http] = &self.faults;
        match kind {
            Refusal::Tls => tls.add(1),
            Refusal::ProxyHeader => proxy_header.add(1),
            Refusal::Http => http.add(1),
            // They have been counted.
            Refusal::NoPlace | Refusal::Shed | Refusal::Flood => {}
        }
        self.refusals.call();
    }

    fn sites(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<SiteCounters>>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters of each host's site. Hosts with the same label share theirs, and so do
    /// those of one snapshot and the next.
    fn take_up(&self, hosts: &Hosts) -> Box<[Arc<SiteCounters>]> {
        let mut sites = self.sites();
        if sites.len() + hosts.iter().count() > SITES_MAX {
            let labels: BTreeSet<&str> = hosts.iter().map(|(_, host)| &*host.label).collect();
            sites.retain(|name, _| labels.contains(&**name));
        }
        hosts.iter().map(|(_, host)| Arc::clone(sites.entry(Arc::clone(&host.label)).or_default())).collect()
    }

    /// Notes that its shard has ended: what it held is free, and what it counted stays.
    pub(crate) fn rest(&self) {
        for gauge in [&self.send_buffers, &self.send_buffers_free, &self.held] {
            gauge.set(0);
        }
    }
}

impl Numbers {
    /// For the one thread that writes these numbers, which serves `hosts`.
    pub(crate) fn new(shard: Arc<ShardNumbers>, hosts: &Hosts) -> Numbers {
        let sites = shard.take_up(hosts);
        Numbers { shard, sites, calls: 0 }
    }

    /// Counts by these hosts from now on.
    pub(crate) fn take_up(&mut self, hosts: &Hosts) {
        self.sites = self.shard.take_up(hosts);
    }

    /// Returns the counters.
    #[inline]
    pub(crate) fn counts(&self) -> &Counters {
        &self.shard.counts
    }

    /// Counts the end of one connection.
    pub(crate) fn end(&self, why: Close) {
        self.shard.counts.end(why);
        if let Some(kind) = Refusal::of(why) {
            self.shard.refuse(kind);
        }
    }

    /// Counts an answer, with this many bytes of content.
    #[inline]
    pub(crate) fn answered(&self, labels: RequestLabels, version: HttpVersion, status: Status, content: u64) {
        let site = self.sites.get(labels.place()).unwrap_or(&self.shard.unrouted);
        site.count(status, labels.0, version, content);
    }

    /// Counts a TLS handshake that has been completed.
    pub(crate) fn negotiated(&self, version: Version, is_resumed: bool) {
        self.shard.counts.handshakes.add(1);
        let place = VERSIONS.iter().position(|known| *known == version);
        if let Some(counters) = place.and_then(|place| self.shard.handshakes.get(place)) {
            counters[usize::from(is_resumed)].add(1);
        }
    }

    /// Notes, between two waits, the state of the ring, and the bytes that peers make the shard
    /// hold.
    #[inline]
    pub(crate) fn note(&mut self, ring: &Stats, send_buffers: u32, held: usize) {
        let shard = &*self.shard;
        shard.calls.add(ring.calls.wrapping_sub(self.calls));
        self.calls = ring.calls;
        shard.send_buffers.set(send_buffers.into());
        shard.send_buffers_free.set(ring.tx_free as u64);
        shard.held.set(held as u64);
    }
}

/// The numbers of a worker: the sum over its shards, before and after restarts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WorkerNumbers {
    /// Counters.
    pub counts: Counts,
    /// TLS handshakes completed, by version.
    pub handshakes: Vec<Handshakes>,
    /// System calls of the engine: of io_uring, `io_uring_enter`; of epoll, all that read, write
    /// and wait.
    pub calls: u64,
    /// Send buffers.
    pub send_buffers: u64,
    /// Those of them that are free.
    pub send_buffers_free: u64,
    /// Bytes that peers make the shards hold: input that waits, handshakes, streams.
    pub held: u64,
    /// Bytes of bodies in memory.
    pub bodies: u64,
    /// How long answers took, from the turn in which a request was first looked at until all of
    /// its answer was handed to the kernel, or was given up; of those that have ended. Nothing,
    /// unless it was asked for ([`Hooks::times`](crate::Hooks::times)).
    pub durations: Durations,
    /// Answers by site, sorted by name. Those that no site gives have an empty name.
    pub sites: Vec<SiteNumbers>,
}

/// TLS handshakes of a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handshakes {
    /// The version.
    pub version: Version,
    /// Those without a ticket of an earlier connection.
    pub whole: u64,
    /// Those with one.
    pub resumed: u64,
}

impl WorkerNumbers {
    /// Adds up what shards have counted. `bodies` are the bytes of bodies in memory.
    pub(crate) fn sum(shards: &[Arc<ShardNumbers>], bodies: u64) -> WorkerNumbers {
        let mut sum = WorkerNumbers { bodies, ..WorkerNumbers::default() };
        let of = |place: usize, is_resumed: usize| {
            let counters = shards.iter().filter_map(|shard| shard.handshakes.get(place));
            counters.map(|counters| counters[is_resumed].get()).sum()
        };
        let handshakes = VERSIONS.iter().enumerate().map(|(place, version)| Handshakes {
            version: *version,
            whole: of(place, 0),
            resumed: of(place, 1),
        });
        sum.handshakes = handshakes.collect();
        let mut sites: BTreeMap<Arc<str>, Sum> = BTreeMap::new();
        for shard in shards {
            sum.counts += shard.counts.get();
            sum.calls += shard.calls.get();
            sum.send_buffers += shard.send_buffers.get();
            sum.send_buffers_free += shard.send_buffers_free.get();
            sum.held += shard.held.get();
            sum.durations += shard.durations.durations();
            sites.entry("".into()).or_default().add(&shard.unrouted);
            // Copied, so that the shard does not wait while they are added up.
            let known: Vec<_> =
                shard.sites().iter().map(|(name, site)| (Arc::clone(name), Arc::clone(site))).collect();
            for (name, site) in known {
                sites.entry(name).or_default().add(&site);
            }
        }
        sum.sites = sites.into_iter().map(|(name, sum)| sum.named(name)).collect();
        sum
    }
}

#[cfg(test)]
mod tests;
