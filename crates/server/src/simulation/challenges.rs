//! Authorities that validate names in handshakes, among browsers, while challenges come and go.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, DigitallySignedStruct, Error, SignatureScheme};
use sitar_io::Key;
use sitar_io::sim::{Faults, Next, Rng, Stream, World};

use super::lab::{fixture, later};
use super::served::{Served, serve_sealing};
use crate::access::Network;
use crate::content::loader::inherited;
use crate::shard::FIRST_KEY;
use crate::snapshot::{Hosts, Listener, Role, Snapshot};
use crate::{Challenges, Limits, TlsOffload};

const ACME: &[u8] = b"acme-tls/1";
const GET: &[u8] = b"GET /tiny.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n";
/// The names that are validated. The last is never pending.
const NAMES: [&str; 3] = ["localhost", "other.test", "never.test"];

/// The sets of challenges that take turns: for the name at a place, the certificate at a place.
const SETS: [&[(usize, usize)]; 4] = [&[], &[(0, 0)], &[(0, 1), (1, 2)], &[(1, 2)]];
/// The certificates that each name may ever have.
const OF_NAME: [&[usize]; 3] = [&[0, 1], &[2], &[]];

struct Certificates {
    all: Vec<CertificateDer<'static>>,
    sets: Vec<Arc<Challenges>>,
}

fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = (0..3).map(|_| {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
            params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
            (params.self_signed(&key).unwrap(), key)
        });
        let made: Vec<_> = made.collect();
        let sets = SETS.map(|set| {
            let mut challenges = sitar_tls::Challenges::new();
            for &(name, certificate) in set {
                let (certificate, key) = &made[certificate];
                let (chain, key) = (certificate.pem(), key.serialize_pem());
                challenges.add(NAMES[name], chain.as_bytes(), key.as_bytes()).unwrap();
            }
            Arc::new(Challenges::new(challenges))
        });
        let all = made.iter().map(|(certificate, _)| certificate.der().clone()).collect();
        Certificates { all, sets: sets.into() }
    })
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
        vec![SignatureScheme::ED25519]
    }
}

/// The outcomes of connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Tally {
    /// Browsers that have their answer, from the site's certificate.
    browsers: u64,
    /// Authorities that have seen the certificate of a challenge, and nothing else.
    answered: u64,
    /// Those that were refused.
    refused: u64,
}

/// A client, of either kind.
struct Client {
    stream: Option<Stream>,
    tls: rustls::ClientConnection,
    /// The place of the name that it validates; `None`: it is a browser.
    validates: Option<usize>,
    /// Bytes to be sent.
    out: Vec<u8>,
    /// Bytes at a time, and how long after each other.
    step: usize,
    due: Option<Instant>,
    /// Its proxy.
    from: Option<IpAddr>,
    text: Vec<u8>,
    tally: Rc<RefCell<Tally>>,
}

