//! The program itself, and programs that this machine has.

use crate::ci::target;
use std::path::{Path, PathBuf};

/// Errors end the command and are printed as they are.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Names the program that the whole-program tests start (tests/common).
pub(crate) const VARIABLE: &str = "SITAR_TEST_BINARY";

/// Returns the path of the release build.
pub(crate) fn release(root: &Path) -> PathBuf {
    target(root).join("release").join("sitar")
}

/// Returns where a program is, on the path or among the system's daemons.
pub(crate) fn found(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(tool)).find(|file| file.is_file())
}

/// Returns whether this machine has a program.
pub(crate) fn on_path(tool: &str) -> bool {
    found(tool).is_some()
}
