//! One connection: bytes in, records opened, requests answered, records sealed, one send out.
//!
//! At any time a connection waits for exactly one thing ([`Activity`]). While that is not the peer's next bytes, what the
//! peer sends is put aside ([`Stash`]) and, past a bound, no longer received: back-pressure by TCP. So there is at most one
//! send in flight, answers leave in order, and a peer that does not read costs one send buffer and one stash at most.
//!
//! ```text
//!                  ┌──────── bytes: records, requests, answers ────────┐
//!                  ▼                                                    │
//!   accept ──▶ Receiving ──▶ Loading (file not in memory) ──▶ loaded ───┤
//!                  │  ▲                                                 │
//!                  ▼  └── sent, nothing left to send ◀── Sending ◀──────┘
//!              last answer sent ──▶ shutdown ──▶ lingering ──▶ closed
//!
//! Where the kernel seals ([`ktls`](super::transport::ktls)) a connection also waits for it to take a key, and before the shutdown for it to have
//! sent all that it has sealed.
//! ```

use std::time::Instant;

use sitar_http::h1::BodyDrain;
use sitar_http::h2;
use sitar_io::{Conn, Engine, Errno, Key, RecvEnd, RxBuf, SendBuf, TxBuf};
use sitar_tls::{Alert, Handshake};

use super::http2::{Content, Speech};
use super::transport::input::{Stash, Stashes};
use super::transport::ktls::Keying;
use super::transport::output::{Layer, Output};
use super::transport::timeout::{Patience, Vigil};
use crate::content::cache::Cache;
use crate::content::source::Source;

use crate::limits::{Limits, PAUSE_AT};
use crate::shard::context::{Context, Gone};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Activity {
    /// The peer's next bytes.
    Receiving,
    /// Its turn for the next step of its handshake.
    Queued,
    /// A send buffer to put its output in.
    Starved,
    /// A file that the helper thread loads.
    Loading,
    /// A part of a file too large for memory.
    Reading,
    /// The end of a send.
    Sending,
    /// Room in the socket, so that what is sent next need not wait in a send buffer.
    Blocked,
    /// The kernel that seals: [`Keying`] says what for.
    Kernel,
    /// The peer to close, after the last answer.
    Lingering,
}

/// Where the conversation stands.
pub(super) enum Course {
    /// The next bytes begin or continue a request head.
    Head,
    /// The next bytes belong to a request body that nobody wants.
    Skip(BodyDrain),
    /// No further request is read. `alert`: still to be put behind the last answer.
    Last { alert: Option<Alert> },
}

impl Course {
    /// The end, with close_notify.
    pub(super) const END: Course = Course::Last { alert: Some(Alert::CloseNotify) };
    /// The end, and TLS has nothing more to say.
    pub(super) const END_SAID: Course = Course::Last { alert: None };
}

/// Whether the ring receives from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Inflow {
    Armed,
    /// Stopped, or being stopped, because too much is put aside.
    Paused,
    /// The peer has finished sending.
    Ended,
}

/// Bytes of a lingering peer that are thrown away before it is cut off.
const LINGER_MAX: usize = 4 << 20;
/// What comes behind a send of so much is not made before there is room for it, so that no buffer is held for a peer that is slow.
pub(super) const LARGE: usize = 32 << 10;
/// Bytes of a file read at a time: four full records.
pub(super) const READ_LEN: usize = 64 << 10;
/// Where in its send buffer a part of a file lies that is to be sealed into another: not as far behind a page's beginning as
/// a record does, nor at one, where the file's pages lie in the kernel. Copying is several times as slow otherwise (see the arena).
pub(super) const STAGE_AT: usize = 1024;

pub(crate) struct Connection {
    pub(super) conn: Conn,
    pub(super) layer: Layer,
    pub(super) keying: Keying,
    pub(super) speech: Speech,
    pub(super) activity: Activity,
    pub(super) course: Course,
    pub(super) inflow: Inflow,
    /// Bytes off the wire, not yet opened (TLS) or not yet parsed (plain).
    pub(super) wire: Stash,
    /// Opened text, not yet parsed.
    pub(super) text: Stash,
    /// How much of the unparsed text the parser has seen already.
    pub(super) scanned: usize,
    /// Being filled during an event; never kept beyond it.
    pub(super) output: Option<Output>,
    pub(super) rest: Option<Source>,
    pub(super) sent: usize,
    pub(super) lingered: usize,
    /// It waited for a request when the server was asked to stop, having answered this many.
    pub(super) waited_after: Option<u64>,
    /// Requests answered.
    pub(super) requests: u64,
    /// Waits for something else than the peer's bytes.
    pub(super) waits: u64,
    pub(super) vigil: Vigil,
    /// When the send that is on its way began.
    pub(super) sending_from: Instant,
    /// That send holds a send buffer.
    pub(super) holds_buffer: bool,
    /// The ring will tell when the socket has room.
    pub(super) room_is_asked_for: bool,
    /// For what is read from a file to be sealed into; held while it is read.
    pub(super) second: Option<TxBuf>,
}

