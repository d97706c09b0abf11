//! The client's side: lines from the server to standard output.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::Value;

use super::{Spec, text};
use crate::admin::{self, Request};
use crate::cli;
use crate::ending::ending_signals;
use crate::error::{Error, printable, warn};
use crate::output;

/// A server that is silent for this time after the end of its trace hangs.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes of a line, at most. A record has a target of 8 KiB and two fields of 2 KiB, escaped.
const LINE_MAX: usize = 256 << 10;

/// Prints samples of the answers of a running server, until the trace ends.
///
/// # Errors
/// No server answers, it refuses, or it ends in the midst of the trace.
pub fn run(arguments: &cli::Trace) -> Result<ExitCode, Error> {
    let path = admin::socket(arguments.server.socket.as_deref(), arguments.server.config.as_deref())?;
    let failed = |error: io::Error| Error::new("cannot wait for the trace").cause(error);
    let ends = ending_signals().map_err(failed)?;
    let spec = Spec::asked(arguments);
    let request = Request::Trace(Box::new(spec.clone()));
    let stream = admin::open(&path, &request)?;
    stream.set_nonblocking(true).map_err(failed)?;
    let (json, has_begun, records) = (arguments.json, false, 0);
    let mut lines = Lines { path: &path, request: &request, json, has_begun, records };
    let until = Instant::now() + spec.duration() + GRACE;
    let mut come = Vec::new();
    loop {
        match wait(&stream, &ends, until).map_err(failed)? {
            Heard::Interrupted => {
                lines.interrupted();
                return Ok(ExitCode::SUCCESS);
            }
            // Nothing reads what would be printed.
            Heard::Unread => return Ok(ExitCode::SUCCESS),
            Heard::Silence => {
                return Err(lines.broken_off("the time of the trace is over, and nothing comes"));
            }
            Heard::Lines => {}
        }
        let is_over = match receive(&stream, &mut come) {
            Ok(is_over) => is_over,
            Err(error) => return Err(lines.broken_off(&error.to_string())),
        };
        let mut out = String::new();
        let step = lines.take(&mut come, is_over, &mut out);
        let printed = io::stdout().lock();
        if let Err(error) = print(printed, &out) {
            // Where its reader is gone, that is no fault.
            return output::printed(Err(error)).map(|()| ExitCode::SUCCESS);
        }
        if step? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print(mut out: impl io::Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// What was waited for.
enum Heard {
    Lines,
    Interrupted,
    /// The reader of standard output is gone.
    Unread,
    Silence,
}

fn wait(stream: &UnixStream, ends: &UnixStream, until: Instant) -> io::Result<Heard> {
    let stdout = io::stdout();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [
            PollFd::new(ends, PollFlags::IN),
            PollFd::new(stream, PollFlags::IN),
            PollFd::new(&stdout, PollFlags::empty()),
        ];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [interrupted, come, out] = fds.map(|fd| fd.revents());
        if !interrupted.is_empty() {
            return Ok(Heard::Interrupted);
        }
        // What has come is printed first, for a file or a program that has read enough.
        if out.contains(PollFlags::ERR) {
            return Ok(Heard::Unread);
        }
        if !come.is_empty() {
            return Ok(Heard::Lines);
        }
        // Looked at last: what has come while this process was stopped is no silence.
        if left.is_zero() {
            return Ok(Heard::Silence);
        }
    }
}

/// Receives what has come. Returns whether that is all.
fn receive(mut stream: &UnixStream, come: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        return match stream.read(&mut buffer) {
            Ok(0) => Ok(true),
            Ok(count) => {
                come.extend_from_slice(buffer.get(..count).unwrap_or_default());
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        };
    }
}

/// The lines of a trace, from the first to the last.
struct Lines<'a> {
    path: &'a Path,
    request: &'a Request,
    json: bool,
    has_begun: bool,
    records: u64,
}

impl Lines<'_> {
    /// Takes whole lines from what has come. Returns whether the trace has ended.
    fn take(&mut self, come: &mut Vec<u8>, is_over: bool, out: &mut String) -> Result<bool, Error> {
        let mut taken = 0;
        let mut has_ended = false;
        while !has_ended && let Some(line) = next_line(come.get(taken..).unwrap_or_default()) {
            let value = serde_json::from_slice::<Value>(line).ok();
            if !self.has_begun && value.as_ref().is_none_or(|value| value.get("trace").is_none()) {
                // A refusal is a document of several lines.
                break;
            }
            taken += line.len() + 1;
            has_ended = self.take_line(line, value.as_ref(), out);
        }
        come.drain(..taken);
        if has_ended {
            return Ok(true);
        }
        if come.len() > LINE_MAX {
            return Err(self.broken_off("a line is too long"));
        }
        match (is_over, self.has_begun) {
            (false, _) => Ok(false),
            (true, true) => Err(self.broken_off("the server or its worker has ended, or hangs")),
            (true, false) => Err(self.refused(come)),
        }
    }

    /// Takes a line. Returns whether it is the last one.
    fn take_line(&mut self, line: &[u8], value: Option<&Value>, out: &mut String) -> bool {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let last = value.and_then(|value| value.get("end"));
        self.records += u64::from(!is_first && last.is_none());
        if self.json {
            // A worker sends no control characters; one that was taken over might.
            for character in String::from_utf8_lossy(line).chars() {
                match character.is_control() {
                    true => out.push_str(&format!("\\u{:04x}", u32::from(character))),
                    false => out.push(character),
                }
            }
            out.push('\n');
        } else if let Some(end) = last {
            warn(&text::end(end));
        } else if is_first {
            warn(&text::begin(value.unwrap_or(&Value::Null)));
        } else {
            out.push_str(&text::record(value.unwrap_or(&Value::Null)));
            out.push('\n');
        }
        last.is_some()
    }

    fn interrupted(&self) {
        if !self.json {
            warn(&format!("ended here: {} shown", text::records(self.records)));
        }
    }

    fn broken_off(&self, why: &str) -> Error {
        Error::new(format!("the trace of the sitar at {} broke off", printable(self.path))).cause(why)
    }

    fn refused(&self, come: &[u8]) -> Error {
        let version = serde_json::from_slice::<Value>(come).ok().and_then(|document| {
            let why = document.get("error")?.as_str()?;
            let is_unknown = why.starts_with("unknown request") || why == "the request is too long";
            is_unknown
                .then(|| document.get("version").and_then(Value::as_str).unwrap_or("unknown").to_owned())
        });
        if let Some(version) = version {
            return Error::new(format!("the sitar at {} cannot trace", printable(self.path)))
                .cause(format!("that one is version {version}, which knows no traces"))
                .hint("have the installed one take over: sitar upgrade");
        }
        match admin::read(self.path, self.request, come) {
            Err(error) => error,
            Ok(_) => self.broken_off("it answered something else"),
        }
    }
}

fn next_line(come: &[u8]) -> Option<&[u8]> {
    come.get(..come.iter().position(|byte| *byte == b'\n')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker sends none, and is not trusted to.
    #[test]
    fn no_control_character_is_printed_as_it_is() {
        let path = Path::new("/run/admin.sock");
        let request = Request::Status;
        let mut lines = Lines { path, request: &request, json: true, has_begun: true, records: 0 };
        let mut come = "{\"a\":\"\u{1b}]0;x\u{7}\u{9b}2J\u{7f}é\"}\nno \u{1b} JSON\n".as_bytes().to_vec();
        let mut out = String::new();
        assert_eq!(lines.take(&mut come, false, &mut out), Ok(false));
        let shown = "{\"a\":\"\\u001b]0;x\\u0007\\u009b2J\\u007fé\"}\nno \\u001b JSON\n";
        assert_eq!(out, shown);
    }
}
