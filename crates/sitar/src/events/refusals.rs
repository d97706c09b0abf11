//! Connections that were refused, as events: at once when there are some, and then once a minute
//! for each kind. The thread that tells of them sleeps while there are none.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use sitar_server::{Refusal, Worker};

use super::{Event, Level};

/// At most one event of a kind in this time.
const PAUSE: Duration = Duration::from_secs(60);
/// Those that come in a moment are one event.
const MOMENT: Duration = Duration::from_secs(1);

/// The kinds, in the order of their events.
const KINDS: usize = Refusal::ALL.len();

/// Starts the thread that tells of connections that a worker refuses (`sitar-events`). It ends with
/// the process.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn tell(worker: &Worker) -> io::Result<()> {
    let mut refusals = worker.refusals();
    let mut teller = Teller::default();
    let tell = move || {
        loop {
            let now = Instant::now();
            teller.look(refusals.read(), now).iter().for_each(Event::say);
            refusals.rest(teller.due(now));
            thread::sleep(MOMENT);
        }
    };
    thread::Builder::new().name("sitar-events".into()).spawn(tell).map(drop)
}

/// What has been said of each kind.
#[derive(Default)]
struct Teller {
    /// When it was said last.
    said: [Option<Instant>; KINDS],
    /// How many there were then.
    known: [u64; KINDS],
    /// How many there are.
    counts: [u64; KINDS],
}

impl Teller {
    /// Returns what is to be said now that there are this many of each kind.
    fn look(&mut self, counts: [u64; KINDS], now: Instant) -> Vec<Event> {
        self.counts = counts;
        let mut events = Vec::new();
        let both = self.said.iter_mut().zip(&mut self.known);
        for ((said, known), (kind, count)) in both.zip(Refusal::ALL.into_iter().zip(counts)) {
            let new = count.saturating_sub(*known);
            if new > 0 && said.is_none_or(|said| now.saturating_duration_since(said) >= PAUSE) {
                events.push(event(kind, new));
                (*said, *known) = (Some(now), count);
            }
        }
        events
    }

    /// Returns how long it is until something is to be said of those that are known; `None`: of
    /// none.
    fn due(&self, now: Instant) -> Option<Duration> {
        let all = self.said.iter().zip(self.known.iter().zip(&self.counts));
        let unsaid = all.filter(|(_, (known, count))| known < count);
        unsaid
            .filter_map(|(said, _)| Some((*said)? + PAUSE))
            .min()
            .map(|due| due.saturating_duration_since(now))
    }
}

/// Returns the event of that many refusals.
fn event(kind: Refusal, count: u64) -> Event {
    let (level, name, one, more) = match kind {
        Refusal::NoPlace => (
            Level::Warning,
            "no_place",
            "refused: there was no place, or its address had its share",
            "refused: there was no place, or their address had its share",
        ),
        Refusal::Shed => {
            let why = "closed: memory, send buffers or places ran out";
            (Level::Warning, "shed", why, why)
        }
        Refusal::Flood => (
            Level::Warning,
            "flood",
            "ended: its client made useless work",
            "ended: their clients made useless work",
        ),
        Refusal::Tls => (
            Level::Info,
            "tls",
            "ended: its client broke off TLS, or broke a rule of it",
            "ended: their clients broke off TLS, or broke a rule of it",
        ),
        Refusal::ProxyHeader => {
            let why = "ended: the header of the PROXY protocol was missing or broken";
            (Level::Warning, "proxy_header", why, why)
        }
        Refusal::Http => (
            Level::Info,
            "http",
            "ended: its request could not be read",
            "ended: their requests could not be read",
        ),
    };
    let sentence = match count {
        1 => format!("1 connection was {one}"),
        count => format!("{count} connections were {more}"),
    };
    Event::new(level, sentence).with("kind", name).with("count", count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.sentence.as_str()).collect()
    }

    #[test]
    fn each_kind_has_its_words() {
        let words: Vec<(Level, String)> = Refusal::ALL
            .into_iter()
            .flat_map(|kind| [event(kind, 1), event(kind, 17)])
            .map(|event| (event.level, event.sentence))
            .collect();
        let expected = [
            (Level::Warning, "1 connection was refused: there was no place, or its address had its share"),
            (
                Level::Warning,
                "17 connections were refused: there was no place, or their address had its share",
            ),
            (Level::Warning, "1 connection was closed: memory, send buffers or places ran out"),
            (Level::Warning, "17 connections were closed: memory, send buffers or places ran out"),
            (Level::Warning, "1 connection was ended: its client made useless work"),
            (Level::Warning, "17 connections were ended: their clients made useless work"),
            (Level::Info, "1 connection was ended: its client broke off TLS, or broke a rule of it"),
            (Level::Info, "17 connections were ended: their clients broke off TLS, or broke a rule of it"),
            (
                Level::Warning,
                "1 connection was ended: the header of the PROXY protocol was missing or broken",
            ),
            (
                Level::Warning,
                "17 connections were ended: the header of the PROXY protocol was missing or broken",
            ),
            (Level::Info, "1 connection was ended: its request could not be read"),
            (Level::Info, "17 connections were ended: their requests could not be read"),
        ];
        assert_eq!(words, expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn the_first_is_said_at_once_and_others_once_a_minute() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut teller = Teller::default();
        assert_eq!((teller.look([0; 6], at(0)), teller.due(at(0))), (Vec::new(), None));
        let first = teller.look([3, 0, 0, 0, 0, 0], at(1));
        assert_eq!(
            sentences(&first),
            ["3 connections were refused: there was no place, or their address had its share"]
        );
        assert_eq!(teller.due(at(1)), None);
        // Another kind does not wait for the first.
        let other = teller.look([9, 0, 0, 0, 0, 1], at(11));
        assert_eq!(sentences(&other), ["1 connection was ended: its request could not be read"]);
        assert_eq!(teller.due(at(11)), Some(Duration::from_secs(50)));
        assert_eq!(teller.look([20, 0, 0, 0, 0, 1], at(60)), []);
        let next = teller.look([20, 0, 0, 0, 0, 1], at(61));
        assert_eq!(
            sentences(&next),
            ["17 connections were refused: there was no place, or their address had its share"]
        );
        // Nothing is left to be said.
        assert_eq!(teller.due(at(61)), None);
        assert_eq!(teller.look([20, 0, 0, 0, 0, 1], at(500)), []);
    }
}
