//! Messages while a stop waits for answers that are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sitar_server::Worker;

use crate::events;

/// The time between two looks.
const STEP: Duration = Duration::from_millis(100);
/// Idle connections end within this time and are not worth a word.
const SILENCE: Duration = Duration::from_millis(300);
/// Between two lines in a log.
const PAUSE: Duration = Duration::from_secs(5);

/// A thread that tells on standard error what a stop waits for.
pub(crate) struct Telling(Option<JoinHandle<()>>);

impl Telling {
    /// Begins to tell, until `ended` is set.
    pub(crate) fn start(worker: &Arc<Worker>, limit: Duration, ended: &Arc<AtomicBool>) -> Telling {
        let (worker, ended) = (Arc::clone(worker), Arc::clone(ended));
        let thread = thread::Builder::new().name("sitar-stop".into()).spawn(move || {
            let mut teller = Teller::new(limit, events::is_on_terminal());
            let since = Instant::now();
            while !ended.load(Ordering::Acquire) {
                teller.step(since.elapsed(), worker.answering()).iter().for_each(|text| teller.say(text));
                thread::park_timeout(STEP);
            }
            teller.end(since.elapsed(), worker.answering());
        });
        // Without a thread the stop goes on in silence.
        Telling(thread.ok())
    }

    /// Says the last word; `ended` has been set.
    pub(crate) fn end(self) {
        if let Some(thread) = self.0 {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Decides when to say something: on a terminal one line that is written again each second, in a
/// log a line now and then.
struct Teller {
    limit: Duration,
    is_terminal: bool,
    /// The last line: when it was written, the whole seconds that were left, and the answers that
    /// were under way.
    last_line: Option<(Duration, u64, usize)>,
}

impl Teller {
    fn new(limit: Duration, is_terminal: bool) -> Teller {
        Teller { limit, is_terminal, last_line: None }
    }

    /// Returns what to write when the stop has lasted for `elapsed` and this many answers are under
    /// way.
    fn step(&mut self, elapsed: Duration, answering: usize) -> Option<String> {
        if answering == 0 || elapsed < SILENCE || elapsed >= self.limit {
            return None;
        }
        let left = (self.limit - elapsed).as_secs_f64().ceil() as u64;
        let due = match self.last_line {
            None => true,
            Some((_, before, count)) if self.is_terminal => before != left || count != answering,
            Some((at, ..)) => elapsed - at >= PAUSE,
        };
        if !due {
            return None;
        }
        let first = self.last_line.is_none();
        self.last_line = Some((elapsed, left, answering));
        let answers = connections(answering);
        let what = format!("stopping when {answers}, after {left} s at the latest");
        let hint = if first || self.is_terminal { " (another signal does not wait)" } else { "" };
        Some(if self.is_terminal { format!("\r\x1b[Ksitar: {what}{hint}") } else { format!("{what}{hint}") })
    }

    /// Says what [`step`](Teller::step) has returned.
    fn say(&self, text: &str) {
        if self.is_terminal {
            events::show(text);
        } else {
            events::info(text);
        }
    }

    /// Says the last word.
    fn end(&self, elapsed: Duration, answering: usize) {
        if self.is_terminal && self.last_line.is_some() {
            events::show("\n");
        }
        cut_off(elapsed, answering).iter().for_each(events::warning);
    }
}

/// Returns what is said of answers that had not ended by then.
fn cut_off(elapsed: Duration, answering: usize) -> Option<String> {
    let seconds = elapsed.as_secs();
    match answering {
        0 => None,
        1 => Some(format!("1 answer was cut off after {seconds} s")),
        more => Some(format!("{more} answers were cut off after {seconds} s")),
    }
}

fn connections(answering: usize) -> String {
    match answering {
        1 => "1 connection has its answer".to_owned(),
        more => format!("{more} connections have their answers"),
    }
}

#[cfg(test)]
mod tests;
