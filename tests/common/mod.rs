//! The parts that the modules share: the program under test, sites to serve, commands to run, and
//! how to skip honestly.

pub(crate) mod alloc;
pub(crate) mod asking;
pub(crate) mod client;
pub(crate) mod disk;
pub(crate) mod files;
pub(crate) mod h2;
pub(crate) mod hkdf;
pub(crate) mod lab;
pub(crate) mod load;
pub(crate) mod memory;
mod over;
pub(crate) mod perf;
pub(crate) mod said;
pub(crate) mod site;
mod skip;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) use over::Over;
use said::Said;
pub(crate) use skip::skip;

/// The time that anything may take before a test calls it hung. Generous: it is no statement about
/// speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The version of Landlock from which on a sandbox can be whole. Kernels that have it have the
/// other layers, too.
const LANDLOCK_WHOLE: u32 = 6;

/// A running `sitar serve` on a port of its own, with a data directory of its own.
///
/// Dropped, it is asked to stop with SIGTERM and must exit with 0.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    scheme: &'static str,
    ca: PathBuf,
    said: Said,
    was_killed: bool,
    _home: TempDir,
}

impl Server {
    /// Serves `args` (a path and options) on 127.0.0.1 and a port that the kernel chooses.
    pub(crate) fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Server {
        Server::start_with(args, &[])
    }

    /// The same with more environment.
    pub(crate) fn start_with(
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(&str, &str)],
    ) -> Server {
        let home = TempDir::new().unwrap();
        let command = sitar(home.path());
        Server::spawn(command, home, args, env)
    }

    /// The same inside another program, which is given the command to execute in its own place.
    pub(crate) fn start_inside(wrapper: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Server {
        let home = TempDir::new().unwrap();
        let command = sitar_inside(wrapper, home.path());
        Server::spawn(command, home, args, &[])
    }

    /// Serves what a configuration says, and waits for its listeners.
    pub(crate) fn start_configured(file: &Path) -> Server {
        let home = TempDir::new().unwrap();
        Server::start_configured_by(sitar(home.path()), home, file)
    }

    /// The same by a command that is made already, with that folder as its home.
    pub(crate) fn start_configured_by(mut command: Command, home: TempDir, file: &Path) -> Server {
        command.arg("serve").arg("--config").arg(file);
        Server::start_supervised(command, home)
    }

    /// Starts a server with two processes by a command that is made already, with its arguments and
    /// with that folder as its home.
    pub(crate) fn start_supervised(mut command: Command, home: TempDir) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Said::of(&mut child);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server {
            child,
            address,
            scheme: "https",
            ca: PathBuf::new(),
            said,
            was_killed: false,
            _home: home,
        };
        // The line behind those of the listeners.
        server.wait_for("the report of the start", |server| server.said().contains("\n  engine "));
        server.address = server.listeners("https").first().copied().unwrap_or(address);
        server
    }

    /// Returns the addresses of TCP of a configuration's listeners of that kind, as the report of
    /// the start names them.
    pub(crate) fn listeners(&self, role: &str) -> Vec<SocketAddr> {
        let said = self.said();
        let listeners = said.lines().skip_while(|line| !line.starts_with("  listens  "));
        let listeners = listeners.take_while(|line| !line.starts_with("  engine "));
        let end = format!(" ({role})");
        let addresses = listeners.filter_map(|line| line.strip_suffix(&end)?.split_whitespace().last());
        let addresses =
            addresses.filter(|address| !address.starts_with("unix:") && !address.starts_with("passed:"));
        addresses.map(|address| address.parse().unwrap()).collect()
    }

    fn spawn(
        mut command: Command,
        home: TempDir,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(&str, &str)],
    ) -> Server {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_os_string()).collect();
        let has_certificate = args.iter().any(|arg| arg == "--tls-cert")
            || env.iter().any(|(name, _)| *name == "SITAR_TLS_CERT");
        command.arg("serve").args(args).args(["--listen", "127.0.0.1:0"]).envs(env.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Said::of(&mut child);
        let (scheme, address) = announced(&mut child, &said);
        let mut server =
            Server { child, address, scheme, ca: PathBuf::new(), said, was_killed: false, _home: home };
        server.wait_for("the port to answer", |server| TcpStream::connect(server.address).is_ok());
        // With the operator's own certificate there is no CA of ours to point at.
        let own = server.scheme == "https" && !has_certificate;
        if own {
            server.wait_for("the certificate's path", |server| server.find_ca().is_some());
            server.ca = server.find_ca().unwrap();
        }
        server
    }

    /// `https://127.0.0.1:PORT` followed by `path`, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Has the address of a listener that speaks no TLS stand for the server's.
    pub(crate) fn set_address(&mut self, address: SocketAddr) {
        self.address = address;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file to give to `curl --cacert`.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether each of its threads is in that state (`proc_pid_stat(5)`): `T` is stopped.
    pub(crate) fn threads_in_state(&self, state: char) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        // A thread that has ended meanwhile is in no state.
        let mut stats =
            threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        // The name before the state is in parentheses and may hold any character.
        stats.all(|stat| stat.rsplit_once(") ").unwrap().1.starts_with(state))
    }

    /// Everything the program printed so far.
    pub(crate) fn said(&self) -> String {
        self.said.lines()
    }

    /// Returns the number of the process that serves a configuration. Where one takes another's
    /// place, waits until that has ended.
    pub(crate) fn worker(&self) -> u32 {
        let mut workers = Vec::new();
        eventually("one worker", || {
            workers = children(self.pid());
            workers.len() == 1
        });
        workers[0]
    }

    /// Returns how many descriptors the process has open.
    pub(crate) fn descriptors(&self) -> usize {
        descriptors(self.pid())
    }

    /// Sends SIGTERM and returns at once.
    pub(crate) fn terminate(&self) {
        signal(self.pid(), rustix::process::Signal::TERM);
    }

    /// Kills the process, whose end is no failure then.
    pub(crate) fn kill(&mut self) {
        self.was_killed = true;
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, "sitar to end")
    }

    fn wait_for(&mut self, what: &str, mut done: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "sitar ended ({ended:?}) while waiting for {what}:\n{}", self.said());
            assert!(Instant::now() < deadline, "no sign of {what}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The path behind `--cacert` in the printed curl line; that line is what a user copies, so it
    /// must be right.
    fn find_ca(&self) -> Option<PathBuf> {
        let said = self.said();
        let path = said.split_once("--cacert ")?.1.split_whitespace().next()?;
        Some(PathBuf::from(path.trim_matches(['\'', '"'])))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.was_killed {
            return;
        }
        if self.child.try_wait().unwrap().is_none() {
            self.terminate();
        }
        if std::thread::panicking() {
            // The test failed already: leave no process behind, and show what it said.
            std::thread::sleep(Duration::from_millis(200));
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("--- sitar said ---\n{}", self.said());
            return;
        }
        let status = self.wait();
        assert!(status.success(), "sitar ended with {status} after SIGTERM:\n{}", self.said());
    }
}

