//! The end of a connection: the last alert, FIN, and waiting for the peer's.

use sitar_io::Engine;
use sitar_tls::{Alert, content_type};

use crate::shard::context::{Context, Gone};
use crate::tcp::connection::{Activity, Connection, Course, Inflow};
use crate::tcp::http2::Speech;
use crate::tcp::transport::output::Layer;

impl Connection {
    /// Everything has been answered: close_notify (or another alert), then FIN, then wait for the peer's.
    pub(in crate::tcp) fn finish<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if let Course::Last { alert: Some(alert) } = self.course {
            match &mut self.layer {
                Layer::Tls(_) => {
                    let said = self.put(cx, |output, layer| {
                        // RFC 5246 §7.2.2: no_renegotiation is a warning, so the farewell comes behind it.
                        let is_warning = alert == Alert::NoRenegotiation;
                        Ok(output.alert(layer, alert)?
                            && (!is_warning || output.alert(layer, Alert::CloseNotify)?))
                    })?;
                    // No room: what is gathered goes first, and this comes back here.
                    if said {
                        self.course = Course::END_SAID;
                    }
                }
                // A record of its own, with its own type: what is gathered goes first.
                Layer::Kernel(_) if self.output.as_ref().is_some_and(|output| !output.is_empty()) => {}
                Layer::Kernel(records) => {
                    let message = records.kernel_alert(alert).map_err(|_| Gone)?;
                    self.course = Course::END_SAID;
                    self.drain_kernel(cx);
                    return self.send_record(cx, content_type::ALERT, &message);
                }
                Layer::Handshake(_) | Layer::Plain => self.course = Course::END_SAID,
            }
        }
        self.flush(cx)?;
        if self.activity != Activity::Receiving || self.is_kernel_busy(cx)? {
            return Ok(());
        }
        if self.inflow == Inflow::Ended || self.may_be_reset() {
            return Err(Gone);
        }
        cx.ring.shutdown(&self.conn).map_err(|_| Gone)?;
        self.activity = Activity::Lingering;
        cx.stashes.release(&mut self.wire);
        cx.stashes.release(&mut self.text);
        Ok(())
    }

    /// Whether no answer can be lost to a reset, which a close without lingering sends to a peer
    /// that still sends something.
    fn may_be_reset(&self) -> bool {
        // A client of HTTP/1 sends its next request when it has the answer to the last one. One of
        // HTTP/2 sends WINDOW_UPDATE all the while.
        self.has_asked_nothing() && (self.requests == 0 || !matches!(self.speech, Speech::Http2(_)))
    }
}
