//! HTTP/2 on a connection: requests as they come, answers as windows and priorities let them go.
//!
//! The rhythm is that of HTTP/1: while something is being sent or read, what the peer sends is put aside. So what came while a
//! buffer was under way is looked at together, and all that can be sent then fills the next one.

use std::ops::Range;
use std::time::Instant;

use sitar_http::h2::{self, ParkedRequest, Preface, ResponseHead, StreamRequest};
use sitar_http::{Method, Rejection};
use sitar_io::{Engine, Errno, ReadBuf, Ring, TxBuf};
use sitar_site::{Body, Reply};

use crate::content::cache::Cache;
use crate::content::lookup::{Found, look_up};
use crate::content::source::Source;
use crate::shard::context::{Context, Gone};
use crate::tcp::connection::{Activity, Connection, Course, Inflow, READ_LEN, STAGE_AT};
use crate::tcp::transport::input::Stashes;
use crate::tcp::transport::key_limits::{is_worn, mind_the_keys};
use crate::tcp::transport::output::{COPY_MAX, Output};
use crate::tcp::transport::timeout::Patience;

/// How a connection is spoken on.
pub(super) enum Speech {
    /// Nothing has come yet, in plain text.
    Unheard,
    Http1,
    Http2(Box<Streams>),
}

/// The content of a stream's answer, or a request that cannot be answered yet.
#[expect(clippy::large_enum_variant, reason = "nearly always a body")]
pub(crate) enum Content {
    /// The request is answered when its file has been loaded.
    Parked(Box<ParkedRequest>),
    Body {
        source: Source,
        /// What has been read of it ahead, from a file.
        read: Option<(TxBuf, Range<usize>)>,
    },
}

impl Content {
    fn of(source: Source) -> Content {
        Content::Body { source, read: None }
    }
}

impl h2::ContentSource for Content {
    fn ready(&self) -> usize {
        match self {
            Content::Parked(_) => 0,
            Content::Body { read: Some((_, part)), .. } => part.len(),
            Content::Body { source, read: None } => source.ready(),
        }
    }

    fn fill(&mut self, out: &mut [u8]) {
        let Content::Body { source, read } = self else { return };
        let Some((stage, part)) = read else { return source.fill(out) };
        out.copy_from_slice(&stage[part.start..part.start + out.len()]);
        part.start += out.len();
        source.advance(out.len());
        if part.start == part.end {
            *read = None;
        }
    }
}

/// A connection of HTTP/2.
pub(super) struct Streams {
    h2: h2::Connection<Content>,
    /// The stream whose file is being read, or was last.
    reading: u32,
    /// A file that a request waits for has come, or the site is another.
    news: bool,
    /// What is booked for requests that wait for a file: at least what they take.
    booked: usize,
}

impl Streams {
    fn new<E: Engine>(cx: &mut Context<'_, E>) -> Streams {
        let h2 = h2::Connection::new(&cx.limits.h2, cx.h2, cx.now);
        Streams { h2, reading: 0, news: false, booked: 0 }
    }

    /// Gives everything back to the shard.
    pub(super) fn end(mut self, shared: &mut h2::SharedBuffers<Content>, stashes: &mut Stashes) {
        stashes.unbook(&mut self.booked, 0);
        self.h2.release(shared);
    }

    pub(super) fn booked(&self) -> usize {
        self.booked
    }

    /// Keeps a request until its file has been loaded.
    fn park(&mut self, stashes: &mut Stashes, stream: u32, parked: Box<ParkedRequest>) -> Result<(), Gone> {
        let memory = parked.memory();
        self.h2.park(stream, Content::Parked(parked));
        Ok(stashes.book(&mut self.booked, memory)?)
    }

