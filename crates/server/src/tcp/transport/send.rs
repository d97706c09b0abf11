//! What goes out: gathered in a send buffer, sent, and gone on with.

use std::time::{Duration, Instant};

use sitar_io::{Engine, Errno, ReadBuf, Ring, SendBuf};

use crate::content::source::Source;
use crate::shard::context::{Context, Gone};
use crate::tcp::connection::{Activity, Connection, LARGE, READ_LEN, STAGE_AT};
use crate::tcp::http1::take_output;
use crate::tcp::http2::Speech;
use crate::tcp::transport::key_limits::{is_due, mind_the_keys};
use crate::tcp::transport::output::{Layer, Output};

/// After a pause of this length TCP sends as carefully as at first: it is the least time-out of its retransmissions for paths
/// that are not known to be fast (RFC 5681 §4.1, RFC 6298 §2.4).
const PAUSE: Duration = Duration::from_secs(1);

impl Connection {
    /// Makes sure that there is an output for an answer, if more than `keep` send buffers are free. `false`: there is none.
    pub(in crate::tcp) fn begin_output<E: Engine>(
        &mut self,
        ring: &mut Ring<E>,
        now: Instant,
        keep: usize,
    ) -> Result<bool, Gone> {
        if self.output.is_some() {
            return Ok(true);
        }
        let Some(output) = take_output(&mut self.output, ring, keep) else { return Ok(false) };
        mind_the_keys(output, &mut self.layer)?;
        if let Layer::Tls(records) = &mut self.layer
            && now.saturating_duration_since(self.sending_from) >= PAUSE
        {
            records.restart_small_records();
        }
        Ok(true)
    }

