//! Connections that a router by server name accepts and passes.

use super::place::{NAME, Place, Service};
use crate::common::client::{self, Client};
use crate::common::{Over, descriptors, eventually, h2, have, run_with, sample, sitar};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The name in the certificate.
const HOST: &str = "pass.test";
const LISTEN: &str = "[[listen]]\naddress = \"passed:tls.sock\"\n\
                      [[listen]]\naddress = \"passed:plain.sock\"\ntls = \"off\"\n";
/// Connections that are passed; `SITAR_SAMPLE` divides them.
const MANY: usize = 10_000;
const GET: &str = "GET /name.txt HTTP/1.0\r\n\r\n";

/// The router's process.
struct Router(Child, SocketAddr);

impl Router {
    fn start(place: &Place) -> Router {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/supervisor/router.py"));
        for (name, socket) in [(HOST, "tls.sock"), ("-", "plain.sock")] {
            command.arg(format!("{name}={}", place.path(socket).display()));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, line.trim().parse().unwrap()));
        Router(child, address)
    }

    /// Asks over TLS, by HTTP/1.1.
    fn http1(&self, config: &Arc<ClientConfig>) -> io::Result<(u16, Vec<u8>)> {
        let answer = self.connect(config)?.get("/name.txt")?;
        Ok((answer.status, answer.body))
    }

    fn http2(&self, config: &Arc<ClientConfig>) -> io::Result<(u16, Vec<u8>)> {
        let answer = h2::Client::over(self.connect(config)?, 65_535)?.get("/name.txt")?;
        Ok((answer.status, answer.body))
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> io::Result<Client> {
        Client::over_as(config, client::socket(self.1)?, ServerName::try_from(HOST).unwrap())
    }

    /// Asks in plain text, from that address.
    fn plain(&self, source: Option<Ipv4Addr>) -> String {
        answer(client::socket_from(source, self.1, None).unwrap())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks in plain text, and returns all that comes back.
fn answer(mut stream: impl Read + Write) -> String {
    let _ = stream.write_all(GET.as_bytes());
    rest(stream)
}

fn rest(mut stream: impl Read) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn start(engine: &str, more: &str) -> Service {
    let place = Place::new();
    place.configure_engine(engine, &format!("{more}{LISTEN}"));
    place.start()
}

/// KiB that a process has in memory.
fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_router_passes_ten_thousand_connections_and_nothing_is_left_of_them() {
    if !have(&["python3"]) {
        return;
    }
    let service = start("auto", "");
    pass_many(&service, MANY / sample());
}

#[test]
fn connections_are_passed_to_each_engine() {
    if !have(&["python3"]) {
        return;
    }
    for engine in ["uring", "sqpoll", "epoll"] {
        let service = start(engine, "");
        pass_many(&service, 200);
    }
}

/// Passes that many connections, some at a time, over TLS by HTTP/1.1 and HTTP/2, and in plain
/// text.
fn pass_many(service: &Service, many: usize) {
    let router = Router::start(&service.place);
    let (http1, http2) = (service.clients(b"http/1.1"), service.clients(b"h2"));
    let ask = |number: usize| match number % 4 {
        0 | 1 => assert_eq!(router.http1(&http1).unwrap(), (200, NAME.into())),
        2 => assert_eq!(router.http2(&http2).unwrap(), (200, NAME.into())),
        _ => {
            let got = router.plain(None);
            assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with(NAME), "{got}");
        }
    };
    let pass = |many: usize| {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let number = next.fetch_add(1, Ordering::Relaxed)
                        && number < many
                    {
                        ask(number);
                    }
                });
            }
        });
    };
    let worker = service.worker().unwrap();
    // Whatever is made once.
    pass(100.max(many / 10));
    let mut before = 0;
    eventually("the end of all connections", || {
        let now = descriptors(worker);
        std::mem::replace(&mut before, now) == now
    });
    let memory = resident(worker);
    pass(many);
    eventually("as many descriptors as before", || descriptors(worker) <= before);
    let now = resident(worker);
    assert!(now <= memory + (16 << 10), "{memory} KiB, and then {now} KiB");
    assert_eq!(service.worker(), Some(worker));
}

/// Sends a message with descriptors.
fn send(router: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    rustix::net::sendmsg(router, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
}

fn connect(service: &Service, name: &str) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(service.place.path(name)).unwrap()).unwrap();
    socket
}

#[test]
fn a_message_that_passes_no_connection_is_dropped_and_the_next_one_counts() {
    for engine in ["auto", "epoll"] {
        let service = start(engine, "");
        let worker = service.worker().unwrap();
        let router = connect(&service, "plain.sock");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let whole = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        };
        // However much has come already, also all of it; of TCP and on a Unix socket.
        for count in [0, 1, GET.len()] {
            let (mut client, accepted) = whole();
            send(&router, &GET.as_bytes()[..count], &[accepted.as_fd()]);
            drop(accepted);
            client.write_all(&GET.as_bytes()[count..]).unwrap();
            assert!(rest(client).ends_with(NAME), "{count} bytes");
        }
        let (client, accepted) = UnixStream::pair().unwrap();
        send(&router, b"", &[accepted.as_fd()]);
        drop(accepted);
        assert!(answer(client).ends_with(NAME));

        let before = descriptors(worker);
        let (client, accepted) = whole();
        let (file, datagrams) = (File::open("/dev/null").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (own, own_again) = (accepted.as_fd(), accepted.as_fd());
        for (bytes, passed) in [
            (&b"x"[..], &[][..]),
            (b"x", &[own, own_again]),
            (b"x", &[own; 12]),
            (b"x", &[file.as_fd()]),
            (b"x", &[datagrams.as_fd()]),
            (b"x", &[listener.as_fd()]),
            (&[7; (16 << 10) + 1], &[own]),
        ] {
            send(&router, bytes, passed);
        }
        drop(accepted);
        assert_eq!(answer(client), "", "none of them is served");
        // Behind all of them.
        let (client, accepted) = whole();
        send(&router, b"", &[accepted.as_fd()]);
        drop(accepted);
        assert!(answer(client).ends_with(NAME));
        eventually("the end of what was dropped", || descriptors(worker) <= before);
        let said = service.server.said();
        let own = format!("a message of process {} passes no connection", std::process::id());
        assert_eq!(said.matches(&own).count(), 1, "{said}");
        assert!(said.contains("dropped: it has not one descriptor"), "{said}");
    }
}

