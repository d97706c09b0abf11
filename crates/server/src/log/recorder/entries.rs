//! What a shard writes into its queue: entries of answers that logs or traces want.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sitar_http::{Method, Request, Status, semantics};

use super::super::answer::{Answer, Cut, Requested, Texts};
use super::super::entry::{self, END, Ended, LONGEST, TRACES};
use super::super::queue::{WORDS, Writer};
use super::super::record::LogId;
use super::super::trace::{Sampling, Table};
use super::super::{Queues, Wants, since};
use crate::snapshot::HostId;
use crate::wake::Wake;

/// Answers of a shard that may be under way and have an entry: each has a place in the queue for
/// its end. Further ones are not followed.
const OPEN_MAX: usize = WORDS / 4 / END;

/// The queue of a shard.
pub(super) struct Queue {
    writer: Writer,
    /// Behind the writer: who is called by its drop finds the queue at its end.
    wake: CalledAtTheEnd,
    /// Records of all shards that there was no room for.
    dropped: Arc<AtomicU64>,
    epoch: Instant,
    pub(super) wants: Wants,
    /// Whether some peers are believed that name their clients.
    trusts: bool,
    /// The answer that was noted last, if it is to be recorded.
    pub(super) noted: Noted,
    /// Bytes of its content.
    pub(super) length: u64,
    /// The number that was given last.
    last: u32,
    /// Answers whose ends are not in the queue.
    pub(super) open: usize,
    pub(super) sampling: Sampling,
}

/// What has become of an answer that was noted.
#[derive(Clone, Copy)]
pub(super) enum Noted {
    /// It is in no log.
    Nothing,
    /// Its entry has this many words, which are not counted as written.
    Words(usize),
    /// There was no room for it.
    NoRoom,
}

/// Calls the reader at the end of a shard as well: what that has not said is recorded then.
struct CalledAtTheEnd(Arc<Wake>);

impl Drop for CalledAtTheEnd {
    fn drop(&mut self) {
        self.0.call();
    }
}

impl Queue {
    pub(super) fn new(queues: &Queues, wants: Wants) -> Queue {
        let (writer, wake) = queues.add();
        Queue {
            writer,
            wake: CalledAtTheEnd(wake),
            dropped: Arc::clone(&queues.dropped),
            epoch: queues.epoch(),
            trusts: !wants.trusted.is_empty(),
            wants,
            noted: Noted::Nothing,
            length: 0,
            last: 0,
            open: 0,
            sampling: Sampling::default(),
        }
    }

    pub(super) fn set_wants(&mut self, wants: Wants) {
        self.trusts = !wants.trusted.is_empty();
        self.wants = wants;
    }

    /// Takes up these traces. They wait if there is no room to say so.
    pub(super) fn take_up_traces(&mut self, table: &Table) {
        self.noted = Noted::Nothing;
        if self.sampling.ids() != table.ids() {
            if !self.writer.has_room(TRACES + self.open * END) {
                self.sampling = Sampling::default();
                return;
            }
            self.writer.push(entry::traces(table.ids()));
        }
        self.sampling.take_up(table, &self.wants);
    }

    /// Whether there is something to hand over.
    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.writer.has_any()
    }

    /// Returns the log of the answer.
    #[inline(always)]
    pub(super) fn log(&self, host: Option<HostId>) -> Option<LogId> {
        match host {
            Some(host) => self.wants.hosts.get(host.index()).copied().flatten(),
            None => self.wants.others,
        }
    }

    /// Whether a trace takes the answer, or a log does.
    #[inline(never)]
    pub(super) fn is_wanted(
        &mut self,
        request: Option<&Request<'_>>,
        host: Option<HostId>,
        status: Status,
    ) -> bool {
        self.sampling.choose(request, host, status) || self.log(host).is_some()
    }

    /// Notes an answer that a trace takes, or a log.
    #[cold]
    #[inline(never)]
    pub(super) fn note_traced(&mut self, answer: &Answer<'_>) {
        let log = self.log(answer.requested.host());
        if !self.writer.has_room(LONGEST + self.open * END) {
            self.sampling.note_no_room();
            // What is dropped is counted for logs.
            self.noted = if log.is_some() { Noted::NoRoom } else { Noted::Nothing };
            return;
        }
        self.length = answer.length;
        let times = (log.unwrap_or(LogId::NONE), answer.start.map(|start| since(self.epoch, start)));
        let (texts, client) = (answer.requested.texts(), self.client(answer));
        let slots = self.writer.next();
        let count = entry::write_other_answer(slots, answer, texts, times, client);
        entry::set_traces(slots, self.sampling.chosen());
        self.noted = Noted::Words(count);
    }

    pub(super) fn note(&mut self, answer: &Answer<'_>) {
        let Some(log) = self.log(answer.requested.host()) else {
            self.noted = Noted::Nothing;
            return;
        };
        if !self.writer.has_room(LONGEST + self.open * END) {
            self.noted = Noted::NoRoom;
            return;
        }
        self.length = answer.length;
        let times = (log, answer.start.map(|start| since(self.epoch, start)));
        let slots = self.writer.next();
        let count = match &answer.requested {
            // Nearly all of them: what such an answer cannot have is not asked for.
            Requested::Request(request, _) if !self.trusts && request.method != Method::Unknown => {
                let texts = Texts { token: b"", ..Texts::of(request) };
                entry::write_answer(slots, answer, texts, times, None)
            }
            other => entry::write_other_answer(slots, answer, other.texts(), times, self.client(answer)),
        };
        self.noted = Noted::Words(count);
    }

    #[inline]
    pub(super) fn begin(&mut self, goes_on: bool) -> Option<NonZeroU32> {
        let count = match std::mem::replace(&mut self.noted, Noted::Nothing) {
            Noted::Words(count) => count,
            Noted::Nothing => return None,
            Noted::NoRoom => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let number = if goes_on { self.follow(count) } else { None };
        self.writer.advance(count);
        number
    }

    /// Gives the answer that was noted a number, since it goes on, if its end has a place as well.
    pub(super) fn follow(&mut self, count: usize) -> Option<NonZeroU32> {
        let need = count + (self.open + 1) * END;
        if self.open == OPEN_MAX || !self.writer.has_room(need) {
            // Whatever others do: a record there is.
            entry::set_not_followed(self.writer.next());
            return None;
        }
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.open += 1;
        let number = NonZeroU32::new(self.last)?;
        entry::set_number(self.writer.next(), number);
        Some(number)
    }

    /// Records an end, whose place was kept.
    pub(super) fn end(&mut self, answer: NonZeroU32, unsent: u64, cut: Option<Cut>) {
        let cut = cut.map_or(Cut::NONE, Cut::number);
        self.writer.push(entry::end(Ended { number: answer.get(), unsent, cut }));
        self.open -= 1;
    }

    pub(super) fn end_turn(&mut self, start: Instant, end: Instant) {
        self.writer.end_turn(start, end);
        self.wake.0.call();
    }

    #[cold]
    pub(super) fn client(&self, answer: &Answer<'_>) -> Option<IpAddr> {
        let (request, peer, trusted) = (answer.requested.request()?, answer.peer?, &self.wants.trusted);
        if !trusted.contain(peer) {
            return None;
        }
        semantics::forwarded(request, |address| trusted.contain_address(address))
    }
}
