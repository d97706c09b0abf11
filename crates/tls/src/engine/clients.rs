//! Certificates of clients: which hosts ask for one, and what has to certify it.
//!
//! rustls takes one configuration for a connection, and the host is known only from the
//! ClientHello, so that is read beforehand where some host asks for certificates (`chooser.rs`).

use super::identity::{self, IdentityError};
use super::provider;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Certificates that certify those of clients. Two are equal if they are the same certificates in
/// the same order.
#[derive(Clone)]
pub struct ClientCa {
    inner: Arc<Inner>,
}

struct Inner {
    digest: [u8; 32],
    verifier: Arc<dyn ClientCertVerifier>,
}

/// The hosts of a site, and whether their clients need a certificate.
#[derive(Clone, Debug)]
pub struct HostClients {
    /// Host names in lower case; `*.example.com` stands for each name with one label more.
    pub names: Vec<String>,
    /// The site also answers to names that no host has, and to clients that name none.
    pub is_default: bool,
    /// What certifies the clients; `None`: they need no certificate.
    pub ca: Option<ClientCa>,
}

impl ClientCa {
    /// Reads certificates from PEM. Other sections are ignored.
    ///
    /// # Errors
    /// There are none, or more than can be asked for in a handshake, or one cannot be read; or the
    /// TLS library refuses them.
    pub fn from_pem(pem: &[u8]) -> Result<ClientCa, IdentityError> {
        let certificates = identity::certificates(pem)?;
        let (mut roots, mut digest) = (RootCertStore::empty(), Context::new(&SHA256));
        for certificate in certificates {
            digest.update(&(certificate.len() as u64).to_be_bytes());
            digest.update(&certificate);
            roots.add(certificate).map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
        let verifier = verifier.build().map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
        let mut inner = Inner { digest: [0; 32], verifier };
        inner.digest.copy_from_slice(digest.finish().as_ref());
        Ok(ClientCa { inner: Arc::new(inner) })
    }

    /// Checks a client's certificate, and those that certify it, at a time.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>], now: Option<UnixTime>) -> Result<(), Error> {
        let (own, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = now.ok_or(Error::FailedToGetCurrentTime)?;
        self.inner.verifier.verify_client_cert(own, others, now).map(|_| ())
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.inner.verifier)
    }
}

impl PartialEq for ClientCa {
    fn eq(&self, other: &ClientCa) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner.digest == other.inner.digest
    }
}

impl Eq for ClientCa {}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa").finish_non_exhaustive()
    }
}

/// The configuration of hosts whose clients need a certificate.
#[derive(Clone)]
pub(super) struct Guarded {
    pub(super) ca: ClientCa,
    pub(super) server: Arc<ServerConfig>,
    /// The names that it is for, to be found again after a reload.
    names: Vec<String>,
    is_default: bool,
}

/// The configurations of all hosts, by name. Without one, a host has that of the server.
#[derive(Clone, Default)]
pub(super) struct ByHost {
    guarded: Vec<Guarded>,
    /// By name, and by what stands behind `*.`.
    exact: HashMap<String, Option<usize>>,
    wildcard: HashMap<String, Option<usize>>,
    default: Option<usize>,
}

impl ByHost {
    /// Returns the configurations of hosts that need one of their own, made by `make`; `None`: no
    /// host does.
    pub(super) fn new<E>(
        hosts: &[HostClients],
        mut make: impl FnMut(&ClientCa) -> Result<ServerConfig, E>,
    ) -> Result<Option<Arc<ByHost>>, E> {
        let mut by_host = ByHost::default();
        for HostClients { names, is_default, ca } in hosts {
            let place = match ca {
                None => None,
                Some(ca) => {
                    let server = Arc::new(make(ca)?);
                    let (names, is_default) = (names.clone(), *is_default);
                    by_host.guarded.push(Guarded { ca: ca.clone(), server, names, is_default });
                    Some(by_host.guarded.len() - 1)
                }
            };
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_host.wildcard, parent),
                    None => (&mut by_host.exact, name.as_str()),
                };
                map.insert(name.to_owned(), place);
            }
            if *is_default {
                by_host.default = place;
            }
        }
        Ok((!by_host.guarded.is_empty()).then(|| Arc::new(by_host)))
    }

    /// Finds the configuration for the name that a client asks for, in the way in which the host of
    /// a request is found.
    pub(super) fn get(&self, name: Option<&str>) -> Option<&Guarded> {
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
        let exact = |name: &String| self.exact.get(name).copied();
        let by_wildcard = |name: &String| self.wildcard.get(name.split_once('.')?.1).copied();
        let place = name.as_ref().and_then(|name| exact(name).or_else(|| by_wildcard(name)));
        self.guarded.get(place.unwrap_or(self.default)?)
    }

    /// Returns the same at a time that a test chooses.
    #[cfg(test)]
    pub(super) fn at(&self, time: &Arc<dyn rustls::time_provider::TimeProvider>) -> ByHost {
        let mut next = self.clone();
        for guarded in &mut next.guarded {
            let mut server = (*guarded.server).clone();
            server.time_provider = Arc::clone(time);
            guarded.server = Arc::new(server);
        }
        next
    }

    /// Returns the same with the ticket keys of `last`, where hosts and certificates are the same.
    /// Any others have new keys, so that no ticket of another host, or of a client that something
    /// else had certified, is worth anything.
    pub(super) fn with_tickets_of(&self, last: &ByHost) -> ByHost {
        let mut next = self.clone();
        for guarded in &mut next.guarded {
            let is_same = |other: &&Guarded| {
                (&other.ca, &other.names, other.is_default)
                    == (&guarded.ca, &guarded.names, guarded.is_default)
            };
            if let Some(before) = last.guarded.iter().find(is_same) {
                let mut server = (*guarded.server).clone();
                server.ticketer = Arc::clone(&before.server.ticketer);
                guarded.server = Arc::new(server);
            }
        }
        next
    }
}
