//! HTTP/1 on a connection: requests as they come, each answered before the next is read.

use std::time::Instant;

use sitar_http::h1::{self, BodyDrain, Drained, Framing, Rejection, RequestHead, ResponseHead};
use sitar_http::{Status, Version};
use sitar_io::{Engine, Errno, ReadBuf};
use sitar_site::{Body, Reply};

use super::refusal::{Refusal, late, refuse};
use super::transport::output::{Output, Put};
use super::transport::security::Security;
use super::transport::{KernelKey, Transport, Wait};
use crate::close::{Close, PeerReason, Timeout};
use crate::content::lookup::Outcome;
use crate::content::source::Source;
use crate::log::{Cut, OpenAnswer, Recorder, Requested};
use crate::numbers::RequestLabels;
use crate::shard::context::{Context, Shared};

/// A conversation in HTTP/1.
#[derive(Default)]
pub(super) struct Http1 {
    /// The rest of the content of the last answer.
    rest: Option<Source>,
    /// The next bytes belong to this request's body, which is not wanted.
    body: Option<BodyDrain>,
    /// Bytes of the unparsed text that the parser has seen already.
    scanned: usize,
    /// When the request at the front of the text was first looked up, if it waits for something.
    since: Option<Instant>,
    /// The last answer, while its end is to be recorded.
    recorded: OpenAnswer,
}

/// The outcome of a request.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// It has its answer, and this many bytes of the text are done with.
    Answered(usize),
    /// It is read again when what it waits for has come.
    Waits,
}

impl Http1 {
    /// Whether the next request may be looked at.
    pub(super) fn is_free(&self) -> bool {
        self.rest.is_none()
    }

    /// Returns how many open files its answer is sent from.
    pub(super) fn files(&self) -> usize {
        usize::from(self.rest.as_ref().is_some_and(|rest| rest.open_file().is_some()))
    }

