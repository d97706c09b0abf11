//! The server that is measured: this program, started as a child with a configuration in a folder
//! of its own.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal};
use rustls_pki_types::CertificateDer;

use super::{Interrupted, LEN};
use crate::admin::{self, Request, Status, Totals};
use crate::cli::Prove;
use crate::error::{Error, printable};
use crate::settings::{EngineChoice, values};
use crate::systemd;

/// The time for the server to start, and to end.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(10);
/// The only name in its certificate.
pub(super) const NAME: &str = "localhost";
/// Bytes of its event log that an error tells.
const SAID: usize = 600;

/// A folder that is removed with what is in it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> io::Result<Folder> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        let name = format!("sitar-prove-{:016x}", u64::from_ne_bytes(random));
        let path = std::path::absolute(std::env::temp_dir())?.join(name);
        let within = |error: io::Error| {
            let place = printable(path.parent().unwrap_or(&path));
            io::Error::new(error.kind(), format!("no folder can be made in {place} ($TMPDIR): {error}"))
        };
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(within)?;
        Ok(Folder(path))
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(self.0.join(name))?.write_all(content)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    folder: Folder,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) status: Status,
}

impl Server {
    pub(super) fn start(arguments: &Prove, interrupted: &Interrupted) -> Result<Server, Error> {
        let failed = |error: io::Error| Error::new("cannot prepare a server to measure").cause(error);
        let folder = Folder::new().map_err(failed)?;
        let certificate = prepare(&folder, arguments.path.as_deref()).map_err(failed)?;
        let said = fs::File::create(folder.0.join("said")).map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("prove").args(["--serve-for", &std::process::id().to_string()]);
        command.args(["--engine", engine_word(arguments.engine)]);
        if let Some(shards) = arguments.shards {
            command.arg("--shards").arg(shards.to_string());
        }
        command.arg("--").arg(folder.0.join("sitar.toml"));
        // What is measured does not depend on settings of other servers.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("SITAR_") && text != "SITAR_SANDBOX" || text == "CACHE_DIRECTORY" {
                command.env_remove(&name);
            }
        }
        systemd::hide_from(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().map_err(failed)?;
        let status = Status::default();
        let mut server = Server { child, folder, certificate, status };
        server.wait(interrupted)?;
        Ok(server)
    }

    fn wait(&mut self, interrupted: &Interrupted) -> Result<(), Error> {
        let end = Instant::now() + START;
        let failed = || Error::new("the server to measure does not start");
        loop {
            interrupted.check()?;
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(failed().cause(self.said()));
            }
            let status = admin::ask(&self.socket(), &Request::Status).ok();
            let status = status.and_then(|answer| admin::read_status(&answer));
            if let Some(status) = status.filter(|status| status.worker.is_some()) {
                self.status = status;
                return Ok(());
            }
            if Instant::now() > end {
                return Err(failed().cause("it has not said that it serves within a minute"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join("admin.sock")
    }

    /// What it has said last, in one line and without the name of its folder.
    fn said(&self) -> String {
        let said = fs::read(self.folder.0.join("said")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(SAID)..]);
        let said = said.replace(&*self.folder.0.to_string_lossy(), "…");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Asks for its numbers.
    pub(super) fn totals(&self) -> Result<Totals, Error> {
        let answer = admin::ask(&self.socket(), &Request::Numbers)?;
        admin::read_totals(&answer).ok_or_else(|| Error::new("the server's numbers are not understood"))
    }

    pub(super) fn supervisor(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In order first: it takes its worker with it.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + END;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns how an engine is named on the command line.
pub(super) fn engine_word(engine: EngineChoice) -> &'static str {
    values::word_of(engine).unwrap_or("auto")
}

/// Writes what the server reads, and returns its certificate.
fn prepare(folder: &Folder, path: Option<&Path>) -> io::Result<CertificateDer<'static>> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let params = CertificateParams::new([NAME.to_owned()]).map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    folder.write("chain.pem", certificate.pem().as_bytes())?;
    folder.write("key.pem", key.serialize_pem().as_bytes())?;
    let root = match path {
        Some(path) => fs::canonicalize(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", printable(path))))?,
        None => {
            fs::create_dir(folder.0.join("site"))?;
            folder.write("site/index.html", &content())?;
            folder.0.join("site")
        }
    };
    let root = root.to_str().ok_or_else(|| io::Error::other("the path of the site is not UTF-8"))?;
    folder.write("sitar.toml", configuration(root).as_bytes())?;
    Ok(certificate.der().clone())
}

/// The file of the site that is made up.
pub(super) fn content() -> Vec<u8> {
    (0..LEN).map(|at| b"sitar prove\n"[at % 12]).collect()
}

fn configuration(root: &str) -> String {
    // Escapes of JSON are some of TOML's.
    let root = serde_json::Value::from(root);
    format!(
        "[server]\ncompress = false\nstop_seconds = 1\n\
         certificate = {{ chain = \"chain.pem\", key = \"key.pem\" }}\n\
         [admin]\nsocket = \"admin.sock\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n\
         [[site]]\ndefault = true\nroot = {root}\n"
    )
}

/// Becomes the server, in the child: for as long as the parent lives.
pub(super) fn serve(arguments: &Prove, parent: u32) -> Result<(), Error> {
    let refused = |why: &str| Error::new("cannot serve for 'sitar prove'").cause(why);
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|errno| refused(&errno.to_string()))?;
    let is_parent = rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() as u32 == parent);
    if !is_parent {
        return Err(refused("its parent has ended"));
    }
    // A worker is started with the arguments of its supervisor, so those have to be of a server.
    // What was asked for above outlives exec.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("sitar").args(["serve", "--engine", engine_word(arguments.engine)]);
    if arguments.engine == EngineChoice::Sqpoll {
        // Longer than a client takes to ask again, so that the claim can be seen.
        command.args(["--spin", "10s"]);
    }
    if let Some(shards) = arguments.shards {
        command.arg("--shards").arg(shards.to_string());
    }
    command.arg("--config").args(&arguments.path);
    Err(refused(&command.exec().to_string()))
}
