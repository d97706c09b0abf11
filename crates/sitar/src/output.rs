//! Writes to standard output, and what a failure of that means.
//!
//! Rust ignores SIGPIPE, so a reader that went away shows as `EPIPE`. That is no fault (`sitar
//! doctor | head`): the command ends quietly, with the exit code of its findings, as ripgrep does.
//! Any other failure lost what was asked for, and is an error. A standard output that was closed
//! (`>&-`) is `/dev/null` by the time `main` runs: the standard library opens it there.

use std::io::{self, ErrorKind, Write};

use crate::error::Error;

/// Prints a whole text on standard output.
///
/// # Errors
/// The text could not be written, and not because its reader went away.
pub fn print(text: &str) -> Result<(), Error> {
    printed(write(io::stdout().lock(), text))
}

/// The same for the report of a start, after which the program goes on whatever comes of it: the
/// cause as the system says it. With an access log on standard output it goes to standard error.
///
/// # Errors
/// As for [`fn@print`].
pub fn print_report(text: &str, logs_to_stdout: bool) -> io::Result<()> {
    unless_unread(match logs_to_stdout {
        true => write(io::stderr().lock(), text),
        false => write(io::stdout().lock(), text),
    })
}

/// Judges an attempt to print on standard output.
///
/// # Errors
/// As for [`fn@print`].
pub fn printed(attempt: io::Result<()>) -> Result<(), Error> {
    unless_unread(attempt).map_err(|error| Error::new("cannot write to standard output").cause(error))
}

fn unless_unread(attempt: io::Result<()>) -> io::Result<()> {
    match attempt {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn write(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what is written, and refuses it when it is flushed, as a buffered stream does.
    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_a_full_disk_is_one() {
        let mut out = Vec::new();
        assert_eq!(printed(write(&mut out, "text\n")), Ok(()));
        assert_eq!(out, b"text\n");
        assert_eq!(printed(write(Refusing(ErrorKind::BrokenPipe), "text")), Ok(()));
        let refused = printed(write(Refusing(ErrorKind::StorageFull), "text")).unwrap_err();
        assert_eq!(refused.to_string(), "error: cannot write to standard output\n  cause: no storage space");
    }
}
