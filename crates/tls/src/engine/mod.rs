//! Everything that knows rustls.
//!
//! The rest of the crate sees bytes, [`TrafficKey`](crate::record::TrafficKey) and the types below. rustls 0.23 is used in
//! two ways that its next release changes: the unbuffered connection, and the hand-over of its secrets.

mod config;
mod handshake;
mod identity;
mod keys;

pub use config::{Config, ConfigError};
pub use handshake::{Established, Handshake, HandshakeError, Reason, Step};
pub use identity::{Identity, IdentityError};
pub(crate) use keys::KeySchedule;
#[cfg(test)]
pub(crate) use keys::traffic_key;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};

/// aws-lc-rs with the key exchanges that are meant to be offered, whatever its features make of its own list.
///
/// rustls takes the client's first choice among these, and asks for no second round trip to get a better one: browsers put
/// the post-quantum hybrid first themselves.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}
