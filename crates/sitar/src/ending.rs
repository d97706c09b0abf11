//! Signals that end a command which shows a server that runs.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::error::EXIT_FAILED;

/// Returns a stream that can be read when a signal has come that ends the command. The second one
/// ends the program even while the terminal takes nothing.
///
/// # Errors
/// The system's.
pub(crate) fn ending_signals() -> io::Result<UnixStream> {
    let (ends, ender) = UnixStream::pair()?;
    for stream in [&ends, &ender] {
        stream.set_nonblocking(true)?;
    }
    let is_told = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        flag::register_conditional_shutdown(signal, EXIT_FAILED.into(), Arc::clone(&is_told))?;
        flag::register(signal, Arc::clone(&is_told))?;
        pipe::register(signal, ender.try_clone()?)?;
    }
    Ok(ends)
}
