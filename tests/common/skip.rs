//! The list of tests that cannot run here.

use std::fs::OpenOptions;
use std::io::Write;

/// Records that a test (or a part of it) did not run. `cargo xtask ci` counts and lists these.
pub(crate) fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED: {reason}");
    let Some(path) = std::env::var_os("SITAR_SKIPPED_FILE") else { return };
    // One write to a file opened for appending: lines of parallel tests do not mix.
    let line = format!("skipped: {test}: {}\n", reason.replace('\n', " "));
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}
