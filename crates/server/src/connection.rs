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
//! ```

use std::ops::Range;
use std::time::{Duration, Instant};

use sitar_http::h1::{self, Answer, Drain, Framing, Rejection};
use sitar_http::{Status, Version};
use sitar_io::{Backend, Conn, Errno, File, Into, Key, RecvEnd, Region, Ring, RxBuf, Src};
use sitar_site::{Body, Reply, Route, Site};
use sitar_tls::{Alert, Frame, Handshake, HandshakeError, Opened, Step};

use crate::limits::Limits;
use crate::loader::{Cache, Found};
use crate::output::{Layer, Output};
use crate::stash::{Overfull, Stash, Stashes};

/// What a connection may use of its shard while it handles an event.
pub(crate) struct Context<'s, B: Backend> {
    pub(crate) key: Key,
    pub(crate) now: Instant,
    pub(crate) date: &'s [u8; 29],
    pub(crate) stopping: bool,
    pub(crate) limits: &'s Limits,
    pub(crate) site: &'s Site,
    pub(crate) ring: &'s mut Ring<B>,
    pub(crate) cache: &'s mut Cache,
    pub(crate) stashes: &'s mut Stashes,
    /// Handshake output on its way into a send buffer; empty between events.
    pub(crate) flight: &'s mut Vec<u8>,
    /// Connections that wait for a send buffer.
    pub(crate) starved: &'s mut Vec<Key>,
    pub(crate) counts: &'s mut crate::Counts,
}

/// The connection is over: close its descriptor.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<Overfull> for Gone {
    fn from(_: Overfull) -> Gone {
        Gone
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Activity {
    /// The peer's next bytes.
    Receiving,
    /// A send buffer to put its output in.
    Starved,
    /// A file that the helper thread loads.
    Loading,
    /// A part of a file too large for memory.
    Reading,
    /// The end of a send.
    Sending,
    /// The peer to close, after the last answer.
    Lingering,
}

/// Where the conversation stands.
enum Course {
    /// The next bytes begin or continue a request head.
    Head,
    /// The next bytes belong to a request body that nobody wants.
    Skip(Drain),
    /// No further request is read. `farewell`: close_notify has been put behind the last answer.
    Last { farewell: bool },
}

/// The rest of a body that did not fit into the last send.
enum Rest {
    Static(&'static [u8]),
    Region(Region, Range<usize>),
    File(File, Range<u64>),
}

/// Whether the ring receives from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inflow {
    Armed,
    /// Stopped, or being stopped, because too much is put aside.
    Paused,
    /// The peer has finished sending.
    Ended,
}

/// Which wait the deadline belongs to. It is set when the wait begins, and nothing that the peer sends moves it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Patience {
    Handshake,
    /// For the rest of the request with this number, head or unwanted body.
    Request(u64),
    /// For the first byte of the request with this number.
    Idle(u64),
    /// For a send, a buffer or a file: the wait with this number.
    Busy(u64),
    Linger,
}

/// Bytes put aside before receiving is stopped.
const PAUSE_AT: usize = 32 << 10;
/// Bytes of a lingering peer that are thrown away before it is cut off.
const LINGER_MAX: usize = 4 << 20;
/// Bytes of a file read at a time: four full records.
const READ_LEN: usize = 64 << 10;

pub(crate) struct Connection {
    conn: Conn,
    layer: Layer,
    activity: Activity,
    course: Course,
    inflow: Inflow,
    /// Bytes off the wire, not yet opened (TLS) or not yet parsed (plain).
    wire: Stash,
    /// Opened text, not yet parsed.
    text: Stash,
    /// How much of the unparsed text the parser has seen already.
    scanned: usize,
    /// Being filled during an event; never kept beyond it.
    output: Option<Output>,
    rest: Option<Rest>,
    sent: usize,
    lingered: usize,
    /// Requests answered.
    requests: u64,
    /// Waits for something else than the peer's bytes.
    waits: u64,
    patience: Patience,
    deadline: Instant,
}

