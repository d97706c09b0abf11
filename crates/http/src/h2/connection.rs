//! The state of a connection, and what ends it.

use std::time::{Duration, Instant};

use super::flood::{Flood, Floods};
use super::frame::{self, ErrorCode, Kind, WINDOW_INITIAL, setting};
use super::hpack::{Decoder, Scratch};
use super::queue::{self, Queue};
use super::spare::Spare;
use super::stream::{Local, Remote, Stream, Streams};
use super::window::Window;
use super::{Limits, hpack};

/// Streams that a connection has room for at first.
const FEW_STREAMS: usize = 4;

/// Buffers that many connections use in turn. None of them leaves anything here that it needs
/// later.
#[derive(Debug)]
pub struct SharedBuffers<T> {
    /// The place where coded strings are decoded.
    pub(super) scratch: Scratch,
    /// The parts of a request that a response may depend on.
    pub(super) kept: Box<[u8]>,
    /// A field block that came in fragments.
    pub(super) joined: Vec<u8>,
    /// Empty queues of frames, for the next connection that has something to send.
    pub(super) queues: Spare<u8>,
    /// Empty lists of streams, for the next connection that opens one.
    pub(super) lists: Spare<Stream<T>>,
}

impl<T> SharedBuffers<T> {
    /// Creates the buffers for connections with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> SharedBuffers<T> {
        SharedBuffers {
            scratch: Scratch::new(limits.block),
            kept: vec![0; limits.list].into_boxed_slice(),
            joined: Vec::with_capacity(limits.block),
            queues: Spare::new(queue::SPARE_LEN[0], queue::SPARE_LEN[1]),
            lists: Spare::new(FEW_STREAMS, limits.streams as usize),
        }
    }

    /// Frees what is kept for connections to come.
    pub fn trim(&mut self) {
        self.queues.clear();
        self.lists.clear();
    }
}

/// Bytes that a response counts beyond its content in [`Connection::progress`]: as much as a peer
/// that is only slow takes in some seconds.
pub(super) const RESPONSE_PROGRESS: u64 = 4096;

/// The reason why a connection ended with an error (RFC 9113 §5.4.1), for logs and counters. It is
/// always the peer's fault: mistakes of this side end a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// The code in the GOAWAY that the peer is sent.
    pub code: ErrorCode,
    /// The reason in a few words, for a person.
    pub reason: &'static str,
    /// The allowance that the peer exceeded, if that was it.
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

    pub(super) const fn flow_control(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::FlowControlError, reason)
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

/// The phases of a connection, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Waiting for the client's preface (RFC 9113 §3.4).
    Preface,
    /// Waiting for the client's first SETTINGS.
    Settings,
    Open,
    /// GOAWAY has asked the client to open no more streams. Those that it opened before GOAWAY
    /// arrived are still answered (§6.8), until it has acknowledged our PING, or until this time.
    Draining {
        until: Instant,
    },
    /// The final GOAWAY has named the last stream that is answered.
    Drained,
    /// Nothing is read any more; only GOAWAY is still sent.
    Failed(ConnectionError),
}

/// The settings and the state that the client has announced.
#[derive(Debug)]
pub(super) struct Peer {
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub(super) initial_window: i64,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub(super) frame_max: u32,
    /// SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218 §2.1), once it has been sent.
    pub(super) no_rfc7540_priorities: Option<bool>,
    /// It has sent GOAWAY, so it will open no more streams.
    pub(super) is_leaving: bool,
}

/// The windows of the connection, which all of its streams share (RFC 9113 §5.2.1).
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) send: Window,
    /// Bytes that the client may send.
    pub(super) receive: i64,
}

/// The numbers of streams that are not open.
#[derive(Debug)]
pub(super) struct StreamIds {
    /// The highest stream that the client has opened.
    pub(super) last_opened: u32,
    /// The highest stream that is answered.
    pub(super) last_accepted: u32,
    /// Streams that were reset here, on which frames may still be on their way (§5.1, closed).
    pub(super) reset: Vec<u32>,
}

/// Counts of what has been sent so far.
#[derive(Debug)]
pub(super) struct Sent {
    /// DATA frames.
    pub(super) data_frames: u32,
    /// Whether a field block has told the client that the encoder's table is empty.
    pub(super) has_emptied_table: bool,
    /// See [`progress`](Connection::progress).
    pub(super) progress: u64,
    /// Bytes of content for which the client has opened no window yet behind the end of a stream.
    pub(super) unreturned: u64,
}

