//! Sizes of the two queues that a ring shares with the kernel, and the memory that they lock.

use super::{KERNEL_LOCKS_RINGS, parse_release};
use crate::ring::Config;

/// Submission queue entries: what one wake-up may queue before an extra system call is needed.
const SUBMISSIONS: u32 = 4096;
/// The smallest submission queue that [`Queues::within`] makes.
const SUBMISSIONS_MIN: u32 = 64;
/// The kernel's own limit (IORING_MAX_CQ_ENTRIES).
const COMPLETIONS_MAX: u32 = 65536;
/// Bytes of `struct io_uring_sqe`, `struct io_uring_cqe` and `struct io_uring_buf`.
const SUBMISSION_LEN: u64 = 64;
const COMPLETION_LEN: u64 = 16;
const BUFFER_LEN: u64 = 16;
/// Bytes of `struct io_rings` in front of the completions, at most.
const HEAD_LEN: u64 = 320;

/// Sizes of the queues of a ring on io_uring, and whether it is restricted.
///
/// The sizes that a configuration asks for hold what its operations can complete at a time. Smaller
/// queues lose nothing: the kernel keeps completions for which there is no room, and a submission
/// queue that is full is handed over at once. They cost system calls, and operations that have to
/// be begun again, when much happens at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Queues {
    submissions: u32,
    completions: u32,
    restricted: bool,
}

impl Queues {
    /// Returns the sizes that the configuration asks for.
    #[must_use]
    pub fn new(config: &Config) -> Queues {
        let completions = config.ops().saturating_mul(2).next_power_of_two();
        let completions = completions.clamp(SUBMISSIONS * 2, COMPLETIONS_MAX);
        Queues { submissions: SUBMISSIONS, completions, restricted: true }
    }

    /// Returns queues of the same sizes for a ring that the kernel does not restrict to the
    /// operations of the engine. It does so otherwise, which costs nothing and keeps code that got
    /// hold of the ring from others, such as opening, connecting and writing.
    #[must_use]
    pub fn unrestricted(self) -> Queues {
        Queues { restricted: false, ..self }
    }

    /// Returns the largest sizes with which a ring locks at most `bytes` of memory, or the smallest
    /// ones where even these lock more.
    #[must_use]
    pub fn within(config: &Config, bytes: u64) -> Queues {
        let mut queues = Queues::new(config);
        while queues.locked(config) > bytes && queues.submissions > SUBMISSIONS_MIN {
            queues.submissions /= 2;
            queues.completions /= 2;
        }
        queues
    }

    /// Returns the bytes that a ring with these queues counts against the limit on locked memory
    /// (RLIMIT_MEMLOCK) of the user that makes it: queues and the table of receive slots, each in
    /// whole pages. File tables, slots and the op table are not counted.
    ///
    /// See `io_create_region` in Linux' `io_uring/memmap.c`.
    #[must_use]
    pub fn locked(&self, config: &Config) -> u64 {
        let page = rustix::param::page_size() as u64;
        let pages = |bytes: u64| bytes.div_ceil(page) * page;
        pages(u64::from(self.submissions) * SUBMISSION_LEN)
            + pages(u64::from(self.completions) * COMPLETION_LEN + HEAD_LEN)
            + pages(u64::from(config.rx_count) * BUFFER_LEN)
    }

    /// Returns whether this kernel counts rings as locked memory, as it does since 6.14. It does
    /// not for a process with CAP_IPC_LOCK in the first user namespace.
    #[must_use]
    pub fn are_locked_here() -> bool {
        parse_release(&rustix::system::uname().release().to_string_lossy()) >= KERNEL_LOCKS_RINGS
    }

    pub(super) fn are_restricted(self) -> bool {
        self.restricted
    }

    pub(super) fn submissions(self) -> u32 {
        self.submissions
    }

    pub(super) fn completions(self) -> u32 {
        self.completions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Config =
        Config { connections: 8448, rx_count: 512, rx_len: 4096, tx_count: 512, tx_len: 68 << 10 };
    const SMALL: Config = Config { connections: 8, rx_count: 8, rx_len: 256, tx_count: 8, tx_len: 256 };

    fn sizes(submissions: u32, completions: u32) -> Queues {
        Queues { submissions, completions, restricted: true }
    }

    #[test]
    fn queues_are_as_large_as_the_budget_allows() {
        assert_eq!(Queues::new(&LARGE), sizes(4096, 65536));
        assert_eq!(Queues::new(&SMALL), sizes(4096, 8192));
        for (bytes, submissions, completions) in [
            (u64::MAX, 4096, 65536),
            (1_323_008, 4096, 65536),
            (1_323_007, 2048, 32768),
            (512 << 10, 1024, 16384),
            (64 << 10, 128, 2048),
            (0, 64, 1024),
        ] {
            assert_eq!(Queues::within(&LARGE, bytes), sizes(submissions, completions), "{bytes}");
        }
        assert_eq!(Queues::within(&SMALL, 0), sizes(64, 128));
    }

    /// Sizes in pages of 4 KiB, as in the kernel's source: 256 KiB, 1 MiB and a page, two pages.
    #[test]
    fn what_is_locked_is_known() {
        if rustix::param::page_size() != 4096 {
            return;
        }
        assert_eq!(Queues::new(&LARGE).locked(&LARGE), (64 + 257 + 2) * 4096);
        assert_eq!(Queues::within(&LARGE, 0).locked(&LARGE), (1 + 5 + 2) * 4096);
        assert_eq!(Queues::within(&SMALL, 0).locked(&SMALL), (1 + 1 + 1) * 4096);
    }
}
