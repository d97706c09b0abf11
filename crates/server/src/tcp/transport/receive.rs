//! Input: bytes put aside, records opened.

use sitar_io::{Engine, RecvEnd, RxBuf};
use sitar_tls::{Frame, RecordError};

use super::input::InputBuffer;
use super::output::{Output, Put};
use super::security::Security;
use super::state::{EndStep, RecvState, Transport, Waiting};
use crate::close::{Close, PeerReason};
use crate::limits::PAUSE_AT;
use crate::shard::context::Shared;

/// Bytes that are thrown away of a peer that nothing more is read from, before it is cut off.
const DISCARD_MAX: u32 = 4 << 20;

/// The result of opening the next bytes off the wire.
pub(in crate::tcp) enum Opened<'w> {
    /// Text: all of the bytes, where nothing is sealed.
    Plain,
    /// A whole record, and the text in it.
    Text { used: usize, text: &'w mut [u8] },
    /// A whole record that was dealt with.
    Nothing { used: usize },
    /// A part of a record.
    Partial,
    /// The peer sends nothing more.
    CloseNotify,
    /// The peer has broken the rules of TLS, and the end has begun.
    Broken,
    /// The handshake has to go on first.
    Handshake,
}

/// The treatment of bytes that have arrived.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) enum Arrival {
    /// Nothing: nothing more is read from this peer.
    Discarded,
    /// They wait behind what came before them, which can be worked on.
    Appended,
    /// They wait until something else has come.
    PutAside,
    /// They can be worked on where they are.
    Direct,
}

impl Transport {
    /// Receives nothing until the peer is known.
    pub(in crate::tcp) fn hold_receiving(&mut self) {
        self.input.state = RecvState::Held;
    }

    /// Whether nothing is received because the peer is not known.
    pub(in crate::tcp) fn is_held(&self) -> bool {
        self.input.state == RecvState::Held
    }

