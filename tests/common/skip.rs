//! The list of tests that cannot run here.

use std::fs::OpenOptions;
use std::io::Write;

/// Records that the test which calls this, or a part of it, did not run. `cargo xtask ci` counts
/// and lists these.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
    let Some(path) = std::env::var_os("SITAR_SKIPPED_FILE") else { return };
    // One write to a file opened for appending: lines of parallel tests do not mix.
    let line = format!("skipped: {}: {}\n", name_of_this_test(), reason.replace('\n', " "));
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}

/// Returns the name under which the harness reports the test: it names the test's thread so.
pub(crate) fn name_of_this_test() -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| name.contains("::"));
    name.unwrap_or_else(|| panic!("only the thread of a test knows its name")).to_owned()
}
