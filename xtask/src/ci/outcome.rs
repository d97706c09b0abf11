//! The outcomes of steps and tests.

use std::collections::BTreeSet;

/// The outcome of one step.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
    /// The step was many tests, which are counted in its place.
    Tests(Tests),
}

pub(crate) fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed(why.into())
}

/// The results that the test harnesses reported.
#[derive(Default)]
pub(crate) struct Tests {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Test and reason.
    pub(crate) skipped: Vec<(String, String)>,
    /// Each test that has a line of its own with a verdict.
    pub(crate) ran: BTreeSet<String>,
    /// The reason why the run as a whole cannot be believed: a crash, or code that did not compile.
    pub(crate) broken: Option<String>,
}

impl FromIterator<Tests> for Tests {
    fn from_iter<I: IntoIterator<Item = Tests>>(all: I) -> Tests {
        let mut sum = Tests::default();
        for tests in all {
            sum.passed += tests.passed;
            sum.failed += tests.failed;
            sum.skipped.extend(tests.skipped);
            sum.ran.extend(tests.ran);
            sum.broken = sum.broken.or(tests.broken);
        }
        sum
    }
}

impl Tests {
    /// `test a::b ... ignored, reason` or `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test ") else { return };
        if let Some(result) = rest.strip_prefix("result: ") {
            let count = |what: &str| {
                let before = &result[..result.find(what)?];
                before.trim_end().rsplit([' ', ';']).next()?.parse::<usize>().ok()
            };
            self.passed += count("passed").unwrap_or(0);
            self.failed += count("failed").unwrap_or(0);
        } else if let Some((name, outcome)) = rest.split_once(" ... ignored") {
            let reason = outcome.trim_start_matches(", ").trim();
            let reason = if reason.is_empty() { "ignored without a reason" } else { reason };
            self.skipped.push((name.to_string(), reason.to_string()));
        } else if let Some((name, "ok" | "FAILED")) = rest.split_once(" ... ") {
            self.ran.insert(name.to_string());
        }
    }

    /// A test that skips itself ends well as far as its harness knows, so it moves from one count
    /// to the other. A test may skip several parts; it still moves only once, and not at all if the
    /// rest of it failed.
    pub(crate) fn read_skips(&mut self, text: &str) {
        let mut names = Vec::new();
        for line in text.lines() {
            let Some((name, reason)) = line.strip_prefix("skipped: ").and_then(|rest| rest.split_once(": "))
            else {
                continue;
            };
            if !names.contains(&name) {
                names.push(name);
                self.passed = self.passed.saturating_sub(1);
            }
            self.skipped.push((name.to_string(), reason.to_string()));
        }
    }

    /// Returns results that cannot be believed, for this reason.
    pub(crate) fn broken(why: String) -> Tests {
        Tests { broken: Some(why), ..Tests::default() }
    }

    /// Notes how the program ended, in words: one that fails without a failed test cannot be
    /// believed.
    pub(crate) fn finish(&mut self, success: bool, how: &str) {
        if !success && self.failed == 0 {
            self.broken = Some(format!("{how} without a failed test"));
        }
    }

    /// Itself, unless nothing has run.
    pub(crate) fn not_empty(mut self) -> Tests {
        if self.passed + self.failed == 0 && self.broken.is_none() {
            self.broken = Some("no test ran".into());
        }
        self
    }
}
