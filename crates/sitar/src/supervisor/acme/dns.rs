//! The operator's program that changes records in the DNS.
//!
//! It is started by the supervisor, as the user that sitar was started by, with `add` or `remove`,
//! the name of a TXT record and its value behind its own arguments. What these may be is checked
//! before: a name that the configuration has, and characters of base64url.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use sitar_acme::DnsChange;

use crate::acme::DNS_COMMAND_TIME;
use crate::handover::said;
use crate::serve::orphans;

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of what it says that are kept.
const SAID_MAX: u64 = 4096;
/// Characters of that in a sentence.
const SHOWN_MAX: usize = 400;

/// The program, and how long a change takes to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct Program {
    /// Its path, and its first arguments; never empty.
    pub(in crate::supervisor) command: Vec<String>,
    /// The time that is waited after a record was added.
    pub(in crate::supervisor) wait: Duration,
}

impl Program {
    /// Runs it, and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, fails, or takes too long: a sentence.
    pub(super) fn run(
        &self,
        change: DnsChange,
        name: &str,
        value: &str,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let (program, arguments) = self.command.split_first().ok_or("dns_command is empty")?;
        let verb = match change {
            DnsChange::Add => "add",
            DnsChange::Remove => "remove",
        };
        let mut command = Command::new(program);
        command.args(arguments).args([verb, name, value]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let failed =
            |why: &dyn std::fmt::Display| format!("dns_command {} {verb} {name}: {why}", said(program));
        let mut child = orphans::start(&mut command).map_err(|error| failed(&error))?;
        let (sender, words) = channel();
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            let read = move || {
                let (mut pipe, mut text) = (pipe, Vec::new());
                let _ = (&mut pipe).take(SAID_MAX).read_to_end(&mut text);
                let _ = sender.send(text);
                // A pipe that is closed earlier ends the program by SIGPIPE.
                let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            };
            let _ = thread::Builder::new().name("sitar-dns".into()).spawn(read);
        }
        drop(sender);
        let status = wait(child, is_over).map_err(|why| failed(&why))?;
        if !status.success() {
            let said = told(&words);
            let why = if said.is_empty() { status.to_string() } else { format!("{status}; it said: {said}") };
            return Err(failed(&why));
        }
        if change == DnsChange::Add {
            pause(self.wait, is_over);
        }
        Ok(())
    }
}

/// Returns the last line of what it said.
fn told(words: &Receiver<Vec<u8>>) -> String {
    let mut all = Vec::new();
    while let Ok(words) = words.recv_timeout(Duration::from_secs(1)) {
        all.extend(words);
    }
    let text = String::from_utf8_lossy(&all);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join(" / ");
    said(&text.chars().take(SHOWN_MAX).collect::<String>())
}

/// Waits for the end of a process. One that takes too long is killed, and all that it has started.
fn wait(mut child: Child, is_over: &dyn Fn() -> bool) -> Result<std::process::ExitStatus, String> {
    let until = Instant::now() + DNS_COMMAND_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return orphans::wait(child).map_err(|error| error.to_string()),
            Ok(None) if Instant::now() < until && !is_over() => thread::sleep(LOOK),
            Ok(None) => {
                let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = orphans::wait(child);
                let why =
                    format!("it was ended, since it took more than {} seconds", DNS_COMMAND_TIME.as_secs());
                return Err(if is_over() { "the server stops".to_owned() } else { why });
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn pause(time: Duration, is_over: &dyn Fn() -> bool) {
    let until = Instant::now() + time;
    while Instant::now() < until && !is_over() {
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<(), String> {
        let command = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        let program = Program { command, wait: Duration::ZERO };
        program.run(DnsChange::Add, "_acme-challenge.a.example", "value", &|| false)
    }

    #[test]
    fn the_arguments_come_behind_its_own() {
        assert_eq!(run("test \"$*\" = 'add _acme-challenge.a.example value'"), Ok(()));
    }

    #[test]
    fn what_it_said_is_in_the_sentence() {
        let failed = run("echo one; echo two >&2; exit 3").unwrap_err();
        let start = "dns_command /bin/sh add _acme-challenge.a.example: exit status: 3; it said: ";
        assert!(failed == format!("{start}one / two") || failed == format!("{start}two / one"), "{failed}");
        let program = Program { command: vec!["/no/such".into()], wait: Duration::ZERO };
        let failed = program.run(DnsChange::Remove, "n", "v", &|| false).unwrap_err();
        assert_eq!(failed, "dns_command /no/such remove n: No such file or directory (os error 2)");
    }

    #[test]
    fn one_that_says_much_is_not_ended_for_that() {
        let script = "i=0; while [ $i -lt 5000 ]; do echo $i 0123456789; echo $i >&2; i=$((i+1)); done";
        assert_eq!(run(script), Ok(()));
        // What it said first is in the sentence.
        let failed = run(&format!("{script}; exit 3")).unwrap_err();
        assert!(failed.contains("exit status: 3; it said: 0 "), "{failed}");
    }

    #[test]
    fn one_that_goes_on_is_ended_when_the_server_stops() {
        let command = ["/bin/sh", "-c", "sleep 1000 & sleep 1000"].map(str::to_owned).to_vec();
        let program = Program { command, wait: Duration::ZERO };
        let failed = program.run(DnsChange::Add, "n", "v", &|| true).unwrap_err();
        assert_eq!(failed, "dns_command /bin/sh add n: the server stops");
    }
}
