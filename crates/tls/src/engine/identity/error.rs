//! Reasons why a chain and a key make no identity.

use super::content::FileContent;
use std::fmt;

/// The reason why a chain and a key make no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The chain has no CERTIFICATE section, but this.
    NoCertificate(FileContent),
    /// The key file has no PRIVATE KEY section, but this.
    NoKey(FileContent),
    /// The chain is a key, and the key a chain.
    Swapped,
    /// The key is protected by a passphrase.
    EncryptedKey,
    /// The key is whole, but of a kind that cannot be used; which one.
    UnsuitableKey(String),
    /// The key is broken, or of an unknown kind.
    UnsupportedKey,
    /// The key belongs to another certificate.
    KeyMismatch,
    /// The chain is not PEM; in words.
    BadChainPem(String),
    /// The key is not PEM; in words.
    BadKeyPem(String),
    /// The server's own certificate is of X.509 version 1, which has no names.
    OldVersion,
    /// The server's own certificate has an extension that clients must know and do not.
    CriticalExtension,
    /// The server's own certificate cannot be parsed; in words.
    BadCertificate(String),
    /// The chain is too long to be sent in every handshake.
    ChainTooLong,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate(found) => {
                write!(f, "there is no certificate in it (no BEGIN CERTIFICATE line): it holds {found}")
            }
            Self::NoKey(found) => {
                write!(f, "there is no private key in it (no BEGIN PRIVATE KEY line): it holds {found}")
            }
            Self::Swapped => f.write_str("the certificate and the key are swapped"),
            Self::EncryptedKey => f.write_str("the private key is protected by a passphrase"),
            Self::UnsuitableKey(kind) => write!(
                f,
                "the private key is {kind}; what clients accept is RSA with 2048 to 8192 bits, ECDSA on P-256, \
                 P-384 or P-521, and Ed25519"
            ),
            Self::UnsupportedKey => f.write_str("the private key is damaged, or of an unknown kind"),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::BadChainPem(why) => write!(f, "the certificate file is damaged: {why}"),
            Self::BadKeyPem(why) => write!(f, "the key file is damaged: {why}"),
            Self::OldVersion => f.write_str(
                "the certificate is of X.509 version 1, which can name no host, and which clients refuse",
            ),
            Self::CriticalExtension => f.write_str(
                "the certificate has a critical extension of a kind that clients do not know, so they refuse it",
            ),
            Self::BadCertificate(why) => write!(f, "the certificate is damaged: {why}"),
            Self::ChainTooLong => write!(
                f,
                "it holds more certificates than any client takes ({} or {} bytes): a chain is the server's own \
                 and the few that certify it",
                super::CERTIFICATES_MAX,
                super::CHAIN_MAX
            ),
        }
    }
}

impl std::error::Error for IdentityError {}
