//! Receives connections that another process has accepted, such as a router by the server name of
//! TLS.
//!
//! It connects to a Unix socket of the kind SOCK_SEQPACKET, and sends one message for each
//! connection: the bytes that it has received, none to 16 KiB, and the descriptor (SCM_RIGHTS). A
//! message that is something else is dropped with the descriptors that it has, and the next one
//! counts. Nothing is answered. Where no shard has a place, nothing is received, until the router
//! waits in its send.
//!
//! When the worker drains, or the listener is gone, it closes its direction of each router's
//! connection. A router that sees this connects again, to the worker that listens then. What it has
//! sent until then is served; it has a moment to close its own direction.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, Shutdown, SocketFlags,
    SocketType, sockopt,
};
use sitar_server::{Listener, Passed, Passing, Peer, Worker};

use crate::events::{self, Event, Level};

/// Routers that are connected at a time; others wait.
pub(crate) const ROUTERS_MAX: usize = 64;
/// Descriptors of one message that are looked at, to close all but a single one.
pub(crate) const DESCRIPTORS_MAX: usize = 8;
/// The time that routers have to close their connections, once this side has.
const LEAVING: Duration = Duration::from_secs(1);
/// How often it is looked whether to leave while no shard has a place.
const LOOK: Duration = Duration::from_millis(200);
/// The pause after a router could not be accepted, or waited for.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages that are dropped are spoken of once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// The threads that receive, by the numbers of their listeners.
#[derive(Default)]
pub(super) struct Receivers {
    threads: BTreeMap<u64, Arc<Leaving>>,
    /// The worker drains or stops: nothing is received any more.
    have_left: bool,
}

/// Asks a thread to leave.
struct Leaving {
    is_asked: AtomicBool,
    /// Is readable from then on.
    bell: OwnedFd,
}

impl Leaving {
    fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        // The counter cannot be full.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Receivers {
    /// Receives for these listeners from now on, and for no others.
    pub(super) fn replace(&mut self, worker: &Worker, listeners: &BTreeMap<u64, Listener>) {
        if self.have_left {
            return;
        }
        self.threads.retain(|number, leaving| {
            let stays = listeners.contains_key(number);
            if !stays {
                leaving.ask();
            }
            stays
        });
        for (number, listener) in listeners.iter().filter(|(_, listener)| listener.is_passed()) {
            if self.threads.contains_key(number) {
                continue;
            }
            match start(worker, listener) {
                Ok(leaving) => {
                    self.threads.insert(*number, leaving);
                }
                Err(error) => events::error(format_args!("passed connections are not received: {error}")),
            }
        }
    }

    /// Has all of them leave.
    pub(super) fn leave(&mut self) {
        self.have_left = true;
        for leaving in std::mem::take(&mut self.threads).into_values() {
            leaving.ask();
        }
    }
}

fn start(worker: &Worker, listener: &Listener) -> io::Result<Arc<Leaving>> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let leaving = Arc::new(Leaving { is_asked: AtomicBool::new(false), bell });
    let Some(socket) = listener.sockets()?.into_iter().next() else { return Ok(leaving) };
    let receiver = Receiver {
        socket,
        listener: listener.clone(),
        passing: worker.passing(),
        leaving: Arc::clone(&leaving),
        routers: Vec::new(),
        leaves_at: None,
        accepts_at: None,
        complaint: Complaint::default(),
        buffer: vec![0; Passed::FIRST_MAX + 1],
    };
    thread::Builder::new().name("sitar-passed".into()).spawn(move || receiver.run())?;
    Ok(leaving)
}

/// The thread of one listener.
struct Receiver {
    socket: OwnedFd,
    listener: Listener,
    passing: Passing,
    leaving: Arc<Leaving>,
    routers: Vec<OwnedFd>,
    /// It leaves, at this time at the latest.
    leaves_at: Option<Instant>,
    /// The time to accept again, after an error.
    accepts_at: Option<Instant>,
    complaint: Complaint,
    /// One byte longer than what a message may have.
    buffer: Vec<u8>,
}

/// What has come of a look for a message.
enum Received {
    Connection(Passed),
    /// Something else, which has been dropped.
    Dropped,
    Nothing,
    /// The router has left.
    End,
}

