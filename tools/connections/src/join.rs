//! The two ends of a connection, joined: that of the server and that of TCP come in either order.

use crate::record::{Ended, Id, Record, Tcp};
use std::collections::{HashMap, VecDeque};

/// Connections of which one end has been seen, at most.
const HALVES_MAX: usize = 16_384;

/// Connections of which one end has been seen.
#[derive(Debug, Default)]
pub(crate) struct Join {
    halves: HashMap<Id, Half>,
    /// The same in the order in which they came, some of which are joined already.
    order: VecDeque<(Id, u64)>,
    /// Counts the halves, so that a number that is used again is not taken for the one before.
    came: u64,
}

#[derive(Debug)]
struct Half {
    came: u64,
    end: End,
}

#[derive(Debug)]
enum End {
    Server(Ended),
    Tcp(Tcp),
}

impl Join {
    /// Takes a record. Returns the connections that are complete with it, and the one for which
    /// there is no room any longer.
    pub(crate) fn take(&mut self, record: Record) -> Vec<(Ended, Option<Tcp>)> {
        let (id, end) = match record {
            Record::Ended(id, ended) => (id, End::Server(ended)),
            Record::Tcp(id, tcp) => (id, End::Tcp(tcp)),
        };
        let mut done = Vec::new();
        match (self.halves.remove(&id).map(|half| half.end), end) {
            (Some(End::Server(ended)), End::Tcp(tcp)) | (Some(End::Tcp(tcp)), End::Server(ended)) => {
                done.push((ended, Some(tcp)));
                return done;
            }
            // Its other end was lost, and the number is used again.
            (Some(End::Server(before)), end @ End::Server(_)) => {
                done.push((before, None));
                self.wait(id, end);
            }
            // TCP says nothing of a connection without a peer.
            (None, End::Server(ended)) if ended.peer.is_none() => done.push((ended, None)),
            (_, end) => self.wait(id, end),
        }
        if self.halves.len() > HALVES_MAX {
            done.extend(self.give_up());
        }
        done
    }

    /// Returns the connections that the server has closed and TCP has not.
    pub(crate) fn rest(&mut self) -> Vec<Ended> {
        let mut rest = Vec::new();
        while let Some((id, came)) = self.order.pop_front() {
            rest.extend(self.remove(id, came));
        }
        rest
    }

    fn wait(&mut self, id: Id, end: End) {
        self.came += 1;
        self.halves.insert(id, Half { came: self.came, end });
        self.order.push_back((id, self.came));
        // Most are joined soon, and leave their places in the order.
        if self.order.len() > 4 * HALVES_MAX {
            let halves = &self.halves;
            self.order.retain(|(id, came)| halves.get(id).is_some_and(|half| half.came == *came));
        }
    }

    /// Lets go of the oldest that waits.
    fn give_up(&mut self) -> Option<(Ended, Option<Tcp>)> {
        while let Some((id, came)) = self.order.pop_front() {
            if self.halves.get(&id).is_some_and(|half| half.came == came) {
                return self.remove(id, came).map(|ended| (ended, None));
            }
        }
        None
    }

    fn remove(&mut self, id: Id, came: u64) -> Option<Ended> {
        self.halves.get(&id).filter(|half| half.came == came)?;
        match self.halves.remove(&id)?.end {
            End::Server(ended) => Some(ended),
            // Its connection has been seen by TCP alone: the server has not closed it yet.
            End::Tcp(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(id: Id, requests: u64) -> Record {
        let ended = Ended {
            peer: "192.0.2.7:4711".parse().ok(),
            reason: "finished".to_owned(),
            lasted: 1,
            handshake: 0,
            requests,
            answers: requests,
            errors: 0,
            content: 0,
            unsent: 0,
            latency: 0,
            latency_max: 0,
        };
        Record::Ended(id, ended)
    }

    fn tcp(id: Id, sent: u64) -> Record {
        Record::Tcp(id, Tcp { sent, ..Tcp::default() })
    }

    fn seen(done: &[(Ended, Option<Tcp>)]) -> Vec<(u64, Option<u64>)> {
        done.iter().map(|(ended, tcp)| (ended.requests, tcp.as_ref().map(|tcp| tcp.sent))).collect()
    }

    #[test]
    fn the_ends_join_in_either_order() {
        let (mut join, first, second) = (Join::default(), Id { tid: 1, number: 5 }, Id { tid: 2, number: 5 });
        assert_eq!(seen(&join.take(ended(first, 3))), []);
        assert_eq!(seen(&join.take(tcp(second, 20))), []);
        assert_eq!(seen(&join.take(tcp(first, 10))), [(3, Some(10))]);
        assert_eq!(seen(&join.take(ended(second, 4))), [(4, Some(20))]);
        assert!(join.rest().is_empty());
    }

    #[test]
    fn a_number_that_is_used_again_is_another_connection() {
        let (mut join, id) = (Join::default(), Id { tid: 1, number: 5 });
        assert_eq!(seen(&join.take(ended(id, 1))), []);
        assert_eq!(seen(&join.take(ended(id, 2))), [(1, None)]);
        assert_eq!(join.rest().iter().map(|ended| ended.requests).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut join = Join::default();
        for number in 0..HALVES_MAX as u64 {
            assert_eq!(seen(&join.take(ended(Id { tid: 1, number }, number))), []);
        }
        assert_eq!(seen(&join.take(ended(Id { tid: 2, number: 0 }, 99))), [(0, None)]);
        for round in 0..HALVES_MAX as u64 * 6 {
            let id = Id { tid: 3, number: round };
            join.take(tcp(id, 1));
            join.take(ended(id, 1));
        }
        assert!(join.order.len() <= 4 * HALVES_MAX + 1 && join.halves.len() <= HALVES_MAX);
    }
}
