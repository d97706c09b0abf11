//! The programs that change trust stores, behind a trait so that tests need not have them.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Finds and runs programs.
pub trait Tools {
    /// Whether there is a program of this name.
    fn has(&self, program: &str) -> bool;

    /// Runs it to its end.
    ///
    /// # Errors
    /// It could not be started.
    fn run(&self, program: &str, arguments: &[OsString]) -> io::Result<Finished>;
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// It exited with code 0.
    pub success: bool,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

/// The programs of this machine.
#[derive(Debug, Clone, Copy)]
pub struct RealTools;

impl Tools for RealTools {
    fn has(&self, program: &str) -> bool {
        find(program).is_some()
    }

    fn run(&self, program: &str, arguments: &[OsString]) -> io::Result<Finished> {
        let path = find(program).ok_or(io::ErrorKind::NotFound)?;
        // No input: a program that wants to ask something fails instead of waiting.
        let output = Command::new(path).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output()?;
        Ok(Finished {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Finished {
    /// What it complained about, in one line.
    pub(super) fn complaint(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        match text.lines().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => line.to_owned(),
            None => "it did not say why".to_owned(),
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    // Debian leaves the sbin directories out of the PATH of ordinary users and of `su`.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
