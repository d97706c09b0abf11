//! What code can do with a ring that it has taken over. A program of its own: it counts what is
//! refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::ffi::CString;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use sitar_io::attacks::{Attempt, Target};
use sitar_io::{Config, Errno, Queues, Ring, SqPoll, Unavailable, Uring, refused};

const CONFIG: Config = Config { connections: 4, rx_count: 4, rx_len: 256, tx_count: 4, tx_len: 256 };
const POLL: SqPoll = SqPoll { spin: Duration::ZERO, idle: Duration::from_millis(10), cpu: None };

type Make = fn(Queues) -> Result<Ring<Uring>, Unavailable>;

const ENGINES: [(&str, Make); 2] = [
    ("uring", |queues| Ring::uring_with(&CONFIG, queues)),
    ("sqpoll", |queues| Ring::sqpoll_with(&CONFIG, queues, &POLL)),
];

fn socket() -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
}

/// Held while an attack is counted.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Tries everything on a ring. Returns the outcome, and how much more was counted.
fn attack(ring: &mut Ring<Uring>) -> (Vec<Attempt>, u64) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let counted = || refused::operations().iter().map(|(_, count)| count).sum::<u64>();
    let before = counted();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddrV4 = match listener.local_addr().unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => panic!("127.0.0.1 is IPv4"),
    };
    let sockets: [OwnedFd; 5] = std::array::from_fn(|_| socket());
    let spoilt = [socket(), socket()];
    let file = CString::new(std::env::current_exe().unwrap().into_os_string().into_encoded_bytes()).unwrap();
    let target = Target {
        files: &[&file],
        new_file: c"/nowhere",
        listener: address,
        sockets: std::array::from_fn(|at| sockets[at].as_fd()),
        spoilt: [spoilt[0].as_fd(), spoilt[1].as_fd()],
        reached: address,
        process: rustix::process::getpid(),
        user: 0,
    };
    let mut all = ring.attempts(&target);
    all.extend(ring.attempt_each_operation());
    (all, counted() - before)
}

#[test]
fn a_restricted_ring_refuses_all_that_the_engine_does_not_use() {
    for (engine, make) in ENGINES {
        let mut ring = match make(Queues::within(&CONFIG, 0)) {
            Ok(ring) => ring,
            // Where io_uring is forbidden; the tests of the engines say so.
            Err(why) => return println!("no ring: {why}"),
        };
        assert!(ring.is_restricted(), "{engine}: Linux 6.1 has restrictions");
        let (attempts, counted) = attack(&mut ring);
        let (listed, others): (Vec<_>, Vec<_>) =
            attempts.iter().partition(|attempt| attempt.name.starts_with("OPENAT2 "));
        // Folders need it. What it reaches is for Landlock to bound.
        assert!(listed.iter().all(|attempt| attempt.result.is_ok()), "{engine}: {listed:?}");
        let refused = |attempt: &&Attempt| attempt.result == Err(Errno::ACCESS);
        assert!(others.len() > 30 && others.iter().all(refused), "{engine}: {others:?}");
        assert_eq!(counted, others.len() as u64, "{engine}");
        let registrations = ring.attempt_registrations();
        assert!(
            registrations.iter().all(|attempt| attempt.result == Err(Errno::ACCESS)),
            "{registrations:?}"
        );
    }
}

#[test]
fn a_ring_without_restrictions_does_what_it_is_told() {
    for (engine, make) in ENGINES {
        let mut ring = match make(Queues::within(&CONFIG, 0).unrestricted()) {
            Ok(ring) => ring,
            Err(why) => return println!("no ring: {why}"),
        };
        assert!(!ring.is_restricted());
        let (attempts, counted) = attack(&mut ring);
        let achieved: Vec<_> =
            attempts.iter().filter(|attempt| attempt.result.is_ok()).map(|attempt| &*attempt.name).collect();
        let named = ["OPENAT ", "OPENAT2 ", "SOCKET", "CONNECT"];
        assert!(
            named.iter().all(|name| achieved.iter().any(|other| other.starts_with(name))),
            "{engine}: {attempts:?}"
        );
        // The operation that does nothing.
        assert!(achieved.contains(&"0"), "{engine}: {attempts:?}");
        assert!(
            attempts.iter().all(|attempt| attempt.result != Err(Errno::ACCESS)),
            "{engine}: {attempts:?}"
        );
        assert_eq!(counted, 0, "{engine}");
        let registrations = ring.attempt_registrations();
        assert!(registrations.iter().any(|attempt| attempt.result.is_ok()), "{engine}: {registrations:?}");
        assert!(
            registrations.iter().all(|attempt| attempt.result != Err(Errno::ACCESS)),
            "{registrations:?}"
        );
    }
}