impl Connection {
    /// A connection that has just been accepted; `tls` is where its handshake starts.
    pub(crate) fn new(conn: Conn, tls: Option<Handshake>, now: Instant, limits: &Limits) -> Connection {
        let (layer, patience, deadline) = match tls {
            Some(handshake) => (Layer::Handshake(handshake), Patience::Handshake, now + limits.handshake),
            None => (Layer::Plain, Patience::Idle(0), now + limits.idle),
        };
        Connection {
            conn,
            layer,
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
            requests: 0,
            waits: 0,
            patience,
            deadline,
        }
    }

    /// When [`on_timer`](Connection::on_timer) is to be called.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Since when a send has been on its way, if one is: for choosing whom to close when send buffers run out.
    pub(crate) fn sending_since(&self, limits: &Limits) -> Option<Instant> {
        (self.activity == Activity::Sending).then(|| self.deadline.checked_sub(limits.send)).flatten()
    }

    /// Gives everything back to the shard; the caller closes the descriptor.
    pub(crate) fn end(mut self, stashes: &mut Stashes, cache: &mut Cache, key: Key) -> Conn {
        stashes.release(&mut self.wire);
        stashes.release(&mut self.text);
        if self.activity == Activity::Loading {
            cache.forget(key);
        }
        self.conn
    }

    // Events.

