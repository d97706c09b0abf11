//! The snapshot that a worker serves from: one immutable value that is replaced as a whole.
//!
//! A site, a certificate or a limit changes in one way: a new [`Snapshot`] is made from the last
//! one, and each shard takes it up between two events. So no request sees half of a change.

mod hosts;

use std::sync::{Arc, Mutex, PoisonError};

use sitar_site::{FileId, Site};

pub use self::hosts::{Host, HostId, Hosts, HostsError};
use crate::limits::Limits;

/// Everything that a worker serves from at one time.
#[derive(Clone)]
pub struct Snapshot {
    /// Counts the snapshots of a worker, from 0. Set by the helper thread.
    pub(crate) number: u64,
    /// The sites, by host name.
    pub hosts: Hosts,
    /// Certificates, keys and protocols of connections that are accepted from now on; `None`: plain
    /// HTTP.
    pub tls: Option<sitar_tls::Config>,
    /// Limits of each shard. Tables and buffers keep the sizes that they were made with.
    pub limits: Limits,
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
    /// Connections that expect TLS would get plain HTTP, or the other way round: that takes another
    /// listening socket.
    Encryption,
    /// The worker has ended.
    Ended,
}

impl std::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ChangeError::Encryption => "TLS cannot be turned on or off while serving",
            ChangeError::Ended => "the worker has ended",
        })
    }
}

impl std::error::Error for ChangeError {}

impl Snapshot {
    /// The first snapshot of a worker.
    #[must_use]
    pub fn new(hosts: Hosts, tls: Option<sitar_tls::Config>, limits: Limits) -> Snapshot {
        Snapshot { number: 0, hosts, tls, limits }
    }

    /// Returns the site of a host of this snapshot.
    pub(crate) fn site(&self, host: HostId) -> Option<&Arc<Site>> {
        self.hosts.get(host).map(|host| &host.site)
    }

    /// Returns this as a successor of `last`, with the sizes that cannot change.
    ///
    /// # Errors
    /// A listening socket would change between TLS and plain HTTP.
    pub(crate) fn after(mut self, last: &Snapshot) -> Result<Snapshot, ChangeError> {
        if self.tls.is_some() != last.tls.is_some() {
            return Err(ChangeError::Encryption);
        }
        self.limits = self.limits.with_sizes_of(&last.limits);
        Ok(self)
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
