//! The choice of a connection's configuration by its first message.
//!
//! rustls takes one configuration for a connection, before anything of it is known. So where the
//! choice depends on the ClientHello, that is read twice: here, and by the connection that is then
//! made.

use super::clients::{ByHost, Guarded};
use rustls::server::Acceptor;
use std::sync::Arc;

/// Reads the beginning of a connection for the host in it.
pub(super) struct Chooser {
    by_host: Arc<ByHost>,
    acceptor: Acceptor,
}

/// The configuration of a connection.
pub(super) enum Choice {
    /// Its first message is not whole.
    More,
    /// That of the server.
    Server,
    Guarded(Guarded),
}

impl Chooser {
    pub(super) fn new(by_host: Arc<ByHost>) -> Chooser {
        Chooser { by_host, acceptor: Acceptor::default() }
    }

    /// Takes bytes that the peer has sent. What is no ClientHello is for the server's configuration
    /// to refuse, which takes the same bytes.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Choice {
        loop {
            // It takes a piece at a time, and asks for it to be worked on.
            let is_taken = match self.acceptor.read_tls(&mut bytes) {
                Ok(0) => bytes.is_empty(),
                Ok(_) => true,
                Err(_) => false,
            };
            if !is_taken {
                return Choice::Server;
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    return self
                        .by_host
                        .get(hello.server_name())
                        .map_or(Choice::Server, |guarded| Choice::Guarded(guarded.clone()));
                }
                Ok(None) if bytes.is_empty() => return Choice::More,
                Ok(None) => {}
                Err(_) => return Choice::Server,
            }
        }
    }
}
