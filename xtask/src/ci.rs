//! `cargo xtask ci`: everything a machine can check, in one command, with an honest account at the end.
//!
//! Every step runs even if an earlier one failed, so that one run tells everything.
//!
//! Tests are compiled with the dev profile and drive the release program: linking a test program in release costs half
//! a minute (link-time optimisation) and there are a dozen, while what the tests measure is the program that ships.

use crate::setup::{self, Outcome as Setup};
use crate::vm::{self, SERIES};
use crate::{Invocation, instructions, program, tidy};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Tests that cannot run append `skipped: <test>: <reason>` to the file named by this variable (tests/common).
const SKIPPED_FILE: &str = "SITAR_SKIPPED_FILE";

/// Runs all steps and prints the summary. The exit code is a failure when any step or test failed.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    if let Some(arg) = invocation.args.first() {
        eprintln!("error: `cargo xtask ci` takes no argument (`{arg}`)");
        return ExitCode::from(2);
    }
    let root = &invocation.root;
    if std::env::var_os(INCREMENTAL).is_none() && !is_incremental(root) {
        return again_without_increments(root);
    }
    let start = Instant::now();
    let mut report = Report::default();
    report.step("setup", || match setup::ensure(false) {
        Setup::Complete | Setup::Installed(_) => Outcome::Passed,
        Setup::Incomplete(reason) => Outcome::Skipped(reason),
    });
    report.step("fmt", || cargo(root, &["fmt", "--all", "--check"], &[]));
    report.step("tidy", || {
        if tidy::run(invocation) == ExitCode::SUCCESS {
            Outcome::Passed
        } else {
            failed("see the lines above")
        }
    });
    let (to_lab, lab_program) = mpsc::channel::<PathBuf>();
    report.side_by_side(
        // What ships. Its last step, optimisation across crates, uses one core of two. Then it goes to the lab: emulated kernels
        // run beside the compiler, which stands back for them (their tests wait for so long and no longer), but not beside
        // tests, some of which count what happens on a whole core.
        |lane| {
            let build = [&["build", "--release", "--bin", "sitar"][..], &instructions::BUILD].concat();
            lane.step("build", || cargo(root, &build, &[]));
            let built = lane.has_passed("build");
            lane.step("lab", || match lab_program.recv() {
                Ok(program) if built => {
                    Outcome::Tests(SERIES.iter().rev().map(|series| lab(root, series, &program)).collect())
                }
                Ok(_) => Outcome::Skipped("there is no release program to take along".into()),
                Err(_) => Outcome::Skipped("its test program does not compile".into()),
            });
        },
        // What is checked and tested, in another folder of cargo's.
        move |lane| {
            lane.step("clippy", || {
                cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
            });
            lane.step("lab test", || match vm::lab_program(root) {
                Ok(program) => match to_lab.send(program) {
                    Ok(()) => Outcome::Passed,
                    Err(_) => failed("nobody waits for it"),
                },
                Err(error) => failed(error.to_string()),
            });
            drop(to_lab);
            lane.step("compile", || compile(root));
        },
    );
    let built = report.has_passed("build");
    report.step("count", || count(root, built));
    report.step("test", || Outcome::Tests(test(root, built)));
    report.settle_lab();
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    report.step("doc", || cargo(root, &doc, &[("RUSTDOCFLAGS", "-D warnings")]));
    report.step("deny", || {
        if !setup::has_cargo_deny() {
            return Outcome::Skipped(setup::DENY_HINT.into());
        }
        // Advisories need the network at every run; the other three need only the lock file.
        cargo(root, &["deny", "--workspace", "check", "bans", "licenses", "sources"], &[])
    });
    print!("\n{}", report.text(start.elapsed()));
    if report.counts().failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Cargo's own variable.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// Whether something has been compiled here that a later compilation can go on from: somebody works in this folder.
fn is_incremental(root: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(target(root).join("debug/incremental")) else { return false };
    // What is running now has been compiled in any case.
    entries.flatten().any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"xtask-"))
}

/// From a clean checkout: what would let later compilations be quicker makes this one slower, and nobody waits for later ones.
fn again_without_increments(root: &Path) -> ExitCode {
    let this = std::env::current_exe()
        .and_then(|this| Command::new(this).arg("ci").env(INCREMENTAL, "0").current_dir(root).status());
    match this {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How one step ended.
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
    /// The step was many tests, which are counted in its place.
    Tests(Tests),
}

fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed(why.into())
}

fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Outcome {
    println!("\n$ cargo {}", args.join(" "));
    match Command::new("cargo").args(args).envs(env.iter().copied()).current_dir(root).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => failed(status.to_string()),
        Err(error) => failed(error.to_string()),
    }
}