/// The program, with nothing of the developer's environment that could change what it does.
pub(crate) fn sitar(home: &Path) -> Command {
    clean(Command::new(program()), home)
}

/// The same for a copy of the program.
pub(crate) fn sitar_at(copy: &Path, home: &Path) -> Command {
    clean(Command::new(copy), home)
}

/// The same, executed by another program.
pub(crate) fn sitar_inside(wrapper: &Path, home: &Path) -> Command {
    sitar_by(Command::new(wrapper), home)
}

/// The same, as what `wrapper` with its arguments executes.
pub(crate) fn sitar_by(mut wrapper: Command, home: &Path) -> Command {
    wrapper.arg(program());
    clean(wrapper, home)
}

/// Returns the path of the program under test.
pub(crate) fn program() -> OsString {
    // `cargo xtask ci` names the release program; a plain `cargo test` drives the one of its own
    // profile.
    std::env::var_os("SITAR_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_sitar").into())
}

/// Takes away what the program would take for its settings; the variables of its tests are among
/// them. `SITAR_SANDBOX` stays, with which all tests run in another sandbox than [`sandbox`].
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SITAR_") && text != "SITAR_SANDBOX" {
            command.env_remove(name);
        }
    }
    command.env_remove("PORT");
}

/// The sandbox of servers that tests start: `strict`, in which a system call that the list lacks
/// ends the server, and `auto` where this kernel lacks a layer.
pub(crate) fn sandbox() -> &'static str {
    static SANDBOX: LazyLock<&str> = LazyLock::new(|| match sitar_io::probe::landlock() {
        Ok(LANDLOCK_WHOLE..) => "strict",
        _ => "auto",
    });
    *SANDBOX
}

