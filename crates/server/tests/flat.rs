//! Thousands of sites, one after the other, in a process that does nothing else: memory stays where
//! it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Engine, Server, answer, get, small};
use sitar_server::BodyMemory;
use sitar_site::{Options, Site};

/// Bytes of memory that this process has, from /proc.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[test]
fn thousands_of_swaps_leave_nothing_behind() {
    const FILES: usize = 100;
    // `SITAR_SAMPLE` divides them.
    let swaps = 3000 / std::env::var("SITAR_SAMPLE").map_or(1, |sample| sample.parse::<usize>().unwrap());
    let root = std::env::temp_dir().join(format!("sitar-flat-{}", std::process::id()));
    for file in 0..FILES {
        let folder = root.join((file % 10).to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{file}.txt")), vec![b'x'; 20_000]).unwrap();
    }
    let memory = BodyMemory::new(64 << 20, 8 << 20);
    let limits = small();
    let server = Server::over_directory(Engine::Epoll, limits, false, memory, root.clone());
    let memory = server.worker.memory();
    let mut stream = server.connect();
    let mut early = 0;
    for swap in 0..swaps {
        server.worker.swap(Arc::new(Site::open(&root, &Options::default()).unwrap()));
        let file = swap % FILES;
        if swap % 3 == 0 {
            // Another file on the disk, so that what is in memory of it is not passed on.
            let path = root.join((file % 10).to_string());
            fs::write(path.join("new"), vec![b'x'; 20_000]).unwrap();
            fs::rename(path.join("new"), path.join(format!("{file}.txt"))).unwrap();
        }
        stream.write_all(&get(&format!("/{}/{file}.txt", file % 10))).unwrap();
        assert_eq!(answer(&mut stream).1.len(), 20_000);
        if swap == swaps / 4 {
            early = resident();
        }
    }
    let late = resident();
    // All files together are 2 MB, a site of them is some 30 KB, and 2250 sites lie between the
    // two, or 562 of a sample of four.
    assert!(late < early + (4 << 20), "grown from {early} to {late} bytes");
    println!("resident after {} swaps {early}, after {swaps} swaps {late} bytes", swaps / 4);
    drop(server);
    // The helper thread ends by itself, some time after the shards, and holds the last site until
    // then.
    let until = Instant::now() + Duration::from_secs(20);
    while memory.left() < 64 << 20 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(memory.left(), 64 << 20);
}
