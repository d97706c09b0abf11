//! A stop says what it waits for, which is a download under way and nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::common::site::Site;
use crate::common::{PATIENCE, Server, eventually};

const LARGE: usize = 9 << 20;

/// A download that has begun and is not read.
fn begun(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 64 << 10).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (&stream).write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!((&stream).read(&mut [0]).unwrap(), 1);
    stream
}

#[test]
fn a_stop_says_what_it_waits_for() {
    let site = Site::small();
    std::fs::write(site.path().join("large.bin"), vec![b'x'; LARGE]).unwrap();
    let path = site.path().to_str().unwrap();
    for engine in ["auto", "epoll"] {
        let mut server = Server::start([path, "--tls", "off", "--engine", engine, "--stop-seconds", "3600"]);
        let mut download = begun(&server);
        // Never heard of again.
        let idle = TcpStream::connect(server.address()).unwrap();
        let mut half = TcpStream::connect(server.address()).unwrap();
        half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        server.terminate();
        let expected = "sitar: stopping when 1 connection has its answer, after 3600 s at the latest (another signal does not \
                        wait)\n";
        eventually("the reason", || server.said().contains(expected));
        // The port is free for the next one while this one waits.
        eventually("the port", || TcpListener::bind(server.address()).is_ok());
        let mut answer = Vec::new();
        download.read_to_end(&mut answer).unwrap();
        assert!(answer.len() > LARGE && answer.ends_with(&[b'x'; 4096]), "{} bytes", answer.len());
        drop(download);
        assert_eq!(server.wait().code(), Some(0));
        assert!(!server.said().contains("cut off"), "{}", server.said());
        drop((idle, half));
    }
}

#[test]
fn a_stop_need_not_wait() {
    let site = Site::small();
    std::fs::write(site.path().join("large.bin"), vec![b'x'; LARGE]).unwrap();
    let path = site.path().to_str().unwrap();
    // By the flag's variable, and by a second signal.
    let arguments = [path, "--tls", "off"];
    for (seconds, signals) in [("0", 1), ("3600", 2)] {
        let mut server = Server::start_with(arguments, &[("SITAR_STOP_SECONDS", seconds)]);
        let download = begun(&server);
        server.terminate();
        if signals == 2 {
            eventually("the reason", || {
                server.said().contains("sitar: stopping when 1 connection has its answer")
            });
            server.terminate();
        }
        assert_eq!(server.wait().code(), Some(0));
        eventually("the last word", || server.said().contains("sitar: 1 answer was cut off after "));
        drop(download);
    }
}
