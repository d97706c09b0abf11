//! Another site while connections are busy with the old one.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::harness::{Engine, Server, Tls, answer, get, repeated, small};
use sitar_server::{BodyMemory, ChangeError, Host, HostContent, Hosts, Limits, Pem, StartError, TlsSpec};
use sitar_site::{Options, Site};

crate::on_every_engine! {
    plain_answers_are_of_one_site_each,
    sealed_answers_are_of_one_site_each,
    what_has_been_begun_is_finished_from_the_old_site,
    a_file_that_is_written_to_ends_the_answer,
    a_file_whose_time_is_set_back_ends_the_answer,
    a_file_that_is_renamed_or_linked_is_sent_to_its_end,
    a_file_that_shrinks_ends_the_answer_without_a_farewell,
    a_shard_that_is_started_again_serves_the_newest_site,
    certificates_are_replaced_while_connections_go_on,
    sites_are_found_by_the_host_that_is_named,
    a_date_proves_nothing_where_another_site_was,
    the_request_after_a_swap_is_answered_from_the_new_site,
}

/// Names, lengths, and whether the file is the same in all sites. With [`budget`] the last one does
/// not fit into memory.
const FILES: [(&str, usize); 5] =
    [("tiny.txt", 90), ("page.html", 9_000), ("k70.bin", 70_000), ("k400.bin", 400_000), ("m2.bin", 2 << 20)];
const SITES: usize = 4;

fn budget() -> BodyMemory {
    BodyMemory::new(8 << 20, 1 << 20)
}

/// The content of a file in one of the sites: no byte is equal to that of another site at the same
/// place.
fn body(site: usize, len: usize) -> Vec<u8> {
    repeated(&(0..61).map(|i| i << 2 | site as u8).collect::<Vec<u8>>(), len)
}

fn make(root: &Path, site: usize) {
    fs::create_dir_all(root).unwrap();
    for (name, len) in FILES {
        fs::write(root.join(name), body(site, len)).unwrap();
    }
}

/// A folder for one test, with a site in each of `SITES` folders.
fn sites() -> (PathBuf, Vec<PathBuf>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("sitar-swaps-{}-{number}", std::process::id()));
    let folders: Vec<_> = (0..SITES).map(|site| root.join(site.to_string())).collect();
    for (site, folder) in folders.iter().enumerate() {
        make(folder, site);
    }
    (root, folders)
}

/// Removes a folder in the end.
struct Away(PathBuf);

