//! The event log: what a server says while it runs, on standard error.

use crate::settings::values::Word;

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
