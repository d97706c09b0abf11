//! The identity of a server: a certificate chain and the key that belongs to it.

mod chain;
mod content;
mod error;
mod kind;
mod names;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use zeroize::Zeroize;

pub use chain::Flaw;
pub use content::{FileContent, FileKind};
pub use error::IdentityError;
pub use names::CertificateNames;

/// A certificate chain with its private key, checked to belong together.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    names: Arc<CertificateNames>,
    is_reordered: bool,
    repeated: usize,
}

impl Identity {
    /// Reads a chain and the key of the server's own certificate. Other PEM sections are skipped.
    ///
    /// The server's own certificate is the one that the key belongs to. It is sent first, and
    /// behind each certificate the one that certifies it, without repetitions, however they stand
    /// in the file. The key is PKCS #8, PKCS #1 (RSA) or SEC 1 (ECDSA); of several, the first that
    /// belongs to a certificate. What clients may object to is no error: see
    /// [`flaws`](Identity::flaws).
    ///
    /// # Errors
    /// See [`IdentityError`]: each is something for the operator to put right.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let certificates = match (certificates(chain), private_keys(key)) {
            (Err(IdentityError::NoCertificate(found)), Err(IdentityError::NoKey(other)))
                if found.is_key() && other.kind == FileKind::Certificate =>
            {
                return Err(IdentityError::Swapped);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(certificates), Ok(keys)) => (certificates, keys),
        };
        let (certificates, mut keys) = certificates;
        let signing: Result<Vec<_>, _> = keys.iter().map(signing_key).collect();
        for key in &mut keys {
            key.zeroize();
        }
        let (own, signing) = matching(&certificates, &signing?)?;
        let ordered = chain::order(&certificates, own);
        let Some(first) = ordered.chain.first() else {
            return Err(IdentityError::NoCertificate(FileContent { kind: FileKind::Empty, is_der: false }));
        };
        Ok(Self {
            names: Arc::new(CertificateNames::new(dns_names(first)?, chain::addresses(first))),
            is_reordered: ordered.is_moved,
            repeated: ordered.repeated,
            key: Arc::new(CertifiedKey::new(ordered.chain, signing)),
        })
    }

    /// Returns the DNS names in the certificate, in lower case; one may start with `*.`. IP
    /// addresses are not among them, as no client asks for one by name.
    #[must_use]
    pub fn names(&self) -> &[String] {
        self.names.dns()
    }

    /// Returns the IP addresses in the certificate.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        self.names.addresses()
    }

    /// Returns the names and addresses together, to be shared.
    #[must_use]
    pub fn certificate_names(&self) -> &Arc<CertificateNames> {
        &self.names
    }

    /// Returns the server's own certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |own| own)
    }

    /// Returns the certificates in DER, in the order in which they are sent.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.key.cert.iter().map(|certificate| certificate.as_ref())
    }

    /// Returns from when to when the server's own certificate is valid, in seconds since 1970;
    /// `None` if it is valid at no time.
    #[must_use]
    pub fn validity(&self) -> Option<(u64, u64)> {
        chain::validity(self.certificate())
    }

    /// Returns whether the chain stood in another order than the one in which it is sent.
    #[must_use]
    pub fn is_reordered(&self) -> bool {
        self.is_reordered
    }

    /// Returns how many certificates stood in the file again, and are sent once.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// Returns what clients may object to at that time. It is served all the same: the operator may
    /// know better.
    #[must_use]
    pub fn flaws(&self, now: UnixTime) -> Vec<Flaw> {
        let has_name = !self.names().is_empty() || !self.addresses().is_empty();
        chain::flaws(&self.key.cert, has_name, now)
    }

    pub(crate) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Identity {
    // Written by hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names()).finish_non_exhaustive()
    }
}

pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let mut chain = Vec::new();
    let mut len = 0;
    for certificate in CertificateDer::pem_slice_iter(&content::sections(file, content::CERTIFICATE)) {
        let certificate = certificate.map_err(|error| IdentityError::BadChainPem(describe(&error)))?;
        len += certificate.len();
        if len > CHAIN_MAX || chain.len() == CERTIFICATES_MAX {
            return Err(IdentityError::ChainTooLong);
        }
        chain.push(certificate);
    }
    if chain.is_empty() { Err(IdentityError::NoCertificate(FileContent::of(file))) } else { Ok(chain) }
}

