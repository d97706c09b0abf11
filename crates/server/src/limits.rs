//! Per-shard and per-connection limits, and the sizes of a ring's buffers that follow from them.

use std::time::Duration;

/// Whether the kernel seals the records of an established TLS connection in this program's place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsOffload {
    /// This program seals.
    #[default]
    None,
    /// The kernel seals where it takes the key: TLS 1.3 on io_uring, Linux 6.7 or newer. Elsewhere
    /// this program does.
    Kernel {
        /// The kernel takes another key later, too (Linux 6.14). Without this, a client that asks
        /// for a KeyUpdate is sent a close_notify, and so is one that has used a key up.
        rekey: bool,
    },
}

/// Limits of a shard. All tables and buffers are made from them at the start; nothing grows past
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. At the limit a newcomer takes the place of one that is idle, or is closed.
    pub connections: u32,
    /// Descriptors beyond `connections`: for those that are being closed, and for newcomers until
    /// it is known whose place they take. Where half of them are in use accepting pauses, and
    /// newcomers wait in the kernel's queue.
    pub closing: u32,
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head, and likewise for a body that is
    /// thrown away.
    pub head: Duration,
    /// Time between requests.
    pub idle: Duration,
    /// Time for a peer to take what is being sent to it, which is at most 68 KiB.
    pub send: Duration,
    /// Time for a peer to close after the last answer, so that the answer is not lost to a reset.
    pub linger: Duration,
    /// Time for open connections to finish after a stop was asked for.
    pub drain: Duration,
    /// Time for open connections to finish after a drain was asked for. Each wait of a connection
    /// has its own limit besides.
    pub hand_over: Duration,
    /// Receive buffers of 4 KiB: a power of two.
    pub rx_buffers: u16,
    /// Send buffers of 68 KiB (address space; memory only as far as they are used).
    pub tx_buffers: u32,
    /// Files kept open because they are too large for memory.
    pub files_open: usize,
    /// Files that may be open besides because they are being sent. The sum of both over all shards
    /// bounds the files of the worker: requests for other ones wait until one is closed.
    pub files_sent: usize,
    /// Files that connections of HTTP/2 send at the same time, beyond one for each connection. At
    /// most eight are of one connection.
    pub files_spare: usize,
    /// Bytes that peers can make the shard hold, all together: input that is not a whole record or
    /// request yet or waits for an answer that is on its way, handshakes, streams of HTTP/2, heads
    /// that are not read, requests that wait for a file. Near it connections are closed, those of
    /// the address that holds most first.
    pub held_max: usize,
    /// Request heads and bodies.
    pub http: sitar_http::h1::Limits,
    /// Whether HTTP/2 is spoken in plain text with clients that begin so; over TLS the handshake
    /// decides.
    pub http2: bool,
    /// Connections of HTTP/2.
    pub h2: sitar_http::h2::Limits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 8192,
            closing: 256,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            send: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            hand_over: Duration::from_secs(24 * 60 * 60),
            rx_buffers: 512,
            tx_buffers: 512,
            files_open: 64,
            files_sent: 8192 + 64,
            files_spare: 64,
            held_max: Limits::held_for(8192),
            http: sitar_http::h1::Limits::default(),
            http2: true,
            h2: sitar_http::h2::Limits::default(),
        }
    }
}

/// Bytes of input put aside for a connection before receiving is stopped. An incomplete record must
/// not reach half of it, at which receiving goes on.
pub(crate) const PAUSE_AT: usize = 48 << 10;
const _: () = assert!(PAUSE_AT / 2 >= sitar_tls::RECORD_MAX);
/// Send buffers that a shard needs to get anywhere: two for a file over TLS, and the reserve.
const TX_MIN: u32 = 8;
/// Bytes of a receive buffer.
const RX_LEN: u32 = 4096;
/// Bytes of a send buffer: four full records and one with a head.
const TX_LEN: u32 = 68 << 10;
const _: () = assert!(TX_LEN as usize >= 4 * sitar_tls::SEALED_MAX + 2048);

impl Limits {
    /// Returns how many bytes peers may make a shard with that many connections hold: 24 MiB, and 5
    /// KiB for each, which is the state of a handshake, or an idle connection of HTTP/2 with a full
    /// table of header fields.
    #[must_use]
    pub const fn held_for(connections: u32) -> usize {
        (24 << 20) + connections as usize * (5 << 10)
    }

    /// These limits, with the sizes of `made`, from which a shard's tables and buffers have been
    /// made.
    pub(crate) fn with_sizes_of(self, made: &Limits) -> Limits {
        Limits {
            connections: made.connections,
            closing: made.closing,
            rx_buffers: made.rx_buffers,
            tx_buffers: made.tx_buffers,
            files_open: made.files_open,
            files_sent: made.files_sent,
            files_spare: made.files_spare,
            held_max: made.held_max,
            h2: made.h2,
            ..self
        }
    }

    /// Send buffers of which only answers that need little may take the last ones: handshakes,
    /// refusals, farewells. Bodies leave them alone, so that peers that do not read cannot shut
    /// others out.
    pub(crate) fn reserve(&self) -> usize {
        self.ring().tx_count as usize / 8
    }

    /// Bytes held for one connection. Receiving is stopped long before, but what the ring has
    /// already received then, at most all of its buffers, must find a place.
    pub(crate) fn held_each_max(&self) -> usize {
        usize::from(self.rx_buffers) * RX_LEN as usize + PAUSE_AT + sitar_tls::RECORD_MAX
    }

    /// The ring that a shard with these limits needs.
    #[must_use]
    pub fn ring(&self) -> sitar_io::Config {
        sitar_io::Config {
            connections: self.connections.saturating_add(self.closing),
            rx_count: self.rx_buffers,
            rx_len: RX_LEN,
            tx_count: self.tx_buffers.max(TX_MIN),
            tx_len: TX_LEN,
        }
    }
}