    /// How many requests wait for a file. Corrects what is booked for them: the peer may have taken some back.
    fn parked(&mut self, stashes: &mut Stashes) -> usize {
        if self.booked == 0 {
            return 0;
        }
        let (mut count, mut memory) = (0, 0);
        for content in self.h2.parked() {
            count += 1;
            memory += if let Content::Parked(parked) = content { parked.memory() } else { 0 };
        }
        stashes.unbook(&mut self.booked, memory);
        count
    }

    /// Whether there is something to send now.
    pub(super) fn has_more(&mut self) -> bool {
        self.h2.wants_send() || self.h2.next_unready().is_some()
    }

    fn drop_chunk(&mut self) {
        if let Some(Content::Body { read, .. }) = self.h2.content(self.reading) {
            *read = None;
        }
    }
}

impl Connection {
    /// The handshake has agreed on this protocol.
    pub(super) fn agree<E: Engine>(&mut self, cx: &mut Context<'_, E>, alpn: Option<&[u8]>) {
        self.speech = match alpn {
            Some(b"h2") => Speech::Http2(Box::new(Streams::new(cx))),
            _ => Speech::Http1,
        };
    }

    /// Looks at the first bytes of plain text. `false`: more are needed.
    pub(super) fn hear<E: Engine>(&mut self, cx: &mut Context<'_, E>, text: &[u8]) -> bool {
        let Speech::Unheard = self.speech else { return true };
        if !cx.limits.http2 {
            self.speech = Speech::Http1;
            return true;
        }
        self.speech = match h2::check_preface(text) {
            Preface::Partial => return false,
            Preface::Whole => Speech::Http2(Box::new(Streams::new(cx))),
            Preface::Other => Speech::Http1,
        };
        true
    }

    /// Lets `work` have both the connection and its streams; `None`: this is not HTTP/2.
    fn with_streams<R>(&mut self, work: impl FnOnce(&mut Self, &mut Streams) -> R) -> Option<R> {
        if !matches!(self.speech, Speech::Http2(_)) {
            return None;
        }
        let Speech::Http2(mut streams) = std::mem::replace(&mut self.speech, Speech::Http1) else {
            return None;
        };
        let result = work(self, &mut streams);
        self.speech = Speech::Http2(streams);
        Some(result)
    }

