//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, each for some minutes.
//!
//! Tests run the same properties over the corpus and over seeded mutations of it
//! (`fuzz/mutation.rs`). This has coverage to go by and AddressSanitizer beside it, and needs
//! cargo-fuzz; `RUSTC_BOOTSTRAP` lets a stable compiler take its flags.

use crate::Invocation;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

/// Seconds for each target with `--quick`, and without.
const QUICK: u32 = 60;
const USUAL: u32 = 600;

const USAGE: &str = "usage: cargo xtask fuzz [TARGET ...] [--quick | --seconds N]";
const HINT: &str = "cargo-fuzz is absent; `cargo install --locked cargo-fuzz` brings it (a minute or two)";

/// Runs the targets that are named, or all.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    let root = &invocation.root;
    let manifest = match fs::read_to_string(root.join("fuzz/Cargo.toml")) {
        Ok(manifest) => manifest,
        Err(error) => return fail(&format!("fuzz/Cargo.toml: {error}")),
    };
    let known = targets(&manifest);
    let (wanted, seconds) = match parse(&invocation.args, &known) {
        Ok(parsed) => parsed,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success())
    {
        return fail(HINT);
    }
    // All at once, so that the time of the first is not spent on compiling.
    let built = fuzz(root).arg("build").status();
    if !built.is_ok_and(|status| status.success()) {
        return fail("the targets do not compile");
    }
    let mut rows = Vec::new();
    for target in wanted {
        let start = Instant::now();
        match run(root, target, seconds) {
            Ok(output) => rows.push(Row::new(target, start.elapsed().as_secs(), &output)),
            Err(error) => return fail(&format!("{target}: {error}")),
        }
    }
    println!("\n{:<16} {:>12} {:>8}  verdict", "target", "runs", "seconds");
    for Row { target, runs, seconds, finding } in &rows {
        let verdict = finding.as_ref().map_or("passed", |_| "FAILED");
        println!("{target:<16} {runs:>12} {seconds:>8}  {verdict}");
        if let Some(finding) = finding {
            println!("  {finding}");
            println!(
                "  again: RUSTC_BOOTSTRAP=1 cargo fuzz run {target} FILE; a copy in fuzz/corpus/{target}/ is tried by every test run"
            );
        }
    }
    if rows.iter().all(|row| row.finding.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

fn fuzz(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.arg("fuzz").env("RUSTC_BOOTSTRAP", "1").current_dir(root);
    command
}

/// Runs one target. New inputs go to a folder below `target/`, so that the corpus in the tree stays
/// small.
fn run(root: &Path, target: &str, seconds: u32) -> std::io::Result<Output> {
    let grown = root.join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&grown)?;
    println!("$ cargo fuzz run {target}, {seconds} s");
    let mut command = fuzz(root);
    // Its name belongs before the folders.
    command.args(["run", target]).arg(grown).arg(root.join("fuzz/corpus").join(target));
    command.args(["--", &format!("-max_total_time={seconds}"), "-print_final_stats=1"]).output()
}

/// The end of one target's run.
struct Row<'t> {
    target: &'t str,
    runs: String,
    seconds: u64,
    /// The finding, in libFuzzer's words.
    finding: Option<String>,
}

impl Row<'_> {
    fn new<'t>(target: &'t str, seconds: u64, output: &Output) -> Row<'t> {
        let said = String::from_utf8_lossy(&output.stderr);
        let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let finding = (!output.status.success()).then(|| {
            let telling = |line: &&str| {
                line.contains("panicked at")
                    || line.contains("Test unit written to")
                    || line.contains("ERROR:")
            };
            let lines: Vec<_> = said.lines().filter(telling).map(str::trim).collect();
            if lines.is_empty() { format!("{}: {}", output.status, said.trim()) } else { lines.join("\n  ") }
        });
        Row { target, runs: runs.unwrap_or("?").trim().to_owned(), seconds, finding }
    }
}

/// Returns the targets that the manifest names, in its order.
fn targets(manifest: &str) -> Vec<&str> {
    let bins = manifest.split("[[bin]]").skip(1);
    bins.filter_map(|bin| bin.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')))
        .collect()
}

fn parse<'k>(args: &[String], known: &[&'k str]) -> Result<(Vec<&'k str>, u32), String> {
    let (mut wanted, mut seconds) = (Vec::new(), USUAL);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => seconds = QUICK,
            "--seconds" => {
                let number = args.next().and_then(|number| number.parse().ok()).filter(|&number| number > 0);
                seconds = number.ok_or("--seconds takes a number of at least 1")?;
            }
            name => match known.iter().find(|target| **target == name) {
                Some(target) => wanted.push(*target),
                None => return Err(format!("there is no target `{name}`; there are {}", known.join(", "))),
            },
        }
    }
    Ok((if wanted.is_empty() { known.to_vec() } else { wanted }, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let known = ["a", "b"];
        let parse = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
            parse(&args, &known)
        };
        assert_eq!(parse(&[]), Ok((vec!["a", "b"], 600)));
        assert_eq!(parse(&["--quick", "b"]), Ok((vec!["b"], 60)));
        assert_eq!(parse(&["a", "--seconds", "5"]), Ok((vec!["a"], 5)));
        assert_eq!(parse(&["c"]), Err("there is no target `c`; there are a, b".into()));
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["--seconds", "x"]] {
            assert_eq!(parse(bad), Err("--seconds takes a number of at least 1".into()));
        }
    }

    #[test]
    fn all_targets_of_the_manifest() {
        let manifest = include_str!("../../fuzz/Cargo.toml");
        let names = targets(manifest);
        assert_eq!(names.len(), 23);
        assert_eq!((names[0], names[22]), ("h1_request", "config"));
    }
}