impl Drop for Away {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(folder: &Path) -> Arc<Site> {
    Arc::new(Site::open(folder, &Options::default()).unwrap())
}

fn plain_answers_are_of_one_site_each(engine: Engine) {
    under_load(engine, false);
}

fn sealed_answers_are_of_one_site_each(engine: Engine) {
    under_load(engine, true);
}

/// Limits for many connections at the same time.
fn roomy() -> Limits {
    Limits { connections: 64, tx_buffers: 128, ..small() }
}

fn connect(server: &Server, tls: bool) -> Box<dyn Stream> {
    let patience = Some(Duration::from_secs(120));
    if tls {
        let stream = server.connect_tls(&rustls::version::TLS13);
        stream.sock.set_read_timeout(patience).unwrap();
        Box::new(stream)
    } else {
        let stream = server.connect();
        stream.set_read_timeout(patience).unwrap();
        Box::new(stream)
    }
}

/// 32 connections ask as fast as they can, some of them for several files at once, while another
/// site is put up every 100 ms: for about two seconds, and as much longer as it takes until
/// everybody has seen something.
fn under_load(engine: Engine, tls: bool) {
    const CONNECTIONS: usize = 32;
    const SWAPS: usize = 18;
    let (root, folders) = sites();
    let _away = Away(root);
    let memory = budget();
    let server = Server::over_directory(engine, roomy(), tls, memory, folders[0].clone());
    let memory = server.worker.memory();
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen: [AtomicUsize; SITES] = Default::default();
    let is_enough = || {
        answers.load(Ordering::Relaxed) > 10 * CONNECTIONS
            && seen.iter().all(|seen| seen.load(Ordering::Relaxed) > 0)
    };
    let mut put_up: Vec<Weak<Site>> = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (server, stop, answers, seen) = (&server, &stop, &answers, &seen);
            scope.spawn(move || {
                let mut stream = connect(server, tls);
                for round in number.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let asked: Vec<_> = (0..=round % 3).map(|i| FILES[(round + i) % FILES.len()]).collect();
                    let text: Vec<u8> = asked.iter().flat_map(|(name, _)| get(&format!("/{name}"))).collect();
                    stream.write_all(&text).unwrap();
                    for (name, len) in asked {
                        let (status, content) = answer(&mut stream);
                        assert_eq!((status, content.len()), (200, len), "{name}");
                        let site = usize::from(content[0] & 3);
                        assert!(content == body(site, len), "{name}: not all of it is of site {site}");
                        seen[site].fetch_add(1, Ordering::Relaxed);
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(120);
        let mut swap = 0;
        while swap < SWAPS || (!is_enough() && Instant::now() < until) {
            std::thread::sleep(Duration::from_millis(100));
            swap += 1;
            let site = open(&folders[swap % SITES]);
            put_up.push(Arc::downgrade(&site));
            server.worker.swap(site);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(is_enough(), "{answers:?} answers, {seen:?} of each site");
    // All answers have been given by now, so no connection holds an old site.
    eventually("old sites to go", || put_up.iter().filter(|site| site.strong_count() > 0).count() == 1);
    let on = FILES.iter().map(|(_, len)| *len as u64).sum::<u64>();
    assert!(memory.left() >= (8 << 20) - on, "more is counted than one site has: {} left", memory.left());
    assert!(server.incidents.lock().unwrap().is_empty(), "{:?}", server.incidents);
    drop(server);
    eventually("all memory to come back", || memory.left() == 8 << 20);
}

trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for Tls {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads a head and says what length it promises.
fn head(stream: &mut impl Read) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap()
}

/// A server with one file of that size, which is sent from the disk or from memory, and a slow
/// connection that has begun to read it: its head and one byte.
fn begun(engine: Engine, from_disk: bool, tls: bool) -> (Server, Box<dyn Stream>, usize) {
    let (root, folders) = sites();
    let len = 12 << 20;
    fs::write(folders[0].join("large.bin"), body(0, len)).unwrap();
    fs::write(folders[1].join("large.bin"), body(1, len)).unwrap();
    // The harness removes the folder that it serves: all of them lie in that.
    fs::create_dir_all(root.join("0/.other")).unwrap();
    fs::rename(&folders[1], root.join("0/.other/1")).unwrap();
    let each = if from_disk { 1 << 20 } else { 64 << 20 };
    let server =
        Server::over_directory(engine, roomy(), tls, BodyMemory::new(64 << 20, each), folders[0].clone());
    let mut stream = connect(&server, tls);
    rustix::net::sockopt::set_socket_recv_buffer_size(stream.socket(), 256 << 10).unwrap();
    stream.write_all(&get("/large.bin")).unwrap();
    assert_eq!(head(&mut stream), len);
    for folder in &folders[1..] {
        let _ = fs::remove_dir_all(folder);
    }
    (server, stream, len)
}

fn what_has_been_begun_is_finished_from_the_old_site(engine: Engine) {
    for (from_disk, tls) in [(false, false), (true, false), (false, true), (true, true)] {
        let (server, mut stream, len) = begun(engine, from_disk, tls);
        // What is asked for behind it is not looked at before it is done.
        stream.write_all(&get("/large.bin")).unwrap();
        let next = open(&server.directory().join(".other/1"));
        server.worker.swap(next);
        let mut content = vec![0; len];
        stream.read_exact(&mut content).unwrap();
        assert!(content == body(0, len), "from disk: {from_disk}, tls: {tls}");
        assert!(answer(&mut stream) == (200, body(1, len)), "from disk: {from_disk}, tls: {tls}");
    }
}

/// Reads to the end: what came, and how it ended.
fn rest(stream: &mut impl Read) -> (Vec<u8>, Option<ErrorKind>) {
    let mut content = Vec::new();
    let end = stream.read_to_end(&mut content).err().map(|error| error.kind());
    (content, end)
}

fn a_file_that_is_written_to_ends_the_answer(engine: Engine) {
    for tls in [false, true] {
        let (server, mut stream, len) = begun(engine, true, tls);
        // In place: the same file, the same length, another content.
        fs::write(server.directory().join("large.bin"), body(2, len)).unwrap();
        let (content, end) = rest(&mut stream);
        assert!(content.len() < len, "the whole of a file that was no longer there");
        assert!(content == body(0, content.len()), "a mixture");
        // RFC 8446 §6.1: without close_notify the client knows that something is missing.
        let cut = Some(ErrorKind::UnexpectedEof);
        assert!(
            if tls { end == cut } else { matches!(end, None | Some(ErrorKind::ConnectionReset)) },
            "{end:?}"
        );
        // Asked for again, it is there as it is now.
        let mut again = connect(&server, tls);
        again.write_all(&get("/large.bin")).unwrap();
        assert!(answer(&mut again) == (200, body(2, len)));
    }
}

fn a_file_whose_time_is_set_back_ends_the_answer(engine: Engine) {
    let (server, mut stream, len) = begun(engine, true, false);
    let path = server.directory().join("large.bin");
    // As `rsync --inplace --times` and `cp --preserve` do: the size and the modification time are
    // as they were.
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, body(2, len)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    let (content, _) = rest(&mut stream);
    assert!(content.len() < len, "the whole of a file that was no longer there");
    assert!(content == body(0, content.len()), "a mixture");
    let mut again = connect(&server, false);
    again.write_all(&get("/large.bin")).unwrap();
    assert!(answer(&mut again) == (200, body(2, len)));
}

fn a_file_that_is_renamed_or_linked_is_sent_to_its_end(engine: Engine) {
    let (server, mut stream, len) = begun(engine, true, false);
    let path = |name: &str| server.directory().join(name);
    // All of this changes the change time.
    fs::hard_link(path("large.bin"), path("link.bin")).unwrap();
    fs::remove_file(path("link.bin")).unwrap();
    fs::rename(path("large.bin"), path("renamed.bin")).unwrap();
    let mut content = vec![0; len];
    stream.read_exact(&mut content).unwrap();
    assert!(content == body(0, len));
}

fn a_file_that_shrinks_ends_the_answer_without_a_farewell(engine: Engine) {
    let (server, mut stream, len) = begun(engine, true, true);
    let file = fs::File::options().write(true).open(server.directory().join("large.bin")).unwrap();
    file.set_len(len as u64 / 2).unwrap();
    let (content, end) = rest(&mut stream);
    assert!(content.len() < len && content == body(0, content.len()));
    assert_eq!(end, Some(ErrorKind::UnexpectedEof));
}

fn a_shard_that_is_started_again_serves_the_newest_site(engine: Engine) {
    let (root, folders) = sites();
    let _away = Away(root);
    let server = Server::over_directory(engine, roomy(), false, budget(), folders[0].clone());
    server.worker.swap(open(&folders[1]));
    server.panics.store(1, Ordering::SeqCst);
    // The clock is asked in a wake-up, once a second; who is connected then is cut off.
    let ask = || {
        let mut stream = server.connect();
        let mut got = Vec::new();
        stream.write_all(b"GET /tiny.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        stream.read_to_end(&mut got).ok()?;
        Some(got[got.len().checked_sub(90)?..].to_vec())
    };
    eventually("the shard to be started again", || {
        ask();
        !server.incidents.lock().unwrap().is_empty()
    });
    for site in [2, 3, 0] {
        eventually("the site that was put up last", || ask() == Some(body((site + 3) % 4, 90)));
        server.worker.swap(open(&folders[site]));
    }
}

fn certificates_are_replaced_while_connections_go_on(engine: Engine) {
    let mut server = Server::tls(engine, roomy());
    let version = &rustls::version::TLS13;
    let ask = |stream: &mut Tls| {
        stream.write_all(&get("/small.txt")).unwrap();
        answer(stream)
    };
    let mut before = server.connect_tls(version);
    let expected = ask(&mut before);
    assert_eq!(expected.0, 200);
    for _ in 0..3 {
        server.renew();
        // A shard takes a change up at the end of its wait; until then the old certificate is
        // shown.
        eventually("the new certificate", || {
            let mut stream = server.connect_tls(version);
            stream.write_all(&get("/small.txt")).is_ok() && answer(&mut stream) == expected
        });
        assert_eq!(ask(&mut before), expected, "a connection goes on with the keys that it has");
    }
    // What cannot be used changes nothing.
    let broken = TlsSpec {
        identities: vec![Pem { chain: b"no certificate".to_vec(), key: b"no key".to_vec().into() }],
        by_host: Vec::new(),
        protocols: Vec::new(),
        min_version: sitar_tls::Version::Tls12,
        seals_max: None,
    };
    assert!(matches!(server.worker.swap_tls(&broken), Err(StartError::Identity(_))));
    let off = server.worker.change(|next| next.tls = None);
    assert_eq!(off, Err(ChangeError::Encryption));
    assert_eq!(ask(&mut server.connect_tls(version)), expected);
    assert_eq!(ask(&mut before), expected);
}

fn sites_are_found_by_the_host_that_is_named(engine: Engine) {
    let (root, folders) = sites();
    let _away = Away(root);
    let server = Server::over_directory(engine, roomy(), false, budget(), folders[0].clone());
    let host = |names: &[&str], site: usize| Host {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        is_default: false,
        ..Host::new(Vec::new(), HostContent::Site(open(&folders[site])))
    };
    let hosts = vec![host(&["a.example"], 1), host(&["b.example", "*.b.example"], 2)];
    server.worker.change(|next| next.hosts = Hosts::new(hosts).unwrap()).unwrap();
    let ask = |host: &str| {
        let text = format!("GET /k70.bin HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let got = server.exchange(text.as_bytes());
        let (status, content) = answer(&mut &got[..]);
        (status, (content == body(1, 70_000)).then_some(1).or((content == body(2, 70_000)).then_some(2)))
    };
    eventually("the hosts", || ask("a.example") == (200, Some(1)));
    // Twice each: as it is loaded, and from memory. The same file of two sites has two places.
    for _ in 0..2 {
        for (name, site) in [("B.EXAMPLE:80", 2), ("x.b.example", 2), ("a.example.", 1), ("a.example", 1)] {
            assert_eq!(ask(name), (200, Some(site)), "{name}");
        }
        for name in ["c.example", "x.y.b.example", "127.0.0.1"] {
            assert_eq!(ask(name), (404, None), "{name}");
        }
    }
    // HTTP/2 names the host in a field of its own.
    for (name, site) in [("a.example", Some(1)), ("x.b.example:80", Some(2)), ("c.example", None)] {
        let (status, content) = asked_over_http2(&server, "/page.html", name);
        assert_eq!(status, if site.is_some() { 200 } else { 404 }, "{name}");
        assert!(site.is_none_or(|site| content == body(site, 9_000)), "{name}");
    }
    // One of them changes, and the other stays what it was.
    let next = vec![host(&["b.example"], 1), host(&["a.example"], 1)];
    server.worker.change(|snapshot| snapshot.hosts = Hosts::new(next).unwrap()).unwrap();
    eventually("the change", || ask("b.example") == (200, Some(1)));
    assert_eq!(ask("a.example"), (200, Some(1)));
    assert_eq!(ask("x.b.example"), (404, None));
}

/// Asks for a path of a host on a connection of HTTP/2, without TLS (RFC 9113 §3.3): the status and
/// the content, which has to fit into the first window.
fn asked_over_http2(server: &Server, path: &str, host: &str) -> (u16, Vec<u8>) {
    const END_STREAM: u8 = 1;
    let mut stream = server.connect();
    // `:method: GET` and `:scheme: http` by their numbers, `:path` and `:authority` as they are
    // (RFC 7541 §6.1, §6.2.2, Appendix A).
    let mut fields = vec![0x82, 0x86];
    for (number, value) in [(4, path), (1, host)] {
        fields.extend([number, value.len() as u8]);
        fields.extend(value.as_bytes());
    }
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // HEADERS of the first stream, with END_HEADERS and END_STREAM.
    stream.write_all(&[0, 0, fields.len() as u8, 1, 4 | END_STREAM, 0, 0, 0, 1]).unwrap();
    stream.write_all(&fields).unwrap();
    let (mut status, mut content) = (0, Vec::new());
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).unwrap();
        let (kind, flags, of_stream) = (head[3], head[4], head[8] != 0);
        match kind {
            0 => content.extend(payload),
            // The size of a table that is not used, and `:status` by its number.
            1 => match payload[..2] {
                [0x20, 0x88] => status = 200,
                [0x20, 0x8d] => status = 404,
                _ => panic!("fields: {payload:x?}"),
            },
            _ => assert!(!of_stream, "a frame of type {kind}"),
        }
        if of_stream && flags & END_STREAM != 0 {
            return (status, content);
        }
    }
}

fn a_date_proves_nothing_where_another_site_was(engine: Engine) {
    let (root, folders) = sites();
    let _away = Away(root);
    // Two sites whose file has the same date, long ago.
    for folder in &folders[..2] {
        let file = fs::File::options().write(true).open(folder.join("page.html")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    let server = Server::over_directory(engine, roomy(), false, budget(), folders[0].clone());
    let ask = |host: &str, fields: &str| {
        let text = format!("GET /page.html HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n");
        server.exchange(text.as_bytes())
    };
    let status = |host: &str| {
        let got = ask(host, "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
        String::from_utf8_lossy(&got[9..12]).into_owned()
    };
    let is_of = |site: usize| answer(&mut &ask("a.example", "")[..]).1 == body(site, 9_000);
    assert!(is_of(0));
    assert_eq!((status("a.example"), status("b.example")), ("304".into(), "304".into()));
    // A name gets a site of its own, and the other site gets the name back.
    let mut all = None;
    let other = open(&folders[1]);
    let change = |next: &mut sitar_server::Snapshot| {
        let (_, default) = next.hosts.iter().next().unwrap();
        let own = Host::new(vec!["a.example".to_owned()], HostContent::Site(other));
        let hosts = Hosts::new(vec![own, default.clone()]).unwrap();
        all = Some(std::mem::replace(&mut next.hosts, hosts));
    };
    server.worker.change(change).unwrap();
    eventually("the name's own site", || is_of(1));
    assert_eq!((status("a.example"), status("b.example")), ("200".into(), "304".into()));
    server.worker.change(|next| next.hosts = all.unwrap()).unwrap();
    eventually("the site of all names", || is_of(0));
    assert_eq!((status("a.example"), status("b.example")), ("200".into(), "200".into()));
}

fn the_request_after_a_swap_is_answered_from_the_new_site(engine: Engine) {
    let (root, folders) = sites();
    let _away = Away(root);
    let server = Server::over_directory(engine, roomy(), false, budget(), folders[0].clone());
    let (name, len) = FILES[0];
    let mut stream = server.connect();
    for turn in 1..200 {
        let site = turn % SITES;
        server.worker.swap(open(&folders[site]));
        stream.write_all(&get(&format!("/{name}"))).unwrap();
        assert!(answer(&mut stream) == (200, body(site, len)), "the answer to request {turn} is an old one");
    }
}
