//! The end of a connection: what it holds goes back to the shard, and a log hears of the answers
//! that it breaks off.

use sitar_io::{Conn, Engine};

use super::{Connection, Protocol};
use crate::close::Close;
use crate::log::{Cut, Recorder};
use crate::shard::context::Context;

impl Connection {
    /// Gives everything back to the shard; the caller closes the descriptor.
    ///
    /// `why` is why it ends.
    pub(crate) fn release<E: Engine>(mut self, cx: &mut Context<E>, why: Close) -> Conn {
        cx.shared.quota.clear(&mut self.charge);
        match self.protocol {
            Protocol::Undecided => {}
            Protocol::Http1(http1) => http1.abandon(&mut cx.shared.log, why),
            Protocol::Http2(http2) => http2.release(&mut cx.shared.h2, &mut cx.files),
        }
        cx.shared.log.note_ends(Cut::Closed(why));
        self.io.release(&mut cx.shared.quota)
    }

    /// The shard ends, and this with it: has the log know of answers that are under way.
    pub(crate) fn abandon(&mut self, log: &mut Recorder, why: Close) {
        match std::mem::replace(&mut self.protocol, Protocol::Undecided) {
            Protocol::Http1(http1) => http1.abandon(log, why),
            // The drop of its streams says what was left of them.
            protocol => drop(protocol),
        }
        log.note_ends(Cut::Closed(why));
    }
}
