//! The system calls of the process that speaks with certificate authorities.
//!
//! It resolves names, connects out, and writes files into one folder. It accepts nothing, starts
//! nothing and serves nothing.

use super::calls::{ABORT, ALLOCATOR, CLONE_THREAD, Lists, MSG_FASTOPEN, Only, PROT_EXEC, Row, only, row};

/// What seccomp holds it to.
pub(super) static LISTS: Lists = Lists { allowed: CALLS, absent: ABSENT };

/// `AF_INET` and `AF_INET6`, and those that are absent.
const FAMILIES: &[u64] = &[2, 10, AF_UNIX, AF_NETLINK];
/// Landlock bounds paths of sockets only since ABI 10, and root's may lead to daemons that do
/// everything.
const AF_UNIX: u64 = 1;
const AF_NETLINK: u64 = 16;
/// `F_GETFD`, `F_SETFD`, `F_GETFL`, `F_SETFL`, `F_DUPFD_CLOEXEC`.
const DESCRIPTORS: &[u64] = &[1, 2, 3, 4, 1030];
/// `TCGETS`, `TCGETS2`, `FIONBIO` and `FIONREAD`, on x86-64 and AArch64.
const IOCTLS: &[u64] = &[0x5401, 0x802c_542a, 0x5421, 0x541b];
/// `PR_SET_NAME`, `PR_GET_NAME` and `PR_SET_VMA`.
const NAMES: &[u64] = &[15, 16, 0x5356_4d41];

/// Calls of libc's resolver that it can do without: it then asks for addresses of both families,
/// and loads none of its modules.
static ABSENT: &[Row] = &[
    row("clone3", "a filter cannot read its flags: libc falls back to clone"),
    row("bind", "the resolver asks the kernel for its own addresses"),
    only("socket", Only::One(0, &[AF_UNIX, AF_NETLINK]), "the same; and daemons that know names"),
    only("mmap", Only::With(2, PROT_EXEC), "modules of the resolver"),
];

static CALLS: &[Row] = &[
    // Connections to authorities, and to resolvers.
    only("socket", Only::One(0, FAMILIES), "connections, and the resolver"),
    row("connect", "the same; Landlock bounds the ports of TCP"),
    row("getsockname", "the resolver puts addresses in order"),
    row("getpeername", "the address of a connection"),
    row("getsockopt", "what became of a connection that began"),
    row("setsockopt", "limits of time"),
    row("recvfrom", "answers"),
    row("recvmsg", "the supervisor"),
    only("sendto", Only::Without(3, MSG_FASTOPEN), "requests; the supervisor"),
    only("sendmsg", Only::Without(2, MSG_FASTOPEN), "questions to the supervisor"),
    row("sendmmsg", "the resolver asks for both families at once"),
    row("shutdown", "the end of a connection"),
    row("poll", "the resolver waits"),
    row("ppoll", "connections begin"),
    // What it keeps, and files of the system that say how names are resolved, bounded by Landlock.
    row("openat", "files"),
    row("read", "files"),
    row("pread64", "files"),
    row("write", "files, standard error"),
    row("writev", "the last words of libc").unseen("only when libc finds its heap broken"),
    row("pwritev2", "standard error that is a pipe or a socket").unseen("only where it is one of them"),
    row("lseek", "files"),
    row("close", "everything that was opened or passed"),
    row("fsync", "files and folders are on disk"),
    row("fdatasync", "the same"),
    row("ftruncate", "files"),
    row("fchmod", "permissions of files"),
    row("flock", "one writer"),
    row("rename", "a file takes another's place"),
    row("renameat", "the same"),
    row("renameat2", "the same"),
    row("mkdirat", "folders"),
    row("linkat", "a file gets its name"),
    row("unlinkat", "files that are left over"),
    row("stat", "the resolver looks whether its configuration is another"),
    row("fstat", "the facts about an open file"),
    row("newfstatat", "the facts about a name"),
    row("statx", "the same"),
    row("fstatfs", "the kind of a file system"),
    row("readlink", "where a link leads"),
    row("readlinkat", "the same"),
    row("access", "the resolver looks for a daemon"),
    row("faccessat", "the same"),
    row("faccessat2", "the same"),
    row("getdents64", "the names in a folder"),
    row("getcwd", "paths in messages"),
    only("fcntl", Only::One(1, DESCRIPTORS), "duplicates of descriptors, their flags"),
    only("ioctl", Only::One(1, IOCTLS), "sockets that do not block; whether a stream is a terminal"),
    row("uname", "the resolver's name of this machine"),
    row("sysinfo", "memory, for sorting"),
    // Threads.
    only("clone", Only::With(0, CLONE_THREAD), "threads; never processes"),
    row("set_robust_list", "a thread begins"),
    row("rseq", "a thread begins"),
    row("sigaltstack", "a thread's stack for signals"),
    row("sched_getaffinity", "libc asks for the cores of a thread that begins"),
    row("sched_yield", "locks that wait a moment"),
    row("futex", "locks, channels, ends of threads"),
    only("prctl", Only::One(0, NAMES), "names of threads and of memory"),
    row("gettid", "a thread asks for its number"),
    row("getpid", "abort, and the resolver's numbers"),
    row("getuid", "libc"),
    row("geteuid", "whose a file is"),
    row("getgid", "libc"),
    row("getegid", "libc"),
    row("exit", "a thread ends"),
    row("exit_group", "the process ends"),
    // Memory.
    row("mmap", "memory, files; code is absent"),
    only("mprotect", Only::Without(2, PROT_EXEC), "memory of the allocator; never code"),
    row("munmap", "memory that is given back"),
    row("mremap", "memory that grows").unseen(ALLOCATOR),
    row("madvise", "memory that is given back"),
    row("brk", "the allocator").unseen(ALLOCATOR),
    // Time and chance.
    row("clock_gettime", "the time"),
    row("gettimeofday", "the time"),
    row("time", "the time"),
    row("clock_nanosleep", "pauses"),
    row("restart_syscall", "a pause that a stop of the process interrupted"),
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
    fn what_it_gives_up_is_in_no_row() {
        for call in [
            "accept",
            "accept4",
            "bpf",
            "capset",
            "chroot",
            "execve",
            "execveat",
            "fork",
            "io_uring_enter",
            "io_uring_setup",
            "kill",
            "listen",
            "memfd_create",
            "mount",
            "pidfd_getfd",
            "pidfd_open",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
            "setresuid",
            "setuid",
            "unshare",
        ] {
            assert!(CALLS.iter().all(|row| row.call != call), "{call}");
        }
        let is_absent = |call: &str| ABSENT.iter().any(|row| row.call == call);
        assert!(is_absent("bind") && is_absent("clone3"));
    }

    #[test]
    fn each_row_names_a_call_once_and_says_why() {
        for (at, row) in CALLS.iter().enumerate() {
            assert!(!row.why.is_empty(), "{}", row.call);
            assert!(CALLS[..at].iter().all(|other| other.call != row.call), "{} twice", row.call);
        }
    }
}
