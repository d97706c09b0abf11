//! What is known of an answer.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sitar_http::Status;

use super::trace::TRACES_MAX;
use crate::numbers::HttpVersion;
use crate::peer::Peer;

/// The log that an answer belongs to: a number that the owner of the worker gives it, for as long
/// as the worker lives. Each [`Host`](crate::Host) names its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogId(pub u16);

impl LogId {
    /// Stands for no log: of a record that only traces want.
    pub const NONE: LogId = LogId(u16::MAX);
}

/// One answer. Nothing of a request is in it but what is named here: no field with a secret can
/// get into a log that is made from this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'r> {
    /// The log of the host that answered; [`LogId::NONE`]: it has none.
    pub log: LogId,
    /// The [numbers](super::Trace::id) of the traces that took it; 0 stands for none.
    pub traces: [u32; TRACES_MAX],
    /// When the request was first looked at: when the shard woke up for the end of its head.
    pub start: Instant,
    /// From then until all of the answer was handed to the kernel, or was given up.
    pub duration: Duration,
    /// The peer, or whom a proxy has named in a header of the PROXY protocol. `None`: the kernel
    /// has not said it.
    pub peer: Option<Peer>,
    /// The client that trusted proxies name (RFC 7239), where it is not the peer.
    pub client: Option<IpAddr>,
    /// The version of HTTP that the connection speaks.
    pub version: HttpVersion,
    /// The method. Empty where none could be read.
    pub method: &'r [u8],
    /// The host, with a port if the client sent one (RFC 9110 §7.2). Empty where none could be
    /// read. At most [`HOST_MAX`] bytes.
    pub host: &'r [u8],
    /// Path and query, as sent. Of a request that could not be read, what stands behind the method
    /// in its first line, which may be any bytes. At most [`TARGET_MAX`] bytes.
    pub target: &'r [u8],
    /// The status of the answer.
    pub status: Status,
    /// Bytes of content that were handed to the kernel, without the head, before TLS.
    pub length: u64,
    /// What the handshake has agreed on; `None`: plain HTTP.
    pub tls: Option<LogTls>,
    /// Referer (RFC 9110 §10.1.3), as sent. At most [`FIELD_MAX`] bytes.
    pub referer: Option<&'r [u8]>,
    /// User-Agent (RFC 9110 §10.1.5), as sent. At most [`FIELD_MAX`] bytes.
    pub user_agent: Option<&'r [u8]>,
    /// Why the answer was given up; `None`: all of it was handed to the kernel. The names are those
    /// of [`Ends::named`](crate::Ends::named), and `stream_reset`: the peer ended the stream
    /// of HTTP/2; `incomplete`: the file changed while it was sent; `not_followed`: it went on when
    /// more answers were under way than can be followed, and how it ended is not known.
    pub cut: Option<&'static str>,
}

/// The most that is kept of a host.
pub const HOST_MAX: usize = 300;
/// The most that is kept of a target.
pub const TARGET_MAX: usize = 8192;
/// The most that is kept of a field's value.
pub const FIELD_MAX: usize = 2048;

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogTls {
    /// The version as TLS writes it: 0x0303 is TLS 1.2, 0x0304 TLS 1.3.
    pub version: u16,
    /// The cipher suite as TLS writes it (RFC 8446 §B.4).
    pub cipher_suite: u16,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}
