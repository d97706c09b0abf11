//! Connections over TCP: a transport, and the protocol that is spoken on it.

mod connection;
mod http1;
mod http2;
pub(crate) mod proxy;
mod refusal;
pub(crate) mod transport;

pub(crate) use self::connection::Connection;
pub(crate) use self::connection::held::Rank;
