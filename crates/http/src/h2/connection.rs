//! A connection's state, and what ends it.

use std::time::{Duration, Instant};

use super::flood::{Flood, Floods};
use super::frame::{self, ErrorCode, Header, Kind, WINDOW_INITIAL, setting};
use super::hpack::{Decoder, Scratch};
use super::priority::Priority;
use super::stream::{Local, Stream, Streams};
use super::{Limits, hpack};

/// What many connections use in turn; none of them leaves anything in it that it needs later.
#[derive(Debug)]
pub struct SharedBuffers<T> {
    /// Where coded strings are decoded.
    pub(super) scratch: Scratch,
    /// The parts of a request that somebody may ask for.
    pub(super) kept: Box<[u8]>,
    /// A header block that came in pieces.
    pub(super) joined: Vec<u8>,
    /// Memory of connections that had something to send, for the next ones.
    queues: Vec<Vec<u8>>,
    pub(super) lists: Vec<Vec<Stream<T>>>,
}

/// Buffers that are kept for reuse, and the largest of them.
const SPARE: usize = 64;
const SPARE_LEN: usize = 64 << 10;

impl<T> SharedBuffers<T> {
    /// For connections with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> SharedBuffers<T> {
        SharedBuffers {
            scratch: Scratch::new(limits.block),
            kept: vec![0; limits.list].into_boxed_slice(),
            joined: Vec::with_capacity(limits.block),
            queues: Vec::with_capacity(SPARE),
            lists: Vec::with_capacity(SPARE),
        }
    }
}

/// What an answer counts beyond its content: as much as a peer that is only slow takes in some seconds.
pub(super) const ANSWER_PROGRESS: u64 = 4096;

/// Why a connection ended with an error, for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// What the peer is told.
    pub code: ErrorCode,
    /// For the person who reads it.
    pub reason: &'static str,
    /// Which allowance was exceeded, if that was it.
    pub flood: Option<Flood>,
}

impl ConnectionError {
    pub(super) const fn new(code: ErrorCode, reason: &'static str) -> ConnectionError {
        ConnectionError { code, reason, flood: None }
    }

    pub(super) const fn protocol(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::ProtocolError, reason)
    }

    pub(super) const fn size(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::FrameSizeError, reason)
    }
}

impl From<Flood> for ConnectionError {
    fn from(flood: Flood) -> ConnectionError {
        ConnectionError { code: ErrorCode::EnhanceYourCalm, reason: flood.name(), flood: Some(flood) }
    }
}

impl From<hpack::Fault> for ConnectionError {
    fn from(fault: hpack::Fault) -> ConnectionError {
        if fault == hpack::TOO_MUCH {
            return Flood::Headers.into();
        }
        ConnectionError::new(ErrorCode::CompressionError, fault.0)
    }
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// The client's preface is awaited (RFC 9113 §3.4),
    Preface,
    /// then its first SETTINGS.
    Greeting,
    Open,
    /// The client has been told to open no more streams; what it had opened before it heard so is still answered
    /// (§6.8), until the answer to our PING shows that it has, or for a while.
    Leaving {
        until: Instant,
    },
    /// The client knows the last stream that is answered.
    Left,
    /// Nothing is read any more; only GOAWAY is still sent.
    Failed(ConnectionError),
}

/// A server's connection. `T` is the content of an answer, or what the caller has to remember until it can answer.
#[derive(Debug)]
pub struct Connection<T> {
    pub(super) limits: Limits,
    pub(super) phase: Phase,
    pub(super) decoder: Decoder,
    pub(super) streams: Streams<T>,
    /// Frames to be sent before any DATA, and how much of them has been.
    pub(super) queue: Vec<u8>,
    pub(super) queue_sent: usize,
    pub(super) floods: Floods,
    /// What may be sent on all streams together.
    pub(super) send_window: i64,
    /// The size that the peer has given to this window: at first the initial one.
    pub(super) send_top: i64,
    /// What the peer may send on all streams together.
    pub(super) recv_window: i64,
    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE and SETTINGS_MAX_FRAME_SIZE.
    pub(super) peer_window: i64,
    pub(super) peer_frame: usize,
    pub(super) peer_priorities: Option<bool>,
    /// When our settings must have been acknowledged.
    pub(super) settings_due: Option<Instant>,
    /// Bytes of a frame that are of no interest.
    pub(super) skip: usize,
    /// The highest stream that the client has opened, and the highest that is answered.
    pub(super) last_seen: u32,
    pub(super) last_taken: u32,
    /// Streams that were reset here, on which frames may still be on their way (§5.1, closed).
    pub(super) reset: Vec<u32>,
    /// PRIORITY_UPDATE for streams to come.
    pub(super) hints: [(u32, Priority); HINTS],
    /// Frames of DATA sent.
    pub(super) served: u32,
    /// See [`progress`](Connection::progress).
    pub(super) progress: u64,
    /// Bytes of content sent for which no window has been opened yet behind the end of a stream.
    pub(super) unreturned: u64,
    /// Whether the encoder's table has been declared empty.
    pub(super) declared: bool,
    /// Whether the client has said that it will open no more streams.
    pub(super) peer_left: bool,
}

