//! Attempts by system call, past libc and std.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use libc::c_long;
use rustix::io::Errno;

use super::{Attempt, Target, attempt};

/// An address at which nothing is mapped.
const NOWHERE: usize = 1;

/// Makes a system call.
///
/// # Safety
/// As for the call itself: what the arguments point to has to be there, or to be no address at all.
unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<u32, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's obligation.
    let done = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match u32::try_from(done) {
        Ok(done) => Ok(done),
        Err(_) => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
    }
}

fn close(fd: u32) {
    // SAFETY: a descriptor that an attempt here has made and that nothing else knows of.
    let _ = unsafe { call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

pub(super) fn all(target: &Target<'_>) -> Vec<Attempt> {
    let mut all = Vec::new();
    for file in target.files {
        let opened = open(file, libc::O_RDONLY);
        all.push(attempt(format!("openat {}", file.to_string_lossy()), opened));
    }
    let made = open(target.new_file, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL);
    if made.is_ok() {
        let path = target.new_file.as_ptr() as usize;
        // SAFETY: the path ends with a zero and lives for the call.
        let _ = unsafe { call(libc::SYS_unlinkat, [libc::AT_FDCWD as usize, path, 0, 0, 0, 0]) };
    }
    all.push(attempt("openat to write", made));
    network(target, &mut all);
    listeners(target, &mut all);
    programs(&mut all);
    processes(target, &mut all);
    all.push(ring());
    let user = target.user as usize;
    // SAFETY: numbers only.
    let changed = unsafe { call(libc::SYS_setresuid, [user, user, user, 0, 0, 0]) };
    all.push(attempt("setresuid", changed));
    all
}

fn open(path: &CStr, flags: libc::c_int) -> Result<u32, Errno> {
    let flags = (flags | libc::O_CLOEXEC) as usize;
    let path = path.as_ptr() as usize;
    // SAFETY: the path ends with a zero and lives for the call.
    unsafe { call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags, 0o600, 0, 0]) }
        .inspect(|fd| close(*fd))
}

fn network(target: &Target<'_>, all: &mut Vec<Attempt>) {
    let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as usize;
    // SAFETY: numbers only.
    let made = unsafe { call(libc::SYS_socket, [libc::AF_INET as usize, kind, 0, 0, 0, 0]) };
    all.push(attempt("socket", made.inspect(|fd| close(*fd))));
    let (to, len) = crate::udp::sockaddr(target.listener.into());
    let (any, _) = crate::udp::sockaddr(std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 0).into());
    let mut named = |name, number, socket: RawFd, address: &[u8]| {
        // SAFETY: the address lives for the call, and is as long as it says.
        let done = unsafe { call(number, [socket as usize, address.as_ptr() as usize, len, 0, 0, 0]) };
        all.push(attempt(name, done));
    };
    named("connect", libc::SYS_connect, target.sockets[1].as_raw_fd(), &to);
    named("bind", libc::SYS_bind, target.sockets[2].as_raw_fd(), &any);
}

/// Spoils a listener, and connects without connect(2).
fn listeners(target: &Target<'_>, all: &mut Vec<Attempt>) {
    let (to, to_len) = crate::udp::sockaddr(target.listener.into());
    let (to, fast_open) = (to.as_ptr() as usize, libc::MSG_FASTOPEN as usize);
    let byte = [b'x'];
    let socket = target.sockets[3].as_raw_fd() as usize;
    let arguments = [socket, byte.as_ptr() as usize, 1, fast_open, to, to_len];
    // SAFETY: the byte and the address live for the call, and are as long as they say.
    all.push(attempt("sendto with MSG_FASTOPEN", unsafe { call(libc::SYS_sendto, arguments) }));
    let vector = libc::iovec { iov_base: byte.as_ptr() as *mut libc::c_void, iov_len: 1 };
    let message = super::message(&vector, to, to_len);
    let (socket, message) = (target.sockets[4].as_raw_fd() as usize, &raw const message as usize);
    // SAFETY: the message and what it points to live for the call.
    let sent = unsafe { call(libc::SYS_sendmsg, [socket, message, fast_open, 0, 0, 0]) };
    all.push(attempt("sendmsg with MSG_FASTOPEN", sent));
    let (listener, on) = (target.spoilt[0].as_raw_fd() as usize, 1_i32);
    let option = [libc::SOL_SOCKET as usize, libc::SO_LOCK_FILTER as usize];
    let arguments = [listener, option[0], option[1], &raw const on as usize, size_of_val(&on), 0];
    // SAFETY: the value lives for the call, and is as long as it says.
    all.push(attempt("setsockopt SO_LOCK_FILTER", unsafe { call(libc::SYS_setsockopt, arguments) }));
    let process = target.process.as_raw_nonzero().get() as usize;
    // SAFETY: numbers only.
    let owned = unsafe { call(libc::SYS_fcntl, [listener, libc::F_SETOWN as usize, process, 0, 0, 0]) };
    all.push(attempt("fcntl F_SETOWN", owned));
    // SAFETY: numbers only.
    let shut = unsafe { call(libc::SYS_shutdown, [listener, libc::SHUT_RDWR as usize, 0, 0, 0, 0]) };
    all.push(attempt("shutdown of a listener", shut));
}