    /// Lets `write` put something into the output. `false`: there was no room.
    pub(in crate::tcp) fn put<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        write: impl FnOnce(&mut Output, &mut Layer) -> Result<bool, sitar_tls::RecordError>,
    ) -> Result<bool, Gone> {
        let output = take_output(&mut self.output, cx.ring, 0).ok_or(Gone)?;
        write(output, &mut self.layer).map_err(|_| Gone)
    }

    /// Goes on with a body that did not fit.
    pub(in crate::tcp) fn send_rest<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.needs_next_key(cx.offload)? {
            return Ok(());
        }
        let Some(rest) = self.rest.take() else { return Ok(()) };
        let next = rest.next_read(READ_LEN);
        let mut runs = None;
        // What is read from a file is sealed in the buffer that it was read into, unless it will not be full records alone.
        let mut second = false;
        if let (Some((_, _, len)), Layer::Tls(_)) = (next, &self.layer) {
            runs = if is_due(&self.layer) { None } else { Output::runs(&self.layer, len) };
            second = runs.is_none();
        }
        let enough = cx.ring.tx_free() > cx.limits.reserve() + usize::from(second);
        let Some(tx) = enough.then(|| cx.ring.take_tx()).flatten() else {
            self.rest = Some(rest);
            self.starve(cx);
            return Ok(());
        };
        if let Some((file, offset, len)) = next {
            if second {
                self.second = cx.ring.take_tx();
            }
            let at = if second { STAGE_AT } else { 0 };
            let into = match runs {
                Some(runs) => ReadBuf::Runs(tx, runs),
                None => ReadBuf::Tx(tx, at..at + len),
            };
            cx.ring.read(file, offset, into, cx.key).map_err(|_| Gone)?;
            cx.spare_buffers()?;
            self.rest = Some(rest);
            self.activity = Activity::Reading;
            self.waits += 1;
            return Ok(());
        }
        let mut output = Output::new(tx);
        mind_the_keys(&mut output, &mut self.layer)?;
        self.rest = output.source(&mut self.layer, rest).map_err(|_| Gone)?;
        self.output = Some(output);
        if self.rest.is_some() {
            self.flush(cx)?;
        }
        Ok(())
    }

    /// A part of a large file has been read.
    pub(crate) fn on_read<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        into: ReadBuf,
        result: Result<usize, Errno>,
    ) -> Result<(), Gone> {
        if let Speech::Http2(_) = self.speech {
            return self.on_read_for_stream(cx, into, result);
        }
        let Some(mut rest) = self.rest.take() else { return Err(Gone) };
        let Source::File(file, _) = &rest else { return Err(Gone) };
        // Too short or written to: the answer cannot be completed, and no close_notify may say that it was.
        let len = result.ok().filter(|len| *len > 0 && file.is_unchanged()).ok_or(Gone)?;
        self.activity = Activity::Receiving;
        let behind = |taken: usize| {
            rest.advance(taken);
            rest.if_any()
        };
        match (into, &self.layer) {
            (ReadBuf::Runs(tx, _), _) => {
                let mut output = Output::new(tx);
                output.seal_runs(&mut self.layer, len).map_err(|_| Gone)?;
                (self.output, self.rest) = (Some(output), behind(len));
            }
            (ReadBuf::Tx(mut stage, _), Layer::Plain | Layer::Kernel(_)) => {
                self.rest = behind(len);
                stage.set_filled(len);
                let more = self.rest.is_some();
                return self.send(cx, stage.into(), more);
            }
            (ReadBuf::Tx(stage, _), _) => {
                let mut output = Output::new(self.second.take().ok_or(Gone)?);
                mind_the_keys(&mut output, &mut self.layer)?;
                let read = &stage[STAGE_AT..STAGE_AT + len];
                let taken = output.body(&mut self.layer, read).map_err(|_| Gone)?;
                (self.output, self.rest) = (Some(output), behind(taken));
            }
            (ReadBuf::Region(..), _) => return Err(Gone),
        }
        if self.rest.is_none() {
            // What was asked meanwhile may leave with the end of this body; and if the peer has finished sending, it must
            // be answered before the connection counts as done.
            self.take_stashed(cx)?;
        }
        self.settle(cx)
    }

    /// Whether there is more to send for which a send buffer is filled here.
    pub(in crate::tcp) fn fills_buffers(&mut self) -> bool {
        match (&self.rest, &self.layer, &mut self.speech) {
            (Some(Source::File(..)), ..) | (Some(_), Layer::Tls(_), _) => true,
            (_, _, Speech::Http2(streams)) => streams.has_more(),
            _ => !self.has_nothing(),
        }
    }

    /// Sends what has been gathered.
    pub(in crate::tcp) fn flush<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.output.is_none() {
            return Ok(());
        }
        let more = self.fills_buffers();
        self.flush_before(cx, more)
    }

    /// Sends what has been gathered. `more`: a send buffer will be filled after that.
    pub(in crate::tcp) fn flush_before<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        more: bool,
    ) -> Result<(), Gone> {
        let Some(output) = self.output.take().filter(|output| !output.is_empty()) else { return Ok(()) };
        let src = output.finish(&mut self.layer).map_err(|_| Gone)?;
        self.send(cx, src, more)
    }

    pub(in crate::tcp) fn send<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        src: SendBuf,
        more: bool,
    ) -> Result<(), Gone> {
        self.sent = 0;
        self.activity = Activity::Sending;
        self.sending_from = cx.now;
        self.waits += 1;
        self.count_for_kernel(src.len());
        self.holds_buffer = !matches!(src, SendBuf::Shared(..));
        let is_large = src.len() >= LARGE;
        cx.ring.send(&self.conn, src, 0).map_err(|_| Gone)?;
        if is_large && more {
            // Together with the send: by when that is told, the answer is mostly there.
            self.ask_for_room(cx)?;
        }
        if is_large && self.holds_buffer {
            cx.spare_buffers()?;
        }
        self.be_patient(cx);
        Ok(())
    }

    /// Has the ring tell when the socket has room. Once is enough, however often it is asked meanwhile.
    pub(in crate::tcp) fn ask_for_room<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if !self.room_is_asked_for {
            cx.ring.writable(&self.conn).map_err(|_| Gone)?;
            self.room_is_asked_for = true;
        }
        Ok(())
    }

    pub(in crate::tcp) fn starve<E: Engine>(&mut self, cx: &mut Context<'_, E>) {
        self.activity = Activity::Starved;
        cx.starved.push_back(cx.key);
    }
}
