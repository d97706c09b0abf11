//! Counters of a shard, and their sum over all shards of a worker.

use std::ops::AddAssign;

use crate::close::{Close, PeerReason, Timeout};

/// Counters since the start of the worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// Those of them that another process had accepted, and passed.
    pub passed: u64,
    /// TLS handshakes completed.
    pub handshakes: u64,
    /// Connections that the kernel seals for.
    pub kernel_sealed: u64,
    /// Requests answered, refusals included.
    pub requests: u64,
    /// Connections of HTTP/2 ended because the peer made useless work (ENHANCE_YOUR_CALM).
    pub calmed: u64,
    /// Connections closed because memory, send buffers or places ran out, and they held most or had
    /// waited for longest.
    pub shed: u64,
    /// Newcomers closed at once, because there was no place for them, or their address held its
    /// share.
    pub refused: u64,
    /// Hashes of passwords that were computed.
    pub hashes: u64,
    /// Connections that have ended, by reason.
    pub ends: Ends,
}

/// Connections that have ended, by the reason for which they did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ends {
    /// Both sides had finished.
    pub finished: u64,
    /// The peer reset the connection, or finished in the middle of something.
    pub peer_left: u64,
    /// The peer broke a rule of TLS, HTTP or the PROXY protocol, or sent more than is kept of it.
    pub peer_faults: u64,
    /// The TLS handshake, or a proxy's header, took too long.
    pub handshake_timeouts: u64,
    /// A request took too long to arrive.
    pub request_timeouts: u64,
    /// No further request came.
    pub idle_timeouts: u64,
    /// The peer took too long to receive an answer, or the kernel to do its part.
    pub send_timeouts: u64,
    /// The shard had no room left.
    pub no_room: u64,
    /// The server was asked to stop.
    pub drained: u64,
    /// An answer could not be completed, because its file was changed while it was sent.
    pub incomplete: u64,
    /// The kernel refused something.
    pub kernel_errors: u64,
    /// Faults and limits of this program.
    pub own_faults: u64,
}

impl Ends {
    /// Counts one end.
    pub(crate) fn count(&mut self, why: Close) {
        *self.of(why) += 1;
    }

    /// Returns the number of connections that have ended.
    pub(crate) fn sum(self) -> u64 {
        let ends = Counts { ends: self, ..Counts::default() };
        ends.named().into_iter().map(|(_, count)| count).sum()
    }

    /// Returns the place of a reason's counter among [`Counts::named`].
    pub(crate) fn place(why: Close) -> usize {
        let mut ends = Ends::default();
        ends.count(why);
        let named = Counts { ends, ..Counts::default() }.named();
        named.iter().position(|(_, count)| *count > 0).unwrap_or_default()
    }

    /// Returns the counter of a reason.
    fn of(&mut self, why: Close) -> &mut u64 {
        match why {
            Close::Done => &mut self.finished,
            Close::Peer(PeerReason::Reset | PeerReason::Left) => &mut self.peer_left,
            Close::Peer(
                PeerReason::ProxyHeader
                | PeerReason::Tls(_)
                | PeerReason::Http
                | PeerReason::Flood
                | PeerReason::TooMuch,
            ) => &mut self.peer_faults,
            Close::Timeout(Timeout::Handshake) => &mut self.handshake_timeouts,
            Close::Timeout(Timeout::Request) => &mut self.request_timeouts,
            Close::Timeout(Timeout::Idle) => &mut self.idle_timeouts,
            Close::Timeout(Timeout::Buffer | Timeout::Send | Timeout::Streams | Timeout::PeerClose) => {
                &mut self.send_timeouts
            }
            Close::Shed => &mut self.no_room,
            Close::Operator => &mut self.drained,
            Close::Incomplete => &mut self.incomplete,
            Close::Kernel(_) => &mut self.kernel_errors,
            Close::Ours(_) => &mut self.own_faults,
        }
    }
}

/// The number of counters.
const LEN: usize = size_of::<Counts>() / size_of::<u64>();

impl Counts {
    /// Counts the end of one connection.
    pub(crate) fn end(&mut self, why: Close) {
        self.calmed += u64::from(why == Close::Peer(PeerReason::Flood));
        self.ends.count(why);
    }

    /// Counts an end for each connection that has none yet, because the shard has failed.
    pub(crate) fn end_all(&mut self, why: Close) {
        let open = self.accepted.saturating_sub(self.ends.sum());
        *self.ends.of(why) += open;
    }

