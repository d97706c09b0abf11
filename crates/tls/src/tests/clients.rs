//! Certificates of clients: who needs one, what counts, and that no ticket goes around it.

use super::client::{Offer, Pem, client, negotiate};
use crate::{ClientCa, Config, Established, HandshakeError, HostClients, Identities, IdentityError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An authority for clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate of a client, and its key.
type ClientPem = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn ca(&self) -> ClientCa {
        ClientCa::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    /// Certifies a client until the end of that year.
    fn client_until(&self, year: i32) -> ClientPem {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (certificate.der().clone(), key)
    }

    fn client(&self) -> ClientPem {
        self.client_until(4000)
    }
}

fn host(names: &[&str], is_default: bool, ca: Option<&Authority>) -> HostClients {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    HostClients { names, is_default, ca: ca.map(Authority::ca) }
}

/// A certificate for all hosts of the tests.
fn pem() -> Pem {
    Pem::ecdsa(&["open.test", "closed.test", "x.closed.test", "other.test", "unknown.test"])
}

fn server(pem: &Pem, clients: Vec<HostClients>) -> Config {
    let identities = Identities { all: vec![pem.identity()], clients, ..Identities::default() };
    Config::new(identities, &[b"http/1.1"]).unwrap()
}

fn client_config(offer: Offer, pem: &Pem, certificate: Option<ClientPem>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.chain.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(offer.provider))
        .with_protocol_versions(&offer.versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some((chain, key)) => builder.with_client_auth_cert(vec![chain], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = offer.alpn;
    Arc::new(config)
}

fn offers() -> [Offer; 2] {
    [Offer::default(), Offer::tls12()]
}

fn try_as(
    config: &Config,
    client_config: &Arc<ClientConfig>,
    name: &str,
) -> Result<Box<Established>, HandshakeError> {
    negotiate(config, &mut client(client_config, name), usize::MAX)
}

#[test]
fn only_certified_clients_reach_a_host_that_asks_for_certificates() {
    let (pem, right, wrong) = (pem(), Authority::new(), Authority::new());
    let hosts = vec![host(&["open.test"], true, None), host(&["closed.test"], false, Some(&right))];
    let config = server(&pem, hosts);
    for piece in [usize::MAX, 1, 100] {
        for offer in [Offer::default, Offer::tls12] {
            let asked = |certificate| {
                let config_of_client = client_config(offer(), &pem, certificate);
                negotiate(&config, &mut client(&config_of_client, "closed.test"), piece)
            };
            let established = asked(Some(right.client())).unwrap();
            assert_eq!(established.client_ca, Some(right.ca()));
            assert_eq!(established.server_name.as_deref(), Some("closed.test"));
            for certificate in [None, Some(wrong.client()), Some(right.client_until(2001))] {
                let error = asked(certificate).unwrap_err();
                assert!(matches!(error, HandshakeError::Peer(_)), "{error}");
            }
        }
    }
}

#[test]
fn tickets_are_good_for_the_host_and_the_authority_that_they_are_of() {
    let (pem, ca, other) = (pem(), Authority::new(), Authority::new());
    let closed = |ca| vec![host(&["open.test"], true, None), host(&["closed.test"], false, ca)];
    for offer in [Offer::default, Offer::tls12] {
        let certified = client_config(offer(), &pem, Some(ca.client()));
        let before = server(&pem, closed(Some(&ca)));
        let first = try_as(&before, &certified, "closed.test").unwrap();
        assert!(!first.resumed);
        let second = try_as(&before, &certified, "closed.test").unwrap();
        assert!(second.resumed, "{}", second.version);
        assert_eq!(second.client_ca, Some(ca.ca()));
        // The same hosts and the same authority, in another configuration.
        let renewed = server(&pem, closed(Some(&ca))).with_tickets_of(&before);
        let third = try_as(&renewed, &certified, "closed.test").unwrap();
        assert!(third.resumed);
        assert_eq!(third.client_ca, Some(ca.ca()));
        // Another authority: the ticket is worth nothing, nor is the certificate.
        let replaced = server(&pem, closed(Some(&other))).with_tickets_of(&renewed);
        assert!(try_as(&replaced, &certified, "closed.test").is_err());
        // A ticket from when the host asked for no certificate.
        let anonymous = client_config(offer(), &pem, None);
        let open = server(&pem, closed(None));
        assert!(!try_as(&open, &anonymous, "closed.test").unwrap().resumed);
        assert!(try_as(&open, &anonymous, "closed.test").unwrap().resumed);
        let guarded = server(&pem, closed(Some(&ca))).with_tickets_of(&open);
        assert!(try_as(&guarded, &anonymous, "closed.test").is_err());
        // The server's own keys have gone over.
        assert!(!try_as(&open, &anonymous, "open.test").unwrap().resumed);
        assert!(try_as(&guarded, &anonymous, "open.test").unwrap().resumed);
    }
}

#[test]
fn other_hosts_ask_for_none() {
    let (pem, ca) = (pem(), Authority::new());
    let config =
        server(&pem, vec![host(&["open.test"], true, None), host(&["closed.test"], false, Some(&ca))]);
    for offer in offers() {
        let anonymous = client_config(offer, &pem, None);
        for name in ["open.test", "unknown.test"] {
            assert_eq!(try_as(&config, &anonymous, name).unwrap().client_ca, None, "{name}");
        }
    }
    for offer in offers() {
        let known = client_config(offer, &pem, Some(ca.client()));
        assert_eq!(try_as(&config, &known, "open.test").unwrap().client_ca, None);
    }
}

#[test]
fn the_host_is_found_as_that_of_a_request() {
    let (pem, ca) = (pem(), Authority::new());
    let anonymous = || client_config(Offer::default(), &pem, None);
    for (clients, closed, open) in [
        // A wildcard is for one label more, and an exact name comes first.
        (
            vec![host(&["*.closed.test"], false, Some(&ca)), host(&["open.test"], true, None)],
            vec!["x.closed.test"],
            vec!["closed.test", "open.test", "unknown.test"],
        ),
        (
            vec![host(&["*.closed.test"], false, Some(&ca)), host(&["x.closed.test"], false, None)],
            vec![],
            vec!["x.closed.test"],
        ),
        // The default host is that of all other names.
        (
            vec![host(&[], true, Some(&ca)), host(&["open.test"], false, None)],
            vec!["unknown.test", "x.closed.test"],
            vec!["open.test"],
        ),
    ] {
        let config = server(&pem, clients);
        for name in closed {
            assert!(try_as(&config, &anonymous(), name).is_err(), "{name}");
        }
        for name in open {
            assert!(try_as(&config, &anonymous(), name).is_ok(), "{name}");
        }
    }
}

/// A clock that a test sets, in seconds since the epoch.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst))))
    }
}

