//! Against rustls' own client, as the independent implementation of the other side.

pub(crate) mod client;
mod data;
mod handshake;
mod properties;
mod protocols;
