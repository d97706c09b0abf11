//! Connections over TCP: the transport and the protocols on it.

mod connection;
mod http1;
mod http2;
pub(crate) mod transport;
pub(crate) mod turn;

pub(crate) use self::connection::Connection;
pub(crate) use self::http2::Content;
pub(crate) use self::turn::Turn;
