//! HTTP/2 on a connection: requests as they come, answers as windows and priorities let them go.
//!
//! The rhythm is that of HTTP/1: while something is being sent or read, what the peer sends is put
//! aside. What came while a buffer was under way is looked at together, and all that can be sent
//! then fills the next one.

mod files;

use std::time::Instant;

use sitar_http::h2::{self, ParkedRequest, ResponseHead, SharedBuffers, StreamRequest};
use sitar_http::{Method, Rejection, Status};
use sitar_io::{Engine, Errno, ReadBuf};
use sitar_site::{Body, Reply};

use self::files::Places;
use super::transport::output::{COPY_MAX, Put};
use super::transport::{KernelKey, READ_LEN, STAGE_AT, Transport, Wait};
use crate::close::{Close, PeerReason, Timeout};
use crate::content::lookup::Outcome;
use crate::content::source::Source;
use crate::content::stream::{ParkedFor, StreamContent};
use crate::log::{Cut, Requested};
use crate::numbers::HttpVersion;
use crate::shard::context::{Context, Shared};
use crate::shard::files::SpareFiles;

/// A conversation in HTTP/2.
pub(super) struct Http2 {
    h2: h2::Connection<StreamContent>,
    /// The stream whose file is being read, or was last.
    reading: u32,
    /// A file that a request waits for has come, or the site is another.
    loaded: bool,
    /// Requests may wait for something.
    has_parked: bool,
    places: Places,
    /// The reason why its end was begun, if it was.
    end_begun: Option<Close>,
}

impl Http2 {
    pub(super) fn new<E: Engine>(cx: &mut Shared<E>) -> Http2 {
        let h2 = h2::Connection::new(&cx.limits.h2, &mut cx.h2, cx.now);
        Http2 { h2, reading: 0, loaded: false, has_parked: false, places: Places::default(), end_begun: None }
    }

    /// Gives everything back to the shard.
    pub(super) fn release(mut self, shared: &mut SharedBuffers<StreamContent>, files: &mut SpareFiles) {
        self.places.release(files);
        self.h2.release(shared);
    }

    /// Returns the bytes of memory that it holds.
    #[inline]
    pub(super) fn memory(&mut self) -> usize {
        size_of::<Http2>() + self.h2.memory() + self.parked().1
    }

    /// Keeps a request until it can be answered.
    fn park(&mut self, stream: u32, parked: Box<(ParkedRequest, Instant)>, what: ParkedFor) {
        if self.h2.park(stream, StreamContent::Parked(parked, what)) {
            self.has_parked = true;
            self.places.note(what);
        }
    }

    /// Returns how many requests wait for the loader, and the bytes of memory of all that wait. The
    /// peer may take some back at any time, so they are looked at.
    #[inline]
    fn parked(&mut self) -> (usize, usize) {
        if self.has_parked { self.count_parked() } else { (0, 0) }
    }

    fn count_parked(&mut self) -> (usize, usize) {
        let (mut count, mut memory) = (0, 0);
        self.has_parked = false;
        for content in self.h2.parked() {
            count += usize::from(content.waits_for_load());
            memory += if let StreamContent::Parked(parked, _) = content { parked.0.memory() } else { 0 };
            self.has_parked = true;
        }
        (count, memory)
    }

    /// Whether there is something to send now.
    pub(super) fn has_more(&mut self) -> bool {
        self.h2.wants_send() || self.h2.next_unready().is_some()
    }

    fn drop_read(&mut self) {
        if let Some(StreamContent::Body { read, .. }) = self.h2.content(self.reading) {
            *read = None;
        }
    }

