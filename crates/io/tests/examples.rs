//! The adapters of the examples, in this process, against std's sockets: both models give the same
//! answers, and a connection whose routine is dropped in the middle of a receive and a send loses
//! nothing and frees nothing too early.
#![allow(
    dead_code,
    clippy::duplicate_mod,
    reason = "the examples are programs, each with its modules and `main`"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use sitar_io::{Config, Key, Region, Ring, Segment, SendBuf, Stats, TxBuf};

#[path = "../examples/adapter/mod.rs"]
mod adapter;
#[path = "../examples/async_echo.rs"]
mod async_echo;
#[path = "../examples/datagrams.rs"]
mod datagrams;
#[path = "../examples/file_server.rs"]
mod file_server;
#[path = "../examples/many_files.rs"]
mod many_files;
#[path = "../examples/plain_echo.rs"]
mod plain_echo;
#[path = "../examples/stackful_echo.rs"]
mod stackful_echo;

/// Few of everything, so that connections wait for each other.
const SMALL: Config = Config { connections: 32, rx_count: 8, rx_len: 1000, tx_count: 2, tx_len: 3000 };
/// Operations in flight on a ring without connections: accepting, and the waker.
const IDLE_OPS: usize = 2;

/// A server of any model.
trait Turns {
    fn turn(&mut self) -> io::Result<()>;
    fn abort(&mut self);
    fn stats(&self) -> Stats;

    /// Turns until `client`, on a thread of its own, has finished.
    fn serve<T: Send>(&mut self, client: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let client = scope.spawn(client);
            while !client.is_finished() {
                self.turn().unwrap();
            }
            client.join().unwrap()
        })
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Stats) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&self.stats()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.stats());
            self.turn().unwrap();
        }
    }

    fn comes_to_rest(&mut self, config: &Config) {
        self.turn_until("every connection closes", |stats| stats.connections == 0);
        // The accept that a full table has ended begins again in the next turn.
        self.turn().unwrap();
        let Stats { ops, tx_free, rx_leased, .. } = self.stats();
        assert_eq!((ops, tx_free, rx_leased), (IDLE_OPS, config.tx_count as usize, 0));
    }
}

/// Each example has the adapter as a module of its own, so there are four types of server.
macro_rules! turns {
    ($($adapter:path),*) => {$(
        const _: () = {
            use $adapter as adapter;
            impl<R: adapter::Routine> Turns for adapter::Server<R> {
                fn turn(&mut self) -> io::Result<()> {
                    adapter::Server::turn(self, Some(Instant::now() + Duration::from_millis(5)))
                }
                fn abort(&mut self) {
                    adapter::Server::abort(self);
                }
                fn stats(&self) -> Stats {
                    adapter::Server::stats(self)
                }
            }
        };
    )*};
}
turns!(self::adapter, async_echo::adapter, stackful_echo::adapter, file_server::adapter);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// Bytes of which no two places within 251 are alike.
fn pattern(len: usize, from: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i % 251) as u8).collect()
}

fn echoes(config: &Config, mut server: impl Turns, address: SocketAddr) {
    // A few at a time, in pieces of many lengths.
    server.serve(|| {
        let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
        for (round, len) in [1, 999, 1000, 1001, 2999, 3000, 3001, 20_000].into_iter().enumerate() {
            for (n, client) in clients.iter_mut().enumerate() {
                client.write_all(&pattern(len, n + round)).unwrap();
            }
            for (n, client) in clients.iter_mut().enumerate() {
                let mut got = vec![0; len];
                client.read_exact(&mut got).unwrap();
                assert!(got == pattern(len, n + round), "client {n}, {len} bytes");
            }
        }
        for mut client in clients {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "the end is echoed too");
        }
    });
    server.comes_to_rest(config);

    // A peer that writes all before it reads anything, and one that is gone before it gets an
    // answer.
    server.serve(|| {
        let mut client = connect(address);
        let mut writer = client.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            writer.write_all(&pattern(3_000_000, 7)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        connect(address).write_all(&[1; 5000]).unwrap();
        // More than the sockets hold is on its way by now or soon; the server has to leave it
        // there.
        std::thread::sleep(Duration::from_millis(50));
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        writing.join().unwrap();
        assert!(got == pattern(3_000_000, 7), "{} bytes", got.len());
    });
    server.comes_to_rest(config);
}

impl Turns for plain_echo::Echo {
    fn turn(&mut self) -> io::Result<()> {
        plain_echo::Echo::turn(self, Some(Instant::now() + Duration::from_millis(5)))
    }
    fn abort(&mut self) {}
    fn stats(&self) -> Stats {
        plain_echo::Echo::stats(self)
    }
}

#[test]
fn a_plain_loop_echoes() {
    let (listener, address) = listen();
    echoes(&SMALL, plain_echo::Echo::new(&SMALL, listener).unwrap(), address);
}

#[test]
fn futures_echo() {
    let (listener, address) = listen();
    echoes(&SMALL, async_echo::server(&SMALL, listener).unwrap(), address);
}

