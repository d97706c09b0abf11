//! Deadlines: how long a connection waits, and for what.

use std::time::{Duration, Instant};

use sitar_io::Engine;

use super::security::Security;
use super::state::{Transport, Waiting};
use super::timers::{Timers, Wait};
use crate::close::Timeout;
use crate::shard::context::Shared;

impl Transport {
    /// Gives a proxy as long for its header as a handshake has. Where one follows, its deadline,
    /// which has been set already, is that of both.
    pub(in crate::tcp) fn limit_header<E: Engine>(&mut self, cx: &Shared<E>) {
        if !self.is_handshaking() {
            self.timers = Timers::new(Timeout::Handshake, cx.now + cx.limits.handshake);
        }
    }

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
            (Waiting::Kernel(step), _) => (Wait(Timeout::Send, waits), step.time_limit(limits)),
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

    /// Returns the purpose of the present deadline.
    pub(in crate::tcp) fn timeout(&self) -> Timeout {
        self.timers.timeout()
    }

    /// Returns the end of the present wait.
    pub(in crate::tcp) fn wait_deadline(&self) -> Instant {
        self.timers.deadline()
    }

    /// Whether the present deadline has passed.
    pub(in crate::tcp) fn is_late(&self, now: Instant) -> bool {
        now >= self.timers.deadline()
    }

    /// Returns when something is due: the deadline, or what is given back after a second of
    /// silence.
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

/// After this long an idle connection drops its expanded keys. Long against the pauses of a client
/// that is busy with one page. Short because expanded keys lie between what stays, and the holes
/// that they leave in memory are as many as connections came in this time.
const FOLD_AFTER: Duration = Duration::from_secs(1);
