//! The listener: a small HTTP/1.1 server for a few clients, each of which is answered once.
//!
//! One thread accepts, and each connection has a thread of its own, of which there are a few at a
//! time; others wait in the kernel's queue. Heads, answers and times are bounded.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use sitar_http::h1::{self, Limits};
use sitar_http::{Rejection, Status};

use super::answer::{self, Answer, Asked};
use crate::error::Error;
use crate::listen::Endpoint;
use crate::unix_socket::{self, Place, Purpose};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Connections at a time.
const CLIENTS_MAX: usize = 16;
/// Time for a client to send its head.
const ASKING: Duration = Duration::from_secs(5);
/// Time for a client to take the answer.
const ANSWERING: Duration = Duration::from_secs(30);
/// Bytes of an answer that a client has to take in the time of one send.
const PART: usize = 64 << 10;
/// What a client has sent behind its head is read for this long, or its answer could be lost: what
/// is unread when a socket is closed breaks the connection.
const LEAVING: Duration = Duration::from_secs(1);
/// Bytes of that.
const REST_MAX: usize = 256 << 10;
/// Bytes of a request target.
const TARGET_MAX: usize = 1 << 10;
/// Bytes of a head; lines of a scraper are few.
const HEAD_MAX: usize = 8 << 10;
/// Pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Permissions of a Unix socket's file.
const MODE: u32 = 0o660;

const TOO_SLOW: Rejection =
    Rejection { status: Status::REQUEST_TIMEOUT, reason: "the request took too long to arrive" };

/// A socket that is bound and listens. Dropping it removes its file, if it has one.
#[derive(Debug)]
pub(crate) struct Metrics {
    socket: OwnedFd,
    place: Option<Place>,
    is_inherited: bool,
}

impl Metrics {
    /// Binds the socket.
    ///
    /// # Errors
    /// Something else listens there, or the address is none of this machine.
    pub(crate) fn bind(endpoint: &Endpoint) -> Result<Metrics, Error> {
        let (socket, place) = match endpoint {
            Endpoint::Tcp(address) => (tcp(*address)?, None),
            Endpoint::Unix(path) | Endpoint::Passed(path) => {
                let (socket, place) = unix_socket::listen(Purpose::Metrics, path, MODE, BACKLOG)?;
                (socket, Some(place))
            }
        };
        Ok(Metrics { socket, place, is_inherited: false })
    }

    /// Takes over a socket on which another process listens for this endpoint. A file stays that
    /// one's until [`own`](Metrics::own). `None`: it listens elsewhere.
    pub(crate) fn take_over(endpoint: &Endpoint, socket: OwnedFd) -> Option<Metrics> {
        let bound = rustix::net::getsockname(&socket).ok()?;
        match endpoint {
            Endpoint::Tcp(address) => {
                let bound = SocketAddr::try_from(bound).ok()?;
                let is_there = bound.ip() == address.ip() && [0, bound.port()].contains(&address.port());
                is_there.then_some(Metrics { socket, place: None, is_inherited: true })
            }
            Endpoint::Unix(path) | Endpoint::Passed(path) => {
                let bound = rustix::net::SocketAddrUnix::try_from(bound).ok()?;
                if bound.path_bytes() != Some(path.as_os_str().as_encoded_bytes()) {
                    return None;
                }
                let place = unix_socket::of_listening(Purpose::Metrics, path).ok()?;
                place.leave();
                Some(Metrics { socket, place: Some(place), is_inherited: true })
            }
        }
    }

    /// Whether it was another process's.
    pub(crate) fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// Has the file removed at the end: the other process is about to go.
    pub(crate) fn own(&self) {
        self.place.iter().for_each(Place::own);
    }

    /// Returns a duplicate of the socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Answers on threads of its own until the result is dropped.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn serve(
        self,
        handler: impl Fn(Asked) -> Answer + Send + Sync + 'static,
    ) -> Result<Serving, Error> {
        let failed = |error: io::Error| Error::new("cannot serve numbers").cause(error);
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let shared = Arc::new(Shared {
            wake: wake.map_err(|errno| failed(errno.into()))?,
            leaves: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            handler: Box::new(handler),
        });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("sitar-metrics".into());
        let thread = thread.spawn(move || run(&self, &own)).map_err(failed)?;
        Ok(Serving { shared, thread: Some(thread) })
    }
}

/// Checks that the numbers could be served there, without binding for longer. Where a sitar serves
/// them by now, the configuration may be its own.
///
/// # Errors
/// The address is none of this machine, or may not be used.
pub(crate) fn check(endpoint: &Endpoint) -> Result<(), Error> {
    match endpoint {
        Endpoint::Tcp(address) => match TcpListener::bind(address) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(refused(*address, &error)),
            _ => Ok(()),
        },
        Endpoint::Unix(path) | Endpoint::Passed(path) => unix_socket::check(Purpose::Metrics, path),
    }
}

/// Returns what the operator should know of an endpoint that others than this machine may reach.
pub(crate) fn reach(endpoint: &Endpoint) -> Option<String> {
    let address = endpoint.tcp().filter(|address| !address.ip().to_canonical().is_loopback())?;
    Some(format!(
        "everyone who can reach {address} can read the numbers there, which name all sites and \
         certificates: 'listen' in [admin] is best an address of loopback"
    ))
}

fn tcp(address: SocketAddr) -> Result<OwnedFd, Error> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(OwnedFd::from(listener))
    });
    bound.map_err(|error| refused(address, &error))
}

fn refused(address: SocketAddr, error: &io::Error) -> Error {
    let what = Error::new(format!("cannot serve numbers on {address}")).cause(error);
    match error.kind() {
        io::ErrorKind::AddrInUse => what.hint("take another port: the key listen of [admin]"),
        _ => what.hint("see the key listen of [admin]"),
    }
}

