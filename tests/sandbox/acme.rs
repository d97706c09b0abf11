//! The same from within the sandbox of the process that orders certificates: an authority may have
//! taken it over.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use rustix::net::{AddressFamily, SendFlags, SocketType};
use serde_json::{Value, json};
use sitar::sandbox::{self, Policy, Reach};
use sitar_io::attacks::{self, Target};

use super::{EACCES, EPERM, Told, attack, landlock, told};
use crate::common::{lab, skip};

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
    let resolved = outcome("localhost:1".to_socket_addrs().map(drop));
    // It has no entry in /etc/hosts.
    let asked = match (NAME, 443).to_socket_addrs() {
        Ok(found) => json!(found.map(|one| one.to_string()).collect::<Vec<_>>()),
        Err(error) => json!(error.to_string()),
    };
    let datagram = |to: u16| outcome(send_to(to));
    let datagrams = json!({ "53": datagram(53), "5353": datagram(5353), "port": datagram(port) });
    let peer = outcome(set_peer(0));
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
        "asked": asked,
        "datagrams": datagrams,
        "peer": peer,
        "own": outcome(own),
        "thread": std::thread::spawn(|| 7).join().unwrap_or_default(),
    })
}

/// A name that a name server knows ([`names_come_from_a_name_server`]).
const NAME: &str = "authority.example";

fn datagrams() -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}

/// Sends a datagram to a port of this machine, from a port that the kernel chooses.
fn send_to(port: u16) -> std::io::Result<()> {
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    Ok(rustix::net::sendto(datagrams()?, b"?", SendFlags::empty(), &to).map(drop)?)
}

/// Gives a socket for datagrams a peer, as libc's resolver does to learn from which address this
/// machine would send. It names no port then.
fn set_peer(port: u16) -> std::io::Result<()> {
    Ok(rustix::net::connect(datagrams()?, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?)
}

#[test]
fn the_process_that_orders_sends_datagrams_to_name_servers_alone() {
    let abi = landlock();
    if abi < 10 {
        return skip(&format!("this kernel's Landlock, ABI {abi}, does not bound UDP"));
    }
    let Some(told) = attack("acme", "epoll") else { return };
    let expected = json!({ "53": 0, "5353": EACCES, "port": EACCES });
    assert_eq!(told.0["datagrams"], expected, "{}", told.0);
    assert_eq!(told.0["peer"], 0, "{}", told.0);
}

/// Names are resolved in there, whatever the kernel bounds: a name server of this test's is asked.
#[test]
fn names_come_from_a_name_server() {
    if !lab::inside_or_skip() {
        return;
    }
    // Without /etc/resolv.conf, libc asks this machine.
    assert!(!Path::new("/etc/resolv.conf").exists());
    let before = std::fs::read("/etc/nsswitch.conf").unwrap();
    std::fs::write("/etc/nsswitch.conf", "hosts: files dns\n").unwrap();
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, from)) = server.recv_from(&mut query) {
            // What the attacker sends besides is no question.
            if let Some(answer) = answer(&query[..len]) {
                server.send_to(&answer, from).unwrap();
            }
        }
    });
    let told = attack("acme", "epoll");
    std::fs::write("/etc/nsswitch.conf", before).unwrap();
    let Some(Told(told)) = told else { return };
    assert_eq!(told["asked"], json!(["192.0.2.7:443"]), "{told}");
}

/// Answers a question for an address: one of IPv4, none of IPv6 (RFC 1035 §4.1).
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(12..)?;
    let end = 12 + name.iter().position(|byte| *byte == 0)? + 1;
    let [_, kind] = query.get(end..end + 2)? else { return None };
    let is_v4 = *kind == 1;
    let mut all = query[..2].to_vec();
    // Response, recursion desired and available; a question, and an answer or none.
    all.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
    all.extend(query.get(12..end + 4)?);
    if is_v4 {
        // The name of the question, A, IN, 60 s, four bytes.
        all.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    }
    Some(all)
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
