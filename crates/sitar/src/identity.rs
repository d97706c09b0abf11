//! HTTPS on localhost without a certificate of one's own: a local certificate authority and one certificate.
//!
//! Both are made once, kept in the user's data directory and used until they are about to expire. The authority
//! can do no harm in the hands of others, even where it is trusted: it is limited to localhost by *critical* name
//! constraints, and its private key signs one certificate, is wiped, and never touches a disk. So a renewal is a
//! new authority, and trust must be given anew.
//!
//! A stored identity is judged by what a browser would do: it is used when rustls' own verifier accepts it for
//! every name of this machine, now and in [`RENEW_BEFORE`].

mod authority;
mod store;

use std::env;
use std::fmt;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::error::Error;
use store::Store;

/// The names that the certificate is good for.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A stored identity with less time left than this is renewed: 14 days.
pub const RENEW_BEFORE: Duration = Duration::from_secs(14 * DAY);

/// How long a new identity is valid: 397 days. Apple and Chromium take no more than 398 for a server's certificate.
pub const VALIDITY: Duration = Duration::from_secs(397 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// The certificate for localhost, its key, and the authority that clients are to trust.
pub struct LocalIdentity {
    /// The server's certificate chain, PEM.
    pub chain_pem: Vec<u8>,
    /// The server's private key, PEM (PKCS #8).
    pub key_pem: Vec<u8>,
    /// The authority's certificate, PEM.
    pub ca_pem: Vec<u8>,
    /// Where the authority's certificate lies, for `curl --cacert`.
    pub ca_path: PathBuf,
    /// SHA-256 fingerprint of the server's certificate, as browsers show it: `AB:CD:…`.
    pub fingerprint: String,
    /// Whether it was there already.
    pub origin: Origin,
}

/// Where an identity came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there and is good.
    Reused,
    /// There was none.
    Made,
    /// There was one that could not be used any longer; trust given to it is void.
    Renewed(Defect),
}

/// Why a stored identity cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// There is none.
    Absent,
    /// A file is missing, unreadable, or not what it should be.
    Damaged,
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
            Defect::Expiring => "the old one was about to expire",
        })
    }
}

/// Opens the identity in `directory` (see [`data_directory`]), making or renewing it where needed.
///
/// Safe to be called by several processes at the same time: all of them get the same identity.
///
/// # Errors
/// The directory cannot be written, or the clock is before 1970.
pub fn open(directory: &Path, now: SystemTime) -> Result<LocalIdentity, Error> {
    let store = Store::new(directory);
    let failed = |error: Error| {
        error
            .hint("use another directory: XDG_DATA_HOME=/path sitar …")
            .hint("or a certificate of your own: --tls-cert chain.pem --tls-key key.pem")
    };
    let since_epoch = now.duration_since(UNIX_EPOCH).map_err(|_| {
        Error::new("the clock of this machine is set before 1970").hint("set it: timedatectl")
    })?;

    // The usual start takes no lock, so it also works where nothing can be written.
    if let Ok(identity) = load(&store, since_epoch) {
        return Ok(identity);
    }
    let _lock = store.lock().map_err(failed)?;
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
    store.replace(&files).map_err(failed)?;

    let origin = if defect == Defect::Absent { Origin::Made } else { Origin::Renewed(defect) };
    match load(&store, since_epoch) {
        Ok(identity) => Ok(LocalIdentity { origin, ..identity }),
        Err(defect) => Err(failed(
            Error::new(format!("the new certificate in {} cannot be used", directory.display()))
                .cause(defect),
        )),
    }
}

/// sitar's directory below the user's data directory: `$XDG_DATA_HOME/sitar` or `~/.local/share/sitar`, and
/// `/var/lib/sitar` for a user without a home.
#[must_use]
pub fn data_directory() -> PathBuf {
    data_directory_of(env::var_os("XDG_DATA_HOME").map(PathBuf::from), home())
}

/// The home directory, if it is this user's own: under `sudo` with the caller's `HOME`, root must not leave files
/// there that the caller then cannot read.
pub(crate) fn home() -> Option<PathBuf> {
    let home = PathBuf::from(env::var_os("HOME")?);
    let owner = std::fs::metadata(&home).ok()?.uid();
    (home.is_absolute() && owner == rustix::process::geteuid().as_raw()).then_some(home)
}

/// The fingerprint of a certificate in DER as browsers show it: SHA-256, `AB:CD:…`.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn data_directory_of(xdg_data_home: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    // XDG Base Directory Specification: "If an implementation encounters a relative path … ignore it."
    let base = xdg_data_home
        .filter(|path| path.is_absolute())
        .or_else(|| Some(home?.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    base.join("sitar")
}

fn load(store: &Store, since_epoch: Duration) -> Result<LocalIdentity, Defect> {
    let mut files = store.read()?;
    let damaged = |_| Defect::Damaged;
    let ca = CertificateDer::from_pem_slice(&files.ca).map_err(damaged)?;
    let leaf = CertificateDer::from_pem_slice(&files.chain).map_err(damaged)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(damaged)?;
    let fingerprint = fingerprint(&leaf);
    verify(&ca, &leaf, key, since_epoch)?;
    Ok(LocalIdentity {
        chain_pem: mem::take(&mut files.chain),
        key_pem: mem::take(&mut files.key),
        ca_pem: mem::take(&mut files.ca),
        ca_path: store.ca_path(),
        fingerprint,
        origin: Origin::Reused,
    })
}

/// Asks the verifier that a client would ask.
fn verify(
    ca: &CertificateDer<'static>,
    leaf: &CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    since_epoch: Duration,
) -> Result<(), Defect> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(|_| Defect::Damaged)?;
    // An authority without limits is not ours, and must not be recommended to anybody.
    if roots.roots.iter().any(|anchor| anchor.name_constraints.is_none()) {
        return Err(Defect::Damaged);
    }
    CertifiedKey::from_der(vec![leaf.clone()], key, &provider).map_err(|_| Defect::Damaged)?;
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
