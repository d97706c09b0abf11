//! The deadline of the present wait, and those of waits that were interrupted.

use std::time::Instant;

use crate::close::Timeout;

/// One wait: what for, and a number that tells it apart from the next wait of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) struct Wait(pub(in crate::tcp) Timeout, pub(in crate::tcp) u64);

/// The deadline of the present wait, and those of waits that may go on after an interruption.
///
/// A deadline is set when its wait begins. A peer can interrupt the wait for a request (by asking
/// for a key update, say) and go back to it; it finds the old deadline there.
#[derive(Debug)]
pub(super) struct Timers {
    wait: Wait,
    deadline: Instant,
    idle: Option<(u64, Instant)>,
    request: Option<(u64, Instant)>,
    /// The time at which an idle connection drops its expanded keys.
    pub(super) fold_at: Option<Instant>,
    /// Waits so far for something else than the peer's bytes.
    pub(super) waits: u64,
}

impl Timers {
    pub(super) fn new(timeout: Timeout, deadline: Instant) -> Timers {
        let wait = Wait(Timeout::PeerClose, 0);
        let mut timers = Timers { wait, deadline, idle: None, request: None, fold_at: None, waits: 0 };
        timers.wait(Wait(timeout, 0), deadline);
        timers
    }

    pub(super) fn timeout(&self) -> Timeout {
        self.wait.0
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns when there is something to do: the deadline, or to fold.
    pub(super) fn next(&self) -> Instant {
        self.fold_at.map_or(self.deadline, |fold_at| fold_at.min(self.deadline))
    }

    /// Begins `wait`, until `deadline` if it is a new one.
    pub(super) fn wait(&mut self, wait: Wait, deadline: Instant) {
        if wait == self.wait {
            return;
        }
        self.wait = wait;
        self.deadline = match wait.0 {
            Timeout::Idle => {
                // A record that turned out to be no request is forgotten; the wait for one is not.
                self.request = None;
                resume(&mut self.idle, wait.1, deadline)
            }
            Timeout::Request => resume(&mut self.request, wait.1, deadline),
            // The deadline of a handshake was set for the whole of it, when the connection came.
            Timeout::Handshake => self.deadline,
            Timeout::Buffer | Timeout::Send | Timeout::Streams | Timeout::PeerClose => deadline,
        };
    }
}

fn resume(kept: &mut Option<(u64, Instant)>, number: u64, deadline: Instant) -> Instant {
    match *kept {
        Some((of, until)) if of == number => until,
        _ => kept.insert((number, deadline)).1,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn interruptions_buy_no_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::new(Timeout::Idle, at(60));
        timers.wait(Wait(Timeout::Idle, 0), at(70));
        assert_eq!(timers.deadline(), at(60));
        timers.wait(Wait(Timeout::Request, 0), at(15));
        timers.wait(Wait(Timeout::Send, 1), at(40));
        assert_eq!(timers.deadline(), at(40));
        timers.wait(Wait(Timeout::Request, 0), at(25));
        assert_eq!(timers.deadline(), at(15), "the same request");
        timers.wait(Wait(Timeout::Idle, 0), at(80));
        assert_eq!(timers.deadline(), at(60), "the same silence");
        timers.wait(Wait(Timeout::Request, 0), at(55));
        assert_eq!(timers.deadline(), at(55), "what came before was no request");
        timers.wait(Wait(Timeout::Send, 2), at(90));
        timers.wait(Wait(Timeout::Idle, 1), at(120));
        assert_eq!(timers.deadline(), at(120), "after an answer it begins again");
        timers.wait(Wait(Timeout::Buffer, 2), at(130));
        timers.wait(Wait(Timeout::Buffer, 2), at(140));
        assert_eq!(timers.deadline(), at(130));
    }

    #[test]
    fn a_handshake_keeps_its_deadline() {
        let start = Instant::now();
        let mut timers = Timers::new(Timeout::Handshake, start);
        assert_eq!(timers.deadline(), start);
        timers.wait(Wait(Timeout::Handshake, 0), start + Duration::from_secs(9));
        assert_eq!((timers.timeout(), timers.deadline()), (Timeout::Handshake, start));
    }
}
