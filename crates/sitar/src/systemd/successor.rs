//! A process that takes this one's place and is not its child.
//!
//! systemd waits for the end of its main process only if that is its own child at the time when
//! `MAINPID` names it (systemd 252, `main_pid_alien`). Otherwise `systemctl stop` sends SIGTERM and
//! SIGKILL in one go, and what was open is cut. A child whose parent has ended becomes systemd's,
//! so the successor is started by a process between the two, which ends at once.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use serde_json::json;

/// Set for the process in between.
const STEP: &str = "SITAR_START_AND_END";
/// The program of this process, whatever its file is by now.
const OWN: &str = "/proc/self/exe";

/// Has `command`, which starts sitar, start a process in between. It ends with 0 as soon as it has
/// started the same program with the same arguments and descriptors, and should be waited for.
///
/// Standard input is a channel, which the successor inherits. Over it the process in between tells
/// the successor's number.
pub fn orphan(command: &mut Command) {
    super::hand_on_to(command);
    command.env(STEP, "1");
}

/// Called first of all: if this is the process in between, starts the successor and returns the
/// exit code with which to end.
#[must_use]
pub fn step() -> Option<ExitCode> {
    std::env::var_os(STEP)?;
    Some(match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn start() -> io::Result<()> {
    let channel = crate::worker::take_standard_input()?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(OWN);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env_remove(STEP).stdin(Stdio::from(channel.socket()?));
    // Not waited for: that is what it is about.
    let child = command.spawn()?;
    channel.send(&json!({ "started": child.id() }), &[], &[])
}
