//! Handshakes that succeed, with their parameters, and the alerts of those that fail.

use super::client::{Event, Offer, Pem, client, connect, give, negotiate, open_all, sent, server};
use crate::{
    Config, ConfigError, Fault, FileContent, FileKind, Handshake, HandshakeError, HandshakeStep, Identities,
    Identity, IdentityError, PeerFault, RecordError, Version,
};
use rustls::crypto::aws_lc_rs::{Ticketer, kx_group};
use rustls::server::ProducesTickets;
use rustls::{AlertDescription, CipherSuite, ClientConnection, Error};
use std::io::Write;
use std::sync::{Arc, Mutex};

const TLS13: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];
const TLS12_ECDSA: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
const TLS12_RSA: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

#[test]
fn every_suite_with_either_kind_of_key() {
    let (ecdsa, rsa) = (Pem::ecdsa(&["site.test"]), Pem::rsa(&["site.test"]));
    let cases = [
        (&ecdsa, TLS13.as_slice(), Version::Tls13),
        (&rsa, TLS13.as_slice(), Version::Tls13),
        (&ecdsa, TLS12_ECDSA.as_slice(), Version::Tls12),
        (&rsa, TLS12_RSA.as_slice(), Version::Tls12),
    ];
    for (pem, suites, version) in cases {
        for suite in suites {
            let config = Offer::suite(*suite).trusting(&[pem]);
            let (mut client, mut established) = connect(&server(pem), &config, "site.test");
            assert_eq!(established.version, version);
            assert_eq!(established.records.version(), version);
            assert_eq!(established.suite, u16::from(*suite));
            assert_eq!(established.alpn.as_deref(), Some(b"http/1.1".as_slice()));
            assert!(!established.resumed);
            assert_eq!(established.rest, b"");

            client.writer().write_all(b"ping").unwrap();
            let events = open_all(&mut established, sent(&mut client));
            assert_eq!(events, [Event::Data(b"ping".to_vec())], "{suite:?}");
        }
    }
}

#[test]
fn the_cheapest_suite_is_chosen_whatever_the_client_prefers() {
    let pem = Pem::ecdsa(&["site.test"]);
    for (offer, suite) in [
        (Offer::default(), CipherSuite::TLS13_AES_128_GCM_SHA256),
        (Offer::tls12(), CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ] {
        let mut offer = offer;
        // ChaCha20 first, AES-128 last.
        offer.provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => 0,
            CipherSuite::TLS13_AES_128_GCM_SHA256 => 2,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => 0,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => 2,
            _ => 1,
        });
        let (_, established) = connect(&server(&pem), &offer.trusting(&[&pem]), "site.test");
        assert_eq!(established.suite, u16::from(suite));
    }
}

#[test]
fn post_quantum_key_exchange_for_those_who_prefer_it() {
    let pem = Pem::ecdsa(&["site.test"]);
    let mut offer = Offer::default();
    offer.provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    let (_, established) = connect(&server(&pem), &offer.trusting(&[&pem]), "site.test");
    assert_eq!(established.key_exchange, Some("X25519MLKEM768"));
    // A client that cannot, and one whose first key share is refused (HelloRetryRequest).
    let mut offer = Offer::default();
    offer.provider.kx_groups = vec![kx_group::SECP256R1MLKEM768, kx_group::SECP384R1];
    let (_, established) = connect(&server(&pem), &offer.trusting(&[&pem]), "site.test");
    assert_eq!(established.key_exchange, Some("secp384r1"));
}

#[test]
fn tickets_resume_on_every_clone_and_after_a_reload() {
    let pem = Pem::ecdsa(&["site.test"]);
    for offer in [Offer::default(), Offer::tls12()] {
        let config = server(&pem);
        let client_config = offer.trusting(&[&pem]);
        let (_, first) = connect(&config, &client_config, "site.test");
        assert!(!first.resumed);
        let (_, second) = connect(&config.clone(), &client_config, "site.test");
        assert!(second.resumed, "{}", second.version);
        let renewed = config.renewed(vec![pem.identity()], &[b"http/1.1"]).unwrap();
        let (mut client, mut third) = connect(&renewed, &client_config, "site.test");
        assert!(third.resumed, "{}", third.version);
        assert_eq!(third.alpn.as_deref(), Some(b"http/1.1".as_slice()));
        client.writer().write_all(b"again").unwrap();
        assert_eq!(open_all(&mut third, sent(&mut client)), [Event::Data(b"again".to_vec())]);
        // Other keys know nothing of these tickets, and the connection comes to be all the same.
        let (_, other) = connect(&server(&pem), &client_config, "site.test");
        assert!(!other.resumed);
    }
}

