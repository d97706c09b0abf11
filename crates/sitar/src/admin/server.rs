//! The server's side: one thread that waits for requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use rustix::process::Uid;
use serde_json::Value;

use super::document;
use super::{Reply, Request};
use crate::error::Error;
use crate::unix_socket::{self, Place, Purpose};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Connections at a time.
const CLIENTS_MAX: usize = 8;
/// Time for a client to send its request.
const ASKING: Duration = Duration::from_secs(5);
/// Time for a client to take the answer.
const ANSWERING: Duration = Duration::from_secs(30);
/// Bytes of a request, at most, its end included.
const REQUEST_MAX: usize = 4096;
/// Pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is bound and listens. Dropping it removes its file.
#[derive(Debug)]
pub struct Admin {
    socket: OwnedFd,
    place: Place,
    leaves: Arc<AtomicBool>,
}

impl Admin {
    /// Makes the socket. One that was left behind is replaced.
    ///
    /// # Errors
    /// Another sitar serves there, something that is no socket is there, the path is too long, or
    /// its folder is missing or cannot be written to; with what helps.
    pub fn bind(path: &Path) -> Result<Admin, Error> {
        let (socket, place) = unix_socket::listen(Purpose::Admin, path, 0o600, BACKLOG)?;
        Ok(Admin { socket, place, leaves: Arc::default() })
    }

    /// Takes a socket that another process listens on at that path. The file stays that one's.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn take_over(path: &Path, socket: OwnedFd) -> Result<Admin, Error> {
        let place = unix_socket::of_listening(Purpose::Admin, path)?;
        place.leave();
        Ok(Admin { socket, place, leaves: Arc::default() })
    }

    /// Has the file removed at the end: the other process is about to go.
    pub(crate) fn own(&mut self) {
        self.place.own();
    }

    /// Whether a socket is bound to that path.
    pub(crate) fn is_at(path: &Path, socket: &OwnedFd) -> bool {
        let address = rustix::net::getsockname(socket).ok();
        let address = address.and_then(|address| rustix::net::SocketAddrUnix::try_from(address).ok());
        let bound = address.as_ref().and_then(|address| address.path_bytes());
        bound == Some(path.as_os_str().as_encoded_bytes())
    }

    /// Returns a duplicate of the socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Answers requests on a thread of its own, one after the other, until the result is dropped.
    /// The handler gets the connection as well, which it may hand to another process.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn serve(
        self,
        handler: impl FnMut(Request, BorrowedFd<'_>) -> Reply + Send + 'static,
    ) -> Result<Serving, Error> {
        let failed = |error: io::Error| Error::new("cannot serve the admin socket").cause(error);
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|errno| failed(errno.into()))?);
        let stop = Arc::clone(&wake);
        let leaves = Arc::clone(&self.leaves);
        let thread = std::thread::Builder::new().name("sitar-admin".into());
        let thread = thread.spawn(move || self.run(&stop, handler)).map_err(failed)?;
        Ok(Serving { wake, leaves, thread: Some(thread) })
    }

    fn run(self, stop: &OwnedFd, mut handler: impl FnMut(Request, BorrowedFd<'_>) -> Reply) {
        // Its file goes when the thread ends.
        let Admin { socket, place, leaves } = self;
        let mut clients: Vec<Client> = Vec::with_capacity(CLIENTS_MAX);
        let mut paused_until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            paused_until = paused_until.filter(|&until| until > now);
            clients.retain(|client| client.deadline > now);
            if leaves.load(Ordering::SeqCst) {
                place.leave();
                if clients.is_empty() {
                    return;
                }
            }
            let accepts =
                clients.len() < CLIENTS_MAX && paused_until.is_none() && !leaves.load(Ordering::SeqCst);
            let next = clients.iter().map(|client| client.deadline).chain(paused_until).min();
            let Some(ready) = wait(stop, accepts.then_some(&socket), &clients, next, now) else { return };
            if ready.stops {
                if leaves.load(Ordering::SeqCst) {
                    // Those that were accepted are answered.
                    let _ = rustix::io::read(stop, &mut [0; 8]);
                    continue;
                }
                return;
            }
            let mut which = ready.clients.into_iter();
            let start = Instant::now();
            clients.retain_mut(|client| {
                let is_ready = which.next().unwrap_or(false);
                !is_ready || client.go_on(&mut handler).is_ok_and(|going| going)
            });
            // While one was answered the others could not be served.
            let busy = start.elapsed();
            clients.iter_mut().for_each(|client| client.deadline += busy);
            if ready.accepts {
                match Client::accept(socket.as_fd()) {
                    Ok(client) => clients.push(client),
                    Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                    // No descriptors, for example.
                    Err(_) => paused_until = Some(Instant::now() + PAUSE),
                }
            }
        }
    }
}

/// The thread that answers requests. Dropping it waits for a request that is being answered, then
/// ends the thread and removes the socket.
#[derive(Debug)]
pub struct Serving {
    wake: Arc<OwnedFd>,
    leaves: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Returns what lets another process serve the socket from then on: no more is accepted here,
    /// and its file stays.
    pub(crate) fn leaver(&self) -> Leaver {
        Leaver { wake: Arc::clone(&self.wake), leaves: Arc::clone(&self.leaves) }
    }
}

/// Leaves the admin socket to another process.
#[derive(Debug, Clone)]
pub(crate) struct Leaver {
    wake: Arc<OwnedFd>,
    leaves: Arc<AtomicBool>,
}

impl Leaver {
    pub(crate) fn leave(&self) {
        self.leaves.store(true, Ordering::SeqCst);
        // Its counter is far from its end.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Its counter is far from its end.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was said where it happened.
            let _ = thread.join();
        }
    }
}

