//! Mistakes in rules, described so that the author of the site can mend them.

use crate::open::printable::printable;
use std::fmt;

/// One mistake in `_headers` or `_redirects`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The file's name.
    pub file: &'static str,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: u32,
    /// The line itself, made printable and shortened.
    pub text: String,
    /// The fault.
    pub reason: &'static str,
    /// The nearest thing that is valid.
    pub hint: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleError { file, line, text, reason, hint } = self;
        match line {
            0 => write!(f, "{file}: {reason}; {hint}"),
            _ => write!(f, "{file}:{line}: {reason}: '{text}'; {hint}"),
        }
    }
}

impl std::error::Error for RuleError {}

/// A mistake before it is known where.
#[derive(Debug)]
pub(super) struct Fault {
    reason: &'static str,
    hint: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, hint: impl Into<String>) -> Fault {
        Fault { reason, hint: hint.into() }
    }
}

/// Mistakes of one file, the first ones.
pub(super) struct Faults {
    file: &'static str,
    kept: Vec<RuleError>,
}

impl Faults {
    pub(super) fn new(file: &'static str) -> Faults {
        Faults { file, kept: Vec::new() }
    }

    /// Adds one; `line` 0 is the file as a whole.
    pub(super) fn push(&mut self, line: u32, text: &[u8], fault: Fault) {
        if self.kept.len() < ERRORS_MAX {
            let Fault { reason, hint } = fault;
            self.kept.push(RuleError { file: self.file, line, text: printable(text), reason, hint });
        }
    }

    /// Whether more would not be kept, so that there is no use in reading on.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= ERRORS_MAX
    }

    pub(super) fn finish(self) -> Vec<RuleError> {
        self.kept
    }
}

/// Mistakes that are reported of one file.
const ERRORS_MAX: usize = 20;
