//! A server on a port that is known before it starts, so that its first answer can be waited for.

use crate::client::request;
use crate::program::Result;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time within which a start has to succeed. Under valgrind it takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time between two attempts to be answered.
const ATTEMPTS: Duration = Duration::from_millis(1);

/// Returns a port of 127.0.0.1 that is free now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Connects to a port of this machine.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Asks over a connection of its own, in plain HTTP.
pub(crate) fn ask(port: u16, host: &str) -> io::Result<()> {
    request(&mut connect(port)?, "GET", super::FILE, host)
}

/// A running server. Dropping it ends the program.
pub(crate) struct Running {
    child: Child,
    /// Its messages.
    said: PathBuf,
}

impl Running {
    /// Starts the program, and waits until `answer` gets one from it.
    ///
    /// # Errors
    /// The program ends before, or does not answer.
    pub(crate) fn start(
        mut command: Command,
        folder: &Path,
        mut answer: impl FnMut() -> io::Result<()>,
    ) -> Result<Running> {
        let said = folder.join("said.txt");
        let output = File::create(&said)?;
        let child = command.stdout(output.try_clone()?).stderr(output).spawn();
        let child = child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut running = Running { child, said };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = answer() {
            if let Some(status) = running.child.try_wait()? {
                return Err(running.failure(&format!("sitar did not start: {status}")));
            }
            if Instant::now() > deadline {
                return Err(running.failure(&format!("sitar does not answer: {error}")));
            }
            sleep(ATTEMPTS);
        }
        Ok(running)
    }

    /// Returns the process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the program, and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.terminate()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(self.failure(&format!("sitar ended with {status}"))) }
    }

    fn terminate(&self) -> io::Result<()> {
        let pid = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    fn failure(&self, what: &str) -> Box<dyn std::error::Error> {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        format!("{what}\n{}", said.trim_end()).into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.terminate();
            let _ = self.child.wait();
        }
    }
}
