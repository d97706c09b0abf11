//! The epoll engine: the same operations and events as on io_uring, made of readiness and plain
//! system calls, for kernels and containers where io_uring is missing or forbidden. No unsafe code.
//!
//! The work that the kernel does for io_uring is done here, inside [`wait`](crate::Ring::wait), in
//! this order: what was queued since the last one is begun; one `epoll_wait` at most, which waits
//! only if nothing can be done without it; then each socket that can go on does so for a bounded
//! while. A socket is registered once, edge-triggered, in both directions, and what the kernel has
//! said of it is kept with it ([`places`]), so that a request costs a receive and a send but no
//! change of the interest list. What is left over when a socket has had its turn is remembered, and
//! the next wait does not sleep.
//!
//! A listener is made non-blocking when it is first accepted from, which its other holders see too.

mod cancel;
mod datagrams;
mod look;
mod moves;
mod places;
mod reader;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;

use self::datagrams::UdpSocket;
use self::places::Places;
use self::reader::Reader;
use crate::engine::{Answer, Completion, Engine, Full, Memory, Question, Sealed, Submission};
use crate::op::Request;
use crate::ring::{Config, Ring};
use crate::sockopt::SockOpt;
use crate::table::EntryId;
use crate::waker::Waker;

/// Descriptors that a process needs besides its connections.
const DESCRIPTORS_EXTRA: u64 = 16;
/// Events taken from the kernel at a time; the rest comes with the next wait.
const EVENTS: usize = 1024;
/// A longer wait than this is cut to it: the caller looks at the clock and waits again.
const WAIT_MAX: Duration = Duration::from_secs(3600);

// What an event is about: a socket's generation (31 bits) and place (32 bits), or one of these.
const SPECIAL: u64 = 1 << 63;
const LISTENER: u64 = SPECIAL;
const WAKER: u64 = SPECIAL | 1 << 32;
const BELL: u64 = SPECIAL | 2 << 32;
const DATAGRAMS: u64 = SPECIAL | 3 << 32;

/// The epoll engine.
pub struct Epoll {
    epoll: OwnedFd,
    places: Places,
    /// State of each operation in flight, by its index in the op table.
    works: Box<[Work]>,
    /// Operations to be begun at the next wait, in order.
    queue: VecDeque<(EntryId, Begin)>,
    /// Places of sockets that can go on, each once.
    ready: VecDeque<u32>,
    /// Places of sockets whose receives let others go first: appended to `ready` after all others
    /// in this wait.
    yielding: Vec<u32>,
    accepts: Vec<Accept>,
    /// Datagram sockets with operations in flight.
    sockets: Vec<UdpSocket>,
    /// Receive slots to be filled, used last-in first-out: the one that is still in the cache.
    rx_free: Vec<u16>,
    /// Reads to go on with.
    reads: VecDeque<EntryId>,
    /// Reads, opens and looks that wait for the helper thread.
    backlog: VecDeque<EntryId>,
    /// Answers of operations, until the ring asks for them.
    answers: VecDeque<(EntryId, Answer)>,
    reader: Reader,
    waker: Option<Waker>,
    /// The kernel has reported the waker, and no completion says so yet.
    woken: bool,
    wake: Option<EntryId>,
    completions: VecDeque<Completion>,
    events: Vec<epoll::Event>,
    /// The last wait asked the kernel for news.
    looked: bool,
    calls: u64,
}

/// An operation that has not begun.
#[derive(Clone, Copy)]
enum Begin {
    Accept(RawFd),
    Adopt,
    /// Whether others go first.
    Recv(u32, bool),
    Send(u32),
    Writable(u32),
    RecvFrom,
    SendTo,
    Read,
    Look,
    Peer(u32),
    NoDelay(u32, bool),
    /// An operation that this engine cannot do.
    Unsupported,
    Shutdown(u32),
    Close(u32),
    Cancel(EntryId),
    CancelSlot(u32),
    CancelAll,
    Wake,
}

/// An operation that has begun.
#[derive(Clone, Copy)]
enum Doing {
    Nothing,
    Accept,
    Recv { slot: u32 },
    Send { slot: u32, sent: usize, next: Option<EntryId> },
    Read { done: usize, by: By },
    Look { by: By },
    Writable { slot: u32 },
    RecvFrom,
    SendTo { sent: usize },
    Wake,
}

