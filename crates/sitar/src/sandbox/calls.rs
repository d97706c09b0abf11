//! The system calls of a worker that serves: the list that seccomp holds it to.
//!
//! Each row says what needs it. What starts a program, reaches for the network or another process,
//! makes a ring or changes a user is in none of them. Calls that name files are here, since sites
//! that are folders need them. Landlock bounds what they open and list, and does not see those that
//! ask about a name (stat, readlink, statfs, inotify_add_watch).

/// A system call that is allowed.
#[derive(Debug)]
pub struct Row {
    /// The kernel's name. Architectures lack some of the older ones.
    pub call: &'static str,
    pub(super) only: Only,
    /// What needs it.
    pub why: &'static str,
    /// Why a test that traces workers cannot count on seeing it. It sees each other row.
    pub unseen: Option<&'static str>,
}

impl Row {
    pub(super) const fn unseen(self, because: &'static str) -> Row {
        Row { unseen: Some(because), ..self }
    }
}

/// What a process may call.
#[derive(Debug)]
pub(super) struct Lists {
    /// Everything else is counted and refused.
    pub(super) allowed: &'static [Row],
    /// Of these, calls that libc does without: they end as if this kernel had none of them, and are
    /// not counted.
    pub(super) absent: &'static [Row],
}

/// The lists of a worker and of a packer.
pub(super) static LISTS: Lists = Lists { allowed: CALLS, absent: ABSENT };

/// A filter cannot read the flags of clone3, which lie in memory: libc falls back to clone.
static ABSENT: &[Row] = &[row("clone3", "threads")];

/// The arguments with which a call is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    Always,
    /// The argument at that place, of 32 bits, is one of these.
    One(u8, &'static [u64]),
    /// The argument at that place has one of these bits.
    With(u8, u64),
    /// The argument at that place has none of these bits.
    Without(u8, u64),
    /// The first argument is this process.
    Itself,
    /// The second argument is one of the registrations that a ring in use makes.
    RingInUse,
}

pub(super) const fn row(call: &'static str, why: &'static str) -> Row {
    Row { call, only: Only::Always, why, unseen: None }
}

pub(super) const fn only(call: &'static str, only: Only, why: &'static str) -> Row {
    Row { call, only, why, unseen: None }
}

pub(super) const CLONE_THREAD: u64 = 0x0001_0000;
pub(super) const PROT_EXEC: u64 = 4;
/// `TCGETS`, `TCGETS2` and `FIONBIO`, on x86-64 and AArch64.
const IOCTLS: &[u64] = &[0x5401, 0x802c_542a, 0x5421];
/// `SHUT_WR`. The end of receiving would make a listener a socket that can connect.
const SENDING: &[u64] = &[1];
/// Connects, past Landlock and the want of a row for connect.
pub(super) const MSG_FASTOPEN: u64 = 0x2000_0000;
/// `F_GETFD`, `F_SETFD`, `F_GETFL` and `F_DUPFD_CLOEXEC`. Others send signals or take leases.
const DUPLICATES: &[u64] = &[1, 2, 3, 1030];
/// `PR_SET_NAME`, `PR_GET_NAME` and `PR_SET_VMA`.
const NAMES: &[u64] = &[15, 16, 0x5356_4d41];

/// Reasons for which a row is not seen.
pub(super) const ABORT: &str = "only when the process aborts";
const SHARD: &str = "only when a shard that has panicked is made again";
pub(super) const ALLOCATOR: &str = "only when the allocator finds it better than another";

