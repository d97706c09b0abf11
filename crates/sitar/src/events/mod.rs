//! The event log: what a server says while it runs, on standard error.
//!
//! | module | what it does |
//! |---|---|
//! | `line` | makes the line of an event |
//! | `stream` | writes it, and never waits for long |
//! | `panics` | makes an event of a panic |
//! | `refusals` | tells of connections that were refused |
//!
//! All processes of a server write to the same standard error. A line is written by one write(2)
//! of at most [`LINE_MAX`] bytes, which a pipe takes as a whole.

mod line;
mod panics;
#[doc(hidden)]
pub mod properties;
pub(crate) mod refusals;

mod stream;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use sitar_io::refused;

use self::line::Look;

pub(crate) use self::stream::{JOURNAL_STREAM, show};
use crate::error::Error;
use crate::settings::values::Word;

/// The most bytes of a line, its line feed included: what a pipe takes as a whole (`PIPE_BUF` of
/// Linux).
pub const LINE_MAX: usize = 4096;

/// The form of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Word for Form {
    const WORDS: &'static [(&'static str, Form, &'static str)] = &[
        ("text", Form::Text, "Lines for people, with times and levels where standard error is no terminal"),
        ("json", Form::Json, "One JSON object a line"),
    ];
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something does not work, and someone has to do something about it.
    Error,
    /// Something works less well than it should, or soon will.
    Warning,
    /// Something has happened as it should.
    Info,
}

impl Level {
    /// Returns the word in a line of text.
    fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        }
    }

    /// Returns the word in a line of JSON: those of Caddy.
    fn json_word(self) -> &'static str {
        match self {
            Level::Warning => "warn",
            other => other.word(),
        }
    }

    /// Returns the priority of syslog(3).
    fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
        }
    }
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    level: Level,
    /// Without the causes, and without a full stop.
    sentence: String,
    /// The whole sentence of a line of text; `None`: the same with its causes and hints.
    text: Option<String>,
    /// Why, from the near cause to the far one.
    causes: Vec<String>,
    /// What can be done about it.
    hints: Vec<String>,
    /// Further facts, in JSON only: the sentence has what people need of them.
    fields: Vec<(&'static str, Value)>,
}

impl Event {
    /// An event of which the sentence says everything.
    #[must_use]
    pub fn new(level: Level, sentence: impl Display) -> Event {
        let (causes, hints, fields) = (Vec::new(), Vec::new(), Vec::new());
        Event { level, sentence: sentence.to_string(), text: None, causes, hints, fields }
    }

    /// Adds a failure behind the sentence, as its cause. Further failures of the same run are
    /// causes as well.
    #[must_use]
    pub fn because(mut self, error: &Error) -> Event {
        let (what, causes, hints) = error.parts();
        self.causes.push(what.to_owned());
        self.causes.extend_from_slice(causes);
        self.hints.extend_from_slice(hints);
        error.others().iter().fold(self, Event::because)
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Event {
        self.fields.push((name, value.into()));
        self
    }

    /// Has a line of text say this instead.
    #[must_use]
    pub fn in_text(mut self, sentence: impl Display) -> Event {
        self.text = Some(sentence.to_string());
        self
    }

    /// Writes the event. Without a reader of standard error, the server goes on all the same.
    pub fn say(&self) {
        stream::write(&line::of(self, look(), SystemTime::now()));
    }
}

/// Says something that has happened as it should.
pub(crate) fn info(sentence: impl Display) {
    Event::new(Level::Info, sentence).say();
}

/// Says something that the operator should look at.
pub(crate) fn warning(sentence: impl Display) {
    Event::new(Level::Warning, sentence).say();
}

/// Says something that the operator has to do something about.
pub(crate) fn error(sentence: impl Display) {
    Event::new(Level::Error, sentence).say();
}

/// Prints the error that ends a start: an event for each failure in JSON and in the journal, which
/// has priorities; otherwise as every command does.
pub fn end_with(failed: &Error) {
    let is_in_journal = BEGUN.get().is_some() && look() == Look::Journal;
    if form() == Form::Text && !is_in_journal {
        failed.print();
        return;
    }
    let one = |failed: &Error| {
        let (what, causes, hints) = failed.parts();
        let event = Event::new(Level::Error, what);
        Event { causes: causes.to_vec(), hints: hints.to_vec(), ..event }.say();
    };
    one(failed);
    failed.others().iter().for_each(one);
}

static IS_JSON: AtomicBool = AtomicBool::new(false);
static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Has this process write events: before its threads, and before its sandbox. Panics are events
/// from here on.
pub(crate) fn begin(form: Form) {
    BEGUN.get_or_init(Instant::now);
    stream::kind();
    set_form(form);
    panics::catch();
}

/// Has events written in that form from now on.
pub(crate) fn set_form(form: Form) {
    IS_JSON.store(form == Form::Json, Ordering::Relaxed);
}

/// Returns the form in which events are written.
pub(crate) fn form() -> Form {
    if IS_JSON.load(Ordering::Relaxed) { Form::Json } else { Form::Text }
}

/// Returns the time since this process [began](begin).
pub(crate) fn age() -> Duration {
    BEGUN.get().map(Instant::elapsed).unwrap_or_default()
}

/// Whether a line on standard error can be written over.
pub(crate) fn is_on_terminal() -> bool {
    look() == Look::Terminal
}

/// Whether standard error is where only events go, and the report of a start does not.
pub(crate) fn is_apart() -> bool {
    look() == Look::Timed
}

/// Returns the line about a system call that was refused for the first time, which a signal handler
/// writes: `say` may not be called by one.
pub(crate) fn refused_call() -> &'static refused::Line {
    macro_rules! line {
        ($begin:literal, $time:ident, $before:literal, $end:literal) => {
            &refused::Line {
                begin: $begin,
                time: refused::Time::$time,
                sentence: concat!(
                    $before,
                    "the sandbox has refused a system call, and counts further ones: "
                ),
                end: $end,
            }
        };
    }
    // `kind` is known since `begin`.
    match look() {
        Look::Terminal => line!("", None, "sitar: error: ", ""),
        Look::Journal => line!("", None, "<3>sitar: error: ", ""),
        Look::Timed => line!("", Rfc3339, " error sitar: ", ""),
        Look::Json => {
            line!("{\"level\":\"error\",\"ts\":", Seconds, ",\"logger\":\"sitar\",\"msg\":\"", "\"}")
        }
    }
}

fn look() -> Look {
    match (form(), stream::kind()) {
        (Form::Json, _) => Look::Json,
        (Form::Text, stream::Kind::Terminal) => Look::Terminal,
        (Form::Text, stream::Kind::Journal) => Look::Journal,
        (Form::Text, stream::Kind::Other) => Look::Timed,
    }
}
