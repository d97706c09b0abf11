//! The configuration that all handshakes of a server share.

use super::challenges::Challenges;
use super::chooser::{Choices, Chooser};
use super::clients::{ByHost, ClientCa, HostClients};
use super::identity::{CertificateNames, Identity};
use super::keys::tell_chosen;
use super::{finished, provider};
use crate::record::Version;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The certificates of a server, and the hosts that some of them are for.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    /// All of them, for clients that name none of [`by_host`](Identities::by_host). One that names
    /// no host at all gets the first.
    pub all: Vec<Identity>,
    /// Host names in lower case, each with its own identities, which are preferred to whatever
    /// others say in their certificates. `*.example.com` stands for each name with one label more.
    pub by_host: Vec<(String, Vec<Identity>)>,
    /// All hosts, and whether their clients need a certificate; may be left empty where none does.
    pub clients: Vec<HostClients>,
}

impl From<Vec<Identity>> for Identities {
    fn from(all: Vec<Identity>) -> Identities {
        Identities { all, ..Identities::default() }
    }
}

/// The configuration of a server. Clones share everything, ticket keys included, so that a session
/// that one shard made can be resumed on another.
#[derive(Clone)]
pub struct Config {
    server: Arc<ServerConfig>,
    /// The configurations of some connections, by their first message.
    choices: Choices,
    min: Version,
    seals_max: Option<u64>,
}

impl Config {
    /// Creates a configuration with new ticket keys, for TLS 1.3 and 1.2.
    ///
    /// A client gets the identity of the host that it asks for, else the one whose certificate
    /// names that host: the exact name, else a wildcard, else the first identity. Among several
    /// that fit it gets the first one that it can verify, so that an ECDSA and an RSA certificate
    /// may stand side by side. `alpn` is in order of preference; a client that offers only other
    /// protocols is refused.
    ///
    /// Tickets are sealed under keys that only this configuration has. A new key is made every six
    /// hours, and the one before it still opens, so a ticket lives for six to twelve hours.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(identities: impl Into<Identities>, alpn: &[&[u8]]) -> Result<Self, ConfigError> {
        Self::with_min_version(identities, alpn, Version::Tls12)
    }

    /// Creates a configuration for version `min` and later ones only; others are refused with
    /// protocol_version.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn with_min_version(
        identities: impl Into<Identities>,
        alpn: &[&[u8]],
        min: Version,
    ) -> Result<Self, ConfigError> {
        let tickets = Ticketer::new().map_err(|error| ConfigError::Library(error.to_string()))?;
        Self::build(&identities.into(), alpn, min, tickets)
    }

    /// Returns this configuration with the ticket keys of `last`, so that clients that have tickets
    /// from before a change still resume. Those of a host whose clients need a certificate only if
    /// its names, and what certifies its clients, are the same.
    #[must_use]
    pub fn with_tickets_of(mut self, last: &Config) -> Self {
        if let (Some(guarded), Some(last)) = (&self.choices.guarded, &last.choices.guarded)
            && !Arc::ptr_eq(guarded, last)
        {
            self.choices.guarded = Some(Arc::new(guarded.with_tickets_of(last)));
        }
        let ticketer = Arc::clone(&last.server.ticketer);
        if Arc::ptr_eq(&ticketer, &self.server.ticketer) {
            return self;
        }
        match Arc::get_mut(&mut self.server) {
            Some(server) => server.ticketer = ticketer,
            None => {
                let mut server = (*self.server).clone();
                server.ticketer = ticketer;
                self.server = Arc::new(server);
            }
        }
        self
    }

    /// Creates a configuration with the ticket keys and versions of this one, so that clients still
    /// resume after a reload.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn renewed(&self, identities: impl Into<Identities>, alpn: &[&[u8]]) -> Result<Self, ConfigError> {
        let tickets = Arc::clone(&self.server.ticketer);
        let renewed = Self::build(&identities.into(), alpn, self.min, tickets)?;
        let choices = Choices { guarded: renewed.choices.guarded, ..self.choices.clone() };
        Ok(Self { seals_max: self.seals_max, choices, ..renewed })
    }

    /// Returns this configuration with these challenges pending, and none of those before. All else
    /// is the same, ticket keys included. With challenges pending, each ClientHello is parsed
    /// twice.
    #[must_use]
    pub fn with_challenges(mut self, challenges: &Arc<Challenges>) -> Self {
        self.choices.challenges = Some(challenges).filter(|challenges| !challenges.is_empty()).cloned();
        self
    }

    /// Limits a sending key to `max` records, should its AEAD allow more; for tests of the limit.
    #[must_use]
    pub fn limit_seals(self, max: u64) -> Self {
        Self { seals_max: Some(max), ..self }
    }

    /// Returns the ticketer; for tests.
    #[cfg(test)]
    pub(crate) fn tickets(&self) -> &dyn ProducesTickets {
        &*self.server.ticketer
    }

    /// Replaces the ticketer; for tests.
    #[cfg(test)]
    pub(crate) fn with_tickets(self, tickets: Arc<dyn ProducesTickets>) -> Self {
        let mut server = (*self.server).clone();
        server.ticketer = tickets;
        Self { server: Arc::new(server), ..self }
    }

    fn build(
        identities: &Identities,
        alpn: &[&[u8]],
        min: Version,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<Self, ConfigError> {
        if identities.all.is_empty() {
            return Err(ConfigError::NoIdentity);
        }
        // RFC 7301 §3.1: a protocol name has 1 to 255 bytes.
        if alpn.iter().any(|name| name.is_empty() || name.len() > 255) {
            return Err(ConfigError::BadProtocolName);
        }
        let versions: &[&SupportedProtocolVersion] = match min {
            Version::Tls12 => &[&TLS13, &TLS12],
            Version::Tls13 => &[&TLS13],
        };
        let resolver = Arc::new(Resolver::new(identities));
        let library = |error: rustls::Error| ConfigError::Library(error.to_string());
        let make = |ca: Option<&ClientCa>, tickets| {
            let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
                .with_protocol_versions(versions)
                .map_err(library)?;
            let builder = match ca {
                None => builder.with_no_client_auth(),
                Some(ca) => builder.with_client_cert_verifier(ca.verifier()),
            };
            let server = builder.with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
            Ok::<_, ConfigError>(finished(server, alpn, tickets))
        };
        let guarded =
            ByHost::new(&identities.clients, |ca| make(Some(ca), Ticketer::new().map_err(library)?))?;
        let server = Arc::new(make(None, tickets)?);
        Ok(Self { server, choices: Choices { guarded, challenges: None }, min, seals_max: None })
    }

    /// Returns this configuration with another clock, for hosts whose clients need a certificate.
    #[cfg(test)]
    pub(crate) fn at(mut self, time: &Arc<dyn rustls::time_provider::TimeProvider>) -> Self {
        self.choices.guarded = self.choices.guarded.map(|guarded| Arc::new(guarded.at(time)));
        self
    }

    pub(super) fn seals_max(&self) -> Option<u64> {
        self.seals_max
    }

    pub(super) fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// Returns what chooses another configuration for a connection; `None`: there is no other.
    pub(super) fn chooser(&self) -> Option<Chooser> {
        Chooser::new(&self.choices)
    }
}

