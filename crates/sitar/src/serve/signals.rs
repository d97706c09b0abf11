//! Signals, on a thread of their own: SIGTERM and SIGINT stop the server, SIGHUP has the site and
//! the certificates read again, SIGUSR1 has the access logs opened again, SIGUSR2 lets another
//! program take over.

use std::io::{self, IsTerminal as _};
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

use super::cannot_start_a_thread;
use crate::error::Error;

/// Catches the signals from here on.
///
/// # Errors
/// The system refuses.
pub(crate) fn catch() -> Result<Signals, Error> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])
        .map_err(|error| Error::new("cannot catch signals").cause(error.to_string()))
}

/// What signals ask for. It is called on the thread of the signals, and must not take long.
pub(crate) trait Obey: Send + 'static {
    /// SIGHUP.
    fn read_again(&mut self);

    /// SIGTERM and SIGINT.
    fn stop(&mut self);

    /// SIGUSR1.
    fn reopen_logs(&mut self);

    /// SIGUSR2.
    fn upgrade(&mut self);
}

/// The thread that obeys signals.
pub(crate) struct Obeying {
    handle: Handle,
    thread: JoinHandle<()>,
}

/// Obeys signals.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn obey(mut signals: Signals, mut obey: impl Obey) -> Result<Obeying, Error> {
    let handle = signals.handle();
    let had_terminal = is_terminal();
    let thread = thread::Builder::new().name("sitar-signals".into()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                // A terminal that is closed sends this signal to the programs in it, which should
                // end. A daemon has no terminal.
                SIGHUP if had_terminal == is_terminal() => obey.read_again(),
                SIGUSR1 => obey.reopen_logs(),
                SIGUSR2 => obey.upgrade(),
                _ => obey.stop(),
            }
        }
    });
    Ok(Obeying { handle, thread: thread.map_err(cannot_start_a_thread)? })
}

impl Obeying {
    /// Ends the thread: the server has stopped.
    pub(crate) fn end(self) {
        self.handle.close();
        let _ = self.thread.join();
    }
}

fn is_terminal() -> bool {
    io::stdout().is_terminal() || io::stderr().is_terminal()
}
