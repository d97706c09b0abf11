//! Places in the table of connections, and who gives one up for a newcomer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sitar_server::Limits;

use crate::harness::{Engine, Server, answer, get, small};

crate::on_every_engine! {
    accepting_goes_on_after_the_table_was_full,
    a_full_table_gives_up_the_longest_idle,
    one_address_leaves_half_of_the_table_to_others,
    newcomers_at_a_share_do_not_have_the_table_walked_one_by_one,
    what_is_busy_is_not_given_up,
    half_done_handshakes_are_given_up,
}

crate::on_the_polled_ring! {
    accepting_goes_on_after_the_table_was_full,
    a_full_table_gives_up_the_longest_idle,
}

/// A connection from 127.0.0.`host` that has had an answer.
fn served(server: &Server, host: u8) -> TcpStream {
    let mut stream = server.connect_from(host);
    assert!(is_served(&mut stream), "a newcomer from 127.0.0.{host}");
    stream
}

fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(&get("/small.txt")).unwrap();
    answer(stream) == (200, b"hello\n".to_vec())
}

/// Whether the server has closed it, or does in time.
fn is_closed(stream: &mut TcpStream, in_time: Duration) -> bool {
    stream.set_read_timeout(Some(in_time)).unwrap();
    let read = stream.read(&mut [0]).map_err(|error| error.kind());
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match read {
        Ok(0) | Err(ErrorKind::ConnectionReset) => true,
        Err(ErrorKind::WouldBlock) => false,
        other => panic!("{other:?}"),
    }
}

const LATER: Duration = Duration::from_secs(60);

/// A connection from an address of its own that is sent more than it reads.
fn busy(server: &Server, host: u8) -> TcpStream {
    let mut stream = server.connect_narrow_from(host);
    stream.write_all(&get("/m9.bin")).unwrap();
    // Until the answer has begun it is no more than a newcomer.
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream
}

/// Nothing can be given up while all are busy: a newcomer waits in the kernel's queue.
fn accepting_goes_on_after_the_table_was_full(engine: Engine) {
    let server = Server::plain(engine, Limits { connections: 4, ..small() });
    for _ in 0..3 {
        let held: Vec<_> = (2..6).map(|host| busy(&server, host)).collect();
        let mut queued = server.connect_from(9);
        queued.write_all(&get("/small.txt")).unwrap();
        let waits = !is_closed(&mut queued, Duration::from_millis(200));
        drop(held);
        // Accepting had not paused yet when it came: closed at once. Otherwise it is served when
        // there is room.
        if waits {
            assert_eq!(answer(&mut queued).0, 200);
        }
    }
    server.stop();
}

fn a_full_table_gives_up_the_longest_idle(engine: Engine) {
    let server = Server::plain(engine, Limits { connections: 4, ..small() });
    let mut held: Vec<_> = (2..6).map(|host| served(&server, host)).collect();
    // The first one is the last to have been used.
    assert!(is_served(&mut held[0]));
    let mut newcomer = served(&server, 9);
    assert!(is_closed(&mut held[1], LATER), "the longest idle one stays");
    for kept in [0, 2, 3] {
        assert!(is_served(&mut held[kept]), "{kept}");
    }
    assert!(is_served(&mut newcomer));
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.shed, counts.refused, counts.ends.no_room), (5, 1, 0, 1));
}

fn one_address_leaves_half_of_the_table_to_others(engine: Engine) {
    let server = Server::plain(engine, Limits { connections: 32, ..small() });
    let mut many: Vec<_> = (0..16).map(|_| served(&server, 2)).collect();
    assert!(many.iter_mut().all(is_served), "half of the table may be one address's");
    // Its own newcomers take the places of its own, and so do those of others.
    let mut more: Vec<_> = (0..3).map(|_| served(&server, 2)).collect();
    for stream in &mut many[..3] {
        assert!(is_closed(stream, LATER));
    }
    let mut others: Vec<_> = (0..5).map(|nth| served(&server, 10 + nth)).collect();
    for stream in &mut many[3..8] {
        assert!(is_closed(stream, LATER));
    }
    assert!(many[8..].iter_mut().chain(&mut more).chain(&mut others).all(is_served));
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.shed, counts.refused), (24, 8, 0));
}

/// A share of 32: an address that has one too many gives up two.
fn newcomers_at_a_share_do_not_have_the_table_walked_one_by_one(engine: Engine) {
    let server = Server::plain(engine, Limits { connections: 512, ..small() });
    let mut others: Vec<_> =
        (0..240).map(|nth| served(&server, 10 + u8::try_from(nth % 24).unwrap())).collect();
    let mut many: Vec<_> = (0..32).map(|_| served(&server, 2)).collect();
    let mut newcomer = served(&server, 2);
    for stream in &mut many[..2] {
        assert!(is_closed(stream, LATER));
    }
    let mut next = served(&server, 2);
    assert!(many[2..].iter_mut().chain(&mut others).all(is_served));
    assert!(is_served(&mut newcomer) && is_served(&mut next));
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.shed, counts.refused), (274, 2, 0));
}

fn what_is_busy_is_not_given_up(engine: Engine) {
    let server = Server::plain(engine, Limits { connections: 32, tx_buffers: 64, ..small() });
    let mut held: Vec<_> = (0..16).map(|_| busy(&server, 2)).collect();
    let mut newcomer = server.connect_from(2);
    assert!(is_closed(&mut newcomer, LATER), "more than its share, and nothing to give up");
    let mut other = served(&server, 3);
    assert!(is_served(&mut other));
    for stream in &mut held {
        assert_eq!(stream.read(&mut [0]).unwrap(), 1, "an answer was broken off");
    }
    let counts = server.stop();
    assert_eq!((counts.shed, counts.refused, counts.ends.no_room), (0, 1, 1));
}

/// They are given up when they have lasted for a while.
fn half_done_handshakes_are_given_up(engine: Engine) {
    let server = Server::tls(engine, Limits { connections: 8, ..small() });
    let mut half: Vec<_> = (2..10)
        .map(|host| {
            let mut stream = server.connect_from(host);
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    let mut refused = 0;
    loop {
        let stream = server.connect_from(100);
        let mut stream = server.tls_over(stream, &rustls::version::TLS13);
        // One that comes too early is closed.
        if stream.write_all(&get("/small.txt")).is_ok() && stream.flush().is_ok() {
            let mut first = [0; 12];
            if stream.read_exact(&mut first).is_ok() {
                assert_eq!(&first, b"HTTP/1.1 200");
                break;
            }
        }
        refused += 1;
        assert!(start.elapsed() < LATER, "{refused} newcomers were not served");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(half.iter_mut().any(|stream| is_closed(stream, Duration::from_millis(1))), "which was given up?");
    server.stop();
}
