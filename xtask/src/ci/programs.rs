//! Test programs: all compiled by one cargo, then run side by side.
//!
//! `cargo test` runs one program at a time, and most of what ours do is wait, for the ends of
//! timers that they test. cargo-nextest runs tests side by side, but takes minutes to build on a
//! machine that has none, which is more than it would save.

use super::outcome::Tests;
use crate::program::Result;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

/// A test program that has been compiled.
pub(crate) struct Program {
    /// The target's.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The folder of its package, where it expects to run.
    folder: PathBuf,
}

/// Programs that take longest, in that order: they begin first, so that none of them is left alone
/// at the end.
const LONGEST: [&str; 5] = ["server", "sitar_server", "replay", "seeds", "suite"];
/// Programs at a time for each core: about half of their tests wait.
const PROGRAMS: usize = 2;
/// Tests at a time in each of them.
const TESTS: &str = "4";
/// Compilers and tests have a lower priority than an emulated kernel, whose tests have time limits,
/// and none above that of a packer, for which some tests wait.
const NICE: [&str; 2] = ["-n", "19"];

/// Returns a command for a program that stands back for an emulated kernel.
pub(super) fn nice(program: impl AsRef<OsStr>) -> Command {
    let mut nice = Command::new("nice");
    nice.args(NICE).arg(program);
    nice
}

/// What cargo has compiled, and how often it has warned on the way.
pub(crate) struct Compiled {
    pub(crate) programs: Vec<Program>,
    pub(crate) warnings: usize,
}

/// Compiles the test programs that these arguments of `cargo test` name.
///
/// # Errors
/// They do not compile; cargo has said why.
pub(crate) fn build(root: &Path, which: &[&str]) -> Result<Compiled> {
    let mut cargo = nice("cargo");
    cargo.arg("test").args(which);
    cargo.args(["--no-run", "--message-format=json"]).current_dir(root);
    let mut child = cargo.stdout(Stdio::piped()).spawn()?;
    let mut compiled = Compiled { programs: Vec::new(), warnings: 0 };
    let lines = child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
    for line in lines.map_while(io::Result::ok) {
        let message: Value = serde_json::from_str(&line)?;
        if let Some(rendered) = message["message"]["rendered"].as_str() {
            eprint!("{rendered}");
            compiled.warnings += usize::from(message["message"]["level"] == "warning");
        }
        if message["profile"]["test"].as_bool() == Some(true)
            && let (Some(name), Some(path), Some(manifest)) = (
                message["target"]["name"].as_str(),
                message["executable"].as_str(),
                message["manifest_path"].as_str(),
            )
        {
            let folder = Path::new(manifest).parent().ok_or("a package without a folder")?;
            compiled.programs.push(Program { name: name.into(), path: path.into(), folder: folder.into() });
        }
    }
    if child.wait()?.success() { Ok(compiled) } else { Err("the tests do not compile".into()) }
}

/// Runs all of them, shows what each has said when it ends, and counts.
pub(crate) fn run(mut programs: Vec<Program>, environment: &[(&str, &OsStr)]) -> Tests {
    programs.sort_by_key(|program| {
        LONGEST.iter().position(|name| *name == program.name).unwrap_or(LONGEST.len())
    });
    let at_a_time = PROGRAMS * std::thread::available_parallelism().map_or(1, usize::from);
    let (waiting, ended) = (Mutex::new(programs.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(program) = next() {
                    let tests = program.run(environment);
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push(tests);
                }
            });
        }
    });
    ended.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

impl Program {
    fn run(&self, environment: &[(&str, &OsStr)]) -> Tests {
        let mut program = nice(&self.path);
        program.current_dir(&self.folder).stdin(Stdio::null());
        // As cargo has it.
        program.env("CARGO_MANIFEST_DIR", &self.folder).env("RUST_TEST_THREADS", TESTS);
        let done = match program.envs(environment.iter().copied()).output() {
            Ok(done) => done,
            Err(error) => return Tests::broken(format!("{}: {error}", self.path.display())),
        };
        let mut tests = Tests::default();
        String::from_utf8_lossy(&done.stdout).lines().for_each(|line| tests.read_line(line));
        tests.finish(done.status.success(), &format!("{}: {}", self.name, done.status));
        // In one piece, since others end at the same time.
        let text =
            [format!("     Ran {}\n", self.path.display()).as_bytes(), &done.stdout, &done.stderr].concat();
        // Its reader may have gone; the verdict stands.
        let _ = io::stdout().lock().write_all(&text);
        tests
    }
}

/// What a command has said, which may run tests.
pub(crate) struct Heard {
    pub(crate) tests: Tests,
    /// Its standard output.
    pub(crate) text: String,
    pub(crate) status: ExitStatus,
}

/// Runs a command, shows its output as it comes, and counts the tests in it.
///
/// # Errors
/// It did not start, or cannot be waited for.
pub(crate) fn listen(command: &mut Command) -> io::Result<Heard> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let (mut tests, mut text) = (Tests::default(), String::new());
    let lines = child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n'));
    for line in lines.map_while(std::result::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tests.read_line(&line);
        text.push_str(&line);
        text.push('\n');
    }
    Ok(Heard { tests, text, status: child.wait()? })
}