/// A server's connection. `T` is the content of a response, or whatever the caller has to keep
/// until it can respond.
#[derive(Debug)]
pub struct Connection<T> {
    pub(super) limits: Limits,
    pub(super) phase: Phase,
    /// The time by which our settings must have been acknowledged; `None` once they have been.
    pub(super) settings_due: Option<Instant>,
    pub(super) decoder: Decoder,
    pub(super) streams: Streams<T>,
    pub(super) queue: Queue,
    pub(super) floods: Floods,
    pub(super) windows: Windows,
    pub(super) peer: Peer,
    pub(super) ids: StreamIds,
    pub(super) sent: Sent,
    /// Bytes to come of a frame whose payload is thrown away.
    pub(super) skip: usize,
}

/// Streams reset here that are remembered.
const RESET_MAX: usize = 128;
/// Bytes in the queue beyond which nothing is read. The queue does not depend on the peer's
/// windows, so it leaves as fast as the peer reads.
const QUEUE_PAUSE: usize = 24 << 10;
/// Bytes beyond which a queue cannot grow while the peer reads: one head, and what a frame is
/// answered with.
const QUEUE_MAX: usize = 64 << 10;
const _: () = assert!(QUEUE_PAUSE + 2 * frame::PAYLOAD_MAX <= QUEUE_MAX);
/// Longer than a round trip, after which no new stream can be on its way.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// The payload of the PING that measures the round trip.
const DRAIN_PING: [u8; 8] = *b"farewell";
/// The last stream in the first GOAWAY of a graceful shutdown (§6.8).
const ANY_STREAM: u32 = (1 << 31) - 1;