impl fmt::Debug for Config {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// The reason why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A server needs a certificate.
    NoIdentity,
    /// An ALPN protocol name is empty or longer than 255 bytes.
    BadProtocolName,
    /// The TLS library refused, in its words.
    Library(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity => f.write_str("a TLS server needs at least one certificate"),
            Self::BadProtocolName => f.write_str("an ALPN protocol name has 1 to 255 bytes"),
            Self::Library(why) => write!(f, "the TLS library refused the configuration: {why}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The identities of a server, of which the name in the ClientHello chooses one.
#[derive(Debug)]
struct Resolver {
    /// All identities in the order given; never empty.
    all: Vec<Chosen>,
    /// Identities that are for a host, before those that only name it.
    own: ByName,
    named: ByName,
}

/// An identity that may be chosen.
#[derive(Clone, Debug)]
struct Chosen {
    key: Arc<CertifiedKey>,
    names: Arc<CertificateNames>,
}

/// Identities by host name.
#[derive(Debug, Default)]
struct ByName {
    exact: HashMap<String, Vec<Chosen>>,
    /// Those of wildcards, by the name behind `*.`.
    wildcard: HashMap<String, Vec<Chosen>>,
}

impl ByName {
    fn add(&mut self, name: &str, identity: &Identity) {
        let (map, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name),
        };
        map.entry(name.to_owned()).or_default().push(Chosen::of(identity));
    }

    fn get(&self, name: &str) -> Option<&[Chosen]> {
        // RFC 6125 §6.4.3: the asterisk stands for exactly one label.
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(by_wildcard).map(Vec::as_slice)
    }
}

impl Chosen {
    fn of(identity: &Identity) -> Chosen {
        Chosen { key: Arc::clone(identity.key()), names: Arc::clone(identity.certificate_names()) }
    }
}

impl Resolver {
    fn new(identities: &Identities) -> Self {
        let (mut own, mut named) = (ByName::default(), ByName::default());
        for identity in &identities.all {
            for name in identity.names() {
                named.add(name, identity);
            }
        }
        for (name, identities) in &identities.by_host {
            for identity in identities {
                own.add(name, identity);
            }
        }
        Self { all: identities.all.iter().map(Chosen::of).collect(), own, named }
    }

    fn named(&self, name: &str) -> &[Chosen] {
        let name = name.to_ascii_lowercase();
        self.own.get(&name).or_else(|| self.named.get(&name)).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Some clients leave the dot of the root there, which RFC 6066 §3 has them take away.
        let server_name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name));
        let candidates = server_name.map_or(self.all.as_slice(), |name| self.named(name));
        let schemes = hello.signature_schemes();
        let chosen = candidates
            .iter()
            .find(|chosen| chosen.key.key.choose_scheme(schemes).is_some())
            // None fits: let the handshake fail with the alert that says so.
            .or(candidates.first());
        tell_chosen(server_name, chosen.map(|chosen| &chosen.names));
        chosen.map(|chosen| Arc::clone(&chosen.key))
    }
}