fn clean(mut command: Command, home: &Path) -> Command {
    without_settings(&mut command);
    if std::env::var_os("SITAR_SANDBOX").is_none() {
        command.env("SITAR_SANDBOX", sandbox());
    }
    // Whatever the umask made of it: the program refuses a data directory that others can write to.
    let mut permissions = std::fs::metadata(home).unwrap().permissions();
    permissions.set_mode(permissions.mode() & !0o022);
    std::fs::set_permissions(home, permissions).unwrap();
    command.env("XDG_DATA_HOME", home).env("HOME", home).env("NO_COLOR", "1");
    // Without a cache no packer runs, whose processes and descriptors others would count. Tests of
    // it name one.
    command.env("CACHE_DIRECTORY", "");
    command.stdin(Stdio::null());
    command
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Itself, if the command ended with 0.
    pub(crate) fn ok(self) -> Finished {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.text(), self.stderr);
        self
    }
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    // A command that ends early closes the pipe; its status tells the story.
    let _ = child.stdin.take().unwrap().write_all(input);
    let status = wait(&mut child, &format!("{command:?}"));
    let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
    Finished { status, stdout: stdout.join().unwrap(), stderr }
}

/// Makes an executable file of these bytes.
///
/// By another process: a file is not executed while a process has it open for writing ("Text file
/// busy"), and tests beside this one start processes, which have open for a moment what this one
/// has.
pub(crate) fn executable(path: &Path, content: impl AsRef<[u8]>) {
    run_with(Command::new("install").args(["-m", "755", "/dev/stdin"]).arg(path), content.as_ref()).ok();
}

/// Copies an executable file. By another process, as [`executable`].
pub(crate) fn copy_executable(from: impl AsRef<Path>, to: &Path) {
    run("install", ["-m".as_ref(), "755".as_ref(), from.as_ref(), to]).ok();
}

/// Runs a command to its end.
pub(crate) fn run(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Finished {
    run_with(Command::new(program).args(args), b"")
}

/// Runs `sitar serve`, which must refuse to start (exit code 1), and returns what it says.
pub(crate) fn refused(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let home = TempDir::new().unwrap();
    let mut command = sitar(home.path());
    let done = run_with(command.arg("serve").args(args).args(["--listen", "127.0.0.1:0"]), b"");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    done.stderr
}

/// Whether all commands are there; otherwise the test is recorded as skipped and should return.
pub(crate) fn have(commands: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing: Vec<&str> = commands.iter().copied().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("no {} on this machine; `cargo xtask setup` installs it", missing.join(", ")));
    false
}

/// Returns the number by which `SITAR_SAMPLE` has large numbers divided: `cargo xtask ci` has no
/// time for all.
pub(crate) fn sample() -> usize {
    std::env::var("SITAR_SAMPLE").map_or(1, |sample| sample.parse().unwrap())
}

/// Polls until `done`, or panics with `what` once patience ends.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns how many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Returns the children of a process that have not ended, the youngest last.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    // proc_pid_stat(5): NUMBER (NAME) STATE PARENT …; the name may hold any character.
    let is_child = |other: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
        let mut rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        rest.next() != Some("Z") && rest.next() == Some(&pid.to_string())
    };
    let mut all: Vec<u32> = processes().filter(is_child).collect();
    all.sort_unstable();
    all
}

/// Returns the numbers of all processes.
pub(crate) fn processes() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|one| one.ok()?.file_name().to_str()?.parse().ok())
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Compiles the program that forbids io_uring and then executes another.
pub(crate) fn deny_io_uring(folder: &TempDir) -> PathBuf {
    deny_calls(folder, "deny_io_uring", &[])
}

/// The same for other system calls: definitions of FIRST, LAST and ERROR, and perhaps of ALSO.
pub(crate) fn deny_calls(folder: &TempDir, name: &str, definitions: &[&str]) -> PathBuf {
    let program = folder.path().join(name);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/deny_io_uring.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Werror"]).args(definitions).arg("-o").arg(&program).arg(source);
    run_with(&mut cc, b"").ok();
    program
}

/// `target/`, where a test may leave something to look at.
pub(crate) fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_path_buf()
}

fn wait(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("still waiting for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn drain(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for the first `http(s)://HOST:PORT/` in the output; whatever the host is called, it is
/// 127.0.0.1.
fn announced(child: &mut Child, said: &Said) -> (&'static str, SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = said.lines();
        if let Some(found) = text.split_whitespace().find_map(origin) {
            return found;
        }
        if let Some(status) = child.try_wait().unwrap() {
            let text = said.lines();
            panic!("sitar ended with {status} before it announced an address:\n{text}");
        }
        assert!(Instant::now() < deadline, "no address was announced:\n{text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn origin(word: &str) -> Option<(&'static str, SocketAddr)> {
    let (scheme, rest) = word.split_once("://")?;
    let scheme = ["https", "http"].into_iter().find(|known| *known == scheme)?;
    let port = rest.split('/').next()?.rsplit_once(':')?.1.parse().ok()?;
    Some((scheme, SocketAddr::from(([127, 0, 0, 1], port))))
}
