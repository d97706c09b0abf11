//! `cargo xtask docs-sites`: the outside test of bodies over every file instead of a sample.

use crate::program::{Places, Result};
use std::process::Command;

/// Builds sitar and fetches every file of Debian's Python documentation and of the Rust
/// toolchain's, as tar and as directory, over one connection and over 32, by HTTP/1.1 and by
/// HTTP/2.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let test = ["test", "--release", "-p", "sitar", "--test", "program", "bodies::", "--", "--nocapture"];
    let mut cargo = Command::new("cargo");
    cargo.args(test).env("SITAR_DOCS_ALL", "1").current_dir(&places.root);
    Ok(cargo.status()?.success())
}
