//! What carries a protocol: input and output of a connection, TLS, timers and the end.

mod close;
pub(crate) mod input;
pub(in crate::tcp) mod key_limits;
pub(in crate::tcp) mod ktls;
pub(crate) mod output;
mod receive;
pub(in crate::tcp) mod send;
pub(in crate::tcp) mod timeout;
