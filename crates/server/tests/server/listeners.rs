//! Listeners that come, go and change their use while the worker serves.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{Engine, Server, answer, get, small};
use sitar_server::{ChangeError, Listener, Networks, Role};

crate::on_every_engine! {
    a_listener_comes_and_goes_and_connections_stay,
    another_use_of_a_listener_loses_nothing_that_waits,
    one_listener_after_another_leaves_no_socket_behind,
    a_restarted_shard_has_the_listeners_of_now,
    a_stop_closes_listeners_that_came_later,
}

const PATIENCE: Duration = Duration::from_secs(30);

fn bind() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Serves on these besides, and on no other but the first one.
fn set(server: &Server, others: &[Listener]) {
    let change = |next: &mut sitar_server::Snapshot| {
        let first = next.listeners[0].clone();
        next.listeners = [first].iter().chain(others).cloned().collect();
    };
    server.worker.change(change).unwrap();
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream) -> u16 {
    stream.write_all(&get("/small.txt")).unwrap();
    answer(stream).0
}

/// Waits until nothing listens there any more.
fn wait_until_refused(address: SocketAddr) {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            _ if Instant::now() > until => panic!("something still listens on {address}"),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn a_listener_comes_and_goes_and_connections_stay(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut first = server.connect();
    assert_eq!(ask(&mut first), 200);
    let (socket, address) = bind();
    set(&server, &[Listener::new(Role::Http, vec![socket.into()])]);
    let mut second = connect(address);
    assert_eq!(ask(&mut second), 200);
    set(&server, &[]);
    wait_until_refused(address);
    assert_eq!(ask(&mut second), 200, "a connection ends with its listener");
    assert_eq!(ask(&mut first), 200);
    assert_eq!(ask(&mut server.connect()), 200);
    // None is none.
    let change = |next: &mut sitar_server::Snapshot| next.listeners = [].into();
    assert_eq!(server.worker.change(change), Err(ChangeError::Listeners));
    assert_eq!(ask(&mut server.connect()), 200);
}

fn another_use_of_a_listener_loses_nothing_that_waits(engine: Engine) {
    let server = Server::plain(engine, small());
    let (socket, address) = bind();
    let mut listener = Listener::new(Role::Http, vec![socket.into()]);
    set(&server, &[listener.clone()]);
    let mut old = connect(address);
    assert_eq!(ask(&mut old), 200);
    for turn in 0..20 {
        let role = if turn % 2 == 0 { Role::RedirectToHttps { port: 443 } } else { Role::Http };
        listener = listener.with_use(Networks::default(), role).unwrap();
        let mut waiting = connect(address);
        set(&server, &[listener.clone()]);
        let mut after = connect(address);
        // Accepted before or after the change, and answered in any case.
        assert!([200, 308].contains(&ask(&mut waiting)));
        // What comes when the change has been made is of the new use.
        assert_eq!(ask(&mut after), if turn % 2 == 0 { 308 } else { 200 });
        assert_eq!(ask(&mut old), 200);
    }
}

fn one_listener_after_another_leaves_no_socket_behind(engine: Engine) {
    let server = Server::plain(engine, small());
    let mut last = None;
    // More than there are keys for listeners.
    for _ in 0..300 {
        let (socket, address) = bind();
        set(&server, &[Listener::new(Role::Http, vec![socket.into()])]);
        assert_eq!(ask(&mut connect(address)), 200);
        if let Some(before) = last.replace(address) {
            wait_until_refused(before);
        }
    }
}

fn a_restarted_shard_has_the_listeners_of_now(engine: Engine) {
    let server = Server::plain(engine, small());
    let (socket, address) = bind();
    set(&server, &[Listener::new(Role::Http, vec![socket.into()])]);
    assert_eq!(ask(&mut connect(address)), 200);
    server.panics.store(1, std::sync::atomic::Ordering::SeqCst);
    let until = Instant::now() + PATIENCE;
    while server.panics.load(std::sync::atomic::Ordering::SeqCst) > 0 {
        assert!(Instant::now() < until, "no panic");
        // The time is asked for once a second.
        let _ = TcpStream::connect(address);
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut stream = connect(address);
    stream.write_all(&get("/small.txt")).unwrap();
    let mut one = [0; 12];
    // What was accepted by the shard that failed is closed.
    if stream.read_exact(&mut one).is_err() {
        assert_eq!(ask(&mut connect(address)), 200);
    }
}

fn a_stop_closes_listeners_that_came_later(engine: Engine) {
    let server = Server::plain(engine, small());
    let (socket, address) = bind();
    set(&server, &[Listener::new(Role::Http, vec![socket.into()])]);
    assert_eq!(ask(&mut connect(address)), 200);
    server.stop();
    wait_until_refused(address);
    wait_until_refused(server.address);
}
