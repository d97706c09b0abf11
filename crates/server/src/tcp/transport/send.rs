//! Sending: bytes gathered in a send buffer, sent, and gone on with.

use std::time::Duration;

use sitar_io::{Engine, Errno, ReadBuf, Ring, SendBuf, TxBuf};
use sitar_site::Streamed;

use super::key_limits::{is_rekey_due, rekey_if_due};
use super::output::{Output, Put};
use super::security::Security;
use super::state::{Transport, Waiting};
use crate::close::Close;
use crate::content::source::Source;
use crate::shard::context::Shared;

/// After a pause of this length TCP sends as carefully as at first: it is the least time-out of its
/// retransmissions for paths that are not known to be fast (RFC 5681 §4.1, RFC 6298 §2.4).
const PAUSE: Duration = Duration::from_secs(1);
/// After a send of this length the next buffer is not filled before the socket has room for it, so
/// that no buffer is held for a peer that is slow.
const LARGE: usize = 32 << 10;
/// Bytes of a file read at a time: four full records.
pub(in crate::tcp) const READ_LEN: usize = 64 << 10;
/// The offset in its buffer of a part of a file that is to be sealed into another. It is not as far
/// behind the beginning of a page as a record is, nor at one, where the file's pages lie in the
/// kernel: copying is several times as slow otherwise (see the arena).
pub(in crate::tcp) const STAGE_AT: usize = 1024;

/// The next step after a send or a part of one.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) enum Sent {
    /// Something else is waited for: the rest of it, or the kernel.
    Waits,
    /// All of it has gone; it was large, so the socket may have no room.
    Large,
    /// All of it has gone.
    Small,
}