/// Ticket keys that change when they are told to: the present one seals, and the one before it
/// still opens.
///
/// The library's own change with the clock.
#[derive(Debug)]
struct Keys(Mutex<[Arc<dyn ProducesTickets>; 2]>);

impl Keys {
    fn new() -> Self {
        let key = || Ticketer::new().unwrap();
        Self([key(), key()].into())
    }

    fn change(&self) {
        let mut keys = self.0.lock().unwrap();
        keys.rotate_right(1);
        keys[0] = Ticketer::new().unwrap();
    }
}

impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        true
    }
    fn lifetime(&self) -> u32 {
        self.0.lock().unwrap()[0].lifetime()
    }
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap()[0].encrypt(plain)
    }
    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().iter().find_map(|key| key.decrypt(cipher))
    }
}

#[test]
fn a_ticket_is_good_for_as_long_as_its_key() {
    let pem = Pem::ecdsa(&["site.test"]);
    for offer in [Offer::default, Offer::tls12] {
        let keys = Arc::new(Keys::new());
        let config = server(&pem).with_tickets(keys.clone());
        let resumes = |client: &Arc<rustls::ClientConfig>| connect(&config, client, "site.test").1.resumed;
        let [one, other] = [offer(), offer()].map(|offer| offer.trusting(&[&pem]));
        assert!(!resumes(&one) && !resumes(&other));
        keys.change();
        assert!(resumes(&one), "the key before the present one still opens");
        keys.change();
        assert!(!resumes(&other), "a ticket without end");
        // The first client's ticket of the second connection is of a later key.
        assert!(resumes(&one));
    }
}

#[test]
fn tickets_live_for_twelve_hours_at_most() {
    let pem = Pem::ecdsa(&["site.test"]);
    assert_eq!(server(&pem).tickets().lifetime(), 12 * 60 * 60);
}

#[test]
fn tls_1_2_can_be_left_out() {
    let pem = Pem::ecdsa(&["site.test"]);
    let identities = || vec![pem.identity()];
    let config = Config::with_min_version(identities(), &[b"http/1.1"], Version::Tls13).unwrap();
    for config in [&config, &config.renewed(identities(), &[b"http/1.1"]).unwrap()] {
        let mut old = client(&Offer::tls12().trusting(&[&pem]), "site.test");
        let mut out = Vec::new();
        let step = Handshake::new(config).unwrap().on_bytes(&sent(&mut old), &mut out);
        assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))), "{step:?}");
        // RFC 8446 §4.2.1: protocol_version.
        assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 70]);
        let (_, new) = connect(config, &Offer::default().trusting(&[&pem]), "site.test");
        assert_eq!(new.version, Version::Tls13);
    }
}

fn certificate_of(client: &ClientConnection) -> Vec<u8> {
    client.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &Pem) -> Vec<u8> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem.chain.as_bytes()).unwrap().to_vec()
}

#[test]
fn server_name_chooses_the_identity() {
    let first = Pem::ecdsa(&["first.test", "192.0.2.1", "a.b.wild.test", "wild.test"]);
    let wild = Pem::ecdsa(&["*.wild.test"]);
    let exact = Pem::ecdsa(&["exact.wild.test"]);
    let config =
        Config::new(vec![first.identity(), wild.identity(), exact.identity()], &[b"http/1.1"]).unwrap();
    let client_config = Offer::default().trusting(&[&first, &wild, &exact]);
    for (name, pem) in [
        ("exact.wild.test", &exact),
        ("EXACT.wild.test", &exact),
        ("other.wild.test", &wild),
        ("first.test", &first),
        // The asterisk is one label, no more and no fewer.
        ("a.b.wild.test", &first),
        ("wild.test", &first),
        // A client does not send an address as a server name.
        ("192.0.2.1", &first),
    ] {
        let (client, established) = connect(&config, &client_config, name);
        assert_eq!(certificate_of(&client), der(pem), "{name}");
        let sent = (name != "192.0.2.1").then(|| name.to_lowercase());
        assert_eq!(established.server_name.as_deref(), sent.as_deref());
    }
    // Also where a ticket is used, which brings no certificate; one after the other on one thread.
    for name in ["first.test", "exact.wild.test", "first.test"] {
        let (_, established) = connect(&config, &client_config, name);
        assert!(established.resumed, "{name}");
        assert_eq!(established.server_name.as_deref(), Some(name));
    }
}

