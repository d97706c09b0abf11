//! The transport below a protocol: input and output of a connection, TLS, deadlines and the end.
//!
//! At any time a connection waits for exactly one thing ([`Waiting`](state::Waiting)). While that
//! is not the peer's next bytes, what the peer sends is put aside
//! ([`InputBuffer`](input::InputBuffer)) and, past a bound, no longer received: back-pressure by
//! TCP. So there is at most one send in flight, answers leave in order, and a peer that does not
//! read costs one send buffer and one input buffer at most.
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
//! Where the kernel seals ([`ktls`]) a connection also waits for it to take a key, and before the
//! shutdown for it to have sent all that it has sealed.

mod close;
mod handshake;
pub(crate) mod input;
mod key_limits;
mod ktls;
pub(super) mod output;
mod receive;
mod record;
pub(super) mod security;
mod send;
mod state;
mod timeout;
mod timers;

pub(super) use self::handshake::Negotiated;
pub(super) use self::key_limits::KernelKey;
pub(super) use self::receive::{Arrival, Opened};
pub(super) use self::send::{READ_LEN, STAGE_AT, Sent};
pub(super) use self::state::{Asked, Transport};
pub(super) use self::timers::Wait;
