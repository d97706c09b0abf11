//! The price of an idle TLS connection in the server's memory, seen from outside.
//!
//! `SITAR_IDLE=10000` sets the number of connections, and without it nothing is measured.

use crate::common::files::OpenFiles;
use crate::common::site::Site;
use crate::common::{Server, client, h2, skip};
use std::time::Duration;

/// An idle connection folds its keys after a second, and timers are late by a slot of their wheel.
const SETTLED: Duration = Duration::from_secs(2);

#[test]
fn an_idle_connection_is_small() {
    measure(2048, |server| {
        let config = client::config(server);
        let address = server.address();
        let open = move || client::Client::open(&config, address).unwrap();
        (open, |client: &mut client::Client| client.get("/1k.txt").unwrap().status)
    });
}

#[test]
fn an_idle_connection_of_http_2_is_small() {
    measure(4096, |server| {
        let config = h2::config(server);
        let address = server.address();
        let open = move || h2::Client::open(&config, address, h2::WINDOW_MAX).unwrap();
        (open, |client: &mut h2::Client| client.get("/1k.txt").unwrap().status)
    });
}

/// Holds `SITAR_IDLE` connections against that many bytes of the server's memory for each. `speak`
/// gives a way to open one, and one to ask for a file on it and get the status.
fn measure<C, O: Fn() -> C>(bytes_max: u64, speak: impl FnOnce(&Server) -> (O, fn(&mut C) -> u16)) {
    // Few connections tell of the allocator's pages, not of a connection: keys that are folded
    // leave holes that only later ones fill.
    let Ok(count) = std::env::var("SITAR_IDLE").map(|count| count.parse::<usize>().unwrap()) else {
        skip("it takes 10,000 connections to say anything; SITAR_IDLE=10000 runs it");
        return;
    };
    let Some(_files) = OpenFiles::reserve(count + 200) else { return };

    let site = Site::small();
    let args = ["--shards", "1", "--idle-seconds", "600", "--connections"].map(String::from);
    let more = [(count + 100).to_string(), site.path().display().to_string()];
    let server = Server::start(args.into_iter().chain(more));
    let (open_one, get) = speak(&server);
    let open = |count: usize| -> Vec<C> {
        (0..count)
            .map(|_| {
                let mut client = open_one();
                assert_eq!(get(&mut client), 200);
                client
            })
            .collect()
    };
    // Whatever is made once is made now, and what a handshake needs for a moment has been needed.
    drop(open(100));
    std::thread::sleep(SETTLED);
    let before = resident(&server);

    let mut clients = open(count);
    // A busy machine's timers are later still: the last of them has fired when it no longer
    // shrinks.
    let (mut after, mut last) = (0, u64::MAX);
    for _ in 0..10 {
        std::thread::sleep(SETTLED);
        after = resident(&server);
        if after >= last || after.saturating_sub(before) / count as u64 <= bytes_max {
            break;
        }
        last = after;
    }
    let each = after.saturating_sub(before) / count as u64;
    println!("{count} idle connections: {before} → {after} bytes resident, {each} each");

    for client in &mut clients {
        assert_eq!(get(client), 200, "not alive");
    }
    assert!(each <= bytes_max, "{each} bytes for an idle connection");
}

/// Bytes of memory that the process has in RAM.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
