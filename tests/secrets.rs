//! Looks in the server's memory for the secrets of connections that are closed.

use crate::common::client::{self, Client};
use crate::common::hkdf::expand_label;
use crate::common::memory::Snapshot;
use crate::common::site::Site;
use crate::common::{PATIENCE, Server, eventually, skip};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::{
    CipherSuite, ClientConfig, ConnectionTrafficSecrets, KeyLog, ProtocolVersion, StreamOwned,
    SupportedCipherSuite,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Connections with each suite, one after the other.
const CONNECTIONS: usize = 16;

/// The secrets of a connection, by name.
type Secrets = Vec<(&'static str, Vec<u8>)>;

/// Copies of a secret that rustls leaves, at most, by its name.
type Kept = fn(&str) -> usize;

/// Copies that rustls keeps with TLS 1.3: in the state that it does not wipe when it gives the keys
/// away.
fn kept_of_tls13(name: &str) -> usize {
    match name {
        "client secret" | "server secret" | "client handshake secret" | "exporter secret" => 1,
        // Keys that sitar derives, the secrets that follow, and theirs.
        _ => 0,
    }
}

/// Copies that rustls keeps with TLS 1.2: in the same state, and in the block that both keys are
/// cut from.
fn kept_of_tls12(name: &str) -> usize {
    match name {
        "master secret" | "server key" => 2,
        // The block begins with it, where the allocator writes when it is freed.
        "client key" => 1,
        _ => 0,
    }
}

#[test]
fn of_a_closed_connection_only_rustls_leaves_secrets() {
    let site = Site::small();
    let cases: [(SupportedCipherSuite, Kept); 6] = [
        (cipher_suite::TLS13_AES_128_GCM_SHA256, kept_of_tls13),
        (cipher_suite::TLS13_AES_256_GCM_SHA384, kept_of_tls13),
        (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, kept_of_tls13),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, kept_of_tls12),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, kept_of_tls12),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, kept_of_tls12),
    ];
    for (suite, kept) in cases {
        let server = Server::start([site.path().to_str().unwrap(), "--shards", "1"]);
        let (config, log) = config(&server, suite);
        let connections: Vec<Secrets> =
            (0..CONNECTIONS).map(|_| connection(&config, &server, &log)).collect();
        let start = Instant::now();
        loop {
            let snapshot = match Snapshot::of(server.pid()) {
                Ok(snapshot) => snapshot,
                Err(error) => return skip(&format!("/proc/PID/mem: {error}")),
            };
            // All at once: the memory is searched once, and not for each connection.
            let all = connections.concat();
            let counts = snapshot.count(&all);
            let counts: Vec<_> = counts.chunks(connections[0].len()).collect();
            let mut too_many = Vec::new();
            for (at, (name, secret)) in connections[0].iter().enumerate() {
                let most = kept(name) * secret.len() / 16;
                let found: Vec<_> = counts.iter().map(|counts| counts[at].1).collect();
                // Memory is used again: of most connections nothing is there.
                if found.iter().any(|parts| *parts > most)
                    || found.iter().sum::<usize>() > most * CONNECTIONS / 2
                {
                    too_many.push((name, most, found));
                }
            }
            if too_many.is_empty() {
                break;
            }
            // The server may still be closing the last one.
            assert!(start.elapsed() < PATIENCE, "{suite:?}: parts of 16 bytes, most and found: {too_many:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// One cipher suite, no session resumed, and all secrets logged.
fn config(server: &Server, suite: SupportedCipherSuite) -> (Arc<ClientConfig>, Arc<Log>) {
    let log = Arc::new(Log::default());
    let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .unwrap()
        .with_root_certificates(client::roots(server))
        .with_no_client_auth();
    config.key_log = log.clone();
    config.enable_secret_extraction = true;
    config.resumption = Resumption::disabled();
    (Arc::new(config), log)
}

/// A request and an answer; in TLS 1.3, again after a KeyUpdate. Then an orderly end.
fn connection(config: &Arc<ClientConfig>, server: &Server, log: &Log) -> Secrets {
    let mut client = Client::open(config, server.address()).unwrap();
    assert_eq!(client.get("/1k.txt").unwrap().status, 200);
    let mut secrets = std::mem::take(&mut *log.0.lock().unwrap());
    assert!(!secrets.is_empty());
    let mut stream = client.into_stream();
    let is_13 = stream.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    if is_13 {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.write_all(b"GET /1k.txt HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1024]).unwrap();
        // RFC 8446 §7.2 and §7.3.
        let key_len = match stream.conn.negotiated_cipher_suite().unwrap().suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => 16,
            _ => 32,
        };
        for (of, names) in [
            ("client secret", ["client key", "client's next secret", "client's next key"]),
            ("server secret", ["server key", "server's next secret", "server's next key"]),
        ] {
            let secret = &secrets.iter().find(|(name, _)| *name == of).unwrap().1;
            let next = expand_label(secret, "traffic upd", secret.len());
            let values =
                [expand_label(secret, "key", key_len), next.clone(), expand_label(&next, "key", key_len)];
            secrets.extend(names.into_iter().zip(values));
        }
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let StreamOwned { conn, sock } = stream;
    let own = sock.local_addr().unwrap();
    drop(sock);
    // The next one finds the memory of this one free, however long the server takes.
    eventually("the server to close its end", || !holds(server.address(), own));
    if !is_13 {
        let keys = conn.dangerous_extract_secrets().unwrap();
        for (name, (_, keys)) in [("client key", keys.tx), ("server key", keys.rx)] {
            let (ConnectionTrafficSecrets::Aes128Gcm { key, .. }
            | ConnectionTrafficSecrets::Aes256Gcm { key, .. }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. }) = keys
            else {
                panic!("another suite");
            };
            secrets.push((name, key.as_ref().to_vec()));
        }
    }
    secrets
}

/// Whether a process has a socket with these two ends: proc_net(5).
fn holds(local: SocketAddr, remote: SocketAddr) -> bool {
    let [local, remote] = [local, remote].map(|address| format!(":{:04X}", address.port()));
    ["tcp", "tcp6"].into_iter().any(|table| {
        let table = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        // Most lines are of others: cutting each into columns takes longer than the kernel does.
        table.lines().filter(|line| line.contains(&local) && line.contains(&remote)).any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let ends = columns.len() > 9 && columns[1].ends_with(&local) && columns[2].ends_with(&remote);
            // The kernel goes on alone with one that has no inode.
            ends && columns[9] != "0"
        })
    })
}

#[derive(Debug, Default)]
struct Log(Mutex<Secrets>);

impl KeyLog for Log {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        // RFC 9850 §2.
        let name = match label {
            "CLIENT_RANDOM" => "master secret",
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => "client handshake secret",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => "server handshake secret",
            "CLIENT_TRAFFIC_SECRET_0" => "client secret",
            "SERVER_TRAFFIC_SECRET_0" => "server secret",
            "EXPORTER_SECRET" => "exporter secret",
            label => panic!("{label}"),
        };
        self.0.lock().unwrap().push((name, secret.to_vec()));
    }
}