impl Connection {
    /// A connection that has just been accepted; `tls` is where its handshake starts.
    pub(crate) fn new(conn: Conn, tls: Option<Handshake>, now: Instant, limits: &Limits) -> Connection {
        let (layer, vigil) = match tls {
            Some(handshake) => {
                (Layer::Handshake(handshake), Vigil::new(Patience::Handshake, now + limits.handshake))
            }
            None => (Layer::Plain, Vigil::new(Patience::Idle(0), now + limits.idle)),
        };
        Connection {
            conn,
            layer,
            keying: Keying::Settled,
            speech: Speech::Unheard,
            activity: Activity::Receiving,
            course: Course::Head,
            inflow: Inflow::Armed,
            wire: Stash::default(),
            text: Stash::default(),
            scanned: 0,
            output: None,
            rest: None,
            sent: 0,
            lingered: 0,
            waited_after: None,
            requests: 0,
            waits: 0,
            vigil,
            sending_from: now,
            holds_buffer: false,
            room_is_asked_for: false,
            second: None,
        }
    }

    /// When [`on_timer`](Connection::on_timer) is to be called.
    pub(crate) fn deadline(&self) -> Instant {
        let next = self.vigil.next();
        self.streams_deadline().map_or(next, |other| other.min(next))
    }

    /// Since when a send that holds a send buffer has been on its way, if one is: for choosing whom to close when these run out.
    pub(crate) fn sending_since(&self) -> Option<Instant> {
        (self.activity == Activity::Sending && self.holds_buffer).then_some(self.sending_from)
    }

    /// Bytes put aside for it: for choosing whom to close when there is no room for more.
    pub(crate) fn stashed(&self) -> usize {
        let parked = if let Speech::Http2(streams) = &self.speech { streams.booked() } else { 0 };
        self.wire.booked() + self.text.booked() + parked
    }

    /// Gives everything back to the shard; the caller closes the descriptor.
    pub(crate) fn end(
        mut self,
        stashes: &mut Stashes,
        shared: &mut h2::SharedBuffers<Content>,
        cache: &mut Cache,
        key: Key,
    ) -> Conn {
        stashes.release(&mut self.wire);
        stashes.release(&mut self.text);
        if let Speech::Http2(streams) = self.speech {
            streams.end(shared, stashes);
        }
        cache.forget(key);
        self.conn
    }

    // Events.

