//! The snapshot that a worker serves from: one immutable value that is replaced as a whole.
//!
//! A site, a certificate or a limit changes in one way: a new [`Snapshot`] is made from the last
//! one, and each shard takes it up between two events. So no request sees half of a change.

mod host;
mod hosts;
mod listeners;

use std::sync::{Arc, Mutex, PoisonError};

use sitar_site::{FileId, Site};

pub use self::host::{Host, HostContent, HostRedirect, Pages};
pub use self::hosts::{HostId, Hosts, HostsError};
pub(crate) use self::hosts::{NameId, host_of};
pub use self::listeners::{Listener, Role};
use crate::access::Networks;
use crate::challenges::Challenges;
use crate::limits::Limits;
use crate::log::{LogId, Wants};

/// Everything that a worker serves from at one time.
#[derive(Clone)]
pub struct Snapshot {
    /// Counts the snapshots of a worker, from 0. Set by the helper thread.
    pub(crate) number: u64,
    /// The sites, by host name.
    pub hosts: Hosts,
    /// The listeners; connections stay when theirs goes.
    pub listeners: Arc<[Listener]>,
    /// Certificates, keys and protocols of connections that are accepted from now on; `None`: no
    /// listener speaks TLS. Ticket keys stay those of the snapshot before, so clients still resume.
    pub tls: Option<sitar_tls::Config>,
    /// Limits of each shard. Tables and buffers keep the sizes that they were made with.
    pub limits: Limits,
    /// The log of answers that no host gives: to a request that could not be read, and to one for a
    /// host that is not served.
    pub log: Option<LogId>,
    /// Proxies whose word about their clients is believed, for logs.
    pub trusted_proxies: Arc<Networks>,
    /// The pending challenges of ACME authorities, which come before all hosts.
    pub challenges: Arc<Challenges>,
}

/// A file of one of a snapshot's hosts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct FileKey {
    pub(crate) host: HostId,
    pub(crate) file: FileId,
}

/// The reason why a change of the snapshot was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChangeError {
    /// A listener speaks TLS, and there is no certificate; or there is one, and no listener does.
    Encryption,
    /// There is no listener, or one has sockets for another number of shards.
    Listeners,
    /// The worker has ended.
    Ended,
}

impl std::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ChangeError::Encryption => "certificates and listeners that speak TLS go together",
            ChangeError::Listeners => "each listener needs a socket for each shard",
            ChangeError::Ended => "the worker has ended",
        })
    }
}

impl std::error::Error for ChangeError {}

impl Snapshot {
    /// The first snapshot of a worker.
    #[must_use]
    pub fn new(
        hosts: Hosts,
        listeners: Vec<Listener>,
        tls: Option<sitar_tls::Config>,
        limits: Limits,
    ) -> Snapshot {
        let trusted_proxies = Arc::default();
        let (listeners, challenges) = (listeners.into(), Arc::default());
        Snapshot { number: 0, hosts, listeners, tls, limits, log: None, trusted_proxies, challenges }
    }

    /// Returns whether requests are answered only where it is known who asks. Then nothing is
    /// received of a connection before the kernel has said who its peer is.
    #[must_use]
    pub fn needs_peers(&self) -> bool {
        self.hosts.iter().any(|(_, host)| host.access.is_some())
            || self.listeners.iter().any(Listener::has_proxies)
    }

    /// Returns whether some answers are logged.
    pub(crate) fn has_logs(&self) -> bool {
        self.log.is_some() || self.hosts.iter().any(|(_, host)| host.log.is_some())
    }

    /// Returns what it says of logs.
    pub(crate) fn log_wants(&self) -> Wants {
        let hosts = self.hosts.iter().map(|(_, host)| host.log).collect();
        let labels = self.hosts.iter().map(|(_, host)| Arc::clone(&host.label)).collect();
        Wants { hosts, others: self.log, trusted: Arc::clone(&self.trusted_proxies), labels }
    }

    /// Returns the site of a host of this snapshot.
    pub(crate) fn site(&self, host: HostId) -> Option<&Arc<Site>> {
        self.hosts.get(host)?.site()
    }

    /// Checks that listeners and certificates go together.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn check(&self) -> Result<(), ChangeError> {
        let is_https = |listener: &Listener| listener.role() == Role::Https;
        if self.listeners.iter().any(is_https) != self.tls.is_some() {
            return Err(ChangeError::Encryption);
        }
        Ok(())
    }

    /// Returns this with its challenges in its configuration of TLS.
    pub(crate) fn answering(mut self) -> Snapshot {
        self.tls = self.tls.map(|tls| tls.with_challenges(self.challenges.certificates()));
        self
    }

    /// Returns this as a successor of `last`, with its ticket keys and with the sizes that cannot
    /// change.
    ///
    /// # Errors
    /// Listeners and certificates do not go together, or a listener is not for these shards.
    pub(crate) fn after(mut self, last: &Snapshot) -> Result<Snapshot, ChangeError> {
        self.check()?;
        let shards = last.listeners.first().map_or(0, Listener::shards);
        let is_old = |listener: &Listener| last.listeners.iter().any(|other| other.is(listener));
        let fits = |listener: &Listener| is_old(listener) || listener.shards() == shards;
        if self.listeners.is_empty() || !self.listeners.iter().all(fits) {
            return Err(ChangeError::Listeners);
        }
        if let Some(last) = &last.tls {
            self.tls = self.tls.map(|tls| tls.with_tickets_of(last));
        }
        self.limits = self.limits.with_sizes_of(&last.limits);
        Ok(self.answering())
    }
}

/// The latest snapshot, for shards that are started or started again.
#[derive(Clone)]
pub(crate) struct LatestSnapshot(Arc<Mutex<Arc<Snapshot>>>);

impl LatestSnapshot {
    pub(crate) fn new(first: Snapshot) -> LatestSnapshot {
        LatestSnapshot(Arc::new(Mutex::new(Arc::new(first))))
    }

    pub(crate) fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, snapshot: &Arc<Snapshot>) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *latest, Arc::clone(snapshot));
        drop(latest);
        // After the lock: it may be the last handle of a large site.
        drop(old);
    }
}

#[cfg(test)]
mod tests;