    /// Works on text; returns how much of it is done with. The rest is the start of something, or
    /// has to wait.
    pub(super) fn on_text<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Context<E>,
        text: &[u8],
    ) -> Result<usize, Close> {
        let mut used = 0;
        while self.is_free() && io.takes_requests() && used < text.len() {
            let rest = &text[used..];
            if let Some(body) = &mut self.body {
                match body.feed(rest) {
                    Ok(Drained::Part) => used = text.len(),
                    Ok(Drained::Whole(skipped)) => {
                        used += skipped;
                        self.body = None;
                    }
                    // The request that this body belongs to has its answer. A second one would be
                    // taken for the answer to the next request, which a proxy may have sent for
                    // another client.
                    Err(_) => io.end(Close::Peer(PeerReason::Http)),
                }
                continue;
            }
            let step = match h1::parse_from(rest, self.scanned, &cx.shared.limits.http) {
                Ok(Some(head)) => self.respond(io, cx, &head, rest.len())?,
                Ok(None) => {
                    self.scanned = rest.len();
                    break;
                }
                Err(rejection) => self.reject(io, &mut cx.shared, &rejection, rest)?,
            };
            match step {
                Step::Answered(len) => {
                    (self.scanned, self.since) = (0, None);
                    used += len;
                }
                Step::Waits => break,
            }
        }
        Ok(if io.is_ending() { text.len() } else { used })
    }

    /// Answers one request, the first one in `there` bytes of text.
    fn respond<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Context<E>,
        head: &RequestHead<'_>,
        there: usize,
    ) -> Result<Step, Close> {
        let Context { served, shared, .. } = cx;
        let drain = match BodyDrain::new(head.body, &shared.limits.http) {
            Ok(drain) => drain,
            Err(rejection) => {
                let labels = RequestLabels::of(head.request.method.into());
                return self.refuse(io, shared, &Refusal::of(&rejection, head, labels, None), head.len);
            }
        };
        if io.check_kernel_key(shared.offload)? == KernelKey::UpdateFirst {
            return Ok(Step::Waits);
        }
        let close = closes(head, there, shared) || io.is_key_worn(shared.offload);
        let keep = shared.limits.reserve() / 2;
        if io.begin_output(shared, keep)? == Put::NoRoom {
            io.wait_for_buffer(shared);
            return Ok(Step::Waits);
        }
        let since = self.since.replace(self.since.unwrap_or(shared.now));
        let outcome = served.look_up(shared.asker(since.is_none()), io.origin(), &head.request);
        let (output, security) = io.output()?;
        let (written, status, content) = match outcome {
            Outcome::Reply(reply) => {
                let written = write(output, security, &shared.date, head.version, close, &reply);
                (written, reply.status, reply.content())
            }
            Outcome::Later => {
                io.wait_for_load();
                return Ok(Step::Waits);
            }
            Outcome::Refused(rejection) => {
                let refusal = Refusal::of(rejection, head, io.origin().labels(), since);
                return self.refuse(io, shared, &refusal, head.len);
            }
        };
        match written {
            Written::All => {}
            Written::Part(rest) => self.rest = Some(rest),
            // A head of at most `sitar_http::FIELDS_MAX` fits into an empty buffer.
            Written::Full if output.is_empty() => return Err(Close::Ours("a head longer than a buffer")),
            Written::Full => {
                // What is gathered goes first; the request is read again after that.
                let more = self.has_more(io);
                io.flush(shared, more)?;
                return Ok(Step::Waits);
            }
            Written::Failed => return Err(Close::Ours("sealing")),
        }
        self.count(io, shared, (head, since), (status, content));
        self.answered(io, shared, close, drain)?;
        Ok(Step::Answered(head.len))
    }

    /// Counts and records an answer, to a request that has waited since then if it has waited.
    #[inline]
    fn count<E: Engine>(
        &mut self,
        io: &mut Transport,
        shared: &mut Shared<E>,
        (head, since): (&RequestHead<'_>, Option<Instant>),
        (status, content): (Status, u64),
    ) {
        let (labels, version) = (io.origin().labels(), head.version.into());
        shared.numbers.answered(labels, version, status, content);
        let requested = Requested::Request(&head.request, labels.host());
        io.note((&mut shared.log, shared.key, shared.now), (requested, version, since), (status, content));
        self.recorded = shared.log.begin(self.rest.is_some());
    }

    /// Goes on after a request has been answered: with its unwanted body, or to the end.
    fn answered<E: Engine>(
        &mut self,
        io: &mut Transport,
        shared: &mut Shared<E>,
        close: bool,
        drain: Option<BodyDrain>,
    ) -> Result<(), Close> {
        io.count_answer();
        shared.numbers.counts().requests.add(1);
        if close {
            io.end(if shared.is_leaving() { Close::Operator } else { Close::Done });
        } else {
            self.body = drain;
        }
        if self.rest.is_some() {
            let more = self.has_more(io);
            io.flush(shared, more)?;
        }
        Ok(())
    }

    /// Ends the connection over `text`, which is no request: with a refusal, or in silence where
    /// nothing has been asked.
    fn reject<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        rejection: &Rejection,
        text: &[u8],
    ) -> Result<Step, Close> {
        // Line ends behind an answered request: a refusal would be a second answer to it.
        if io.answered() > 0 && !h1::begins_request(text) {
            io.end(Close::Peer(PeerReason::Http));
            return Ok(Step::Answered(0));
        }
        self.refuse(io, cx, &Refusal::of_text(rejection, text), 0)
    }

    /// Refuses a request of `len` bytes, after which the connection ends.
    fn refuse<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        refusal: &Refusal<'_>,
        len: usize,
    ) -> Result<Step, Close> {
        let more = self.has_more(io);
        Ok(match refuse(io, cx, refusal, more)? {
            Put::Done => Step::Answered(len),
            Put::NoRoom => Step::Waits,
        })
    }

    /// Goes on after something was waited for.
    pub(super) fn resume<E: Engine>(&mut self, io: &mut Transport, cx: &mut Shared<E>) -> Result<(), Close> {
        if self.rest.is_none() || io.check_kernel_key(cx.offload)? == KernelKey::UpdateFirst {
            return Ok(());
        }
        let Some(rest) = self.rest.take() else { return Ok(()) };
        self.rest = io.send_source(cx, rest)?;
        self.note_end(cx);
        if self.rest.is_some() && io.has_output() {
            let more = self.has_more(io);
            io.flush(cx, more)?;
        }
        Ok(())
    }

    /// A part of the file that is being sent has been read.
    pub(super) fn on_read<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Shared<E>,
        buf: ReadBuf,
        result: Result<usize, Errno>,
    ) -> Result<(), Close> {
        let second = io.end_read();
        let Some(Source::File(file, _)) = &self.rest else { return Err(Close::Ours("a read for no file")) };
        // Too short or written to: the answer cannot be completed, and no close_notify may say that
        // it was. A log hears how much is left.
        let len = result.map_err(Close::Kernel)?;
        if len == 0 || !file.is_unchanged() {
            return Err(Close::Incomplete);
        }
        let Some(rest) = self.rest.take() else { return Err(Close::Ours("a read for no answer")) };
        self.rest = io.send_read(cx, rest, buf, len, second)?;
        self.note_end(cx);
        Ok(())
    }

    /// Has the log know if all of the answer has been gathered.
    #[inline]
    fn note_end<E: Engine>(&mut self, cx: &mut Shared<E>) {
        if self.rest.is_none() {
            cx.log.end(std::mem::take(&mut self.recorded), 0, None);
        }
    }

    /// The connection has ended, and that is why.
    pub(super) fn abandon(self, log: &mut Recorder, why: Close) {
        let unsent = self.rest.map_or(0, |rest| rest.left());
        log.end(self.recorded, unsent, Some(Cut::Closed(why)));
    }

    /// Whether a send buffer will be filled for this connection after the present one.
    pub(super) fn has_more(&self, io: &Transport) -> bool {
        match &self.rest {
            Some(Source::File(..)) => true,
            Some(_) if io.is_sealing() => true,
            _ => !io.has_nothing_aside(),
        }
    }

    /// Returns what is waited for, while that is input.
    pub(super) fn wait(&self, io: &Transport) -> Wait {
        let is_idle = self.body.is_none() && !io.is_ending() && io.has_nothing_aside();
        Wait(if is_idle { Timeout::Idle } else { Timeout::Request }, io.answered())
    }

    /// Whether the next bytes begin or continue a request head.
    pub(super) fn is_between_bodies(&self) -> bool {
        self.body.is_none()
    }

    /// The time for the next request, or for the rest of a body, is over.
    pub(super) fn on_late<E: Engine>(&mut self, io: &mut Transport, cx: &mut Shared<E>) -> Result<(), Close> {
        if self.body.is_some() {
            io.end(Close::Timeout(Timeout::Request));
            return Ok(());
        }
        let more = self.has_more(io);
        late(io, cx, more)
    }
}

