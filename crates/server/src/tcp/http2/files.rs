//! The files that the answers of one connection are sent from, and the requests that wait for a
//! place among them.
//!
//! A request waits before anything of its answer has been written, and it is looked up again: its
//! answer may be another one by then. What is taken from the shard is counted from the streams, so
//! that no way in which a stream can end has to give it back.

use std::time::Instant;

use sitar_http::Method;
use sitar_io::{Engine, Key};
use sitar_site::{Body, Streamed};

use super::{Http2, PARKED_MAX, PROGRESS};
use crate::close::Close;
use crate::content::lookup::Outcome;
use crate::content::stream::{ParkedFor, StreamContent};
use crate::shard::context::Context;
use crate::shard::files::{EACH_MAX, SpareFiles};
use crate::tcp::transport::Transport;

/// The part of a connection in its shard's open files. Small, because each connection has one.
#[derive(Default)]
pub(super) struct Places {
    /// Places taken from the shard: for each file but one.
    taken: u32,
    /// Requests that wait for a place. Some may have been taken back by the peer.
    waiting: u16,
    /// It is in a queue of the shard.
    queued: bool,
    /// It is its turn in the queue.
    called: bool,
    /// What the peer had taken when that changed last, and when it was seen.
    seen: Option<Box<(u64, Instant)>>,
}

impl Places {
    /// One more request waits, for `what`.
    pub(super) fn note(&mut self, what: ParkedFor) {
        self.waiting = self.waiting.saturating_add(u16::from(what == ParkedFor::Place));
    }

    /// Gives everything back to the shard.
    pub(super) fn release(&mut self, files: &mut SpareFiles) {
        files.refund(&mut self.taken, 0);
    }
}

impl Http2 {
    /// Returns how many files this connection has a place for: those that it sends, each once, and
    /// those that are loaded for a place that has been taken.
    fn files(&self) -> usize {
        let (mut sent, mut count) = ([None::<&Streamed>; EACH_MAX + 1], 0);
        for content in self.h2.contents() {
            match content {
                StreamContent::Parked(_, ParkedFor::LoadInPlace) => count += 1,
                StreamContent::Body { source, .. } => {
                    let Some(file) = source.open_file() else { continue };
                    if !sent.iter().flatten().any(|other| other.is_same(file)) {
                        count += 1;
                        // There are no more of them than places.
                        if let Some(free) = sent.iter_mut().find(|other| other.is_none()) {
                            *free = Some(file);
                        }
                    }
                }
                StreamContent::Parked(..) => {}
            }
        }
        count
    }

    /// Takes a place for another file.
    fn take_place(&mut self, files: &mut SpareFiles) -> bool {
        let count = self.files();
        files.refund(&mut self.places.taken, count.saturating_sub(1));
        count == 0 || files.take(&mut self.places.taken)
    }

    /// Whether an answer to a new request may be sent: it needs no file of its own, or it has a
    /// place.
    pub(super) fn admits(&mut self, files: &mut SpareFiles, body: &Body<'_>) -> bool {
        let Body::File { file, .. } = body else { return true };
        if !file.is_own() {
            return true;
        }
        let sends_it = |content: &StreamContent| match content {
            StreamContent::Body { source, .. } => source.open_file().is_some_and(|open| open.is_same(file)),
            StreamContent::Parked(..) => false,
        };
        if self.h2.contents().any(sends_it) {
            return true;
        }
        // Those that came before go first.
        self.places.waiting == 0 && !files.is_awaited() && self.take_place(files)
    }

    /// It is this connection's turn to take a place.
    pub(in crate::tcp) fn on_place(&mut self) {
        (self.places.queued, self.places.called) = (false, true);
    }

