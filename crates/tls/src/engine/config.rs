//! The configuration that all handshakes of a server share.

use super::identity::Identity;
use super::keys::{Catcher, tell_server_name};
use super::provider;
use crate::record::Version;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The configuration of a server. Clones share everything, ticket keys included, so that a session
/// that one shard made can be resumed on another.
#[derive(Clone)]
pub struct Config {
    server: Arc<ServerConfig>,
    min: Version,
    seals_max: Option<u64>,
}

impl Config {
    /// Creates a configuration with new ticket keys, for TLS 1.3 and 1.2.
    ///
    /// A client gets the identity whose certificate names the host that it asks for: the exact
    /// name, else a wildcard, else the first identity. Among several that fit it gets the first one
    /// that it can verify, so that an ECDSA and an RSA certificate may stand side by side. `alpn`
    /// is in order of preference; a client that offers only other protocols is refused.
    ///
    /// Tickets are sealed under keys that only this configuration has. A new key is made every six
    /// hours, and the one before it still opens, so a ticket lives for six to twelve hours.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(identities: Vec<Identity>, alpn: &[&[u8]]) -> Result<Self, ConfigError> {
        Self::with_min_version(identities, alpn, Version::Tls12)
    }

    /// Creates a configuration for version `min` and later ones only; others are refused with
    /// protocol_version.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn with_min_version(
        identities: Vec<Identity>,
        alpn: &[&[u8]],
        min: Version,
    ) -> Result<Self, ConfigError> {
        let tickets = Ticketer::new().map_err(|error| ConfigError::Library(error.to_string()))?;
        Self::build(identities, alpn, min, tickets)
    }

    /// Creates a configuration with the ticket keys and versions of this one, so that clients still
    /// resume after a reload.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn renewed(&self, identities: Vec<Identity>, alpn: &[&[u8]]) -> Result<Self, ConfigError> {
        let renewed = Self::build(identities, alpn, self.min, Arc::clone(&self.server.ticketer))?;
        Ok(Self { seals_max: self.seals_max, ..renewed })
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
        identities: Vec<Identity>,
        alpn: &[&[u8]],
        min: Version,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<Self, ConfigError> {
        if identities.is_empty() {
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
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)
            .map_err(|error| ConfigError::Library(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Identities::new(identities)));
        server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        server.enable_secret_extraction = true;
        server.key_log = Arc::new(Catcher);
        server.ignore_client_order = true;
        server.ticketer = tickets;
        // Tickets carry the whole session: nothing to share between shards, and nothing to fill.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        // Early data can be replayed, and half-RTT data goes to a peer that has proved nothing.
        server.max_early_data_size = 0;
        server.send_half_rtt_data = false;
        Ok(Self { server: Arc::new(server), min, seals_max: None })
    }

    pub(super) fn seals_max(&self) -> Option<u64> {
        self.seals_max
    }

    pub(super) fn server(&self) -> &Arc<ServerConfig> {
        &self.server
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
struct Identities {
    /// All identities in the order given; never empty.
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Identities of wildcards, by the name behind `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Identities {
    fn new(identities: Vec<Identity>) -> Self {
        let mut this = Self { all: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() };
        for identity in identities {
            for name in identity.names() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wildcard, parent),
                    None => (&mut this.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(Arc::clone(identity.key()));
            }
            this.all.push(Arc::clone(identity.key()));
        }
        this
    }

    fn named(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.to_ascii_lowercase();
        if let Some(keys) = self.exact.get(&name) {
            return keys;
        }
        // RFC 6125 §6.4.3: the asterisk stands for exactly one label.
        let parent = name.split_once('.').map(|(_, parent)| parent);
        parent.and_then(|parent| self.wildcard.get(parent)).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        tell_server_name(hello.server_name());
        let candidates = hello.server_name().map_or(self.all.as_slice(), |name| self.named(name));
        let schemes = hello.signature_schemes();
        candidates
            .iter()
            .find(|identity| identity.key.choose_scheme(schemes).is_some())
            // None fits: let the handshake fail with the alert that says so.
            .or(candidates.first())
            .cloned()
    }
}
