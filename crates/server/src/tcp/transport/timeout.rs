//! Deadlines: how long a connection waits, and for what.

use std::time::{Duration, Instant};

use sitar_io::Engine;

use super::security::Security;
use super::{Transport, Waiting};
use crate::close::Timeout;
use crate::shard::context::Shared;

/// One wait: what for, and a number by which it is told from the next wait of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) struct Wait(pub(in crate::tcp) Timeout, pub(in crate::tcp) u64);

/// The deadline of the present wait, and those of waits that may go on after an interruption.
///
/// A deadline is set when its wait begins. A peer can interrupt the wait for a request (by asking for a
/// key update, say) and go back to it; it finds the old deadline there.
#[derive(Debug)]
pub(super) struct Timers {
    wait: Wait,
    deadline: Instant,
    idle: Option<(u64, Instant)>,
    request: Option<(u64, Instant)>,
    /// When an idle connection drops what it expanded of its keys.
    fold_at: Option<Instant>,
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

    /// When there is something to do: the deadline, or to fold.
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

impl Transport {
    /// Sets the deadline of a wait for the next input, which the protocol names.
    pub(in crate::tcp) fn arm_input_timeout<E: Engine>(&mut self, cx: &Shared<E>, wait: Wait) {
        if let Security::Handshaking(_) = self.security {
            return self.arm_timeout(cx);
        }
        let span = match wait.0 {
            Timeout::Idle => cx.limits.idle,
            Timeout::Streams => cx.limits.send,
            _ => cx.limits.head,
        };
        self.arm(cx, wait, span);
    }

    /// Sets the deadline of a wait for something else than input.
    pub(in crate::tcp) fn arm_timeout<E: Engine>(&mut self, cx: &Shared<E>) {
        let (limits, waits) = (&cx.limits, self.timers.waits);
        let (wait, span) = match (&self.waiting, &self.security) {
            (Waiting::PeerClose, _) => (Wait(Timeout::PeerClose, 0), limits.linger),
            // Its deadline was set when the connection came, for the whole of it.
            (_, Security::Handshaking(_)) | (Waiting::HandshakeTurn, _) => {
                (Wait(Timeout::Handshake, 0), Duration::ZERO)
            }
            (Waiting::Buffer, _) => (Wait(Timeout::Buffer, waits), limits.send),
            (Waiting::Kernel(step), _) => (Wait(Timeout::Send, waits), step.patience(limits)),
            (
                Waiting::Input
                | Waiting::Sending { .. }
                | Waiting::Room
                | Waiting::Load
                | Waiting::FileRead { .. },
                _,
            ) => (Wait(Timeout::Send, waits), limits.send),
        };
        self.arm(cx, wait, span);
    }

    fn arm<E: Engine>(&mut self, cx: &Shared<E>, wait: Wait, span: Duration) {
        let is_tls = matches!(self.security, Security::Tls(_) | Security::Kernel(_));
        let folds = wait.0 == Timeout::Idle && is_tls;
        self.timers.fold_at = folds.then_some(cx.now + FOLD_AFTER);
        self.timers.wait(wait, cx.now + span);
    }

    /// What the present deadline is for.
    pub(in crate::tcp) fn timeout(&self) -> Timeout {
        self.timers.timeout()
    }

    /// Whether the present deadline has passed.
    pub(in crate::tcp) fn is_late(&self, now: Instant) -> bool {
        now >= self.timers.deadline()
    }

    /// When something is due: the deadline, or what is given back after a second of silence.
    pub(in crate::tcp) fn deadline(&self) -> Instant {
        self.timers.next()
    }

    /// Gives back what only a busy connection needs, if it has been idle for long enough.
    pub(in crate::tcp) fn fold_if_due(&mut self, now: Instant) {
        if self.timers.fold_at.is_some_and(|fold_at| fold_at <= now) {
            self.timers.fold_at = None;
            if let Security::Tls(records) | Security::Kernel(records) = &mut self.security {
                records.drop_expanded_keys();
            }
        }
    }
}

/// After this long an idle connection drops its expanded keys. Long against the pauses of a client that
/// is busy with one page. Short because expanded keys lie between what stays, and the holes that they
/// leave in memory are as many as connections came in this time.
const FOLD_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
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
