//! Challenges of authorities: who gets their certificates, and that no other client does.

use super::client::{Offer, Pem, client, give, negotiate, sent};
use crate::{Challenges, ClientCa, Config, Established, Fault, Handshake, HandshakeStep, HostClients};
use crate::{HandshakeError, Identities, IdentityError, PeerFault, Version};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1MLKEM768, SECP384R1, X25519, X25519MLKEM768};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

const ACME: &[u8] = b"acme-tls/1";
const HTTP: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// What the authority expects in the certificate: a critical extension id-pe-acmeIdentifier (RFC
/// 8737 §3) of 32 bytes of 7.
const EXTENSION: [u8; 49] = {
    let mut bytes = [7; 49];
    let head = [6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 31, 1, 1, 0xff, 4, 34, 4, 32];
    let mut at = 0;
    while at < head.len() {
        bytes[at] = head[at];
        at += 1;
    }
    bytes
};

/// Makes a certificate that answers a challenge.
fn challenge(name: &str) -> Pem {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
    Pem { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn der(pem: &Pem) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.chain.as_bytes()).unwrap()
}

fn pending(all: &[(&str, &Pem)]) -> Arc<Challenges> {
    let mut challenges = Challenges::new();
    for (name, pem) in all {
        challenges.add(name, pem.chain.as_bytes(), pem.key.as_bytes()).unwrap();
    }
    Arc::new(challenges)
}

fn site() -> Pem {
    Pem::ecdsa(&["pending.test", "site.test", "closed.test"])
}

fn server(pem: &Pem) -> Config {
    Config::new(vec![pem.identity()], &[H2, HTTP]).unwrap()
}

