//! The choice of a connection's configuration by its first message.
//!
//! rustls takes one configuration for a connection, before anything of it is known. So where the
//! choice depends on the ClientHello, that is read twice: here, and by the connection that is then
//! made.

use super::challenges::Challenges;
use super::clients::{ByHost, Guarded};
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello};
use std::sync::Arc;

/// Reads the beginning of a connection for what its client asks for.
pub(super) struct Chooser {
    choices: Choices,
    acceptor: Acceptor,
}

/// The configurations besides that of the server. At least one of both is there.
#[derive(Clone, Default)]
pub(super) struct Choices {
    /// Those of hosts whose clients need a certificate.
    pub(super) guarded: Option<Arc<ByHost>>,
    /// Those of pending challenges. They come first: an authority has no certificate to show.
    pub(super) challenges: Option<Arc<Challenges>>,
}

/// The configuration of a connection.
pub(super) enum Choice {
    /// Its first message is not whole.
    More,
    /// That of the server.
    Server,
    /// That of a host whose clients need a certificate.
    Guarded(Guarded),
    /// That of a challenge.
    Challenge(Arc<ServerConfig>),
}

impl Chooser {
    /// Returns what chooses; `None`: there is no choice.
    pub(super) fn new(choices: &Choices) -> Option<Chooser> {
        let is_needed = choices.guarded.is_some() || choices.challenges.is_some();
        is_needed.then(|| Chooser { choices: choices.clone(), acceptor: Acceptor::default() })
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
                    return self.choices.choose(&accepted.client_hello());
                }
                Ok(None) if bytes.is_empty() => return Choice::More,
                Ok(None) => {}
                Err(_) => return Choice::Server,
            }
        }
    }
}

impl Choices {
    fn choose(&self, hello: &ClientHello<'_>) -> Choice {
        if let Some(server) = self.challenges.as_ref().and_then(|challenges| challenges.get(hello)) {
            return Choice::Challenge(Arc::clone(server));
        }
        let guarded = self.guarded.as_ref().and_then(|by_host| by_host.get(hello.server_name()));
        guarded.map_or(Choice::Server, |guarded| Choice::Guarded(guarded.clone()))
    }
}
