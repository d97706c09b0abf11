//! This program's own clients, each a process that takes orders on stdin, line by line.

use crate::Result;
use crate::cases::Case;
use crate::run::{LOAD_CORE, pinned};
use crate::servers::Server;
use crate::site::Lab;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Returns the command of one of the clients, with its target.
///
/// # Errors
/// The path of this program is not known.
pub(crate) fn command(lab: &Lab, server: &Server, case: &Case, verb: &str) -> Result<Command> {
    let mut command = pinned(LOAD_CORE, &std::env::current_exe()?);
    command.arg(verb).args(["--address", &format!("127.0.0.1:{}", server.port)]);
    command.arg("--cert").arg(lab.cert()).args(["--path", &format!("/{}", case.file)]);
    command.args(["--length", &case.length.to_string()]);
    Ok(command)
}

/// Running clients. Dropping them closes their stdin, at which they end.
pub(crate) struct Clients {
    child: Child,
    /// `None` at their end.
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    pub(crate) fn open(mut command: Command, count: usize) -> Result<Clients> {
        command.args(["--count", &count.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, stdout) = (child.stdin.take(), child.stdout.take().ok_or("no stdout")?);
        let mut clients = Clients { child, orders, answers: BufReader::new(stdout).lines() };
        clients.answer("open")?;
        Ok(clients)
    }

    pub(crate) fn tell(&mut self, order: &str, answer: &str) -> Result<f64> {
        writeln!(self.orders.as_mut().ok_or("they have ended")?, "{order}")?;
        self.answer(answer)
    }

    fn answer(&mut self, name: &str) -> Result<f64> {
        let line = self.answers.next().ok_or("the clients failed; see above")??;
        let number = line.strip_prefix(name).and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| format!("`{line}` where `{name} N` was expected").into())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
