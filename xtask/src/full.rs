//! `cargo xtask full`: what takes too long for `cargo xtask ci`, or needs other people's programs.
//! It is for a release.
//!
//! Every part runs even if an earlier one failed, and the account at the end is that of `ci`.

use crate::Invocation;
use crate::ci::outcome::{Outcome, Tests, failed};
use crate::ci::programs;
use crate::ci::report::Report;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// A command of cargo's with what it needs in its environment.
struct Part {
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Words with spaces between them.
    cargo: &'static str,
}

const fn part(name: &'static str, cargo: &'static str) -> Part {
    Part { name, environment: &[], cargo }
}

/// The shorter ones first. What is timed only, and passes whatever it finds, is not here.
const PARTS: [Part; 18] = [
    // All of what `ci` takes a sample of.
    Part {
        name: "doc",
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
        // Of programs that are no library, too, which `ci` leaves out.
        cargo: "doc --workspace --no-deps --document-private-items",
    },
    part("simulate", "simulate"),
    part("seeds", "test -p sitar-io --test seeds"),
    Part {
        name: "idle",
        environment: &[("SITAR_IDLE", "10000")],
        cargo: "test --release -p sitar --test program idle:: -- --nocapture",
    },
    part("peers", "test --release -p sitar --test program peers::"),
    part("connections", "xtask connections"),
    part("miri", "xtask miri"),
    part("asan", "xtask asan"),
    part("large", "xtask large"),
    part("floods", "xtask floods"),
    part("crowds", "xtask crowds"),
    part("redbot", "xtask redbot"),
    part("docs-sites", "xtask docs-sites"),
    part("generators", "xtask generators"),
    part("vm", "xtask vm --suite io"),
    part("systemd", "xtask systemd"),
    part("deny", "deny --workspace check"),
    part("fuzz", "xtask fuzz --quick"),
];

/// Runs all parts, or those that are named.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let wanted = match wanted(&invocation.args) {
        Ok(wanted) => wanted,
        Err(unknown) => {
            let names = PARTS.map(|part| part.name).join(" ");
            eprintln!("error: there is no part `{unknown}`\nusage: cargo xtask full [NAME ...]\n\n  {names}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let mut report = Report::default();
    for part in wanted {
        report.step(part.name, || part.run(&invocation.root));
    }
    print!("\n{}", report.text(start.elapsed()));
    if report.counts().failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the parts that are named, in their own order, or a name that none has.
fn wanted(names: &[String]) -> Result<Vec<&'static Part>, &String> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        return Err(unknown);
    }
    Ok(PARTS.iter().filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect())
}

impl Part {
    fn run(&self, root: &Path) -> Outcome {
        let set: String = self.environment.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        println!("\n$ {set}cargo {}", self.cargo);
        let mut command = Command::new("cargo");
        command.args(self.cargo.split(' ')).envs(self.environment.iter().copied()).current_dir(root);
        match programs::listen(&mut command) {
            Ok(heard) => ended(heard.tests, &heard.text, heard.status.success(), &heard.status.to_string()),
            Err(error) => failed(format!("cargo: {error}")),
        }
    }
}

/// Returns what a command came to that may have run tests, has said `text`, and ended `how`.
fn ended(mut tests: Tests, text: &str, success: bool, how: &str) -> Outcome {
    tests.read_skips(text);
    if tests.passed + tests.failed > 0 {
        tests.finish(success, how);
        Outcome::Tests(tests)
    } else if !success {
        failed(how)
    } else if let Some((_, reason)) = tests.skipped.pop() {
        Outcome::Skipped(reason)
    } else if text.contains("\ntest result: ") {
        // Names that no test has any more.
        failed("no test ran")
    } else {
        Outcome::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_run_by_name_in_their_own_order() {
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            match wanted(&names) {
                Ok(parts) => parts.iter().map(|part| part.name).collect::<Vec<_>>().join(" "),
                Err(unknown) => format!("no {unknown}"),
            }
        };
        assert_eq!(named(&["idle", "simulate"]), "simulate idle");
        assert_eq!(named(&["idle", "idel"]), "no idel");
        assert_eq!(named(&[]).split(' ').count(), PARTS.len());
    }

    #[test]
    fn what_did_not_run_has_not_passed() {
        let read = |text: &str, success| {
            let mut tests = Tests::default();
            text.lines().for_each(|line| tests.read_line(line));
            ended(tests, text, success, "exit status: 1")
        };
        assert!(matches!(read("all is well", true), Outcome::Passed));
        assert!(matches!(read("all is well", false), Outcome::Failed(why) if why == "exit status: 1"));
        let none = read("\ntest result: ok. 0 passed; 0 failed; 0 ignored", true);
        assert!(matches!(none, Outcome::Failed(why) if why == "no test ran"));
        let skipped = read("skipped: miri: no Miri here", true);
        assert!(matches!(skipped, Outcome::Skipped(why) if why == "no Miri here"));
        let Outcome::Tests(tests) =
            read("test result: ok. 3 passed; 0 failed; 0 ignored\nskipped: a: no b", true)
        else {
            panic!("tests have run");
        };
        assert_eq!((tests.passed, tests.skipped.len(), tests.broken), (2, 1, None));
        let Outcome::Tests(tests) = read("test result: ok. 3 passed; 0 failed; 0 ignored", false) else {
            panic!("tests have run");
        };
        assert_eq!(tests.broken.as_deref(), Some("exit status: 1 without a failed test"));
    }
}
