//! Standard error, as events are written to it.
//!
//! Others may share its descriptor, so it is not made non-blocking. It is asked first whether it
//! has room (poll(2)), and then gets no more than a pipe takes at once. An event for which there is
//! no room is dropped and counted. Between the question and the write another process may take the
//! room; a pipe or a socket then refuses the write (`RWF_NOWAIT`), and is asked again.

use std::io::{IoSlice, IsTerminal as _};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use rustix::stdio::stderr;

use super::{Event, Level, line, look};

/// An event waits this long for room, in nanoseconds. Shards say events, too.
const WAIT: i64 = 100_000_000;
/// Writes for one line: of a part of it, or where another process took the room.
const TRIES: usize = 4;
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

/// What has become of the events of this process, in the order of threads that write.
static WRITTEN: Mutex<Written> = Mutex::new(Written { dropped: 0, is_torn: false });

/// Writes a line, or drops it.
pub(super) fn write(line: &str) {
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.write(line, &mut |bytes, wait| put(stderr(), bytes, wait));
}

/// Shows a text that is no event on a terminal, if that has room: one may be stopped (Ctrl-S).
pub(crate) fn show(text: &str) {
    put(stderr(), text.as_bytes(), 0);
}

/// What has become of events.
pub(super) struct Written {
    /// Events that were dropped since one was written.
    pub(super) dropped: u64,
    /// A part of the last line was written, as on a disk that is full.
    pub(super) is_torn: bool,
}

impl Written {
    /// Writes a line, or drops it. `put` writes bytes within that many nanoseconds, and returns how
    /// many of them.
    pub(super) fn write(&mut self, line: &str, put: &mut dyn FnMut(&[u8], i64) -> usize) {
        // Once it was not read, it is not waited for again.
        let wait = if self.dropped > 0 { 0 } else { WAIT };
        if !self.write_whole(line, wait, put) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        if self.dropped > 0 {
            let sentence = format!("events before this one are missing: {}", self.dropped);
            let event = Event::new(Level::Warning, sentence).with("dropped", self.dropped);
            if self.write_whole(&line::of(&event, look(), SystemTime::now()), 0, put) {
                self.dropped = 0;
            }
        }
    }

    /// Returns whether all of the line was written.
    fn write_whole(&mut self, line: &str, wait: i64, put: &mut dyn FnMut(&[u8], i64) -> usize) -> bool {
        // What is left of an earlier line ends here, or this one would be its end.
        if self.is_torn && put(b"\n", wait) == 0 {
            return false;
        }
        let count = put(line.as_bytes(), wait);
        self.is_torn = (1..line.len()).contains(&count);
        count >= line.len()
    }
}

/// Writes bytes when there is room within that many nanoseconds. Returns how many were written.
fn put(to: BorrowedFd<'_>, bytes: &[u8], wait: i64) -> usize {
    let mut done = 0;
    for _ in 0..TRIES {
        let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) else { break };
        let mut fds = [PollFd::new(&to, PollFlags::OUT)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: wait })) {
            Ok(1..) => {}
            Err(Errno::INTR) => continue,
            Ok(0) | Err(_) => break,
        }
        match write_now(to, rest) {
            Ok(count @ 1..) => done += count,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => break,
        }
    }
    done
}

/// Writes bytes, and waits for no reader where the kernel can do that. Files have none, and only
/// they would fail for another reason.
pub(super) fn write_now(to: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    /// What has no offset is written where it is (writev(2)).
    const NO_OFFSET: u64 = u64::MAX;
    let kind = rustix::fs::fstat(to).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if let Ok(FileType::Fifo | FileType::Socket) = kind {
        match pwritev2(to, &[IoSlice::new(bytes)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
            // Pipes know it since Linux 6.5. A container may refuse the call.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {}
            done => return done,
        }
    }
    rustix::io::write(to, bytes)
}
