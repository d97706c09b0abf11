//! The service manager: what it hears of sitar, the watchdog, and the sockets that it passes.
//!
//! sd_notify(3) and sd_listen_fds(3) are a few lines each. The crate `sd-notify` (0.5) is not used:
//! it knows no abstract socket, blocks when the manager does not read, cannot replace a newline in
//! a status, and hands descriptors out as numbers.
//!
//! Variables are read and never removed: other threads may read the environment. They are removed
//! from the commands that sitar starts ([`hide_from`], [`hand_on_to`]).

mod notify;
mod sockets;
mod successor;
mod summary;
mod watchdog;

use std::process::Command;

pub use self::notify::Notify;
pub use self::sockets::{Passed, Socket};
pub use self::successor::{orphan, step};
pub use self::summary::summary;
pub use self::watchdog::interval;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// Starts a command without everything that the service manager has told this process.
pub fn hide_from(command: &mut Command) {
    hand_on_to(command);
    command.env_remove(NOTIFY_SOCKET).env_remove(WATCHDOG_USEC);
}

/// Starts a command that is to take this process' place: it goes on speaking to the service
/// manager. Sockets reach it in another way, and the watchdog is whichever process is the main one.
pub fn hand_on_to(command: &mut Command) {
    for name in [WATCHDOG_PID, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES] {
        command.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    use super::*;

    fn removed(of: impl Fn(&mut Command)) -> BTreeSet<String> {
        let mut command = Command::new("true");
        of(&mut command);
        let gone = command.get_envs().filter(|(_, value)| value.is_none());
        gone.filter_map(|(name, _)| OsStr::to_str(name).map(str::to_owned)).collect()
    }

    #[test]
    fn a_worker_hears_nothing_of_systemd_and_a_successor_can_speak_to_it() {
        let hidden = removed(hide_from);
        let all = [NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES];
        assert_eq!(hidden, all.map(str::to_owned).into());
        let kept: Vec<_> = hidden.difference(&removed(hand_on_to)).cloned().collect();
        assert_eq!(kept, [NOTIFY_SOCKET, WATCHDOG_USEC]);
    }
}