/// The list.
pub static CALLS: &[Row] = &[
    // Input and output.
    row("io_uring_enter", "the ring: everything that happens on connections"),
    only(
        "io_uring_register",
        Only::RingInUse,
        "a ring that ends gives back files, buffers and its descriptor",
    ),
    row("epoll_pwait", "the epoll engine waits"),
    row("epoll_pwait2", "the same for very long").unseen("only for waits of more than 24 days"),
    row("epoll_ctl", "the epoll engine's list of sockets"),
    row("epoll_create1", "a shard that is made again on epoll").unseen(SHARD),
    row("eventfd2", "wakers of threads"),
    row("accept4", "the epoll engine accepts; routers that pass connections"),
    row("recvfrom", "the epoll engine receives; signals arrive over a socket pair"),
    row(
        "recvmsg",
        "the epoll engine receives datagrams; descriptors arrive from the supervisor and from routers",
    ),
    only("sendto", Only::Without(3, MSG_FASTOPEN), "the epoll engine sends; signals are passed on"),
    only(
        "sendmsg",
        Only::Without(2, MSG_FASTOPEN),
        "the epoll engine sends several runs of bytes; questions to the supervisor",
    ),
    only("shutdown", Only::One(1, SENDING), "the epoll engine ends sending"),
    row("getsockopt", "the family of a listener; the kind of a socket; errors and queues"),
    row("getpeername", "the epoll engine asks who is there; who is behind a passed connection"),
    row("read", "files, wakers, events of watched folders"),
    row("pread64", "files at an offset"),
    row("preadv2", "the epoll engine reads what is in memory already"),
    row("lseek", "a panic's backtrace reads the map of its process").unseen("only with RUST_BACKTRACE"),
    row("write", "standard error, wakers"),
    row("pwritev2", "standard error that is a pipe or a socket").unseen("only where it is one of them"),
    row("writev", "the last words of libc").unseen("only when libc finds its heap broken"),
    row("close", "everything that was opened or passed"),
    only("fcntl", Only::One(1, DUPLICATES), "duplicates of descriptors, their flags"),
    only(
        "ioctl",
        Only::One(1, IOCTLS),
        "whether a stream is a terminal; sockets and files that do not block",
    ),
    row("ppoll", "the watcher, the commands and the thread for passed connections wait"),
    // Files of sites that are folders, bounded by Landlock.
    row("openat", "folders, one name at a time, and mountinfo"),
    row("openat2", "files below a folder"),
    row("fstat", "the facts about an open file"),
    row("newfstatat", "the facts about a name"),
    row("statx", "the same with its birth"),
    row("fstatfs", "the kind of a file system, for watching"),
    row("readlink", "links that lead to a site"),
    row("readlinkat", "links in a folder"),
    row("faccessat", "whether a folder that was passed may be read"),
    row("faccessat2", "libc looks at a folder whose path goes on with `..`")
        .unseen("only for sites whose path has `..`"),
    row("getdents64", "the names in a folder"),
    row("getcwd", "sites that were named relative to it"),
    row("inotify_init1", "a watcher that begins again"),
    row("inotify_add_watch", "folders that are new"),
    row("inotify_rm_watch", "folders that are gone"),
    // Threads.
    only("clone", Only::With(0, CLONE_THREAD), "threads; never processes"),
    row("set_robust_list", "a thread begins"),
    row("rseq", "a thread begins"),
    row("sigaltstack", "a thread's stack for signals"),
    row("sched_getaffinity", "the cores of this process; libc asks for those of a thread that begins"),
    row("sched_yield", "locks that wait a moment").unseen("only when threads meet at the same time"),
    row("futex", "locks, channels, ends of threads"),
    only("prctl", Only::One(0, NAMES), "names of threads and of memory"),
    row("gettid", "a thread asks for its number"),
    row("getpid", "abort").unseen(ABORT),
    row("exit", "a thread ends"),
    row("exit_group", "the process ends"),
    // Memory.
    only("mmap", Only::Without(2, PROT_EXEC), "memory and stacks; never code"),
    only("mprotect", Only::Without(2, PROT_EXEC), "memory of the allocator; never code"),
    row("munmap", "memory that is given back"),
    row("mremap", "memory that grows").unseen(ALLOCATOR),
    row("madvise", "memory that is given back"),
    row("brk", "the allocator").unseen(ALLOCATOR),
    // Time and chance.
    row("clock_gettime", "the time").unseen("only where the kernel's page cannot tell it"),
    row("clock_nanosleep", "pauses"),
    row("restart_syscall", "a pause that a stop of the process interrupted")
        .unseen("only when a process is stopped in a pause"),
    row("getrandom", "keys, tickets and tables"),
    // Signals, and ends.
    row("rt_sigreturn", "a signal was handled"),
    row("rt_sigaction", "abort puts the default back").unseen(ABORT),
    row("rt_sigprocmask", "a thread begins or ends; abort"),
    only("tgkill", Only::Itself, "abort").unseen(ABORT),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_names_a_call_once_and_says_why() {
        for (at, row) in CALLS.iter().enumerate() {
            assert!(!row.why.is_empty(), "{}", row.call);
            assert!(CALLS[..at].iter().all(|other| other.call != row.call), "{} twice", row.call);
            // Older calls that AArch64 never had.
            let old = ["readlink"].contains(&row.call);
            let number = sitar_io::refused::call_number(row.call);
            assert!(number.is_some() || old && cfg!(target_arch = "aarch64"), "{}", row.call);
        }
    }

    #[test]
    fn what_a_worker_gives_up_is_in_no_row() {
        for call in [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "clone3",
            "socket",
            "connect",
            "bind",
            "listen",
            "io_uring_setup",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_open",
            "pidfd_getfd",
            "bpf",
            "setuid",
            "setresuid",
            "setgroups",
            "capset",
            "mount",
            "unshare",
            "setns",
            "chroot",
            "unlinkat",
            "renameat2",
            "mkdirat",
            "ftruncate",
            "memfd_create",
            "setsockopt",
            "prlimit64",
            "keyctl",
            "seccomp",
        ] {
            assert!(
                sitar_io::refused::call_number(call).is_some() || cfg!(target_arch = "aarch64"),
                "{call}"
            );
            assert!(CALLS.iter().all(|row| row.call != call), "{call}");
        }
    }
}
