//! `cargo xtask large`: the cost of very large sites and files.

use crate::program::{self, Places, Result};
use std::process::Command;

/// Builds sitar, times the first answer from a tar of 1 GiB, and has 200 clients download a file of
/// 20 GiB while its end is asked for. Prints the figures, and fails where they are beyond what is
/// promised.
pub(crate) fn run(places: &Places) -> Result<bool> {
    // The program that ships; the tests that drive it are built sooner without optimisation.
    let program = program::find(places)?;
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
    let mut cargo = Command::new("cargo");
    cargo.args(test).env(program::VARIABLE, program).current_dir(&places.root);
    Ok(cargo.status()?.success())
}
