//! Verbs that are programs of their own, so that `ci` starts without compiling them.

use crate::Invocation;
use std::process::{Command, ExitCode};

/// Runs the verb in `tests/external`.
pub(crate) fn external(invocation: &Invocation) -> ExitCode {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "sitar-external", "--", invocation.name]);
    run(cargo.args(&invocation.args).current_dir(&invocation.root))
}

fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        // Errors of usage end with 2, as in all other verbs.
        Ok(status) => status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)),
        Err(error) => {
            eprintln!("error: {}: {error}", command.get_program().display());
            ExitCode::FAILURE
        }
    }
}
