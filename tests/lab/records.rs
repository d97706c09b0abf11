//! The records of answers that the kernel seals.

use super::sealer::has_sealer;
use crate::access_log::table::plain_json;
use crate::common::client::{self, Client, socket_from};
use crate::common::site::{Site, pattern};
use crate::common::{Server, eventually, h2, lab};
use rustls::version::TLS13;
use std::fs;
use std::net::Ipv4Addr;
use tempfile::TempDir;

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
/// More than sockets hold.
const LARGE: usize = 8 << 20;
/// A receive buffer that a large answer does not fit into.
const SMALL: usize = 4096;

/// A record, but for its times: protocol, path, size and status, and why it was given up.
fn record(proto: &str, uri: &str, size: u64, status: u16, cut: &str) -> String {
    let (number, alpn) = if proto == "HTTP/2.0" { ("2", "h2") } else { ("1", "http/1.1") };
    format!(
        "{{\"level\":\"info\",\"ts\":TS,\"logger\":\"http.log.access\",\"msg\":\"handled request\",\
         \"request\":{{\"remote_ip\":\"127.0.0.7\",\"client_ip\":\"127.0.0.7\",\"proto\":\"{proto}\",\
         \"method\":\"GET\",\"host\":\"localhost\",\"uri\":\"{uri}\",\"headers\":{{\"User-Agent\":[\"{number}\"]}},\
         \"tls\":{{\"resumed\":false,\"version\":772,\"cipher_suite\":4865,\"proto\":\"{alpn}\"}}}},\
         \"bytes_read\":0,\"user_id\":\"\",\"duration\":DURATION,\"size\":{size},\"status\":{status},\
         \"resp_headers\":{{}}{cut}}}"
    )
}

#[test]
fn answers_that_the_kernel_seals_have_their_records() {
    if !has_sealer() {
        return;
    }
    let (site, folder) = (Site::small(), TempDir::new().unwrap());
    site.add("large.bin", &pattern(LARGE));
    let log = folder.path().join("access.log");
    let path = site.path().to_str().unwrap();
    let server = Server::start([path, "--tls", "kernel", "--access-log", log.to_str().unwrap()]);
    let open = |protocol: &[u8], receive| {
        let config = client::fixed(client::roots(&server), &TLS13, protocol);
        Client::over(&config, socket_from(Some(CLIENT), server.address(), receive).unwrap()).unwrap()
    };
    let rise = lab::tls_stat_rise(|| {
        let mut one = open(b"http/1.1", None);
        let agent = ("User-Agent", "1");
        assert_eq!(one.request("GET", "/1k.txt", &[agent]).unwrap().body.len(), 1024);
        let range = ("Range", "bytes=16-99");
        assert_eq!(one.request("GET", "/1m.bin", &[agent, range]).unwrap().body.len(), 84);
        let mut two = h2::Client::over(open(b"h2", None), h2::WINDOW_MAX).unwrap();
        let body = two.request("GET", "/1m.bin", &[("user-agent", "2")]).unwrap().body;
        assert!(body == pattern(1 << 20));
        let mut cut = open(b"http/1.1", Some(SMALL));
        cut.send(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\nUser-Agent: 1\r\n\r\n").unwrap();
        assert!(cut.read_some(&mut [0; 1000]).unwrap() > 0);
    });
    assert_eq!(rise.get("TlsTxSw"), Some(&3), "{rise:?}");
    let mut lines: Vec<String> = Vec::new();
    eventually("four records", || {
        lines = fs::read_to_string(&log).unwrap().lines().map(plain_json).collect();
        lines.len() == 4
    });
    // Shards write in the order of their own answers.
    let at = lines.iter().position(|line| line.contains("large.bin")).unwrap();
    let cut = lines.remove(at);
    let size = cut.split_once("\"size\":").unwrap().1.split(',').next().unwrap().parse().unwrap();
    assert!((1..LARGE as u64).contains(&size), "{cut}");
    assert_eq!(cut, record("HTTP/1.1", "/large.bin", size, 200, ",\"cut\":\"peer_left\""));
    lines.sort();
    let mut expected = [
        record("HTTP/1.1", "/1k.txt", 1024, 200, ""),
        record("HTTP/1.1", "/1m.bin", 84, 206, ""),
        record("HTTP/2.0", "/1m.bin", 1_048_576, 200, ""),
    ];
    expected.sort();
    assert_eq!(lines, expected);
}
