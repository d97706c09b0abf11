//! `cargo xtask docs-sites`: the outside test of bodies over every file instead of a sample.

use crate::Invocation;
use std::process::{Command, ExitCode};

/// Builds sitar and fetches every file of Debian's Python documentation and of the Rust toolchain's, as tar and as
/// directory, over one connection and over 32, by HTTP/1.1 and by HTTP/2.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let test = ["test", "--release", "-p", "sitar", "--test", "program", "bodies::", "--", "--nocapture"];
    match Command::new("cargo").args(test).env("SITAR_DOCS_ALL", "1").current_dir(&invocation.root).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