/// RFC 9218 §7.1: some are kept for streams that are not open yet.
pub(super) const HINTS: usize = 4;
/// Streams reset here that are remembered.
const RESET_MAX: usize = 128;
/// With more than this waiting to be sent nothing is read. It does not depend on the peer's windows, so it leaves as fast
/// as the peer reads.
const QUEUE_PAUSE: usize = 24 << 10;
/// More cannot come together: one head, and what a frame is answered with.
const QUEUE_MAX: usize = 64 << 10;
const _: () = assert!(QUEUE_PAUSE + 2 * frame::PAYLOAD_MAX <= QUEUE_MAX);
/// For a round trip, after which no new stream can be on its way.
const LEAVE: Duration = Duration::from_secs(1);
/// The payload of the PING that measures it.
const LEAVE_PING: [u8; 8] = *b"farewell";

impl<T> Connection<T> {
    /// A connection whose client may begin. What this server says first (RFC 9113 §3.4) can be sent at once.
    #[must_use]
    pub fn new(limits: &Limits, shared: &mut SharedBuffers<T>, now: Instant) -> Connection<T> {
        let mut connection = Connection {
            limits: *limits,
            phase: Phase::Preface,
            decoder: Decoder::new(),
            streams: Streams::new(),
            queue: Vec::new(),
            queue_sent: 0,
            floods: Floods::new(now),
            send_window: WINDOW_INITIAL,
            send_top: WINDOW_INITIAL,
            recv_window: WINDOW_INITIAL,
            peer_window: WINDOW_INITIAL,
            peer_frame: frame::PAYLOAD_MAX,
            peer_priorities: None,
            settings_due: Some(now + limits.settings),
            skip: 0,
            last_seen: 0,
            last_taken: 0,
            reset: Vec::new(),
            hints: [(0, Priority::DEFAULT); HINTS],
            served: 0,
            progress: 0,
            unreturned: 0,
            declared: false,
            peer_left: false,
        };
        let mut payload = [0; 18];
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, limits.streams),
            (setting::MAX_HEADER_LIST_SIZE, u32::try_from(limits.list_decoded).unwrap_or(u32::MAX)),
            (setting::NO_RFC7540_PRIORITIES, 1),
        ];
        for (six, (name, value)) in payload.chunks_exact_mut(6).zip(settings) {
            six[..2].copy_from_slice(&name.to_be_bytes());
            six[2..].copy_from_slice(&value.to_be_bytes());
        }
        connection.enqueue(shared, Kind::Settings, 0, 0, &payload);
        connection
    }

    /// Why the connection ended, if it ended with an error.
    #[must_use]
    pub fn error(&self) -> Option<ConnectionError> {
        match self.phase {
            Phase::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether everything has been said: the transport is to be closed once what was sent has left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let over = match self.phase {
            Phase::Failed(_) => true,
            Phase::Left => self.streams.is_empty(),
            _ => self.peer_left && self.streams.is_empty(),
        };
        over && self.queue.is_empty()
    }

    /// Whether nobody waits for anything: no answer is under way, and nothing is to be sent. Content of a request that has
    /// been answered may still come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.streams.iter().all(|stream| matches!(stream.local, Local::Finished))
    }

    /// Open streams.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// When [`on_time`](Connection::on_time) has something to do, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leaving { until } => Some(self.settings_due.map_or(until, |due| due.min(until))),
            Phase::Failed(_) => None,
            _ => self.settings_due,
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, shared: &mut SharedBuffers<T>, now: Instant) {
        if self.settings_due.is_some_and(|due| due <= now) {
            self.settings_due = None;
            self.fail(
                shared,
                ConnectionError::new(ErrorCode::SettingsTimeout, "our settings were not acknowledged"),
            );
        }
        if let Phase::Leaving { until } = self.phase
            && until <= now
        {
            self.leave(shared);
        }
    }

    /// Takes no more requests after those that may be on their way already, and is done after the last answer.
    pub fn begin_drain(&mut self, shared: &mut SharedBuffers<T>, now: Instant) {
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Leaving { until: now + LEAVE };
                self.goodbye(shared, (1 << 31) - 1, ErrorCode::NoError);
                self.enqueue(shared, Kind::Ping, 0, 0, &LEAVE_PING);
            }
            Phase::Preface | Phase::Greeting => self.leave(shared),
            Phase::Leaving { .. } | Phase::Left | Phase::Failed(_) => {}
        }
    }

    /// Takes no more requests from now on, and gives up those whose content has not come to its end.
    pub fn close(&mut self, shared: &mut SharedBuffers<T>) {
        if !matches!(self.phase, Phase::Left | Phase::Failed(_)) {
            self.leave(shared);
        }
        self.streams.clear(&mut shared.lists);
    }

    /// Returns whether the client has been told the last stream that is answered, and has had the
    /// time to hear of it.
    #[must_use]
    pub fn has_sent_final_goaway(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// Bytes of content sent so far, and then some for each answer: grows only as the peer takes something.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// A stream's answer cannot be completed, and that is our fault. Nothing happens when it is gone.
    pub fn abort(&mut self, shared: &mut SharedBuffers<T>, stream: u32) {
        if let Some(at) = self.streams.find(stream) {
            self.reset_at(shared, at, ErrorCode::InternalError);
        }
    }

    /// Gives back what was lent. To be called when the connection is given up; what it still had to say is lost.
    pub fn release(mut self, shared: &mut SharedBuffers<T>) {
        self.streams.clear(&mut shared.lists);
        self.drop_queue(shared);
    }

    /// Bytes of memory that it holds on the heap, but for what `T` refers to.
    #[must_use]
    pub fn memory(&self) -> usize {
        let streams: usize = self.streams.iter().map(|_| size_of::<Stream<T>>()).sum();
        self.decoder.memory() + self.queue.capacity() + streams + self.reset.capacity() * 4
    }

    pub(super) fn is_leave_ping(payload: &[u8]) -> bool {
        payload == LEAVE_PING
    }

    /// The last word to a client that had time to hear the first one (§6.8).
    pub(super) fn leave(&mut self, shared: &mut SharedBuffers<T>) {
        self.phase = Phase::Left;
        self.goodbye(shared, self.last_taken, ErrorCode::NoError);
    }

    /// Ends the connection (§5.4.1).
    pub(super) fn fail(&mut self, shared: &mut SharedBuffers<T>, fault: ConnectionError) {
        if let Phase::Failed(_) = self.phase {
            return;
        }
        self.phase = Phase::Failed(fault);
        self.streams.clear(&mut shared.lists);
        self.goodbye(shared, self.last_taken, fault.code);
    }

    fn goodbye(&mut self, shared: &mut SharedBuffers<T>, last: u32, code: ErrorCode) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&(code as u32).to_be_bytes());
        self.enqueue(shared, Kind::Goaway, 0, 0, &payload);
    }

    /// Ends a stream (§5.4.2).
    pub(super) fn reset_at(&mut self, shared: &mut SharedBuffers<T>, at: usize, code: ErrorCode) {
        let stream = self.streams.at(at);
        let id = stream.id;
        let open = stream.remote != super::stream::Remote::Closed;
        self.streams.remove(at, &mut shared.lists);
        self.send_reset(shared, id, code, open);
    }

    /// `open`: the client may still send on it.
    pub(super) fn send_reset(&mut self, shared: &mut SharedBuffers<T>, id: u32, code: ErrorCode, open: bool) {
        if open {
            if self.reset.len() == RESET_MAX {
                self.reset.remove(0);
            }
            self.reset.push(id);
        }
        self.enqueue(shared, Kind::RstStream, 0, id, &(code as u32).to_be_bytes());
    }

    /// Puts a frame behind the others.
    pub(super) fn enqueue(
        &mut self,
        shared: &mut SharedBuffers<T>,
        kind: Kind,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) {
        let queue = self.queue(shared);
        queue.extend_from_slice(&Header { len: payload.len(), kind, flags, stream }.write());
        queue.extend_from_slice(payload);
    }

    pub(super) fn queue(&mut self, shared: &mut SharedBuffers<T>) -> &mut Vec<u8> {
        if self.queue.capacity() == 0
            && let Some(queue) = shared.queues.pop()
        {
            self.queue = queue;
        }
        &mut self.queue
    }

    /// Frames that wait, in bytes.
    pub(super) fn queued(&self) -> usize {
        self.queue.len() - self.queue_sent
    }

    /// Returns whether another answer may be given: not while heads wait for a peer that does not
    /// read. [`Connection::receive`] heeds this by itself; a caller that answers what was parked
    /// asks.
    #[must_use]
    pub fn accepts_responses(&self) -> bool {
        self.queued() <= QUEUE_PAUSE
    }

    /// Whether more waits than a peer that reads can let come together.
    pub(super) fn is_overfull(&self) -> bool {
        self.queued() > QUEUE_MAX
    }

    /// All of it has been sent.
    pub(super) fn drop_queue(&mut self, shared: &mut SharedBuffers<T>) {
        let mut queue = std::mem::take(&mut self.queue);
        self.queue_sent = 0;
        if queue.capacity() > 0 && queue.capacity() <= SPARE_LEN && shared.queues.len() < SPARE {
            queue.clear();
            shared.queues.push(queue);
        }
    }
}