    /// Works on text; returns how much of it is done with.
    pub(super) fn on_text<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Context<E>,
        text: &[u8],
    ) -> Result<usize, Close> {
        let Context { served, files, shared } = cx;
        let (mut used, asker) = (0, shared.asker(true));
        while io.takes_requests() && io.check_kernel_key(shared.offload)? == KernelKey::Usable {
            if self.parked().0 >= PARKED_MAX {
                io.wait_for_load();
                break;
            }
            let received = self.h2.receive(&mut shared.h2, &text[used..], shared.now);
            used += received.used;
            let Some(StreamRequest { stream, method, request }) = received.request else { break };
            let head_only = method == Method::Head;
            io.origin().asks(method);
            let request = match request {
                Ok(request) => request,
                Err(rejection) => {
                    let requested = (Requested::Method(method), HttpVersion::Http2, None);
                    io.note_refusal(
                        (&mut shared.log, shared.key, shared.now),
                        requested,
                        &rejection,
                        head_only,
                    );
                    self.refuse(io, shared, stream, &rejection, head_only);
                    continue;
                }
            };
            let what = match served.look_up(asker, io.origin(), &request) {
                Outcome::Reply(reply) if self.admits(files, &reply.body) => {
                    io.note_reply((&mut shared.log, shared.key, shared.now), (&request, None), &reply);
                    self.reply(io, shared, stream, &reply)?;
                    continue;
                }
                Outcome::Refused(rejection) => {
                    io.note_refused((&mut shared.log, shared.key, shared.now), (&request, None), rejection);
                    self.refuse(io, shared, stream, rejection, head_only);
                    continue;
                }
                Outcome::Reply(_) => ParkedFor::Place,
                Outcome::Later => ParkedFor::Load,
            };
            let parked = Box::new((ParkedRequest::new(&request), shared.now));
            self.park(stream, parked, what);
        }
        Ok(used)
    }

    /// A file that a request may wait for has come.
    pub(super) fn on_loaded(&mut self) {
        self.loaded = true;
    }

    /// Goes on after something was waited for: looks again at the requests that wait for a file,
    /// when one has come.
    pub(super) fn resume<E: Engine>(&mut self, io: &mut Transport, cx: &mut Context<E>) -> Result<(), Close> {
        if !io.is_keyed() || !std::mem::take(&mut self.loaded) {
            return Ok(());
        }
        let Context { served, files, shared } = cx;
        let mut seen = 0;
        // Each once, in order: those that still have to wait go back to where they were.
        loop {
            if !self.h2.accepts_responses() {
                // The others when these heads have been sent.
                self.loaded = true;
                break;
            }
            let next = self.h2.take_parked_after(seen, StreamContent::waits_for_load);
            let Some((stream, StreamContent::Parked(parked, what))) = next else { break };
            seen = stream;
            let (request, since) = (parked.0.request(), parked.1);
            let head_only = request.method == Method::Head;
            let has_place = what == ParkedFor::LoadInPlace;
            match served.look_up(shared.asker(false), io.origin(), &request) {
                Outcome::Reply(reply) if has_place || self.admits(files, &reply.body) => {
                    io.note_reply((&mut shared.log, shared.key, shared.now), (&request, Some(since)), &reply);
                    self.reply(io, shared, stream, &reply)?;
                }
                Outcome::Reply(_) => self.park(stream, parked, ParkedFor::Place),
                Outcome::Refused(rejection) => {
                    io.note_refused(
                        (&mut shared.log, shared.key, shared.now),
                        (&request, Some(since)),
                        rejection,
                    );
                    self.refuse(io, shared, stream, rejection, head_only);
                }
                Outcome::Later => self.park(stream, parked, what),
            }
        }
        Ok(())
    }

    fn reply<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        stream: u32,
        reply: &Reply<'_>,
    ) -> Result<(), Close> {
        count(io, cx, reply.status, reply.content());
        let (status, content_length, date) = (reply.status, reply.content_length, cx.date);
        reply.encoded(|block, fields| {
            let head = ResponseHead { status, date: &date, block, fields, content_length };
            self.respond(io, cx, stream, &head, &reply.body)
        })
    }

    fn refuse<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        stream: u32,
        rejection: &Rejection,
        head_only: bool,
    ) {
        let Rejection { status, reason } = *rejection;
        let text = Source::Refusal(status, reason, 0);
        let len = text.ready() as u64;
        count(io, cx, status, if head_only { 0 } else { len });
        let content_length = Some(len);
        // Its text is small, as in HTTP/1. A peer that does not read it must not keep its record,
        // nor those of others, from the log.
        cx.log.watch(false);
        let fields = &rejection.fields();
        let head = ResponseHead { status, date: &cx.date, block: b"", fields, content_length };
        if head_only {
            self.h2.respond_without_content(&mut cx.h2, stream, &head);
        } else {
            self.h2.respond(&mut cx.h2, stream, &head, StreamContent::of(text, None));
        }
    }

    /// Answers a stream: at once, if the answer is small and nothing else waits, else when there is
    /// room for it.
    fn respond<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        stream: u32,
        head: &ResponseHead<'_>,
        body: &Body<'_>,
    ) -> Result<(), Close> {
        let small = match body {
            Body::Empty => Some(&b""[..]),
            Body::Static(bytes) => Some(*bytes),
            Body::Memory { region, range } => region.get(range.clone()),
            Body::Multipart(_) | Body::File { .. } => None,
        };
        let keep = cx.limits.reserve() / 2;
        if let Some(content) = small.filter(|content| content.len() <= COPY_MAX)
            && io.begin_output(cx, keep)? == Put::Done
        {
            let (output, security) = io.output()?;
            let need = head.room() + content.len() + 2 * FRAME_HEADER;
            let put = output.put_with(security, need, |room| {
                self.h2.respond_now(&mut cx.h2, stream, head, content, room)
            });
            if put.map_err(|_| Close::Ours("sealing"))? == Put::Done {
                cx.log.watch(false);
                return Ok(());
            }
        }
        let source = Source::of(body);
        let recorded = cx.log.watch(source.is_some());
        match source {
            Some(source) => {
                self.h2.respond(&mut cx.h2, stream, head, StreamContent::of(source, recorded));
            }
            None => self.h2.respond_without_content(&mut cx.h2, stream, head),
        }
        Ok(())
    }

    /// At the end of an event: gathers what can be sent, reads what is wanted of files, and sees
    /// whether all is over.
    pub(super) fn produce<E: Engine>(&mut self, io: &mut Transport, cx: &mut Shared<E>) -> Result<(), Close> {
        if !(io.is_receiving() || io.is_loading()) || !io.is_keyed() || io.is_ending() {
            return Ok(());
        }
        // A client that has not begun yet hears of it when it has: its first request is on its way.
        let is_told = cx.is_leaving() && (cx.is_stopping() || self.h2.has_begun());
        if is_told || io.is_key_worn(cx.offload) {
            self.h2.begin_drain(&mut cx.h2, cx.now);
        }
        // Everything is answered; content that may still come for what was answered holds no stop.
        if cx.is_leaving() && self.h2.has_sent_final_goaway() && self.h2.is_idle() {
            self.h2.close(&mut cx.h2);
        }
        self.send_next(io, cx)?;
        if !io.is_receiving() {
            return Ok(());
        }
        // A buffer is not kept for a peer that opens no window.
        self.drop_read();
        // A peer that has closed its side opens no window any more.
        let stuck = self.h2.is_idle() || self.h2.is_blocked();
        if self.h2.is_done() || (io.has_input_ended() && stuck) {
            io.end(self.why(io, cx.is_leaving()));
        }
        Ok(())
    }

    /// Returns why this conversation is over.
    fn why(&self, io: &Transport, leaves: bool) -> Close {
        match self.h2.error() {
            Some(error) if error.flood.is_some() => Close::Peer(PeerReason::Flood),
            Some(_) => Close::Peer(PeerReason::Http),
            None if self.end_begun.is_some() => self.end_begun.unwrap_or(Close::Done),
            None if io.has_input_ended() && !self.h2.is_idle() => Close::Peer(PeerReason::Left),
            None if leaves => Close::Operator,
            None => Close::Done,
        }
    }

    /// Sends what can be sent; where nothing can, reads from the file of a stream that wants it.
    fn send_next<E: Engine>(&mut self, io: &mut Transport, cx: &mut Shared<E>) -> Result<(), Close> {
        let reserve = cx.limits.reserve();
        if self.h2.wants_send() {
            if io.check_kernel_key(cx.offload)? == KernelKey::UpdateFirst {
                return Ok(());
            }
            if io.begin_output(cx, reserve)? == Put::NoRoom {
                io.wait_for_buffer(cx);
                return Ok(());
            }
            let (output, security) = io.output()?;
            let filled = output.fill(security, |room| self.h2.poll_send(&mut cx.h2, room));
            filled.map_err(|_| Close::Ours("sealing"))?;
        }
        if io.has_output() {
            // The rest follows when this has been sent.
            let more = self.has_more();
            return io.flush(cx, more);
        }
        let Some((stream, StreamContent::Body { source, .. }, allowed)) = self.h2.next_unready() else {
            return Ok(());
        };
        // A hole is always ready.
        let Some((file, offset, len)) = source.next_read(READ_LEN) else { return Ok(()) };
        let file = file.clone();
        // One at a time: what was read for another stream has to be read again.
        self.drop_read();
        // Two buffers: what is read cannot be sealed where it lies.
        if cx.ring.tx_free() <= reserve + 1 {
            io.wait_for_buffer(cx);
            return Ok(());
        }
        let (Some(stage), Some(second)) = (cx.ring.take_tx(), cx.ring.take_tx()) else {
            return Err(Close::Ours("free buffers that cannot be taken"));
        };
        let len = len.min(allowed);
        self.reading = stream;
        io.read_file(cx, &file, offset, ReadBuf::Tx(stage, STAGE_AT..STAGE_AT + len), Some(second))
    }

    /// A part of a file has been read, for a stream.
    pub(super) fn on_read<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        buf: ReadBuf,
        result: Result<usize, Errno>,
    ) -> Result<(), Close> {
        let second = io.end_read();
        let stream = self.reading;
        if let Some(StreamContent::Body { source: Source::File(file, _), read, .. }) = self.h2.content(stream)
        {
            match (buf, result) {
                (ReadBuf::Tx(stage, _), Ok(len @ 1..)) if file.is_unchanged() => {
                    *read = Some((stage, STAGE_AT..STAGE_AT + len));
                }
                // Too short or written to: this answer cannot be completed; the others can.
                _ => {
                    self.h2.abort(&mut cx.h2, stream);
                    // It is not the peer that has ended it.
                    cx.log.note_ends(Cut::Closed(result.map_or_else(Close::Kernel, |_| Close::Incomplete)));
                }
            }
        }
        io.begin_output_in(second.ok_or(Close::Ours("no buffer to seal into"))?)
    }

    /// Returns what is waited for, while that is input.
    pub(super) fn wait(&self, io: &Transport) -> Wait {
        match (self.h2.is_idle(), io.has_nothing_aside()) {
            (true, true) => Wait(Timeout::Idle, io.answered()),
            (true, false) => Wait(Timeout::Request, io.answered()),
            (false, _) => Wait(Timeout::Streams, self.h2.progress() / PROGRESS),
        }
    }

    /// Whether an answer is under way.
    pub(super) fn is_answering(&self) -> bool {
        !self.h2.is_idle()
    }

    /// Returns when the connection has something to do of its own accord.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.h2.deadline()
    }

    /// A deadline has passed: that of the transport's wait, if it is late, or one of HTTP/2's own.
    pub(super) fn on_time<E: Engine>(&mut self, io: &Transport, cx: &mut Shared<E>) -> Result<(), Close> {
        if io.is_late(cx.now) {
            match io.timeout() {
                timeout @ (Timeout::Idle | Timeout::Request) => {
                    self.end_begun.get_or_insert(Close::Timeout(timeout));
                    self.h2.close(&mut cx.h2);
                }
                timeout => return Err(Close::Timeout(timeout)),
            }
        }
        self.h2.on_time(&mut cx.h2, cx.now);
        Ok(())
    }
}

fn count<E: Engine>(io: &mut Transport, cx: &mut Shared<E>, status: Status, content: u64) {
    io.count_answer();
    cx.numbers.answered(io.origin().labels(), HttpVersion::Http2, status, content);
    cx.numbers.counts().requests.add(1);
}

/// Requests of one connection that wait for a file. With more of them none is read: each loaded
/// file looks at all of these.
const PARKED_MAX: usize = 8;
/// A peer that takes less than this (or an answer) within the time that one send may take is given
/// up.
const PROGRESS: u64 = 4096;
const FRAME_HEADER: usize = 9;
