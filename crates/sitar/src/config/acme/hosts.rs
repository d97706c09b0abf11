//! The hosts of sites whose certificates come from an authority.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sitar_acme::{ChallengeKind, Identifier};

use super::super::problems::{Problems, quoted};
use super::super::section::Section;
use super::super::{Certificates, Place, SiteConfig, host};
use super::AcmeConfig;

/// Names that are not of the public DNS (RFC 6761, RFC 6762, RFC 8375, RFC 9476 and ICANN's
/// `internal`), and two that many networks use. An authority of one's own may certify them.
const PRIVATE: [&str; 11] = [
    "test",
    "example",
    "invalid",
    "local",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "onion",
    "alt",
    "corp",
];

/// Reports each host that no authority of the configuration certifies, and each that no challenge
/// can prove.
pub(super) fn check(
    config: &AcmeConfig,
    sites: &[SiteConfig],
    sections: &[Section],
    problems: &mut Problems,
) {
    let is_public = config.authorities.iter().any(super::AuthorityConfig::is_lets_encrypt);
    for (site, section) in sites.iter().zip(sections) {
        let Certificates::Acme(options) = &site.certificates else { continue };
        if !section.has("hosts") {
            let hint = "for example: hosts = \"example.com\"; or take the one for localhost: certificate = \
                        \"local\"";
            problems.add_with(&site.place, "the certificate \"acme\" needs 'hosts' that it is for", hint);
        }
        let own = if options.challenges.is_empty() { &config.options } else { options };
        for text in section.texts("hosts") {
            if problems.is_full() {
                return;
            }
            let Ok(name) = host::parse(&text.text) else { continue };
            match refused(&name, is_public) {
                Some((why, hint)) => {
                    let what = format!("no authority certifies the host {}: {why}", quoted(&name));
                    problems.push(&text.place, what, hint);
                }
                None => challenge(&name, &own.challenges, config, &text.place, problems),
            }
        }
    }
}

/// Returns the reason that a host is not certified, and what to write.
fn refused(name: &str, is_public: bool) -> Option<(&'static str, Option<String>)> {
    let local = || Some("a site of its own may have: certificate = \"local\"".to_owned());
    if host::is_local(name) {
        return Some(("it is this machine's alone", local()));
    }
    if name.contains('_') {
        return Some(("a name in a certificate has no underscore", None));
    }
    let other = "an authority of your own may certify it: directory and ca in [acme]";
    let other = || Some(other.to_owned());
    match Identifier::parse(name) {
        Err(_) => Some(("it is one label alone", None)),
        Ok(Identifier::Ip(ip)) if is_public && !is_public_address(ip) => {
            Some(("the address is not a public one", other()))
        }
        Ok(Identifier::Dns(name)) if name == "localhost" || name.ends_with(".localhost") => {
            Some(("it is this machine's alone", local()))
        }
        Ok(Identifier::Dns(name)) if is_public && is_private_name(&name) => {
            Some(("the name is not of the public DNS", other()))
        }
        Ok(_) => None,
    }
}

fn is_private_name(name: &str) -> bool {
    PRIVATE.iter().any(|end| name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')))
}

/// Reports a host that none of the challenges can prove.
fn challenge(
    name: &str,
    challenges: &[ChallengeKind],
    config: &AcmeConfig,
    place: &Place,
    problems: &mut Problems,
) {
    let has_dns = !config.dns_command.is_empty();
    if name.starts_with("*.") {
        let (what, hint) = match (has_dns, challenges) {
            (false, _) => (
                "needs a command that changes records in the DNS",
                "in [acme]: dns_command = \"/usr/local/lib/sitar/nsupdate.sh\"",
            ),
            (true, []) => return,
            (true, listed) if listed.contains(&ChallengeKind::Dns01) => return,
            (true, _) => ("is proved by dns-01 only, which 'challenges' lacks", "add it: \"dns-01\""),
        };
        problems.add_with(place, format!("the wildcard {} {what}", quoted(name)), hint);
    } else if name.parse::<IpAddr>().is_ok() && matches!(challenges, [ChallengeKind::Dns01]) {
        let what = format!("the address {} cannot be proved by dns-01, which is for names", quoted(name));
        problems.add_with(place, what, "add to 'challenges': \"tls-alpn-01\" or \"http-01\"");
    }
}

/// Returns whether an address may be that of a server on the Internet (RFC 6890).
pub(crate) fn is_public_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let is_special = match ip.octets() {
        [0 | 10 | 127, ..] | [169, 254, ..] | [192, 168, ..] | [192, 0, 0 | 2, _] => true,
        [100, second, ..] => (64..128).contains(&second),
        [172, second, ..] => (16..32).contains(&second),
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [first, ..] => first >= 224,
    };
    !is_special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // Documentation, and protocols (with Teredo) and benchmarks in 2001::/23.
        [0x2001, 0x0db8, ..] => false,
        [0x2001, second, ..] => second >= 0x0200,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255"] {
            assert!(is_public_address(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff:1::1",
            "::ffff:10.0.0.1",
            "64:ff9b::1",
        ] {
            assert!(!is_public_address(other.parse().unwrap()), "{other}");
        }
        for public in ["2a00:1450::1", "2001:4860:4860::8888", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public_address(public.parse().unwrap()), "{public}");
        }
    }
}
