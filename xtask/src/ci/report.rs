//! The account at the end.

use super::outcome::{Outcome, failed};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// All steps so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

type Step = (&'static str, Duration, Outcome);

fn timed(name: &'static str, action: impl FnOnce() -> Outcome) -> Step {
    let start = Instant::now();
    // The findings of the others are reported all the same.
    let outcome = catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|_| failed("it panicked"));
    (name, start.elapsed(), outcome)
}

#[derive(Default)]
pub(crate) struct Counts {
    passed: usize,
    pub(crate) failed: usize,
    skipped: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn step(&mut self, name: &'static str, action: impl FnOnce() -> Outcome) {
        self.steps.push(timed(name, action));
    }

    /// Two rows of steps side by side.
    pub(crate) fn side_by_side(
        &mut self,
        one: impl FnOnce(&mut Report),
        other: impl FnOnce(&mut Report) + Send,
    ) {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut lane = Report::default();
                other(&mut lane);
                lane.steps
            });
            one(self);
            let panicked = |_| vec![("steps", Duration::ZERO, failed("they panicked"))];
            self.steps.extend(other.join().unwrap_or_else(panicked));
        });
    }

    pub(crate) fn has_passed(&self, step: &str) -> bool {
        self.steps.iter().any(|(name, _, outcome)| *name == step && matches!(outcome, Outcome::Passed))
    }

    /// A test of the lab that ran there is not missing where it could not run.
    pub(crate) fn settle_lab(&mut self) {
        let mut ran = BTreeSet::new();
        for (name, _, outcome) in &self.steps {
            if let Outcome::Tests(tests) = outcome
                && *name == "lab"
            {
                ran.extend(tests.ran.iter().cloned());
            }
        }
        for (name, _, outcome) in &mut self.steps {
            if let Outcome::Tests(tests) = outcome
                && *name != "lab"
            {
                tests.skipped.retain(|(name, _)| !ran.contains(name));
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (name, _, outcome) in &self.steps {
            match outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(reason) => counts.skipped.push(((*name).to_string(), reason.clone())),
                Outcome::Tests(tests) => {
                    counts.passed += tests.passed;
                    counts.failed += tests.failed + usize::from(tests.broken.is_some());
                    counts.skipped.extend(tests.skipped.iter().cloned());
                }
            }
        }
        counts
    }

    /// `all`: how long it took as a whole.
    pub(crate) fn text(&self, all: Duration) -> String {
        let mut text = String::new();
        let width = self.steps.iter().map(|(name, _, _)| name.len()).max().unwrap_or(0).max(8);
        for (name, duration, outcome) in &self.steps {
            let said = match outcome {
                Outcome::Passed => "ok".to_string(),
                Outcome::Failed(why) => format!("FAILED: {why}"),
                Outcome::Skipped(_) => "skipped".to_string(),
                Outcome::Tests(tests) => match &tests.broken {
                    Some(why) => format!("FAILED: {why}"),
                    None if tests.failed > 0 => format!("FAILED: {} of the tests", tests.failed),
                    None => format!("ok: {} tests", tests.passed),
                },
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<width$} {:>4} s  {said}", duration.as_secs_f64().round());
        }
        let _ = writeln!(text, "{:<width$} {:>4} s", "all", all.as_secs_f64().round());
        let counts = self.counts();
        for (name, reason) in &counts.skipped {
            let _ = writeln!(text, "skipped: {name}: {reason}");
        }
        let (passed, failed, skipped) = (counts.passed, counts.failed, counts.skipped.len());
        let _ = writeln!(text, "{passed} passed, {failed} failed, {skipped} skipped");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::lab_tests;
    use super::super::outcome::Tests;
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test b ... ignored, needs a printer
test c ... ignored
test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    fn tests_from(output: &str) -> Tests {
        let mut tests = Tests::default();
        output.lines().for_each(|line| tests.read_line(line));
        tests
    }

    #[test]
    fn results_are_summed() {
        let mut tests = tests_from(OUTPUT);
        tests.read_skips("skipped: clients::wrk: no wrk\nskipped: clients::wrk: no h2load\nnoise\n");
        assert_eq!((tests.passed, tests.failed), (40, 2));
        let skipped: Vec<String> =
            tests.skipped.iter().map(|(name, reason)| format!("{name}/{reason}")).collect();
        assert_eq!(
            skipped,
            [
                "b/needs a printer",
                "c/ignored without a reason",
                "clients::wrk/no wrk",
                "clients::wrk/no h2load"
            ]
        );
    }

    #[test]
    fn a_crash_and_an_empty_run_are_not_success() {
        let mut crashed = tests_from("test result: ok. 1 passed; 0 failed; 0 ignored");
        crashed.finish(false, "seeds: exit status: 101");
        assert_eq!(crashed.broken.as_deref(), Some("seeds: exit status: 101 without a failed test"));
        let mut empty = Tests::default();
        empty.finish(true, "exit status: 0");
        let empty = empty.not_empty();
        assert_eq!(empty.broken.as_deref(), Some("no test ran"));
        let mut failed = tests_from(OUTPUT);
        failed.finish(false, "exit status: 101");
        assert_eq!(failed.broken, None);
    }

    #[test]
    fn what_the_lab_ran_is_not_skipped_elsewhere() {
        let mut report = Report::default();
        let mut outside = tests_from("test result: ok. 5 passed; 0 failed; 0 ignored");
        outside
            .read_skips("skipped: lab::a: no TLS\nskipped: lab::b: no TLS\nskipped: clients::a: no curl\nskipped: lab::sealer::d: no TLS\n");
        let inside = "test lab::a ... ok\ntest lab::c ... ok\ntest lab::sealer::d ... ok\ntest result: ok. 3 passed; 0 failed; 0 ignored\n\
                      skipped: lab::c: no wrk\n";
        report.steps.push(("test", Duration::ZERO, Outcome::Tests(outside)));
        report.steps.push(("lab", Duration::ZERO, Outcome::Tests(lab_tests("6.1", inside, 0))));
        report.settle_lab();
        let counts = report.counts();
        assert_eq!((counts.passed, counts.failed), (3, 0));
        let skipped: Vec<&str> = counts.skipped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(skipped, ["lab::b", "clients::a", "lab::c (kernel 6.1)"]);
        let both: Tests = [lab_tests("6.12", inside, 0), lab_tests("6.1", "", 1)].into_iter().collect();
        assert_eq!((both.passed, both.skipped.len(), both.ran.len()), (2, 1, 2));
        assert!(both.broken.is_some(), "one that died is not hidden by one that passed");
        assert!(lab_tests("6.1", "", 1).broken.is_some());
        assert!(lab_tests("6.1", "", 0).broken.is_some());
    }

    #[test]
    fn the_summary_ends_with_the_counts() {
        let mut report = Report::default();
        report.steps.push(("fmt", Duration::from_millis(700), Outcome::Passed));
        report.steps.push(("clippy", Duration::from_secs(61), failed("exit status: 101")));
        report.steps.push(("deny", Duration::ZERO, Outcome::Skipped("absent".into())));
        let tests =
            Tests { passed: 7, failed: 1, skipped: vec![("a".into(), "no perf".into())], ..Tests::default() };
        report.steps.push(("test", Duration::from_secs(100), Outcome::Tests(tests)));
        assert_eq!(
            report.text(Duration::from_secs(150)),
            "\
fmt         1 s  ok
clippy     61 s  FAILED: exit status: 101
deny        0 s  skipped
test      100 s  FAILED: 1 of the tests
all       150 s
skipped: deny: absent
skipped: a: no perf
8 passed, 2 failed, 2 skipped
"
        );
    }
}
