//! The same from within the sandbox of the process that orders certificates: an authority may have
//! taken it over.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use serde_json::{Value, json};
use sitar::sandbox::{self, Policy, Reach};
use sitar_io::attacks::{self, Target};

use super::{EACCES, EPERM, Told, attack, landlock, told};
use crate::common::skip;

// Linux, include/uapi/asm-generic/errno.h.
const ENOSYS: i64 = 38;

/// What it tries, and what becomes of that.
const EXPECTED: &[(&str, i64)] = &[
    ("openat /etc/passwd", EACCES),
    ("openat DIR/key.pem", EACCES),
    ("openat to write", EACCES),
    // It connects to authorities.
    ("socket", 0),
    ("connect", EACCES),
    ("bind", ENOSYS),
    ("sendto with MSG_FASTOPEN", EPERM),
    ("sendmsg with MSG_FASTOPEN", EPERM),
    ("setsockopt SO_LOCK_FILTER", 0),
    ("fcntl F_SETOWN", EPERM),
    ("shutdown of a listener", 0),
    ("execve", EPERM),
    ("clone of a process", EPERM),
    ("mmap of code", ENOSYS),
    ("process_vm_readv", EPERM),
    ("pidfd_getfd", EPERM),
    ("kill", EPERM),
    ("prlimit64 of another", EPERM),
    ("prlimit64 to change", EPERM),
    ("sched_setaffinity of another", EPERM),
    ("ptrace", EPERM),
    ("io_uring_setup", EPERM),
    ("setresuid", EPERM),
];

/// Enters the sandbox with an empty folder and one port, and tries everything.
pub(super) fn attack_from_within(target: &Target<'_>, site: &Path, folder: &Path, port: u16) -> Value {
    let state = folder.join("state");
    std::fs::create_dir(&state).unwrap();
    let opened = std::fs::File::open(&state).unwrap();
    let reach = Reach::Authorities { folder: opened.into(), ports: vec![port] };
    let socket = super::socket();
    let daemon = std::os::unix::net::UnixListener::bind(folder.join("daemon")).unwrap();
    drop(sandbox::enter(Policy::Auto, reach).unwrap());
    sandbox::seal_acme(Policy::Auto).unwrap();
    let number = |error: std::io::Error| i64::from(error.raw_os_error().unwrap_or(-1));
    let outcome = |done: std::io::Result<()>| done.err().map_or(0, number);
    let page = outcome(std::fs::read(site.join("index.html")).map(drop));
    let list = outcome(std::fs::read_dir(site).map(drop));
    let listen = rustix::net::listen(&socket, 1).err().map_or(0, |errno| i64::from(errno.raw_os_error()));
    let bind = outcome(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    let daemon_reached = outcome(UnixStream::connect(folder.join("daemon")).map(drop));
    let allowed = outcome(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop));
    let resolved = outcome(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(drop));
    let own = std::fs::write(state.join("new"), "text")
        .and_then(|()| std::fs::rename(state.join("new"), state.join("file")))
        .and_then(|()| Ok(rustix::fs::unlinkat(CWD, state.join("file"), AtFlags::empty())?));
    let calls = attacks::by_calls(target);
    drop(daemon);
    json!({
        "calls": told(&calls, folder),
        "page": page,
        "list": list,
        "listen": listen,
        "bind": bind,
        "daemon": daemon_reached,
        "allowed": allowed,
        "resolved": resolved,
        "own": outcome(own),
        "thread": std::thread::spawn(|| 7).join().unwrap_or_default(),
    })
}

#[test]
fn the_process_that_orders_reads_no_site_and_accepts_nothing() {
    if landlock() < 4 {
        return skip("this kernel's Landlock does not bound TCP");
    }
    let Some(Told(told)) = attack("acme", "epoll") else { return };
    let told = Told(told);
    let attempts = told.attempts("calls");
    let expected: Vec<(String, i64)> =
        EXPECTED.iter().map(|(name, error)| ((*name).to_owned(), *error)).collect();
    assert_eq!(attempts, expected);
    for (what, error) in [
        ("page", EACCES),
        ("list", EACCES),
        ("listen", EPERM),
        ("bind", ENOSYS),
        ("daemon", ENOSYS),
        // What it needs.
        ("allowed", 0),
        ("resolved", 0),
        ("own", 0),
        ("thread", 7),
    ] {
        assert_eq!(told.0[what], error, "{what}: {}", told.0);
    }
}
