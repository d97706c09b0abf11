//! HTTPS on localhost without a certificate of one's own: a local certificate authority and one
//! certificate.
//!
//! Both are made once, kept in the user's data directory and used until they are about to expire.
//! The authority can do no harm in the hands of others, even where it is trusted: it is limited to
//! localhost by *critical* name constraints, and its private key signs one certificate, is wiped,
//! and never touches a disk. So a renewal is a new authority, and trust must be given again.
//!
//! A stored identity is used when rustls' own verifier, which stands for a browser, accepts it for
//! every name of this machine, now and in [`RENEW_BEFORE`]; when its certificates are exactly what
//! sitar issues; and when no other user can have put it there.

mod authority;
mod form;
mod guarded;
mod place;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;
use store::Store;

pub(crate) use form::is_named_as_ours;
pub(crate) use guarded::{Base, Rule, is_guarded, make_directory, open_file, program, read};
pub use place::Place;
pub(crate) use place::home;

/// The names that the certificate is good for.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A stored identity with less time left than this is renewed: 14 days.
pub const RENEW_BEFORE: Duration = Duration::from_secs(14 * DAY);

/// The validity of a new identity: 397 days. Apple and Chromium take no more than 398 for a
/// server's certificate.
pub const VALIDITY: Duration = Duration::from_secs(397 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// The certificate for localhost, its key, and the authority that clients are to trust.
pub struct LocalIdentity {
    /// The server's certificate chain, PEM.
    pub chain_pem: Vec<u8>,
    /// The server's private key, PEM (PKCS #8); wiped when it is dropped.
    pub key_pem: Zeroizing<Vec<u8>>,
    /// The authority's certificate, PEM.
    pub ca_pem: Vec<u8>,
    /// The path of the authority's certificate, for `curl --cacert`.
    pub ca_path: PathBuf,
    /// SHA-256 fingerprint of the server's certificate, as browsers show it: `AB:CD:…`.
    pub fingerprint: String,
    /// Whether it was there already.
    pub origin: Origin,
}

/// The origin of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there and is good.
    Reused,
    /// There was none.
    Made,
    /// There was one that could not be used any longer; trust given to it is void.
    Renewed(Defect),
}

/// The reason that a stored identity cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// There is none.
    Absent,
    /// A file is missing, unreadable, or not what it should be.
    Damaged,
    /// It belongs to another user, or its certificates are good but not of the form that sitar
    /// issues.
    Foreign,
    /// Others could change a file, or read the key.
    Exposed,
    /// The verifier refuses it now or in [`RENEW_BEFORE`].
    Expiring,
}

impl fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key: debug output ends up in logs.
        f.debug_struct("LocalIdentity")
            .field("ca_path", &self.ca_path)
            .field("fingerprint", &self.fingerprint)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Defect::Absent => "there was none",
            Defect::Damaged => "the old one was damaged",
            Defect::Foreign => "the old one was not made by this user's sitar",
            Defect::Exposed => "others could change the old one or read its key",
            Defect::Expiring => "the old one was about to expire",
        })
    }
}

/// Opens the identity in `place`, making or renewing it where needed.
///
/// Safe to be called by several processes at the same time: all of them get the same identity.
///
/// # Errors
/// The directory is not this user's alone, or cannot be written, or the clock is before 1970.
pub fn open(place: &Place, now: SystemTime) -> Result<LocalIdentity, Error> {
    let since_epoch = now.duration_since(UNIX_EPOCH).map_err(|_| {
        Error::new("the clock of this machine is set before 1970").hint("set it: timedatectl")
    })?;

    // The usual start takes no lock, so it also works where nothing can be written.
    let store = match Store::find(place)? {
        Some(store) => match load(&store, since_epoch) {
            Ok(identity) => return Ok(identity),
            Err(_) => store,
        },
        None => Store::make(place)?,
    };
    let _lock = store.lock()?;
    // Another start may have made it while this one waited for the lock.
    let defect = match load(&store, since_epoch) {
        Ok(identity) => return Ok(identity),
        Err(defect) => defect,
    };
    let files = authority::issue(since_epoch).map_err(|cause| {
        Error::new("cannot make a certificate for localhost")
            .cause(cause)
            .hint("check the clock of this machine")
    })?;
    store.replace(&files)?;

    let origin = if defect == Defect::Absent { Origin::Made } else { Origin::Renewed(defect) };
    match load(&store, since_epoch) {
        Ok(identity) => Ok(LocalIdentity { origin, ..identity }),
        Err(defect) => {
            Err(Error::new(format!("the new certificate in {} cannot be used", store.path().display()))
                .cause(defect)
                .hint("use another directory: XDG_DATA_HOME=/path sitar …"))
        }
    }
}

/// The fingerprint of a certificate in DER as browsers show it: SHA-256, `AB:CD:…`.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn load(store: &Store, since_epoch: Duration) -> Result<LocalIdentity, Defect> {
    let files = store.read()?;
    let damaged = |_| Defect::Damaged;
    let ca = CertificateDer::from_pem_slice(&files.ca).map_err(damaged)?;
    let leaf = CertificateDer::from_pem_slice(&files.chain).map_err(damaged)?;
    let mut key = PrivateKeyDer::from_pem_slice(&files.key).map_err(damaged)?;
    let signing = any_supported_type(&key);
    key.zeroize();
    let fingerprint = fingerprint(&leaf);
    verify(&ca, &leaf, signing.map_err(|_| Defect::Damaged)?, since_epoch)?;
    // A client would be content with less: with other limits, or with a second certificate in the
    // file.
    if !form::is_issued(&files.ca, &files.chain) {
        return Err(Defect::Foreign);
    }
    Ok(LocalIdentity {
        chain_pem: files.chain,
        key_pem: files.key,
        ca_pem: files.ca,
        ca_path: store.ca_path(),
        fingerprint,
        origin: Origin::Reused,
    })
}

/// Asks the verifier that a client would ask.
fn verify(
    ca: &CertificateDer<'static>,
    leaf: &CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
    since_epoch: Duration,
) -> Result<(), Defect> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(|_| Defect::Damaged)?;
    CertifiedKey::new(vec![leaf.clone()], key).keys_match().map_err(|_| Defect::Damaged)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| Defect::Damaged)?;
    for name in NAMES {
        let name = ServerName::try_from(name).map_err(|_| Defect::Damaged)?;
        for moment in [since_epoch, since_epoch.saturating_add(RENEW_BEFORE)] {
            let time = UnixTime::since_unix_epoch(moment);
            verifier.verify_server_cert(leaf, &[], &name, &[], time).map_err(|error| match error {
                rustls::Error::InvalidCertificate(
                    rustls::CertificateError::Expired
                    | rustls::CertificateError::ExpiredContext { .. }
                    | rustls::CertificateError::NotValidYet
                    | rustls::CertificateError::NotValidYetContext { .. },
                ) => Defect::Expiring,
                _ => Defect::Damaged,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