fn programs(all: &mut Vec<Attempt>) {
    // The list of arguments is nowhere, so that this process goes on: EFAULT, after the kernel has
    // opened the program.
    let program = c"/proc/self/exe".as_ptr() as usize;
    // SAFETY: the path lives for the call; the other address is none, which the kernel finds out.
    let started = unsafe { call(libc::SYS_execve, [program, NOWHERE, 0, 0, 0, 0]) };
    all.push(attempt("execve", started));
    // SAFETY: a process without shared memory, as by fork(2). The child leaves at once, without
    // running anything of this program.
    let child = unsafe { call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]) };
    if child == Ok(0) {
        // SAFETY: it ends the child, and runs no code of this program.
        unsafe { libc::_exit(0) };
    }
    all.push(attempt("clone of a process", child));
    let (code, private) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping touches no memory that exists.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, code, private, -1, 0) };
    let result = if mapped == libc::MAP_FAILED {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
    } else {
        // SAFETY: the mapping that was made just now, which nothing uses.
        let _ = unsafe { libc::munmap(mapped, 4096) };
        Ok(0)
    };
    all.push(attempt("mmap of code", result));
}

fn processes(target: &Target<'_>, all: &mut Vec<Attempt>) {
    let process = target.process.as_raw_nonzero().get() as usize;
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: NOWHERE as *mut libc::c_void, iov_len: 1 };
    let (local, remote) = (&raw const local as usize, &raw const remote as usize);
    // SAFETY: one byte here, which lives for the call; the address in the other process is none,
    // which the kernel finds out once it has got hold of that process: EFAULT.
    let read = unsafe { call(libc::SYS_process_vm_readv, [process, local, 1, remote, 1, 0]) };
    all.push(attempt("process_vm_readv", read));
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let limit = &raw mut limits as usize;
    // SAFETY: numbers only.
    let opened = unsafe { call(libc::SYS_pidfd_open, [process, 0, 0, 0, 0, 0]) };
    let taken = opened.and_then(|pidfd| {
        // SAFETY: numbers only.
        let taken = unsafe { call(libc::SYS_pidfd_getfd, [pidfd as usize, 0, 0, 0, 0, 0]) };
        close(pidfd);
        taken.inspect(|fd| close(*fd))
    });
    all.push(attempt("pidfd_getfd", taken));
    // SAFETY: no signal is sent: it is asked whether one could be.
    let signalled = unsafe { call(libc::SYS_kill, [process, 0, 0, 0, 0, 0]) };
    all.push(attempt("kill", signalled));
    // SAFETY: the limit lives for the call.
    let asked = unsafe { call(libc::SYS_prlimit64, [process, libc::RLIMIT_CPU as usize, 0, limit, 0, 0]) };
    all.push(attempt("prlimit64 of another", asked));
    // Its own limit, as it is. The change is refused whatever it is.
    let core = libc::RLIMIT_CORE as usize;
    // SAFETY: the limit lives for the calls.
    let _ = unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limits) };
    // SAFETY: as above.
    let changed = unsafe { call(libc::SYS_prlimit64, [0, core, limit, 0, 0, 0]) };
    all.push(attempt("prlimit64 to change", changed));
    let cores = [u64::MAX; 16];
    let (len, cores) = (size_of_val(&cores), cores.as_ptr() as usize);
    // SAFETY: the set lives for the call, and is as long as it says.
    let bound = unsafe { call(libc::SYS_sched_setaffinity, [process, len, cores, 0, 0, 0]) };
    all.push(attempt("sched_setaffinity of another", bound));
    // SAFETY: numbers only; the process is let go when this one ends.
    let seized = unsafe { call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, process, 0, 0, 0, 0]) };
    all.push(attempt("ptrace", seized));
}

fn ring() -> Attempt {
    // `struct io_uring_params`, which is 120 bytes.
    let mut parameters = [0_u64; 15];
    let address = parameters.as_mut_ptr() as usize;
    // SAFETY: the kernel reads and writes the parameters during the call only.
    let made = unsafe { call(libc::SYS_io_uring_setup, [2, address, 0, 0, 0, 0]) };
    attempt("io_uring_setup", made.inspect(|fd| close(*fd)))
}
