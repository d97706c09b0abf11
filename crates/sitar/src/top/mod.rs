//! `sitar top`: what a running server does, drawn again each second.
//!
//! A thread asks the server, so that keys and signals are heard while it does not answer. The pure
//! part, from two samples and a size to the text of a screen, is in `rates` and `frame`.

mod frame;
mod json;
mod keys;
mod rates;
mod sampler;
mod terminal;
mod text;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::frame::{Order, Size, View, frame, plain};
use self::keys::{Ears, Heard};
use self::rates::{History, Rates};
use self::sampler::{Sample, Sampler};
use self::terminal::Terminal;
use crate::cli;
use crate::error::{Error, wants_color};
use crate::{admin, output};

/// The screen of a program that has none.
const PAGE: Size = Size { width: 100, height: 60 };

/// Shows what a running server does.
///
/// # Errors
/// No server answers at the beginning, its answer is not understood, or the terminal is gone.
pub fn run(arguments: &cli::Top) -> Result<ExitCode, Error> {
    let path = admin::socket(arguments.server.socket.as_deref(), arguments.server.config.as_deref())?;
    let first = sampler::sample(&path, true)?;
    let is_plain = arguments.json
        || !io::stdout().is_terminal()
        || std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    if is_plain {
        return once(arguments, &path, &first);
    }
    live(arguments, &path, first)
}

/// Prints what has happened in one interval.
fn once(arguments: &cli::Top, path: &Path, first: &Sample) -> Result<ExitCode, Error> {
    let mut history = History::default();
    history.take(&first.totals);
    thread::sleep(arguments.interval);
    let last = sampler::sample(path, true)?;
    let rates = history.take(&last.totals);
    if arguments.json {
        let document = json::document(&last.totals, rates.as_ref(), &last.warnings);
        output::print(&format!("{document:#}\n"))?;
    } else {
        let screen = Screen { last, rates, failure: None, order: Order::default() };
        output::print(&plain(&frame(&screen.view(false), PAGE)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A server that has not answered for this time, and the interval, is said to be silent.
const SILENCE: Duration = Duration::from_secs(5);

/// What is on the screen.
struct Screen {
    last: Sample,
    rates: Option<Rates>,
    failure: Option<String>,
    order: Order,
}

impl Screen {
    fn view(&self, has_keys: bool) -> View<'_> {
        View {
            now: &self.last.totals,
            rates: self.rates.as_ref(),
            warnings: &self.last.warnings,
            failure: self.failure.as_deref(),
            clock: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            order: self.order,
            has_keys,
        }
    }

    fn take(&mut self, sample: Result<Sample, Error>, history: &mut History) {
        match sample {
            Ok(sample) => {
                self.rates = history.take(&sample.totals);
                (self.last, self.failure) = (sample, None);
            }
            // What is known stays, and is no rate of this moment.
            Err(error) => (self.rates, self.failure) = (None, Some(error.sentence())),
        }
    }

    /// Notes that nothing has come for a time, be it a refusal.
    fn note_silence(&mut self, time: Duration, interval: Duration) {
        if time >= interval.saturating_add(SILENCE) {
            let why = format!("nothing has come for {}", admin::span(time.as_secs()));
            (self.rates, self.failure) = (None, Some(why));
        }
    }
}

/// Draws until a key or a signal ends it.
fn live(arguments: &cli::Top, path: &Path, first: Sample) -> Result<ExitCode, Error> {
    let failed = |error: io::Error| Error::new("cannot draw on this terminal").cause(error);
    let ears = Ears::open().map_err(failed)?;
    let mut history = History::default();
    history.take(&first.totals);
    let sampler = Sampler::start(path, arguments.interval, ears.waker().map_err(failed)?, &first)?;
    let mut screen = Screen { last: first, rates: None, failure: None, order: Order::default() };
    let terminal = Terminal::enter(wants_color()).map_err(failed)?;
    let mut has_keys = terminal.has_keys();
    let mut heard_at = Instant::now();
    loop {
        screen.note_silence(heard_at.elapsed(), arguments.interval);
        let size = Terminal::size();
        terminal.draw(&frame(&screen.view(has_keys), size), size).map_err(failed)?;
        match ears.wait(has_keys, SILENCE).map_err(failed)? {
            Heard::End => return Ok(ExitCode::SUCCESS),
            Heard::Sort => screen.order = screen.order.next(),
            Heard::NoMoreKeys => has_keys = false,
            Heard::Wake => {}
        }
        while let Some(sample) = sampler.next() {
            screen.take(sample, &mut history);
            heard_at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests;
