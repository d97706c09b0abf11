//! Signals, on a thread of their own: SIGTERM and SIGINT stop the server, SIGHUP has the site and
//! the certificates read again.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use sitar_server::Worker;

use super::stop::Telling;
use super::{cannot_start_a_thread, say};
use crate::engine;
use crate::error::Error;

/// Catches the signals from here on.
///
/// # Errors
/// The system refuses.
pub(super) fn catch() -> Result<Signals, Error> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Error::new("cannot catch signals").cause(error.to_string()))
}

/// The thread that obeys signals.
pub(super) struct Obeying {
    handle: Handle,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Obeys signals. `read_again` is what SIGHUP asks for, and must not take long. `drain` is the time
/// that a stop takes at most; `is_polled`: there are polling threads, whose cost is reported when
/// the server stops.
///
/// # Errors
/// The system refuses a thread.
pub(super) fn obey(
    mut signals: Signals,
    worker: &Arc<Worker>,
    read_again: impl Fn() + Send + 'static,
    drain: Duration,
    is_polled: bool,
) -> Result<Obeying, Error> {
    let worker = Arc::clone(worker);
    let since = Instant::now();
    let handle = signals.handle();
    let had_terminal = is_terminal();
    let ended = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&ended);
    let thread = thread::Builder::new().name("sitar-signals".into()).spawn(move || {
        let mut telling = None;
        for signal in signals.forever() {
            // A terminal that is closed sends this signal to the programs in it, which should end.
            // A daemon has no terminal.
            if signal == SIGHUP && had_terminal == is_terminal() {
                read_again();
                continue;
            }
            // Now, while the polling threads are there to be asked.
            if telling.is_none() && is_polled {
                tell_polling(since);
            }
            worker.stop();
            telling.get_or_insert_with(|| Telling::start(&worker, drain, &has_ended));
        }
        if let Some(telling) = telling {
            telling.end();
        }
    });
    Ok(Obeying { handle, ended, thread: thread.map_err(cannot_start_a_thread)? })
}

impl Obeying {
    /// Ends the thread: the server has stopped.
    pub(super) fn end(self) {
        self.ended.store(true, Ordering::Release);
        self.handle.close();
        let _ = self.thread.join();
    }
}

fn is_terminal() -> bool {
    io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// One line about what polling cost.
fn tell_polling(since: Instant) {
    let elapsed = since.elapsed().as_secs_f64();
    match engine::pollers_cpu(Path::new("/proc/self/task")) {
        Some((cpu, threads)) => say(&format_args!(
            "sitar: {threads} polling thread(s) used {:.2} s of CPU time in {elapsed:.2} s",
            cpu.as_secs_f64()
        )),
        None => say(&format_args!("sitar: this kernel does not tell the CPU time of polling threads")),
    }
}
