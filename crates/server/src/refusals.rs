//! What an operator should hear of connections that were refused, or given up for what their peers
//! did: how many there were, by kind, for a thread that sleeps while there are none.
//!
//! The numbers are counted at the ends of connections, never for a request. A shard calls the
//! thread only where that sleeps until it is called.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::close::{Close, PeerReason};
use crate::numbers::ShardNumbers;
use crate::wake::Wake;

/// A kind of connection that was refused or given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Newcomers for which there was no place, or whose address had its share.
    NoPlace,
    /// Connections that were given up because memory, send buffers or places ran out.
    Shed,
    /// Connections of HTTP/2 whose peers made useless work (`ENHANCE_YOUR_CALM`).
    Flood,
    /// Connections whose peers broke a rule of TLS, or gave up a handshake with an alert.
    Tls,
    /// Connections without a header of the PROXY protocol where there had to be one, or with one
    /// that cannot be read.
    ProxyHeader,
    /// Connections whose requests cannot be read, or are larger than is kept of them.
    Http,
}

impl Refusal {
    /// All kinds.
    pub const ALL: [Refusal; 6] =
        [Refusal::NoPlace, Refusal::Shed, Refusal::Flood, Refusal::Tls, Refusal::ProxyHeader, Refusal::Http];

    /// Returns the kind of a connection that has ended for this reason; `None`: it was not refused.
    /// One of [`NoPlace`](Refusal::NoPlace) is [`Shed`](Refusal::Shed) here.
    pub(crate) fn of(why: Close) -> Option<Refusal> {
        match why {
            Close::Shed => Some(Refusal::Shed),
            Close::Peer(PeerReason::Flood) => Some(Refusal::Flood),
            Close::Peer(PeerReason::Tls(_)) => Some(Refusal::Tls),
            Close::Peer(PeerReason::ProxyHeader) => Some(Refusal::ProxyHeader),
            Close::Peer(PeerReason::Http | PeerReason::TooMuch) => Some(Refusal::Http),
            _ => None,
        }
    }
}

/// The numbers of refusals of a worker, for one thread that tells the operator.
pub struct Refusals {
    shards: Vec<Arc<ShardNumbers>>,
    wake: Arc<Wake>,
    /// Those that were read last.
    last: [u64; Refusal::ALL.len()],
}

impl Refusals {
    pub(crate) fn new(shards: Vec<Arc<ShardNumbers>>, wake: Arc<Wake>) -> Refusals {
        Refusals { shards, wake, last: [0; Refusal::ALL.len()] }
    }

    /// Returns how many connections were refused since the start of the worker, by kind in the
    /// order of [`Refusal::ALL`].
    pub fn read(&mut self) -> [u64; Refusal::ALL.len()] {
        self.last = self.now();
        self.last
    }

    /// Sleeps until a connection is refused after those that were read last, or `limit` has passed.
    pub fn rest(&self, limit: Option<Duration>) {
        self.wake.fall_asleep();
        if self.now() == self.last {
            match limit {
                Some(limit) => thread::park_timeout(limit),
                None => thread::park(),
            }
        }
        self.wake.wake_up();
    }

    fn now(&self) -> [u64; Refusal::ALL.len()] {
        Refusal::ALL.map(|kind| self.shards.iter().map(|shard| shard.refused(kind)).sum())
    }
}

#[cfg(test)]
mod tests {
    use sitar_tls::PeerFault;

    use super::*;
    use crate::close::Timeout;
    use crate::numbers::Numbers;
    use crate::snapshot::{Host, HostContent, Hosts};

    fn shards(wake: &Arc<Wake>) -> [(Arc<ShardNumbers>, Numbers); 2] {
        let host = Host::new(vec!["a.test".to_owned()], HostContent::Unavailable);
        let hosts = Hosts::new(vec![host]).unwrap();
        [(); 2].map(|()| {
            let shard = Arc::new(ShardNumbers::calling(wake));
            (Arc::clone(&shard), Numbers::new(shard, &hosts))
        })
    }

    #[test]
    fn each_kind_is_counted_over_all_shards_and_other_ends_are_not() {
        let wake = Arc::default();
        let [(first, one), (second, other)] = shards(&wake);
        let mut refusals = Refusals::new(vec![first, second], wake);
        assert_eq!(refusals.read(), [0; 6]);
        for why in
            [Close::Done, Close::Peer(PeerReason::Reset), Close::Peer(PeerReason::Left), Close::Operator]
        {
            one.end(why);
        }
        one.end(Close::Timeout(Timeout::Idle));
        one.end(Close::Timeout(Timeout::Handshake));
        assert_eq!(refusals.read(), [0; 6]);
        one.counts().refused.add(1);
        one.end(Close::Shed);
        other.end(Close::Shed);
        other.end(Close::Shed);
        one.end(Close::Peer(PeerReason::Flood));
        one.end(Close::Peer(PeerReason::Tls(PeerFault::Malformed)));
        other.end(Close::Peer(PeerReason::Tls(PeerFault::Malformed)));
        other.end(Close::Peer(PeerReason::ProxyHeader));
        other.end(Close::Peer(PeerReason::Http));
        other.end(Close::Peer(PeerReason::TooMuch));
        one.end(Close::Peer(PeerReason::Http));
        assert_eq!(refusals.read(), [1, 2, 1, 2, 1, 3]);
    }

    #[test]
    fn a_thread_sleeps_until_a_connection_is_refused() {
        let wake = Arc::default();
        let [(first, one), _] = shards(&wake);
        let mut refusals = Refusals::new(vec![first], Arc::clone(&wake));
        let sleeper = thread::spawn(move || {
            refusals.read();
            while refusals.read() == [0; 6] {
                refusals.rest(None);
            }
            refusals.read()
        });
        one.end(Close::Done);
        one.end(Close::Peer(PeerReason::Http));
        assert_eq!(sleeper.join().unwrap(), [0, 0, 0, 0, 0, 1]);
    }
}