#[test]
fn a_ticket_is_not_good_for_longer_than_the_certificate() {
    // Noon of the last day of 2040, and of the first one of 2041.
    let (last, first) = (2_240_568_000, 2_240_654_400);
    let (pem, ca) = (pem(), Authority::new());
    for offer in offers() {
        let clock = Arc::new(Clock(AtomicU64::new(last - 86_400)));
        let time: Arc<dyn TimeProvider> = Arc::clone(&clock) as _;
        let config = server(&pem, vec![host(&["closed.test"], true, Some(&ca))]).at(&time);
        let client = client_config(offer, &pem, Some(ca.client_until(2040)));
        assert!(!try_as(&config, &client, "closed.test").unwrap().resumed);
        assert!(try_as(&config, &client, "closed.test").unwrap().resumed);
        clock.0.store(first, Ordering::SeqCst);
        let error = try_as(&config, &client, "closed.test").unwrap_err();
        assert!(matches!(error, HandshakeError::Peer(_)), "{error}");
    }
}

#[test]
fn a_bundle_is_equal_to_itself_and_to_no_other() {
    let (one, two) = (Authority::new(), Authority::new());
    assert_eq!(one.ca(), one.ca());
    assert_ne!(one.ca(), two.ca());
    let both = ClientCa::from_pem(format!("{}{}", one.0.pem(), two.0.pem()).as_bytes()).unwrap();
    assert_ne!(both, one.ca());
    assert!(matches!(ClientCa::from_pem(b""), Err(IdentityError::NoCertificate(_))));
    let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(ClientCa::from_pem(damaged), Err(IdentityError::BadCertificate(_))));
}
