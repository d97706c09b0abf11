//! The attacking side, a process of its own: connections that follow a script of
//! [`attacks`](super::attacks), and are opened again when they are cut off.

use super::attacks::{Attack, Script};
use super::wire::greeting;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes written at once.
const CHUNK: usize = 16 << 10;
/// Limit of one read or write, so that the end is seen in time.
const TICK: Duration = Duration::from_millis(50);

/// Sums over all attackers of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Bytes that the server's kernel took.
    pub(super) sent: u64,
    pub(super) connections: u64,
    /// Connections that the server ended.
    pub(super) cut: u64,
}

impl Tally {
    /// Returns a line that [`parse`](Tally::parse) understands.
    pub(super) fn line(&self) -> String {
        format!("{} {} {}", self.sent, self.connections, self.cut)
    }

    pub(super) fn parse(line: &str) -> Option<Tally> {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Tally { sent: next()?, connections: next()?, cut: next()? })
    }
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    connections: AtomicU64,
    cut: AtomicU64,
}

/// Attacks the server at `port` until `until`.
pub(super) fn run(attack: &Attack, port: u16, until: Instant) -> Tally {
    let counters = Counters::default();
    std::thread::scope(|scope| {
        for _ in 0..attack.connections {
            scope.spawn(|| {
                while Instant::now() < until {
                    let Ok(socket) = TcpStream::connect(("127.0.0.1", port)) else {
                        // No port is free: those of former connections are held for a while.
                        sleep(Duration::from_millis(1));
                        continue;
                    };
                    counters.connections.fetch_add(1, Relaxed);
                    let _ = socket.set_nodelay(true);
                    if once(attack, &socket, &counters, until).is_err() {
                        counters.cut.fetch_add(1, Relaxed);
                    }
                    let _ = socket.shutdown(Shutdown::Both);
                }
            });
        }
    });
    Tally {
        sent: counters.sent.into_inner(),
        connections: counters.connections.into_inner(),
        cut: counters.cut.into_inner(),
    }
}

/// Runs one connection. An error means that the server ended it.
fn once(attack: &Attack, mut socket: &TcpStream, counters: &Counters, until: Instant) -> io::Result<()> {
    socket.set_write_timeout(Some(TICK))?;
    socket.set_read_timeout(Some(TICK))?;
    let mut setting = super::attacks::INITIAL_WINDOW.to_be_bytes().to_vec();
    setting.extend(attack.window.to_be_bytes());
    let mut out = greeting(&setting);
    // The server has ended the connection, or time is up.
    let over = AtomicBool::new(false);
    match attack.script {
        Script::Pour(step) => std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut sink = vec![0; 64 << 10];
                while !over.load(Relaxed) {
                    match socket_read(socket, &mut sink) {
                        Ok(_) => {}
                        Err(_) => over.store(true, Relaxed),
                    }
                }
            });
            let poured = pour(step, &mut out, socket, counters, until, &over);
            over.store(true, Relaxed);
            let _ = socket.shutdown(Shutdown::Both);
            poured
        }),
        Script::PourUnread(step) => pour(step, &mut out, socket, counters, until, &over),
        Script::Hold(opening, step) => {
            opening(&mut out);
            socket.write_all(&out)?;
            counters.sent.fetch_add(out.len() as u64, Relaxed);
            let mut some = vec![0; step];
            while Instant::now() < until {
                sleep(TICK);
                socket_read(socket, &mut some)?;
            }
            Ok(())
        }
    }
}

fn pour(
    step: fn(u32, &mut Vec<u8>),
    out: &mut Vec<u8>,
    mut socket: &TcpStream,
    counters: &Counters,
    until: Instant,
    over: &AtomicBool,
) -> io::Result<()> {
    let mut next = 0;
    while Instant::now() < until {
        // Streams have numbers of 31 bits.
        while out.len() < CHUNK && next < 1 << 30 {
            step(next, out);
            next += 1;
        }
        match socket.write(out) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                counters.sent.fetch_add(len as u64, Relaxed);
                out.drain(..len);
            }
            Err(error) if is_early(&error) => {}
            Err(error) => return Err(error),
        }
        if over.load(Relaxed) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads the bytes that are there. No bytes are not an error; the end of the connection is.
fn socket_read(mut socket: &TcpStream, into: &mut [u8]) -> io::Result<()> {
    match socket.read(into) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
        Err(error) if is_early(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_told_and_understood() {
        let tally = Tally { sent: 1 << 40, connections: 12, cut: 3 };
        assert_eq!(Tally::parse(&tally.line()), Some(tally));
        assert_eq!(Tally::parse("1 2"), None);
    }
}
