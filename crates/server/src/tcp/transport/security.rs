//! The layer between the socket and HTTP.

use sitar_tls::{Handshake, Records};

/// The side that opens and seals what goes over the wire.
pub(crate) enum Security {
    /// TLS is still being negotiated.
    Handshaking(Handshake),
    /// TLS.
    Tls(Records),
    /// TLS whose records the kernel seals: what goes out is plain text, and each send ends a
    /// record.
    Kernel(Records),
    /// Nothing: plain HTTP.
    Plain,
    /// The handshake has failed, or is being worked on at this moment. Nothing that comes in is
    /// looked at, and only what ends the handshake goes out.
    Failed,
}

impl Security {
    /// Whether records are opened and sealed by this program.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Security::Tls(_))
    }
}
