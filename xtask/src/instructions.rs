//! `cargo xtask instructions`: the instructions of a warm request from its bytes to its answer,
//! counted by callgrind.
//!
//! No clock and no other program has a part in that number, so a change of some percent is a change
//! of the code. Sockets and sealing are left out: the kernel's share is not ours, and the AEAD's
//! depends on the processor's instructions. iai-callgrind is not used: it counts with the same
//! callgrind, and needs a runner of its version that each machine would have to compile first.

use crate::setup::has_command;
use crate::{Invocation, ci};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Expected instructions per request in the release profile, by kind. A change of the path of a
/// request on purpose changes them here, and says why.
const EXPECTED: [(&str, f64); 7] = [
    ("plain", 3105.0),
    ("browser", 7640.0),
    ("unmodified", 8085.0),
    ("logged plain", 3505.0),
    ("logged browser", 8195.0),
    // With a trace that takes 1 of 100, which may cost 1 %.
    ("traced plain", 3125.0),
    ("traced browser", 7662.0),
];
/// The compiler that they were counted with: another one generates other code.
const COMPILER: &str = "rustc 1.95.";
/// The largest deviation of a count. From one run to the next it varies by less than a tenth of a
/// percent.
const MARGIN: f64 = 0.05;
/// Requests of the short run; the long one has twice as many, and the difference counts. Their
/// records fit into the queue of a shard.
const ROUNDS: u32 = 1500;
/// The number that the program under `bench/` expects.
const FILES: usize = 200;

/// The program that the count needs, for `cargo build --release`. Together with sitar, so that both
/// get the same features of what they depend on, and nothing is compiled twice.
pub(crate) const BUILD: [&str; 6] = ["-p", "sitar", "-p", "sitar-bench", "--bin", "answers"];

/// The outcome of a count.
pub(crate) enum Outcome {
    /// All within the margin, or below it.
    Passed,
    /// Some take more than they may, or so few that the expectation is out of date.
    Failed(Vec<Count>),
    /// This machine cannot count, for a reason.
    Skipped(String),
}

/// One kind of request.
#[derive(Debug, PartialEq)]
pub(crate) struct Count {
    kind: &'static str,
    expected: f64,
    counted: f64,
}

impl Count {
    fn is_off(&self) -> bool {
        (self.counted / self.expected - 1.0).abs() > MARGIN
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { kind, expected, counted } = self;
        let change = (counted / expected - 1.0) * 100.0;
        write!(f, "{kind}: {counted:.0} instructions per request, {expected:.0} expected ({change:+.1} %)")
    }
}

/// Builds and counts.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let root = &invocation.root;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release"]).args(BUILD).current_dir(root);
    if !cargo.status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    match count(root) {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed(_)) => {
            eprintln!("error: more than {:.0} % off: xtask/src/instructions.rs", MARGIN * 100.0);
            ExitCode::FAILURE
        }
        Ok(Outcome::Skipped(why)) => {
            println!("skipped: {why}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts with the program that has been built.
///
/// # Errors
/// One line: what could not be run or read.
pub(crate) fn count(root: &Path) -> Result<Outcome, String> {
    if !has_command("valgrind") {
        return Ok(Outcome::Skipped("valgrind is absent".into()));
    }
    let target = ci::target(root);
    let site = target.join("instructions");
    make_site(&site).map_err(|error| format!("{}: {error}", site.display()))?;
    // An archive, because valgrind does not know the call that folders are opened with.
    let site = target.join("instructions.tar");
    let mut tar = Command::new("tar");
    tar.arg("cf").arg(&site).arg("-C").arg(target.join("instructions")).arg(".");
    if !tar.status().is_ok_and(|status| status.success()) {
        return Err("tar failed".into());
    }
    let program = target.join("release/answers");
    let mut counts = Vec::new();
    for (kind, expected) in EXPECTED {
        let [few, many] = [ROUNDS, 2 * ROUNDS].map(|rounds| collected(&program, &site, kind, rounds));
        let counted = (many? - few?) / f64::from(ROUNDS);
        let count = Count { kind, expected, counted };
        println!("{count}");
        counts.push(count);
    }
    let compiler =
        Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    let compiler = String::from_utf8_lossy(&compiler.stdout).trim().to_owned();
    if !compiler.starts_with(COMPILER) {
        return Ok(Outcome::Skipped(format!(
            "the expected counts are {COMPILER}x's, and this is {compiler}"
        )));
    }
    Ok(if counts.iter().any(Count::is_off) { Outcome::Failed(counts) } else { Outcome::Passed })
}

fn make_site(site: &Path) -> std::io::Result<()> {
    fs::create_dir_all(site)?;
    for number in 0..FILES {
        let path = site.join(format!("{number:03}.css"));
        if !path.exists() {
            fs::write(path, format!("/* {number:03} */ body {{ margin: 0 }}\n").repeat(30))?;
        }
    }
    Ok(())
}

fn collected(program: &Path, site: &Path, kind: &str, rounds: u32) -> Result<f64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(program).arg(site).args([kind, &rounds.to_string()]);
    let done = valgrind.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let collected = instructions(&said).filter(|_| done.status.success());
    collected.ok_or_else(|| format!("valgrind with {kind}: {}", said.trim()))
}

/// `==123== Collected : 12345`
fn instructions(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrind_is_understood() {
        let said = "==9== Events    : Ir\n==9== Collected : 1234567\n==9== \n";
        assert_eq!(instructions(said), Some(1_234_567.0));
        assert_eq!(instructions("==9== Events    : Ir\n"), None);
    }

    #[test]
    fn both_directions_are_off() {
        let count = |counted| Count { kind: "plain", expected: 1000.0, counted };
        assert!(!count(1049.0).is_off() && !count(951.0).is_off());
        assert!(count(1051.0).is_off() && count(949.0).is_off());
        assert_eq!(count(1051.0).to_string(), "plain: 1051 instructions per request, 1000 expected (+5.1 %)");
    }
}
