//! Mistakes and their places.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sitar_site::Printable;

use super::{Place, Problem};

/// The most problems of one run; of a file that is no configuration at all, no more are worth
/// reading.
const PROBLEMS_MAX: usize = 200;
/// The most characters that a message quotes of a value.
const QUOTED_MAX: usize = 60;

#[cfg(test)]
thread_local! {
    /// The number of mistakes on this thread for which words were looked for.
    pub(super) static WORDED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts a mistake for which words are looked for, which takes time.
pub(super) fn count_words() {
    #[cfg(test)]
    WORDED.with(|worded| worded.set(worded.get() + 1));
}

/// The problems of one run.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds a problem without a hint.
    pub(super) fn add(&mut self, place: &Place, what: impl Into<String>) {
        self.push(place, what.into(), None);
    }

    /// Adds a problem, and what to write instead.
    pub(super) fn add_with(&mut self, place: &Place, what: impl Into<String>, hint: impl Into<String>) {
        self.push(place, what.into(), Some(hint.into()));
    }

    /// Adds a problem, and what to write instead where that is known.
    pub(super) fn push(&mut self, place: &Place, what: String, hint: Option<String>) {
        // One more than are returned shows that there are more.
        if !self.is_full() {
            self.list.push(Problem { place: place.clone(), what, hint });
        }
    }

    /// Returns whether no further problem is kept; what would be said of it need not be found out.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() > PROBLEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the problems in the order of the files and of the lines.
    pub(super) fn sorted(mut self, files: &[Arc<Path>]) -> Vec<Problem> {
        let more = self.is_full();
        self.list.truncate(PROBLEMS_MAX);
        let rank = |place: &Place| files.iter().position(|file| *file == place.file);
        self.list.sort_by_cached_key(|Problem { place, .. }| (rank(place), place.line, place.column));
        if more && let Some(first) = files.first() {
            self.list.push(Problem {
                place: Place::whole(first),
                what: format!("more than {PROBLEMS_MAX} problems; the others are not shown"),
                hint: None,
            });
        }
        self.list
    }
}

impl Place {
    /// A file as a whole.
    pub(crate) fn whole(file: &Arc<Path>) -> Place {
        Place { file: Arc::clone(file), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printable(&self.file.to_string_lossy()))?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

/// The place, the mistake, and the hint on a line of its own.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, Printable(&self.what))?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", Printable(hint)),
            None => Ok(()),
        }
    }
}

/// Returns a value in single quotes, shortened where it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("'{}…'", text.get(..end).unwrap_or_default()),
        None => format!("'{text}'"),
    }
}
