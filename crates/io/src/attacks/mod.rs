//! Attempts of code that has taken over a process, by system call and by ring: for tests of a
//! sandbox, which has to refuse them. Compiled with the feature `attacks` only, which no program
//! has that is shipped.
//!
//! Each attempt undoes what it has achieved, but for the last, the change of the user.

mod calls;
mod ring;

use std::ffi::CStr;
use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::process::Pid;

/// What is attacked.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// Files that can be read without a sandbox.
    pub files: &'t [&'t CStr],
    /// A path at which a file can be made.
    pub new_file: &'t CStr,
    /// A listener.
    pub listener: SocketAddrV4,
    /// TCP sockets that were made before, as code may find them in a process: two to connect, one
    /// to bind, two to connect as they send.
    pub sockets: [BorrowedFd<'t>; 5],
    /// Listeners that may be spoilt, one by system call and one by ring.
    pub spoilt: [BorrowedFd<'t>; 2],
    /// A listener that is connected to through the second of those.
    pub reached: SocketAddrV4,
    /// A child process, stopped or asleep.
    pub process: Pid,
    /// A user that this process can become.
    pub user: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The kernel's name of the call or operation, and of what it is for where that is not all.
    pub name: String,
    /// Its outcome.
    pub result: Result<(), Errno>,
}

fn attempt(name: impl Into<String>, result: Result<u32, Errno>) -> Attempt {
    Attempt { name: name.into(), result: result.map(drop) }
}

/// Returns `struct msghdr` for that run of bytes, to that address.
fn message(vector: &libc::iovec, to: usize, to_len: usize) -> libc::msghdr {
    // SAFETY: zeros are a value of each of its fields.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = to as *mut libc::c_void;
    message.msg_namelen = to_len as libc::socklen_t;
    message.msg_iov = std::ptr::from_ref(vector).cast_mut();
    message.msg_iovlen = 1;
    message
}

/// Tries by system call. Each attempt is refused by a seccomp filter that allows what a server
/// needs.
pub fn by_calls(target: &Target<'_>) -> Vec<Attempt> {
    calls::all(target)
}
