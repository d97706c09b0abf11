//! The report of a start: a text for people, or events.

use crate::events::{self, Event, Form, Level};
use crate::output;
use crate::start::WARNINGS_MAX;

/// What is said of a start beside its text.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) event: Event,
    /// What the operator should look at.
    pub(crate) warnings: Vec<String>,
}

/// Returns the event of a start with what every server knows. `listeners` are addresses for people.
pub(crate) fn serving(listeners: Vec<String>, sites: usize) -> Event {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("serving; sitar {version}, listeners: {}, sites: {sites}", listeners.join(", "));
    let ready = u64::try_from(events::age().as_millis()).unwrap_or(u64::MAX);
    Event::new(Level::Info, "serving")
        .in_text(text)
        .with("version", version)
        .with("pid", std::process::id())
        .with("listeners", listeners)
        .with("sites", sites)
        .with("ready_ms", ready)
}

impl Serving {
    /// Tells the operator that the server serves. With `logs_to_stdout`, standard output is that of
    /// an access log. One that takes nothing is no reason not to serve.
    pub(crate) fn tell(&self, report: &str, logs_to_stdout: bool) {
        if events::form() == Form::Json {
            self.event.say();
            self.warnings.iter().take(WARNINGS_MAX).for_each(events::warning);
            if let Some(more @ 1..) = self.warnings.len().checked_sub(WARNINGS_MAX) {
                events::warning(format_args!("and {more} more warnings"));
            }
            return;
        }
        // A file of events has the start as well. With the report on standard error, it has that.
        if events::is_apart() && !logs_to_stdout {
            self.event.say();
        }
        if let Err(error) = output::print_report(report, logs_to_stdout) {
            events::warning(format_args!("the report of the start could not be printed: {error}"));
        }
    }
}