#[test]
fn the_identities_of_a_host_are_preferred_to_those_that_only_name_it() {
    let names = ["a.test", "*.wild.test", "b.wild.test"];
    let [first, own, wild] = [&names[..], &names[..], &["*.wild.test"][..]].map(Pem::ecdsa);
    let identities = Identities {
        all: vec![first.identity(), own.identity(), wild.identity()],
        by_host: vec![
            ("a.test".to_owned(), vec![own.identity()]),
            ("*.wild.test".to_owned(), vec![wild.identity()]),
        ],
        clients: Vec::new(),
    };
    let config = Config::new(identities, &[b"http/1.1"]).unwrap();
    let client_config = Offer::default().trusting(&[&first, &own, &wild]);
    // The last one twice: a resumed connection is shown no certificate.
    for (name, pem) in
        [("a.test", &own), ("b.wild.test", &wild), ("c.wild.test", &wild), ("a.test", &own), ("a.test", &own)]
    {
        let (client, established) = connect(&config, &client_config, name);
        assert_eq!(certificate_of(&client), der(pem), "{name}");
        let presented = established.names.unwrap();
        assert_eq!(presented.dns(), pem.identity().names(), "{name}");
        assert!(presented.cover(name), "{name}");
    }
}

#[test]
fn tickets_from_before_a_change_still_open() {
    let (old, new) = (Pem::ecdsa(&["site.test"]), Pem::ecdsa(&["site.test"]));
    let client_config = Offer::default().trusting(&[&old, &new]);
    let before = server(&old);
    let other = server(&new);
    let after = server(&new).with_tickets_of(&before);
    assert!(!connect(&before, &client_config, "site.test").1.resumed);
    assert!(connect(&after, &client_config, "site.test").1.resumed);
    assert!(!connect(&other, &client_config, "site.test").1.resumed, "of other keys");
}

#[test]
fn errors_say_whose_fault_they_are() {
    let fault = |pieces: &[&[u8]]| match feed(pieces).0 {
        HandshakeStep::Failed(error) => error.fault(),
        step => panic!("{step:?}"),
    };
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], PeerFault::PlainHttp),
        (&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3], PeerFault::Malformed),
        (&[0x16, 3, 1, 0x40, 1], PeerFault::RecordTooLong),
        (&[0x17, 3, 3, 0, 1, 0], PeerFault::UnexpectedMessage),
        (&[0x15, 3, 3, 0, 2, 2, 40], PeerFault::Alert(40)),
    ] {
        assert_eq!(fault(&[bytes]), Fault::Peer(expected), "{bytes:?}");
    }
    let pem = Pem::ecdsa(&["site.test"]);
    for (alpn, min, expected) in [
        (&[&b"spdy/3"[..]], Version::Tls12, PeerFault::NoApplicationProtocol),
        (&[b"http/1.1"], Version::Tls13, PeerFault::NothingInCommon),
    ] {
        let config = Config::with_min_version(vec![pem.identity()], alpn, min).unwrap();
        let mut client = client(&Offer::tls12().trusting(&[&pem]), "site.test");
        let error = negotiate(&config, &mut client, usize::MAX).unwrap_err();
        assert_eq!(error.fault(), Fault::Peer(expected), "{error}");
    }
    assert_eq!(RecordError::BadMac.fault(), Fault::Peer(PeerFault::BadRecordMac));
    assert_eq!(RecordError::KeyExhausted.fault(), Fault::Ours);
}

#[test]
fn unknown_server_name_gets_the_first_identity() {
    let (first, second) = (Pem::ecdsa(&["first.test"]), Pem::ecdsa(&["second.test"]));
    let config = Config::new(vec![first.identity(), second.identity()], &[]).unwrap();
    let mut client = client(&Offer::default().trusting(&[&first, &second]), "third.test");
    // The client refuses it: 42 is bad_certificate, to rustls the alert for a name that is not
    // there.
    let error = negotiate(&config, &mut client, usize::MAX).unwrap_err();
    assert_eq!(error, HandshakeError::PeerAlert(42));
}

