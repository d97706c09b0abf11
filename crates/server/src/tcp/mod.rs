//! Connections over TCP: the transport and the protocols on it.

mod connection;
mod http2;
mod reply;
pub(crate) mod transport;
pub(crate) mod turn;

pub(crate) use self::connection::Connection;
pub(crate) use self::turn::Turn;
