//! Files larger than memory, than 4 GiB, than 8 GiB: sparse ones, so that they cost no disk.
//!
//! The tests that are ignored are `cargo xtask large`, which prints what it measures.

use crate::common::client::{Client, config};
use crate::common::{Server, eventually};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;
const END: &[u8] = b"the very end";

/// Makes a file of `len` zeros, with a few bytes at its end.
fn sparse(path: &Path, len: u64) {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    file.write_all_at(END, len - END.len() as u64).unwrap();
}

/// A tar header (POSIX.1-1988) of a file; sizes of 8 GiB and more as GNU tar writes them, in base
/// 256.
fn header(name: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    if size < 8 * GIB {
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&size.to_be_bytes());
    }
    header[136..148].copy_from_slice(b"14524000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// An archive of files of zeros with [`END`] at their end.
fn archive(path: &Path, files: impl Iterator<Item = (String, u64)>) {
    let file = File::create(path).unwrap();
    let mut at = 0;
    for (name, size) in files {
        file.write_all_at(&header(&name, size), at).unwrap();
        file.write_all_at(END, at + 512 + size - END.len() as u64).unwrap();
        at += 512 + size.next_multiple_of(512);
    }
    // Two blocks of zeros are the end of an archive.
    file.set_len(at + 1024).unwrap();
}

fn range(client: &mut Client, path: &str, first: u64, last: u64) -> Vec<u8> {
    let got = client.request("GET", path, &[("Range", &format!("bytes={first}-{last}"))]).unwrap();
    assert_eq!(got.status, 206, "{path}");
    assert!(got.field("content-range").unwrap().starts_with(&format!("bytes {first}-{last}/")));
    got.body
}

#[test]
fn ranges_beyond_four_and_eight_gib() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("site");
    fs::create_dir(&root).unwrap();
    sparse(&root.join("5g.bin"), 5 * GIB);
    let tar = folder.path().join("site.tar");
    archive(&tar, [("5g.bin".to_owned(), 5 * GIB), ("9g.bin".to_owned(), 9 * GIB + 7)].into_iter());
    for (site, files) in
        [(&root, &[("/5g.bin", 5 * GIB)][..]), (&tar, &[("/5g.bin", 5 * GIB), ("/9g.bin", 9 * GIB + 7)])]
    {
        for engine in ["auto", "epoll"] {
            let server = Server::start_with([site], &[("SITAR_ENGINE", engine)]);
            let mut client = Client::connect(&server);
            for (path, len) in files {
                let end = END.len() as u64;
                assert_eq!(range(&mut client, path, len - end, len - 1), END, "{path}, {engine}");
                assert_eq!(range(&mut client, path, 4 * GIB - 1, 4 * GIB + 1), [0; 3], "{path}, {engine}");
                // More than one buffer, across 4 GiB.
                assert_eq!(range(&mut client, path, 4 * GIB - 100_000, 4 * GIB + 99_999).len(), 200_000);
            }
        }
    }
}

/// A line of /proc/PID/status, in KiB.
fn status(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', '\t', ' ']).split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "cargo xtask large"]
fn a_tar_of_one_gib_answers_at_once() {
    let folder = TempDir::new().unwrap();
    let tar = folder.path().join("site.tar");
    // 16,384 files of 64 KiB.
    archive(&tar, (0..16_384).map(|number| (format!("{number}.bin"), 64 << 10)));
    let start = Instant::now();
    let server = Server::start([&tar]);
    let mut client = Client::connect(&server);
    let got = client.get("/16383.bin").unwrap();
    let elapsed = start.elapsed();
    assert!(got.status == 200 && got.body.ends_with(END));
    println!(
        "a tar of {} bytes with 16,384 files: first answer {elapsed:?} after the start",
        fs::metadata(&tar).unwrap().len()
    );
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[test]
#[ignore = "cargo xtask large"]
fn twenty_gib_for_two_hundred_clients_within_the_budget() {
    const CLIENTS: usize = 200;
    const MEMORY_MIB: u64 = 64;
    const EACH: u64 = 8 << 20;
    let folder = TempDir::new().unwrap();
    let len = 20 * GIB;
    sparse(&folder.path().join("20g.bin"), len);
    fs::write(folder.path().join("small.txt"), "small").unwrap();
    let memory = MEMORY_MIB.to_string();
    for engine in ["auto", "epoll"] {
        let server =
            Server::start_with([folder.path()], &[("SITAR_MEMORY", &memory), ("SITAR_ENGINE", engine)]);
        let idle = status(&server, "VmRSS");
        let config = config(&server);
        let (taken, ranges) = (AtomicU64::new(0), AtomicU64::new(0));
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Client::open(&config, server.address()).unwrap();
                    client.socket().set_read_timeout(Some(Duration::from_secs(300))).unwrap();
                    // A download, broken off after a while.
                    client.send(b"GET /20g.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
                    let (mut buf, mut read) = (vec![0; 64 << 10], 0);
                    while read < EACH {
                        let got = client.read_some(&mut buf).unwrap() as u64;
                        assert!(got > 0, "ended");
                        read += got;
                        taken.fetch_add(got, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| {
                let mut client = Client::open(&config, server.address()).unwrap();
                while taken.load(Ordering::Relaxed) < CLIENTS as u64 * EACH / 2 {
                    let end = END.len() as u64;
                    assert_eq!(range(&mut client, "/20g.bin", len - end, len - 1), END);
                    assert_eq!(client.get("/small.txt").unwrap().body, b"small");
                    ranges.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        let (peak, elapsed) = (status(&server, "VmHWM"), start.elapsed());
        println!(
            "{engine}: {CLIENTS} clients took {} MiB of a 20 GiB file in {elapsed:?}; {} ranges of its end meanwhile; \
             resident {idle} KiB idle, {peak} KiB at the peak; --memory {MEMORY_MIB}",
            taken.load(Ordering::Relaxed) >> 20,
            ranges.load(Ordering::Relaxed),
        );
        assert!(ranges.into_inner() > 0);
        // Send buffers, handshakes and input have limits of their own; contents are what the
        // budget is for.
        assert!(peak < (MEMORY_MIB << 10) + idle, "{peak} KiB");
        eventually("files to be closed", || server.descriptors() < 200);
    }
}