    /// Answers requests that wait for a place, in order, as far as there are places. Each time one
    /// request is looked up for one place, so a peer pays for this with an answer that it takes.
    #[inline]
    pub(in crate::tcp) fn resume_files<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Context<E>,
    ) -> Result<(), Close> {
        if self.places.taken == 0 && self.places.waiting == 0 {
            return Ok(());
        }
        self.answer_those_that_wait(io, cx)
    }

    fn answer_those_that_wait<E: Engine>(
        &mut self,
        io: &mut Transport,
        cx: &mut Context<E>,
    ) -> Result<(), Close> {
        let waiting = self.h2.parked().filter(|content| content.waits_for_place()).count();
        // No more than there are streams.
        self.places.waiting = u16::try_from(waiting).unwrap_or(u16::MAX);
        let is_open = (io.is_receiving() || io.is_loading()) && io.is_keyed() && !io.is_ending();
        while is_open && self.places.waiting > 0 && self.h2.accepts_responses() {
            let files = &mut cx.files;
            let is_called = std::mem::take(&mut self.places.called);
            let overtakes = files.is_awaited() && !is_called;
            if (overtakes && self.files() > 0) || !self.take_place(files) {
                self.wait_for_place(cx.shared.key, files);
                break;
            }
            self.answer_next(io, cx)?;
        }
        Ok(())
    }

    /// Gives back the places of files that are not sent any more.
    #[inline]
    pub(in crate::tcp) fn refund_files(&mut self, files: &mut SpareFiles) {
        if self.places.taken > 0 {
            let count = self.files();
            files.refund(&mut self.places.taken, count.saturating_sub(1));
        }
    }

    /// Has the shard call this connection when there is a place, unless only its own streams can
    /// free one.
    fn wait_for_place(&mut self, key: Key, files: &mut SpareFiles) {
        if !self.places.queued && (self.places.taken as usize) < EACH_MAX {
            self.places.queued = true;
            files.wait(key, self.places.taken);
        }
    }

    /// Answers the first request that waits for a place, which has been taken.
    fn answer_next<E: Engine>(&mut self, io: &mut Transport, cx: &mut Context<E>) -> Result<(), Close> {
        let Context { served, shared, .. } = cx;
        self.places.waiting -= 1;
        let parked = self.h2.take_parked_after(0, StreamContent::waits_for_place);
        let Some((stream, StreamContent::Parked(parked, _))) = parked else { return Ok(()) };
        let (request, since) = (parked.0.request(), parked.1);
        let head_only = request.method == Method::Head;
        match served.look_up(shared.asker(false), io.origin(), &request) {
            Outcome::Reply(reply) => {
                io.note_reply((&mut shared.log, shared.key, shared.now), (&request, Some(since)), &reply);
                self.reply(io, shared, stream, &reply)?;
            }
            Outcome::Refused(rejection) => {
                io.note_refused(
                    (&mut shared.log, shared.key, shared.now),
                    (&request, Some(since)),
                    rejection,
                );
                self.refuse(io, shared, stream, rejection, head_only);
            }
            // Its file has been closed meanwhile. The place stays taken, or every request that
            // waits would have its file opened for it.
            Outcome::Later => self.park(stream, parked, ParkedFor::LoadInPlace),
        }
        Ok(())
    }

    /// A file that requests wait for could not be opened. They wait for a descriptor now, and not
    /// for the loader, so that what the peer sends is read on: it may end a stream that holds one.
    pub(in crate::tcp) fn on_unopened(&mut self) {
        for content in self.h2.parked_mut().filter(|content| content.waits_for_load()) {
            if let StreamContent::Parked(_, what) = content {
                *what = ParkedFor::Descriptor;
            }
        }
    }

    /// There may be a descriptor now: some requests ask the loader again. Returns whether others
    /// still wait.
    pub(in crate::tcp) fn on_reopen(&mut self) -> bool {
        self.loaded = true;
        let mut unopened = self.h2.parked_mut().filter_map(|content| match content {
            StreamContent::Parked(_, what @ ParkedFor::Descriptor) => Some(what),
            _ => None,
        });
        for what in unopened.by_ref().take(PARKED_MAX) {
            *what = ParkedFor::Load;
        }
        unopened.next().is_some()
    }

    /// Returns how many files it holds, and since when the peer has taken nothing, as far as that
    /// has been watched.
    pub(in crate::tcp) fn watch_files(&mut self, now: Instant) -> (usize, Instant) {
        let progress = self.h2.progress() / PROGRESS;
        let seen = self.places.seen.get_or_insert_with(|| Box::new((progress, now)));
        if seen.0 != progress {
            **seen = (progress, now);
        }
        let since = seen.1;
        (self.files(), since)
    }
}
