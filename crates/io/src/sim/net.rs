//! The simulated network: connections as two pipes of bytes, with windows and delays.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;

use super::faults::{Faults, Rng};
use super::sealing::Tls;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Peer = 0,
    Server = 1,
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Peer => End::Server,
            End::Server => End::Peer,
        }
    }
}

/// Something that travels over a link.
enum Chunk {
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

/// One direction: written by one end, read by the other.
struct Pipe {
    /// Bytes that the reading end can read.
    arrived: VecDeque<u8>,
    transit: VecDeque<(Duration, Chunk)>,
    in_transit: usize,
    /// Bytes that may be arrived and in transit together.
    window: usize,
    /// All bytes have arrived.
    fin: bool,
}

impl Pipe {
    fn new(window: usize) -> Pipe {
        Pipe { arrived: VecDeque::new(), transit: VecDeque::new(), in_transit: 0, window, fin: false }
    }

    fn push(&mut self, mut due: Duration, chunk: Chunk) -> Duration {
        // Nothing overtakes inside one connection.
        if let Some((last, _)) = self.transit.back() {
            due = due.max(*last);
        }
        if let Chunk::Bytes(bytes) = &chunk {
            self.in_transit += bytes.len();
        }
        self.transit.push_back((due, chunk));
        due
    }
}

/// The state of a connection as one end knows it.
#[derive(Clone, Copy, Default)]
struct Knows {
    closed: bool,
    /// It has said that it sends no more.
    finished: bool,
    /// A reset has arrived, and whether it was reported (sk_err is reported once).
    reset: bool,
    told: bool,
}

pub(super) struct Link {
    /// Indexed by the end that writes.
    pipes: [Pipe; 2],
    ends: [Knows; 2],
    /// The script that minds the peer's end.
    pub(super) watcher: Option<usize>,
    /// The peer found no room: its script is to hear when there is some.
    pub(super) wants_room: bool,
    /// It has been broken off, which has not been reported yet.
    broken: bool,
    /// The TLS that the kernel does on the server's end.
    pub(super) tls: Tls,
    /// The peer's address; `None`: one of its own family that many share.
    pub(super) source: Option<IpAddr>,
}

/// The result of an attempt to read.
pub(super) enum Found {
    Bytes(usize),
    Eof,
    Nothing,
}

impl Link {
    pub(super) fn new(rng: &mut Rng, faults: &Faults) -> Link {
        let mut window = || if rng.chance(faults.small_window) { 1 + rng.below(2048) } else { 64 * 1024 };
        Link {
            pipes: [Pipe::new(window()), Pipe::new(window())],
            ends: [Knows::default(); 2],
            watcher: None,
            wants_room: false,
            broken: false,
            tls: Tls::No,
            source: None,
        }
    }

    /// Puts as many bytes on their way as the window takes, at least one. Calls `arrives` with the
    /// times at which they do.
    pub(super) fn write(&mut self, from: End, bytes: &[u8], clock: &mut Clock<'_>) -> Result<usize, Errno> {
        let knows = &mut self.ends[from as usize];
        if knows.reset {
            return Err(if std::mem::replace(&mut knows.told, true) {
                Errno::PIPE
            } else {
                Errno::CONNRESET
            });
        }
        if knows.finished || knows.closed {
            return Err(Errno::PIPE);
        }
        let pipe = &mut self.pipes[from as usize];
        let room = pipe.window.saturating_sub(pipe.arrived.len() + pipe.in_transit).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        let mut rest = &bytes[..room];
        while !rest.is_empty() {
            let cut =
                if clock.rng.chance(clock.faults.cut) { 1 + clock.rng.below(rest.len()) } else { rest.len() };
            let due = clock.arrival();
            let due = pipe.push(due, Chunk::Bytes(rest[..cut].to_vec()));
            clock.due.push(due);
            rest = &rest[cut..];
        }
        Ok(room)
    }

    /// Whether the server could send a byte.
    pub(super) fn has_room(&self) -> bool {
        self.unacked() < self.pipes[End::Server as usize].window
    }

    /// Whether there is enough room, or an error that a send would tell: as with TCP, not for the
    /// first byte that is free.
    pub(super) fn is_writable(&self) -> bool {
        let window = self.pipes[End::Server as usize].window;
        self.ends[End::Server as usize].reset || self.unacked() <= window / 2
    }

