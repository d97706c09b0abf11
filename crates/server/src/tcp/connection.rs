//! One connection: a transport, and the protocol that is spoken on it.
//!
//! Events come in at the top (`on_…`), go through the transport to the protocol, and end in
//! [`settle`](Connection::settle), which sends what was gathered. The transport knows nothing of
//! requests, and a protocol nothing of records.

mod arrival;
mod end;
mod files;
pub(crate) mod held;

use std::time::Instant;

use sitar_http::h2::{self, Preface};
use sitar_http::{Rejection, Status};
use sitar_io::{Conn, Engine, Errno, ReadBuf, RecvEnd, RxBuf, SendBuf};
use sitar_tls::Handshake;

use self::arrival::ProxyHeader;
use super::http1::Http1;
use super::http2::Http2;
use super::refusal::{self, Refusal};
use super::transport::output::Put;
use super::transport::{Arrival, Asked, Negotiated, Opened, Sent, Transport, Wait};
use crate::close::{Close, PeerReason, Timeout};
use crate::limits::Limits;
use crate::shard::addresses::Address;
use crate::shard::context::Context;
use crate::shard::handshakes::Turn;
use crate::shard::quota::Charge;
use crate::snapshot::Listener;

const NOT_TLS: Rejection = Rejection {
    status: Status::BAD_REQUEST,
    reason: "this port speaks HTTPS, not HTTP: use an https:// address",
};

/// The protocol that is spoken on a connection.
#[expect(clippy::large_enum_variant, reason = "a box for HTTP/1 would be one allocation for each connection")]
enum Protocol {
    /// Nothing has come yet, or too little to tell.
    Undecided,
    Http1(Http1),
    Http2(Box<Http2>),
}

pub(crate) struct Connection {
    io: Transport,
    protocol: Protocol,
    /// What the handshake or the protocol holds; input that waits is charged by itself.
    charge: Charge,
    /// The peer, as far as it has been told.
    pub(crate) address: Address,
    header: ProxyHeader,
}

impl Connection {
    /// A connection that has just been accepted; `tls` is where its handshake starts.
    pub(crate) fn new(
        conn: Conn,
        listener: &Listener,
        tls: Option<Handshake>,
        now: Instant,
        limits: &Limits,
    ) -> Connection {
        let io = Transport::new(conn, listener.role(), tls, now, limits);
        let (protocol, charge) = (Protocol::Undecided, Charge::default());
        let header = ProxyHeader::new(listener);
        Connection { io, protocol, charge, address: Address::ASKED, header }
    }

    /// Returns when [`on_timer`](Connection::on_timer) is to be called.
    pub(crate) fn deadline(&self) -> Instant {
        let next = self.io.deadline();
        self.protocol.deadline().map_or(next, |other| other.min(next))
    }

    /// Returns why it ends, if the reason at last was `last`.
    pub(crate) fn why(&self, last: Close) -> Close {
        self.io.why(last)
    }

    // Events.

    /// Bytes from the peer. The buffer is given back before this returns.
    pub(crate) fn on_recv<E: Engine>(&mut self, cx: &mut Context<E>, mut buf: RxBuf) -> Result<(), Close> {
        if self.awaits_header() {
            return self.on_header(cx, &buf);
        }
        match self.io.on_recv(&mut cx.shared, &buf)? {
            Arrival::Discarded => return Ok(()),
            Arrival::PutAside => {}
            Arrival::Appended => self.work_on_aside(cx)?,
            Arrival::Direct => {
                let used = self.work_on_wire(cx, &mut buf)?;
                self.io.put_wire_aside(&mut cx.shared, &buf[used..])?;
            }
        }
        self.settle(cx)
    }

    /// The ring has stopped receiving.
    pub(crate) fn on_recv_ended<E: Engine>(
        &mut self,
        cx: &mut Context<E>,
        end: RecvEnd,
    ) -> Result<(), Close> {
        self.io.on_recv_ended(&mut cx.shared, end)?;
        if !matches!(end, RecvEnd::Eof) {
            return Ok(());
        }
        // What has been asked completely is answered; half a request, or silence, is the end.
        match &self.protocol {
            _ if self.io.waits_for_peer_close() => Err(Close::Done),
            Protocol::Http2(_) if self.io.is_receiving() => self.settle(cx),
            _ if !self.io.is_receiving() => Ok(()),
            _ if self.awaits_header() || self.io.is_handshaking() || !self.is_idle() => {
                Err(Close::Peer(PeerReason::Left))
            }
            _ => Err(Close::Done),
        }
    }

