//! The end of a connection: the last alert, FIN, and waiting for the peer's.

use sitar_io::Engine;
use sitar_tls::{Alert, content_type};

use super::output::Put;
use super::security::Security;
use super::state::{Asked, EndStep, Ending, RecvState, Transport, Waiting};
use crate::close::Close;
use crate::shard::context::Shared;

impl Transport {
    /// Ends the connection once what was asked for is answered, with close_notify; `why` is its
    /// reason.
    pub(in crate::tcp) fn end(&mut self, why: Close) {
        self.end_with(why, EndStep::Alert(Alert::CloseNotify));
    }

    pub(super) fn end_with(&mut self, why: Close, step: EndStep) {
        match &mut self.ending {
            Some(ending) => ending.step = step,
            None => self.ending = Some(Ending { why, step }),
        }
    }

    pub(super) fn end_step(&self) -> Option<&EndStep> {
        self.ending.as_ref().map(|ending| &ending.step)
    }

    pub(super) fn set_end_step(&mut self, step: EndStep) {
        if let Some(ending) = &mut self.ending {
            ending.step = step;
        }
    }

    /// Whether no further request is read.
    pub(in crate::tcp) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Everything has been answered: sends the last alert, then FIN, then waits for the peer's.
    /// `more`: what [`flush`](Transport::flush) is given. `keeps_sending`: the peer may send
    /// something although nothing was asked of it, as one of HTTP/2 does.
    pub(in crate::tcp) fn finish<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        more: bool,
        keeps_sending: bool,
    ) -> Result<(), Close> {
        if let Some(&EndStep::Alert(alert)) = self.end_step() {
            match &mut self.security {
                Security::Tls(_) => {
                    let put = self.put(cx, |output, security| {
                        // RFC 5246 §7.2.2: no_renegotiation is a warning, so the farewell comes
                        // behind it.
                        let is_warning = alert == Alert::NoRenegotiation;
                        match output.alert(security, alert)? {
                            Put::Done if is_warning => output.alert(security, Alert::CloseNotify),
                            put => Ok(put),
                        }
                    })?;
                    // No room: what is gathered goes first, and this comes back here.
                    if put == Put::Done {
                        self.set_end_step(EndStep::Said);
                    }
                }
                // A record of its own, with its own type: what is gathered goes first.
                Security::Kernel(_) if self.output.as_ref().is_some_and(|output| !output.is_empty()) => {}
                Security::Kernel(records) => {
                    let message = records.kernel_alert(alert);
                    let message = message.map_err(|_| Close::Ours("the last alert"))?;
                    self.expect_acks(cx);
                    return self.send_record(cx, content_type::ALERT, &message);
                }
                Security::Handshaking(_) | Security::Plain | Security::Failed => {
                    self.set_end_step(EndStep::Said);
                }
            }
        }
        self.flush(cx, more)?;
        if !self.is_receiving() || self.ask_for_acks(cx)? == Asked::Again {
            return Ok(());
        }
        if self.input.state == RecvState::Ended || self.may_be_reset(keeps_sending) {
            return Err(Close::Done);
        }
        cx.ring.shutdown(&self.conn).map_err(|_| Close::Ours("the ring takes no shutdown"))?;
        self.waiting = Waiting::PeerClose;
        cx.quota.release(&mut self.input.wire);
        cx.quota.release(&mut self.input.text);
        Ok(())
    }

    /// Whether no answer can be lost to a reset, which a close without lingering sends to a peer
    /// that still sends something.
    fn may_be_reset(&self, keeps_sending: bool) -> bool {
        // A client of HTTP/1 sends its next request when it has the answer to the last one. One of
        // HTTP/2 sends WINDOW_UPDATE all the while.
        self.has_asked_nothing() && (self.answered == 0 || !keeps_sending)
    }

    /// The server stops; `waits`: this connection waits for a request.
    pub(in crate::tcp) fn note_stop(&mut self, waits: bool) {
        self.idle_at_stop = waits.then_some(self.answered);
    }

    /// Whether it waited for a request when the server was asked to stop, and has had none since.
    pub(in crate::tcp) fn has_asked_nothing(&self) -> bool {
        self.idle_at_stop == Some(self.answered)
    }

    /// Returns why it ends. The reason for which the end was begun stays; but where no fault began
    /// it, and the last answer or the farewell has not all been sent, what broke that off is the
    /// reason: `last`.
    pub(in crate::tcp) fn why(&self, last: Close) -> Close {
        match self.ending.as_ref().map(|ending| ending.why) {
            None => last,
            Some(Close::Done | Close::Operator) if last != Close::Done && !self.waits_for_peer_close() => {
                last
            }
            Some(begun) => begun,
        }
    }
}
