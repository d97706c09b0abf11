//! Rings that cannot be made, because the process has no descriptors left: nothing of them stays
//! behind. Alone in its process, whose limit on open files it lowers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![cfg(not(miri))]

use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sitar_io::sim::{Faults, World};
use sitar_io::{Config, Ring, SqPoll};

const CONFIG: Config = Config { connections: 4, rx_count: 8, rx_len: 256, tx_count: 4, tx_len: 1024 };

/// Returns the number of polling threads of the kernel's in this process: each belongs to a ring.
fn pollers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("iou-sqp")).count()
}

#[test]
fn a_ring_that_cannot_be_made_leaves_nothing_behind() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).unwrap();
    let poll = SqPoll { spin: Duration::ZERO, idle: Duration::from_millis(1), cpu: None };
    for left in 0..8 {
        let mut held = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            held.push(file);
        }
        held.truncate(held.len().saturating_sub(left));
        let world = World::with(1, Faults::none());
        let simulated = Ring::sim(&CONFIG, &world).map(drop).map_err(|why| why.kind());
        assert_ne!(simulated, Err(ErrorKind::ResourceBusy), "{left}");
        let polled = Ring::sqpoll(&CONFIG, &poll).map(drop);
        let _ = (Ring::uring(&CONFIG).map(drop), Ring::epoll(&CONFIG).map(drop));
        assert_eq!((simulated.is_err(), left < 2 && polled.is_ok()), (left < 1, false), "{left}");
        drop(held);
        assert!(Ring::sim(&CONFIG, &world).is_ok(), "{left}: the world has no ring");
    }
    // The kernel puts them away a moment later.
    let until = Instant::now() + Duration::from_secs(60);
    while pollers() > 0 {
        assert!(Instant::now() < until, "a ring that was not made has a poller");
        std::thread::sleep(Duration::from_millis(10));
    }
}