/// The thread that goes on with a read, an open, or a look at a file.
#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    /// This thread: it is in `reads` or in `backlog`.
    Ring,
    Helper,
    /// The helper for the last time: it has been cancelled.
    Last,
}

struct Work {
    /// The operation that it is about, the last one when that has ended. `None`: there was none
    /// yet.
    op: Option<EntryId>,
    doing: Doing,
}

struct Accept {
    op: EntryId,
    /// The listener's descriptor in the interest list; several accepts may share one.
    listener: RawFd,
    ready: bool,
}

impl Ring<Epoll> {
    /// Makes a ring on epoll for the calling thread, with a helper thread that reads what is not in
    /// the page cache.
    ///
    /// # Errors
    /// Those of the system calls that make it; [`io::ErrorKind::InvalidInput`] for sizes that
    /// cannot be had, and an error that says so when the limit on open files (`ulimit -n`) is too
    /// low for `config.connections`.
    pub fn epoll(config: &Config) -> io::Result<Ring<Epoll>> {
        Ring::assemble(config, |_| Epoll::new(config))
    }
}

impl Epoll {
    fn new(config: &Config) -> io::Result<Epoll> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let wanted = u64::from(config.connections) + DESCRIPTORS_EXTRA;
        if limit.is_some_and(|limit| limit < wanted) {
            return Err(io::Error::other(format!("the limit on open files is below {wanted} (ulimit -n)")));
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let reader = Reader::start()?;
        epoll::add(&epoll, reader.bell.fd(), epoll::EventData::new_u64(BELL), edge(epoll::EventFlags::IN))?;
        let (ops, connections, rx_count) =
            (config.ops() as usize, config.connections as usize, usize::from(config.rx_count));
        Ok(Epoll {
            epoll,
            places: Places::new(config.connections),
            works: (0..ops).map(|_| Work { op: None, doing: Doing::Nothing }).collect(),
            queue: VecDeque::with_capacity(ops),
            ready: VecDeque::with_capacity(connections),
            yielding: Vec::with_capacity(connections),
            accepts: Vec::with_capacity(16),
            sockets: Vec::new(),
            rx_free: Vec::with_capacity(rx_count),
            reads: VecDeque::with_capacity(ops),
            backlog: VecDeque::with_capacity(ops),
            answers: VecDeque::new(),
            reader,
            waker: None,
            woken: false,
            wake: None,
            // Each holds an operation that ends, a receive slot or a place, so there are never
            // more.
            completions: VecDeque::with_capacity(ops + rx_count + connections),
            events: Vec::with_capacity(EVENTS),
            looked: false,
            calls: 0,
        })
    }

    fn doing(&self, op: EntryId) -> Doing {
        match self.works.get(op.index() as usize) {
            Some(work) if work.op == Some(op) => work.doing,
            _ => Doing::Nothing,
        }
    }

    fn set(&mut self, op: EntryId, doing: Doing) {
        if let Some(work) = self.works.get_mut(op.index() as usize) {
            *work = Work { op: Some(op), doing };
        }
    }

    /// The terminal completion of `op`.
    fn end(&mut self, op: EntryId, result: Result<usize, Errno>) {
        self.set(op, Doing::Nothing);
        self.complete(op, result, None, false);
    }

    fn complete(&mut self, id: EntryId, result: Result<usize, Errno>, buffer: Option<u16>, more: bool) {
        let result = match result {
            Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
            Err(errno) => errno.raw_os_error().wrapping_neg(),
        };
        self.completions.push_back(Completion { id, result, buffer, more });
    }

    /// Puts a socket on the list of those that can go on.
    fn list(&mut self, slot: u32) {
        if self.places.list(slot) {
            self.ready.push_back(slot);
        }
    }

