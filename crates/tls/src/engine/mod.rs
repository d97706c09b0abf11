//! All code that knows rustls.
//!
//! The rest of the crate sees bytes, [`TrafficKey`](crate::record::TrafficKey) and the types below.
//! Its next release may change three things of rustls 0.23 that are used here: the unbuffered
//! connection, the hand-over of its secrets, and an error that it answers by unexpected_message.

mod challenges;
mod chooser;
mod clients;
mod config;
mod encode;
mod error;
mod established;
mod first_bytes;
mod handshake;
mod identity;
mod keys;
mod strict;

pub use challenges::Challenges;
pub use clients::{ClientCa, HostClients};
pub use config::{Config, ConfigError, Identities};
pub use error::{HandshakeError, Reason};
pub use established::Established;
pub use handshake::{Handshake, HandshakeStep};
pub use identity::{CertificateNames, FileContent, FileKind, Flaw, Identity, IdentityError};
#[cfg(test)]
pub(crate) use keys::start;

use keys::Catcher;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{CipherSuite, ServerConfig};
use std::sync::Arc;

/// Returns aws-lc-rs with the key exchanges that are to be offered, whatever its features make of
/// its own list, and the cheapest suite first: the server's order counts, and none of them is weak.
///
/// rustls takes the client's first choice among these, and asks for no second round trip to get a
/// better one: browsers put the post-quantum hybrid first themselves.
fn provider() -> CryptoProvider {
    let aws_lc = aws_lc_rs::default_provider();
    let mut cipher_suites = strict::strict(aws_lc.cipher_suites);
    cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        _ => 1,
    });
    CryptoProvider {
        cipher_suites,
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc
    }
}

/// Returns a configuration with all that is the same for every connection.
fn finished(mut server: ServerConfig, alpn: &[&[u8]], tickets: Arc<dyn ProducesTickets>) -> ServerConfig {
    server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    server.enable_secret_extraction = true;
    server.key_log = Arc::new(Catcher);
    server.ignore_client_order = true;
    server.ticketer = tickets;
    // Tickets carry the whole session: nothing to share between shards, and nothing to fill.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    // Early data can be replayed, and half-RTT data goes to a peer that has proved nothing.
    server.max_early_data_size = 0;
    server.send_half_rtt_data = false;
    server
}