    /// The peer is known. Begins to receive if that was waited for.
    pub(in crate::tcp) fn end_hold<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        if !self.is_held() {
            return Ok(());
        }
        self.input.state = RecvState::Armed;
        self.begin_receiving(cx)
    }

    /// Begins to receive.
    pub(in crate::tcp) fn begin_receiving<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        cx.ring.recv(&self.conn).map_err(|_| Close::Ours("the ring takes no receive"))?;
        Ok(())
    }

    /// Bytes from the peer.
    pub(in crate::tcp) fn on_recv<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        buf: &RxBuf,
    ) -> Result<Arrival, Close> {
        // Nothing more is read from this peer, but a reset while its last answer is on the way
        // could destroy that.
        if self.is_ending() || self.input.state == RecvState::Ended {
            let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
            self.input.discarded = self.input.discarded.saturating_add(len);
            let too_much = self.input.discarded > DISCARD_MAX;
            return if too_much { Err(Close::Peer(PeerReason::TooMuch)) } else { Ok(Arrival::Discarded) };
        }
        if self.is_receiving() && self.input.wire.is_empty() {
            return Ok(Arrival::Direct);
        }
        cx.quota.append(&mut self.input.wire, buf)?;
        Ok(if self.is_receiving() { Arrival::Appended } else { Arrival::PutAside })
    }

    /// Puts bytes off the wire aside.
    pub(in crate::tcp) fn put_wire_aside<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        bytes: &[u8],
    ) -> Result<(), Close> {
        Ok(cx.quota.append(&mut self.input.wire, bytes)?)
    }

    /// Puts text aside.
    pub(in crate::tcp) fn put_text_aside<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        text: &[u8],
    ) -> Result<(), Close> {
        Ok(cx.quota.append(&mut self.input.text, text)?)
    }

    /// Takes what was put aside off the wire; [`return_wire`](Transport::return_wire) gets it back.
    pub(in crate::tcp) fn take_wire(&mut self) -> InputBuffer {
        std::mem::take(&mut self.input.wire)
    }

    /// Puts back what is left behind the first `used` bytes.
    pub(in crate::tcp) fn return_wire<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        mut wire: InputBuffer,
        used: usize,
    ) -> Result<(), Close> {
        cx.quota.consume(&mut wire, used);
        // What a handshake left over may have been put there meanwhile: it comes first, and then
        // nothing else was left.
        if self.input.wire.is_empty() {
            self.input.wire = wire;
            return Ok(());
        }
        let later = cx.quota.append(&mut self.input.wire, wire.bytes());
        cx.quota.release(&mut wire);
        Ok(later?)
    }

    /// Takes the text that was put aside; [`return_text`](Transport::return_text) gets it back.
    pub(in crate::tcp) fn take_text(&mut self) -> InputBuffer {
        std::mem::take(&mut self.input.text)
    }

    /// Puts back what is left behind the first `used` bytes.
    pub(in crate::tcp) fn return_text<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        mut text: InputBuffer,
        used: usize,
    ) {
        cx.quota.consume(&mut text, used);
        self.input.text = text;
    }

    pub(in crate::tcp) fn has_text(&self) -> bool {
        !self.input.text.is_empty()
    }

    /// Whether nothing is put aside.
    pub(in crate::tcp) fn has_nothing_aside(&self) -> bool {
        self.input.wire.is_empty() && self.input.text.is_empty()
    }

    /// Bytes of memory that the handshake holds while it goes on.
    #[inline]
    pub(in crate::tcp) fn handshake_memory(&self) -> usize {
        if let Security::Handshaking(handshake) = &self.security { handshake.memory() } else { 0 }
    }

    /// Bytes charged for what is put aside.
    pub(in crate::tcp) fn charged(&self) -> usize {
        self.input.wire.charged() + self.input.text.charged()
    }

    /// The start of a request that has come in part.
    pub(in crate::tcp) fn pending(&self) -> &[u8] {
        // Where records are opened, a part of one is no request yet.
        if let Security::Plain = self.security { self.input.wire.bytes() } else { self.input.text.bytes() }
    }

    /// Opens the record in front of `wire`, if there is a whole one.
    pub(in crate::tcp) fn open<'w, E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        wire: &'w mut [u8],
    ) -> Result<Opened<'w>, Close> {
        let records = match &mut self.security {
            Security::Plain => return Ok(Opened::Plain),
            Security::Handshaking(_) => return Ok(Opened::Handshake),
            Security::Failed => return Ok(Opened::Partial),
            Security::Tls(records) | Security::Kernel(records) => records,
        };
        let used = match records.frame(wire) {
            Ok(Frame::Whole(len)) => len,
            Ok(Frame::Incomplete { .. }) => return Ok(Opened::Partial),
            Err(error) => return self.broken(error),
        };
        match records.open(&mut wire[..used]) {
            Ok(sitar_tls::Opened::Data(text)) => Ok(Opened::Text { used, text }),
            Ok(sitar_tls::Opened::Nothing) => Ok(Opened::Nothing { used }),
            Ok(sitar_tls::Opened::KeyUpdateRequested) => {
                self.answer_key_update(cx)?;
                Ok(Opened::Nothing { used })
            }
            Ok(sitar_tls::Opened::CloseNotify) => Ok(Opened::CloseNotify),
            Ok(sitar_tls::Opened::Alert(code)) => {
                Err(Close::Peer(PeerReason::Tls(sitar_tls::PeerFault::Alert(code))))
            }
            Err(error) => self.broken(error),
        }
    }

    /// A record cannot be opened: the peer is sent an alert behind what has been gathered.
    fn broken<'w>(&mut self, error: RecordError) -> Result<Opened<'w>, Close> {
        let why = Close::of_tls(error.fault(), "opening");
        self.end_with(why, EndStep::Alert(error.alert().ok_or(why)?));
        Ok(Opened::Broken)
    }

    fn answer_key_update<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        if let Security::Kernel(_) = self.security {
            self.update_kernel(cx.offload);
            return Ok(());
        }
        // Without room it would have to be remembered; a peer that asks while it does not read can
        // go.
        match self.put(cx, Output::key_update)? {
            Put::Done => Ok(()),
            Put::NoRoom => Err(Close::Peer(PeerReason::Tls(sitar_tls::PeerFault::TooMuch))),
        }
    }

    /// The peer sends nothing more, although its FIN has not come.
    pub(in crate::tcp) fn end_input(&mut self) {
        self.input.state = RecvState::Ended;
    }

    /// Whether the peer has finished sending.
    pub(in crate::tcp) fn has_input_ended(&self) -> bool {
        self.input.state == RecvState::Ended
    }

    /// The ring has stopped receiving: goes on with it, unless it was to stop.
    pub(in crate::tcp) fn on_recv_ended<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        end: RecvEnd,
    ) -> Result<(), Close> {
        match (end, self.input.state) {
            (RecvEnd::Error(errno), _) => Err(Close::of_socket(errno)),
            (RecvEnd::Eof, _) => {
                self.input.state = RecvState::Ended;
                Ok(())
            }
            (RecvEnd::NoBuffers | RecvEnd::Stopped, RecvState::Armed) => self.begin_receiving(cx),
            (
                RecvEnd::NoBuffers | RecvEnd::Stopped,
                RecvState::Held | RecvState::Paused | RecvState::Ended,
            ) => Ok(()),
        }
    }

    /// Stops receiving while too much is put aside, and goes on when there is room again.
    pub(in crate::tcp) fn adjust_receiving<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        // A connection that waits for the peer's bytes receives them: what is put aside then is a
        // part of something whose size is bounded, as a header block of HTTP/2.
        let waits = matches!(self.waiting, Waiting::Input | Waiting::PeerClose);
        match self.input.state {
            RecvState::Armed if self.input.wire.len() > PAUSE_AT && !waits => {
                self.input.state = RecvState::Paused;
                cx.ring.stop_recv(&self.conn);
                Ok(())
            }
            RecvState::Paused if self.input.wire.len() <= PAUSE_AT / 2 || waits => {
                self.input.state = RecvState::Armed;
                self.begin_receiving(cx)
            }
            RecvState::Held | RecvState::Armed | RecvState::Paused | RecvState::Ended => Ok(()),
        }
    }
}