#[test]
fn two_kinds_of_key_for_one_name() {
    let (ecdsa, rsa) = (Pem::ecdsa(&["site.test"]), Pem::rsa(&["site.test"]));
    let config = Config::new(vec![ecdsa.identity(), rsa.identity()], &[b"http/1.1"]).unwrap();
    for (suite, pem) in [(TLS12_RSA[0], &rsa), (TLS12_ECDSA[0], &ecdsa)] {
        let (client, _) = connect(&config, &Offer::suite(suite).trusting(&[&ecdsa, &rsa]), "site.test");
        assert_eq!(certificate_of(&client), der(pem), "{suite:?}");
    }
}

#[test]
fn protocols_are_agreed_on_or_refused() {
    let pem = Pem::ecdsa(&["site.test"]);
    let offer =
        |alpn: &[&[u8]]| Offer { alpn: alpn.iter().map(|name| name.to_vec()).collect(), ..Offer::default() };
    let (_, established) =
        connect(&server(&pem), &offer(&[b"h2", b"http/1.1"]).trusting(&[&pem]), "site.test");
    assert_eq!(established.alpn.as_deref(), Some(b"http/1.1".as_slice()));
    let (_, established) = connect(&server(&pem), &offer(&[]).trusting(&[&pem]), "site.test");
    assert_eq!(established.alpn, None);

    // RFC 7301 §3.2: no overlap is a fatal no_application_protocol.
    for versions in [Offer::default().versions, Offer::tls12().versions] {
        let offer = Offer { versions, ..offer(&[b"spdy/3"]) };
        let mut client = client(&offer.trusting(&[&pem]), "site.test");
        let mut out = Vec::new();
        let step = Handshake::new(&server(&pem)).unwrap().on_bytes(&sent(&mut client), &mut out);
        assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))));
        let error = give(&mut client, &out).unwrap_err();
        assert_eq!(error, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    }
}

#[test]
fn one_byte_at_a_time() {
    let pem = Pem::rsa(&["site.test"]);
    for offer in [Offer::default(), Offer::tls12()] {
        let mut client = client(&offer.trusting(&[&pem]), "site.test");
        let mut established = negotiate(&server(&pem), &mut client, 1).unwrap();
        client.writer().write_all(b"slow").unwrap();
        assert_eq!(open_all(&mut established, sent(&mut client)), [Event::Data(b"slow".to_vec())]);
    }
}

#[test]
fn data_behind_the_finished_is_left_for_the_record_layer() {
    let pem = Pem::ecdsa(&["site.test"]);
    // More than a handshake keeps, so that part of it never passes through its buffer.
    let data: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    for piece in [usize::MAX, 4096, 7] {
        let mut client = client(&Offer::default().trusting(&[&pem]), "site.test");
        client.set_buffer_limit(None);
        // Queued now, sent by rustls as soon as it may: right behind its Finished.
        client.writer().write_all(&data).unwrap();
        let mut established = negotiate(&server(&pem), &mut client, piece).unwrap();
        let rest = std::mem::take(&mut established.rest);
        assert!(rest.len() > 100_000, "{} bytes in pieces of {piece}", rest.len());
        assert_eq!(open_all(&mut established, rest), [Event::Data(data.clone())]);
    }
}

#[test]
fn tls12_data_behind_the_finished_of_a_resumption() {
    // Resumed, TLS 1.2 lets the client finish last, so that data can follow its Finished.
    let pem = Pem::ecdsa(&["site.test"]);
    let (config, client_config) = (server(&pem), Offer::tls12().trusting(&[&pem]));
    connect(&config, &client_config, "site.test");
    let mut client = client(&client_config, "site.test");
    client.writer().write_all(b"early bird").unwrap();
    let mut established = negotiate(&config, &mut client, usize::MAX).unwrap();
    assert!(established.resumed);
    let rest = std::mem::take(&mut established.rest);
    assert_eq!(open_all(&mut established, rest), [Event::Data(b"early bird".to_vec())]);
}