#[test]
fn stacks_echo() {
    let (listener, address) = listen();
    echoes(&SMALL, stackful_echo::server(&SMALL, listener).unwrap(), address);
}

#[test]
fn a_server_that_was_full_accepts_again_when_a_connection_closes() {
    let config = Config { connections: 2, ..SMALL };
    let (listener, address) = listen();
    let mut server = async_echo::server(&config, listener).unwrap();
    server.serve(|| {
        let mut clients: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
        for client in &mut clients {
            client.write_all(b"first").unwrap();
            expect(client, b"first");
        }
        // The kernel closes a connection that finds no place.
        assert!(!matches!(connect(address).read(&mut [0]), Ok(1..)));
        drop(clients);
        let mut got = [0; 5];
        let answered = (0..1000).any(|_| {
            let mut client = connect(address);
            let sent = client.write_all(b"again").and_then(|()| client.read_exact(&mut got));
            sent.is_ok() && &got == b"again"
        });
        assert!(answered, "deaf");
    });
    server.comes_to_rest(&config);
}

/// The folder that both file servers serve: three files and something that is none.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sitar-io-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("a folder")).unwrap();
        std::fs::write(path.join("empty"), b"").unwrap();
        std::fs::write(path.join("short"), b"hello\n").unwrap();
        std::fs::write(path.join("long"), pattern(1_000_003, 0)).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn expect(client: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert!(got == expected, "{:?} …", String::from_utf8_lossy(&got[..got.len().min(40)]));
}

fn serves_files(mut server: impl Turns, address: SocketAddr) {
    server.serve(|| {
        let mut client = connect(address);
        client.write_all(b"short\n").unwrap();
        expect(&mut client, b"6\nhello\n");
        // Several requests at once, a name in two pieces, and names that are none of the files.
        client.write_all(b"long\nempty\nnone\na folder\n../short\n\nsho").unwrap();
        expect(&mut client, b"1000003\n");
        expect(&mut client, &pattern(1_000_003, 0));
        expect(&mut client, b"0\n-\n-\n-\n-\n");
        client.write_all(b"rt\n").unwrap();
        expect(&mut client, b"6\nhello\n");

        let mut endless = connect(address);
        endless.write_all(&[b'x'; 600]).unwrap();
        let gone = endless.read(&mut [0]);
        assert!(matches!(gone, Ok(0) | Err(_)), "a name of 600 bytes is answered by closing: {gone:?}");

        // Gone while the answer is on its way.
        connect(address).write_all(b"long\n").unwrap();
    });
    server.comes_to_rest(&SMALL);
}

#[test]
fn futures_serve_files() {
    let folder = Folder::new("tasks");
    let (listener, address) = listen();
    let files = file_server::Files::open(&folder.0).unwrap();
    serves_files(file_server::tasks(&SMALL, listener, files).unwrap(), address);
}

#[test]
fn stacks_serve_files() {
    let folder = Folder::new("fibers");
    let (listener, address) = listen();
    let files = file_server::Files::open(&folder.0).unwrap();
    serves_files(file_server::fibers(&SMALL, listener, files).unwrap(), address);
}

const SEND: usize = 60_000;
const ROOMY: Config = Config { connections: 4, rx_count: 8, rx_len: 1000, tx_count: 2, tx_len: SEND as u32 };
/// More than two sockets' buffers hold: the send stays in flight until the client reads.
const MUCH: usize = 32 << 20;

/// A send slot full of ones and a large region of twos.
fn much(mut tx: TxBuf, region: &Region) -> SendBuf {
    tx.fill(1);
    tx.set_filled(SEND);
    SendBuf::Gather([Some(Segment::Tx(tx)), Some(Segment::Shared(region.clone(), 0..MUCH))])
}

/// Drops whatever serves the one connection while it is being received from and sent to, and looks
/// whether the slot that is being sent stays where it is.
fn drops_in_flight(mut server: impl Turns, address: SocketAddr) {
    let mut client = connect(address);
    client.write_all(b"go").unwrap();
    // Accept, waker, receive, send.
    server.turn_until("both are in flight", |stats| stats.ops == IDLE_OPS + 2 && stats.tx_free == 1);
    // The send was queued in the last turn; now it starts, and stops where the sockets are full.
    server.turn().unwrap();
    server.abort();
    let stats = server.stats();
    assert_eq!((stats.ops, stats.tx_free, stats.connections), (IDLE_OPS + 2, 1, 1), "the ring has it all");

    // Another connection gets the other slot, and only that.
    let mut second = connect(address);
    second.write_all(b"go").unwrap();
    let mut got = Vec::new();
    server.serve(|| {
        let mut chunk = vec![0; 1 << 20];
        while let Ok(n @ 1..) = client.read(&mut chunk) {
            got.extend_from_slice(&chunk[..n]);
        }
        expect(&mut second, &[1; SEND]);
    });
    // The kernel had taken the whole slot before the cancel. What came of the region is a beginning
    // of it.
    let (ones, twos) = got.split_at(SEND.min(got.len()));
    assert!(ones == [1; SEND], "{} bytes", ones.len());
    assert!(twos.iter().all(|&byte| byte == 2));
    assert!(twos.len() < MUCH, "the send was cancelled");
    server.abort();
    drop(second);
    server.comes_to_rest(&ROOMY);
}