/// What the threads share.
struct Shared {
    /// Wakes the thread that accepts.
    wake: OwnedFd,
    /// Another process accepts from now on.
    leaves: AtomicBool,
    stops: AtomicBool,
    /// Connections at this moment.
    clients: AtomicUsize,
    handler: Box<dyn Fn(Asked) -> Answer + Send + Sync>,
}

impl Shared {
    fn wake(&self) {
        // Its counter is far from its end.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The threads that answer. Dropping it ends the one that accepts, and removes a file.
pub(crate) struct Serving {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Returns what lets another process serve the socket from then on: no more is accepted here,
    /// and its file stays.
    pub(crate) fn leaver(&self) -> Leaver {
        Leaver(Arc::clone(&self.shared))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::SeqCst);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was said where it happened.
            let _ = thread.join();
        }
    }
}

/// Leaves the socket to another process.
pub(crate) struct Leaver(Arc<Shared>);

impl Leaver {
    pub(crate) fn leave(&self) {
        self.0.leaves.store(true, Ordering::SeqCst);
        self.0.wake();
    }

    /// Accepts no more, where no other process does. A file is removed.
    pub(crate) fn end(&self) {
        self.0.stops.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

fn run(metrics: &Metrics, shared: &Arc<Shared>) {
    let mut paused_until: Option<Instant> = None;
    loop {
        if shared.leaves.load(Ordering::SeqCst) {
            metrics.place.iter().for_each(Place::leave);
            return;
        }
        if shared.stops.load(Ordering::SeqCst) {
            return;
        }
        paused_until = paused_until.filter(|until| *until > Instant::now());
        let accepts = paused_until.is_none() && shared.clients.load(Ordering::SeqCst) < CLIENTS_MAX;
        match wait(&shared.wake, accepts.then(|| metrics.socket.as_fd()), paused_until) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return,
        }
        match rustix::net::accept_with(&metrics.socket, SocketFlags::CLOEXEC) {
            Ok(client) => begin(client, shared),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            // No descriptors, for example.
            Err(_) => paused_until = Some(Instant::now() + PAUSE),
        }
    }
}

/// Waits until there is something to do. Returns whether a client can be accepted.
fn wait(wake: &OwnedFd, listener: Option<BorrowedFd<'_>>, until: Option<Instant>) -> Result<bool, Errno> {
    let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
    fds.extend(listener.map(|listener| PollFd::from_borrowed_fd(listener, PollFlags::IN)));
    let time = until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_micros(1));
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    match rustix::event::poll(&mut fds, time.as_ref()) {
        Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
        Err(errno) => return Err(errno),
    }
    let is_ready = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
    // Whatever it was for is looked at next.
    let _ = rustix::io::read(wake, &mut [0; 8]);
    Ok(is_ready)
}

/// Answers a client on a thread of its own.
fn begin(client: OwnedFd, shared: &Arc<Shared>) {
    shared.clients.fetch_add(1, Ordering::SeqCst);
    let place = ClientPlace(Arc::clone(shared));
    let serve = move || {
        converse(&client, &*place.0.handler);
        // Before its place is given to another one.
        drop(client);
    };
    // Where there is no thread for it, the connection is closed with the closure.
    let _ = thread::Builder::new().name("sitar-scrape".into()).spawn(serve);
}

/// A client's place among those that are served at a time, which is given back in any case.
struct ClientPlace(Arc<Shared>);

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::SeqCst);
        self.0.wake();
    }
}

/// Reads one head and answers it. What a client does not send or take ends the connection.
pub(super) fn converse(client: &OwnedFd, handler: &dyn Fn(Asked) -> Answer) {
    let limits = Limits { head: HEAD_MAX, target: TARGET_MAX, ..Limits::default() };
    let until = Instant::now() + ASKING;
    let mut text = Vec::with_capacity(1024);
    let answer = loop {
        let scanned = text.len();
        match receive(client, &mut text, until) {
            Ok(0) => return,
            Ok(_) => {}
            Err(Errno::AGAIN) if !text.is_empty() => break Answer::refusal(&TOO_SLOW),
            Err(_) => return,
        }
        match h1::parse_from(&text, scanned, &limits) {
            Ok(Some(head)) => break answer::answer(&head, handler),
            Ok(None) => {}
            Err(rejection) => break Answer::refusal(&rejection),
        }
    };
    if send(client, &answer.into_bytes()).is_ok() {
        let _ = rustix::net::shutdown(client, Shutdown::Write);
        let (until, mut rest) = (Instant::now() + LEAVING, Vec::new());
        while rest.len() < REST_MAX && receive(client, &mut rest, until).is_ok_and(|count| count > 0) {}
    }
}

/// Receives what has come, or waits for it until then (`AGAIN`). Returns how many bytes came.
fn receive(client: &OwnedFd, text: &mut Vec<u8>, until: Instant) -> Result<usize, Errno> {
    let mut room = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::AGAIN);
        }
        set_socket_timeout(client, Timeout::Recv, Some(left))?;
        match rustix::net::recv(client, &mut room, RecvFlags::empty()) {
            Ok((_, count)) => {
                text.extend_from_slice(room.get(..count).unwrap_or_default());
                return Ok(count);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends all of an answer, in the time for that.
fn send(client: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    let until = Instant::now() + ANSWERING;
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::AGAIN);
        }
        set_socket_timeout(client, Timeout::Send, Some(left))?;
        let part = bytes.get(..PART).unwrap_or(bytes);
        match rustix::net::send(client, part, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