impl Transport {
    /// Makes sure that there is an output for an answer, if more than `keep` send buffers are free.
    pub(in crate::tcp) fn begin_output<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        keep: usize,
    ) -> Result<Put, Close> {
        if self.output.is_some() {
            return Ok(Put::Done);
        }
        let Some(output) = take_output(&mut self.output, &mut cx.ring, keep) else {
            return Ok(Put::NoRoom);
        };
        rekey_if_due(output, &mut self.security)?;
        if let Security::Tls(records) = &mut self.security
            && cx.now.saturating_duration_since(self.last_send) >= PAUSE
        {
            records.restart_small_records();
        }
        Ok(Put::Done)
    }

    /// The output that has been begun, and what seals it.
    pub(in crate::tcp) fn output(&mut self) -> Result<(&mut Output, &mut Security), Close> {
        match &mut self.output {
            Some(output) => Ok((output, &mut self.security)),
            None => Err(Close::Ours("no output")),
        }
    }

    /// Whether something has been gathered that has not been sent.
    pub(in crate::tcp) fn has_output(&self) -> bool {
        self.output.as_ref().is_some_and(|output| !output.is_empty())
    }

    /// Gives back an output that nothing was put into.
    pub(in crate::tcp) fn drop_output(&mut self) {
        self.output = None;
    }

    /// Whether records are sealed here.
    pub(in crate::tcp) fn is_sealing(&self) -> bool {
        self.security.is_tls()
    }

    /// Lets `write` put something into the output.
    pub(in crate::tcp) fn put<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        write: impl FnOnce(&mut Output, &mut Security) -> Result<Put, sitar_tls::RecordError>,
    ) -> Result<Put, Close> {
        let output = take_output(&mut self.output, &mut cx.ring, 0).ok_or(Close::Shed)?;
        write(output, &mut self.security).map_err(|_| Close::Ours("sealing"))
    }

    /// Sends, or reads, the next of `rest`. Returns what is left of it.
    pub(in crate::tcp) fn send_source<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        rest: Source,
    ) -> Result<Option<Source>, Close> {
        let next = rest.next_read(READ_LEN);
        let mut runs = None;
        // What is read from a file is sealed in the buffer that it was read into, unless it will
        // not be full records alone.
        let mut needs_second = false;
        if let (Some((_, _, len)), Security::Tls(_)) = (next, &self.security) {
            runs = if is_rekey_due(&self.security) { None } else { Output::runs(&self.security, len) };
            needs_second = runs.is_none();
        }
        let enough = cx.ring.tx_free() > cx.limits.reserve() + usize::from(needs_second);
        let Some(tx) = enough.then(|| cx.ring.take_tx()).flatten() else {
            self.wait_for_buffer(cx);
            return Ok(Some(rest));
        };
        if let Some((file, offset, len)) = next {
            let second = if needs_second { cx.ring.take_tx() } else { None };
            let at = if needs_second { STAGE_AT } else { 0 };
            let buf = match runs {
                Some(runs) => ReadBuf::Runs(tx, runs),
                None => ReadBuf::Tx(tx, at..at + len),
            };
            self.read_file(cx, file, offset, buf, second)?;
            return Ok(Some(rest));
        }
        let mut output = Output::new(tx);
        rekey_if_due(&mut output, &mut self.security)?;
        let rest = output.source(&mut self.security, rest).map_err(|_| Close::Ours("sealing"))?;
        self.output = Some(output);
        Ok(rest)
    }

    /// Reads from a file; `second` is for what is read to be sealed into.
    pub(in crate::tcp) fn read_file<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        file: &Streamed,
        offset: u64,
        buf: ReadBuf,
        second: Option<TxBuf>,
    ) -> Result<(), Close> {
        cx.ring.read(file, offset, buf, cx.key).map_err(|_| Close::Ours("the ring takes no read"))?;
        cx.submit_early()?;
        self.begin_wait(Waiting::FileRead { second });
        Ok(())
    }

    /// A read has ended. Returns the buffer for what was read to be sealed into.
    pub(in crate::tcp) fn end_read(&mut self) -> Option<TxBuf> {
        match std::mem::replace(&mut self.waiting, Waiting::Input) {
            Waiting::FileRead { second } => second,
            other => {
                self.waiting = other;
                None
            }
        }
    }

    /// Puts `len` bytes that have been read of `rest` into the output, or sends them. Returns what
    /// is left.
    pub(in crate::tcp) fn send_read<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        mut rest: Source,
        buf: ReadBuf,
        len: usize,
        second: Option<TxBuf>,
    ) -> Result<Option<Source>, Close> {
        let sealing = |_| Close::Ours("sealing");
        match (buf, &self.security) {
            (ReadBuf::Runs(tx, _), _) => {
                let mut output = Output::new(tx);
                output.seal_runs(&mut self.security, len).map_err(sealing)?;
                self.output = Some(output);
                rest.advance(len);
            }
            (ReadBuf::Tx(mut stage, _), Security::Plain | Security::Kernel(_)) => {
                rest.advance(len);
                let rest = rest.if_any();
                stage.set_filled(len);
                self.send(cx, stage.into(), rest.is_some())?;
                return Ok(rest);
            }
            (ReadBuf::Tx(stage, _), _) => {
                let mut output = Output::new(second.ok_or(Close::Ours("no buffer to seal into"))?);
                rekey_if_due(&mut output, &mut self.security)?;
                let read = &stage[STAGE_AT..STAGE_AT + len];
                let taken = output.body(&mut self.security, read).map_err(sealing)?;
                self.output = Some(output);
                rest.advance(taken);
            }
            (ReadBuf::Region(..), _) => return Err(Close::Ours("a read into a region")),
        }
        Ok(rest.if_any())
    }

    /// Begins an output in a buffer that was set aside for it.
    pub(in crate::tcp) fn begin_output_in(&mut self, tx: TxBuf) -> Result<(), Close> {
        let mut output = Output::new(tx);
        rekey_if_due(&mut output, &mut self.security)?;
        self.output = Some(output);
        Ok(())
    }

    /// Sends what has been gathered. `more`: a send buffer will be filled after that.
    pub(in crate::tcp) fn flush<E: Engine>(&mut self, cx: &mut Shared<E>, more: bool) -> Result<(), Close> {
        let Some(output) = self.output.take().filter(|output| !output.is_empty()) else { return Ok(()) };
        let buf = output.finish(&mut self.security).map_err(|_| Close::Ours("sealing"))?;
        self.send(cx, buf, more)
    }

    pub(super) fn send<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        buf: SendBuf,
        more: bool,
    ) -> Result<(), Close> {
        let holds_buffer = !matches!(buf, SendBuf::Shared(..));
        self.begin_wait(Waiting::Sending { since: cx.now, sent: 0, holds_buffer, next_key: None });
        self.last_send = cx.now;
        self.count_for_kernel(buf.len());
        let is_large = buf.len() >= LARGE;
        cx.ring.send(&self.conn, buf, 0).map_err(|_| Close::Ours("the ring takes no send"))?;
        if is_large && more {
            // Together with the send: when its end is reported, the answer is mostly there.
            self.arm_writable(cx)?;
        }
        if is_large && holds_buffer {
            cx.submit_early()?;
        }
        self.arm_timeout(cx);
        Ok(())
    }

    /// A send has ended; `buf` is what was sent, if the ring has not got it back already.
    pub(in crate::tcp) fn on_sent<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        buf: Option<SendBuf>,
        result: Result<usize, Errno>,
    ) -> Result<Sent, Close> {
        let Waiting::Sending { sent, next_key, .. } = &mut self.waiting else {
            return Err(Close::Ours("the end of no send"));
        };
        *sent += result.map_err(Close::of_socket)?;
        let sent = *sent;
        if let Some(buf) = buf
            && sent < buf.len()
        {
            self.count_for_kernel(buf.len() - sent);
            cx.ring.send(&self.conn, buf, sent).map_err(|_| Close::Ours("the ring takes no send"))?;
            return Ok(Sent::Waits);
        }
        let is_large = sent >= LARGE;
        let next_key = next_key.take();
        self.waiting = Waiting::Input;
        if let Some(key) = next_key {
            self.give_next_key(cx, key)?;
            return Ok(Sent::Waits);
        }
        Ok(if is_large { Sent::Large } else { Sent::Small })
    }

    /// Waits until the socket has room.
    pub(in crate::tcp) fn wait_for_room<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        self.begin_wait(Waiting::Room);
        self.arm_writable(cx)?;
        self.arm_timeout(cx);
        Ok(())
    }

    /// The socket has room. Returns whether that was waited for.
    pub(in crate::tcp) fn end_room_wait(&mut self) -> bool {
        self.writable_armed = false;
        let ends = matches!(self.waiting, Waiting::Room);
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// Has the ring report when the socket has room. Once is enough, however often it is asked
    /// meanwhile.
    fn arm_writable<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        if !self.writable_armed {
            cx.ring.writable(&self.conn).map_err(|_| Close::Ours("the ring takes no poll"))?;
            self.writable_armed = true;
        }
        Ok(())
    }

    pub(in crate::tcp) fn wait_for_buffer<E: Engine>(&mut self, cx: &mut Shared<E>) {
        self.waiting = Waiting::Buffer;
        cx.starved.push_back(cx.key);
    }
}

/// The output being filled; begun if need be, and if more than `keep` send buffers are free.
fn take_output<'o, E: Engine>(
    output: &'o mut Option<Output>,
    ring: &mut Ring<E>,
    keep: usize,
) -> Option<&'o mut Output> {
    if output.is_none() && ring.tx_free() > keep {
        *output = ring.take_tx().map(Output::new);
    }
    output.as_mut()
}
