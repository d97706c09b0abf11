//! Attempts by ring: entries and registrations that no method of a ring makes.

use std::os::fd::{AsRawFd, RawFd};

use rustix::io::Errno;

use super::{Attempt, Target, attempt};
use crate::ring::Ring;
use crate::uring::Uring;

// linux/io_uring.h
const OP_SENDMSG: u8 = 9;
const OP_SHUTDOWN: u8 = 34;
const OP_OPENAT: u8 = 18;
const OP_CONNECT: u8 = 16;
const OP_OPENAT2: u8 = 28;
const OP_SOCKET: u8 = 45;
/// The last operation of Linux 6.1.
const OP_LAST: u8 = 47;
/// Registrations that a ring in use has no need of.
const REGISTRATIONS: &[(&str, u32)] = &[
    ("REGISTER_BUFFERS", 0),
    ("REGISTER_EVENTFD", 4),
    ("REGISTER_FILES_UPDATE", 6),
    ("REGISTER_PROBE", 8),
    ("REGISTER_PERSONALITY", 9),
    ("REGISTER_RESTRICTIONS", 11),
    ("REGISTER_IOWQ_MAX_WORKERS", 19),
    ("REGISTER_SYNC_CANCEL", 24),
];

impl Ring<Uring> {
    /// Tries operations with arguments that work without restrictions, on a ring that has nothing
    /// in flight.
    pub fn attempts(&mut self, target: &Target<'_>) -> Vec<Attempt> {
        let mut all = Vec::new();
        let cwd = libc::AT_FDCWD;
        // `struct open_how`: for reading.
        let how = [libc::O_CLOEXEC as u64, 0, 0];
        for file in target.files {
            let (path, shown) = (file.as_ptr() as u64, file.to_string_lossy());
            let opened = self.attempt(entry(OP_OPENAT, cwd, path, 0, 0, libc::O_CLOEXEC as u32));
            all.push(attempt(format!("OPENAT {shown}"), opened.inspect(|fd| close(*fd))));
            let (len, how) = (size_of_val(&how) as u32, how.as_ptr() as u64);
            let opened = self.attempt(entry(OP_OPENAT2, cwd, path, how, len, 0));
            all.push(attempt(format!("OPENAT2 {shown}"), opened.inspect(|fd| close(*fd))));
        }
        let (family, stream) = (libc::AF_INET, libc::SOCK_STREAM as u64);
        let made = self.attempt(entry(OP_SOCKET, family, 0, stream, 0, 0));
        all.push(attempt("SOCKET", made.inspect(|fd| close(*fd))));
        let (to, len) = crate::udp::sockaddr(target.listener.into());
        let (socket, to) = (target.sockets[0].as_raw_fd(), to.as_ptr() as u64);
        all.push(attempt("CONNECT", self.attempt(entry(OP_CONNECT, socket, to, len as u64, 0, 0))));
        all
    }

    /// Makes a listener a socket that can connect, and connects it as it sends: with operations
    /// that a server needs. Returns the outcomes of both.
    pub fn attempt_fast_open(&mut self, target: &Target<'_>) -> [Attempt; 2] {
        let listener = target.spoilt[1].as_raw_fd();
        let shut = self.attempt(entry(OP_SHUTDOWN, listener, 0, 0, libc::SHUT_RDWR as u32, 0));
        let (to, len) = crate::udp::sockaddr(target.reached.into());
        let byte = [b'x'];
        let vector = libc::iovec { iov_base: byte.as_ptr() as *mut libc::c_void, iov_len: 1 };
        let message = super::message(&vector, to.as_ptr() as usize, len);
        let (message, flags) = (&raw const message as u64, libc::MSG_FASTOPEN as u32);
        let sent = self.attempt(entry(OP_SENDMSG, listener, message, 0, 1, flags));
        [attempt("SHUTDOWN of a listener", shut), attempt("SENDMSG with MSG_FASTOPEN", sent)]
    }

    /// Tries every operation that the engine does not use, without arguments.
    pub fn attempt_each_operation(&mut self) -> Vec<Attempt> {
        let others =
            (0..=OP_LAST).filter(|code| crate::uring::OPERATIONS.iter().all(|(_, used)| used != code));
        others.map(|code| attempt(code.to_string(), self.attempt(entry(code, -1, 0, 0, 0, 0)))).collect()
    }

    /// Tries registrations that the engine does not make.
    pub fn attempt_registrations(&mut self) -> Vec<Attempt> {
        let number = |code| self.engine().attempt_registration(code);
        REGISTRATIONS.iter().map(|(name, code)| attempt(*name, number(*code))).collect()
    }

    /// Has the kernel do an operation, and the ring look at its completion, which is one of no
    /// operation that it has asked for.
    fn attempt(&mut self, entry: [u8; 64]) -> Result<u32, Errno> {
        let Some(completion) = self.engine_mut().attempt(entry) else { return Err(Errno::TIMEDOUT) };
        let result = completion.result;
        self.look_at(completion);
        u32::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
    }
}

/// Returns `struct io_uring_sqe` with these fields.
fn entry(opcode: u8, fd: RawFd, addr: u64, off: u64, len: u32, flags: u32) -> [u8; 64] {
    let mut entry = [0; 64];
    entry[0] = opcode;
    entry[4..8].copy_from_slice(&fd.to_ne_bytes());
    entry[8..16].copy_from_slice(&off.to_ne_bytes());
    entry[16..24].copy_from_slice(&addr.to_ne_bytes());
    entry[24..28].copy_from_slice(&len.to_ne_bytes());
    entry[28..32].copy_from_slice(&flags.to_ne_bytes());
    entry
}

fn close(fd: u32) {
    if let Ok(fd) = RawFd::try_from(fd) {
        // SAFETY: a descriptor that an attempt here has made and that nothing else knows of.
        let _ = unsafe { libc::close(fd) };
    }
}
