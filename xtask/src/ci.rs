//! `cargo xtask ci`: everything a machine can check, in one command, with an honest account at the
//! end.
//!
//! Every step runs even if an earlier one failed, so that one run tells everything.
//!
//! Tests are compiled with the dev profile and drive the release program: linking a test program in
//! release costs half a minute (link-time optimisation) and there are a dozen, while what the tests
//! measure is the program that ships.

mod libraries;
pub(crate) mod lints;
pub(crate) mod outcome;
pub(crate) mod programs;
pub(crate) mod report;

use self::outcome::{Outcome, Tests, failed};
use self::programs::{Program, nice};
use self::report::Report;
use crate::setup::{self, Outcome as Setup};
use crate::vm::{self, SERIES};
use crate::{Invocation, authorities, instructions, program, tidy};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Instant;

/// Tests that cannot run append `skipped: <test>: <reason>` to the file named by this variable
/// (tests/common).
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
    report.step("setup", || {
        let packages = setup::ensure(false);
        // The tests that miss one skip themselves and say so.
        for missing in authorities::ensure(root) {
            println!("setup: {missing}");
        }
        match packages {
            Setup::Complete | Setup::Installed(_) => Outcome::Passed,
            Setup::Incomplete(reason) => Outcome::Skipped(reason),
        }
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
    let (to_others, libraries) = mpsc::channel::<Vec<String>>();
    let (to_outside, from_outside) = mpsc::channel::<Result<Vec<Program>, String>>();
    // In a folder that is worked in, cargo would compile everything again whenever it is called
    // without them.
    let shares = std::env::var_os(INCREMENTAL).is_some_and(|value| value == "0");
    report.side_by_side(
        // What ships. Its last step, optimisation across crates, uses one core of two. Then it goes
        // to the lab, and what runs beside it stands back: the tests in there wait for so long and
        // no longer.
        move |lane| {
            let build = [&["build", "--release", "--bin", "sitar"][..], &instructions::BUILD].concat();
            lane.step("build", || libraries::build(root, &build, &to_others));
            drop(to_others);
            let built = lane.has_passed("build");
            lane.step("count", || count(root, built));
            lane.step("lab", || match lab_program.recv() {
                Ok(program) if built => {
                    Outcome::Tests(SERIES.iter().rev().map(|series| lab(root, series, &program)).collect())
                }
                Ok(_) => Outcome::Skipped("there is no release program to take along".into()),
                Err(_) => Outcome::Skipped("its test program does not compile".into()),
            });
            // Outside of the step, whose time is that of the tests.
            let programs = received(&from_outside);
            lane.step("program", || match programs {
                Ok(programs) => Outcome::Tests(test_from_outside(root, programs, built)),
                Err(error) => failed(error),
            });
        },
        // What is checked and tested, in another folder of cargo's. The tests of the libraries
        // mostly wait, so they run beside the lab, and beside those of the whole program, which
        // look at their own server and nothing else on the machine.
        |lane| {
            let libraries = if shares { Some(libraries) } else { None };
            let mut config = Vec::new();
            lane.step("wait", || {
                config = libraries.and_then(|libraries| libraries.recv().ok()).unwrap_or_default();
                Outcome::Passed
            });
            let is_linted = lints::compiler().map(|arguments| config.extend(arguments));
            let config: Vec<&str> = config.iter().map(String::as_str).collect();
            let mut warnings = 0;
            // First what the lab waits for.
            lane.step("lab test", || match vm::lab_program(root, &config) {
                Ok((program, found)) => {
                    warnings += found;
                    match to_lab.send(program) {
                        Ok(()) => Outcome::Passed,
                        Err(_) => failed("the lane that runs it has ended"),
                    }
                }
                Err(error) => failed(error.to_string()),
            });
            drop(to_lab);
            let mut of_libraries = Vec::new();
            lane.step("compile", || match programs::build(root, &[&TARGETS, &config[..]].concat()) {
                Ok(mut compiled) => {
                    warnings += compiled.warnings;
                    let is_outside = |program: &mut Program| program.name == vm::PROGRAM;
                    let outside = compiled.programs.extract_if(.., is_outside).collect();
                    of_libraries = compiled.programs;
                    match to_outside.send(Ok(outside)) {
                        Ok(()) => Outcome::Passed,
                        Err(_) => failed("the lane that runs the tests from outside has ended"),
                    }
                }
                Err(error) => {
                    // If that lane has ended, its report says why.
                    let _ = to_outside.send(Err(error.to_string()));
                    failed(error.to_string())
                }
            });
            // Whatever became of the step, the other lane stops waiting.
            drop(to_outside);
            lane.step("clippy", || is_linted.map_or_else(failed, |()| lints::verdict(warnings)));
            lane.step("test", || {
                Outcome::Tests(with_skips(&target(root), "test", |skips| {
                    let sampled = [skips, (SAMPLE.0, SAMPLE.1.as_ref()), (FUZZ.0, FUZZ.1.as_ref())];
                    programs::run(of_libraries, &sampled)
                }))
            });
            lane.step("doc", || Outcome::Tests(lints::run_documentation(root, &config)));
        },
    );
    report.settle_lab();
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

/// Simulations have thousands of seeds and take all cores for them: one in eight is run here, and
/// all of them by `cargo xtask full`. So are thousands of connections and files, and hundreds of
/// reloads, also in the lab, where what is emulated takes its time.
const SAMPLE: (&str, &str) = ("SITAR_SAMPLE", "8");
/// Seconds for the mutations of each fuzz target's corpus, which go on for as long as is asked for.
/// `cargo test` takes five.
const FUZZ: (&str, &str) = ("SITAR_FUZZ_SECONDS", "1");

/// All targets of each package: examples, too, because they are linted.
const TARGETS: [&str; 2] = ["--workspace", "--all-targets"];

/// Cargo's own variable.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";
/// Cargo's own variables for the profiles. The code of the release program is the same without.
const DEBUG: [&str; 2] = ["CARGO_PROFILE_DEV_DEBUG", "CARGO_PROFILE_RELEASE_DEBUG"];

/// Whether something has been compiled here that a later compilation can go on from, because this
/// folder is worked in.
fn is_incremental(root: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(target(root).join("debug/incremental")) else { return false };
    // What is running now has been compiled in any case.
    entries.flatten().any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"xtask-"))
}

