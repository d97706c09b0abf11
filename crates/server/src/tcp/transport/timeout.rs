//! How long a connection waits, and for what.

use std::time::{Duration, Instant};

use sitar_io::Engine;

use crate::shard::context::Context;
use crate::tcp::connection::{Activity, Connection, Course};
use crate::tcp::transport::output::Layer;

/// What a deadline belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) enum Patience {
    /// For the end of the TLS handshake.
    Handshake,
    /// For the rest of the request with this number, head or unwanted body.
    Request(u64),
    /// For the first byte of the request with this number.
    Idle(u64),
    /// For a send buffer, after the wait with this number.
    Starved(u64),
    /// For a send or a file: the wait with this number.
    Busy(u64),
    /// For the peer of HTTP/2 to let more be sent, or for a file: since so much was.
    Streams(u64),
    /// For the peer to close.
    Linger,
}

/// The deadline of the present wait, and those of waits that may go on after an interruption.
///
/// A deadline is set when its wait begins. A peer can interrupt the wait for a request (by asking for a key update, say) and
/// go back to it; it finds the old deadline there.
#[derive(Debug)]
pub(in crate::tcp) struct Vigil {
    patience: Patience,
    deadline: Instant,
    idle: Option<(u64, Instant)>,
    request: Option<(u64, Instant)>,
    /// When an idle connection folds its keys.
    fold_at: Option<Instant>,
}

impl Vigil {
    pub(in crate::tcp) fn new(patience: Patience, deadline: Instant) -> Vigil {
        let mut vigil =
            Vigil { patience: Patience::Linger, deadline, idle: None, request: None, fold_at: None };
        vigil.wait(patience, deadline);
        vigil
    }

    pub(in crate::tcp) fn patience(&self) -> Patience {
        self.patience
    }

    pub(in crate::tcp) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When there is something to do: the deadline, or to fold.
    pub(in crate::tcp) fn next(&self) -> Instant {
        self.fold_at.map_or(self.deadline, |fold_at| fold_at.min(self.deadline))
    }

    /// Waits for `patience`, until `deadline` if that wait is a new one.
    pub(in crate::tcp) fn wait(&mut self, patience: Patience, deadline: Instant) {
        if patience == self.patience {
            return;
        }
        self.patience = patience;
        self.deadline = match patience {
            Patience::Idle(number) => {
                // A record that turned out to be no request is forgotten; the wait for one is not.
                self.request = None;
                resume(&mut self.idle, number, deadline)
            }
            Patience::Request(number) => resume(&mut self.request, number, deadline),
            // The deadline of a handshake was set for the whole of it, when the connection came.
            Patience::Handshake => self.deadline,
            Patience::Starved(_) | Patience::Busy(_) | Patience::Streams(_) | Patience::Linger => deadline,
        };
    }
}

fn resume(kept: &mut Option<(u64, Instant)>, number: u64, deadline: Instant) -> Instant {
    match *kept {
        Some((of, until)) if of == number => until,
        _ => kept.insert((number, deadline)).1,
    }
}

impl Connection {
    /// Sets the deadline for what is waited for now.
    pub(in crate::tcp) fn be_patient<E: Engine>(&mut self, cx: &Context<'_, E>) {
        let limits = cx.limits;
        let (patience, span) = match (self.activity, &self.layer) {
            (Activity::Lingering, _) => (Patience::Linger, limits.linger),
            // Its deadline was set when the connection came, for the whole of it.
            (_, Layer::Handshake(_)) => (Patience::Handshake, Duration::ZERO),
            (Activity::Receiving, _) => match (self.patience_for_streams(self.has_nothing()), &self.course) {
                (Some(patience @ Patience::Idle(_)), _) => (patience, limits.idle),
                (Some(patience @ Patience::Streams(_)), _) => (patience, limits.send),
                (Some(patience), _) => (patience, limits.head),
                (None, Course::Head) if self.is_idle() => (Patience::Idle(self.requests), limits.idle),
                (None, _) => (Patience::Request(self.requests), limits.head),
            },
            // Only handshakes are queued.
            (Activity::Queued, _) => (Patience::Handshake, Duration::ZERO),
            (Activity::Starved, _) => (Patience::Starved(self.waits), limits.send),
            (Activity::Kernel, _) => (Patience::Busy(self.waits), self.kernel_patience(limits)),
            (Activity::Sending | Activity::Blocked | Activity::Loading | Activity::Reading, _) => {
                (Patience::Busy(self.waits), limits.send)
            }
        };
        let folds = matches!((patience, &self.layer), (Patience::Idle(_), Layer::Tls(_) | Layer::Kernel(_)));
        self.vigil.fold_at = folds.then_some(cx.now + FOLD_AFTER);
        self.vigil.wait(patience, cx.now + span);
    }

    /// Gives back what only a busy connection needs, if it has been idle for long enough.
    pub(in crate::tcp) fn fold_if_due(&mut self, now: Instant) {
        if self.vigil.fold_at.is_some_and(|fold_at| fold_at <= now) {
            self.vigil.fold_at = None;
            if let Layer::Tls(records) | Layer::Kernel(records) = &mut self.layer {
                records.drop_expanded_keys();
            }
        }
    }
}

/// A connection that has been idle for so long folds its keys. Long against the pauses of a client that is busy with one
/// page; short because expanded keys lie between what stays, and the holes that they leave in memory are as many as
/// connections came in this time.
const FOLD_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_buy_no_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut vigil = Vigil::new(Patience::Idle(0), at(60));
        vigil.wait(Patience::Idle(0), at(70));
        assert_eq!(vigil.deadline(), at(60));
        vigil.wait(Patience::Request(0), at(15));
        vigil.wait(Patience::Busy(1), at(40));
        assert_eq!(vigil.deadline(), at(40));
        vigil.wait(Patience::Request(0), at(25));
        assert_eq!(vigil.deadline(), at(15), "the same request");
        vigil.wait(Patience::Idle(0), at(80));
        assert_eq!(vigil.deadline(), at(60), "the same silence");
        vigil.wait(Patience::Request(0), at(55));
        assert_eq!(vigil.deadline(), at(55), "what came before was no request");
        vigil.wait(Patience::Busy(2), at(90));
        vigil.wait(Patience::Idle(1), at(120));
        assert_eq!(vigil.deadline(), at(120), "after an answer it begins anew");
        vigil.wait(Patience::Starved(2), at(130));
        vigil.wait(Patience::Starved(2), at(140));
        assert_eq!(vigil.deadline(), at(130));
    }

    #[test]
    fn a_handshake_keeps_its_deadline() {
        let start = Instant::now();
        let mut vigil = Vigil::new(Patience::Handshake, start);
        assert_eq!(vigil.deadline(), start);
        vigil.wait(Patience::Handshake, start + Duration::from_secs(9));
        assert_eq!((vigil.patience(), vigil.deadline()), (Patience::Handshake, start));
    }
}
