//! From sites to the certificates that are wanted.

use sitar_acme::{ChallengeKind, Identifier, KeyType, Wanted};

use super::super::{Certificates, Config, ListenerConfig, ListenerRole, SiteConfig};
use super::{AcmeConfig, AcmeOptions};
use crate::settings::Listen;

/// The most names of a certificate.
const NAMES_MAX: usize = 100;
/// The same under the newer profiles of Let's Encrypt.
const NAMES_MAX_NEWER: usize = 25;
/// The profile under which Let's Encrypt certifies addresses.
const SHORT_LIVED: &str = "shortlived";
/// Its profiles with fewer names.
const NEWER: [&str; 2] = ["tlsserver", SHORT_LIVED];

impl Config {
    /// Returns the certificates that are wanted from an authority, each with the number of the site
    /// that it is for. A site has one for its names, cut where they are too many for one, one for
    /// its addresses, and each of these for each type of key.
    #[must_use]
    pub fn acme_plan(&self) -> Vec<(usize, Wanted)> {
        let Some(acme) = &self.acme else { return Vec::new() };
        let mut all = Vec::new();
        for (number, site) in self.sites.iter().enumerate() {
            if let Certificates::Acme(own) = &site.certificates {
                let wanted = of_site(site, own, acme, &self.listeners);
                all.extend(wanted.into_iter().map(|wanted| (number, wanted)));
            }
        }
        all
    }
}

fn of_site(
    site: &SiteConfig,
    own: &AcmeOptions,
    acme: &AcmeConfig,
    listeners: &[ListenerConfig],
) -> Vec<Wanted> {
    let shared = &acme.options;
    let identifiers = site.hosts.iter().filter_map(|host| Identifier::parse(host).ok());
    let (names, addresses): (Vec<_>, Vec<_>) =
        identifiers.partition(|identifier| matches!(identifier, Identifier::Dns(_)));
    let profile = own.profile.clone().or_else(|| shared.profile.clone());
    let is_lets_encrypt = acme.authorities.iter().any(super::AuthorityConfig::is_lets_encrypt);
    let of_addresses = match &own.profile {
        // An order takes it where the authority has it, and another one may have none.
        None if is_lets_encrypt && acme.authorities.len() > 1 => None,
        None if is_lets_encrypt => Some(SHORT_LIVED.to_owned()),
        _ => profile.clone(),
    };
    let keys = [&own.keys, &shared.keys].into_iter().find(|keys| !keys.is_empty());
    let keys = keys.map_or(&[KeyType::P256][..], |keys| &keys[..]);
    let said = [&own.challenges, &shared.challenges].into_iter().find(|said| !said.is_empty());
    let mut all = Vec::new();
    for (identifiers, profile, is_short) in
        [(names, profile, false), (addresses, of_addresses, is_lets_encrypt)]
    {
        let is_newer = is_short || profile.as_ref().is_some_and(|profile| NEWER.contains(&&**profile));
        let most = if is_newer { NAMES_MAX_NEWER } else { NAMES_MAX };
        for identifiers in identifiers.chunks(most) {
            let mut challenges = said.cloned().unwrap_or_else(|| usual(acme, listeners));
            if said.is_none() && identifiers.iter().any(Identifier::is_wildcard) {
                // It has to work for the wildcard, and the domain itself may have no address.
                challenges.sort_by_key(|kind| *kind != ChallengeKind::Dns01);
            }
            all.extend(keys.iter().map(|key| Wanted {
                identifiers: identifiers.to_vec(),
                key: *key,
                profile: profile.clone(),
                preferred_chain: own.preferred_chain.clone().or_else(|| shared.preferred_chain.clone()),
                challenges: possible(&challenges, identifiers),
            }));
        }
    }
    all
}

/// Returns the challenges that can prove any of these: a wildcard is proved by dns-01 alone
/// (RFC 8555 §7.1.3), an address by the others (RFC 8738 §7).
fn possible(challenges: &[ChallengeKind], identifiers: &[Identifier]) -> Vec<ChallengeKind> {
    let has_name = identifiers.iter().any(|identifier| matches!(identifier, Identifier::Dns(_)));
    let is_wild = identifiers.iter().all(Identifier::is_wildcard);
    let is_possible = |kind: &ChallengeKind| if *kind == ChallengeKind::Dns01 { has_name } else { !is_wild };
    challenges.iter().copied().filter(is_possible).collect()
}

/// Returns the challenges that the listeners and the command allow, the likeliest first.
/// Authorities connect to ports 443 and 80, which something in front may lead to any others.
fn usual(acme: &AcmeConfig, listeners: &[ListenerConfig]) -> Vec<ChallengeKind> {
    let of = |is_tls: bool| {
        listeners.iter().filter(move |listener| (listener.role == ListenerRole::Https) == is_tls)
    };
    let is_on = |listener: &ListenerConfig, port: u16| {
        // What comes over these has been accepted on a port that is not known.
        let is_unknown = !listener.sockets.is_empty() || !listener.passed.is_empty();
        is_unknown || listener.addresses.iter().any(|address| port_of(*address) == port)
    };
    let tls = of(true).next().map(|_| ChallengeKind::TlsAlpn01);
    let http = of(false).next().map(|_| ChallengeKind::Http01);
    let is_http_first =
        of(false).any(|listener| is_on(listener, 80)) && !of(true).any(|listener| is_on(listener, 443));
    let both = if is_http_first { [http, tls] } else { [tls, http] };
    let dns = (!acme.dns_command.is_empty()).then_some(ChallengeKind::Dns01);
    both.into_iter().chain([dns]).flatten().collect()
}

fn port_of(listen: Listen) -> u16 {
    match listen {
        Listen::Port(port) | Listen::Localhost(port) => port,
        Listen::Address(socket) => socket.port(),
    }
}