/// From a clean checkout: what would let later compilations be quicker makes this one slower, and
/// there are no later ones. Nor is there a debugger; a panic names its line without line tables.
fn again_without_increments(root: &Path) -> ExitCode {
    let this = std::env::current_exe().and_then(|this| {
        let debug = DEBUG.map(|variable| (variable, "0"));
        Command::new(this).arg("ci").env(INCREMENTAL, "0").envs(debug).current_dir(root).status()
    });
    match this {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Outcome {
    println!("\n$ cargo {}", args.join(" "));
    match nice("cargo").args(args).envs(env.iter().copied()).current_dir(root).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => failed(status.to_string()),
        Err(error) => failed(error.to_string()),
    }
}

/// Counts the instructions of a warm request.
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
    let size = vm::Size { sample: Some(SAMPLE.1), ..vm::Size::default() };
    let boot = || {
        println!("\n$ cargo xtask vm {series} --suite lab");
        match vm::lab(root, series, &kernel, program, vm::LAB, size, &[]) {
            Ok(finished) => lab_tests(series, &finished.output, finished.code),
            Err(error) => Tests::broken(format!("kernel {series}: {error}")),
        }
    };
    let tests = boot();
    match &tests.broken {
        // An emulated kernel that dies on its way to the first test says nothing about sitar. Twice
        // is no accident.
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
    let mut tests = tests.not_empty();
    tests.read_skips(output);
    let Tests { ran, skipped, .. } = &mut tests;
    ran.retain(|test| !skipped.iter().any(|(name, _)| name == test));
    for (name, _) in &mut tests.skipped {
        name.push_str(&format!(" (kernel {series})"));
    }
    tests
}

/// Returns the folder in which cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Returns the test programs that the other lane has compiled, or why there are none. Waits for
/// them.
fn received(programs: &mpsc::Receiver<Result<Vec<Program>, String>>) -> Result<Vec<Program>, String> {
    programs.recv().unwrap_or_else(|_| Err("the step that compiles them panicked".into()))
}

/// Runs the tests of a step, which list those that cannot run in the file that they are given the
/// name of. Each step has a file of its own, since another may run at the same time.
fn with_skips(folder: &Path, step: &str, run: impl FnOnce((&str, &OsStr)) -> Tests) -> Tests {
    let skips = folder.join(format!("skipped-tests-{step}"));
    if let Err(error) = std::fs::write(&skips, "") {
        return Tests::broken(format!("{}: {error}", skips.display()));
    }
    let mut tests = run((SKIPPED_FILE, skips.as_os_str()));
    tests.read_skips(&std::fs::read_to_string(&skips).unwrap_or_default());
    tests.not_empty()
}

/// Runs the tests of tests/. `built` says that the release program is there and new; otherwise they
/// take the one that cargo has compiled beside them, so that a failed build is not hidden by an old
/// program.
fn test_from_outside(root: &Path, programs: Vec<Program>, built: bool) -> Tests {
    let program = program::release(root);
    with_skips(&target(root), "program", |skips| {
        let sample = (SAMPLE.0, SAMPLE.1.as_ref());
        let mut environment = vec![skips, sample, (FUZZ.0, FUZZ.1.as_ref())];
        if built {
            environment.push((program::VARIABLE, program.as_os_str()));
        }
        programs::run(programs, &environment)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_not_left_waiting_for_test_programs() {
        let (sender, receiver) = mpsc::channel();
        sender.send(Ok(Vec::new())).unwrap();
        assert!(received(&receiver).is_ok_and(|programs| programs.is_empty()));
        sender.send(Err("the tests do not compile".into())).unwrap();
        drop(sender);
        assert_eq!(received(&receiver).err().as_deref(), Some("the tests do not compile"));
        assert_eq!(received(&receiver).err().as_deref(), Some("the step that compiles them panicked"));
    }

    #[test]
    fn each_step_lists_skipped_tests_in_its_own_file() {
        let folder = std::env::temp_dir().join(format!("sitar-xtask-skips-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let skipping = |name: &'static str| {
            move |(_, file): (&str, &OsStr)| {
                std::fs::write(file, format!("skipped: {name}: no reason\n")).unwrap();
                Tests { passed: 2, ..Tests::default() }
            }
        };
        let mut inner = Tests::default();
        let outer = with_skips(&folder, "test", |skips| {
            inner = with_skips(&folder, "program", skipping("inner"));
            skipping("outer")(skips)
        });
        std::fs::remove_dir_all(&folder).unwrap();
        let names = |tests: &Tests| tests.skipped.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!((names(&outer), names(&inner)), (vec!["outer".into()], vec!["inner".into()]));
        assert_eq!((outer.passed, inner.passed), (1, 1));
    }
}
