//! What is wanted: authorities and certificates, as plain values.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::hash;
use crate::identifier::Identifier;

/// The most bytes of a certificate's name, without what stands for the type of its key.
const NAME_MAX: usize = 200;

/// Everything that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// The authorities, in the order in which they are asked: the next one when one has failed
    /// several times.
    pub authorities: Vec<Authority>,
    /// The certificates. No two have the same [`name`](Wanted::name).
    pub certificates: Vec<Wanted>,
}

/// An authority, and the account with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The URL of its directory (RFC 8555 §7.1.1): `https://`.
    pub directory: String,
    /// Certificates in PEM that certify its own server, in the place of the system's.
    pub roots: Option<Vec<u8>>,
    /// The operator agrees to its terms of service.
    pub agrees: bool,
    /// Where it may write to: `mailto:` URLs.
    pub contact: Vec<String>,
    /// What binds the account to one that the operator has there already (RFC 8555 §7.3.4).
    pub eab: Option<Eab>,
}

/// An external account binding.
#[derive(Clone, PartialEq, Eq)]
pub struct Eab {
    /// The identifier of the key.
    pub kid: String,
    /// The key of HMAC-SHA-256.
    pub key: Zeroizing<Vec<u8>>,
}

impl Eab {
    /// Reads a key as authorities give it out: base64url, with its padding or without (RFC 8555
    /// §7.3.4). `None`: it is something else, or empty.
    #[must_use]
    pub fn read_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let text = text.trim().trim_end_matches('=');
        let key = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        (!key.is_empty()).then_some(key)
    }
}

impl std::fmt::Debug for Eab {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Eab").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Names and addresses, each once; never empty.
    pub identifiers: Vec<Identifier>,
    /// The type of its key.
    pub key: KeyType,
    /// The profile that it is ordered under (draft-ietf-acme-profiles); `None`: the authority's
    /// default.
    pub profile: Option<String>,
    /// Of several chains the one that has a certificate whose issuer bears this common name
    /// (RFC 8555 §7.4.2).
    pub preferred_chain: Option<String>,
    /// The challenges that can work, in order of preference.
    pub challenges: Vec<ChallengeKind>,
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// A kind of challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengeKind {
    /// A certificate in a handshake (RFC 8737).
    TlsAlpn01,
    /// A file over plain HTTP (RFC 8555 §8.3).
    Http01,
    /// A record in the DNS (RFC 8555 §8.4).
    Dns01,
}

impl ChallengeKind {
    /// Returns its name in the registry of ACME.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ChallengeKind::TlsAlpn01 => "tls-alpn-01",
            ChallengeKind::Http01 => "http-01",
            ChallengeKind::Dns01 => "dns-01",
        }
    }
}

impl Wanted {
    /// Returns what the certificate is called on disk and in commands: its first identifier, with
    /// `_` for `*` and for the colons of an address, and `_rsa` behind it where the key is RSA. No
    /// identifier has a `_` by itself. A name above 200 bytes is cut and ends in its hash, because
    /// a file system has 255 bytes for the name of a file.
    #[must_use]
    pub fn name(&self) -> String {
        let first = self.identifiers.first().map(ToString::to_string).unwrap_or_default();
        let mut first = first.replace(['*', ':'], "_");
        if first.len() > NAME_MAX {
            let hash = hash::of(&[first.as_bytes()]);
            // Identifiers are ASCII; anything else has no file.
            let end = (0..=NAME_MAX - 17).rev().find(|end| first.is_char_boundary(*end)).unwrap_or(0);
            first.truncate(end);
            first.push_str(&format!("_{hash:016x}"));
        }
        match self.key {
            KeyType::P256 => first,
            KeyType::Rsa2048 => format!("{first}_rsa"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_accounts_elsewhere() {
        let read = |text: &str| Eab::read_key(text).map(|key| key.to_vec());
        assert_eq!(read("AP-_\n"), Some(vec![0, 0xff, 0xbf]));
        assert_eq!(read("AP8="), Some(vec![0, 0xff]));
        for wrong in ["", "=", "AP+/", "A", "a key"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_on_disk() {
        let name = |identifier: &str, key| {
            let identifiers = vec![Identifier::parse(identifier).unwrap()];
            Wanted { identifiers, key, profile: None, preferred_chain: None, challenges: Vec::new() }.name()
        };
        assert_eq!(name("a.example", KeyType::P256), "a.example");
        assert_eq!(name("*.a.example", KeyType::Rsa2048), "_.a.example_rsa");
        assert_eq!(name("2001:db8::1", KeyType::P256), "2001_db8__1");
    }

    #[test]
    fn names_fit_into_a_folder() {
        let name = |identifier: &str, key| {
            let identifiers = vec![Identifier::parse(identifier).unwrap()];
            Wanted { identifiers, key, profile: None, preferred_chain: None, challenges: vec![] }.name()
        };
        let label = "a".repeat(49);
        let long = format!("{label}.{label}.{label}.{label}.b.example");
        let short = name(&long, KeyType::Rsa2048);
        assert_eq!(short.len(), 204);
        assert!(short.starts_with(&long[..183]), "{short}");
        assert_ne!(short, name(&long.replace(".b.", ".c."), KeyType::Rsa2048));
    }
}