/// Returns whether the connection ends with the answer to this request, the first of `there` bytes.
fn closes<E: Engine>(head: &RequestHead<'_>, there: usize, cx: &Shared<E>) -> bool {
    let has_body = head.body != Framing::None;
    // RFC 9110 §10.1.1: a final answer instead of 100 means that the body is not wanted; whether it
    // comes all the same cannot be known.
    let refuses_body = head.expect_continue && has_body;
    // A drain leaves no request unanswered that has come already.
    let is_last = || cx.is_stopping() || there == head.len || has_body;
    !head.keep_alive || refuses_body || (cx.is_leaving() && is_last())
}

/// The progress of writing a reply.
#[expect(clippy::large_enum_variant, reason = "a box would allocate on the path of a request")]
enum Written {
    All,
    /// The head and some of the content.
    Part(Source),
    /// Nothing: no room.
    Full,
    Failed,
}

/// Writes a reply, as much of it as there is room for.
fn write(
    output: &mut Output,
    security: &mut Security,
    date: &[u8; 29],
    version: Version,
    close: bool,
    reply: &Reply<'_>,
) -> Written {
    let (status, content_length) = (reply.status, reply.content_length);
    let head = reply.pieces(|fields| {
        output.head(security, &ResponseHead { version, status, date, fields, content_length, close })
    });
    match head {
        Ok(Put::Done) => {}
        Ok(Put::NoRoom) => return Written::Full,
        Err(_) => return Written::Failed,
    }
    let rest = match &reply.body {
        Body::Empty => return Written::All,
        Body::Static(bytes) => {
            output.body(security, bytes).map(|taken| Source::Static(&bytes[taken..]).if_any())
        }
        // Its handle is copied only where something is left.
        Body::Memory { region, range } => output.region(security, region, range).map(|taken| {
            let range = range.start + taken..range.end;
            (!range.is_empty()).then(|| Source::Region((*region).clone(), range))
        }),
        body @ Body::Multipart(_) => match Source::of(body) {
            Some(source) => output.source(security, source),
            None => Ok(None),
        },
        body @ Body::File { .. } => Ok(Source::of(body).and_then(Source::if_any)),
    };
    match rest {
        Ok(None) => Written::All,
        Ok(Some(rest)) => Written::Part(rest),
        Err(_) => Written::Failed,
    }
}