impl Client {
    fn new(rng: &mut Rng, is_proxied: bool, tally: &Rc<RefCell<Tally>>) -> Client {
        let validates = rng.chance(600).then(|| rng.below(NAMES.len()));
        let versions: &[_] = if rng.chance(300) { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let mut config = builder
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        let http: [&[&[u8]]; 4] = [&[], &[b"http/1.1"], &[ACME, b"http/1.1"], &[b"http/1.1", ACME]];
        let alpn = if validates.is_some() { &[ACME] } else { http[rng.below(4)] };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(NAMES[validates.unwrap_or(0)]).unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        // With the end of the handshake. To an authority nothing is answered.
        tls.writer().write_all(GET).unwrap();
        Client {
            stream: None,
            tls,
            validates,
            out: if is_proxied { HEADER.to_vec() } else { Vec::new() },
            step: [usize::MAX, 700, 40][rng.below(3)],
            due: None,
            from: is_proxied.then(|| "10.1.2.3".parse().unwrap()),
            text: Vec::new(),
            tally: Rc::clone(tally),
        }
    }

    /// It is over; with close_notify, or with an alert.
    fn end(&mut self, alert: Option<AlertDescription>) -> Next {
        if let Some(mut stream) = self.stream.take() {
            stream.finish();
        }
        let shown = self.tls.peer_certificates().map(|chain| chain[0].clone().into_owned());
        let all = &certificates().all;
        let mut tally = self.tally.borrow_mut();
        match (self.validates, alert) {
            (Some(_), Some(alert)) => {
                assert_eq!((alert, shown), (AlertDescription::NoApplicationProtocol, None));
                tally.refused += 1;
            }
            (Some(name), None) => {
                let shown = shown.expect("a certificate");
                assert!(OF_NAME[name].iter().any(|&place| all[place] == shown), "not of {}", NAMES[name]);
                assert_eq!((self.tls.alpn_protocol(), self.text.len()), (Some(ACME), 0));
                tally.answered += 1;
            }
            (None, alert) => {
                assert_eq!(alert, None, "a browser is not refused");
                assert!(!all.contains(&shown.expect("a certificate")), "a challenge's for a browser");
                assert!(self.text.starts_with(b"HTTP/1.1 200 "));
                tally.browsers += 1;
            }
        }
        Next::Done
    }

    fn act(&mut self, world: &World) -> Next {
        let from = self.from;
        let stream = self.stream.get_or_insert_with(|| match from {
            Some(proxy) => world.connect_from(proxy, Key(FIRST_KEY)),
            None => world.connect(Key(FIRST_KEY)),
        });
        let mut buf = [0; 4096];
        let is_over = loop {
            match stream.read(&mut buf) {
                Ok(0) => break true,
                Ok(count) => {
                    let mut bytes = &buf[..count];
                    while !bytes.is_empty() {
                        self.tls.read_tls(&mut bytes).unwrap();
                        if let Err(error) = self.tls.process_new_packets() {
                            let Error::AlertReceived(alert) = error else { panic!("{error}") };
                            return self.end(Some(alert));
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) => panic!("{error}"),
            }
        };
        match self.tls.reader().read_to_end(&mut self.text) {
            // close_notify has come.
            Ok(_) => return self.end(None),
            Err(error) => {
                assert!(error.kind() == ErrorKind::WouldBlock && !is_over, "{error}, {is_over}");
            }
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.out).unwrap();
        }
        let step = self.step.min(self.out.len());
        if step > 0 && self.due.is_none_or(|due| due <= world.now()) {
            self.due = Some(world.now() + Duration::from_millis(1));
            if let Ok(count) = stream.write(&self.out[..step]) {
                self.out.drain(..count);
            }
        }
        match self.due {
            Some(due) if !self.out.is_empty() => Next::At(due),
            _ => Next::News,
        }
    }
}

fn run(seed: u64) -> Tally {
    let mut rng = Rng::new(seed ^ 0xac_3e_71);
    let mut faults = Faults::none();
    (faults.late, faults.reorder) = (300, 300);
    let world = World::with(seed, faults);
    let offload = if rng.chance(400) {
        world.set_kernel_tls(true, super::kernel_tls::seal);
        TlsOffload::Kernel { rekey: true }
    } else {
        TlsOffload::None
    };
    let is_proxied = rng.chance(300);
    let proxies = is_proxied.then(|| Network::parse("10.0.0.0/8").unwrap()).into_iter().collect();
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    let listener = Listener::behind(proxies, Role::Https, vec![socket]);
    let hosts = Hosts::one(Arc::clone(&fixture().sites()[0]));
    let tls = Some(fixture().server.clone());
    let first = Snapshot::new(hosts, vec![listener], tls, Limits::default());
    let Served { mut shard, loader, mut loader_worker, .. } = serve_sealing(&world, first, offload);

    let tally = Rc::new(RefCell::new(Tally::default()));
    let clients = 1 + rng.below(12) as u64;
    for _ in 0..clients {
        let mut client = Client::new(&mut rng, is_proxied, &tally);
        let mut start = Some(world.now() + Duration::from_millis(rng.below(400) as u64));
        world.script(move |world| start.take().map_or_else(|| client.act(world), Next::At));
    }
    let is_over = Rc::new(Cell::new(false));
    let ended = Rc::clone(&is_over);
    let mut pause = Rng::new(rng.next());
    world.script(move |world| {
        if pause.chance(400) {
            let (older, loaded) = loader_worker.inventory();
            let mut next = (*older).clone();
            next.challenges = Arc::clone(&certificates().sets[pause.below(SETS.len())]);
            if pause.chance(300) {
                // Whatever else changes, what is pending stays.
                next.challenges = Arc::clone(&older.challenges);
                next.tls = Some(fixture().server.clone());
            }
            let next = next.after(&older).unwrap();
            let kept = inherited(&next, &older, loaded, later());
            loader.swap_to(next, kept).unwrap();
        }
        while loader_worker.work_once() {}
        if ended.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    for _ in 0..100_000 {
        if shard.counts().ends.sum() == clients {
            break;
        }
        shard.turn().unwrap();
        shard.check();
    }
    is_over.set(true);
    let (counts, tally) = (shard.counts(), *tally.borrow());
    assert_eq!(tally.browsers + tally.answered + tally.refused, clients, "{counts:?}");
    assert_eq!((counts.handshakes, counts.requests), (tally.browsers + tally.answered, tally.browsers));
    assert_eq!(
        (counts.ends.finished, counts.ends.peer_faults),
        (tally.browsers + tally.answered, tally.refused)
    );
    assert!(counts.kernel_sealed <= tally.browsers, "for a farewell no kernel is asked");
    tally
}

#[test]
fn each_sees_the_certificate_that_is_for_it() {
    let seeds = super::seeds();
    let all = super::on_all_cores(seeds, run, |seed| format!("seed {seed} failed"));
    let sum = all.iter().fold(Tally::default(), |sum, one| Tally {
        browsers: sum.browsers + one.browsers,
        answered: sum.answered + one.answered,
        refused: sum.refused + one.refused,
    });
    println!("{seeds} seeds: {sum:?}");
    assert!(sum.browsers > seeds && sum.answered > seeds / 2 && sum.refused > seeds, "{sum:?}");
}
