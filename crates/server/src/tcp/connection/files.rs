//! Events of a connection that waits for a file to be opened, or for a place among those that are.

use std::time::Instant;

use sitar_io::Engine;

use super::{Connection, Protocol};
use crate::close::Close;
use crate::shard::context::Context;

impl Connection {
    /// A file that this connection waits for could not be opened. It is called again when it may
    /// be.
    pub(crate) fn on_unopened<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let Protocol::Http2(http2) = &mut self.protocol else { return Ok(()) };
        http2.on_unopened();
        if self.io.end_load() { self.go_on(cx) } else { Ok(()) }
    }

    /// A file that could not be opened may be opened now.
    pub(crate) fn on_reopen<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if let Protocol::Http2(http2) = &mut self.protocol
            && http2.on_reopen()
        {
            cx.files.wait_to_open(cx.shared.key, cx.shared.now);
        }
        self.on_loaded(cx)
    }

    /// There is a place for another file that this connection sends.
    pub(crate) fn on_file_place<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if let Protocol::Http2(http2) = &mut self.protocol {
            http2.on_place();
        }
        self.settle(cx)
    }

    /// Returns how many open files it sends from, and since when its peer has taken nothing: for
    /// choosing which connection to close when these run out.
    pub(crate) fn watch_files(&mut self, now: Instant) -> (usize, Instant) {
        match &mut self.protocol {
            Protocol::Undecided => (0, now),
            Protocol::Http1(http1) => (http1.files(), self.io.sends_since().unwrap_or(now)),
            Protocol::Http2(http2) => http2.watch_files(now),
        }
    }
}
