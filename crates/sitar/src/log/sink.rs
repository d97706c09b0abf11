//! Where the lines of a log go: a file, a stream that is read by another process, or the journal.
//!
//! A sink never waits. What it cannot write at once it keeps, up to [`PENDING_MAX`] bytes; what
//! fails is dropped. The flags of a descriptor are those of everybody who shares it, as standard
//! output is shared, so none is made non-blocking: a stream is asked first whether it has room
//! (poll(2)), and then gets no more than a pipe takes at once (`PIPE_BUF`, pipe(7)).

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::SendFlags;

/// A sink writes when it has this many bytes.
pub(crate) const PIECE: usize = 64 << 10;
/// The most bytes that wait for room; one more line may cross it.
pub(crate) const PENDING_MAX: usize = 256 << 10;
/// What a pipe takes as a whole, or has no room for (`PIPE_BUF` of Linux).
const PIPE_PIECE: usize = 4096;

/// A descriptor that lines are written to.
#[derive(Debug)]
pub(crate) struct Sink {
    kind: Kind,
    fd: OwnedFd,
    /// Lines, of which the first `sent` bytes have been written.
    buffer: Vec<u8>,
    sent: usize,
    /// The last line that was written has no end. The next write ends it.
    is_torn: bool,
    /// The buffer begins with the end of a torn line.
    closes: bool,
}

/// How a descriptor is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In large pieces.
    File,
    /// A pipe or a terminal.
    Stream,
    /// A stream socket.
    Socket,
    /// journald's socket: a datagram for each line.
    Journal,
}

/// What has come of an attempt to write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Lines that are written.
    pub(crate) lines: u64,
    /// Lines that were dropped, and why.
    pub(crate) failed: u64,
    pub(crate) why: Option<Errno>,
}

impl Sink {
    /// A sink of a file or of a stream.
    ///
    /// # Errors
    /// The kernel's, for a descriptor that is none.
    pub(crate) fn new(fd: OwnedFd) -> Result<Sink, Errno> {
        let kind = match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Socket => Kind::Socket,
            _ => Kind::Stream,
        };
        Ok(Sink::of(kind, fd))
    }

    /// A sink that sends to journald over a datagram socket, which is connected.
    pub(crate) fn journal(socket: OwnedFd) -> Sink {
        Sink::of(Kind::Journal, socket)
    }

    fn of(kind: Kind, fd: OwnedFd) -> Sink {
        Sink { kind, fd, buffer: Vec::new(), sent: 0, is_torn: false, closes: false }
    }

    /// Writes to another descriptor from now on. Lines that wait go there. Returns how many do not:
    /// one whose beginning has been written.
    pub(crate) fn replace(&mut self, other: Sink) -> u64 {
        // A line without its end is in the file where it was written.
        self.is_torn &= is_same(&self.fd, &other.fd);
        (self.kind, self.fd) = (other.kind, other.fd);
        if self.is_torn {
            return 0;
        }
        let is_within = self.sent.checked_sub(1).and_then(|at| self.buffer.get(at)) != Some(&b'\n');
        if !self.closes && (self.sent == 0 || !is_within) {
            return 0;
        }
        // The end of a line whose beginning is elsewhere is none.
        let rest = self.buffer.get(self.sent..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        self.sent += end.map_or(0, |at| at + 1);
        // What closes a torn line is none itself.
        let lines = u64::from(end.is_some() && !self.closes);
        self.closes = false;
        lines
    }

    /// Whether there are lines that wait.
    pub(crate) fn is_pending(&self) -> bool {
        self.sent < self.buffer.len()
    }

    /// Whether it is time to write.
    pub(crate) fn has_piece(&self) -> bool {
        self.waiting() >= PIECE
    }

    /// Returns the number of bytes that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Has a line appended that is the last one, whether there is room or not.
    pub(crate) fn add_last(&mut self, line: impl FnOnce(&mut Vec<u8>)) {
        line(&mut self.buffer);
    }

    /// Whether the other end of a socket is closed.
    pub(crate) fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Has a line appended to what is to be written. Returns whether there was room.
    pub(crate) fn add(&mut self, line: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.waiting() >= PENDING_MAX {
            return false;
        }
        if self.buffer.is_empty() && self.is_torn {
            self.buffer.push(b'\n');
            self.closes = true;
        }
        line(&mut self.buffer);
        true
    }

    /// Writes what there is room for.
    pub(crate) fn flush(&mut self) -> Wrote {
        let mut wrote = Wrote::default();
        while self.is_pending() {
            match self.write_piece() {
                Ok(length) => wrote.lines += self.has_written(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(why) => {
                    wrote.failed += self.drop_pending();
                    wrote.why = Some(why);
                }
            }
        }
        if !self.is_pending() {
            self.buffer.clear();
            self.sent = 0;
        } else if self.sent >= PENDING_MAX {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        wrote
    }

    /// Drops what waits. Returns the number of lines.
    pub(crate) fn drop_pending(&mut self) -> u64 {
        let rest = self.buffer.get(self.sent..).unwrap_or_default();
        let lines = ends(rest) - u64::from(self.closes);
        self.closes = false;
        self.buffer.clear();
        self.sent = 0;
        lines
    }

    /// Notes that bytes were written. Returns the number of lines that are complete with them.
    fn has_written(&mut self, length: usize) -> u64 {
        let piece = self.buffer.get(self.sent..self.sent + length).unwrap_or_default();
        let Some(last) = piece.last() else { return 0 };
        self.is_torn = *last != b'\n';
        let lines = ends(piece) - u64::from(self.closes);
        self.closes = false;
        self.sent += length;
        lines
    }

    /// Writes once. Returns the number of bytes that are done with.
    fn write_piece(&self) -> Result<usize, Errno> {
        let rest = self.buffer.get(self.sent..).unwrap_or_default();
        match self.kind {
            Kind::File => some(rustix::io::write(&self.fd, rest)?),
            Kind::Stream => {
                self.has_room()?;
                some(rustix::io::write(&self.fd, piece(rest))?)
            }
            Kind::Socket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                some(rustix::net::send(&self.fd, piece(rest), flags)?)
            }
            Kind::Journal => {
                let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
                let line = rest.get(..length).unwrap_or_default();
                // systemd.journal-fields(7): priority 6 is informational. No line has a line feed.
                let datagram = [b"SYSLOG_IDENTIFIER=sitar\nPRIORITY=6\nMESSAGE=", line].concat();
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(&self.fd, &datagram, flags).map(|_| length)
            }
        }
    }

    /// # Errors
    /// `AGAIN`: a write could wait.
    fn has_room(&self) -> Result<(), Errno> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        // An error is told by the write.
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
            0 => Err(Errno::AGAIN),
            _ => Ok(()),
        }
    }
}

/// Returns what is written at a time: whole lines, if one is short enough.
fn piece(rest: &[u8]) -> &[u8] {
    let most = rest.get(..PIPE_PIECE).unwrap_or(rest);
    let lines = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |at| at + 1);
    most.get(..lines).unwrap_or(most)
}

/// A write of nothing would be tried for ever.
fn some(length: usize) -> Result<usize, Errno> {
    if length == 0 { Err(Errno::IO) } else { Ok(length) }
}

fn ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether two descriptors are of one file.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let of = |fd: &OwnedFd| rustix::fs::fstat(fd.as_fd()).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((of(one), of(other)), (Ok(one), Ok(other)) if one == other)
}