    /// A send has ended; `buf` is what was sent, if the ring has not got it back already.
    pub(crate) fn on_sent<E: Engine>(
        &mut self,
        cx: &mut Context<E>,
        buf: Option<SendBuf>,
        result: Result<usize, Errno>,
    ) -> Result<(), Close> {
        match self.io.on_sent(&mut cx.shared, buf, result)? {
            Sent::Waits => Ok(()),
            Sent::Large if self.protocol.has_more(&self.io) => self.io.wait_for_room(&mut cx.shared),
            Sent::Large | Sent::Small => self.go_on(cx),
        }
    }

    /// The socket has room.
    pub(crate) fn on_writable<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if self.io.end_room_wait() { self.go_on(cx) } else { Ok(()) }
    }

    /// A part of a large file has been read.
    pub(crate) fn on_read<E: Engine>(
        &mut self,
        cx: &mut Context<E>,
        buf: ReadBuf,
        result: Result<usize, Errno>,
    ) -> Result<(), Close> {
        let Connection { io, protocol, .. } = self;
        match protocol {
            Protocol::Undecided => Err(Close::Ours("a read before any request")),
            Protocol::Http2(http2) => {
                http2.on_read(io, &mut cx.shared, buf, result)?;
                self.go_on(cx)
            }
            Protocol::Http1(http1) => {
                http1.on_read(io, &mut cx.shared, buf, result)?;
                if !io.is_receiving() {
                    return Ok(());
                }
                if http1.is_free() {
                    // What was asked meanwhile may leave with the end of this body; and if the peer
                    // has finished sending, it must be answered before the connection counts as
                    // done.
                    self.work_on_aside(cx)?;
                }
                self.settle(cx)
            }
        }
    }

    /// A file that this connection waits for has been loaded, or could not be.
    pub(crate) fn on_loaded<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let mut resumes = self.io.end_load();
        if let Protocol::Http2(http2) = &mut self.protocol {
            http2.on_loaded();
            resumes |= self.io.is_receiving();
        }
        if resumes { self.go_on(cx) } else { Ok(()) }
    }

    /// There may be a send buffer now.
    pub(crate) fn on_buffers<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if self.io.end_buffer_wait() { self.go_on(cx) } else { Ok(()) }
    }

    /// It is its turn to negotiate.
    pub(crate) fn on_turn<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if self.io.end_turn_wait() { self.go_on(cx) } else { Ok(()) }
    }

    /// The kernel has set a socket option, or has not.
    pub(crate) fn on_opt_set<E: Engine>(
        &mut self,
        cx: &mut Context<E>,
        result: Result<(), Errno>,
    ) -> Result<(), Close> {
        match self.io.on_opt_set(&mut cx.shared, result)? {
            Asked::Settled => self.go_on(cx),
            Asked::Again => Ok(()),
        }
    }

    /// The kernel has said how much the peer has not acknowledged.
    pub(crate) fn on_unacked<E: Engine>(
        &mut self,
        cx: &mut Context<E>,
        result: Result<usize, Errno>,
    ) -> Result<(), Close> {
        self.io.on_unacked(&cx.shared, result)
    }

    /// The deadline may have passed.
    pub(crate) fn on_timer<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let Connection { io, protocol, .. } = self;
        let now = cx.shared.now;
        let is_open = !io.is_ending() && !io.waits_for_kernel();
        let is_due = protocol.deadline().is_some_and(|deadline| deadline <= now);
        match protocol {
            Protocol::Http2(http2) if is_open && (is_due || io.is_late(now)) => {
                http2.on_time(io, &mut cx.shared)?;
                self.settle(cx)
            }
            _ if !io.is_late(now) => {
                io.fold_if_due(now);
                Ok(())
            }
            _ if !io.is_ending() && matches!(io.timeout(), Timeout::Request | Timeout::Idle) => {
                let more = protocol.has_more(io);
                match protocol {
                    Protocol::Http1(http1) => http1.on_late(io, &mut cx.shared)?,
                    Protocol::Undecided | Protocol::Http2(_) => refusal::late(io, &mut cx.shared, more)?,
                }
                self.settle(cx)
            }
            _ if io.waits_for_kernel() => {
                io.on_kernel_timeout(now)?;
                self.settle(cx)
            }
            _ => Err(Close::Timeout(io.timeout())),
        }
    }

    /// The server drains: HTTP/2 hears so at once, HTTP/1 with the next answer.
    pub(crate) fn on_drain<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if let Protocol::Http2(_) = self.protocol { self.settle(cx) } else { Ok(()) }
    }

    /// The server stops: connections that wait for a request, or for the rest of one, end; what was
    /// asked for is answered.
    pub(crate) fn on_stop<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        if self.io.is_handshaking() || self.awaits_header() {
            return Err(Close::Operator);
        }
        let waits = !self.is_answering() && !self.io.is_ending() && self.protocol.is_between_bodies();
        self.io.note_stop(waits);
        self.settle(cx)
    }

    /// Whether a stop waits for this connection because of an answer: not while it waits for a
    /// request, negotiates or waits for the peer's FIN.
    pub(crate) fn is_answering(&self) -> bool {
        let Connection { io, protocol, .. } = self;
        // What it sends is its farewell.
        if io.has_asked_nothing() || io.is_handshaking() || io.waits_for_peer_close() {
            return false;
        }
        if io.waits_for_kernel() {
            return !io.is_ending();
        }
        !io.is_receiving() || protocol.is_answering()
    }

    // Bytes in.

    /// Works on what was put aside.
    fn work_on_aside<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let mut wire = self.io.take_wire();
        let used = self.work_on_wire(cx, wire.bytes_mut());
        self.io.return_wire(&mut cx.shared, wire, *used.as_ref().unwrap_or(&0))?;
        used.map(drop)
    }

    /// Works on bytes off the wire as long as nothing else is to be waited for; returns how many it
    /// has used.
    fn work_on_wire<E: Engine>(&mut self, cx: &mut Context<E>, wire: &mut [u8]) -> Result<usize, Close> {
        if self.io.has_text() {
            self.work_on_text(cx)?;
        }
        let mut used = 0;
        while self.is_free() && used < wire.len() {
            match self.io.open(&mut cx.shared, &mut wire[used..])? {
                Opened::Plain => return Ok(used + self.on_text(cx, &wire[used..])?),
                Opened::Text { used: record, text } => {
                    used += record;
                    if self.io.has_text() {
                        self.io.put_text_aside(&mut cx.shared, text)?;
                        self.work_on_text(cx)?;
                    } else {
                        let done = self.on_text(cx, text)?;
                        self.io.put_text_aside(&mut cx.shared, &text[done..])?;
                    }
                }
                Opened::Nothing { used: record } => used += record,
                Opened::Partial => break,
                Opened::Handshake if cx.shared.handshakes.turn == Turn::Others => {
                    self.io.wait_for_turn(&mut cx.shared);
                }
                Opened::Handshake => {
                    self.negotiate(cx, &wire[used..])?;
                    return Ok(wire.len());
                }
                Opened::CloseNotify => {
                    // As at the end of TCP's stream, what the peer has asked for is answered.
                    match &self.protocol {
                        Protocol::Http2(_) => self.io.end_input(),
                        Protocol::Undecided | Protocol::Http1(_) => self.io.end(Close::Done),
                    }
                    return Ok(wire.len());
                }
                Opened::Broken => return Ok(wire.len()),
            }
        }
        Ok(if self.io.is_ending() { wire.len() } else { used })
    }

    /// Works on text that was put aside.
    fn work_on_text<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let text = self.io.take_text();
        let used = self.on_text(cx, text.bytes());
        self.io.return_text(&mut cx.shared, text, *used.as_ref().unwrap_or(&0));
        used.map(drop)
    }

    /// Works on text; returns how much of it is done with. The rest is the start of something, or
    /// has to wait.
    fn on_text<E: Engine>(&mut self, cx: &mut Context<E>, text: &[u8]) -> Result<usize, Close> {
        let Connection { io, protocol, .. } = self;
        if let Protocol::Undecided = protocol {
            *protocol = match h2::check_preface(text) {
                _ if !cx.shared.limits.http2 => Protocol::Http1(Http1::default()),
                Preface::Partial => return Ok(0),
                Preface::Whole => Protocol::Http2(Box::new(Http2::new(&mut cx.shared))),
                Preface::Other => Protocol::Http1(Http1::default()),
            };
        }
        match protocol {
            Protocol::Undecided => Ok(0),
            Protocol::Http1(http1) => http1.on_text(io, cx, text),
            Protocol::Http2(http2) => http2.on_text(io, cx, text),
        }
    }

    fn negotiate<E: Engine>(&mut self, cx: &mut Context<E>, bytes: &[u8]) -> Result<(), Close> {
        match self.io.negotiate(&mut cx.shared, bytes)? {
            Negotiated::More | Negotiated::Failed => Ok(()),
            Negotiated::Answered => {
                // RFC 8737 §3: nothing but the certificate is for the authority, whatever it sends.
                self.protocol = Protocol::Http1(Http1::default());
                self.io.end(Close::Done);
                Ok(())
            }
            Negotiated::PlainHttp { head_only } => {
                let more = self.protocol.has_more(&self.io);
                let refusal = Refusal::unread(&NOT_TLS, head_only);
                match refusal::refuse(&mut self.io, &mut cx.shared, &refusal, more)? {
                    Put::Done => Ok(()),
                    // Nothing comes in after a failed handshake, so nothing else would end it.
                    Put::NoRoom => Err(Close::Ours("a refusal longer than a buffer")),
                }
            }
            Negotiated::Done { alpn, server_name, names, client_ca, rest } => {
                if cx.served.has_names() {
                    self.io.origin().learn(server_name, names, client_ca);
                }
                self.protocol = match alpn.as_deref() {
                    Some(b"h2") => Protocol::Http2(Box::new(Http2::new(&mut cx.shared))),
                    _ => Protocol::Http1(Http1::default()),
                };
                self.io.put_wire_aside(&mut cx.shared, &rest)?;
                // A first request often comes with the end of the handshake; its answer may leave
                // with ours.
                self.work_on_aside(cx)
            }
        }
    }

    // Bytes out.

    /// Continues after something was waited for.
    fn go_on<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let Connection { io, protocol, .. } = self;
        match protocol {
            Protocol::Undecided => {}
            Protocol::Http1(http1) => http1.resume(io, &mut cx.shared)?,
            Protocol::Http2(http2) => http2.resume(io, cx)?,
        }
        if io.is_receiving() && protocol.is_free() {
            self.work_on_aside(cx)?;
        }
        self.settle(cx)
    }

    /// The end of every event: sends what was gathered, or ends the connection, and sets the
    /// deadline.
    fn settle<E: Engine>(&mut self, cx: &mut Context<E>) -> Result<(), Close> {
        let Connection { io, protocol, .. } = self;
        if let Protocol::Http2(http2) = protocol {
            http2.resume_files(io, cx)?;
            http2.produce(io, &mut cx.shared)?;
            http2.refund_files(&mut cx.files);
        }
        let cx = &mut cx.shared;
        if io.is_receiving() && protocol.is_free() {
            let is_http2 = matches!(protocol, Protocol::Http2(_));
            // The peer asked and then closed its side, or the server stops: all that was asked for
            // has been gathered, and half a request is none. Not before the kernel has answered:
            // until then nothing that was asked has been looked at.
            let is_over = io.has_input_ended() || cx.is_stopping();
            if is_over && !is_http2 && io.is_keyed() && !io.is_ending() {
                io.end(if io.has_input_ended() { Close::Done } else { Close::Operator });
            }
            if io.is_ending() {
                let more = protocol.has_more(io);
                io.finish(cx, more, is_http2)?;
            }
        }
        if io.has_output() {
            let more = protocol.has_more(io);
            io.flush(cx, more)?;
        } else {
            io.drop_output();
        }
        io.settle_kernel(cx)?;
        io.adjust_receiving(cx)?;
        if io.is_receiving() {
            let wait = protocol.wait(io);
            io.arm_input_timeout(cx, wait);
        } else {
            io.arm_timeout(cx);
        }
        Ok(())
    }

    /// Whether the next request can be looked at now.
    fn is_free(&self) -> bool {
        self.io.takes_requests() && self.protocol.is_free()
    }

    /// Whether nothing of a further request has come.
    fn is_idle(&self) -> bool {
        self.io.has_nothing_aside() && self.protocol.is_between_bodies()
    }
}

