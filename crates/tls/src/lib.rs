//! TLS for a server that owns its buffers: bytes in, bytes out, no sockets and no clock.
//!
//! A connection passes through two types; each is consumed by the event that ends it:
//!
//! ```text
//! Config ─▶ Handshake ──on_bytes──▶ Established { records, rest, … }
//!              │ rustls does this part       │ this crate does the rest
//!              ▼                             ▼
//!            Failed (alert in `out`)       Records: frame → open, seal_in_place / seal_from
//! ```
//!
//! rustls negotiates. It allocates and copies, which is fine for something that happens once. When
//! it is done, its traffic secrets are taken, its state is dropped, and [`Records`] takes over both
//! directions. From there on nothing is allocated. A record is opened where it was received, and
//! sealed where it will be sent from, in one pass over the plaintext unless the faster AEAD of this
//! processor wants it in place.
//!
//! Only the `engine` module knows rustls, so that its next API has one place to change. A kernel
//! can take over only the sending half of [`Records`]; receiving stays here.
//!
//! Refused on purpose: early data (replayable), half-RTT data, renegotiation, TLS 1.1 and older.

mod alert;
pub mod der;
mod engine;
mod fault;
mod record;
mod stack;

pub use alert::Alert;
pub use engine::{
    CertificateNames, Challenges, ClientCa, Config, ConfigError, Established, FileContent, FileKind, Flaw,
    Handshake, HandshakeError, HandshakeStep, HostClients, Identities, Identity, IdentityError, Reason,
};
pub use fault::{Fault, PeerFault};
pub use record::{
    Aead, Frame, Opened, PLAINTEXT_MAX, RECORD_MAX, RecordError, Records, SEALED_MAX, SealingKey, Version,
    content_type,
};

/// Properties that hold for any input, for fuzzing and the replay of its corpus; not part of the
/// interface.
pub mod properties {
    pub use crate::record::properties::records;
}

#[cfg(test)]
mod tests;
