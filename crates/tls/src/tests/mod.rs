//! Tests against rustls' own client, the independent implementation of the other side.

pub(crate) mod alone;
mod challenges;
pub(crate) mod client;
mod clients;
mod data;
mod handshake;
// The whole program is tested with these, too.
#[path = "../../../../tests/common/hkdf.rs"]
pub(crate) mod hkdf;
mod identities;
#[path = "../../../../tests/common/memory.rs"]
pub(crate) mod memory;
mod properties;
mod protocols;
#[path = "../../../../tests/common/skip.rs"]
mod skip;
