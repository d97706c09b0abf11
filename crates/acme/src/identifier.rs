//! Identifiers of ACME: DNS names (RFC 8555 §9.7.7) and IP addresses (RFC 8738).

use std::fmt;
use std::net::IpAddr;

/// The most bytes of a DNS name (RFC 1035 §3.1, without the root's label), and of a label.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// A DNS name in lower case, as A-labels; `*.` in front stands for one label.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// The reason that a text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifierError(&'static str);

impl fmt::Display for IdentifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for IdentifierError {}

impl Identifier {
    /// Reads an IP address, or a DNS name of letters, digits and hyphens.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Identifier, IdentifierError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Identifier::Ip(address.to_canonical()));
        }
        let name = text.to_ascii_lowercase();
        let labels = name.strip_prefix("*.").unwrap_or(&name);
        let is_label = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > NAME_MAX {
            return Err(IdentifierError("a name has at most 253 characters"));
        }
        if !labels.split('.').all(is_label) {
            return Err(IdentifierError("a name has labels of letters, digits and hyphens"));
        }
        if !labels.contains('.') {
            return Err(IdentifierError("a name that an authority certifies has two labels or more"));
        }
        if labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(IdentifierError("the last label of a name is no number"));
        }
        Ok(Identifier::Dns(name))
    }

    /// Whether it is a name with `*` as its first label.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Identifier::Dns(name) if name.starts_with("*."))
    }

    /// Returns the name that is validated: without `*.`. An address has none.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match self {
            Identifier::Dns(name) => Some(name.strip_prefix("*.").unwrap_or(name)),
            Identifier::Ip(_) => None,
        }
    }

    /// Returns the name that a client of TLS-ALPN-01 asks for: the DNS name, or the reverse name of
    /// an address (RFC 8738 §6). `None`: a wildcard, which that challenge cannot validate.
    #[must_use]
    pub fn server_name(&self) -> Option<String> {
        match self {
            Identifier::Dns(name) => (!self.is_wildcard()).then(|| name.clone()),
            Identifier::Ip(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                Some(format!("{d}.{c}.{b}.{a}.in-addr.arpa"))
            }
            Identifier::Ip(IpAddr::V6(address)) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                let nibbles: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
                Some(format!("{nibbles}ip6.arpa"))
            }
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identifier::Dns(name) => f.write_str(name),
            Identifier::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        let dns = |name: &str| Ok(Identifier::Dns(name.to_owned()));
        assert_eq!(Identifier::parse("Example.COM"), dns("example.com"));
        assert_eq!(Identifier::parse("*.xn--bcher-kva.example"), dns("*.xn--bcher-kva.example"));
        assert_eq!(Identifier::parse("::ffff:192.0.2.7"), Ok(Identifier::Ip([192, 0, 2, 7].into())));
        let long = format!("{}.example", "a".repeat(64));
        for wrong in [
            "",
            "com",
            "*.com",
            "*",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "b\u{fc}cher.example",
            "a.b.7",
            "1.2.3",
            "[::1]",
            "a b.c",
            "a.*.b",
            &long,
        ] {
            assert!(Identifier::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_that_is_asked_for() {
        for (identifier, name) in [
            ("example.com", Some("example.com")),
            ("*.example.com", None),
            ("192.0.2.7", Some("7.2.0.192.in-addr.arpa")),
            // RFC 8738 §6 and RFC 3596 §2.5.
            ("2001:db8::1", Some("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")),
        ] {
            let identifier = Identifier::parse(identifier).unwrap();
            assert_eq!(identifier.server_name().as_deref(), name);
        }
    }
}