/// An authority believes every certificate; it looks at what is in it.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A client that offers these protocols and believes every certificate.
fn credulous(offer: Offer, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(offer.provider))
        .with_protocol_versions(&offer.versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

type Outcome = Result<(CertificateDer<'static>, Box<Established>), HandshakeError>;

/// Negotiates, and returns the certificate that the client has seen.
fn ask(config: &Config, client_config: &Arc<ClientConfig>, name: &str, piece: usize) -> Outcome {
    let mut client = client(client_config, name);
    let established = negotiate(config, &mut client, piece)?;
    Ok((client.peer_certificates().unwrap()[0].clone().into_owned(), established))
}

fn is_refused_protocol(outcome: &Outcome) -> bool {
    matches!(outcome, Err(error) if error.fault() == Fault::Peer(PeerFault::NoApplicationProtocol))
}

#[test]
fn only_the_protocol_of_challenges_alone_and_a_pending_name_get_the_certificate() {
    let (pem, answer, other) = (site(), challenge("pending.test"), challenge("other.test"));
    let config = server(&pem).with_challenges(&pending(&[("pending.test", &answer), ("other.test", &other)]));
    for offer in [Offer::default, Offer::tls12] {
        let ask = |alpn: &[&[u8]], name: &str| ask(&config, &credulous(offer(), alpn), name, usize::MAX);
        for (name, expected) in [("pending.test", &answer), ("other.test", &other), ("PENDING.Test", &answer)]
        {
            let (certificate, established) = ask(&[ACME], name).unwrap();
            assert_eq!(certificate, der(expected), "{name}");
            assert!(certificate.windows(EXTENSION.len()).any(|bytes| bytes == EXTENSION));
            assert!(established.is_challenge && !established.resumed, "{name}");
            assert_eq!(established.alpn.as_deref(), Some(ACME));
            assert_eq!((&established.client_ca, &established.names), (&None, &None));
        }
        for (alpn, agreed) in [
            (&[HTTP][..], Some(HTTP)),
            (&[], None),
            (&[ACME, HTTP], Some(HTTP)),
            (&[HTTP, ACME], Some(HTTP)),
            (&[ACME, H2], Some(H2)),
            (&[ACME, b"acme-tls/2", HTTP], Some(HTTP)),
        ] {
            let (certificate, established) = ask(alpn, "pending.test").unwrap();
            assert_eq!(certificate, der(&pem), "{alpn:?}");
            assert!(!established.is_challenge, "{alpn:?}");
            assert_eq!(established.alpn.as_deref(), agreed, "{alpn:?}");
        }
        for (alpn, name) in [
            (&[ACME][..], "site.test"),
            (&[ACME], "x.pending.test"),
            (&[ACME], "pending.test.example"),
            // It names no host.
            (&[ACME], "192.0.2.7"),
            (&[ACME, ACME], "pending.test"),
            (&[ACME, b"acme-tls/2"], "pending.test"),
            (&[b"ACME-TLS/1"], "pending.test"),
            (&[b"acme-tls/1\0"], "pending.test"),
        ] {
            assert!(is_refused_protocol(&ask(alpn, name)), "{alpn:?} {name}");
        }
    }
}

#[test]
fn names_are_compared_without_case_and_without_the_dot_of_the_root() {
    let answer = challenge("pending.test");
    let config = server(&site()).with_challenges(&pending(&[("pending.TEST", &answer)]));
    let first_answer = |asked: &[u8; 13]| {
        // The certificate of TLS 1.2 can be seen on the wire. The client keeps the case of its name
        // and leaves out a dot, so the name is written over another one.
        let mut hello = sent(&mut client(&credulous(Offer::tls12(), &[ACME]), "pending.testx"));
        let at = hello.windows(13).position(|bytes| bytes == b"pending.testx").unwrap();
        hello[at..at + 13].copy_from_slice(asked);
        let mut out = Vec::new();
        let step = Handshake::new(&config).unwrap().on_bytes(&hello, &mut out);
        (out, matches!(step, HandshakeStep::More(_)))
    };
    for (asked, is_pending) in [
        (b"pending.test.", true),
        (b"Pending.TEST.", true),
        (b"pending.testx", false),
        (b"xending.test.", false),
    ] {
        let (out, goes_on) = first_answer(asked);
        let certificate = der(&answer);
        let is_sent = out.windows(certificate.len()).any(|bytes| bytes == &*certificate);
        assert_eq!((is_sent, goes_on), (is_pending, is_pending), "{}", asked.escape_ascii());
    }
}

#[test]
fn however_the_first_message_comes() {
    let (pem, answer) = (site(), challenge("pending.test"));
    let config = server(&pem).with_challenges(&pending(&[("pending.test", &answer)]));
    let retried = || {
        let mut offer = Offer::default();
        offer.versions.truncate(1);
        offer.provider.kx_groups = vec![SECP256R1MLKEM768, X25519];
        offer
    };
    let rare = || {
        let mut offer = Offer::default();
        offer.provider.kx_groups = vec![SECP384R1];
        offer
    };
    let post_quantum = || {
        let mut offer = Offer::default();
        offer.provider.kx_groups = vec![X25519MLKEM768];
        offer
    };
    let offers: [(&dyn Fn() -> Offer, Option<usize>); 6] = [
        (&Offer::default, None),
        (&Offer::tls12, Some(64)),
        (&retried, None),
        (&retried, Some(200)),
        (&rare, None),
        // Its key share fills more than one record.
        (&post_quantum, Some(1000)),
    ];
    for (place, (offer, fragment)) in offers.into_iter().enumerate() {
        for piece in [usize::MAX, 1, 700] {
            let with = |alpn: &[&[u8]]| {
                let mut config = (*credulous(offer(), alpn)).clone();
                config.max_fragment_size = fragment;
                Arc::new(config)
            };
            let (certificate, established) = ask(&config, &with(&[ACME]), "pending.test", piece).unwrap();
            assert_eq!((certificate, established.is_challenge), (der(&answer), true), "{place} {piece}");
            let (certificate, established) =
                ask(&config, &with(&[ACME, HTTP]), "pending.test", piece).unwrap();
            assert_eq!((certificate, established.is_challenge), (der(&pem), false), "{place} {piece}");
        }
    }
}

#[test]
fn a_second_first_message_changes_no_choice() {
    // The server speaks a protocol that one byte makes that of challenges.
    let (pem, answer) = (site(), challenge("pending.test"));
    let config = Config::new(vec![pem.identity()], &[b"acme-tls/2"]).unwrap();
    let config = config.with_challenges(&pending(&[("pending.test", &answer)]));
    let (one, two) = (&b"acme-tls/1"[..], &b"acme-tls/2"[..]);
    for (first, second, is_refused) in
        [(one, one, false), (two, two, false), (one, two, true), (two, one, true)]
    {
        let mut offer = Offer::default();
        offer.versions.truncate(1);
        // A key share of a group that the server does not know: it asks for another.
        offer.provider.kx_groups = vec![SECP256R1MLKEM768, X25519];
        let mut client = client(&credulous(offer, &[first]), "pending.test");
        let (mut out, mut handshake) = (Vec::new(), Handshake::new(&config).unwrap());
        let HandshakeStep::More(next) = handshake.on_bytes(&sent(&mut client), &mut out) else {
            panic!("no HelloRetryRequest");
        };
        handshake = next;
        give(&mut client, &out).unwrap();
        let mut hello = sent(&mut client);
        let at = hello.windows(first.len()).position(|bytes| bytes == first).unwrap();
        hello[at..at + second.len()].copy_from_slice(second);
        let step = handshake.on_bytes(&hello, &mut Vec::new());
        match step {
            HandshakeStep::Failed(error) => {
                assert!(is_refused, "{error}");
                assert_eq!(error.fault(), Fault::Peer(PeerFault::NoApplicationProtocol));
            }
            _ => assert!(!is_refused, "{} {}", first.escape_ascii(), second.escape_ascii()),
        }
    }
}

#[test]
fn a_challenge_comes_before_certificates_of_clients() {
    let (pem, answer) = (site(), challenge("closed.test"));
    let ca = Pem::ecdsa(&["ca.test"]);
    let clients = vec![HostClients {
        names: vec!["closed.test".to_owned()],
        is_default: true,
        ca: Some(ClientCa::from_pem(ca.chain.as_bytes()).unwrap()),
    }];
    let identities = Identities { all: vec![pem.identity()], clients, ..Identities::default() };
    let guarded = Config::new(identities, &[HTTP]).unwrap();
    let config = guarded.clone().with_challenges(&pending(&[("closed.test", &answer)]));
    for offer in [Offer::default, Offer::tls12] {
        let (certificate, established) =
            ask(&config, &credulous(offer(), &[ACME]), "closed.test", usize::MAX).unwrap();
        assert_eq!((certificate, established.is_challenge), (der(&answer), true));
        assert_eq!(established.client_ca, None);
        // All others need one.
        for alpn in [&[HTTP][..], &[ACME, HTTP], &[]] {
            assert!(ask(&config, &credulous(offer(), alpn), "closed.test", usize::MAX).is_err(), "{alpn:?}");
        }
        assert!(ask(&config, &credulous(offer(), &[ACME]), "site.test", usize::MAX).is_err());
        assert!(ask(&guarded, &credulous(offer(), &[ACME]), "closed.test", usize::MAX).is_err());
    }
}

#[test]
fn an_authority_may_speak_tls_1_2_where_others_may_not() {
    let (pem, answer) = (site(), challenge("pending.test"));
    let config = Config::with_min_version(vec![pem.identity()], &[HTTP], Version::Tls13).unwrap();
    let config = config.with_challenges(&pending(&[("pending.test", &answer)]));
    let (_, established) =
        ask(&config, &credulous(Offer::tls12(), &[ACME]), "pending.test", usize::MAX).unwrap();
    assert_eq!((established.version, established.is_challenge), (Version::Tls12, true));
    assert!(ask(&config, &credulous(Offer::tls12(), &[HTTP]), "pending.test", usize::MAX).is_err());
}

#[test]
fn a_challenge_resumes_nothing_and_nothing_resumes_it() {
    let (pem, answer) = (site(), challenge("pending.test"));
    let (before, challenges) = (server(&pem), pending(&[("pending.test", &answer)]));
    let config = before.clone().with_challenges(&challenges);
    let next = config.renewed(vec![pem.identity()], &[HTTP]).unwrap();
    for offer in [Offer::default, Offer::tls12] {
        // One store of sessions, which an authority and a browser share here.
        let browser = credulous(offer(), &[HTTP]);
        let mut authority = (*browser).clone();
        authority.alpn_protocols = vec![ACME.to_vec()];
        let authority = Arc::new(authority);
        let resumed = |config: &Config, with: &Arc<ClientConfig>| {
            let mut client = client(with, "pending.test");
            let established = negotiate(config, &mut client, usize::MAX).unwrap();
            (established.is_challenge, established.resumed)
        };
        assert_eq!(resumed(&config, &authority), (true, false));
        assert_eq!(resumed(&config, &authority), (true, false));
        assert_eq!(resumed(&before, &browser), (false, false));
        assert_eq!(resumed(&config, &authority), (true, false));
        // Ticket keys go over in both directions.
        assert_eq!(resumed(&config, &browser), (false, true));
        assert_eq!(resumed(&config.clone().with_challenges(&Arc::default()), &browser), (false, true));
        assert_eq!(resumed(&server(&pem).with_tickets_of(&config), &browser), (false, true));
        // What is pending stays so with other certificates.
        assert_eq!(resumed(&next, &browser), (false, true));
        assert_eq!(resumed(&next, &authority), (true, false));
    }
}

#[test]
fn with_none_pending_nothing_is_read_twice() {
    let config = server(&site());
    let empty = config.clone().with_challenges(&Arc::default());
    let some = empty.clone().with_challenges(&pending(&[("pending.test", &challenge("pending.test"))]));
    let memory = |config: &Config| Handshake::new(config).unwrap().memory();
    assert_eq!(memory(&empty), memory(&config));
    assert!(memory(&some) > memory(&config));
    assert_eq!(memory(&some.with_challenges(&Arc::default())), memory(&config));
    let authority = credulous(Offer::default(), &[ACME]);
    assert!(is_refused_protocol(&ask(&empty, &authority, "pending.test", usize::MAX)));
}

#[test]
fn a_refusal_is_that_of_a_server_without_challenges() {
    let config = server(&site());
    let some = config.clone().with_challenges(&pending(&[("pending.test", &challenge("pending.test"))]));
    let answer = |config: &Config, offer: Offer| {
        let mut client = client(&credulous(offer, &[ACME]), "site.test");
        let mut out = Vec::new();
        let step = Handshake::new(config).unwrap().on_bytes(&sent(&mut client), &mut out);
        assert!(matches!(step, HandshakeStep::Failed(_)));
        assert_eq!(
            give(&mut client, &out),
            Err(Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol))
        );
        out
    };
    for config in [&some, &config] {
        // A fatal alert, no_application_protocol (RFC 7301 §3.2), which TLS 1.3 encrypts.
        assert_eq!(answer(config, Offer::tls12()), [21, 3, 3, 0, 2, 2, 120]);
        answer(config, Offer::default());
    }
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    let (one, two) = (challenge("a.test"), challenge("a.test"));
    let mut challenges = Challenges::new();
    let mut add = |chain: &str, key: &str| challenges.add("a.test", chain.as_bytes(), key.as_bytes());
    assert_eq!(add(&one.chain, &two.key), Err(IdentityError::KeyMismatch));
    assert!(matches!(add("", &one.key), Err(IdentityError::NoCertificate(_))));
    assert!(matches!(add(&one.chain, ""), Err(IdentityError::NoKey(_))));
    let damaged = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(add(damaged, &one.key), Err(IdentityError::BadCertificate(_))));
    assert_eq!(add(&one.chain, &one.key), Ok(()));
    let rsa = Pem::rsa(&["a.test"]);
    assert_eq!(add(&rsa.chain, &rsa.key), Ok(()));
    assert_eq!((challenges.len(), challenges.is_empty()), (1, false));
    assert_eq!(format!("{challenges:?}"), "Challenges { len: 1, .. }");
}