    /// Bytes that the server has sent and the peer has not read. (TCP acknowledges earlier, but
    /// then has room for more, too.) A reset throws them away.
    pub(super) fn unacked(&self) -> usize {
        if self.ends[End::Server as usize].reset {
            return 0;
        }
        let pipe = &self.pipes[End::Server as usize];
        pipe.arrived.len() + pipe.in_transit
    }

    /// Whether the peer's end, or a reset, has arrived at the server.
    pub(super) fn has_ended(&self) -> bool {
        self.pipes[End::Peer as usize].fin || self.ends[End::Server as usize].reset
    }

    /// Returns how many bytes can be read now, or what there is instead.
    pub(super) fn look(&mut self, by: End) -> Result<Found, Errno> {
        let pipe = &self.pipes[by.other() as usize];
        let knows = &mut self.ends[by as usize];
        if !pipe.arrived.is_empty() {
            return Ok(Found::Bytes(pipe.arrived.len()));
        }
        if knows.reset {
            return if std::mem::replace(&mut knows.told, true) {
                Ok(Found::Eof)
            } else {
                Err(Errno::CONNRESET)
            };
        }
        Ok(if pipe.fin { Found::Eof } else { Found::Nothing })
    }

    /// Hands the first bytes that have arrived to `take`, which says how many it took.
    pub(super) fn read(&mut self, by: End, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let arrived = &mut self.pipes[by.other() as usize].arrived;
        let taken = take(arrived.make_contiguous()).min(arrived.len());
        arrived.drain(..taken);
        taken
    }

    pub(super) fn finish(&mut self, from: End, clock: &mut Clock<'_>) {
        let knows = &mut self.ends[from as usize];
        if knows.finished || knows.reset {
            return;
        }
        knows.finished = true;
        let due = clock.arrival();
        clock.due.push(self.pipes[from as usize].push(due, Chunk::Fin));
    }

    pub(super) fn reset(&mut self, from: End, clock: &mut Clock<'_>) {
        self.ends[from as usize].finished = true;
        let due = clock.arrival();
        clock.due.push(self.pipes[from as usize].push(due, Chunk::Reset));
    }

    /// Closes an end as close(2) does: bytes that were not read turn it into a reset.
    pub(super) fn close(&mut self, end: End, clock: &mut Clock<'_>) {
        if std::mem::replace(&mut self.ends[end as usize].closed, true) {
            return;
        }
        let incoming = &mut self.pipes[end.other() as usize];
        let unread = !incoming.arrived.is_empty();
        incoming.arrived = VecDeque::new();
        if unread { self.reset(end, clock) } else { self.finish(end, clock) }
    }

    pub(super) fn take_broken(&mut self) -> bool {
        std::mem::take(&mut self.broken)
    }

    /// Breaks the connection for both ends at once; what is under way is lost.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
        for pipe in &mut self.pipes {
            pipe.transit.clear();
            pipe.in_transit = 0;
        }
        for knows in &mut self.ends {
            knows.reset = true;
        }
    }

    /// Delivers to the other end what `from` has sent, as far as it is due.
    pub(super) fn arrive(&mut self, from: End, clock: &mut Clock<'_>) {
        let to = from.other();
        while let Some((due, _)) = self.pipes[from as usize].transit.front() {
            if *due > clock.now {
                return;
            }
            let pipe = &mut self.pipes[from as usize];
            match pipe.transit.pop_front() {
                Some((_, Chunk::Bytes(bytes))) => {
                    pipe.in_transit -= bytes.len();
                    if self.ends[to as usize].closed {
                        // RFC 9293 §3.10.7.1: a segment for a connection that is no more is
                        // answered by a reset.
                        self.reset(to, clock);
                    } else {
                        pipe.arrived.extend(bytes);
                    }
                }
                Some((_, Chunk::Fin)) => pipe.fin = true,
                Some((_, Chunk::Reset)) => {
                    self.ends[to as usize].reset = true;
                    // Nothing that is still under way to the other end is delivered.
                    let back = &mut self.pipes[to as usize];
                    back.transit.retain(|(_, chunk)| matches!(chunk, Chunk::Reset));
                    back.in_transit = 0;
                }
                None => return,
            }
        }
    }
}

/// Time and chance, and the moments at which something arrives.
pub(super) struct Clock<'a> {
    pub(super) now: Duration,
    pub(super) rng: &'a mut Rng,
    pub(super) faults: &'a Faults,
    pub(super) due: &'a mut Vec<Duration>,
}

impl Clock<'_> {
    fn arrival(&mut self) -> Duration {
        self.now + self.rng.time(self.faults.latency)
    }
}
