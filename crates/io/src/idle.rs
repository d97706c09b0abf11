//! Low priorities of threads.

use std::os::raw::c_long;

/// Gives the calling thread, and those that it makes from here on, the least share of the processor
/// (nice(2)), and the disk when no other wants it (`ioprio_set(2)`, idle class). What the kernel
/// refuses stays as it is.
pub fn run_last() {
    /// `IOPRIO_WHO_PROCESS`, of the calling thread.
    const WHO: c_long = 1;
    /// `IOPRIO_CLASS_IDLE`, in the upper bits.
    const IDLE: c_long = 3 << 13;
    // SAFETY: no pointer is passed.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    // SAFETY: no pointer is passed.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO, 0, IDLE) };
}

/// Gives the calling thread, and those that it makes from here on, the processor only when no other
/// wants it: the class `SCHED_IDLE` of sched(7). What the kernel refuses stays as it is.
pub fn run_when_idle() {
    let nothing = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one `sched_param`, which lives until the call has returned.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const nothing) };
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg_attr(miri, ignore = "there is no scheduler")]
    fn a_thread_becomes_the_last_in_the_queue() {
        let changes = || {
            super::run_last();
            // SAFETY: no pointer is passed.
            assert_eq!(unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }, 19);
            super::run_when_idle();
            // SAFETY: no pointer is passed.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_IDLE);
        };
        std::thread::spawn(changes).join().unwrap();
    }
}
