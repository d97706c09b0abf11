//! The records of answers whose file is changed while it is sent.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use sitar_server::BodyMemory;

crate::on_every_engine! {
    an_answer_whose_file_shrinks_says_how_much_was_sent,
    a_stream_whose_file_shrinks_is_not_the_peers_doing,
}

const LEN: usize = 12 << 20;

/// A server that sends one file from the disk.
fn server(engine: Engine) -> Server {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("sitar-changed-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("large.bin"), vec![7; LEN]).unwrap();
    // The harness removes the folder.
    Server::over_directory(engine, small(), false, BodyMemory::new(8 << 20, 1 << 20), folder)
}

fn shrink(server: &Server) {
    let file: PathBuf = server.directory().join("large.bin");
    fs::File::options().write(true).open(file).unwrap().set_len(LEN as u64 / 2).unwrap();
}

fn an_answer_whose_file_shrinks_says_how_much_was_sent(engine: Engine) {
    let server = server(engine);
    let mut log = Log::of(&server);
    let mut stream = server.connect_narrow();
    stream.write_all(&get("/large.bin")).unwrap();
    let mut received = vec![0; 1000];
    stream.read_exact(&mut received).unwrap();
    shrink(&server);
    let _ = stream.read_to_end(&mut received);
    let line = log.next();
    let (sent, cut) = cut_at(&line, "Http11 1 'GET' 'localhost' '/large.bin' 200 ");
    assert!((1000..=LEN / 2).contains(&sent) && cut == "incomplete", "{line}");
    log.none();
}

fn a_stream_whose_file_shrinks_is_not_the_peers_doing(engine: Engine) {
    let server = server(engine);
    let mut log = Log::of(&server);
    let mut client = H2::new(server.connect_narrow());
    let path = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/large.bin")];
    let stream = client.ask(&path);
    while client.read().2 != stream {}
    shrink(&server);
    // Its window is smaller than half of the file.
    client.frame(8, 0, stream, &[1, 0, 0, 0]);
    let mut received = Vec::new();
    client.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let (mut line, until) = (None, Instant::now() + Duration::from_secs(60));
    while line.is_none() {
        let mut some = [0; 64 << 10];
        let len = client.stream.read(&mut some).unwrap_or(0);
        received.extend_from_slice(&some[..len]);
        log.read();
        line = log.lines.pop_front();
        assert!(received.len() < LEN && Instant::now() < until, "no record");
    }
    let line = line.unwrap();
    let (sent, cut) = cut_at(&line, "Http2 1 'GET' 'a.test' '/large.bin' 200 ");
    assert!(sent <= LEN / 2 && cut == "incomplete", "{line}");
    log.none();
}