/// Reads a certificate that answers a challenge, and its key. rustls reads no certificate with a
/// critical extension that it does not know, as RFC 8737 §3 has one: its public key is compared
/// here.
pub(super) fn challenge_key(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, IdentityError> {
    let (chain, mut keys) = (certificates(chain)?, private_keys(key)?);
    let signing = keys.first().map(signing_key);
    for key in &mut keys {
        key.zeroize();
    }
    let signing = signing.ok_or(IdentityError::UnsupportedKey)??;
    let public = chain.first().and_then(|own| chain::public_key(own));
    let public = public.ok_or_else(|| IdentityError::BadCertificate("it has no public key".to_owned()))?;
    if signing.public_key().is_none_or(|own| *own != *public) {
        return Err(IdentityError::KeyMismatch);
    }
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}

fn private_keys(file: &[u8]) -> Result<Vec<PrivateKeyDer<'static>>, IdentityError> {
    let sections = content::sections(file, content::KEY);
    let keys = PrivateKeyDer::pem_slice_iter(&sections).take(KEYS_MAX).collect::<Result<Vec<_>, _>>();
    match keys {
        Ok(keys) if keys.is_empty() => Err(match FileContent::of(file) {
            FileContent { kind: FileKind::EncryptedKey, is_der: false } => IdentityError::EncryptedKey,
            found => IdentityError::NoKey(found),
        }),
        Ok(keys) => Ok(keys),
        // Its header is not base64.
        Err(_) if content::is_legacy_encrypted(&sections) => Err(IdentityError::EncryptedKey),
        Err(error) => Err(IdentityError::BadKeyPem(describe(&error))),
    }
}

fn signing_key(key: &PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, IdentityError> {
    any_supported_type(key).map_err(|_| match kind::unsuitable(key) {
        Some(kind) => IdentityError::UnsuitableKey(kind),
        None => IdentityError::UnsupportedKey,
    })
}

/// Finds the first certificate that one of the keys belongs to.
fn matching(
    certificates: &[CertificateDer<'static>],
    keys: &[Arc<dyn SigningKey>],
) -> Result<(usize, Arc<dyn SigningKey>), IdentityError> {
    let mut first = None;
    for (place, certificate) in certificates.iter().enumerate() {
        for key in keys {
            let pair = CertifiedKey::new(vec![certificate.clone()], Arc::clone(key));
            let error = match pair.keys_match() {
                Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                    return Ok((place, Arc::clone(key)));
                }
                // A curve may be named in the key and written out in the certificate.
                Err(Error::InconsistentKeys(_)) => kind::unsuitable_in(certificate)
                    .map_or(IdentityError::KeyMismatch, IdentityError::UnsuitableKey),
                Err(_) => unreadable(certificate),
            };
            // What is wrong with the others matters only if one of them is the server's own.
            first.get_or_insert(error);
        }
    }
    Err(first.unwrap_or(IdentityError::KeyMismatch))
}

/// Returns why a certificate cannot be read.
fn unreadable(certificate: &CertificateDer<'_>) -> IdentityError {
    match webpki::EndEntityCert::try_from(certificate) {
        Err(webpki::Error::UnsupportedCertVersion) if content::is_certificate(certificate) => {
            IdentityError::OldVersion
        }
        Err(webpki::Error::UnsupportedCriticalExtension) => IdentityError::CriticalExtension,
        Err(error) => IdentityError::BadCertificate(error.to_string()),
        Ok(_) => IdentityError::KeyMismatch,
    }
}

fn dns_names(own: &CertificateDer<'_>) -> Result<Vec<String>, IdentityError> {
    let own = webpki::EndEntityCert::try_from(own)
        .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    Ok(own.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// Describes an error in words that do not repeat the content of a key file.
fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        _ => "it cannot be read as PEM".to_owned(),
    }
}

/// Bytes of DER in a chain. Real chains have 2 to 6 kB. Clients would refuse a longer chain, and
/// every handshake would buffer it.
const CHAIN_MAX: usize = 48 * 1024;
/// Certificates of a chain, which has two or three.
const CERTIFICATES_MAX: usize = 32;
/// Private keys of a file that are looked at.
const KEYS_MAX: usize = 8;
