//! `cargo xtask large`: what very large sites and files cost, measured.

use crate::Invocation;
use std::process::{Command, ExitCode};

/// Builds sitar, then times the first answer from a tar of 1 GiB, and has 200 clients download a file of 20 GiB while its
/// end is asked for; prints the figures, and fails where they are beyond what is promised.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let test = ["test", "--release", "-p", "sitar", "--test", "large", "--"];
    let how = ["--ignored", "--nocapture", "--test-threads=1"];
    match Command::new("cargo").args(test).args(how).current_dir(&invocation.root).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
