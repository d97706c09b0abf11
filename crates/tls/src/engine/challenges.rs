//! Certificates that answer challenges of ACME authorities in a handshake (RFC 8737).

use super::identity::{self, IdentityError};
use super::{finished, provider};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The protocol that only an authority offers (RFC 8737 §6.2).
const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// The pending challenges by TLS-ALPN-01: a certificate for each name.
///
/// A connection gets one of them only if its ClientHello names a pending name and offers the
/// protocol `acme-tls/1` and no other. No browser does.
#[derive(Clone)]
pub struct Challenges {
    by_name: HashMap<Box<str>, Arc<ServerConfig>>,
    provider: Arc<CryptoProvider>,
}

impl Challenges {
    /// Creates a set without challenges.
    #[must_use]
    pub fn new() -> Challenges {
        Challenges { by_name: HashMap::new(), provider: Arc::new(provider()) }
    }

    /// Returns how many are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns whether none is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds a challenge, in the place of an earlier one of that name. `server_name` is the name in
    /// the ClientHello: the name that is validated, or the reverse name of an address (RFC 8738
    /// §6). `chain` and `key` are PEM; the certificate may have an extension that only an authority
    /// knows.
    ///
    /// # Errors
    /// The certificate or the key cannot be used, or they do not belong together.
    pub fn add(&mut self, server_name: &str, chain: &[u8], key: &[u8]) -> Result<(), IdentityError> {
        let key = identity::challenge_key(chain, key)?;
        // RFC 8737 §3: the authority speaks TLS 1.2 or later, whatever the site wants.
        let server = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| IdentityError::BadCertificate(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Only(key)));
        // One that makes none.
        let tickets = Arc::clone(&server.ticketer);
        let mut server = finished(server, &[ACME_TLS_1], tickets);
        server.send_tls13_tickets = 0;
        self.by_name.insert(server_name.to_ascii_lowercase().into(), Arc::new(server));
        Ok(())
    }

    /// Returns the configuration that answers a challenge; `None`: this is none that is pending.
    pub(super) fn get(&self, hello: &ClientHello<'_>) -> Option<&Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(ACME_TLS_1) || offered.next().is_some() {
            return None;
        }
        let name = hello.server_name()?;
        self.by_name.get(&*name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
    }
}

impl Default for Challenges {
    fn default() -> Challenges {
        Challenges::new()
    }
}

impl fmt::Debug for Challenges {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The only certificate of a configuration. rustls' own type for it looks into the certificate, and
/// refuses the extension of a challenge.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
