//! `cargo xtask large`: what very large sites and files cost, measured.

use crate::{Invocation, program};
use std::process::{Command, ExitCode};

/// Builds sitar, then times the first answer from a tar of 1 GiB, and has 200 clients download a file of 20 GiB while its
/// end is asked for; prints the figures, and fails where they are beyond what is promised.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    // The program that ships; what drives it is built sooner without optimisation.
    let program = match program::find(&invocation.root) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let test =
        ["test", "--workspace", "--test", "large", "--", "--ignored", "--nocapture", "--test-threads=1"];
    let mut cargo = Command::new("cargo");
    match cargo.args(test).env(program::VARIABLE, program).current_dir(&invocation.root).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
