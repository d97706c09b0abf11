//! The TLS handshake: waiting for a turn to negotiate, and one step of it.

use std::sync::Arc;

use sitar_io::{Engine, usdt};
use sitar_tls::{CertificateNames, ClientCa, Established, HandshakeError, HandshakeStep, Version};

use super::output::{Output, Put};
use super::security::Security;
use super::state::{EndStep, Transport, Waiting};
use crate::close::Close;
use crate::log::LogTls;
use crate::shard::context::Shared;

/// The result of a step of the handshake.
pub(in crate::tcp) enum Negotiated {
    /// More bytes are needed.
    More,
    /// It is done.
    Done {
        /// The protocol that was agreed on.
        alpn: Option<Vec<u8>>,
        /// The host that the client asked for.
        server_name: Option<Box<str>>,
        /// The names in the certificate.
        names: Option<Arc<CertificateNames>>,
        /// What has certified the client.
        client_ca: Option<ClientCa>,
        /// Bytes that came behind the handshake.
        rest: Vec<u8>,
    },
    /// It is done, and has answered the challenge of an authority.
    Answered,
    /// The peer speaks HTTP, not TLS.
    PlainHttp { head_only: bool },
    /// It has failed; the alert is in the output, if there is one.
    Failed,
}

impl Transport {
    /// Waits for a turn to negotiate.
    pub(in crate::tcp) fn wait_for_turn<E: Engine>(&mut self, cx: &mut Shared<E>) {
        self.waiting = Waiting::HandshakeTurn;
        cx.handshakes.queue.push_back(cx.key);
    }

    /// Negotiates with `bytes` off the wire, and puts the answer into the output.
    pub(in crate::tcp) fn negotiate<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        bytes: &[u8],
    ) -> Result<Negotiated, Close> {
        // Until the step has gone well nothing but its answer may go out, and nothing may come in.
        let Security::Handshaking(handshake) = std::mem::replace(&mut self.security, Security::Failed) else {
            return Err(Close::Ours("no handshake to go on with"));
        };
        let flight = &mut cx.handshakes.flight;
        let step = handshake.on_bytes(bytes, flight);
        // What is answered has cost something; a piece of a message has not.
        if !flight.is_empty() || !matches!(step, HandshakeStep::More(_)) {
            cx.handshakes.steps += 1;
        }
        if !flight.is_empty() {
            // Without a buffer to answer in there is no use in going on.
            let tx = cx.ring.take_tx().ok_or(Close::Shed)?;
            let output = self.output.get_or_insert_with(|| Output::new(tx));
            let put = output.raw(flight);
            flight.clear();
            if put == Put::NoRoom {
                return Err(Close::Ours("a flight longer than a buffer"));
            }
        }
        Ok(match step {
            HandshakeStep::More(handshake) => {
                self.security = Security::Handshaking(handshake);
                Negotiated::More
            }
            HandshakeStep::Done(established) => {
                cx.numbers.negotiated(established.version, established.resumed);
                let established = *established;
                let (cipher_suite, resumed) = (established.suite, established.resumed);
                let version = match established.version {
                    Version::Tls12 => 0x0303,
                    Version::Tls13 => 0x0304,
                };
                usdt::handshake_done(cx.key.0, version, cipher_suite, resumed);
                self.origin().agree(LogTls { version, cipher_suite, resumed });
                if established.is_challenge {
                    // Nothing but a farewell goes out, for which the kernel need not be asked.
                    self.security = Security::Tls(established.records);
                    return Ok(Negotiated::Answered);
                }
                let Established { records, alpn, server_name, names, client_ca, rest, .. } = established;
                self.security = Security::Tls(records);
                self.want_kernel(cx.offload);
                Negotiated::Done { alpn, server_name, names, client_ca, rest }
            }
            HandshakeStep::Failed(HandshakeError::PlainHttp { head }) => {
                usdt::handshake_failed(cx.key.0, &|| sitar_tls::PeerFault::PlainHttp.name());
                Negotiated::PlainHttp { head_only: head }
            }
            HandshakeStep::Failed(error) => {
                usdt::handshake_failed(cx.key.0, &|| error.fault().name());
                self.end_with(Close::of_tls(error.fault(), "the handshake"), EndStep::Said);
                Negotiated::Failed
            }
        })
    }
}
