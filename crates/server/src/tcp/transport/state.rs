//! The states of a transport: what it waits for, how far the kernel's keys and the end have come.

use std::time::Instant;

use sitar_io::{Conn, TlsTx, TxBuf};
use sitar_tls::{Alert, Handshake};

use super::input::InputBuffer;
use super::output::Output;
use super::security::Security;
use super::timers::Timers;
use crate::close::{Close, Timeout};
use crate::content::origin::Origin;
use crate::limits::Limits;
use crate::shard::quota::Quota;
use crate::snapshot::Role;

/// The one thing that a connection waits for.
pub(super) enum Waiting {
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

/// A step with the kernel at the next record boundary, before anything else is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KtlsState {
    /// Nothing.
    Settled,
    /// It is to be given the key.
    AttachDue,
    /// It is to be given the next key.
    UpdateDue,
}

/// The question that the kernel has been asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KtlsStep {
    /// To put its TLS under the socket.
    Attach,
    /// To take the key.
    Key,
    /// To take the next key.
    NextKey,
    /// Bytes that the peer has not acknowledged.
    Acks,
}

/// The state of records that the kernel may still hold.
pub(super) struct Acks {
    /// The least that its queue has held when it was asked.
    pub(super) left: usize,
    /// The time to give up, unless `left` shrinks.
    pub(super) until: Instant,
    /// Zeros in a row.
    pub(super) zeros: u8,
}

/// The consequence of an answer of the kernel.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) enum Asked {
    /// Nothing is to be waited for any more.
    Settled,
    /// It has been asked for something else.
    Again,
}

/// The end of a connection, begun: no further request is read.
pub(super) struct Ending {
    /// The reason why it has to end.
    pub(super) why: Close,
    pub(super) step: EndStep,
}

/// The progress of the end.
pub(super) enum EndStep {
    /// This alert is to be put behind the last answer.
    Alert(Alert),
    /// All is said; the kernel, which seals, may still hold records.
    Acks(Acks),
    /// All is said.
    Said,
}

/// Whether the ring receives from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RecvState {
    /// Not before the peer is known.
    Held,
    Armed,
    /// Stopped, or being stopped, because too much is put aside.
    Paused,
    /// The peer has finished sending.
    Ended,
}

/// The bytes that have come from the peer.
pub(super) struct Input {
    pub(super) state: RecvState,
    /// Bytes off the wire, not yet opened (TLS) or not yet parsed (plain).
    pub(super) wire: InputBuffer,
    /// Opened text, not yet parsed.
    pub(super) text: InputBuffer,
    /// Bytes that were thrown away because nothing more is read.
    pub(super) discarded: u32,
}

/// A connection's way to its peer, whatever is spoken on it.
pub(in crate::tcp) struct Transport {
    pub(super) conn: Conn,
    origin: Origin,
    pub(super) security: Security,
    pub(super) ktls: KtlsState,
    pub(super) waiting: Waiting,
    pub(super) ending: Option<Ending>,
    pub(super) input: Input,
    /// Being filled during an event; never kept beyond it.
    pub(super) output: Option<Output>,
    /// The time at which the last send began.
    pub(super) last_send: Instant,
    /// The ring will report when the socket has room.
    pub(super) writable_armed: bool,
    pub(super) timers: Timers,
    /// Requests answered.
    pub(super) answered: u64,
    /// It waited for a request when the server was asked to stop, having answered this many.
    pub(super) idle_at_stop: Option<u64>,
}