#[test]
fn a_future_dropped_in_flight_leaves_its_buffer_with_the_ring() {
    let (listener, address) = listen();
    let region = Region::copy_of(&vec![2; MUCH]).unwrap();
    let server = adapter::Server::tasks(&ROOMY, listener, move |socket| {
        let region = region.clone();
        async move {
            socket.readable().await.unwrap();
            let buf = much(socket.buffer().await, &region);
            socket.send(buf).await.unwrap();
        }
    });
    drops_in_flight(server.unwrap(), address);
}

#[test]
fn a_stack_dropped_in_flight_leaves_its_buffer_with_the_ring() {
    let (listener, address) = listen();
    let region = Region::copy_of(&vec![2; MUCH]).unwrap();
    let server = adapter::Server::fibers(&ROOMY, listener, move |fiber| {
        fiber.readable().unwrap();
        let buf = much(fiber.buffer(), &region);
        fiber.send(buf).unwrap();
    });
    drops_in_flight(server.unwrap(), address);
}

#[test]
fn a_send_whose_future_was_dropped_goes_out_whole_before_the_next() {
    let (listener, address) = listen();
    let region = Region::copy_of(&vec![2; MUCH]).unwrap();
    let mut server = adapter::Server::tasks(&ROOMY, listener, move |socket| {
        let region = region.clone();
        async move {
            {
                let mut given_up = pin!(socket.send(SendBuf::Shared(region, 0..MUCH)));
                // Once only: it is begun, and dropped.
                std::future::poll_fn(|context| {
                    assert!(given_up.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            let mut tx = socket.buffer().await;
            tx[..4].copy_from_slice(b"next");
            tx.set_filled(4);
            socket.send(tx).await.unwrap();
        }
    })
    .unwrap();
    let got = server.serve(|| {
        let mut got = Vec::new();
        connect(address).read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(got.len(), MUCH + 4);
    assert!(got[..MUCH].iter().all(|&byte| byte == 2));
    assert_eq!(&got[MUCH..], b"next");
    server.comes_to_rest(&ROOMY);
}

#[test]
fn a_server_dropped_in_flight_closes_its_connections() {
    let (listener, address) = listen();
    let mut server = stackful_echo::server(&SMALL, listener).unwrap();
    let mut client = connect(address);
    client.write_all(b"hello").unwrap();
    server.turn_until("a connection", |stats| stats.connections == 1);
    drop(server);
    let mut got = Vec::new();
    // Whether the answer was on its way is the kernel's to say.
    if client.read_to_end(&mut got).is_ok() {
        assert!(b"hello".starts_with(&got));
    }
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
}

/// Every way of doing it finds every byte (the example checks that), and says what it took.
#[test]
fn many_files_are_found_every_way() {
    let said = many_files::compare(250, 1, 8).unwrap();
    for way in ["| plain calls | ", "| epoll, a helper | "] {
        assert!(said.contains(way), "{said}");
    }
}

/// Datagrams that left together come back, each whole, in fewer operations where the kernel
/// coalesces.
#[test]
fn datagrams_are_echoed_together() {
    let bound = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = bound();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let socket = bound();
    let address = socket.local_addr().unwrap();
    let mut echo = datagrams::Echo::new(Ring::epoll(&datagrams::CONFIG).unwrap(), socket).unwrap();
    for number in 0..10_u8 {
        client.send_to(&[number; 500], address).unwrap();
    }
    while echo.echoed.0 < 10 {
        echo.turn(None).unwrap();
    }
    echo.turn(Some(Instant::now())).unwrap();
    for number in 0..10_u8 {
        let mut got = [0; 600];
        assert_eq!(client.recv(&mut got).unwrap(), 500);
        assert_eq!(got[..500], [number; 500]);
    }

    let Ok(ring) = Ring::uring(&datagrams::CONFIG) else { return };
    let socket = bound();
    let address = socket.local_addr().unwrap();
    let mut echo = datagrams::Echo::new(ring, socket).unwrap();
    let mut sender = Ring::uring(&datagrams::CONFIG).unwrap();
    let udp = sender.udp(client.try_clone().unwrap().into(), false, Key(1)).unwrap();
    let mut tx = sender.take_tx().unwrap();
    tx[..5500].fill(8);
    tx.set_filled(5500);
    sender.send_to(&udp, Segment::Tx(tx), address, std::num::NonZeroU16::new(500)).unwrap();
    sender.wait(None).unwrap();
    while echo.echoed.0 < 11 {
        echo.turn(None).unwrap();
    }
    echo.turn(Some(Instant::now())).unwrap();
    for _ in 0..11 {
        assert_eq!(client.recv(&mut [0; 600]).unwrap(), 500);
    }
    assert_eq!(echo.echoed, (11, 1), "over loopback they arrive together");
}