impl Receiver {
    fn run(mut self) {
        while self.goes_on() {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                // The kernel has no memory for it now.
                Err(_) => {
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            // Those behind one that leaves keep their places until they have been looked at.
            for place in ready.into_iter().rev() {
                self.receive(place);
            }
            if self.leaves_at.is_none() {
                self.accept();
            }
        }
    }

    /// Takes up that it is to leave. Returns whether there is something left to do.
    fn goes_on(&mut self) -> bool {
        if self.leaves_at.is_none() && self.leaving.is_asked.load(Ordering::SeqCst) {
            self.leaves_at = Some(Instant::now() + LEAVING);
            for router in &self.routers {
                let _ = rustix::net::shutdown(router, Shutdown::Write);
            }
        }
        self.leaves_at.is_none_or(|at| !self.routers.is_empty() && Instant::now() < at)
    }

    /// Waits for something to do. Returns the places of routers that have sent something or left.
    fn wait(&mut self) -> Result<Vec<usize>, Errno> {
        let now = Instant::now();
        self.accepts_at = self.accepts_at.filter(|at| *at > now);
        let accepts = self.accepts_at.is_none() && self.routers.len() < ROUTERS_MAX;
        let mut fds: Vec<PollFd<'_>> =
            self.routers.iter().map(|router| PollFd::new(router, PollFlags::IN)).collect();
        if self.leaves_at.is_none() {
            fds.push(PollFd::new(&self.leaving.bell, PollFlags::IN));
            if accepts {
                fds.push(PollFd::new(&self.socket, PollFlags::IN));
            }
        }
        let until = self.leaves_at.into_iter().chain(self.accepts_at).min();
        let left = until.and_then(|at| Timespec::try_from(at.saturating_duration_since(now)).ok());
        poll(&mut fds, left.as_ref())?;
        let ready = fds.iter().take(self.routers.len()).enumerate();
        Ok(ready.filter(|(_, fd)| !fd.revents().is_empty()).map(|(place, _)| place).collect())
    }

    /// Accepts a router, if there is one.
    fn accept(&mut self) {
        if self.routers.len() >= ROUTERS_MAX || self.accepts_at.is_some() {
            return;
        }
        match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(router) => self.routers.push(router),
            // Another worker, of the same socket, may have been faster.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => self.accepts_at = Some(Instant::now() + PAUSE),
        }
    }

    /// Receives one message of a router's, and hands its connection over.
    fn receive(&mut self, place: usize) {
        let Some(router) = self.routers.get(place) else { return };
        match receive(router, &mut self.buffer, &self.listener, &mut self.complaint) {
            Received::Connection(connection) => self.pass(connection),
            Received::Dropped | Received::Nothing => {}
            Received::End => drop(self.routers.swap_remove(place)),
        }
    }

    /// Hands a connection over, and waits until a shard takes it.
    fn pass(&mut self, mut connection: Passed) {
        while let Err(back) = self.passing.pass(connection) {
            if self.leaves_at.is_some_and(|at| Instant::now() >= at) {
                return;
            }
            connection = back;
            self.passing.wait(LOOK);
            self.goes_on();
        }
    }
}

fn receive(router: &OwnedFd, buffer: &mut [u8], listener: &Listener, complaint: &mut Complaint) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(router, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags);
    let message = match received {
        Ok(message) => message,
        Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
        Err(_) => return Received::End,
    };
    // All are closed when they are dropped.
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    if message.bytes == 0 && descriptors.is_empty() && !message.flags.contains(ReturnFlags::CTRUNC) {
        // An empty message without a descriptor looks the same, and is none that is understood.
        return Received::End;
    }
    let first = buffer.get(..message.bytes).unwrap_or_default();
    let is_cut = message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    match connection(first, is_cut, descriptors, listener) {
        Ok(connection) => Received::Connection(connection),
        Err(why) => {
            complaint.add(router, why);
            Received::Dropped
        }
    }
}

/// Makes a connection of the parts of a message.
fn connection(
    first: &[u8],
    is_cut: bool,
    mut descriptors: Vec<OwnedFd>,
    listener: &Listener,
) -> Result<Passed, &'static str> {
    if first.len() > Passed::FIRST_MAX {
        return Err("it has more than 16 KiB");
    }
    // The kernel drops descriptors for which there is no room, or no number.
    let (Some(socket), true, false) = (descriptors.pop(), descriptors.is_empty(), is_cut) else {
        return Err("it has not one descriptor");
    };
    let peer = peer(&socket)?;
    // Engines that want it otherwise say so.
    rustix::io::ioctl_fionbio(&socket, false).map_err(|_| "its descriptor is no socket")?;
    Ok(Passed { socket, first: first.into(), peer, listener: listener.clone() })
}