impl Protocol {
    /// Whether the next request may be looked at.
    fn is_free(&self) -> bool {
        if let Protocol::Http1(http1) = self { http1.is_free() } else { true }
    }

    /// Whether the next bytes begin or continue a request head.
    fn is_between_bodies(&self) -> bool {
        if let Protocol::Http1(http1) = self { http1.is_between_bodies() } else { true }
    }

    /// Whether an answer is under way although input is waited for.
    fn is_answering(&self) -> bool {
        match self {
            Protocol::Undecided => false,
            Protocol::Http1(http1) => !http1.is_free(),
            Protocol::Http2(http2) => http2.is_answering(),
        }
    }

    /// Whether there is more to send for which a send buffer is filled.
    fn has_more(&mut self, io: &Transport) -> bool {
        match self {
            Protocol::Undecided => !io.has_nothing_aside(),
            Protocol::Http1(http1) => http1.has_more(io),
            Protocol::Http2(http2) => http2.has_more(),
        }
    }

    /// Returns what is waited for, while that is input.
    fn wait(&self, io: &Transport) -> Wait {
        match self {
            Protocol::Undecided => Http1::default().wait(io),
            Protocol::Http1(http1) => http1.wait(io),
            Protocol::Http2(http2) => http2.wait(io),
        }
    }

    /// Returns when it has something to do of its own accord.
    fn deadline(&self) -> Option<Instant> {
        if let Protocol::Http2(http2) = self { http2.deadline() } else { None }
    }
}