    /// The first thing that happens: the ring starts to receive.
    pub(crate) fn on_accept<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        cx.ring.recv(&self.conn).map_err(|_| Gone)?;
        Ok(())
    }

    /// Bytes from the peer. The buffer is given back before this returns.
    pub(crate) fn on_recv<B: Backend>(
        &mut self,
        cx: &mut Context<'_, B>,
        mut buf: RxBuf,
    ) -> Result<(), Gone> {
        match self.activity {
            Activity::Lingering => {
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
    pub(crate) fn on_recv_ended<B: Backend>(
        &mut self,
        cx: &mut Context<'_, B>,
        end: RecvEnd,
    ) -> Result<(), Gone> {
        match (end, self.inflow) {
            (RecvEnd::Error(_), _) => return Err(Gone),
            (RecvEnd::Eof, _) => {
                self.inflow = Inflow::Ended;
                // What has been asked completely is answered; half a request, or silence, is the end.
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

    /// A send has ended; `src` is what was sent.
    pub(crate) fn on_sent<B: Backend>(
        &mut self,
        cx: &mut Context<'_, B>,
        src: Src,
        result: Result<usize, Errno>,
    ) -> Result<(), Gone> {
        self.sent += result.map_err(|_| Gone)?;
        if self.sent < src.len() {
            cx.ring.send(&self.conn, src, self.sent).map_err(|_| Gone)?;
            return Ok(());
        }
        drop(src);
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }

    /// A file that this connection waits for has been loaded, or could not be.
    pub(crate) fn on_loaded<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        if self.activity != Activity::Loading {
            return Ok(());
        }
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }

    /// There may be a send buffer now.
    pub(crate) fn on_buffers<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        if self.activity != Activity::Starved {
            return Ok(());
        }
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }

    /// A part of a large file has been read.
    pub(crate) fn on_read<B: Backend>(
        &mut self,
        cx: &mut Context<'_, B>,
        into: Into,
        result: Result<usize, Errno>,
    ) -> Result<(), Gone> {
        let Some(Rest::File(file, range)) = self.rest.take() else { return Err(Gone) };
        let Into::Tx(mut stage, _) = into else { return Err(Gone) };
        // Too short: the file has shrunk. The answer cannot be completed, and no close_notify may say that it was.
        let len = result.ok().filter(|len| *len > 0).ok_or(Gone)?;
        self.activity = Activity::Receiving;
        if let Layer::Plain = self.layer {
            let left = range.start + len as u64..range.end;
            self.rest = (!left.is_empty()).then_some(Rest::File(file, left));
            stage.set_filled(len);
            return self.send(cx, stage.into());
        }
        // The buffer that was read into cannot be the one that is sealed into.
        let Some(tx) = cx.ring.tx() else {
            drop(stage);
            self.rest = Some(Rest::File(file, range));
            self.starve(cx);
            return Ok(());
        };
        let mut output = Output::new(tx);
        let taken = output.body(&mut self.layer, &stage[..len]).map_err(|_| Gone)?;
        let left = range.start + taken as u64..range.end;
        self.rest = (!left.is_empty()).then_some(Rest::File(file, left));
        self.output = Some(output);
        drop(stage);
        self.settle(cx)
    }

    /// The deadline may have passed.
    pub(crate) fn on_timer<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        if cx.now < self.deadline {
            return Ok(());
        }
        match (self.patience, &self.course) {
            (Patience::Request(_), Course::Head) => {
                self.refuse(cx, &TOO_SLOW)?;
                self.settle(cx)
            }
            (Patience::Idle(_), Course::Head) => {
                self.course = Course::Last { farewell: false };
                self.settle(cx)
            }
            _ => Err(Gone),
        }
    }

    /// The server stops: whoever is idle goes, whoever has asked for something still gets it.
    pub(crate) fn on_stop<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        match (&self.layer, self.activity) {
            (Layer::Handshake(_), _) => Err(Gone),
            (_, Activity::Receiving) if matches!(self.patience, Patience::Idle(_)) => {
                self.course = Course::Last { farewell: false };
                self.settle(cx)
            }
            _ => Ok(()),
        }
    }

    // Bytes in.

    /// Continues after something was waited for.
    fn go_on<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        if self.rest.is_some() {
            self.send_rest(cx)?;
        }
        if self.activity == Activity::Receiving && self.rest.is_none() {
            self.take_stashed(cx)?;
        }
        self.settle(cx)
    }

    /// Works on what was put aside.
    fn take_stashed<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        let mut wire = std::mem::take(&mut self.wire);
        let used = self.take_wire(cx, wire.bytes_mut());
        cx.stashes.consume(&mut wire, *used.as_ref().unwrap_or(&0));
        // A handshake's left-over may have been put there meanwhile: it comes first, and then nothing else was left.
        if self.wire.is_empty() {
            self.wire = wire;
        } else {
            let later = cx.stashes.append(&mut self.wire, wire.bytes());
            cx.stashes.release(&mut wire);
            later?;
        }
        used.map(drop)
    }

    /// Works on bytes off the wire as long as nothing else is to be waited for; returns how many it has used.
    fn take_wire<B: Backend>(&mut self, cx: &mut Context<'_, B>, wire: &mut [u8]) -> Result<usize, Gone> {
        if !self.text.is_empty() {
            self.take_text(cx)?;
        }
        let mut used = 0;
        while self.is_hungry() && used < wire.len() {
            match &mut self.layer {
                Layer::Plain => return Ok(used + self.serve(cx, &wire[used..])?),
                Layer::Handshake(_) => {
                    self.negotiate(cx, &wire[used..])?;
                    return Ok(wire.len());
                }
                Layer::Tls(records) => {
                    let len = match records.frame(&wire[used..]) {
                        Ok(Frame::Whole(len)) => len,
                        Ok(Frame::Incomplete { .. }) => break,
                        Err(error) => return self.misbehaved(cx, error.alert()).map(|()| wire.len()),
                    };
                    let record = &mut wire[used..used + len];
                    used += len;
                    match records.open(record) {
                        Ok(Opened::Data(text)) => {
                            if self.text.is_empty() {
                                let done = self.serve(cx, text)?;
                                cx.stashes.append(&mut self.text, &text[done..])?;
                            } else {
                                cx.stashes.append(&mut self.text, text)?;
                                self.take_text(cx)?;
                            }
                        }
                        Ok(Opened::Nothing) => {}
                        Ok(Opened::KeyUpdateRequested) => self.answer_key_update(cx)?,
                        Ok(Opened::CloseNotify) => self.course = Course::Last { farewell: false },
                        Ok(Opened::Alert(_)) => return Err(Gone),
                        Err(error) => return self.misbehaved(cx, error.alert()).map(|()| wire.len()),
                    }
                }
            }
        }
        if let Course::Last { .. } = self.course {
            return Ok(wire.len());
        }
        Ok(used)
    }

    fn take_text<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        let mut text = std::mem::take(&mut self.text);
        let used = self.serve(cx, text.bytes());
        cx.stashes.consume(&mut text, *used.as_ref().unwrap_or(&0));
        self.text = text;
        used.map(drop)
    }

    /// Whether the next request can be looked at now.
    fn is_hungry(&self) -> bool {
        self.activity == Activity::Receiving
            && self.rest.is_none()
            && !matches!(self.course, Course::Last { .. })
    }

    fn negotiate<B: Backend>(&mut self, cx: &mut Context<'_, B>, bytes: &[u8]) -> Result<(), Gone> {
        let Layer::Handshake(handshake) = std::mem::replace(&mut self.layer, Layer::Plain) else {
            return Err(Gone);
        };
        let step = handshake.on_bytes(bytes, cx.flight);
        if !cx.flight.is_empty() {
            // Without a buffer to answer in there is no use in going on.
            let tx = cx.ring.tx().ok_or(Gone)?;
            let output = self.output.get_or_insert_with(|| Output::new(tx));
            let whole = output.raw(cx.flight);
            cx.flight.clear();
            if !whole {
                return Err(Gone);
            }
        }
        match step {
            Step::More(handshake) => self.layer = Layer::Handshake(handshake),
            Step::Done(established) => {
                cx.counts.handshakes += 1;
                self.layer = Layer::Tls(Box::new(established.records));
                cx.stashes.append(&mut self.wire, &established.rest)?;
                // A first request often comes with the end of the handshake; its answer may leave with ours.
                self.take_stashed(cx)?;
            }
            Step::Failed(HandshakeError::PlainHttp) => {
                self.refuse(cx, &NOT_TLS)?;
            }
            // The alert is in the output, if there is one.
            Step::Failed(_) => self.course = Course::Last { farewell: true },
        }
        Ok(())
    }

    /// The peer broke the rules of TLS: tell it, and go.
    fn misbehaved<B: Backend>(&mut self, cx: &mut Context<'_, B>, alert: Option<Alert>) -> Result<(), Gone> {
        self.course = Course::Last { farewell: true };
        self.rest = None;
        match alert {
            Some(alert) => self.put(cx, |output, layer| output.alert(layer, alert)).map(drop),
            None => Err(Gone),
        }
    }

    fn answer_key_update<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        // Without room it would have to be remembered; a peer that asks while it does not read can go.
        if self.put(cx, Output::key_update)? { Ok(()) } else { Err(Gone) }
    }

    // Requests.

    /// Works on text; returns how much of it is done with. The rest is the start of something, or has to wait.
    fn serve<B: Backend>(&mut self, cx: &mut Context<'_, B>, text: &[u8]) -> Result<usize, Gone> {
        let mut used = 0;
        while self.is_hungry() && used < text.len() {
            let rest = &text[used..];
            match &mut self.course {
                Course::Skip(drain) => match drain.feed(rest) {
                    Ok((skipped, done)) => {
                        used += skipped;
                        if done {
                            self.course = Course::Head;
                        }
                    }
                    Err(rejection) if self.refuse(cx, &rejection)? => {}
                    Err(_) => break,
                },
                Course::Head => match h1::parse_from(rest, self.scanned, &cx.limits.http) {
                    Ok(Some(head)) => {
                        let Some(len) = self.respond(cx, &head)? else { break };
                        self.scanned = 0;
                        used += len;
                    }
                    Ok(None) => {
                        self.scanned = rest.len();
                        break;
                    }
                    Err(rejection) if self.refuse(cx, &rejection)? => {}
                    Err(_) => break,
                },
                Course::Last { .. } => break,
            }
        }
        Ok(if let Course::Last { .. } = self.course { text.len() } else { used })
    }

    /// Answers one request; `None` when it has to wait. Returns the length of its head.
    fn respond<B: Backend>(
        &mut self,
        cx: &mut Context<'_, B>,
        head: &h1::Head<'_>,
    ) -> Result<Option<usize>, Gone> {
        let drain = match Drain::new(head.body, &cx.limits.http) {
            Ok(drain) => drain,
            Err(rejection) => return Ok(self.refuse(cx, &rejection)?.then_some(head.len)),
        };
        // RFC 9110 §10.1.1: a final answer instead of 100 means that the body is not wanted; whether it comes all the
        // same cannot be known, so the connection ends.
        let refused_body = head.expect_continue && head.body != Framing::None;
        let close = !head.keep_alive || refused_body || cx.stopping;

        let Some(output) = take_output(&mut self.output, cx.ring) else {
            self.starve(cx);
            return Ok(None);
        };
        let outcome = match cx.site.route(&head.request) {
            Route::Reply(reply) => write(output, &mut self.layer, cx.date, head.version, close, &reply),
            Route::File(file) => match cx.cache.get(file, cx.key) {
                Found::Ready(loaded) => {
                    let reply = loaded.respond(&head.request);
                    write(output, &mut self.layer, cx.date, head.version, close, &reply)
                }
                Found::Later => {
                    self.activity = Activity::Loading;
                    self.waits += 1;
                    return Ok(None);
                }
                Found::Failed(kind) => {
                    let missing = kind == std::io::ErrorKind::NotFound;
                    let rejection = if missing { &VANISHED } else { &UNREADABLE };
                    return Ok(self.refuse(cx, rejection)?.then_some(head.len));
                }
            },
        };
        match outcome {
            Written::All => {}
            Written::Part(rest) => self.rest = Some(rest),
            Written::Full => {
                // What is gathered goes first; the request is read again after that.
                self.flush(cx)?;
                return Ok(None);
            }
            Written::Failed => return Err(Gone),
        }
        self.requests += 1;
        cx.counts.requests += 1;
        match drain {
            _ if close => self.course = Course::Last { farewell: false },
            Some(drain) => self.course = Course::Skip(drain),
            None => {}
        }
        if self.rest.is_some() {
            self.flush(cx)?;
        }
        Ok(Some(head.len))
    }

    /// Refuses a request, after which the connection ends. `false`: there was no room; what is gathered goes first.
    fn refuse<B: Backend>(&mut self, cx: &mut Context<'_, B>, rejection: &Rejection) -> Result<bool, Gone> {
        let date = cx.date;
        if !self.put(cx, |output, layer| output.rejection(layer, rejection, date))? {
            self.flush(cx)?;
            return Ok(false);
        }
        self.course = Course::Last { farewell: false };
        self.scanned = 0;
        cx.counts.requests += 1;
        Ok(true)
    }

    /// Lets `write` put something into the output. `false`: there was no room.
    fn put<B: Backend>(
        &mut self,
        cx: &mut Context<'_, B>,
        write: impl FnOnce(&mut Output, &mut Layer) -> Result<bool, sitar_tls::RecordError>,
    ) -> Result<bool, Gone> {
        let output = take_output(&mut self.output, cx.ring).ok_or(Gone)?;
        write(output, &mut self.layer).map_err(|_| Gone)
    }

    // Bytes out.

    /// Goes on with a body that did not fit.
    fn send_rest<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        let Some(rest) = self.rest.take() else { return Ok(()) };
        let Some(mut tx) = cx.ring.tx() else {
            self.rest = Some(rest);
            self.starve(cx);
            return Ok(());
        };
        if let Rest::File(file, range) = rest {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(READ_LEN);
            tx.set_filled(0);
            cx.ring.read(&file, range.start, Into::Tx(tx, 0..len), cx.key).map_err(|_| Gone)?;
            self.rest = Some(Rest::File(file, range));
            self.activity = Activity::Reading;
            self.waits += 1;
            return Ok(());
        }
        let mut output = Output::new(tx);
        self.rest = continue_body(&mut output, &mut self.layer, rest).map_err(|_| Gone)?;
        self.output = Some(output);
        if self.rest.is_some() {
            self.flush(cx)?;
        }
        Ok(())
    }

    /// Sends what has been gathered.
    fn flush<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        let Some(output) = self.output.take().filter(|output| !output.is_empty()) else { return Ok(()) };
        let src = output.finish(&mut self.layer).map_err(|_| Gone)?;
        self.send(cx, src)
    }

    fn send<B: Backend>(&mut self, cx: &mut Context<'_, B>, src: Src) -> Result<(), Gone> {
        self.sent = 0;
        self.activity = Activity::Sending;
        self.waits += 1;
        cx.ring.send(&self.conn, src, 0).map_err(|_| Gone)?;
        self.be_patient(cx);
        Ok(())
    }

    fn starve<B: Backend>(&mut self, cx: &mut Context<'_, B>) {
        self.activity = Activity::Starved;
        self.waits += 1;
        cx.starved.push(cx.key);
    }

    /// The end of every event: sends what was gathered, says farewell, minds the inflow and the clock.
    fn settle<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        if self.activity == Activity::Receiving && self.rest.is_none() {
            if self.inflow == Inflow::Ended && !matches!(self.course, Course::Last { .. }) {
                // The peer asked, and then closed its side: all answers that it will get have been gathered.
                self.course = Course::Last { farewell: false };
            }
            if let Course::Last { .. } = self.course {
                self.finish(cx)?;
            }
        }
        self.flush(cx)?;
        match self.inflow {
            Inflow::Armed if self.wire.len() > PAUSE_AT => {
                self.inflow = Inflow::Paused;
                cx.ring.stop_recv(&self.conn);
            }
            Inflow::Paused if self.wire.len() <= PAUSE_AT / 2 || self.activity == Activity::Lingering => {
                self.inflow = Inflow::Armed;
                cx.ring.recv(&self.conn).map_err(|_| Gone)?;
            }
            _ => {}
        }
        self.be_patient(cx);
        Ok(())
    }

    /// Everything has been answered: close_notify, then FIN, then wait for the peer's.
    fn finish<B: Backend>(&mut self, cx: &mut Context<'_, B>) -> Result<(), Gone> {
        if let Course::Last { farewell: farewell @ false } = &mut self.course {
            *farewell = true;
            if let Layer::Tls(_) = self.layer {
                // No room: what is gathered goes first, and this comes back here.
                if !self.put(cx, |output, layer| output.alert(layer, Alert::CloseNotify))? {
                    self.course = Course::Last { farewell: false };
                }
            }
        }
        self.flush(cx)?;
        if self.activity != Activity::Receiving {
            return Ok(());
        }
        if self.inflow == Inflow::Ended {
            return Err(Gone);
        }
        cx.ring.shutdown(&self.conn).map_err(|_| Gone)?;
        self.activity = Activity::Lingering;
        cx.stashes.release(&mut self.wire);
        cx.stashes.release(&mut self.text);
        Ok(())
    }

    /// Sets the deadline for what is waited for now.
    fn be_patient<B: Backend>(&mut self, cx: &Context<'_, B>) {
        let limits = cx.limits;
        let (patience, span) = match (self.activity, &self.layer) {
            (Activity::Lingering, _) => (Patience::Linger, limits.linger),
            // Its deadline was set when the connection came, for the whole of it.
            (_, Layer::Handshake(_)) => (Patience::Handshake, Duration::ZERO),
            (Activity::Receiving, _) => match &self.course {
                Course::Head if self.wire.is_empty() && self.text.is_empty() => {
                    (Patience::Idle(self.requests), limits.idle)
                }
                _ => (Patience::Request(self.requests), limits.head),
            },
            (Activity::Sending | Activity::Starved | Activity::Loading | Activity::Reading, _) => {
                (Patience::Busy(self.waits), limits.send)
            }
        };
        if patience != self.patience {
            self.patience = patience;
            self.deadline = cx.now + span;
        }
    }
}

