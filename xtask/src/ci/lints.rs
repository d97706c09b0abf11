//! Lints of code and of documentation, by the way: each package is compiled for the tests anyhow.
//!
//! `cargo clippy` and `cargo doc` would look at every package and every dependency once more, which
//! takes longer than all tests of the libraries. So clippy's compiler is the one that compiles the
//! tests, and the examples in the documentation are read by a rustdoc that documents, too. That
//! leaves out the documentation of programs that are no library, which `cargo xtask full` builds.

use super::outcome::{Outcome, Tests, failed};
use super::programs::{Heard, listen, nice};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The variable that has this program run as a rustdoc: the path of the real one.
const RUSTDOC: &str = "SITAR_XTASK_RUSTDOC";

/// Arguments for cargo, so that packages of the workspace are compiled by clippy's compiler.
///
/// # Errors
/// There is none, or rustc cannot be asked.
pub(super) fn compiler() -> Result<[String; 2], String> {
    let clippy = tool("clippy-driver")?;
    if !clippy.exists() {
        return Err("clippy is missing: `rustup component add clippy`".into());
    }
    Ok(["--config".into(), format!("build.rustc-workspace-wrapper={:?}", clippy.display().to_string())])
}

/// The verdict on that many warnings.
pub(super) fn verdict(warnings: usize) -> Outcome {
    match warnings {
        0 => Outcome::Passed,
        _ => failed("warnings, which are above"),
    }
}

/// Runs the examples of the documentation, which cargo compiles and runs by itself, and documents
/// all libraries.
pub(super) fn run_documentation(root: &Path, config: &[&str]) -> Tests {
    let (rustdoc, this) = match (tool("rustdoc"), std::env::current_exe()) {
        (Ok(rustdoc), Ok(this)) => (rustdoc, this),
        (Err(error), _) => return Tests::broken(error),
        (_, Err(error)) => return Tests::broken(error.to_string()),
    };
    let mut cargo = nice("cargo");
    cargo.args(["test", "--workspace", "--doc", "--no-fail-fast"]).args(config).current_dir(root);
    cargo.env("RUSTDOC", this).env(RUSTDOC, rustdoc);
    match listen(&mut cargo) {
        Ok(Heard { mut tests, status, .. }) => {
            tests.finish(status.success(), &format!("cargo test --doc: {status}"));
            tests
        }
        Err(error) => Tests::broken(format!("cargo test --doc: {error}")),
    }
}

/// Where this process was started as a rustdoc, is one: runs what it is asked to run, and where
/// these are the examples of a library, builds its documentation behind it.
pub(crate) fn rustdoc() -> Option<ExitCode> {
    let rustdoc = std::env::var_os(RUSTDOC)?;
    let asked: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_good = |arguments: &[OsString]| {
        let status = Command::new(&rustdoc).args(arguments).status();
        status.is_ok_and(|status| status.success())
    };
    let is_done = is_good(&asked);
    let is_documented = documenting(&asked).is_none_or(|arguments| is_good(&arguments));
    Some(if is_done && is_documented { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the arguments that document what these would run the examples of. `None`: these run
/// none.
fn documenting(asked: &[OsString]) -> Option<Vec<OsString>> {
    let mut is_test = false;
    let mut arguments = Vec::new();
    let mut rest = asked.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--test") => is_test = true,
            Some("--test-run-directory" | "--test-args") => drop(rest.next()),
            Some("--nocapture" | "--no-capture") => {}
            _ => arguments.push(argument.clone()),
        }
    }
    let more = ["--document-private-items", "-D", "warnings", "--out-dir", "target/doc"];
    arguments.extend(more.map(OsString::from));
    is_test.then_some(arguments)
}

/// The path of a tool that belongs to the compiler.
fn tool(name: &str) -> Result<PathBuf, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).args(["--print", "sysroot"]).output();
    let said = said.map_err(|error| format!("rustc --print sysroot: {error}"))?;
    let sysroot = String::from_utf8_lossy(&said.stdout);
    Ok(Path::new(sysroot.trim()).join("bin").join(OsStr::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_examples_is_turned_into_what_documents() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let asked = "--edition=2024 --crate-name a --test a/src/lib.rs --test-run-directory /a --test-args b";
        let expected = "--edition=2024 --crate-name a a/src/lib.rs --document-private-items -D warnings \
                        --out-dir target/doc";
        assert_eq!(documenting(&words(asked)), Some(words(expected)));
        assert_eq!(documenting(&words("--version")), None);
    }

    #[test]
    fn a_warning_is_a_failure() {
        assert!(matches!(verdict(0), Outcome::Passed));
        assert!(matches!(verdict(1), Outcome::Failed(_)));
    }
}
