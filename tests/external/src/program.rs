//! The program under test, and small helpers that all checks share.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Errors end the command and are printed as they are.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Names the program that the whole-program tests start (tests/common), and these checks.
pub(crate) const VARIABLE: &str = "SITAR_TEST_BINARY";

/// The folders that checks read from and write to.
pub(crate) struct Places {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Cargo's build folder.
    pub(crate) target: PathBuf,
}

impl Places {
    /// Returns those of this checkout. Cargo names the folder of a running package's manifest; the
    /// compiler remembers it otherwise.
    pub(crate) fn new() -> Places {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        // tests/external
        let root = manifest.ancestors().nth(2).unwrap_or(&manifest).to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or_else(|| root.join("target"), |folder| root.join(folder));
        Places { root, target }
    }

    /// Returns the folder of this package.
    pub(crate) fn external(&self) -> PathBuf {
        self.root.join("tests/external")
    }
}

/// Builds the release program and returns its path. `$SITAR_TEST_BINARY` names another program, as
/// for the tests.
pub(crate) fn find(places: &Places) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os(VARIABLE) {
        // Checks run it in folders of their own.
        return Ok(std::path::absolute(program)?);
    }
    succeed(
        Command::new("cargo").args(["build", "--release", "-p", "sitar"]).current_dir(&places.root),
        "cargo build",
    )?;
    Ok(places.target.join("release/sitar"))
}

/// Returns where a command is on the path.
pub(crate) fn found(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file())
}

/// Checks that these tools are there, which come with util-linux and coreutils, and a core each for
/// the server and its clients.
pub(crate) fn check_machine(tools: &[&str]) -> Result<()> {
    if let Some(tool) = tools.iter().find(|tool| !on_path(tool)) {
        return Err(format!("no {tool} on this machine; it comes with util-linux and coreutils").into());
    }
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("the server and its clients need a core each, and there is one".into());
    }
    Ok(())
}

/// Keeps this thread, and processes that it starts, on that core.
pub(crate) fn pin_to(core: &str) -> Result<()> {
    let own = std::process::id().to_string();
    let mut pin = Command::new("taskset");
    succeed(pin.args(["-c", "-p", core, &own]).stdout(Stdio::null()), "taskset")
}

/// Returns whether a command is on the path.
pub(crate) fn on_path(tool: &str) -> bool {
    found(tool).is_some()
}

/// Returns a command that runs the program with the check's settings only. `home` is where it keeps
/// the certificates that it makes.
pub(crate) fn sitar(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SITAR_")) {
        command.env_remove(name);
    }
    command.env_remove("PORT").env("XDG_DATA_HOME", home).env("HOME", home).env("NO_COLOR", "1");
    command.stdin(Stdio::null());
    command
}

/// A running `sitar serve` on 127.0.0.1 and a port that the kernel chose. Dropping it ends the
/// program.
pub(crate) struct Server {
    child: Child,
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    scheme: &'static str,
}

impl Server {
    /// Starts `command`, made by [`sitar`], with `args`: a path and options.
    ///
    /// # Errors
    /// The program cannot be run, or ends instead of listening. It has said why on stderr.
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

    /// Returns the process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address of `path`, which begins with a slash.
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

/// A line of the start report that matters here.
#[derive(Debug, PartialEq, Eq)]
enum Announcement {
    /// The server speaks plain HTTP.
    Plain,
    /// The server listens on this port.
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

/// Returns the bytes that a process and those that it has started have in memory.
pub(crate) fn resident_of_all(pid: u32) -> Result<u64> {
    let mut sum = resident(pid)?;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = std::fs::read_to_string(task?.path().join("children"))?;
        for child in children.split_whitespace() {
            sum += resident_of_all(child.parse()?)?;
        }
    }
    Ok(sum)
}

/// Returns the bytes of a process that are in RAM.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
    Ok(line.trim_end_matches("kB").trim().parse::<u64>()? << 10)
}

/// Makes `path` an empty folder. It is left behind for a look.
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
