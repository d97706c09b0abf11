//! Counters of a shard, and their sum over all shards of a worker.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::close::{Close, PeerReason, Timeout};

/// A number that one thread raises and any thread may read, at the price of a plain addition.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. For the one thread that the counter belongs to: where two add at a time, what
    /// one of them adds is lost.
    #[inline]
    pub(crate) fn add(&self, number: u64) {
        // Not `fetch_add`, which locks the memory against other writers. There are none.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    }

    /// Sets it to a number that may go up and down. For the one thread that it belongs to.
    #[inline]
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Returns the number.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Defines a list of counters twice: as plain numbers, and as [`Counter`]s, which one thread raises
/// and others read. A group of further counters may follow.
macro_rules! counters {
    (
        $(#[$doc:meta])* $plain:ident, $(#[$live_doc:meta])* $live:ident {
            $($(#[$count_doc:meta])* $count:ident,)*
        }
        $($(#[$group_doc:meta])* $group:ident: $group_plain:ident, $group_live:ident)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct $plain {
            $($(#[$count_doc])* pub $count: u64,)*
            $($(#[$group_doc])* pub $group: $group_plain,)?
        }

        $(#[$live_doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $live {
            $($(#[$count_doc])* pub(crate) $count: Counter,)*
            $($(#[$group_doc])* pub(crate) $group: $group_live,)?
        }

        impl $plain {
            /// Calls `each` with the name and the number of each counter, in their order.
            fn visit(&self, each: &mut dyn FnMut(&'static str, u64)) {
                $(each(stringify!($count), self.$count);)*
                $(self.$group.visit(each);)?
            }
        }

        impl $live {
            /// Returns the numbers now. Those of a shard that runs may be of two moments.
            pub(crate) fn get(&self) -> $plain {
                $plain { $($count: self.$count.get(),)* $($group: self.$group.get(),)? }
            }
        }

        impl AddAssign for $plain {
            fn add_assign(&mut self, other: $plain) {
                $(self.$count += other.$count;)*
                $(self.$group += other.$group;)?
            }
        }
    };
}

counters! {
    /// Counters since the start of the worker.
    Counts,
    /// The counters of a shard.
    Counters {
        /// Connections accepted.
        accepted,
        /// Those of them that another process had accepted, and passed.
        passed,
        /// TLS handshakes completed.
        handshakes,
        /// Connections that the kernel seals for.
        kernel_sealed,
        /// Requests answered, refusals included.
        requests,
        /// Connections of HTTP/2 ended because the peer made useless work (ENHANCE_YOUR_CALM).
        calmed,
        /// Connections closed because memory, send buffers or places ran out, and they held most or
        /// had waited for longest.
        shed,
        /// Newcomers closed at once, because there was no place for them, or their address held its
        /// share.
        refused,
        /// Hashes of passwords that were computed.
        hashes,
    }
    /// Connections that have ended, by reason.
    ends: Ends, EndCounters
}

counters! {
    /// Connections that have ended, by the reason for which they did.
    Ends,
    /// The same of a shard.
    EndCounters {
        /// Both sides had finished.
        finished,
        /// The peer reset the connection, or finished in the middle of something.
        peer_left,
        /// The peer broke a rule of TLS, HTTP or the PROXY protocol, or sent more than is kept of
        /// it.
        peer_faults,
        /// The TLS handshake, or a proxy's header, took too long.
        handshake_timeouts,
        /// A request took too long to arrive.
        request_timeouts,
        /// No further request came.
        idle_timeouts,
        /// The peer took too long to receive an answer, or the kernel to do its part.
        send_timeouts,
        /// The shard had no room left.
        no_room,
        /// The server was asked to stop.
        drained,
        /// An answer could not be completed, because its file was changed while it was sent.
        incomplete,
        /// The kernel refused something.
        kernel_errors,
        /// Faults and limits of this program.
        own_faults,
    }
}

/// The number of counters.
const LEN: usize = size_of::<Counts>() / size_of::<u64>();
/// Those of [`Ends`].
const ENDS_LEN: usize = size_of::<Ends>() / size_of::<u64>();

impl Ends {
    /// Returns the number of connections that have ended.
    pub(crate) fn sum(self) -> u64 {
        self.named().into_iter().map(|(_, count)| count).sum()
    }

    /// Returns each counter with its name, in the order in which they are shown.
    #[must_use]
    pub fn named(self) -> [(&'static str, u64); ENDS_LEN] {
        collect(|each| self.visit(each))
    }
}

impl EndCounters {
    /// Counts one end.
    pub(crate) fn count(&self, why: Close) {
        self.of(why).add(1);
    }

    /// Returns the place of a reason's counter among [`Ends::named`].
    pub(crate) fn place(why: Close) -> usize {
        let ends = EndCounters::default();
        ends.count(why);
        ends.get().named().iter().position(|(_, count)| *count > 0).unwrap_or_default()
    }

    /// Returns the counter of a reason.
    fn of(&self, why: Close) -> &Counter {
        match why {
            Close::Done => &self.finished,
            Close::Peer(PeerReason::Reset | PeerReason::Left) => &self.peer_left,
            Close::Peer(
                PeerReason::ProxyHeader
                | PeerReason::Tls(_)
                | PeerReason::Http
                | PeerReason::Flood
                | PeerReason::TooMuch,
            ) => &self.peer_faults,
            Close::Timeout(Timeout::Handshake) => &self.handshake_timeouts,
            Close::Timeout(Timeout::Request) => &self.request_timeouts,
            Close::Timeout(Timeout::Idle) => &self.idle_timeouts,
            Close::Timeout(Timeout::Buffer | Timeout::Send | Timeout::Streams | Timeout::PeerClose) => {
                &self.send_timeouts
            }
            Close::Shed => &self.no_room,
            Close::Operator => &self.drained,
            Close::Incomplete => &self.incomplete,
            Close::Kernel(_) => &self.kernel_errors,
            Close::Ours(_) => &self.own_faults,
        }
    }
}

impl Counters {
    /// Counts the end of one connection.
    pub(crate) fn end(&self, why: Close) {
        self.calmed.add(u64::from(why == Close::Peer(PeerReason::Flood)));
        self.ends.count(why);
    }

    /// Counts an end for each connection that has none yet, because the shard has failed.
    pub(crate) fn end_all(&self, why: Close) {
        self.ends.of(why).add(self.get().open());
    }
}

impl Counts {
    /// Returns each counter with its name, in the order in which they are shown.
    #[must_use]
    pub fn named(self) -> [(&'static str, u64); LEN] {
        collect(|each| self.visit(each))
    }

    /// Returns the number of connections that have been accepted and have not ended.
    #[must_use]
    pub fn open(self) -> u64 {
        self.accepted.saturating_sub(self.ends.sum())
    }
}

/// Returns all that `visit` calls its argument with.
fn collect<const COUNT: usize>(
    visit: impl FnOnce(&mut dyn FnMut(&'static str, u64)),
) -> [(&'static str, u64); COUNT] {
    let mut all = [("", 0); COUNT];
    let mut places = all.iter_mut();
    visit(&mut |name, count| {
        if let Some(place) = places.next() {
            *place = (name, count);
        }
    });
    all
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
            let counters = Counters::default();
            counters.accepted.add(3);
            counters.end(why);
            assert_eq!(counters.get().open(), 2);
            let calmed = u64::from(why == Close::Peer(PeerReason::Flood));
            for (name, count) in counters.get().named() {
                let expected = match name {
                    "accepted" => 3,
                    "calmed" => calmed,
                    name => u64::from(name == counter),
                };
                assert_eq!(count, expected, "{name} of {why:?}");
            }
            // The others end with the shard.
            counters.end_all(why);
            let named = counters.get().named();
            assert_eq!(named.into_iter().find(|(name, _)| *name == counter), Some((counter, 3)));
            assert_eq!((counters.get().ends.sum(), counters.get().open()), (3, 0));
        }
    }

    #[test]
    fn every_counter_is_in_the_sum_under_its_own_name() {
        let shown = |counters: &Counters| format!("{:?}", counters.get());
        let zero = shown(&Counters::default());
        // Each in turn, by its place among the names.
        let names = Counts::default().named().map(|(name, _)| name);
        assert_eq!(names.len(), 21);
        assert_eq!((names[0], names[9], names[20]), ("accepted", "finished", "own_faults"));
        for name in names {
            let counters = Counters::default();
            counter(&counters, name).add(7);
            assert_eq!(shown(&counters), zero.replacen(&format!(" {name}: 0"), &format!(" {name}: 7"), 1));
            let mut sum = counters.get();
            sum += counters.get();
            for (other, count) in sum.named() {
                assert_eq!(count, if other == name { 14 } else { 0 }, "{other} when {name} was counted");
            }
        }
    }

    /// Returns the counter of a name.
    fn counter<'c>(counters: &'c Counters, name: &str) -> &'c Counter {
        let Counters { accepted, passed, handshakes, kernel_sealed, requests, .. } = counters;
        let Counters { calmed, shed, refused, hashes, ends, .. } = counters;
        let EndCounters { finished, peer_left, peer_faults, handshake_timeouts, .. } = ends;
        let EndCounters { request_timeouts, idle_timeouts, send_timeouts, no_room, .. } = ends;
        let EndCounters { drained, incomplete, kernel_errors, own_faults, .. } = ends;
        match name {
            "accepted" => accepted,
            "passed" => passed,
            "handshakes" => handshakes,
            "kernel_sealed" => kernel_sealed,
            "requests" => requests,
            "calmed" => calmed,
            "shed" => shed,
            "refused" => refused,
            "hashes" => hashes,
            "finished" => finished,
            "peer_left" => peer_left,
            "peer_faults" => peer_faults,
            "handshake_timeouts" => handshake_timeouts,
            "request_timeouts" => request_timeouts,
            "idle_timeouts" => idle_timeouts,
            "send_timeouts" => send_timeouts,
            "no_room" => no_room,
            "drained" => drained,
            "incomplete" => incomplete,
            "kernel_errors" => kernel_errors,
            "own_faults" => own_faults,
            other => panic!("{other} is no counter"),
        }
    }

    #[test]
    fn what_a_thread_counts_is_read_by_others_while_it_counts() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..10_000).for_each(|_| counters.requests.add(1)));
            let mut last = 0;
            while last < 10_000 {
                let now = counters.get().requests;
                assert!((last..=10_000).contains(&now), "{now} after {last}");
                last = now;
            }
        });
    }
}