    /// Returns each counter with its name, in the order in which they are shown.
    #[must_use]
    pub fn named(mut self) -> [(&'static str, u64); LEN] {
        self.fields().map(|(name, count)| (name, *count))
    }

    /// Lists all counters. A counter that is missing here does not compile: neither the pattern nor
    /// the length of the array would fit.
    fn fields(&mut self) -> [(&'static str, &mut u64); LEN] {
        let Counts {
            accepted,
            passed,
            handshakes,
            kernel_sealed,
            requests,
            calmed,
            shed,
            refused,
            hashes,
            ends,
        } = self;
        let Ends {
            finished,
            peer_left,
            peer_faults,
            handshake_timeouts,
            request_timeouts,
            idle_timeouts,
            send_timeouts,
            no_room,
            drained,
            incomplete,
            kernel_errors,
            own_faults,
        } = ends;
        [
            ("accepted", accepted),
            ("passed", passed),
            ("handshakes", handshakes),
            ("kernel_sealed", kernel_sealed),
            ("requests", requests),
            ("calmed", calmed),
            ("shed", shed),
            ("refused", refused),
            ("hashes", hashes),
            ("finished", finished),
            ("peer_left", peer_left),
            ("peer_faults", peer_faults),
            ("handshake_timeouts", handshake_timeouts),
            ("request_timeouts", request_timeouts),
            ("idle_timeouts", idle_timeouts),
            ("send_timeouts", send_timeouts),
            ("no_room", no_room),
            ("drained", drained),
            ("incomplete", incomplete),
            ("kernel_errors", kernel_errors),
            ("own_faults", own_faults),
        ]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, mut other: Counts) {
        for ((_, sum), (_, count)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *count;
        }
    }
}

#[cfg(test)]
mod tests {
    use sitar_io::Errno;
    use sitar_tls::PeerFault;

    use super::*;

    #[test]
    fn each_reason_has_its_counter() {
        let reasons = [
            (Close::Done, "finished"),
            (Close::Peer(PeerReason::Reset), "peer_left"),
            (Close::Peer(PeerReason::Left), "peer_left"),
            (Close::Peer(PeerReason::Tls(PeerFault::Malformed)), "peer_faults"),
            (Close::Peer(PeerReason::ProxyHeader), "peer_faults"),
            (Close::Peer(PeerReason::Http), "peer_faults"),
            (Close::Peer(PeerReason::Flood), "peer_faults"),
            (Close::Peer(PeerReason::TooMuch), "peer_faults"),
            (Close::Timeout(Timeout::Handshake), "handshake_timeouts"),
            (Close::Timeout(Timeout::Request), "request_timeouts"),
            (Close::Timeout(Timeout::Idle), "idle_timeouts"),
            (Close::Timeout(Timeout::Buffer), "send_timeouts"),
            (Close::Timeout(Timeout::Send), "send_timeouts"),
            (Close::Timeout(Timeout::Streams), "send_timeouts"),
            (Close::Timeout(Timeout::PeerClose), "send_timeouts"),
            (Close::Shed, "no_room"),
            (Close::Operator, "drained"),
            (Close::Kernel(Errno::NOMEM), "kernel_errors"),
            (Close::Incomplete, "incomplete"),
            (Close::Ours("a bug"), "own_faults"),
        ];
        for (why, counter) in reasons {
            let mut counts = Counts { accepted: 3, ..Counts::default() };
            counts.end(why);
            let calmed = u64::from(why == Close::Peer(PeerReason::Flood));
            for (name, count) in counts.named() {
                let expected = match name {
                    "accepted" => 3,
                    "calmed" => calmed,
                    name => u64::from(name == counter),
                };
                assert_eq!(count, expected, "{name} of {why:?}");
            }
            // The others end with the shard.
            counts.end_all(why);
            assert_eq!(counts.named().into_iter().find(|(name, _)| *name == counter), Some((counter, 3)));
            assert_eq!(counts.ends.sum(), 3);
        }
    }

    #[test]
    fn every_counter_is_in_the_sum_under_its_own_name() {
        let mut one = Counts::default();
        for ((_, count), number) in one.fields().into_iter().zip(1..) {
            *count = number;
        }
        let mut sum = one;
        sum += one;
        let shown = format!("{one:?}");
        for ((name, count), number) in sum.named().into_iter().zip(1..) {
            assert_eq!(count, 2 * number, "{name}");
            assert!(shown.contains(&format!("{name}: {number}")), "{name} names another field: {shown}");
        }
        assert_eq!(sum.calmed, 2 * one.calmed);
        assert_ne!(sum.calmed, 0);
    }
}
