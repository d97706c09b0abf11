//! The program itself, for the commands that look at it from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ci::target;

/// What goes wrong in a command is told to whoever typed it, and to nobody else.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Names the program that the outside tests start (tests/common), and these commands.
pub(crate) const VARIABLE: &str = "SITAR_TEST_BINARY";

/// The release build, made now; `$SITAR_TEST_BINARY` names another program, as for the tests.
pub(crate) fn find(root: &Path) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os(VARIABLE) {
        // Commands run it in folders of their own.
        return Ok(std::path::absolute(program)?);
    }
    succeed(
        Command::new("cargo").args(["build", "--release", "-p", "sitar"]).current_dir(root),
        "cargo build",
    )?;
    Ok(release(root))
}

/// Where the release build is.
pub(crate) fn release(root: &Path) -> PathBuf {
    target(root).join("release").join("sitar")
}

/// Runs `command` to its end; an error names it as `what`.
pub(crate) fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().map_err(|error| format!("{what}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}").into()) }
}
