//! Who the server says it is: a certificate chain and the key that belongs to it.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroize;

/// A certificate chain with its private key, checked to belong together.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and the key of that certificate. Other PEM sections are skipped.
    ///
    /// The key is PKCS #8, PKCS #1 (RSA) or SEC 1 (ECDSA). Neither dates nor issuers are checked: that is for clients.
    ///
    /// # Errors
    /// See [`IdentityError`]: each is something for the operator to put right.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = certificates(chain)?;
        let mut key = private_key(key)?;
        let signing = any_supported_type(&key).map_err(|_| IdentityError::UnsupportedKey);
        key.zeroize();
        let Some(leaf) = chain.first() else {
            return Err(IdentityError::NoCertificate);
        };
        let names = dns_names(leaf)?;
        let certified = CertifiedKey::new(chain, signing?);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(IdentityError::KeyMismatch),
            Err(error) => return Err(IdentityError::BadCertificate(error.to_string())),
        }
        Ok(Self { key: Arc::new(certified), names })
    }

    /// The DNS names in the certificate, in lower case; one may start with `*.`. IP addresses are not among them, as no
    /// client asks for one by name.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Identity {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let mut chain = Vec::new();
    let mut len = 0;
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|error| IdentityError::BadChainPem(describe(&error)))?;
        len += certificate.len();
        if len > CHAIN_MAX {
            return Err(IdentityError::ChainTooLong);
        }
        chain.push(certificate);
    }
    if chain.is_empty() { Err(IdentityError::NoCertificate) } else { Ok(chain) }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            IdentityError::EncryptedKey
        }
        pem::Error::NoItemsFound => IdentityError::NoKey,
        error => IdentityError::BadKeyPem(describe(&error)),
    })
}

fn dns_names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, IdentityError> {
    let leaf = webpki::EndEntityCert::try_from(leaf)
        .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    Ok(leaf.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// In words that do not repeat the content of a key file.
fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        _ => "it cannot be read as PEM".to_owned(),
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// Why a chain and a key make no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The chain has no CERTIFICATE section.
    NoCertificate,
    /// The key file has no PRIVATE KEY section.
    NoKey,
    /// The key is protected by a passphrase.
    EncryptedKey,
    /// The key is broken, or neither RSA, ECDSA nor Ed25519.
    UnsupportedKey,
    /// The key belongs to another certificate.
    KeyMismatch,
    /// The chain is not PEM; in words.
    BadChainPem(String),
    /// The key is not PEM; in words.
    BadKeyPem(String),
    /// The server's own certificate cannot be parsed; in words.
    BadCertificate(String),
    /// The chain is too long to be sent in every handshake.
    ChainTooLong,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("there is no certificate in it (no BEGIN CERTIFICATE line)"),
            Self::NoKey => f.write_str("there is no private key in it (no BEGIN PRIVATE KEY line)"),
            Self::EncryptedKey => {
                f.write_str("the private key is protected by a passphrase; decrypt it with `openssl pkey`")
            }
            Self::UnsupportedKey => {
                f.write_str("the private key is damaged, or of a kind other than RSA, ECDSA and Ed25519")
            }
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::BadChainPem(why) => write!(f, "the certificate file is damaged: {why}"),
            Self::BadKeyPem(why) => write!(f, "the key file is damaged: {why}"),
            Self::BadCertificate(why) => write!(f, "the certificate is damaged: {why}"),
            Self::ChainTooLong => write!(f, "the certificate chain is longer than {CHAIN_MAX} bytes"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Bytes of DER. Real chains have 2 to 6 kB; a chain beyond this would be refused by clients, and every handshake would buffer it.
const CHAIN_MAX: usize = 48 * 1024;
