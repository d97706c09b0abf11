//! Links with one target are one problem, however many pages have them.

use super::{Findings, Kind, Location, Problem};
use std::collections::HashMap;
use std::fmt;

/// Problems about links by their kind and target, with their places in [`Findings::problems`].
#[derive(Default)]
pub(super) struct Groups {
    known: HashMap<(Kind, String), usize>,
    /// Places kept in all groups together.
    places: usize,
}

impl Groups {
    /// Adds a problem to those of its target, or as one of its own.
    pub(super) fn add(&mut self, findings: &mut Findings, problem: Problem) {
        if problem.target.is_empty() {
            return findings.keep(problem);
        }
        let key = (problem.kind, problem.target.clone());
        let Some(known) = self.known.get(&key).and_then(|&at| findings.problems.get_mut(at)) else {
            let at = findings.problems.len();
            findings.keep(problem);
            if findings.problems.len() > at {
                self.known.insert(key, at);
            }
            return;
        };
        known.times += problem.times;
        // Pages come one after another.
        let last = known.others.last().map_or(&known.file, |place| &place.file);
        let is_new = *last != problem.file;
        known.pages += if is_new { problem.pages } else { problem.pages - 1 };
        let first = Location { file: problem.file, line: problem.line };
        let room = PLACES_MAX.saturating_sub(self.places);
        let before = known.others.len();
        known.others.extend(std::iter::once(first).chain(problem.others).take(room));
        self.places += known.others.len() - before;
    }
}

/// Writes the end of a problem that several places have.
pub(super) fn elsewhere(problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match problem.pages {
        0 | 1 if problem.times <= 1 => Ok(()),
        0 | 1 => write!(f, " ({} times on this page)", problem.times),
        pages => {
            write!(f, " (on {pages} pages")?;
            let mut last = &problem.file;
            let mut shown = 0;
            for place in &problem.others {
                if place.file != *last && shown < PAGES_SHOWN {
                    write!(f, "{} {}", if shown == 0 { "; also" } else { "," }, place.file)?;
                    shown += 1;
                }
                last = &place.file;
            }
            f.write_str(")")
        }
    }
}

/// Places that are kept beside each problem's first, in all.
const PLACES_MAX: usize = 100_000;
/// Further pages that a line names.
const PAGES_SHOWN: usize = 3;