/// What there is to do.
struct Ready {
    stops: bool,
    accepts: bool,
    clients: Vec<bool>,
}

/// Waits until there is something to do or until `next`. `None`: the kernel refuses to wait.
fn wait(
    stop: &OwnedFd,
    listener: Option<&OwnedFd>,
    clients: &[Client],
    next: Option<Instant>,
    now: Instant,
) -> Option<Ready> {
    let mut fds = Vec::with_capacity(2 + CLIENTS_MAX);
    fds.push(PollFd::new(stop, PollFlags::IN));
    fds.extend(clients.iter().map(|client| PollFd::new(&client.socket, client.state.waits_for())));
    fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
    // A microsecond too late rather than too early, which would turn in a loop.
    let time = next.map(|next| next.saturating_duration_since(now) + Duration::from_micros(1));
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match rustix::event::poll(&mut fds, time.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR | Errno::AGAIN) => {
            return Some(Ready { stops: false, accepts: false, clients: Vec::new() });
        }
        Err(_) => return None,
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let stops = ready.next().unwrap_or(false);
    let clients = ready.by_ref().take(clients.len()).collect();
    Some(Ready { stops, accepts: ready.next().unwrap_or(false), clients })
}

/// A connection.
struct Client {
    socket: OwnedFd,
    /// Why it gets no answer. It is sent when its request has come: what is unread when a socket is
    /// closed breaks the connection, and the answer could be lost.
    refusal: Option<String>,
    deadline: Instant,
    state: State,
}

enum State {
    /// Its request comes.
    Asking { request: Box<[u8; REQUEST_MAX]>, len: usize },
    /// The answer goes out.
    Answering { answer: Vec<u8>, sent: usize },
}

impl State {
    fn waits_for(&self) -> PollFlags {
        match self {
            State::Asking { .. } => PollFlags::IN,
            State::Answering { .. } => PollFlags::OUT,
        }
    }
}

impl Client {
    fn accept(listener: BorrowedFd<'_>) -> Result<Client, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::accept_with(listener, flags)?;
        let peer = rustix::net::sockopt::socket_peercred(&socket)?.uid;
        let own = rustix::process::geteuid();
        let refusal = (!may_ask(peer, own)).then(|| {
            let (peer, own) = (peer.as_raw(), own.as_raw());
            format!("user {peer} may not ask: only root and user {own}, which it runs as, may")
        });
        let state = State::Asking { request: Box::new([0; REQUEST_MAX]), len: 0 };
        Ok(Client { socket, refusal, deadline: Instant::now() + ASKING, state })
    }

    /// Does what can be done now. `Ok(false)`: it is done with.
    fn go_on(&mut self, handler: &mut impl FnMut(Request, BorrowedFd<'_>) -> Reply) -> Result<bool, Errno> {
        let refusal = self.refusal.clone();
        match self.receive() {
            Ok(Some(asked)) => {
                let request = match (asked, refusal) {
                    (Asked::Nothing, _) => return Ok(false),
                    (_, Some(why)) => Err(why),
                    (Asked::TooLong, None) => Err("the request is too long".to_owned()),
                    (Asked::Line(line), None) => Request::read(line),
                };
                let answer = match request.map(|request| handler(request, self.socket.as_fd())) {
                    Ok(Reply::HandedOver) => return Ok(false),
                    Ok(Reply::Refused(why)) => document::error(&why.sentence()),
                    Ok(reply) => document::answer(&reply),
                    Err(why) => document::error(&why),
                };
                self.state = State::answering(&answer);
                self.deadline = Instant::now() + ANSWERING;
            }
            Ok(None) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
            Err(errno) => return Err(errno),
        }
        self.send()
    }

    /// Receives what has come of the request. `None`: it is there already.
    fn receive(&mut self) -> Result<Option<Asked<'_>>, Errno> {
        let State::Asking { request, len } = &mut self.state else { return Ok(None) };
        loop {
            let room = request.get_mut(*len..).unwrap_or_default();
            if room.is_empty() {
                return Ok(Some(Asked::TooLong));
            }
            let (_, count) = rustix::net::recv(&self.socket, room, RecvFlags::empty())?;
            *len = (*len + count).min(REQUEST_MAX);
            let come = request.get(..*len).unwrap_or_default();
            let end = come.iter().position(|&byte| byte == b'\n');
            match (end, count) {
                (Some(end), _) => return Ok(Some(Asked::Line(request.get(..end).unwrap_or_default()))),
                (None, 0) if *len == 0 => return Ok(Some(Asked::Nothing)),
                // The end of what it sends is the end of a line.
                (None, 0) => return Ok(Some(Asked::Line(request.get(..*len).unwrap_or_default()))),
                (None, _) => {}
            }
        }
    }

    fn send(&mut self) -> Result<bool, Errno> {
        let State::Answering { answer, sent } = &mut self.state else { return Ok(true) };
        while let Some(rest) = answer.get(*sent..).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => *sent += count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
                Err(errno) => return Err(errno),
            }
        }
        // For all that hold it: a worker that gets a trace's connection later than the refusal
        // writes nothing behind that. It may be gone already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        Ok(false)
    }
}

impl State {
    fn answering(answer: &Value) -> State {
        State::Answering { answer: format!("{answer:#}\n").into_bytes(), sent: 0 }
    }
}

/// A request that has come.
enum Asked<'c> {
    /// The client has gone.
    Nothing,
    Line(&'c [u8]),
    TooLong,
}

/// Whether a user may ask a server that runs as `own`.
pub(super) fn may_ask(peer: Uid, own: Uid) -> bool {
    peer.is_root() || peer == own
}
