//! The program itself, for the commands that look at it from outside.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

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

/// How a command that found out whether all is well ends.
pub(crate) fn exit_code(ended: Result<bool>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The program with nobody's settings but the command's own. `home` is where it keeps what it makes, as certificates.
pub(crate) fn sitar(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SITAR_")) {
        command.env_remove(name);
    }
    command.env_remove("PORT").env("XDG_DATA_HOME", home).env("HOME", home).env("NO_COLOR", "1");
    command.stdin(Stdio::null());
    command
}

/// A running `sitar serve` on 127.0.0.1 and a port that the kernel chose; it ends with this.
pub(crate) struct Server {
    child: Child,
    /// Of 127.0.0.1.
    pub(crate) port: u16,
    scheme: &'static str,
}

impl Server {
    /// Has `command`, made by [`sitar`], serve `args`: a path and options.
    ///
    /// # Errors
    ///
    /// When the program cannot be run, or ends instead of listening; it has said why on stderr.
    pub(crate) fn start(
        mut command: Command,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Server> {
        let command = command.arg("serve").args(args).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut server = Server { child, port: 0, scheme: "https" };
        let mut report = BufReader::new(stdout);
        let mut line = String::new();
        while report.read_line(&mut line)? > 0 {
            match announcement(&line) {
                Some(Announcement::Plain) => server.scheme = "http",
                Some(Announcement::Port(port)) => {
                    server.port = port;
                    // The rest is read, so that the program can go on writing.
                    std::thread::spawn(move || io::copy(&mut report, &mut io::sink()));
                    return Ok(server);
                }
                None => {}
            }
            line.clear();
        }
        Err("sitar did not start".into())
    }

    /// Of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of `path`, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// What a line of the start report tells.
#[derive(Debug, PartialEq, Eq)]
enum Announcement {
    /// Plain HTTP is spoken.
    Plain,
    Port(u16),
}

fn announcement(line: &str) -> Option<Announcement> {
    let line = line.trim();
    if let Some(address) = line.strip_prefix("address") {
        return address.trim().starts_with("http://").then_some(Announcement::Plain);
    }
    line.strip_prefix("listens")?.trim().strip_prefix("127.0.0.1:")?.parse().ok().map(Announcement::Port)
}

/// Runs `command` to its end; an error names it as `what`.
pub(crate) fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().map_err(|error| format!("{what}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}").into()) }
}

/// A folder below `target` that is empty now and stays behind for a look.
pub(crate) fn fresh_folder(path: PathBuf) -> Result<PathBuf> {
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_report_is_understood() {
        assert_eq!(announcement("  listens  127.0.0.1:40941"), Some(Announcement::Port(40941)));
        assert_eq!(announcement("  address  http://localhost:40941/"), Some(Announcement::Plain));
        assert_eq!(announcement("  address  https://localhost:40941/"), None);
        assert_eq!(announcement("  listens  [::1]:40941"), None);
        assert_eq!(announcement("sitar 0.1.0"), None);
    }
}