/// Feeds pieces to a new handshake; the last step and what was sent.
fn feed(pieces: &[&[u8]]) -> (HandshakeStep, Vec<u8>) {
    let config = server(&Pem::ecdsa(&["site.test"]));
    let mut out = Vec::new();
    let mut step = HandshakeStep::More(Handshake::new(&config).unwrap());
    for piece in pieces {
        let HandshakeStep::More(handshake) = step else { panic!("over before {piece:?}: {step:?}") };
        step = handshake.on_bytes(piece, &mut out);
    }
    (step, out)
}

#[test]
fn plain_http_is_recognized() {
    for (pieces, is_head) in [
        ([b"GET / HTTP/1.1\r\n".as_slice()].as_slice(), false),
        (&[b"G", b"ET / HTTP/1.1\r\nHost: a\r\n\r\n"], false),
        (&[b"H", b"E", b"A", b"D", b" "], true),
        (&[b"HEAD / HTTP/1.1\r\n"], true),
        (&[b"M-SEARCH * HTTP/1.1\r\n"], false),
        (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], false),
    ] {
        let (step, out) = feed(pieces);
        let HandshakeStep::Failed(HandshakeError::PlainHttp { head }) = step else { panic!("{step:?}") };
        assert_eq!(head, is_head);
        assert_eq!(out, b"", "an answer in plain text must not begin with an alert");
    }
    assert!(matches!(feed(&[b"G"]).0, HandshakeStep::More(_)));
    assert!(matches!(feed(&[b""]).0, HandshakeStep::More(_)));
}

#[test]
fn garbage_is_refused_at_its_first_header() {
    // decode_error, in a record in the clear.
    const DECODE_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 50];
    for pieces in [
        // Letters, but no method.
        [b"get / HTTP/1.1\r\n".as_slice()].as_slice(),
        &[b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
        // No content type; a body that would be 0x0101 bytes is not waited for.
        &[&[0xff, 3, 1, 1, 1]],
        // No version.
        &[&[0x16, 4, 1, 0, 1]],
        // An SSL 2 hello.
        &[&[0x80, 0x2e, 1, 0, 2, 0, 15]],
        // RFC 8446 §5.1: no empty handshake records.
        &[&[0x16, 3, 1, 0, 0]],
        // A ClientHello that ends too soon.
        &[&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]],
    ] {
        let (step, out) = feed(pieces);
        assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))), "{pieces:?}: {step:?}");
        assert_eq!(out, DECODE_ERROR, "{pieces:?}");
    }
    // RFC 8446 §5.1: more than 2^14 bytes in a record; the body is not waited for.
    for len in [[0x40, 1], [0xff, 0xff]] {
        let (step, out) = feed(&[&[0x16, 3, 1, len[0], len[1]]]);
        assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))), "{step:?}");
        assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 22]);
    }
    assert!(matches!(feed(&[&[0x16, 3, 1, 0x40, 0]]).0, HandshakeStep::More(_)));
    // RFC 5246 §7.1: a change_cipher_spec has one byte.
    let mut tls12 = client(&Offer::tls12().trusting(&[&Pem::ecdsa(&["site.test"])]), "site.test");
    let (step, out) = feed(&[&sent(&mut tls12), &[0x14, 3, 3, 0, 2, 1, 1]]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))), "{step:?}");
    assert_eq!(out[out.len() - 7..], [0x15, 3, 3, 0, 2, 2, 10]);
    // Data before a handshake.
    let (step, out) = feed(&[&[0x17, 3, 3, 0, 1, 0]]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))));
    assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 10]);
    // RFC 8446 §5.1: data between the pieces of a ClientHello.
    let (step, out) = feed(&[&[0x16, 3, 1, 0, 3, 1, 0, 0, 0x17, 3, 3, 0, 0]]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))));
    assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 10]);
    // The peer gives up before it began: handshake_failure.
    let (step, out) = feed(&[&[0x15, 3, 3, 0, 2, 2, 40]]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::PeerAlert(40))), "{step:?}");
    assert_eq!(out, b"");
}

#[test]
fn a_client_hello_without_end_is_refused() {
    // It announces 60,000 bytes, in records of 16,000.
    let mut hello = vec![0x16, 3, 1, 0x3e, 0x80, 1, 0, 0xea, 0x60];
    hello.resize(16_005, 0);
    let mut record = vec![0x16, 3, 1, 0x3e, 0x80];
    record.resize(16_005, 0);
    let (step, out) = feed(&[&hello, &record, &record[..1]]);
    assert!(matches!(step, HandshakeStep::More(_)));
    assert_eq!(out, b"");
    let (step, out) = feed(&[&hello, &record, &record]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::TooLarge)));
    assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 50]);
    // The same in one piece.
    let all = [hello, record.clone(), record].concat();
    assert!(matches!(feed(&[&all]).0, HandshakeStep::Failed(HandshakeError::TooLarge)));
    // Announced as more than any message may have.
    let (step, out) = feed(&[&[0x16, 3, 1, 0, 4, 1, 1, 0, 0]]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))));
    assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 50]);
}

