//! The programs that change trust stores, behind a trait so that tests need not have them.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::identity;

/// The folders of the system's programs.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds and runs programs.
pub trait Tools {
    /// Whether there is a program of this name.
    fn has(&self, program: &str) -> bool;

    /// Runs it to its end with `input` on its standard input.
    ///
    /// # Errors
    /// It could not be started.
    fn run(&self, program: &str, arguments: &[OsString], input: &[u8]) -> io::Result<Finished>;
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// It exited with code 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The programs of this machine.
#[derive(Debug, Clone, Copy)]
pub struct RealTools;

impl Tools for RealTools {
    fn has(&self, program: &str) -> bool {
        find(program).is_some()
    }

    fn run(&self, program: &str, arguments: &[OsString], input: &[u8]) -> io::Result<Finished> {
        let path = find(program).ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(path);
        if geteuid().is_root() {
            // The updaters are shell scripts: what another user left in the environment must not
            // tell them which programs to run.
            command.env_clear().env("PATH", env::join_paths(SYSTEM).unwrap_or_default());
        }
        command.args(arguments).env("LC_ALL", "C");
        // A program that wants to ask something reads the end of the input, and fails instead of
        // waiting.
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A certificate fits into the pipe, so this does not wait. A program that reads nothing
            // says why itself.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output()?;
        Ok(Finished {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Finished {
    /// Returns its complaint in one line.
    pub(super) fn complaint(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        match text.lines().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => line.to_owned(),
            None => "it did not say why".to_owned(),
        }
    }
}

/// Finds a program. For root only where no other user can have put it: a `PATH` survives `su` and
/// `sudo -E`.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_root = geteuid().is_root();
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        // Debian leaves the sbin directories out of the PATH of ordinary users and of `su`.
        .chain(SYSTEM.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .filter(|file| file.is_file())
        .find_map(|file| if is_root { identity::program(&file) } else { Some(file) })
}

#[cfg(test)]
mod tests;
