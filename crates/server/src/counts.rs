//! What a shard counts.

/// What happened in a shard since it was started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// TLS handshakes completed.
    pub handshakes: u64,
    /// Connections that the kernel seals for.
    pub kernel_sealed: u64,
    /// Requests answered, refusals included.
    pub requests: u64,
    /// Connections of HTTP/2 ended because the peer made useless work (ENHANCE_YOUR_CALM).
    pub calmed: u64,
    /// Connections closed because send buffers ran out and they had not read for longest.
    pub shed: u64,
}