    fn begin(&mut self, memory: &mut Memory<'_>, op: EntryId, begin: Begin) {
        match begin {
            Begin::Accept(listener) => self.begin_accept(memory, op, listener),
            Begin::Adopt => self.begin_adopt(memory, op),
            Begin::Recv(slot, yields) => match self.places.get(slot) {
                Some(sock) if sock.recv.is_none() => {
                    sock.recv = Some(op);
                    let readable = sock.readable;
                    self.set(op, Doing::Recv { slot });
                    match (readable, yields) {
                        (true, false) => self.list(slot),
                        (true, true) => self.yielding.push(slot),
                        (false, _) => {}
                    }
                }
                Some(_) => self.end(op, Err(Errno::BUSY)),
                None => self.end(op, Err(Errno::BADF)),
            },
            Begin::Send(slot) => self.begin_send(op, slot),
            Begin::Writable(slot) => self.begin_writable(op, slot),
            Begin::Read => {
                self.set(op, Doing::Read { done: 0, by: By::Ring });
                self.reads.push_back(op);
            }
            Begin::RecvFrom => self.begin_recv_from(memory, op),
            Begin::SendTo => self.begin_send_to(memory, op),
            Begin::Look => {
                self.set(op, Doing::Look { by: By::Ring });
                self.ask_helper(memory, op);
            }
            Begin::Peer(slot) => {
                self.calls += 1;
                match self.places.get(slot).map(|sock| rustix::net::getpeername(&sock.fd)) {
                    Some(Ok(address)) => match address.and_then(|address| SocketAddr::try_from(address).ok())
                    {
                        Some(address) => {
                            self.answers.push_back((op, Answer::Address(address)));
                            self.end(op, Ok(0));
                        }
                        None => self.end(op, Err(Errno::AFNOSUPPORT)),
                    },
                    Some(Err(errno)) => self.end(op, Err(errno)),
                    None => self.end(op, Err(Errno::BADF)),
                }
            }
            Begin::NoDelay(slot, on) => {
                self.calls += 1;
                let done = match self.places.get(slot) {
                    Some(sock) => rustix::net::sockopt::set_tcp_nodelay(&sock.fd, on),
                    None => Err(Errno::BADF),
                };
                self.end(op, done.map(|()| 0));
            }
            Begin::Unsupported => self.end(op, Err(Errno::OPNOTSUPP)),
            Begin::Shutdown(slot) => {
                // What was asked for before has its try first, as on io_uring.
                self.send(memory, slot);
                self.calls += 1;
                let done = match self.places.get(slot) {
                    Some(sock) => rustix::net::shutdown(&sock.fd, rustix::net::Shutdown::Write),
                    None => Err(Errno::BADF),
                };
                self.end(op, done.map(|()| 0));
            }
            Begin::Close(slot) => {
                self.calls += 1;
                // Its descriptor closes as it is dropped, which takes it off the interest list too.
                let done = self.places.remove(slot).map(drop).ok_or(Errno::BADF);
                self.end(op, done.map(|()| 0));
            }
            Begin::Cancel(target) => {
                let done = self.cancel(memory, target);
                self.end(op, done.map(|()| 0));
            }
            Begin::CancelSlot(slot) => {
                self.cancel_slot(memory, slot);
                self.end(op, Ok(0));
            }
            Begin::CancelAll => {
                self.cancel_all(memory);
                self.end(op, Ok(0));
            }
            Begin::Wake => {
                self.wake = Some(op);
                self.set(op, Doing::Wake);
            }
        }
    }

    /// Returns whether something can be done or reported without waiting for the kernel.
    fn busy(&self) -> bool {
        !self.completions.is_empty()
            || !self.ready.is_empty()
            || !self.yielding.is_empty()
            || !self.reads.is_empty()
            || self.accepts.iter().any(|accept| accept.ready)
            || self.sockets.iter().any(UdpSocket::can_go_on)
            || (self.woken && self.wake.is_some())
    }
}

/// Flags of something that is registered once.
fn edge(flags: epoll::EventFlags) -> epoll::EventFlags {
    flags | epoll::EventFlags::ET
}

impl Engine for Epoll {}