#[test]
fn old_versions_are_told_so() {
    // A TLS 1.1 ClientHello: version, random, no session, one suite, null compression,
    // signature_algorithms.
    let mut hello = vec![0x16, 3, 1, 0, 55, 1, 0, 0, 51, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x13, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let (step, out) = feed(&[&hello]);
    assert!(matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))), "{step:?}");
    assert_eq!(out, [0x15, 3, 3, 0, 2, 2, 70]);
}

#[test]
fn a_client_that_does_not_trust_us_says_so() {
    let (ours, theirs) = (Pem::ecdsa(&["site.test"]), Pem::ecdsa(&["site.test"]));
    for offer in [Offer::default(), Offer::tls12()] {
        let mut client = client(&offer.trusting(&[&theirs]), "site.test");
        let error = negotiate(&server(&ours), &mut client, usize::MAX).unwrap_err();
        // rustls' name for "not one of mine" is unknown_ca, or decrypt_error where the names
        // collide.
        assert!(
            matches!(error, HandshakeError::PeerAlert(42 | 48 | 51)),
            "{error:?}: neither bad_certificate, unknown_ca nor decrypt_error"
        );
    }
}

#[test]
fn identities_say_what_is_wrong_with_them() {
    let (one, two) = (Pem::ecdsa(&["One.test", "*.one.test"]), Pem::rsa(&["two.test"]));
    let load = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes());

    assert_eq!(one.identity().names(), ["one.test", "*.one.test"]);
    // Both in one file, in either order.
    let both = format!("{}{}", one.key, one.chain);
    assert_eq!(load(&both, &both).unwrap().names(), ["one.test", "*.one.test"]);

    let error = |chain: &str, key: &str| load(chain, key).unwrap_err();
    let found = |kind| FileContent { kind, is_der: false };
    assert_eq!(error("", &one.key), IdentityError::NoCertificate(found(FileKind::Empty)));
    assert_eq!(error(&one.key, &one.key), IdentityError::NoCertificate(found(FileKind::Key)));
    assert_eq!(error(&one.chain, ""), IdentityError::NoKey(found(FileKind::Empty)));
    assert_eq!(error(&one.chain, &one.chain), IdentityError::NoKey(found(FileKind::Certificate)));
    assert_eq!(error(&one.chain, &two.key), IdentityError::KeyMismatch);
    assert_eq!(error(&two.chain, &one.key), IdentityError::KeyMismatch);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(error(&one.chain, encrypted), IdentityError::EncryptedKey);
    let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(error(&one.chain, odd), IdentityError::UnsupportedKey);
    let cut = &one.chain[..one.chain.len() / 2];
    assert_eq!(error(cut, &one.key), IdentityError::BadChainPem("a section has no END line".to_owned()));
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(bad, &one.key), IdentityError::BadCertificate(_)));
    let long = one.chain.repeat(200);
    assert_eq!(error(&long, &one.key), IdentityError::ChainTooLong);
    assert_eq!(IdentityError::KeyMismatch.to_string(), "the private key does not belong to the certificate");
}

#[test]
fn configurations_say_what_is_wrong_with_them() {
    let identity = Pem::ecdsa(&["site.test"]).identity();
    assert_eq!(Config::new(vec![], &[]).unwrap_err(), ConfigError::NoIdentity);
    let error = Config::new(vec![identity.clone()], &[b""]).unwrap_err();
    assert_eq!(error, ConfigError::BadProtocolName);
    assert_eq!(Config::new(vec![identity], &[&[b'x'; 256]]).unwrap_err(), ConfigError::BadProtocolName);
}

#[test]
fn what_shards_share_can_be_shared() {
    fn shared<T: Send + Sync + Clone>() {}
    fn moved<T: Send>() {}
    shared::<Config>();
    moved::<Handshake>();
    moved::<crate::Established>();
}
