//! Waking a ring from elsewhere.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// Wakes one ring, from any thread and from a signal handler's thread. Wake-ups that come before the ring looks are one.
#[derive(Clone, Debug)]
pub struct Waker {
    fd: Arc<OwnedFd>,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Waker> {
        Ok(Waker { fd: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?) })
    }

    /// Makes the ring's current or next [`wait`](crate::Ring::wait) return with [`Event::Woken`](crate::Event::Woken).
    pub fn wake(&self) {
        // The write fails only when the counter is full, and then a wake-up is already due.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
