//! The reasons why connections end, and whose fault each is.

use sitar_io::Errno;
use sitar_tls::Fault;

use crate::counts::{EndCounters, Ends};

/// The reason why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Close {
    /// The peer broke off, or broke a rule.
    Peer(PeerReason),
    /// A deadline passed.
    Timeout(Timeout),
    /// The shard had no room left and chose this connection, or had no buffer for its handshake.
    Shed,
    /// The server was asked to stop.
    Operator,
    /// The kernel refused something.
    Kernel(Errno),
    /// An answer could not be completed (RFC 9112 §8), because its file was changed while it was
    /// sent.
    Incomplete,
    /// A fault of this program, or a limit of its own that it ran into.
    Ours(&'static str),
    /// Both sides had finished.
    Done,
}

/// The part of a peer in an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PeerReason {
    /// It reset the connection, or did not acknowledge what was sent.
    Reset,
    /// It finished sending in the middle of a handshake or a request.
    Left,
    /// A proxy that has to say for whom it connects sent something else.
    ProxyHeader,
    /// It broke the rules of TLS, or gave up with an alert.
    Tls(sitar_tls::PeerFault),
    /// A request that was refused because it broke a rule of HTTP.
    Http,
    /// Useless work in HTTP/2 (ENHANCE_YOUR_CALM).
    Flood,
    /// More input than is kept for one connection, or for all of them.
    TooMuch,
}

/// The purpose of a deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Timeout {
    /// A proxy's header, and the end of the TLS handshake.
    Handshake,
    /// The rest of a request, head or unwanted body.
    Request,
    /// The first byte of the next request.
    Idle,
    /// A send buffer.
    Buffer,
    /// A send, a file or the kernel.
    Send,
    /// The windows of HTTP/2, or files that its requests wait for.
    Streams,
    /// The peer's FIN. It is never the reason of an end, which has been begun for another one
    /// before this is waited for.
    PeerClose,
}

impl Close {
    /// Returns the reason for an error of TLS; `what` is what failed, if it is this side's fault.
    pub(crate) fn of_tls(fault: Fault, what: &'static str) -> Close {
        match fault {
            Fault::Peer(fault) => Close::Peer(PeerReason::Tls(fault)),
            Fault::Ours => Close::Ours(what),
        }
    }

    /// Returns the name of the reason, as [`Ends::named`] has it.
    #[cold]
    pub(crate) fn name(self) -> &'static str {
        Close::name_at(EndCounters::place(self)).unwrap_or_default()
    }

    /// Returns the name of the reason at a place of [`Ends::named`].
    pub(crate) fn name_at(place: usize) -> Option<&'static str> {
        Ends::default().named().get(place).map(|(name, _)| *name)
    }

    /// The fault that an error of the socket tells of: the peer's, where the connection broke.
    pub(crate) fn of_socket(errno: Errno) -> Close {
        match errno {
            Errno::CONNRESET | Errno::PIPE | Errno::TIMEDOUT | Errno::CONNABORTED => {
                Close::Peer(PeerReason::Reset)
            }
            errno => Close::Kernel(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_tls_keeps_its_side_and_its_kind() {
        let malformed = sitar_tls::PeerFault::Malformed;
        let close = Close::of_tls(Fault::Peer(malformed), "opening");
        assert_eq!(close, Close::Peer(PeerReason::Tls(malformed)));
        assert_eq!(Close::of_tls(Fault::Ours, "opening"), Close::Ours("opening"));
        let ends = EndCounters::default();
        ends.count(close);
        ends.count(Close::of_tls(Fault::Ours, "opening"));
        assert_eq!(ends.get(), Ends { peer_faults: 1, own_faults: 1, ..Ends::default() });
    }

    #[test]
    fn a_broken_connection_is_the_peers_and_other_errors_are_the_kernels() {
        let ends = EndCounters::default();
        for errno in [Errno::CONNRESET, Errno::PIPE, Errno::TIMEDOUT] {
            assert_eq!(Close::of_socket(errno), Close::Peer(PeerReason::Reset));
            ends.count(Close::of_socket(errno));
        }
        assert_eq!(Close::of_socket(Errno::NOMEM), Close::Kernel(Errno::NOMEM));
        ends.count(Close::of_socket(Errno::NOMEM));
        ends.count(Close::Ours("a bug"));
        assert_eq!(ends.get(), Ends { peer_left: 3, kernel_errors: 1, own_faults: 1, ..Ends::default() });
        ends.count(Close::Incomplete);
        assert_eq!((ends.get().incomplete, ends.get().own_faults), (1, 1));
        assert_eq!(Close::of_socket(Errno::CONNRESET).name(), "peer_left");
        assert_eq!(Close::Done.name(), "finished");
    }
}