/// What a warm request takes, in instructions.
fn count(root: &Path, built: bool) -> Outcome {
    if !built {
        return Outcome::Skipped("there is no release program to count in".into());
    }
    println!("\n$ cargo xtask instructions");
    match instructions::count(root) {
        Ok(instructions::Outcome::Passed) => Outcome::Passed,
        Ok(instructions::Outcome::Failed(counts)) => {
            failed(counts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Ok(instructions::Outcome::Skipped(why)) => Outcome::Skipped(why),
        Err(error) => failed(error),
    }
}

/// Compiles all tests, as far as nothing else wants the cores.
fn compile(root: &Path) -> Outcome {
    let nice = ["-n", "10", "cargo", "test", "--workspace", "--no-run"];
    match Command::new("nice").args(nice).stderr(Stdio::null()).current_dir(root).status() {
        Ok(status) if status.success() => Outcome::Passed,
        // The next step says the same, with its reasons.
        Ok(status) => failed(status.to_string()),
        Err(error) => failed(format!("nice: {error}")),
    }
}

/// The tests of tests/lab.rs under one of Debian's kernels.
fn lab(root: &Path, series: &str, program: &Path) -> Tests {
    let skipped = |why: String| Tests { skipped: vec![(format!("lab {series}"), why)], ..Tests::default() };
    if let Some(missing) = vm::missing_tool() {
        return skipped(missing);
    }
    let kernel = match vm::Kernel::get(&vm::folder(root), series) {
        Ok(kernel) => kernel,
        Err(error) => return skipped(error.to_string()),
    };
    let boot = || {
        println!("\n$ cargo xtask vm {series} --suite lab");
        match vm::lab(root, series, &kernel, program, vm::LAB, false, &[]) {
            Ok(finished) => lab_tests(series, &finished.output, finished.code),
            Err(error) => Tests { broken: Some(format!("kernel {series}: {error}")), ..Tests::default() },
        }
    };
    let tests = boot();
    match &tests.broken {
        // An emulated kernel that dies on its way to the first test says nothing about sitar. Twice is no accident.
        Some(why) if tests.ran.is_empty() => {
            println!("once more: {why}");
            boot()
        }
        _ => tests,
    }
}

fn lab_tests(series: &str, output: &str, code: u8) -> Tests {
    let mut tests = Tests::default();
    output.lines().for_each(|line| tests.read_line(line));
    tests.finish(code == 0, &format!("exit code {code}"));
    tests.read_skips(output);
    let Tests { ran, skipped, .. } = &mut tests;
    ran.retain(|test| !skipped.iter().any(|(name, _)| name == test));
    for (name, _) in &mut tests.skipped {
        name.push_str(&format!(" (kernel {series})"));
    }
    tests
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Runs all tests, shows their output as it comes, and counts. `built` says that the release program is there and
/// new; otherwise the tests take the one that cargo builds beside them, so that a failed build is not hidden by an
/// old program.
fn test(root: &Path, built: bool) -> Tests {
    let args = ["test", "--workspace", "--no-fail-fast"];
    println!("\n$ cargo {}", args.join(" "));
    let skips = target(root).join("skipped-tests");
    let mut tests = Tests::default();
    if let Err(error) = std::fs::create_dir_all(target(root)).and_then(|()| std::fs::write(&skips, "")) {
        tests.broken = Some(format!("{}: {error}", skips.display()));
        return tests;
    }
    let mut command = Command::new("cargo");
    command.args(args).env(SKIPPED_FILE, &skips).stdout(Stdio::piped()).current_dir(root);
    if built {
        command.env(program::VARIABLE, program::release(root));
    }
    let child = command.spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            tests.broken = Some(error.to_string());
            return tests;
        }
    };
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tests.read_line(&line);
        }
    }
    match child.wait() {
        Ok(status) => tests.finish(status.success(), &status.to_string()),
        Err(error) => tests.broken = Some(error.to_string()),
    }
    tests.read_skips(&std::fs::read_to_string(&skips).unwrap_or_default());
    tests
}

/// What the test harnesses reported.
#[derive(Default)]
struct Tests {
    passed: usize,
    failed: usize,
    /// Test and reason.
    skipped: Vec<(String, String)>,
    /// Each test that has a line of its own with a verdict.
    ran: BTreeSet<String>,
    /// Why the run as a whole cannot be believed: a crash, or code that did not compile.
    broken: Option<String>,
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
    fn read_line(&mut self, line: &str) {
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

    /// A test that skips itself ends well as far as its harness knows, so it moves from one count to the other.
    /// A test may skip several parts; it still moves only once, and not at all if the rest of it failed.
    fn read_skips(&mut self, text: &str) {
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

    fn finish(&mut self, success: bool, status: &str) {
        if !success && self.failed == 0 {
            self.broken = Some(format!("cargo test: {status} without a failed test"));
        }
        if success && self.passed == 0 {
            self.broken = Some("no test ran".into());
        }
    }
}

/// All steps so far.
#[derive(Default)]
struct Report {
    steps: Vec<Step>,
}

type Step = (&'static str, Duration, Outcome);

fn timed(name: &'static str, action: impl FnOnce() -> Outcome) -> Step {
    let start = Instant::now();
    // What the others have found is told all the same.
    let outcome = catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|_| failed("it panicked"));
    (name, start.elapsed(), outcome)
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: Vec<(String, String)>,
}

impl Report {
    fn step(&mut self, name: &'static str, action: impl FnOnce() -> Outcome) {
        self.steps.push(timed(name, action));
    }

    /// Two rows of steps side by side.
    fn side_by_side(&mut self, one: impl FnOnce(&mut Report), other: impl FnOnce(&mut Report) + Send) {
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

    fn has_passed(&self, step: &str) -> bool {
        self.steps.iter().any(|(name, _, outcome)| *name == step && matches!(outcome, Outcome::Passed))
    }

    /// A test of the lab that ran there is not missing where it could not run.
    fn settle_lab(&mut self) {
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
                && *name == "test"
            {
                tests.skipped.retain(|(name, _)| !ran.contains(name));
            }
        }
    }

    fn counts(&self) -> Counts {
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
    fn text(&self, all: Duration) -> String {
        let mut text = String::new();
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
            let _ = writeln!(text, "{name:<8} {:>4} s  {said}", duration.as_secs_f64().round());
        }
        let _ = writeln!(text, "{:<8} {:>4} s", "all", all.as_secs_f64().round());
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
        crashed.finish(false, "exit status: 101");
        assert_eq!(crashed.broken.as_deref(), Some("cargo test: exit status: 101 without a failed test"));
        let mut empty = Tests::default();
        empty.finish(true, "exit status: 0");
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