    /// Works on text, as [`serve`](Connection::serve) does.
    pub(super) fn serve_streams<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        text: &[u8],
    ) -> Result<usize, Gone> {
        let served = self.with_streams(|this, streams| {
            let (site, key, offload) = (cx.site, cx.key, cx.offload);
            let (cache, stashes, mut to) = split(cx);
            let mut used = 0;
            while this.is_hungry() && !this.needs_next_key(offload)? {
                if streams.parked(stashes) >= PARKED_MAX {
                    this.activity = Activity::Loading;
                    this.waits += 1;
                    break;
                }
                let received = streams.h2.receive(to.shared, &text[used..], to.now);
                used += received.used;
                let Some(StreamRequest { stream, method, request }) = received.request else { break };
                let head = method == Method::Head;
                let request = match request {
                    Ok(request) => request,
                    Err(rejection) => {
                        this.refuse_stream(&mut to, streams, stream, &rejection, head);
                        continue;
                    }
                };
                let found = look_up(site, cache, key, &request);
                if let Found::Later = found {
                    streams.park(stashes, stream, Box::new(ParkedRequest::new(&request)))?;
                    continue;
                }
                this.conclude(&mut to, streams, stream, &found, head)?;
            }
            Ok(used)
        });
        served.unwrap_or(Ok(text.len()))
    }

    /// A file that a request may wait for has come. `false`: this is not HTTP/2.
    pub(super) fn on_loaded_for_streams(&mut self) -> bool {
        let Speech::Http2(streams) = &mut self.speech else { return false };
        streams.news = true;
        true
    }

    /// Looks again at the requests that wait for a file, when one has come.
    pub(super) fn retry_parked<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        let retried = self.with_streams(|this, streams| {
            if !this.is_keyed() || !std::mem::take(&mut streams.news) {
                return Ok(());
            }
            let (site, key) = (cx.site, cx.key);
            let (cache, stashes, mut to) = split(cx);
            let mut seen = 0;
            // Each once, in order: those that still have to wait go back to where they were.
            loop {
                if !streams.h2.accepts_responses() {
                    // The others when these heads have been sent.
                    streams.news = true;
                    break;
                }
                let Some((stream, content)) = streams.h2.take_parked_after(seen) else { break };
                seen = stream;
                let Content::Parked(parked) = content else { continue };
                let request = parked.request();
                let head = request.method == Method::Head;
                match look_up(site, cache, key, &request) {
                    Found::Later => {
                        streams.h2.park(stream, Content::Parked(parked));
                    }
                    found => this.conclude(&mut to, streams, stream, &found, head)?,
                }
            }
            streams.parked(stashes);
            Ok(())
        });
        retried.unwrap_or(Ok(()))
    }

    /// Answers a stream with what its request came to, unless that has to wait.
    fn conclude<E: Engine>(
        &mut self,
        to: &mut Outlet<'_, E>,
        streams: &mut Streams,
        stream: u32,
        found: &Found<'_>,
        head: bool,
    ) -> Result<(), Gone> {
        match found {
            Found::Reply(reply) => self.reply(to, streams, stream, reply),
            Found::Refused(rejection) => {
                self.refuse_stream(to, streams, stream, rejection, head);
                Ok(())
            }
            Found::Later => Ok(()),
        }
    }

    fn reply<E: Engine>(
        &mut self,
        to: &mut Outlet<'_, E>,
        streams: &mut Streams,
        stream: u32,
        reply: &Reply<'_>,
    ) -> Result<(), Gone> {
        self.count(to);
        let (status, content_length, date) = (reply.status, reply.content_length, to.date);
        reply.encoded(|block, fields| {
            let answer = ResponseHead { status, date, block, fields, content_length };
            self.answer(to, streams, stream, &answer, &reply.body)
        })
    }

    fn refuse_stream<E: Engine>(
        &mut self,
        to: &mut Outlet<'_, E>,
        streams: &mut Streams,
        stream: u32,
        rejection: &Rejection,
        head: bool,
    ) {
        self.count(to);
        let Rejection { status, reason } = *rejection;
        let text = format!("{} {}: {reason}\n", status.code(), status.reason()).into_bytes();
        let content_length = Some(text.len() as u64);
        let fields = &rejection.fields();
        let answer = ResponseHead { status, date: to.date, block: b"", fields, content_length };
        match head {
            true => streams.h2.respond_without_content(to.shared, stream, &answer),
            false => streams.h2.respond(
                to.shared,
                stream,
                &answer,
                Content::of(Source::Text(text.into_boxed_slice(), 0)),
            ),
        }
    }

    fn count<E: Engine>(&mut self, to: &mut Outlet<'_, E>) {
        self.requests += 1;
        to.counts.requests += 1;
    }

    /// Answers a stream: at once, if the answer is small and nothing else waits, else when there is room for it.
    fn answer<E: Engine>(
        &mut self,
        to: &mut Outlet<'_, E>,
        streams: &mut Streams,
        stream: u32,
        answer: &ResponseHead<'_>,
        body: &Body<'_>,
    ) -> Result<(), Gone> {
        let small = match body {
            Body::Empty => Some(&b""[..]),
            Body::Static(bytes) => Some(*bytes),
            Body::Memory { region, range } => region.get(range.clone()),
            Body::Multipart(_) | Body::File { .. } => None,
        };
        if let Some(content) = small.filter(|content| content.len() <= COPY_MAX)
            && self.begin_output(to.ring, to.now, to.keep)?
            && let Some(output) = &mut self.output
        {
            let need = answer.room() + content.len() + 2 * FRAME_HEADER;
            let now = output.put_with(&mut self.layer, need, |room| {
                streams.h2.respond_now(to.shared, stream, answer, content, room)
            });
            if now.map_err(|_| Gone)? {
                return Ok(());
            }
        }
        match Source::of(body) {
            Some(source) => streams.h2.respond(to.shared, stream, answer, Content::of(source)),
            None => streams.h2.respond_without_content(to.shared, stream, answer),
        }
        Ok(())
    }

    /// At the end of an event: gathers what can be sent, reads what is wanted of files, and sees whether all is over.
    pub(super) fn settle_streams<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        let settled = self.with_streams(|this, streams| {
            let waits = matches!(this.activity, Activity::Receiving | Activity::Loading);
            if !waits || !this.is_keyed() || matches!(this.course, Course::Last { .. }) {
                return Ok(());
            }
            if cx.stopping || is_worn(&this.layer, cx.offload) {
                streams.h2.begin_drain(cx.h2, cx.now);
            }
            // Everything is answered; content that may still come for what was answered holds no
            // stop.
            if cx.stopping && streams.h2.has_sent_final_goaway() && streams.h2.is_idle() {
                streams.h2.close(cx.h2);
            }
            this.pump(cx, streams)?;
            if this.activity != Activity::Receiving {
                return Ok(());
            }
            // A buffer is not kept for a peer that opens no window.
            streams.drop_chunk();
            // Who has closed its side opens no window any more.
            let stuck = streams.h2.is_idle() || streams.h2.is_blocked();
            if streams.h2.is_done() || (this.inflow == Inflow::Ended && stuck) {
                if streams.h2.error().is_some_and(|fault| fault.flood.is_some()) {
                    cx.counts.calmed += 1;
                }
                this.course = Course::END;
            }
            Ok(())
        });
        settled.unwrap_or(Ok(()))
    }

    fn pump<E: Engine>(&mut self, cx: &mut Context<'_, E>, streams: &mut Streams) -> Result<(), Gone> {
        if streams.h2.wants_send() {
            if self.needs_next_key(cx.offload)? {
                return Ok(());
            }
            if !self.begin_output(cx.ring, cx.now, cx.limits.reserve())? {
                self.starve(cx);
                return Ok(());
            }
            let Some(output) = &mut self.output else { return Err(Gone) };
            let filled = output.fill(&mut self.layer, |room| streams.h2.poll_send(cx.h2, room));
            filled.map_err(|_| Gone)?;
        }
        if self.output.as_ref().is_some_and(|output| !output.is_empty()) {
            // The rest follows when this has been sent.
            let more = streams.has_more();
            return self.flush_before(cx, more);
        }
        let Some((stream, Content::Body { source, .. }, allowed)) = streams.h2.next_unready() else {
            return Ok(());
        };
        // A hole is never unready.
        let Some((file, offset, len)) = source.next_read(READ_LEN) else { return Ok(()) };
        let file = file.clone();
        // One at a time: what was read for another stream has to be read again.
        streams.drop_chunk();
        // Two buffers: what is read cannot be sealed where it lies.
        if cx.ring.tx_free() <= cx.limits.reserve() + 1 {
            self.starve(cx);
            return Ok(());
        }
        let (Some(stage), Some(second)) = (cx.ring.take_tx(), cx.ring.take_tx()) else { return Err(Gone) };
        let len = len.min(allowed);
        cx.ring
            .read(&file, offset, ReadBuf::Tx(stage, STAGE_AT..STAGE_AT + len), cx.key)
            .map_err(|_| Gone)?;
        cx.spare_buffers()?;
        (streams.reading, self.second) = (stream, Some(second));
        self.activity = Activity::Reading;
        self.waits += 1;
        Ok(())
    }

    /// A part of a file has been read, for a stream.
    pub(super) fn on_read_for_stream<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        into: ReadBuf,
        result: Result<usize, Errno>,
    ) -> Result<(), Gone> {
        let second = self.second.take();
        self.activity = Activity::Receiving;
        let read = self.with_streams(|this, streams| {
            let stream = streams.reading;
            if let Some(Content::Body { source: Source::File(file, _), read }) = streams.h2.content(stream) {
                match (into, result) {
                    (ReadBuf::Tx(stage, _), Ok(len @ 1..)) if file.is_unchanged() => {
                        *read = Some((stage, STAGE_AT..STAGE_AT + len));
                    }
                    // Too short or written to: this answer cannot be completed; the others can.
                    _ => streams.h2.abort(cx.h2, stream),
                }
            }
            let mut output = Output::new(second.ok_or(Gone)?);
            mind_the_keys(&mut output, &mut this.layer)?;
            this.output = Some(output);
            Ok(())
        });
        read.unwrap_or(Err(Gone))?;
        self.go_on(cx)
    }

    /// What is waited for, in HTTP/2. `nothing_aside`: no frame has come in part.
    pub(super) fn patience_for_streams(&self, nothing_aside: bool) -> Option<Patience> {
        let Speech::Http2(streams) = &self.speech else { return None };
        Some(match (streams.h2.is_idle(), nothing_aside) {
            (true, true) => Patience::Idle(self.requests),
            (true, false) => Patience::Request(self.requests),
            (false, _) => Patience::Streams(streams.h2.progress() / PROGRESS),
        })
    }

    /// Whether an answer is under way; `None`: this is not HTTP/2.
    pub(super) fn answers_streams(&self) -> Option<bool> {
        let Speech::Http2(streams) = &self.speech else { return None };
        Some(!streams.h2.is_idle())
    }

    /// When the connection has something to do of its own accord.
    pub(super) fn streams_deadline(&self) -> Option<Instant> {
        let Speech::Http2(streams) = &self.speech else { return None };
        streams.h2.deadline()
    }

    /// A deadline may have passed. `false`: this is not HTTP/2, or not any more.
    pub(super) fn on_timer_for_streams<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<bool, Gone> {
        if matches!(self.course, Course::Last { .. }) || self.activity == Activity::Kernel {
            return Ok(false);
        }
        let late = cx.now >= self.vigil.deadline();
        let due = self.streams_deadline().is_some_and(|deadline| deadline <= cx.now);
        if !late && !due {
            self.fold_if_due(cx.now);
            return Ok(matches!(self.speech, Speech::Http2(_)));
        }
        let done = self.with_streams(|this, streams| {
            match this.vigil.patience() {
                _ if !late => {}
                Patience::Idle(_) | Patience::Request(_) => streams.h2.close(cx.h2),
                _ => return Err(Gone),
            }
            streams.h2.on_time(cx.h2, cx.now);
            Ok(())
        });
        let Some(done) = done else { return Ok(false) };
        done?;
        self.settle(cx)?;
        Ok(true)
    }
}

/// Where an answer goes: what it needs of a [`Context`] while it borrows the rest.
struct Outlet<'o, E: Engine> {
    ring: &'o mut Ring<E>,
    shared: &'o mut h2::SharedBuffers<Content>,
    counts: &'o mut crate::Counts,
    date: &'o [u8; 29],
    now: Instant,
    /// Send buffers to be left alone.
    keep: usize,
}

/// What is looked up with, what is put aside with, and what is answered with, side by side.
fn split<'c, E: Engine>(cx: &'c mut Context<'_, E>) -> (&'c mut Cache, &'c mut Stashes, Outlet<'c, E>) {
    let keep = cx.limits.reserve() / 2;
    let to = Outlet { ring: cx.ring, shared: cx.h2, counts: cx.counts, date: cx.date, now: cx.now, keep };
    (cx.cache, cx.stashes, to)
}

/// Requests of one connection that wait for a file. With more of them none is read: each loaded file looks at all of these.
const PARKED_MAX: usize = 8;
/// A peer that takes less than this (or an answer) within the time that one send may take is given up.
const PROGRESS: u64 = 4096;
const FRAME_HEADER: usize = 9;
