//! `cargo xtask large`: what very large sites and files cost, measured.

use crate::Invocation;
use crate::program::{self, Result};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Builds sitar, then times the first answer from a tar of 1 GiB, and has 200 clients download a file of 20 GiB while its
/// end is asked for; prints the figures, and fails where they are beyond what is promised.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    program::exit_code(measure(&invocation.root))
}

fn measure(root: &Path) -> Result<bool> {
    // The program that ships; what drives it is built sooner without optimisation.
    let program = program::find(root)?;
    let test = [
        "test",
        "--workspace",
        "--test",
        "program",
        "large::",
        "--",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    Ok(Command::new("cargo").args(test).env(program::VARIABLE, program).current_dir(root).status()?.success())
}