impl Sealed for Epoll {
    fn submit(&mut self, submission: Submission<'_>) -> Result<(), Full> {
        let Submission { id, op } = submission;
        let begin = match op {
            Request::Accept { listener } => Begin::Accept(listener.raw()),
            Request::Adopt { .. } => Begin::Adopt,
            Request::Recv { slot, yields } => Begin::Recv(slot, yields),
            Request::Send { slot, .. } => Begin::Send(slot),
            Request::Writable { slot } => Begin::Writable(slot),
            Request::Read { .. } => Begin::Read,
            Request::RecvFrom { .. } => Begin::RecvFrom,
            Request::SendTo { .. } => Begin::SendTo,
            Request::Open { .. } | Request::Stat { .. } => Begin::Look,
            Request::Peer { slot, .. } => Begin::Peer(slot),
            Request::SetOpt { slot, opt: SockOpt::NoDelay(on) } => Begin::NoDelay(slot, *on),
            Request::SetOpt { .. } | Request::Unacked { .. } => Begin::Unsupported,
            Request::Shutdown { slot } => Begin::Shutdown(slot),
            Request::Close { slot } => Begin::Close(slot),
            Request::Cancel { target } => Begin::Cancel(target),
            Request::CancelSlot { slot } => Begin::CancelSlot(slot),
            Request::CancelAll => Begin::CancelAll,
            Request::Wake { waker } => {
                if self.waker.is_none() {
                    self.calls += 1;
                    let data = epoll::EventData::new_u64(WAKER);
                    // A failure leaves it for the next try.
                    epoll::add(&self.epoll, waker.fd(), data, edge(epoll::EventFlags::IN))
                        .map_err(|_| Full)?;
                    self.waker = Some(waker.clone());
                }
                Begin::Wake
            }
        };
        // Never longer than the op table, since each entry is a live operation.
        self.queue.push_back((id, begin));
        Ok(())
    }

    fn publish(&mut self, slot: u16, _: *mut u8, _: u32) {
        self.rx_free.push(slot);
    }

    fn wait(&mut self, memory: &mut Memory<'_>, poll: bool, timeout: Option<Duration>) -> io::Result<()> {
        while let Some((op, begin)) = self.queue.pop_front() {
            self.begin(memory, op, begin);
        }
        // What was begun just now keeps this wait busy without news from the kernel, which the next
        // one asks for: so an answer costs one look, not two. Never twice in succession, so that
        // no socket waits for long to be seen.
        let busy = self.busy();
        self.looked = !(busy && self.looked);
        if self.looked {
            self.look(if poll || busy { Some(Duration::ZERO) } else { timeout })?;
        }
        self.collect_reads(memory);
        while let Some(slot) = self.yielding.pop() {
            self.list(slot);
        }
        // Those that want more go to the end of the list, behind the turn of all others.
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else { break };
            self.places.unlist(slot);
            let more = self.receive(memory, slot) | self.send(memory, slot);
            if more {
                self.list(slot);
            }
        }
        self.move_datagrams(memory);
        self.go_on_reading(memory);
        // After the others: those who leave make room for those who come.
        self.accept(memory);
        if let (true, Some(op), Some(waker)) = (self.woken, self.wake, &self.waker) {
            self.calls += 1;
            // The kernel has reported it since it was read last, so this does not block.
            waker.clear();
            self.woken = false;
            self.wake = None;
            self.end(op, Ok(8));
        }
        Ok(())
    }

    fn start(&mut self, memory: &mut Memory<'_>) -> io::Result<()> {
        while let Some((op, begin)) = self.queue.pop_front() {
            self.begin(memory, op, begin);
            // Sockets that others want something of too keep their place on the list, which is
            // theirs in the next wait.
            if let Begin::Send(slot) = begin {
                self.send(memory, slot);
            }
        }
        self.go_on_reading(memory);
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn answer(&mut self, id: EntryId, _: Question, _: u32) -> Option<Answer> {
        // In the order in which they are reported, so it is the first.
        let at = self.answers.iter().position(|(of, _)| *of == id)?;
        Some(self.answers.remove(at)?.1)
    }

    fn has_set_opt(&self) -> bool {
        false
    }

    fn has_gro(&self) -> bool {
        // It takes a control message to tell the size, and rustix has none for it.
        false
    }

    fn has_peer(&self) -> bool {
        true
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn shut(&mut self) {
        // Nothing is in flight, so the helper is not reading: it ends at once. Sockets close as the
        // engine is dropped.
        self.reader.stop();
    }
}