/// The output being filled, begun if need be and possible.
fn take_output<'o, B: Backend>(output: &'o mut Option<Output>, ring: &mut Ring<B>) -> Option<&'o mut Output> {
    if output.is_none() {
        *output = ring.tx().map(Output::new);
    }
    output.as_mut()
}

enum Written {
    All,
    /// The head and some of the body.
    Part(Rest),
    /// Nothing: no room.
    Full,
    Failed,
}

/// Writes a reply, as much of it as there is room for.
fn write(
    output: &mut Output,
    layer: &mut Layer,
    date: &[u8; 29],
    version: Version,
    close: bool,
    reply: &Reply<'_>,
) -> Written {
    let answer = Answer {
        version,
        status: reply.status,
        date,
        fields: reply.fields,
        more: &reply.more,
        content_length: reply.content_length,
        close,
    };
    match output.head(layer, &answer) {
        Ok(true) => {}
        Ok(false) => return Written::Full,
        Err(_) => return Written::Failed,
    }
    let rest = match &reply.body {
        Body::Empty => return Written::All,
        Body::Static(bytes) => output.body(layer, bytes).map(|taken| {
            let rest = &bytes[taken..];
            (!rest.is_empty()).then_some(Rest::Static(rest))
        }),
        Body::Memory { region, range } => output.region(layer, region, range).map(|taken| {
            let range = range.start + taken..range.end;
            (!range.is_empty()).then(|| Rest::Region((*region).clone(), range))
        }),
        Body::File { file, range } => {
            Ok((!range.is_empty()).then(|| Rest::File((*file).clone(), range.clone())))
        }
    };
    match rest {
        Ok(None) => Written::All,
        Ok(Some(rest)) => Written::Part(rest),
        Err(_) => Written::Failed,
    }
}

