//! The io_uring engine with a polling kernel thread: no system call while there is work.
//!
//! The kernel's thread takes entries out of the submission queue as they are pushed, so an
//! operation may start before the next wait. This side looks at the completion queue for a while
//! before it sleeps in `io_uring_enter`; the kernel's thread goes to sleep by itself and says so by
//! NEED_WAKEUP, which is looked at in every wait.
//!
//! The price is a core for the poller, and another one for this side as long as it spins: the two
//! must not share one (measured: twenty times slower). Flags: `SQPOLL | SINGLE_ISSUER |
//! SUBMIT_ALL`; the kernel refuses DEFER_TASKRUN together with SQPOLL.

use std::io;
use std::time::{Duration, Instant};

use super::{ENTER_GETEVENTS, Queues, Unavailable, Uring};
use crate::ring::{Config, Ring};

// linux/io_uring.h
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
const ENTER_SQ_WAIT: u32 = 1 << 2;

/// Looks at the completion queue between two looks at the clock: some microseconds.
const LOOKS: u32 = 64;
/// Number of waits for a full submission queue; more than one only when signals interrupt
/// it.
const ROOM_ATTEMPTS: u32 = 16;

/// Times for which each side of a polled ring stays awake without work, and the core of the
/// kernel's side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SqPoll {
    /// A wait watches the completion queue so long, counted from when it was first seen empty,
    /// before it sleeps in a system call. Zero sleeps at once.
    pub spin: Duration,
    /// The kernel's thread polls so long without work before it sleeps, and then takes a system
    /// call to wake. In milliseconds, rounded up; at least one. Less than `spin` makes little
    /// sense: this side would stay awake for a poller that is not.
    pub idle: Duration,
    /// The CPU that the kernel's thread is bound to; `None` leaves it to the scheduler.
    pub cpu: Option<u32>,
}

impl SqPoll {
    /// Returns `io_uring_params.sq_thread_idle`: milliseconds, where zero would stand for the
    /// kernel's default of a second.
    pub(super) fn idle_ms(&self) -> u32 {
        let ms = self.idle.as_nanos().div_ceil(1_000_000);
        // The kernel turns it into signed jiffies.
        ms.clamp(1, i32::MAX as u128) as u32
    }
}

/// This side's spinning.
pub(super) struct Spinner {
    spin: Duration,
    /// The moment at which the completion queue was first seen empty; `None` after it was not.
    idle_since: Option<Instant>,
}

impl Spinner {
    pub(super) fn new(poll: &SqPoll) -> Spinner {
        Spinner { spin: poll.spin, idle_since: None }
    }
}

impl Ring<Uring> {
    /// Makes a ring on io_uring with a polling kernel thread, for the calling thread.
    ///
    /// No method of a ring made so makes a system call while both sides are awake ([`SqPoll`]);
    /// [`Stats::calls`](crate::Stats::calls) counts those that were needed: in a
    /// [`wait`](Ring::wait) at most one to wake the poller and one to sleep. Operations may start
    /// before the next wait.
    ///
    /// # Errors
    /// [`Unavailable`] says why this machine cannot run it; a CPU that does not exist or that this
    /// process may not use is `EINVAL` of `io_uring_setup`.
    pub fn sqpoll(config: &Config, poll: &SqPoll) -> Result<Ring<Uring>, Unavailable> {
        Ring::sqpoll_with(config, Queues::new(config), poll)
    }

    /// Makes such a ring with queues of these sizes.
    ///
    /// # Errors
    /// Those of [`sqpoll`](Ring::sqpoll).
    pub fn sqpoll_with(config: &Config, queues: Queues, poll: &SqPoll) -> Result<Ring<Uring>, Unavailable> {
        Uring::ring(config, queues, Some(poll))
    }
}

impl Uring {
    /// `wait` of a polled ring: no system call, or one to wake the poller, or one to sleep (which
    /// wakes it, too); both when the poller slept and then nothing came while this side was
    /// spinning.
    pub(super) fn wait_polled(&mut self, poll: bool, timeout: Option<Duration>) -> io::Result<()> {
        let mut due = self.wake_flags() | self.overflow_flags();
        if poll || self.has_completions() {
            return if due == 0 { Ok(()) } else { self.enter(0, due, None) };
        }
        let Some(spinner) = &mut self.spinner else { return Ok(()) };
        let mut now = Instant::now();
        // What the clock cannot express never comes.
        let sleep_at = spinner.idle_since.get_or_insert(now).checked_add(spinner.spin);
        let until = timeout.and_then(|timeout| now.checked_add(timeout));
        let has_come = |at: Option<Instant>, now| at.is_some_and(|at| now >= at);
        // Else the call that sleeps does it.
        if due != 0 && (has_come(until, now) || !has_come(sleep_at, now)) {
            self.enter(0, due, None)?;
            due = 0;
        }
        while !has_come(sleep_at, now) {
            if has_come(until, now) {
                return Ok(());
            }
            for _ in 0..LOOKS {
                if self.has_completions() {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
            now = Instant::now();
        }
        if !has_come(until, now) {
            let timeout = until.map(|until| until.saturating_duration_since(now));
            self.enter(1, due | ENTER_GETEVENTS, timeout)?;
        }
        // For its side effect: what the sleep ended with begins a new time of spinning.
        let _ = self.has_completions();
        Ok(())
    }

    /// Waits until the poller has taken something out of a full submission queue.
    pub(super) fn wait_for_room(&mut self) -> io::Result<()> {
        for _ in 0..ROOM_ATTEMPTS {
            let wake = self.wake_flags();
            self.enter(0, ENTER_SQ_WAIT | wake, None)?;
            if !self.ring.submission().is_full() {
                break;
            }
        }
        Ok(())
    }

    fn has_completions(&mut self) -> bool {
        if self.ring.completion().is_empty() {
            return false;
        }
        if let Some(spinner) = &mut self.spinner {
            spinner.idle_since = None;
        }
        true
    }

    /// SQ_WAKEUP when entries wait for a poller that sleeps.
    fn wake_flags(&mut self) -> u32 {
        let queue = self.ring.submission();
        // The poller sets the flag, then (a full barrier) looks at the queue once more before it
        // sleeps. Here the tail was stored by the push, and `need_wakeup` has the matching fence
        // before it reads the flag: either it sees the entry, or this sees the flag. An empty queue
        // needs no poller: completions wake it by themselves.
        if queue.need_wakeup() && !queue.is_empty() { ENTER_SQ_WAKEUP } else { 0 }
    }

    /// GETEVENTS when completions wait outside a completion queue that was full: the kernel brings
    /// them in during a call only, and until then puts every new one behind them.
    fn overflow_flags(&mut self) -> u32 {
        if self.ring.submission().cq_overflow() { ENTER_GETEVENTS } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pollers_idle_time_is_in_milliseconds_and_never_the_kernels_default() {
        let idle = |idle| SqPoll { spin: Duration::ZERO, idle, cpu: None }.idle_ms();
        assert_eq!(idle(Duration::ZERO), 1);
        assert_eq!(idle(Duration::from_micros(1001)), 2);
        assert_eq!(idle(Duration::from_secs(10)), 10_000);
        assert_eq!(idle(Duration::MAX), 2_147_483_647);
    }
}
