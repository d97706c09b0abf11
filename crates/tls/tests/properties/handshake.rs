//! From a ClientHello to the hand-over, with whatever happens to the bytes on their way.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sitar_tls::{
    Challenges, Config, Established, Frame, Handshake, HandshakeStep, Identity, Opened, SEALED_MAX,
};

/// A real client of TLS 1.3 or 1.2 whose flights are cut and damaged as the bytes say, or the bytes
/// alone.
///
/// An undamaged handshake is completed, however it was cut, and its connection carries data both
/// ways. Nothing else can complete one but damage to what no signature or MAC covers. What is sent
/// is bounded, and after a failure it is at most what was sent before and an alert.
pub(crate) fn check(program: &[u8]) {
    let Some((&kind, rest)) = program.split_first() else { return };
    let piece = usize::from(kind >> 3) * 37 + 1;
    if kind & 4 != 0 {
        let mut out = Vec::new();
        let end = feed(Handshake::new(&fixture().server).expect("a handshake"), rest, piece, &mut out);
        assert!(!matches!(end, HandshakeStep::Done(_)), "a handshake from nothing");
        assert!(out.len() < FLIGHT_MAX, "{} bytes sent", out.len());
        return;
    }
    let config = &fixture().clients[usize::from(kind & 3) % fixture().clients.len()];
    let is_challenge = config.alpn_protocols == [b"acme-tls/1"];
    let name = if is_challenge { "pending.test" } else { "site.test" }.try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut handshake = Handshake::new(&fixture().server).expect("a handshake");
    let mut damage = rest.chunks_exact(4);
    let is_damaged = damage.len() > 0;
    for _ in 0..FLIGHTS_MAX {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).expect("a vector takes it all");
        }
        // One change to each flight, as long as there are any.
        if let Some(&[high, low, how, value]) = damage.next() {
            let at = usize::from(high) << 8 | usize::from(low);
            if let Some(at) = at.checked_rem(flight.len()) {
                match how % 4 {
                    0 => flight[at] = value,
                    1 => flight[at] ^= value,
                    2 => flight.insert(at, value),
                    _ => drop(flight.remove(at)),
                }
            }
        }
        if flight.is_empty() {
            assert!(is_damaged, "both sides wait");
            return;
        }
        let mut out = Vec::new();
        let step = feed(handshake, &flight, piece, &mut out);
        assert!(out.len() < FLIGHT_MAX, "{} bytes sent", out.len());
        let mut bytes = out.as_slice();
        let mut is_content = true;
        while !bytes.is_empty() && is_content {
            is_content = client.read_tls(&mut bytes).is_ok() && client.process_new_packets().is_ok();
        }
        match step {
            HandshakeStep::More(next) => handshake = next,
            HandshakeStep::Done(established) if is_content => {
                assert!(is_damaged || established.is_challenge == is_challenge);
                return converse(client, *established, is_damaged);
            }
            HandshakeStep::Done(_) | HandshakeStep::Failed(_) => {
                assert!(is_damaged, "a good handshake failed");
                return;
            }
        }
    }
    assert!(is_damaged, "no end of the handshake");
}

/// Feeds bytes in pieces until they or the handshake end. Behind its end, the rest is added to what
/// is left.
fn feed(handshake: Handshake, bytes: &[u8], piece: usize, out: &mut Vec<u8>) -> HandshakeStep {
    let mut step = HandshakeStep::More(handshake);
    for piece in bytes.chunks(piece) {
        step = match step {
            HandshakeStep::More(handshake) => handshake.on_bytes(piece, out),
            HandshakeStep::Done(mut established) => {
                established.rest.extend_from_slice(piece);
                HandshakeStep::Done(established)
            }
            HandshakeStep::Failed(error) => return HandshakeStep::Failed(error),
        };
    }
    step
}

fn converse(mut client: ClientConnection, mut established: Established, is_damaged: bool) {
    if is_damaged && client.is_handshaking() {
        return;
    }
    client.writer().write_all(b"question").expect("room");
    let mut wire = std::mem::take(&mut established.rest);
    while client.wants_write() {
        client.write_tls(&mut wire).expect("a vector takes it all");
    }
    let mut heard = Vec::new();
    let mut rest = wire.as_mut_slice();
    while let Ok(Frame::Whole(len)) = established.records.frame(rest) {
        let (record, later) = rest.split_at_mut(len);
        match established.records.open(record) {
            Ok(Opened::Data(data)) => heard.extend_from_slice(data),
            Ok(_) => {}
            Err(error) => {
                assert!(is_damaged, "{error}");
                return;
            }
        }
        rest = later;
    }
    assert!(is_damaged || heard == b"question", "the client was not understood");
    let mut record = vec![0; SEALED_MAX];
    let len = established.records.seal_from(b"answer", &mut record).expect("sealed");
    client.read_tls(&mut &record[..len]).expect("a slice can be read");
    client.process_new_packets().expect("the client understands");
    let mut answer = [0; 6];
    client.reader().read_exact(&mut answer).expect("six bytes");
    assert_eq!(&answer, b"answer");
}

struct Fixture {
    server: Config,
    /// TLS 1.3, TLS 1.2, TLS 1.3 in small records after a HelloRetryRequest, and an authority that
    /// validates `pending.test`.
    clients: [Arc<ClientConfig>; 4],
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let names = ["site.test".to_owned(), "pending.test".to_owned()];
        let parameters = rcgen::CertificateParams::new(names).expect("names");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let pem = (certificate.pem(), key.serialize_pem());
        let own = Identity::from_pem(pem.0.as_bytes(), pem.1.as_bytes());
        let mut challenges = Challenges::new();
        challenges.add("pending.test", pem.0.as_bytes(), pem.1.as_bytes()).expect("a challenge");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        let client = |version, retry: bool| {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            if retry {
                use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1MLKEM768, X25519};
                provider.kx_groups = vec![SECP256R1MLKEM768, X25519];
            }
            let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[version])
                .expect("a version")
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.max_fragment_size = retry.then_some(200);
            Arc::new(config)
        };
        use rustls::version::{TLS12, TLS13};
        let server = Config::new(vec![own.expect("an identity")], &[b"http/1.1"]).expect("a configuration");
        let mut authority = (*client(&TLS13, false)).clone();
        authority.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        Fixture {
            server: server.with_challenges(&Arc::new(challenges)),
            clients: [
                client(&TLS13, false),
                client(&TLS12, false),
                client(&TLS13, true),
                Arc::new(authority),
            ],
        }
    })
}

/// More than a whole answer to a ClientHello with this certificate.
const FLIGHT_MAX: usize = 8192;
/// More than a handshake has.
const FLIGHTS_MAX: usize = 6;
