//! Entries and registrations that the engine does not make: for `crate::attacks`.

use std::io;
use std::time::Duration;

use io_uring::{opcode, squeue};
use rustix::io::Errno;

use super::{ENTER_GETEVENTS, Uring};
use crate::engine::{Completion, Sealed};

/// A number that no operation of the table has.
const NO_OPERATION: u64 = u64::MAX - 1;
const PATIENCE: Duration = Duration::from_secs(10);

impl Uring {
    /// Has the kernel do what the entry says, and waits for it; `None` if it does not end.
    pub(crate) fn attempt(&mut self, entry: [u8; 64]) -> Option<Completion> {
        // SAFETY: an entry is `repr(C)` around the 64-byte `io_uring_sqe`; any bytes make one,
        // which the kernel checks.
        let entry: squeue::Entry = unsafe { std::mem::transmute(entry) };
        debug_assert_eq!(size_of_val(&entry), size_of_val(&opcode::Nop::new().build()));
        self.push(&entry.user_data(NO_OPERATION)).ok()?;
        let waited = if self.spinner.is_some() {
            self.wait_polled(false, Some(PATIENCE))
        } else {
            self.enter(1, ENTER_GETEVENTS, Some(PATIENCE))
        };
        waited.ok()?;
        self.next()
    }

    /// Makes a registration without arguments.
    pub(crate) fn attempt_registration(&self, code: u32) -> Result<u32, Errno> {
        let none = std::ptr::null::<u8>();
        // SAFETY: the kernel checks the address, which is none.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                std::os::fd::AsRawFd::as_raw_fd(&self.ring),
                code,
                none,
                0,
            )
        };
        u32::try_from(done)
            .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
    }
}
