//! The names that a certificate is good for.

use std::net::IpAddr;

/// The DNS names and IP addresses in a certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertificateNames {
    /// In lower case; one may start with `*.`.
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl CertificateNames {
    /// DNS names in lower case, and addresses.
    #[must_use]
    pub fn new(dns: Vec<String>, addresses: Vec<IpAddr>) -> CertificateNames {
        CertificateNames { dns, addresses }
    }

    /// Returns the DNS names, in lower case; one may start with `*.`.
    #[must_use]
    pub fn dns(&self) -> &[String] {
        &self.dns
    }

    /// Returns the IP addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Returns whether the certificate is good for a host: a DNS name in any case, or an IP address
    /// without brackets. An asterisk stands for exactly one label (RFC 6125 §6.4.3). Allocates
    /// nothing.
    #[must_use]
    pub fn cover(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let parent = host.split_once('.').filter(|(first, _)| !first.is_empty()).map(|(_, parent)| parent);
        self.dns.iter().any(|name| match (name.strip_prefix("*."), parent) {
            (Some(wildcard), Some(parent)) => wildcard.eq_ignore_ascii_case(parent),
            (Some(_), None) => false,
            (None, _) => name.eq_ignore_ascii_case(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_one_label_and_an_address_is_no_name() {
        let dns = ["example.com", "*.example.org", "192.0.2.7"].map(str::to_owned).to_vec();
        let names = CertificateNames::new(dns, vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
        for host in
            ["example.com", "EXAMPLE.com", "a.example.org", "A.Example.Org", "127.0.0.1", "::1", "0:0::1"]
        {
            assert!(names.cover(host), "{host}");
        }
        for host in [
            "",
            ".",
            "www.example.com",
            "example.org",
            ".example.org",
            "a.b.example.org",
            "192.0.2.7",
            "::2",
            "xexample.com",
            "*.example.com",
        ] {
            assert!(!names.cover(host), "{host}");
        }
    }
}
