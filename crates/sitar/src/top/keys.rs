//! What `sitar top` hears: keys, signals, and that there is a sample.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::SIGWINCH;
use signal_hook::low_level::pipe;

use crate::ending::ending_signals;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A key or a signal that ends the program.
    End,
    /// The key that sorts the sites by something else.
    Sort,
    /// Standard input has ended.
    NoMoreKeys,
    /// A sample, another size, or nothing.
    Wake,
}

/// Ctrl-C, Ctrl-D and Escape, as a terminal sends them.
const INTERRUPT: u8 = 0x03;
const END_OF_INPUT: u8 = 0x04;
const ESCAPE: u8 = 0x1b;

/// Where signals and the sampler write.
pub(super) struct Ears {
    ends: UnixStream,
    wakes: UnixStream,
    waker: UnixStream,
}

impl Ears {
    /// Listens to signals from here on.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn open() -> io::Result<Ears> {
        let ends = ending_signals()?;
        let (wakes, waker) = UnixStream::pair()?;
        for stream in [&wakes, &waker] {
            stream.set_nonblocking(true)?;
        }
        pipe::register(SIGWINCH, waker.try_clone()?)?;
        Ok(Ears { ends, wakes, waker })
    }

    /// Returns what wakes [`wait`](Ears::wait) when it is written to. Writing does not wait.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn waker(&self) -> io::Result<UnixStream> {
        self.waker.try_clone()
    }

    /// Waits for something, for that long at most.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn wait(&self, has_keys: bool, limit: Duration) -> io::Result<Heard> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(&self.ends, PollFlags::IN), PollFd::new(&self.wakes, PollFlags::IN)];
        fds.extend(has_keys.then(|| PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)));
        let limit = Timespec::try_from(limit).ok();
        match rustix::event::poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR | Errno::AGAIN) => return Ok(Heard::Wake),
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |place: usize| fds.get(place).is_some_and(|fd| !fd.revents().is_empty());
        if is_ready(0) {
            return Ok(Heard::End);
        }
        if is_ready(1) {
            // All of them at once: one look is enough.
            let _ = (&self.wakes).read(&mut [0; 64]);
        }
        if !is_ready(2) {
            return Ok(Heard::Wake);
        }
        let mut keys = [0; 64];
        match rustix::io::read(stdin.as_fd(), &mut keys) {
            Ok(0) => Ok(Heard::NoMoreKeys),
            Ok(count) => Ok(meaning(keys.get(..count).unwrap_or_default())),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Heard::Wake),
            // The terminal is gone.
            Err(Errno::IO) => Ok(Heard::End),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Returns what keys mean. Those behind an Escape are a key of another kind.
fn meaning(keys: &[u8]) -> Heard {
    let plain = keys.split(|key| *key == ESCAPE).next().unwrap_or_default();
    let mut heard = plain.iter().map(|key| match key {
        b'q' | b'Q' | &INTERRUPT | &END_OF_INPUT => Heard::End,
        b's' | b'S' => Heard::Sort,
        _ => Heard::Wake,
    });
    heard.find(|heard| *heard != Heard::Wake).unwrap_or(Heard::Wake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_meaning() {
        for (keys, expected) in [
            (&b"q"[..], Heard::End),
            (b"Q", Heard::End),
            (b"\x03", Heard::End),
            (b"\x04", Heard::End),
            (b"s", Heard::Sort),
            (b"xs", Heard::Sort),
            (b"x", Heard::Wake),
            // A key with an arrow, and one of the keypad.
            (b"\x1b[A", Heard::Wake),
            (b"\x1bOs", Heard::Wake),
            (b"", Heard::Wake),
            (b"\xff\0", Heard::Wake),
        ] {
            assert_eq!(meaning(keys), expected, "{}", keys.escape_ascii());
        }
    }
}
