//! What carries a protocol: input and output of a connection, TLS, deadlines and the end.
//!
//! At any time a connection waits for exactly one thing ([`Waiting`]). While that is not the peer's next
//! bytes, what the peer sends is put aside ([`InputBuffer`](input::InputBuffer)) and, past a bound, no
//! longer received: back-pressure by TCP. So there is at most one send in flight, answers leave in order,
//! and a peer that does not read costs one send buffer and one input buffer at most.
//!
//! ```text
//!                  ┌──────── bytes: records, requests, answers ────────┐
//!                  ▼                                                    │
//!   accept ────▶ Input ──▶ Load (file not in memory) ──▶ loaded ────────┤
//!                  │  ▲                                                 │
//!                  ▼  └── sent, nothing left to send ◀── Sending ◀──────┘
//!              last answer sent ──▶ shutdown ──▶ PeerClose ──▶ closed
//! ```
//!
//! Where the kernel seals ([`ktls`]) a connection also waits for it to take a key, and before the shutdown
//! for it to have sent all that it has sealed.

mod close;
mod handshake;
pub(crate) mod input;
mod key_limits;
mod ktls;
pub(super) mod output;
mod receive;
pub(super) mod security;
mod send;
mod timeout;

use std::time::Instant;

use sitar_io::{Conn, TlsTx, TxBuf};
use sitar_tls::Handshake;

use self::close::Ending;
pub(super) use self::handshake::Negotiated;
use self::input::{InputBuffer, InputQuota};
pub(super) use self::key_limits::KernelKey;
pub(super) use self::ktls::Asked;
use self::ktls::{KtlsState, KtlsStep};
use self::output::Output;
pub(super) use self::receive::{Arrival, Opened};
use self::security::Security;
pub(super) use self::send::{READ_LEN, STAGE_AT, Sent};
use self::timeout::Timers;
pub(super) use self::timeout::Wait;
use crate::close::Timeout;
use crate::limits::Limits;

/// What a connection waits for.
enum Waiting {
    /// The peer's next bytes.
    Input,
    /// Its turn for the next step of its handshake.
    HandshakeTurn,
    /// A send buffer to put its output in.
    Buffer,
    /// A file that the loader reads.
    Load,
    /// A part of a file too large for memory.
    FileRead {
        /// For what is read to be sealed into.
        second: Option<TxBuf>,
    },
    /// The end of a send.
    Sending {
        since: Instant,
        /// Bytes that have been sent of it.
        sent: usize,
        /// It holds a send buffer.
        holds_buffer: bool,
        /// It is a KeyUpdate, and the kernel is to be given this key afterwards.
        next_key: Option<Box<TlsTx>>,
    },
    /// Room in the socket, so that what is sent next need not wait in a send buffer.
    Room,
    /// The kernel that seals.
    Kernel(KtlsStep),
    /// The peer to close, after the last answer.
    PeerClose,
}

/// Whether the ring receives from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RecvState {
    Armed,
    /// Stopped, or being stopped, because too much is put aside.
    Paused,
    /// The peer has finished sending.
    Ended,
}

/// What has come from the peer.
struct Input {
    state: RecvState,
    /// Bytes off the wire, not yet opened (TLS) or not yet parsed (plain).
    wire: InputBuffer,
    /// Opened text, not yet parsed.
    text: InputBuffer,
    /// Bytes that were thrown away because nothing more is read.
    discarded: usize,
}

/// A connection's way to its peer, whatever is spoken on it.
pub(super) struct Transport {
    conn: Conn,
    security: Security,
    ktls: KtlsState,
    waiting: Waiting,
    ending: Option<Ending>,
    input: Input,
    /// Being filled during an event; never kept beyond it.
    output: Option<Output>,
    /// When the last send began.
    last_send: Instant,
    /// The ring will report when the socket has room.
    writable_armed: bool,
    timers: Timers,
    /// Requests answered.
    answered: u64,
    /// It waited for a request when the server was asked to stop, having answered this many.
    idle_at_stop: Option<u64>,
}

impl Transport {
    /// A connection that has just been accepted; `tls` is where its handshake starts.
    pub(super) fn new(conn: Conn, tls: Option<Handshake>, now: Instant, limits: &Limits) -> Transport {
        let (security, timers) = match tls {
            Some(handshake) => {
                let timers = Timers::new(Timeout::Handshake, now + limits.handshake);
                (Security::Handshaking(handshake), timers)
            }
            None => (Security::Plain, Timers::new(Timeout::Idle, now + limits.idle)),
        };
        Transport {
            conn,
            security,
            ktls: KtlsState::Settled,
            waiting: Waiting::Input,
            ending: None,
            input: Input {
                state: RecvState::Armed,
                wire: InputBuffer::default(),
                text: InputBuffer::default(),
                discarded: 0,
            },
            output: None,
            last_send: now,
            writable_armed: false,
            timers,
            answered: 0,
            idle_at_stop: None,
        }
    }

    /// Gives everything back to the shard; the caller closes the descriptor.
    pub(super) fn release(mut self, quota: &mut InputQuota) -> Conn {
        quota.release(&mut self.input.wire);
        quota.release(&mut self.input.text);
        self.conn
    }

    /// Whether the peer's next bytes are what is waited for.
    pub(super) fn is_receiving(&self) -> bool {
        matches!(self.waiting, Waiting::Input)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.security, Security::Handshaking(_))
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.waiting, Waiting::Load)
    }

    /// Whether the kernel's answer is waited for.
    pub(super) fn waits_for_kernel(&self) -> bool {
        matches!(self.waiting, Waiting::Kernel(_))
    }

    /// Whether the peer's FIN is waited for.
    pub(super) fn waits_for_peer_close(&self) -> bool {
        matches!(self.waiting, Waiting::PeerClose)
    }

    /// Whether the next request may be looked at, as far as the transport is concerned.
    pub(super) fn takes_requests(&self) -> bool {
        self.is_receiving() && self.is_keyed() && !self.is_ending()
    }

    /// Waits for a file that the loader reads.
    pub(super) fn wait_for_load(&mut self) {
        self.begin_wait(Waiting::Load);
    }

    fn begin_wait(&mut self, waiting: Waiting) {
        self.waiting = waiting;
        self.timers.waits += 1;
    }

    /// What was waited for has come, if it was `Load`.
    pub(super) fn end_load(&mut self) -> bool {
        let ends = self.is_loading();
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// There may be a send buffer now. Returns whether that was waited for.
    pub(super) fn end_buffer_wait(&mut self) -> bool {
        let ends = matches!(self.waiting, Waiting::Buffer);
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// It is this connection's turn to negotiate. Returns whether that was waited for.
    pub(super) fn end_turn_wait(&mut self) -> bool {
        let ends = matches!(self.waiting, Waiting::HandshakeTurn);
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// A request has been answered.
    pub(super) fn count_answer(&mut self) {
        self.answered += 1;
    }

    /// Requests answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Since when a send that holds a send buffer has been on its way, if one is: for choosing which
    /// connection to close when these run out.
    pub(super) fn sending_since(&self) -> Option<Instant> {
        match self.waiting {
            Waiting::Sending { since, holds_buffer: true, .. } => Some(since),
            _ => None,
        }
    }
}
