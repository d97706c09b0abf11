//! Streams (RFC 9113 §5.1), as far as they are neither idle nor closed. A client opens them; this
//! server never does.
//!
//! ```text
//! client:  ── HEADERS ─▶ Open ── END_STREAM ─▶ Closed
//! server:  Waiting ── HEADERS ─▶ Sending ── END_STREAM ─▶ Finished
//! both:    ── RST_STREAM in either direction ─▶ the stream is gone
//! ```

use super::priority::Priority;
use super::spare::Spare;
use super::window::Window;

/// The content of a response, which a connection asks for as there is room to send it.
pub trait ContentSource {
    /// Returns how many of its next bytes are at hand.
    fn ready(&self) -> usize;

    /// Moves its next bytes to `out`, which is no longer than [`ready`](ContentSource::ready) says.
    fn fill(&mut self, out: &mut [u8]);
}

/// A stream that is open or half-closed.
#[derive(Debug)]
pub(super) struct Stream<T> {
    pub(super) id: u32,
    pub(super) priority: Priority,
    pub(super) remote: Remote,
    pub(super) local: Local<T>,
    pub(super) window: Window,
    /// The number of the last DATA frame on this stream, counted over the connection.
    pub(super) served: u32,
}

/// The client's half of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// A request's content, of which nothing is kept, or its trailers are still to come.
    Open {
        /// Bytes of DATA payloads that may still come: the stream's window. It is renewed only
        /// behind the response.
        window: i64,
        /// Bytes of content that have come.
        received: u64,
        /// The value of Content-Length.
        expected: Option<u64>,
    },
    Closed,
}

/// This side's half of a stream.
#[derive(Debug)]
pub(super) enum Local<T> {
    /// A request has been handed out. The caller may leave something here until it can respond.
    Waiting(Option<T>),
    /// The head has been written, and `left` bytes of content are to follow.
    Sending {
        content: T,
        left: u64,
    },
    Finished,
}

/// Hints for streams that are not open yet: RFC 9218 §7.1 has a server keep some.
pub(super) const HINTS: usize = 4;

/// The streams of a connection in the order of their numbers.
#[derive(Debug)]
pub(super) struct Streams<T> {
    list: Vec<Stream<T>>,
    /// The number of streams that have content to send.
    sending: usize,
    /// PRIORITY_UPDATE for streams to come, by number; 0 where there is none.
    hints: [(u32, Priority); HINTS],
}

impl<T> Streams<T> {
    pub(super) const fn new() -> Streams<T> {
        Streams { list: Vec::new(), sending: 0, hints: [(0, Priority::DEFAULT); HINTS] }
    }

    /// Returns the place of a stream in the list.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        // The newest is asked for most.
        match self.list.last() {
            Some(last) if last.id == id => Some(self.list.len() - 1),
            _ => self.list.binary_search_by_key(&id, |stream| stream.id).ok(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn at(&mut self, at: usize) -> &mut Stream<T> {
        &mut self.list[at]
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Stream<T>> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Stream<T>> {
        self.list.iter_mut()
    }

    /// Adds a stream with a number above all others'. `spare` lends the memory.
    pub(super) fn push(&mut self, stream: Stream<T>, spare: &mut Spare<Stream<T>>) {
        spare.grow(&mut self.list, 1);
        self.list.push(stream);
    }

    /// Bytes of memory, without what `T` refers to.
    pub(super) fn memory(&self) -> usize {
        self.list.capacity() * size_of::<Stream<T>>()
    }

    /// Returns the number of streams that have content to send.
    pub(super) fn sending(&self) -> usize {
        self.sending
    }

    /// Begins the content, when the head of the response has been written.
    pub(super) fn start(&mut self, at: usize, content: T, left: u64) {
        self.list[at].local = Local::Sending { content, left };
        self.sending += 1;
    }

    /// Ends this side's half, when the whole response has been written.
    pub(super) fn finish(&mut self, at: usize) {
        if let Local::Sending { .. } = std::mem::replace(&mut self.list[at].local, Local::Finished) {
            self.sending -= 1;
        }
    }

    /// Removes a stream; with the last one the memory goes back.
    pub(super) fn remove(&mut self, at: usize, spare: &mut Spare<Stream<T>>) {
        if let Local::Sending { .. } = self.list.remove(at).local {
            self.sending -= 1;
        }
        if self.list.is_empty() {
            self.give_back(spare);
        }
    }

    pub(super) fn clear(&mut self, spare: &mut Spare<Stream<T>>) {
        self.list.clear();
        self.sending = 0;
        self.give_back(spare);
    }

    /// Keeps the priority of a stream that is not open yet. The newest hint replaces the last one
    /// when there is no room: a hint that is lost costs only order. Streams up to `last_opened`
    /// need none.
    pub(super) fn hint(&mut self, id: u32, priority: Priority, last_opened: u32) {
        let at = self.hints.iter().position(|(hinted, _)| *hinted == id || *hinted <= last_opened);
        self.hints[at.unwrap_or(HINTS - 1)] = (id, priority);
    }

    /// Takes the hint for a stream that is being opened.
    pub(super) fn take_hint(&mut self, id: u32) -> Option<Priority> {
        let hint = self.hints.iter_mut().find(|(stream, _)| *stream == id)?;
        hint.0 = 0;
        Some(hint.1)
    }

    fn give_back(&mut self, spare: &mut Spare<Stream<T>>) {
        spare.put(std::mem::take(&mut self.list));
    }
}
