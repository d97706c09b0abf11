//! Standard error, as events are written to it.
//!
//! Others may share its descriptor, so it is not made non-blocking. It is asked first whether it
//! has room (poll(2)), and then gets no more than a pipe takes at once. An event for which there is
//! no room is dropped and counted. Between the question and the write another process of this
//! server may take the room; then this one waits until a reader comes.

use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::stderr;

use super::{Event, Level, line, look};

/// An event waits this long for room, in nanoseconds. Shards say events, too.
const WAIT: i64 = 100_000_000;
/// Device and inode of what is connected to the journal, as systemd.exec(5) tells it.
pub(crate) const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// What standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A terminal.
    Terminal,
    /// A stream to the journal.
    Journal,
    /// A file, a pipe, or a socket of something else.
    Other,
}

/// Returns what standard error was when this was first asked.
pub(super) fn kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| {
        let told = std::env::var(JOURNAL_STREAM).ok();
        let own = rustix::fs::fstat(stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino));
        match (told.as_deref().and_then(device_and_inode), own) {
            (Some(told), Some(own)) if told == own => Kind::Journal,
            _ if std::io::stderr().is_terminal() => Kind::Terminal,
            _ => Kind::Other,
        }
    })
}

/// Reads `DEVICE:INODE`.
pub(super) fn device_and_inode(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// Events that were dropped since one was written, in the order of threads that write.
static DROPPED: Mutex<u64> = Mutex::new(0);

/// Writes a line, or drops it.
pub(super) fn write(line: &str) {
    let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    // Once it was not read, it is not waited for again.
    let wait = if *dropped > 0 { 0 } else { WAIT };
    if !write_within(line.as_bytes(), wait) {
        *dropped = dropped.saturating_add(1);
        return;
    }
    if *dropped > 0 {
        let sentence = format!("{} events before this one are missing: nothing read them", *dropped);
        let event = Event::new(Level::Warning, sentence).with("dropped", *dropped);
        if write_within(line::of(&event, look(), SystemTime::now()).as_bytes(), 0) {
            *dropped = 0;
        }
    }
}

/// Writes bytes when there is room within that many nanoseconds. Returns whether they were.
fn write_within(mut bytes: &[u8], wait: i64) -> bool {
    while !bytes.is_empty() {
        let standard_error = stderr();
        let mut fds = [PollFd::new(&standard_error, PollFlags::OUT)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: wait })) {
            Ok(1..) => {}
            Err(Errno::INTR) => continue,
            Ok(0) | Err(_) => return false,
        }
        match rustix::io::write(stderr(), bytes) {
            Ok(count @ 1..) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
        }
    }
    true
}
