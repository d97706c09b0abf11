//! Streams (RFC 9113 §5.1), as far as they are neither idle nor closed: a client opens them, this server never does.
//!
//! ```text
//!                  the client's side                       this side
//!   HEADERS ──▶ Open ── END_STREAM ──▶ Closed     Asked ── HEADERS ──▶ Sending ── END_STREAM ──▶ Finished
//!                  └── RST_STREAM, in either direction: the stream is gone ──┘
//! ```

use super::priority::Priority;

/// The content of an answer.
pub trait ContentSource {
    /// How many of its next bytes are at hand.
    fn ready(&self) -> usize;

    /// Moves its next bytes to `out`, which is no longer than what is [`ready`](ContentSource::ready).
    fn fill(&mut self, out: &mut [u8]);
}

/// A stream that is open or half-closed.
#[derive(Debug)]
pub(super) struct Stream<T> {
    pub(super) id: u32,
    pub(super) priority: Priority,
    pub(super) remote: Remote,
    pub(super) local: Local<T>,
    /// What may be sent; negative after the peer has made its initial window smaller (§6.9.2).
    pub(super) window: i64,
    /// The size that the peer has given to this window: at first the initial one.
    pub(super) top: i64,
    /// When it was served last, in frames of the connection.
    pub(super) served: u32,
}

/// Whether the client sends on this stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// A request's content, of which nothing is kept, or its trailers.
    Open {
        /// Bytes of DATA frames' payloads that may still come: the stream's window. It is renewed only behind the answer.
        window: i64,
        /// Bytes of content.
        received: u64,
        /// What Content-Length said.
        expected: Option<u64>,
    },
    Closed,
}

/// How far the answer is.
#[derive(Debug)]
pub(super) enum Local<T> {
    /// A request has been handed out. The caller may leave something here until it can answer.
    Asked(Option<T>),
    /// The head has been written.
    Sending {
        content: T,
        left: u64,
    },
    Finished,
}

/// The streams of a connection in the order of their numbers.
#[derive(Debug)]
pub(super) struct Streams<T> {
    list: Vec<Stream<T>>,
    /// How many of them have content to send.
    sending: usize,
}

impl<T> Streams<T> {
    pub(super) const fn new() -> Streams<T> {
        Streams { list: Vec::new(), sending: 0 }
    }

    /// Where a stream is.
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

    /// Adds a stream with a number above all others'. `spare` lends its memory to the first one.
    pub(super) fn push(&mut self, stream: Stream<T>, spare: &mut Vec<Vec<Stream<T>>>) {
        if self.list.capacity() == 0
            && let Some(list) = spare.pop()
        {
            self.list = list;
        }
        self.list.push(stream);
    }

    /// How many streams have content to send.
    pub(super) fn sending(&self) -> usize {
        self.sending
    }

    /// The head of the answer has been written, and this is the rest.
    pub(super) fn start(&mut self, at: usize, content: T, left: u64) {
        self.list[at].local = Local::Sending { content, left };
        self.sending += 1;
    }

    /// The whole answer has been written.
    pub(super) fn finish(&mut self, at: usize) {
        if let Local::Sending { .. } = std::mem::replace(&mut self.list[at].local, Local::Finished) {
            self.sending -= 1;
        }
    }

    /// Removes a stream; the last one gives the memory back.
    pub(super) fn remove(&mut self, at: usize, spare: &mut Vec<Vec<Stream<T>>>) {
        if let Local::Sending { .. } = self.list.remove(at).local {
            self.sending -= 1;
        }
        if self.list.is_empty() {
            self.give_back(spare);
        }
    }

    pub(super) fn clear(&mut self, spare: &mut Vec<Vec<Stream<T>>>) {
        self.list.clear();
        self.sending = 0;
        self.give_back(spare);
    }

    fn give_back(&mut self, spare: &mut Vec<Vec<Stream<T>>>) {
        if self.list.capacity() > 0 && spare.len() < spare.capacity() {
            spare.push(std::mem::take(&mut self.list));
        } else {
            self.list = Vec::new();
        }
    }
}
