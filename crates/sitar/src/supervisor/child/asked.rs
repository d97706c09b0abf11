//! What a worker is asked that it might not answer: it is asked again after a pause, which grows.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ANSWERING, HEARING, SILENCE, Worker, lock};
use crate::metrics::Numbers;

impl Worker {
    /// Asks for its numbers, and waits that long for them. `None`: it does not answer, or has not
    /// lately.
    pub(in crate::supervisor) fn ask_numbers(&self, limit: Duration) -> Option<()> {
        let now = Instant::now();
        if limit.is_zero() || self.is_silent(now) {
            return None;
        }
        let answer = self.line.ask(&json!({ "do": "numbers" }), &[], &[], limit);
        if limit >= HEARING {
            self.note_silence(&answer, now);
        }
        self.note(&Numbers::from_json(&answer.ok()?.value)?);
        Some(())
    }

    /// Has it write a trace to a client's connection.
    ///
    /// # Errors
    /// It does not answer, or has not lately: those who ask others wait for this.
    pub(in crate::supervisor) fn ask_trace(
        &self,
        trace: &Value,
        client: BorrowedFd<'_>,
    ) -> io::Result<Value> {
        let now = Instant::now();
        if self.is_silent(now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let answer = self.line.ask(&json!({ "do": "trace", "trace": trace }), &[], &[client], ANSWERING);
        self.note_silence(&answer, now);
        answer.map(|answer| answer.value)
    }

    /// Whether it has not answered lately.
    fn is_silent(&self, now: Instant) -> bool {
        lock(&self.counted).silent_until.is_some_and(|until| until > now)
    }

    /// Notes if it has not answered what it was asked at `asked`.
    fn note_silence<T>(&self, answer: &io::Result<T>, asked: Instant) {
        if answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            // Questions that are not read would fill the socket in the end.
            let mut counted = lock(&self.counted);
            // Others may have asked meanwhile, and have heard the same silence.
            if counted.silent_until.is_none_or(|until| until <= asked) {
                counted.silent_until =
                    Some(Instant::now() + SILENCE.saturating_mul(1 << counted.silences.min(9)));
                counted.silences = counted.silences.saturating_add(1);
            }
        }
    }

    /// Keeps its numbers, unless later ones are known, or it has ended: an answer may come to light
    /// late.
    pub(super) fn note(&self, numbers: &Numbers) {
        let mut counted = lock(&self.counted);
        (counted.silences, counted.silent_until) = (0, None);
        if !counted.is_over && numbers.is_later_than(&counted.last) {
            counted.last = numbers.clone();
        }
    }
}