/// Returns who is at the other end of a socket, if it is a connection of a kind that is served.
fn peer(socket: &OwnedFd) -> Result<Peer, &'static str> {
    match sockopt::socket_type(socket) {
        Ok(SocketType::STREAM) => {}
        Ok(_) => return Err("its socket is no stream"),
        Err(_) => return Err("its descriptor is no socket"),
    }
    let is_listener = sockopt::socket_acceptconn(socket).unwrap_or(true);
    let family = sockopt::socket_domain(socket);
    let name = rustix::net::getpeername(socket).map_err(|_| ());
    // Its close would hold up a shard for as long as it lingers, or cut off an answer (socket(7)).
    let lingers = sockopt::socket_linger(socket).is_ok_and(|linger| linger.is_some());
    match (family, name, is_listener) {
        (_, _, true) => Err("its socket listens"),
        (_, Err(()), _) => Err("its socket is not connected, or no longer"),
        _ if lingers => Err("its socket lingers (SO_LINGER)"),
        (Ok(AddressFamily::UNIX), Ok(_), _) => Ok(Peer::Unix),
        (_, Ok(name), _) => {
            let address = name.and_then(|name| SocketAddr::try_from(name).ok());
            address.map(Peer::at).ok_or("its socket is of another kind")
        }
    }
}

/// Messages that were dropped, and when they were last spoken of.
#[derive(Default)]
struct Complaint {
    count: u64,
    last: Option<Instant>,
}

impl Complaint {
    fn add(&mut self, router: &OwnedFd, why: &str) {
        self.count += 1;
        if self.last.is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        self.last = Some(Instant::now());
        let who = match sockopt::socket_peercred(router) {
            Ok(who) => format!("process {}", who.pid.as_raw_nonzero()),
            Err(_) => "a process".to_owned(),
        };
        let so_far = if self.count > 1 { format!(" ({} so far)", self.count) } else { String::new() };
        let what = format!("a message of {who} passes no connection and is dropped: {why}{so_far}");
        Event::new(Level::Warning, what).with("dropped", self.count).say();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use sitar_server::Role;

    use super::*;

    fn read(first: &[u8], is_cut: bool, descriptors: Vec<OwnedFd>) -> Result<Peer, &'static str> {
        let listener = Listener::passed(Role::Http, Vec::new());
        connection(first, is_cut, descriptors, &listener).map(|passed| {
            assert_eq!(&*passed.first, first);
            passed.peer
        })
    }

    #[test]
    fn a_message_has_a_connection_and_what_came_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, from) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let again = || accepted.try_clone().unwrap().into();
        assert_eq!(read(b"", false, vec![again()]), Ok(Peer::at(from)));
        let flags = rustix::fs::fcntl_getfl(&accepted).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "as one that was accepted here");
        assert_eq!(read(&[7; 16 << 10], false, vec![again()]), Ok(Peer::at(from)));
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(read(b"GET", false, vec![one.into()]), Ok(Peer::Unix));
        for linger in [Duration::ZERO, Duration::from_secs(9)] {
            sockopt::set_socket_linger(&accepted, Some(linger)).unwrap();
            assert_eq!(read(b"", false, vec![again()]), Err("its socket lingers (SO_LINGER)"));
        }
        sockopt::set_socket_linger(&accepted, None).unwrap();

        for (first, is_cut, descriptors, why) in [
            (&[7; (16 << 10) + 1][..], false, vec![again()], "it has more than 16 KiB"),
            (b"", false, vec![], "it has not one descriptor"),
            (b"", false, vec![again(), again()], "it has not one descriptor"),
            (b"", true, vec![again()], "it has not one descriptor"),
            (b"", false, vec![listener.into()], "its socket listens"),
            (b"", false, vec![UdpSocket::bind("127.0.0.1:0").unwrap().into()], "its socket is no stream"),
            (
                b"",
                false,
                vec![std::fs::File::open("/dev/null").unwrap().into()],
                "its descriptor is no socket",
            ),
        ] {
            assert_eq!(read(first, is_cut, descriptors), Err(why));
        }
        drop(client);
        let flags = SocketFlags::CLOEXEC;
        let unconnected = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        assert_eq!(
            read(b"", false, vec![unconnected.unwrap()]),
            Err("its socket is not connected, or no longer")
        );
    }
}
