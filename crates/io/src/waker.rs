//! Waking a ring from elsewhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes one ring, from any thread and from a signal handler's thread. Wake-ups that come before
/// the ring looks are one.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// The bell for engines that look instead of reading the descriptor.
    rung: AtomicBool,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Waker> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Waker { inner: Arc::new(Inner { fd, rung: AtomicBool::new(false) }) })
    }

    /// Makes the ring's current or next [`wait`](crate::Ring::wait) return with
    /// [`Event::Woken`](crate::Event::Woken).
    pub fn wake(&self) {
        self.inner.rung.store(true, Ordering::Release);
        // The write fails only when the counter is full, and then a wake-up is already due.
        let _ = rustix::io::write(&self.inner.fd, &1_u64.to_ne_bytes());
    }

    /// Returns whether it was used since the last call. The descriptor stays readable.
    pub(crate) fn take(&self) -> bool {
        self.inner.rung.swap(false, Ordering::Acquire)
    }

    /// Blocks the calling thread until it has been used since [`take`](Waker::take), or `timeout`
    /// has passed.
    pub(crate) fn block(&self, timeout: Duration) -> bool {
        // What the clock cannot express never comes.
        let until = Instant::now().checked_add(timeout);
        loop {
            let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
            if self.inner.rung.load(Ordering::Acquire) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
            // Short, since the descriptor may be readable of old.
            std::thread::sleep(left.min(Duration::from_micros(200)));
        }
    }

    /// Takes the wake-ups that have come. Blocks when there are none: call it only after readiness
    /// was reported.
    pub(crate) fn clear(&self) {
        // A signal may interrupt it; then the next wake-up finds the counter where it was.
        let _ = rustix::io::read(&self.inner.fd, &mut [0; 8]);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}
