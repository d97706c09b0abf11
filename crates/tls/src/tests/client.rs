//! Certificates, and a client in memory.

use crate::{Config, Established, Frame, Handshake, HandshakeError, HandshakeStep, Identity, Opened};
use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use std::sync::{Arc, OnceLock};

/// A self-signed certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pem {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Pem {
    pub(crate) fn ecdsa(names: &[&str]) -> Self {
        Self::signed_by(&KeyPair::generate().unwrap(), names)
    }

    pub(crate) fn rsa(names: &[&str]) -> Self {
        // Making one takes long enough to notice.
        static KEY: OnceLock<String> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_pem()
        });
        Self::signed_by(&KeyPair::from_pem(key).unwrap(), names)
    }

    fn signed_by(key: &KeyPair, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(key).unwrap();
        Self { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// A server with one identity that speaks `http/1.1`.
pub(crate) fn server(pem: &Pem) -> Config {
    Config::new(vec![pem.identity()], &[b"http/1.1"]).unwrap()
}

/// The offer of a client.
pub(crate) struct Offer {
    pub(crate) provider: CryptoProvider,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<Vec<u8>>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            provider: default_provider(),
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            alpn: vec![b"http/1.1".to_vec()],
        }
    }
}

impl Offer {
    pub(crate) fn tls12() -> Self {
        Self { versions: vec![&rustls::version::TLS12], ..Self::default() }
    }

    pub(crate) fn suite(suite: CipherSuite) -> Self {
        let mut offer = Self::default();
        offer.provider.cipher_suites.retain(|offered| offered.suite() == suite);
        offer.versions = vec![offer.provider.cipher_suites[0].version()];
        offer
    }

    pub(crate) fn trusting(self, pems: &[&Pem]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for pem in pems {
            roots.add(CertificateDer::from_pem_slice(pem.chain.as_bytes()).unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(self.provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = self.alpn;
        Arc::new(config)
    }
}

pub(crate) fn client(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// All that the client has to send.
pub(crate) fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client bytes, and answers how it took them.
pub(crate) fn give(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// Returns the data that the client has decrypted.
pub(crate) fn received(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The connection is still open, so that reading ends with WouldBlock; what came before it is
    // kept.
    let _ = std::io::Read::read_to_end(&mut client.reader(), &mut bytes);
    bytes
}

/// Runs both sides until the server is done, in pieces of `piece` bytes from the client.
pub(crate) fn negotiate(
    config: &Config,
    client: &mut ClientConnection,
    piece: usize,
) -> Result<Box<Established>, HandshakeError> {
    let mut handshake = Handshake::new(config).unwrap();
    for _ in 0..10 {
        let flight = sent(client);
        assert!(!flight.is_empty(), "both sides wait");
        let mut pieces = flight.chunks(piece);
        while let Some(bytes) = pieces.next() {
            let mut out = Vec::new();
            let step = handshake.on_bytes(bytes, &mut out);
            let taken = give(client, &out);
            handshake = match step {
                HandshakeStep::More(handshake) => handshake,
                HandshakeStep::Done(mut established) => {
                    taken.unwrap();
                    pieces.for_each(|piece| established.rest.extend_from_slice(piece));
                    return Ok(established);
                }
                HandshakeStep::Failed(error) => return Err(error),
            };
        }
    }
    panic!("no end of the handshake");
}

pub(crate) fn connect(
    config: &Config,
    client_config: &Arc<ClientConfig>,
    name: &str,
) -> (ClientConnection, Box<Established>) {
    let mut client = client(client_config, name);
    let established = negotiate(config, &mut client, usize::MAX).unwrap();
    (client, established)
}

/// An event that the server opens; data is joined.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Data(Vec<u8>),
    Nothing,
    KeyUpdateRequested,
    CloseNotify,
    Alert(u8),
}

pub(crate) fn open_all(established: &mut Established, mut bytes: Vec<u8>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Frame::Whole(len) = established.records.frame(&bytes[at..]).unwrap() else {
            panic!("a record is cut short");
        };
        let event = match established.records.open(&mut bytes[at..at + len]).unwrap() {
            Opened::Data(data) => Event::Data(data.to_vec()),
            Opened::Nothing => Event::Nothing,
            Opened::KeyUpdateRequested => Event::KeyUpdateRequested,
            Opened::CloseNotify => Event::CloseNotify,
            Opened::Alert(code) => Event::Alert(code),
        };
        at += len;
        match (events.last_mut(), event) {
            (Some(Event::Data(before)), Event::Data(data)) => before.extend(data),
            (_, event) => events.push(event),
        }
    }
    events
}
