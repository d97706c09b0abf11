//! Everything that a worker is started from.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use sitar_site::{Budget, OpenError, Options, Site};
use sitar_tls::{ConfigError, Identities, Identity, IdentityError, Version};
use zeroize::Zeroizing;

use crate::access::Networks;
use crate::challenges::Challenges;
use crate::clock::Clock;
use crate::limits::{Limits, TlsOffload};
use crate::log::LogId;
use crate::report::Report;
use crate::snapshot::{ChangeError, Hosts, Role};

/// A worker's task, namely what it serves and how: plain values and descriptors only, so that it
/// can be handed to another process. What cannot be is in [`Hooks`].
pub struct Spec {
    /// Listening sockets. The worker serves on duplicates: the sockets stay open until these are
    /// dropped, too.
    pub listeners: Vec<ListenerSpec>,
    /// The site; `None`: what is served comes with the hooks.
    pub site: Option<SiteSpec>,
    /// Certificates and keys; `None`: no listener speaks TLS.
    pub tls: Option<TlsSpec>,
    /// Limits of each shard.
    pub limits: Limits,
    /// Whether the kernel seals.
    pub offload: TlsOffload,
    /// Memory for bodies, of all shards together.
    pub memory: BodyMemory,
}

/// The listening sockets of one address.
#[derive(Debug)]
pub struct ListenerSpec {
    /// Their use.
    pub role: Role,
    /// Its connections are passed by another process
    /// ([`Listener::passed`](crate::Listener::passed)).
    pub is_passed: bool,
    /// The peers that begin each connection with a header of the PROXY protocol
    /// ([`Listener::behind`](crate::Listener::behind)).
    pub proxies: Networks,
    /// A socket for each shard: of TCP, joined by SO_REUSEPORT, where the kernel chooses one for a
    /// connection; or duplicates of one socket, also a Unix one.
    pub sockets: Vec<OwnedFd>,
}

/// A site to open.
#[derive(Clone, Debug, Default)]
pub struct SiteSpec {
    /// An archive or a directory.
    pub path: PathBuf,
    /// Options for opening it.
    pub options: Options,
}

/// A TLS server to set up.
#[derive(Clone)]
pub struct TlsSpec {
    /// Certificates with their keys; a client that names no host gets the first.
    pub identities: Vec<Pem>,
    /// Host names with those of `identities` that are for them, by their places. Another host gets
    /// one that names it.
    pub by_host: Vec<(String, Vec<usize>)>,
    /// Application protocols (RFC 7301) in order of preference.
    pub protocols: Vec<Vec<u8>>,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// Records that one key may seal, should that be fewer than its AEAD allows. For tests of what
    /// happens at the limit.
    pub seals_max: Option<u64>,
}

/// A certificate chain and its key, in PEM. The key is wiped when it is dropped.
#[derive(Clone)]
pub struct Pem {
    /// The server's own certificate, and those that certify it.
    pub chain: Vec<u8>,
    /// The private key.
    pub key: Zeroizing<Vec<u8>>,
}

/// Bytes that bodies may take in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BodyMemory {
    /// All together.
    pub total: u64,
    /// Each. Larger ones are read from the disk each time.
    pub per_file: u64,
}

/// The values that go with a [`Spec`] and cannot leave the process.
#[derive(Clone)]
pub struct Hooks {
    /// The wall clock.
    pub clock: Clock,
    /// Callback for incidents.
    pub report: Report,
    /// What is served, where the caller has opened it already, to watch it for example.
    pub hosts: Option<Hosts>,
    /// Whether there may ever be users, whose passwords a thread verifies.
    pub may_have_users: bool,
    /// The configuration of TLS, where the caller has made it already; the spec then has none.
    pub tls: Option<sitar_tls::Config>,
    /// The log of answers that no host gives ([`Snapshot::log`](crate::Snapshot::log)).
    pub log: Option<LogId>,
    /// Proxies whose word about their clients is believed, for logs.
    pub trusted_proxies: Arc<Networks>,
    /// The challenges of ACME authorities that are pending at the start.
    pub challenges: Arc<Challenges>,
    /// Whether the durations of answers are counted.
    pub times: bool,
}

impl fmt::Debug for Pem {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

impl BodyMemory {
    /// Memory of `total` bytes, of which no file may take more than `per_file`.
    #[must_use]
    pub const fn new(total: u64, per_file: u64) -> BodyMemory {
        BodyMemory { total, per_file }
    }

    pub(crate) fn budget(self) -> Budget {
        Budget::new(self.total, self.per_file)
    }
}

impl Spec {
    /// Returns the number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.listeners.first().map_or(0, |listener| listener.sockets.len())
    }

    /// Returns the hosts of the hooks, or opens the spec's site.
    pub(crate) fn open_hosts(&self, hooks: &Hooks) -> Result<Hosts, StartError> {
        match (&hooks.hosts, &self.site) {
            (Some(hosts), _) => Ok(hosts.clone()),
            (None, Some(spec)) => {
                let site = Site::open(&spec.path, &spec.options).map_err(StartError::Site)?;
                Ok(Hosts::one(Arc::new(site)))
            }
            (None, None) => Err(StartError::NoSite),
        }
    }
}

impl TlsSpec {
    /// Reads certificates and keys, and makes new keys for tickets.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn config(&self) -> Result<sitar_tls::Config, StartError> {
        let all = self.identities.iter().map(|pem| Identity::from_pem(&pem.chain, &pem.key));
        let all = all.collect::<Result<Vec<_>, _>>().map_err(StartError::Identity)?;
        let own = |places: &Vec<usize>| places.iter().filter_map(|&place| all.get(place).cloned()).collect();
        let by_host = self.by_host.iter().map(|(host, places)| (host.clone(), own(places))).collect();
        let protocols: Vec<&[u8]> = self.protocols.iter().map(Vec::as_slice).collect();
        let identities = Identities { all, by_host, clients: Vec::new() };
        let config = sitar_tls::Config::with_min_version(identities, &protocols, self.min_version)
            .map_err(StartError::Tls)?;
        Ok(match self.seals_max {
            Some(max) => config.limit_seals(max),
            None => config,
        })
    }
}

/// The reason why a worker did not start, or did not change.
#[derive(Debug)]
pub enum StartError {
    /// The site cannot be opened.
    Site(OpenError),
    /// Neither the spec nor the hooks name a site.
    NoSite,
    /// A certificate or its key cannot be used.
    Identity(IdentityError),
    /// TLS cannot be set up.
    Tls(ConfigError),
    /// The listening sockets cannot be duplicated.
    Listeners(io::Error),
    /// The running worker cannot be changed in this way.
    Change(ChangeError),
    /// The system refused a thread or a descriptor.
    Io(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::Io(error)
    }
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> io::Error {
        match error {
            StartError::Io(error) | StartError::Listeners(error) => error,
            other => io::Error::other(other.to_string()),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Site(error) => error.fmt(f),
            StartError::NoSite => f.write_str("there is no site to serve"),
            StartError::Identity(error) => error.fmt(f),
            StartError::Tls(error) => error.fmt(f),
            StartError::Change(error) => error.fmt(f),
            StartError::Io(error) | StartError::Listeners(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}
