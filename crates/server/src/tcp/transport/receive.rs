//! What comes in: records opened, requests read and answered.

use sitar_http::h1::{self, BodyDrain, Drained, Framing, Rejection};
use sitar_http::{Method, Status};
use sitar_io::Engine;
use sitar_tls::{Alert, Frame, HandshakeError, HandshakeStep, Opened};

use crate::content::lookup::{Found, look_up};
use crate::shard::context::{Context, Gone};
use crate::tcp::Turn;
use crate::tcp::connection::{Activity, Connection, Course, Inflow};
use crate::tcp::http1::{Written, write};
use crate::tcp::http2::Speech;
use crate::tcp::transport::key_limits::is_worn;
use crate::tcp::transport::output::{Layer, Output};

impl Connection {
    /// Works on what was put aside.
    pub(in crate::tcp) fn take_stashed<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
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
    pub(in crate::tcp) fn take_wire<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        wire: &mut [u8],
    ) -> Result<usize, Gone> {
        if !self.text.is_empty() {
            self.take_text(cx)?;
        }
        let mut used = 0;
        while self.is_hungry() && used < wire.len() {
            match &mut self.layer {
                Layer::Plain => return Ok(used + self.serve(cx, &wire[used..])?),
                Layer::Handshake(_) if cx.turn == Turn::Others => self.queue(cx),
                Layer::Handshake(_) => {
                    self.negotiate(cx, &wire[used..])?;
                    return Ok(wire.len());
                }
                Layer::Tls(records) | Layer::Kernel(records) => {
                    let len = match records.frame(&wire[used..]) {
                        Ok(Frame::Whole(len)) => len,
                        Ok(Frame::Incomplete { .. }) => break,
                        Err(error) => return self.misbehaved(error.alert()).map(|()| wire.len()),
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
                        Ok(Opened::CloseNotify) => {
                            self.on_close_notify();
                            return Ok(wire.len());
                        }
                        Ok(Opened::Alert(_)) => return Err(Gone),
                        Err(error) => return self.misbehaved(error.alert()).map(|()| wire.len()),
                    }
                }
            }
        }
        if let Course::Last { .. } = self.course {
            return Ok(wire.len());
        }
        Ok(used)
    }

    fn take_text<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        let mut text = std::mem::take(&mut self.text);
        let used = self.serve(cx, text.bytes());
        cx.stashes.consume(&mut text, *used.as_ref().unwrap_or(&0));
        self.text = text;
        used.map(drop)
    }

    /// The peer will send nothing more. As at the end of TCP's stream, what it has asked for is answered.
    fn on_close_notify(&mut self) {
        match self.speech {
            Speech::Http2(_) => self.inflow = Inflow::Ended,
            Speech::Unheard | Speech::Http1 => self.course = Course::END,
        }
    }

    /// Whether the next request can be looked at now.
    pub(in crate::tcp) fn is_hungry(&self) -> bool {
        self.activity == Activity::Receiving
            && self.rest.is_none()
            && self.is_keyed()
            && !matches!(self.course, Course::Last { .. })
    }

    fn negotiate<E: Engine>(&mut self, cx: &mut Context<'_, E>, bytes: &[u8]) -> Result<(), Gone> {
        let Layer::Handshake(handshake) = std::mem::replace(&mut self.layer, Layer::Plain) else {
            return Err(Gone);
        };
        let step = handshake.on_bytes(bytes, cx.flight);
        // What is answered has cost something; a piece of a message has not.
        if !cx.flight.is_empty() || !matches!(step, HandshakeStep::More(_)) {
            *cx.handshake_steps += 1;
        }
        if !cx.flight.is_empty() {
            // Without a buffer to answer in there is no use in going on.
            let tx = cx.ring.take_tx().ok_or(Gone)?;
            let output = self.output.get_or_insert_with(|| Output::new(tx));
            let whole = output.raw(cx.flight);
            cx.flight.clear();
            if !whole {
                return Err(Gone);
            }
        }
        match step {
            HandshakeStep::More(handshake) => self.layer = Layer::Handshake(handshake),
            HandshakeStep::Done(established) => {
                cx.counts.handshakes += 1;
                self.layer = Layer::Tls(established.records);
                self.want_kernel(cx.offload);
                self.agree(cx, established.alpn.as_deref());
                cx.stashes.append(&mut self.wire, &established.rest)?;
                // A first request often comes with the end of the handshake; its answer may leave with ours.
                self.take_stashed(cx)?;
            }
            HandshakeStep::Failed(HandshakeError::PlainHttp { head }) => {
                self.refuse(cx, &NOT_TLS, head)?;
            }
            // The alert is in the output, if there is one.
            HandshakeStep::Failed(_) => self.course = Course::END_SAID,
        }
        Ok(())
    }

    /// The peer broke the rules of TLS: tell it, and go.
    fn misbehaved(&mut self, alert: Option<Alert>) -> Result<(), Gone> {
        // It leaves behind what has been gathered, as every last alert.
        self.course = Course::Last { alert: Some(alert.ok_or(Gone)?) };
        self.rest = None;
        Ok(())
    }

    fn answer_key_update<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if let Layer::Kernel(_) = self.layer {
            self.update_kernel(cx.offload);
            return Ok(());
        }
        // Without room it would have to be remembered; a peer that asks while it does not read can go.
        if self.put(cx, Output::key_update)? { Ok(()) } else { Err(Gone) }
    }

    // Requests.

    /// Works on text; returns how much of it is done with. The rest is the start of something, or has to wait.
    fn serve<E: Engine>(&mut self, cx: &mut Context<'_, E>, text: &[u8]) -> Result<usize, Gone> {
        if !self.hear(cx, text) {
            return Ok(0);
        }
        if let Speech::Http2(_) = self.speech {
            return self.serve_streams(cx, text);
        }
        let mut used = 0;
        while self.is_hungry() && used < text.len() {
            let rest = &text[used..];
            match &mut self.course {
                Course::Skip(drain) => match drain.feed(rest) {
                    Ok(Drained::Part) => used = text.len(),
                    Ok(Drained::Whole(skipped)) => {
                        used += skipped;
                        self.course = Course::Head;
                    }
                    // The request that this body belongs to has its answer. A second one would be
                    // taken for the answer to the next request, which a proxy may have sent for
                    // another client.
                    Err(_) => self.course = Course::END,
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
                    Err(rejection) if self.reject(cx, &rejection, rest)? => {}
                    Err(_) => break,
                },
                Course::Last { .. } => break,
            }
        }
        Ok(if let Course::Last { .. } = self.course { text.len() } else { used })
    }

    /// Answers one request; `None` when it has to wait. Returns the length of its head.
    fn respond<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        head: &h1::RequestHead<'_>,
    ) -> Result<Option<usize>, Gone> {
        let head_only = head.request.method == Method::Head;
        let drain = match BodyDrain::new(head.body, &cx.limits.http) {
            Ok(drain) => drain,
            Err(rejection) => return Ok(self.refuse(cx, &rejection, head_only)?.then_some(head.len)),
        };
        // RFC 9110 §10.1.1: a final answer instead of 100 means that the body is not wanted; whether it comes all the
        // same cannot be known, so the connection ends.
        let refused_body = head.expect_continue && head.body != Framing::None;
        if self.needs_next_key(cx.offload)? {
            return Ok(None);
        }
        let close = !head.keep_alive || refused_body || cx.stopping || is_worn(&self.layer, cx.offload);

        if !self.begin_output(cx.ring, cx.now, cx.limits.reserve() / 2)? {
            self.starve(cx);
            return Ok(None);
        }
        let Some(output) = &mut self.output else { return Err(Gone) };
        let outcome = match look_up(cx.site, cx.cache, cx.key, &head.request) {
            Found::Reply(reply) => write(output, &mut self.layer, cx.date, head.version, close, &reply),
            Found::Later => {
                self.activity = Activity::Loading;
                self.waits += 1;
                return Ok(None);
            }
            Found::Refused(rejection) => {
                return Ok(self.refuse(cx, rejection, head_only)?.then_some(head.len));
            }
        };
        match outcome {
            Written::All => {}
            Written::Part(rest) => self.rest = Some(rest),
            // A head of at most `sitar_http::FIELDS_MAX` fits into an empty buffer.
            Written::Full if output.is_empty() => return Err(Gone),
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
            _ if close => self.course = Course::END,
            Some(drain) => self.course = Course::Skip(drain),
            None => {}
        }
        if self.rest.is_some() {
            self.flush(cx)?;
        }
        Ok(Some(head.len))
    }

    /// Ends the connection over `text`, which is no request: with a refusal, or in silence where
    /// nothing has been asked. `false`: there was no room; what is gathered goes first.
    fn reject<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        rejection: &Rejection,
        text: &[u8],
    ) -> Result<bool, Gone> {
        // Line ends behind an answered request: a refusal would be a second answer to it.
        if self.requests > 0 && !h1::begins_request(text) {
            self.course = Course::END;
            return Ok(true);
        }
        self.refuse(cx, rejection, h1::is_head(text))
    }

    /// The time for the next request, or for the rest of a body, is over.
    pub(in crate::tcp) fn on_late_request<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        // Where records are opened, a part of one is no request yet.
        let pending = if let Layer::Plain = self.layer { self.wire.bytes() } else { self.text.bytes() };
        match self.course {
            Course::Head if h1::begins_request(pending) => {
                let head_only = h1::is_head(pending);
                self.refuse(cx, &TOO_SLOW, head_only)?;
            }
            Course::Head | Course::Skip(_) => self.course = Course::END,
            Course::Last { .. } => {}
        }
        self.settle(cx)
    }

    /// Refuses a request, after which the connection ends. `false`: there was no room; what is gathered goes first.
    pub(in crate::tcp) fn refuse<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        rejection: &Rejection,
        head_only: bool,
    ) -> Result<bool, Gone> {
        let date = cx.date;
        if !self.put(cx, |output, layer| output.rejection(layer, rejection, date, head_only))? {
            self.flush(cx)?;
            return Ok(false);
        }
        self.course = Course::END;
        self.scanned = 0;
        cx.counts.requests += 1;
        Ok(true)
    }
}

/// RFC 9110 §15.5.9.
const TOO_SLOW: Rejection =
    Rejection { status: Status::REQUEST_TIMEOUT, reason: "the request took too long to arrive" };
const NOT_TLS: Rejection = Rejection {
    status: Status::BAD_REQUEST,
    reason: "this port speaks HTTPS, not HTTP: use an https:// address",
};