#[test]
fn the_client_is_the_one_that_the_router_has_accepted() {
    if !have(&["python3"]) {
        return;
    }
    let service = start("auto", "deny = \"127.0.0.9\"\nrate = \"2/h\"\nburst = 2\n");
    let router = Router::start(&service.place);
    let status = |last| router.plain(Some(Ipv4Addr::new(127, 0, 0, last)))[9..12].to_owned();
    assert_eq!([status(7), status(9), status(7), status(7), status(8)], ["200", "403", "200", "429", "200"]);
}

/// A router that sees that the server leaves, or that its message is not taken, connects again.
#[test]
fn no_connection_is_lost_while_configuration_and_program_change() {
    if !have(&["python3"]) {
        return;
    }
    let service = start("auto", "");
    let path = service.place.path("tls.sock");
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let listeners = service.status()["listeners"].as_array().unwrap().clone();
    let own = listeners.iter().find(|one| one["address"] == format!("passed:{}", path.display()));
    assert_eq!(own.unwrap()["role"], "https");

    let router = Router::start(&service.place);
    let config = service.clients(b"http/1.1");
    let is_over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        let asking = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(router.http1(&config).unwrap(), (200, NAME.into()));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let go_on = || {
            let before = asked.load(Ordering::Relaxed);
            eventually("some more answers", || {
                asking.is_finished() || asked.load(Ordering::Relaxed) >= before + 20
            });
            assert!(!asking.is_finished());
        };
        go_on();
        for more in ["", "[[listen]]\naddress = \"passed:more.sock\"\ntls = \"off\"\n"].repeat(2) {
            service.place.configure(&format!("{LISTEN}mode = \"0606\"\n{more}"));
            service.reload();
            assert_eq!(service.place.path("more.sock").exists(), !more.is_empty());
            go_on();
        }
        for _ in 0..2 {
            service.run(&["upgrade"]).ok();
            go_on();
        }
    });
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    eventually("the end of the old processes", || service.place.processes().len() == 2);
    // One that is not configured any more goes, and routers hear of it.
    let waiting = connect(&service, "plain.sock");
    service.place.configure("");
    service.reload();
    assert_eq!(rustix::net::recv(&waiting, &mut [0; 1], rustix::net::RecvFlags::empty()).unwrap().1, 0);
    assert!(!path.exists());
    assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
}

/// The router waits in its sends; each connection is served or closed, and none is kept.
#[test]
fn more_connections_than_there_are_places_leave_nothing_behind() {
    for engine in ["auto", "epoll"] {
        let place = Place::new();
        place.configure_engine(engine, LISTEN);
        let service = place.start_with([("SITAR_CONNECTIONS", "16".into())]);
        let (worker, router) = (service.worker().unwrap(), connect(&service, "plain.sock"));
        let pass = |bytes: &[u8]| {
            let (client, accepted) = UnixStream::pair().unwrap();
            send(&router, bytes, &[accepted.as_fd()]);
            client
        };
        assert!(answer(pass(b"")).ends_with(NAME));
        let before = descriptors(worker);
        let unfinished: Vec<UnixStream> = (0..300).map(|_| pass(b"GET /")).collect();
        eventually("a place for one that asks", || answer(pass(b"")).ends_with(NAME));
        drop(unfinished);
        eventually("as many descriptors as before", || descriptors(worker) <= before);
        assert!(answer(pass(b"")).ends_with(NAME));
        assert_eq!(service.worker(), Some(worker));
    }
}

#[test]
fn a_stop_does_not_wait_for_a_router() {
    let service = start("auto", "");
    let router = connect(&service, "plain.sock");
    let (client, accepted) = UnixStream::pair().unwrap();
    send(&router, b"", &[accepted.as_fd()]);
    drop(accepted);
    assert!(answer(client).ends_with(NAME));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(service.supervisor()).unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    eventually("the end of the server", || service.place.processes().is_empty());
    assert!(!service.place.path("plain.sock").exists());
}

#[test]
fn a_socket_that_another_server_listens_on_is_not_taken() {
    let service = start("auto", "");
    let second = Place::new();
    let path = service.place.path("plain.sock");
    second.configure(&format!("[[listen]]\naddress = \"passed:{}\"\ntls = \"off\"\n", path.display()));
    let mut command = sitar(&second.path(""));
    let said = run_with(command.args(["serve", "--config"]).arg(second.path("sitar.toml")), b"").stderr;
    assert!(said.contains("cannot make the socket for passed connections"), "{said}");
    assert!(said.contains("another program listens there"), "{said}");
}
