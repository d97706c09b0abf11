//! An echo of datagrams: `cargo run --release -p sitar-io --example datagrams [ADDRESS]`.
//!
//! The kernel coalesces datagrams on the way in (GRO) and cuts them apart on the way out (GSO): one
//! event and one operation for up to 64 datagrams of a sender. On a machine without io_uring it
//! runs on epoll, with a system call for each.
#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;

use sitar_io::{COALESCED_MAX, Config, Engine, Event, Key, Ring, Segment, Stats, Udp};

/// Receive slots for all that is coalesced, send slots for the same.
pub(crate) const CONFIG: Config =
    Config { connections: 1, rx_count: 16, rx_len: COALESCED_MAX as u32, tx_count: 16, tx_len: 65_535 };

/// The echo, on any engine.
pub(crate) struct Echo<E: Engine> {
    ring: Ring<E>,
    udp: Udp,
    receiving: bool,
    /// Datagrams echoed, and the operations that it took.
    pub(crate) echoed: (u64, u64),
}

impl<E: Engine> Echo<E> {
    pub(crate) fn new(mut ring: Ring<E>, socket: UdpSocket) -> io::Result<Echo<E>> {
        let udp = ring.udp(socket.into(), true, Key(0))?;
        Ok(Echo { ring, udp, receiving: false, echoed: (0, 0) })
    }

    /// Waits once and answers what has come.
    pub(crate) fn turn(&mut self, until: Option<std::time::Instant>) -> io::Result<Stats> {
        if !self.receiving {
            self.receiving = self.ring.recv_from(&self.udp).is_ok();
        }
        self.ring.wait(until)?;
        while let Some(event) = self.ring.next() {
            match event {
                Event::Datagrams { from, datagrams, .. } => {
                    // No slot left: a datagram may be lost, and its sender knows.
                    let Some(mut tx) = self.ring.take_tx() else { continue };
                    let bytes = datagrams.bytes();
                    tx[..bytes.len()].copy_from_slice(bytes);
                    tx.set_filled(bytes.len());
                    // The last may be shorter than the others, but none is longer.
                    let segment_size = u16::try_from(datagrams.segment_size()).ok().and_then(NonZeroU16::new);
                    if self.ring.send_to(&self.udp, Segment::Tx(tx), from, segment_size).is_ok() {
                        self.echoed.0 += datagrams.iter().count() as u64;
                        self.echoed.1 += 1;
                    }
                }
                // Receive slots come back as `Datagrams` are dropped: go on at the next turn.
                Event::RecvEnded { .. } => self.receiving = false,
                _ => {}
            }
        }
        Ok(self.ring.stats())
    }
}

fn serve<E: Engine>(ring: Ring<E>, socket: UdpSocket) -> io::Result<()> {
    let mut echo = Echo::new(ring, socket)?;
    loop {
        echo.turn(None)?;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let socket = UdpSocket::bind(address.parse::<SocketAddr>()?)?;
    println!("echoes datagrams at {}", socket.local_addr()?);
    match Ring::uring(&CONFIG) {
        Ok(ring) => serve(ring, socket)?,
        Err(why) => {
            println!("on epoll: {why}");
            serve(Ring::epoll(&CONFIG)?, socket)?;
        }
    }
    Ok(())
}