/// Puts as much of the rest of a body into `output` as fits, and returns what is left of it.
fn continue_body(
    output: &mut Output,
    layer: &mut Layer,
    rest: Rest,
) -> Result<Option<Rest>, sitar_tls::RecordError> {
    Ok(match rest {
        Rest::Static(bytes) => {
            let bytes = &bytes[output.body(layer, bytes)?..];
            (!bytes.is_empty()).then_some(Rest::Static(bytes))
        }
        Rest::Region(region, range) => {
            let range = range.start + output.region(layer, &region, &range)?..range.end;
            (!range.is_empty()).then_some(Rest::Region(region, range))
        }
        Rest::File(..) => Some(rest),
    })
}

/// RFC 9110 §15.5.9.
const TOO_SLOW: Rejection =
    Rejection { status: Status::REQUEST_TIMEOUT, reason: "the request took too long to arrive" };
const NOT_TLS: Rejection = Rejection {
    status: Status::BAD_REQUEST,
    reason: "this port speaks HTTPS, not HTTP: use an https:// address",
};
const VANISHED: Rejection = Rejection { status: Status::NOT_FOUND, reason: "the file is gone" };
const UNREADABLE: Rejection =
    Rejection { status: Status::INTERNAL_SERVER_ERROR, reason: "the file could not be read" };