impl<T> Connection<T> {
    /// Starts a connection, and queues the SETTINGS that a server sends first (RFC 9113 §3.4).
    #[must_use]
    pub fn new(limits: &Limits, shared: &mut SharedBuffers<T>, now: Instant) -> Connection<T> {
        let mut connection = Connection {
            limits: *limits,
            phase: Phase::Preface,
            settings_due: Some(now + limits.settings),
            decoder: Decoder::new(),
            streams: Streams::new(),
            queue: Queue::default(),
            floods: Floods::new(now),
            windows: Windows { send: Window::new(WINDOW_INITIAL), receive: WINDOW_INITIAL },
            peer: Peer {
                initial_window: WINDOW_INITIAL,
                frame_max: frame::PAYLOAD_MAX as u32,
                no_rfc7540_priorities: None,
                is_leaving: false,
            },
            ids: StreamIds { last_opened: 0, last_accepted: 0, reset: Vec::new() },
            sent: Sent { data_frames: 0, has_emptied_table: false, progress: 0, unreturned: 0 },
            skip: 0,
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

    /// Returns the error that ended the connection, if one did.
    #[must_use]
    pub fn error(&self) -> Option<ConnectionError> {
        match self.phase {
            Phase::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Returns whether everything has been said. The transport is to be closed once what was sent
    /// has left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let is_over = match self.phase {
            Phase::Failed(_) => true,
            Phase::Drained => self.streams.is_empty(),
            _ => self.peer.is_leaving && self.streams.is_empty(),
        };
        is_over && self.queue.is_empty()
    }

    /// Returns whether no response is under way and nothing is to be sent. Content of a request
    /// that has been answered may still come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.streams.iter().all(|stream| matches!(stream.local, Local::Finished))
    }

    /// Returns the number of open streams.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Returns the time at which [`on_time`](Connection::on_time) has something to do, if any.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Draining { until } => Some(self.settings_due.map_or(until, |due| due.min(until))),
            Phase::Failed(_) => None,
            _ => self.settings_due,
        }
    }

    /// Does what is due at `now`.
    pub fn on_time(&mut self, shared: &mut SharedBuffers<T>, now: Instant) {
        if self.settings_due.is_some_and(|due| due <= now) {
            self.settings_due = None;
            let reason = "our settings were not acknowledged";
            self.fail(shared, ConnectionError::new(ErrorCode::SettingsTimeout, reason));
        }
        if let Phase::Draining { until } = self.phase
            && until <= now
        {
            self.finish_drain(shared);
        }
    }

    /// Whether the client's preface and its first SETTINGS have come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !matches!(self.phase, Phase::Preface | Phase::Settings)
    }

    /// Begins a graceful shutdown (RFC 9113 §6.8): no more requests are taken after those that may
    /// be on their way already, and the connection is done after the last response.
    pub fn begin_drain(&mut self, shared: &mut SharedBuffers<T>, now: Instant) {
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Draining { until: now + DRAIN_TIME };
                self.enqueue_goaway(shared, ANY_STREAM, ErrorCode::NoError);
                self.enqueue(shared, Kind::Ping, 0, 0, &DRAIN_PING);
            }
            Phase::Preface | Phase::Settings => self.finish_drain(shared),
            Phase::Draining { .. } | Phase::Drained | Phase::Failed(_) => {}
        }
    }

    /// Takes no more requests from now on, and gives up those whose content has not come to its
    /// end.
    pub fn close(&mut self, shared: &mut SharedBuffers<T>) {
        if !matches!(self.phase, Phase::Drained | Phase::Failed(_)) {
            self.finish_drain(shared);
        }
        self.streams.clear(&mut shared.lists);
    }

    /// Returns whether the final GOAWAY, which names the last stream that is answered, has been
    /// queued. No request is taken any more.
    #[must_use]
    pub fn has_sent_final_goaway(&self) -> bool {
        matches!(self.phase, Phase::Drained)
    }

    /// Returns the bytes of content sent so far, plus 4096 for each response. The figure grows only
    /// as the peer takes something.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.sent.progress
    }

    /// Resets a stream whose response cannot be completed, by a fault of ours (INTERNAL_ERROR).
    /// Does nothing when the stream is gone.
    pub fn abort(&mut self, shared: &mut SharedBuffers<T>, stream: u32) {
        if let Some(at) = self.streams.find(stream) {
            self.reset_at(shared, at, ErrorCode::InternalError);
        }
    }

    /// Ends a connection that is given up, and returns its memory to `shared`. What it still had to
    /// say is lost.
    pub fn release(mut self, shared: &mut SharedBuffers<T>) {
        self.streams.clear(&mut shared.lists);
        self.queue.clear(&mut shared.queues);
    }

    /// Returns the bytes of heap memory that the connection holds, without what `T` refers to.
    #[must_use]
    pub fn memory(&self) -> usize {
        let reset = self.ids.reset.capacity() * size_of::<u32>();
        self.decoder.memory() + self.queue.memory() + self.streams.memory() + reset
    }

    pub(super) fn is_drain_ping(payload: &[u8]) -> bool {
        payload == DRAIN_PING
    }

    /// Tells a client that had time to hear the first GOAWAY which stream is the last (§6.8).
    pub(super) fn finish_drain(&mut self, shared: &mut SharedBuffers<T>) {
        self.phase = Phase::Drained;
        self.enqueue_goaway(shared, self.ids.last_accepted, ErrorCode::NoError);
    }

    /// Ends the connection (§5.4.1).
    pub(super) fn fail(&mut self, shared: &mut SharedBuffers<T>, error: ConnectionError) {
        if let Phase::Failed(_) = self.phase {
            return;
        }
        self.phase = Phase::Failed(error);
        self.streams.clear(&mut shared.lists);
        self.enqueue_goaway(shared, self.ids.last_accepted, error.code);
    }

    fn enqueue_goaway(&mut self, shared: &mut SharedBuffers<T>, last: u32, code: ErrorCode) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&(code as u32).to_be_bytes());
        self.enqueue(shared, Kind::Goaway, 0, 0, &payload);
    }

    /// Ends a stream (§5.4.2).
    pub(super) fn reset_at(&mut self, shared: &mut SharedBuffers<T>, at: usize, code: ErrorCode) {
        let stream = self.streams.at(at);
        let id = stream.id;
        let is_open = stream.remote != Remote::Closed;
        self.streams.remove(at, &mut shared.lists);
        self.send_reset(shared, id, code, is_open);
    }

    /// Sends RST_STREAM. `is_open`: the client may still send on the stream.
    pub(super) fn send_reset(
        &mut self,
        shared: &mut SharedBuffers<T>,
        id: u32,
        code: ErrorCode,
        is_open: bool,
    ) {
        if is_open {
            let reset = &mut self.ids.reset;
            if reset.len() == RESET_MAX {
                reset.remove(0);
            }
            reset.push(id);
        }
        self.enqueue(shared, Kind::RstStream, 0, id, &(code as u32).to_be_bytes());
    }

    /// Puts a frame behind the others that wait.
    pub(super) fn enqueue(
        &mut self,
        shared: &mut SharedBuffers<T>,
        kind: Kind,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) {
        self.queue.push(&mut shared.queues, kind, flags, stream, payload);
    }

    /// Returns whether another response may be given: not while heads wait for a peer that does not
    /// read. [`Connection::receive`] heeds this by itself; a caller that answers parked requests
    /// has to ask.
    #[must_use]
    pub fn accepts_responses(&self) -> bool {
        self.queue.waiting().len() <= QUEUE_PAUSE
    }

    /// Returns whether more waits than can come together while the peer reads.
    pub(super) fn is_overfull(&self) -> bool {
        self.queue.waiting().len() > QUEUE_MAX
    }
}
