//! Sites that are larger than memory, whose files are sent from descriptors of their own: peers
//! that take nothing leave enough of these to others.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::h2::{Client, WINDOW_UPDATE, frame};
use crate::common::{PATIENCE, Server, eventually, executable, have};

/// More than `--memory 1` lets one file take.
const LEN: usize = 140_000;
const CLIENTS: usize = 15;
/// A client that takes nothing may be closed after this time, where others wait for its files.
const SHED_AFTER: Duration = Duration::from_secs(1);
const STREAMS: usize = 100;

fn content(number: usize) -> Vec<u8> {
    let mut content = format!("file {number}\n").into_bytes();
    content.resize(LEN, 0);
    content
}

/// Asks for a file over HTTP/1.
fn get(server: &Server, number: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /{number}.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn streams_that_are_not_read_leave_descriptors_to_others() {
    if !have(&["prlimit", "sh"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let site = folder.path().join("site");
    fs::create_dir(&site).unwrap();
    for number in 0..CLIENTS * STREAMS + 100 {
        // Holes take no room on the disk.
        let file = fs::File::create(site.join(format!("{number}.bin"))).unwrap();
        file.write_all_at(format!("file {number}\n").as_bytes(), 0).unwrap();
        file.set_len(LEN as u64).unwrap();
    }
    let wrapper = folder.path().join("limited");
    executable(&wrapper, "#!/bin/sh\nexec prlimit --nofile=1480 \"$@\"\n");
    for engine in ["auto", "epoll"] {
        let arguments = [
            site.to_str().unwrap(),
            "--tls",
            "off",
            "--memory",
            "1",
            "--connections",
            "64",
            "--shards",
            "1",
            "--send-seconds",
            "300",
            "--engine",
            engine,
        ];
        let server = Server::start_inside(&wrapper, arguments);
        let mut never_asked = CLIENTS * STREAMS..;
        let mut answers_others = |count: usize| {
            for number in never_asked.by_ref().take(count) {
                let answer = get(&server, number);
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer.escape_ascii());
                assert!(answer.ends_with(&content(number)), "{number}");
            }
        };
        answers_others(1);
        let before = server.descriptors();
        let begun = Instant::now();
        let mut clients: Vec<(Client, Vec<(usize, u32)>)> = (0..CLIENTS)
            .map(|nth| {
                let mut client = Client::plain(server.address(), 0).unwrap();
                let (mut wire, mut streams) = (Vec::new(), Vec::new());
                for number in nth * STREAMS..(nth + 1) * STREAMS {
                    let (stream, request) = client.ask("GET", &format!("/{number}.bin"), &[]);
                    wire.extend(request);
                    streams.push((number, stream));
                }
                client.send(&wire).unwrap();
                (client, streams)
            })
            .collect();
        for (client, _) in &mut clients {
            while client.begun() == 0 {
                client.go_on().unwrap();
            }
        }
        answers_others(30);
        // Files that are kept open, one for each connection, and the spare ones; with epoll the
        // connections as well.
        // These stay; the connection that was answered last is closed a moment after its answer.
        let within = || server.descriptors() <= before + 64 + CLIENTS + 64 + CLIENTS;
        eventually(&format!("{engine}: no more descriptors than these after {before}"), within);
        for (client, streams) in &mut clients {
            let numbers: Vec<u32> = streams.iter().map(|(_, stream)| *stream).collect();
            let opened = numbers.iter().try_for_each(|stream| {
                client.send(&frame(WINDOW_UPDATE, 0, *stream, &(1_u32 << 20).to_be_bytes()))
            });
            let Some(answers) = opened.ok().and_then(|()| client.answers(&numbers).ok()) else {
                // On a busy machine: it has taken nothing for a second, while others waited.
                assert!(begun.elapsed() >= SHED_AFTER, "{engine}: a client is cut off");
                continue;
            };
            for (number, stream) in streams {
                let answer = &answers[stream];
                assert!(answer.status == 200 && answer.body == content(*number), "{engine}: {number}");
            }
        }
        drop(clients);
        answers_others(30);
        eventually("the files to be closed", || server.descriptors() <= before + 64 + 4);
    }
}
