//! Handshakes that have waited for the server, in a full table.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sitar_io::Key;
use sitar_io::sim::{Faults, Next, Stream, World};

use super::lab::fixture;
use super::served::{Served, serve};
use crate::Limits;
use crate::shard::FIRST_KEY;

/// A client whose handshake is answered long after it came.
struct Client {
    stream: Stream,
    tls: rustls::ClientConnection,
    /// It has had the server's flight.
    has_flight: bool,
}

impl Client {
    fn new(world: &World, host: u8) -> Client {
        let name = "localhost".try_into().unwrap();
        let tls = rustls::ClientConnection::new(Arc::clone(&fixture().client), name).unwrap();
        let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
        Client { stream: world.connect_from(source, Key(FIRST_KEY)), tls, has_flight: false }
    }

    fn send(&mut self) {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).unwrap();
        }
        let _ = self.stream.write_all(&out);
    }

    /// Takes what has come. Returns whether it is still open.
    fn receive(&mut self) -> bool {
        let mut buf = [0; 4096];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) => return false,
                Ok(count) => {
                    let mut bytes = &buf[..count];
                    while !bytes.is_empty() {
                        self.tls.read_tls(&mut bytes).unwrap();
                        self.tls.process_new_packets().unwrap();
                    }
                    self.has_flight |= !self.tls.is_handshaking();
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

/// The clients' ages say that they have been slow, and they have not.
#[test]
fn a_handshake_that_was_answered_late_is_not_given_up_for_that() {
    let world = World::with(7, Faults::none());
    let limits = Limits { connections: 4, ..Limits::default() };
    let Served { mut shard, .. } = serve(&world, &fixture().sites()[0], true, limits);
    let (stayed, is_over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (open, over) = (Rc::clone(&stayed), Rc::clone(&is_over));
    let mut clients: Vec<Client> = (0..4).map(|host| Client::new(&world, host)).collect();
    let (mut step, mut newcomer) = (0, None);
    world.script(move |world| {
        let now = world.now();
        step += 1;
        match step {
            // As long as a queue of handshakes may take.
            1 => return Next::At(now + Duration::from_secs(3)),
            2 => clients.iter_mut().for_each(Client::send),
            _ if newcomer.is_none() => {
                assert!(clients.iter_mut().all(Client::receive), "given up before there was a newcomer");
                if clients.iter().all(|client| client.has_flight) {
                    newcomer = Some(Client::new(world, 9));
                    return Next::At(now + Duration::from_millis(500));
                }
            }
            _ => {
                open.set(clients.iter_mut().filter_map(|client| client.receive().then_some(())).count());
                over.set(true);
                return Next::Done;
            }
        }
        Next::At(now + Duration::from_millis(20))
    });
    while !is_over.get() {
        shard.turn().unwrap();
    }
    assert_eq!(stayed.get(), 4);
    assert_eq!(shard.counts().shed, 0);
}