impl Transport {
    /// A connection that has just been accepted; `tls` is where its handshake starts.
    pub(in crate::tcp) fn new(
        conn: Conn,
        role: Role,
        tls: Option<Handshake>,
        now: Instant,
        limits: &Limits,
    ) -> Transport {
        let (security, timers) = match tls {
            Some(handshake) => {
                let timers = Timers::new(Timeout::Handshake, now + limits.handshake);
                (Security::Handshaking(handshake), timers)
            }
            None => (Security::Plain, Timers::new(Timeout::Idle, now + limits.idle)),
        };
        Transport {
            conn,
            origin: Origin::new(role),
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
    pub(in crate::tcp) fn release(mut self, quota: &mut Quota) -> Conn {
        quota.release(&mut self.input.wire);
        quota.release(&mut self.input.text);
        self.conn
    }

    /// Returns what it was opened for.
    #[inline]
    pub(in crate::tcp) fn origin(&mut self) -> &mut Origin {
        &mut self.origin
    }

    pub(super) fn known(&self) -> &Origin {
        &self.origin
    }

    #[cfg(test)]
    pub(in crate::tcp) fn peer(&self) -> Option<crate::peer::Peer> {
        self.origin.peer()
    }

    /// Whether the peer's next bytes are what is waited for.
    pub(in crate::tcp) fn is_receiving(&self) -> bool {
        matches!(self.waiting, Waiting::Input)
    }

    pub(in crate::tcp) fn is_handshaking(&self) -> bool {
        matches!(self.security, Security::Handshaking(_))
    }

    pub(in crate::tcp) fn is_loading(&self) -> bool {
        matches!(self.waiting, Waiting::Load)
    }

    /// Whether the kernel's answer is waited for.
    pub(in crate::tcp) fn waits_for_kernel(&self) -> bool {
        matches!(self.waiting, Waiting::Kernel(_))
    }

    /// Whether the peer's FIN is waited for.
    pub(in crate::tcp) fn waits_for_peer_close(&self) -> bool {
        matches!(self.waiting, Waiting::PeerClose)
    }

    /// Whether the next request may be looked at, as far as the transport is concerned.
    pub(in crate::tcp) fn takes_requests(&self) -> bool {
        self.is_receiving() && self.is_keyed() && !self.is_ending()
    }

    /// Waits for a file that the loader reads.
    pub(in crate::tcp) fn wait_for_load(&mut self) {
        self.begin_wait(Waiting::Load);
    }

    pub(super) fn begin_wait(&mut self, waiting: Waiting) {
        self.waiting = waiting;
        self.timers.waits += 1;
    }

    /// Ends the wait for a file. Returns whether there was one.
    pub(in crate::tcp) fn end_load(&mut self) -> bool {
        let ends = self.is_loading();
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// There may be a send buffer now. Returns whether that was waited for.
    pub(in crate::tcp) fn end_buffer_wait(&mut self) -> bool {
        let ends = matches!(self.waiting, Waiting::Buffer);
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// It is this connection's turn to negotiate. Returns whether that was waited for.
    pub(in crate::tcp) fn end_turn_wait(&mut self) -> bool {
        let ends = matches!(self.waiting, Waiting::HandshakeTurn);
        if ends {
            self.waiting = Waiting::Input;
        }
        ends
    }

    /// A request has been answered.
    pub(in crate::tcp) fn count_answer(&mut self) {
        self.answered += 1;
    }

    /// Requests answered.
    pub(in crate::tcp) fn answered(&self) -> u64 {
        self.answered
    }

    /// Returns when the last send began; before there was one, when the connection came.
    pub(in crate::tcp) fn last_send(&self) -> Instant {
        self.last_send
    }

    /// Since when the peer has had to take what was sent last, if that is waited for.
    pub(in crate::tcp) fn sends_since(&self) -> Option<Instant> {
        matches!(self.waiting, Waiting::Sending { .. } | Waiting::Room).then_some(self.last_send)
    }

    /// Since when a send that holds a send buffer has been on its way, if one is: for choosing
    /// which connection to close when these run out.
    pub(in crate::tcp) fn sending_since(&self) -> Option<Instant> {
        match self.waiting {
            Waiting::Sending { since, holds_buffer: true, .. } => Some(since),
            _ => None,
        }
    }
}
