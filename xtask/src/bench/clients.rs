//! Our own clients: a program under `bench/` that does what its standard input says, line by line.

use super::cases::Case;
use super::servers::Server;
use super::site::Lab;
use super::{LOAD_CORE, Result, pinned};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// One of our own clients, with its target.
pub(super) fn command(lab: &Lab, server: &Server, case: &Case, verb: &str) -> Command {
    let mut command = pinned(LOAD_CORE, &lab.target.join("release/sitar-bench"));
    command.arg(verb).args(["--address", &format!("127.0.0.1:{}", server.port)]);
    command.arg("--cert").arg(lab.cert()).args(["--path", &format!("/{}", case.file)]);
    command.args(["--length", &case.length.to_string()]);
    command
}

/// Clients that do what they are told, line by line.
pub(super) struct Clients {
    child: Child,
    /// `None` when they have been told to end.
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    pub(super) fn open(mut command: Command, count: usize) -> Result<Clients> {
        command.args(["--count", &count.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, stdout) = (child.stdin.take(), child.stdout.take().ok_or("no stdout")?);
        let mut clients = Clients { child, orders, answers: BufReader::new(stdout).lines() };
        clients.answer("open")?;
        Ok(clients)
    }

    pub(super) fn tell(&mut self, order: &str, answer: &str) -> Result<f64> {
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
