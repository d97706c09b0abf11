//! Listeners on Unix sockets.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sitar_server::{
    BodyMemory, Hooks, Host, HostContent, Hosts, Limits, ListenerSpec, Networks, Role, Spec, TlsOffload,
    Worker,
};
use sitar_site::{Options, Site};

use crate::harness::{Engine, small};

crate::on_every_engine! {
    a_unix_socket_is_served_and_its_clients_share_no_address,
    a_large_file_arrives_whole,
}

struct Server {
    worker: Worker,
    folder: tempfile::TempDir,
}

impl Server {
    /// Serves a folder on a Unix socket in it, where it has to be known who asks.
    fn new(engine: Engine, limits: Limits) -> Server {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("small.txt"), "hello\n").unwrap();
        std::fs::write(folder.path().join("large.bin"), vec![7; 9 << 20]).unwrap();
        let site = Arc::new(Site::open(folder.path(), &Options::default()).unwrap());
        let host = Host {
            is_default: true,
            access: Some(Arc::default()),
            ..Host::new(Vec::new(), HostContent::Site(site))
        };
        let listener = UnixListener::bind(folder.path().join("http.sock")).unwrap();
        let spec = Spec {
            listeners: vec![ListenerSpec {
                role: Role::Http,
                is_passed: false,
                proxies: Networks::default(),
                sockets: vec![listener.into()],
            }],
            site: None,
            tls: None,
            limits,
            offload: TlsOffload::None,
            memory: BodyMemory::new(1 << 20, 1 << 19),
        };
        let hooks = Hooks {
            may_have_users: false,
            clock: Arc::new(SystemTime::now),
            report: Arc::new(|incident| panic!("{incident}")),
            hosts: Some(Hosts::new(vec![host]).unwrap()),
            tls: None,
            log: None,
            trusted_proxies: Arc::default(),
            challenges: Arc::default(),
            times: false,
        };
        Server { worker: engine.start(&spec, &hooks), folder }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("http.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

/// Asks, and returns the beginning of the answer.
fn ask(stream: &mut UnixStream) -> String {
    stream.write_all(b"GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello\n") {
        let mut buf = [0; 1024];
        let count = stream.read(&mut buf).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buf[..count]);
    }
    String::from_utf8_lossy(&answer[..12]).into_owned()
}

/// The share of an address would be two of the table's 32 places.
fn a_unix_socket_is_served_and_its_clients_share_no_address(engine: Engine) {
    let server = Server::new(engine, Limits { connections: 32, ..small() });
    let mut streams: Vec<UnixStream> = (0..32).map(|_| server.connect()).collect();
    for _ in 0..2 {
        for stream in &mut streams {
            assert_eq!(ask(stream), "HTTP/1.1 200");
        }
    }
    server.worker.stop();
    let counts = server.worker.wait();
    assert_eq!((counts.accepted, counts.requests, counts.shed, counts.refused), (32, 64, 0, 0));
}

fn a_large_file_arrives_whole(engine: Engine) {
    let server = Server::new(engine, small());
    let mut stream = server.connect();
    stream.write_all(b"GET /large.bin HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len() - body, 9 << 20);
    assert!(answer[body..].iter().all(|byte| *byte == 7));
    server.worker.stop();
    assert_eq!(server.worker.wait().ends.finished, 1);
}