    /// The first thing that happens: the ring starts to receive.
    pub(crate) fn on_accept<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        cx.ring.recv(&self.conn).map_err(|_| Gone)?;
        Ok(())
    }

    /// Bytes from the peer. The buffer is given back before this returns.
    pub(crate) fn on_recv<E: Engine>(&mut self, cx: &mut Context<'_, E>, mut buf: RxBuf) -> Result<(), Gone> {
        match self.activity {
            // Nothing more is read from this peer, but a reset while its last answer is on the way could destroy that.
            _ if matches!(self.course, Course::Last { .. }) || self.inflow == Inflow::Ended => {
                self.lingered += buf.len();
                return if self.lingered > LINGER_MAX { Err(Gone) } else { Ok(()) };
            }
            Activity::Receiving if self.wire.is_empty() => {
                let used = self.take_wire(cx, &mut buf)?;
                cx.stashes.append(&mut self.wire, &buf[used..])?;
            }
            Activity::Receiving => {
                cx.stashes.append(&mut self.wire, &buf)?;
                self.take_stashed(cx)?;
            }
            _ => cx.stashes.append(&mut self.wire, &buf)?,
        }
        self.settle(cx)
    }

    /// The ring has stopped receiving.
    pub(crate) fn on_recv_ended<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        end: RecvEnd,
    ) -> Result<(), Gone> {
        match (end, self.inflow) {
            (RecvEnd::Error(_), _) => return Err(Gone),
            (RecvEnd::Eof, _) => {
                self.inflow = Inflow::Ended;
                // What has been asked completely is answered; half a request, or silence, is the end.
                if self.activity == Activity::Receiving && matches!(self.speech, Speech::Http2(_)) {
                    return self.settle(cx);
                }
                if matches!(self.activity, Activity::Receiving | Activity::Lingering) {
                    return Err(Gone);
                }
            }
            (RecvEnd::NoBuffers | RecvEnd::Stopped, Inflow::Armed) => {
                cx.ring.recv(&self.conn).map_err(|_| Gone)?;
            }
            (RecvEnd::NoBuffers | RecvEnd::Stopped, Inflow::Paused | Inflow::Ended) => {}
        }
        Ok(())
    }

    /// A send has ended; `buf` is what was sent, if the ring has not got it back already.
    pub(crate) fn on_sent<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        buf: Option<SendBuf>,
        result: Result<usize, Errno>,
    ) -> Result<(), Gone> {
        self.sent += result.map_err(|_| Gone)?;
        if let Some(buf) = buf
            && self.sent < buf.len()
        {
            self.count_for_kernel(buf.len() - self.sent);
            cx.ring.send(&self.conn, buf, self.sent).map_err(|_| Gone)?;
            return Ok(());
        }
        let large = self.sent >= LARGE;
        self.activity = Activity::Receiving;
        if self.give_next_key(cx)? {
            return Ok(());
        }
        if large && self.fills_buffers() {
            self.activity = Activity::Blocked;
            self.waits += 1;
            self.ask_for_room(cx)?;
            self.be_patient(cx);
            return Ok(());
        }
        self.go_on(cx)
    }

    /// The socket has room.
    pub(crate) fn on_writable<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        self.room_is_asked_for = false;
        if self.activity != Activity::Blocked {
            return Ok(());
        }
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }

    /// A file that this connection waits for has been loaded, or could not be.
    pub(crate) fn on_loaded<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        match (self.on_loaded_for_streams(), self.activity) {
            (true, Activity::Receiving) => {}
            (_, Activity::Loading) => self.activity = Activity::Receiving,
            _ => return Ok(()),
        }
        self.go_on(cx)
    }

    /// There may be a send buffer now.
    pub(crate) fn on_buffers<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.activity != Activity::Starved {
            return Ok(());
        }
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }

    /// The deadline may have passed.
    pub(crate) fn on_timer<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.on_timer_for_streams(cx)? {
            return Ok(());
        }
        if cx.now < self.vigil.deadline() {
            self.fold_if_due(cx.now);
            return Ok(());
        }
        match self.vigil.patience() {
            Patience::Request(_) | Patience::Idle(_) if !matches!(self.course, Course::Last { .. }) => {
                self.on_late_request(cx)
            }
            _ if self.activity == Activity::Kernel => self.on_kernel_late(cx),
            _ => Err(Gone),
        }
    }

    /// The server stops: connections that wait for a request, or for the rest of one, end; what was
    /// asked for is answered.
    pub(crate) fn on_stop<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if let Layer::Handshake(_) = self.layer {
            return Err(Gone);
        }
        let waits = !self.is_answering() && matches!(self.course, Course::Head);
        self.waited_after = waits.then_some(self.requests);
        self.settle(cx)
    }

    /// Whether a stop waits for this connection because of an answer: not while it waits for a
    /// request, negotiates or lingers.
    pub(crate) fn is_answering(&self) -> bool {
        // What it sends is its farewell.
        if self.has_asked_nothing() {
            return false;
        }
        match (&self.layer, self.activity) {
            (Layer::Handshake(_), _) | (_, Activity::Lingering) => false,
            (_, Activity::Receiving) => self.answers_streams().unwrap_or(self.rest.is_some()),
            (_, Activity::Kernel) => !matches!(self.course, Course::Last { .. }),
            _ => true,
        }
    }

    /// Whether it waited for a request when the server was asked to stop, and has had none since.
    pub(super) fn has_asked_nothing(&self) -> bool {
        self.waited_after == Some(self.requests)
    }

    // Bytes out.

    /// Continues after something was waited for.
    pub(super) fn go_on<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.rest.is_some() {
            self.send_rest(cx)?;
        }
        self.retry_parked(cx)?;
        if self.activity == Activity::Receiving && self.rest.is_none() {
            self.take_stashed(cx)?;
        }
        self.settle(cx)
    }

    /// The end of every event: sends what was gathered, says farewell, minds the inflow and the clock.
    pub(super) fn settle<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        self.settle_streams(cx)?;
        if self.activity == Activity::Receiving && self.rest.is_none() {
            // The peer asked and then closed its side, or the server stops: all that was asked for
            // has been gathered, and half a request is none. Not before the kernel has answered:
            // until then nothing that was asked has been looked at.
            let over = !matches!(self.speech, Speech::Http2(_))
                && self.is_keyed()
                && (self.inflow == Inflow::Ended || cx.stopping);
            if over && !matches!(self.course, Course::Last { .. }) {
                self.course = Course::END;
            }
            if let Course::Last { .. } = self.course {
                self.finish(cx)?;
            }
        }
        self.flush(cx)?;
        self.mind_the_kernel(cx)?;
        // A connection that waits for the peer's bytes receives them: what is put aside then is a
        // part of something whose size is bounded, as a header block of HTTP/2.
        let waits = matches!(self.activity, Activity::Receiving | Activity::Lingering);
        match self.inflow {
            Inflow::Armed if self.wire.len() > PAUSE_AT && !waits => {
                self.inflow = Inflow::Paused;
                cx.ring.stop_recv(&self.conn);
            }
            Inflow::Paused if self.wire.len() <= PAUSE_AT / 2 || waits => {
                self.inflow = Inflow::Armed;
                cx.ring.recv(&self.conn).map_err(|_| Gone)?;
            }
            _ => {}
        }
        self.be_patient(cx);
        Ok(())
    }

    /// Whether nothing of a further request has come.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.course, Course::Head) && self.has_nothing()
    }

    /// Whether nothing is put aside.
    pub(super) fn has_nothing(&self) -> bool {
        self.wire.is_empty() && self.text.is_empty()
    }
}
