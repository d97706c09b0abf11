//! What the kernel takes a thread for that waits for its ring.

use std::time::{Duration, Instant};

use sitar_io::{Config, Ring};

const THREADS: usize = 64;
const CONFIG: Config = Config { connections: 2, rx_count: 2, rx_len: 64, tx_count: 1, tx_len: 64 };
/// Longer than the test takes; wakers end it.
const LONG: Duration = Duration::from_secs(60);

/// A server without work does not show as a machine that waits for its disks. The counts are of the
/// whole machine, on which a test of that many threads is what waits most.
#[test]
fn waiting_for_peers_is_not_counted_as_waiting_for_a_disk() {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    if version < (6, 15) {
        println!("skipped: Linux {release} cannot tell the two apart");
        return;
    }
    let (sender, wakers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let sender = sender.clone();
            scope.spawn(move || {
                let mut ring = match Ring::uring(&CONFIG) {
                    Ok(ring) => ring,
                    Err(why) => return drop(sender.send(Err(why.to_string()))),
                };
                let tid = rustix::thread::gettid().as_raw_nonzero();
                sender.send(Ok((tid, ring.waker()))).unwrap();
                ring.wait(Some(Instant::now() + LONG)).unwrap();
            });
        }
        let threads: Vec<_> = (0..THREADS).map(|_| wakers.recv().unwrap()).collect();
        let started = threads.iter().flatten();
        let asleep = || {
            started.clone().all(|(tid, _)| {
                let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
                call.is_ok_and(|call| call.starts_with("426 "))
            })
        };
        let patience = Instant::now() + LONG / 2;
        while !asleep() && Instant::now() < patience {
            std::thread::yield_now();
        }
        let (asleep, blocked) = (asleep(), blocked());
        started.for_each(|(_, waker)| waker.wake());
        if let Some(why) = threads.iter().find_map(|thread| thread.as_ref().err()) {
            println!("skipped: {why}");
            return;
        }
        assert!(asleep, "not all threads wait in io_uring_enter, or /proc does not say so");
        assert!(blocked < THREADS / 2, "{blocked} tasks count as waiting for a disk");
    });
}

/// The tasks of this machine that count as iowait.
fn blocked() -> usize {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    stat.lines().find_map(|line| line.strip_prefix("procs_blocked ")).unwrap().parse().unwrap()
}
