//! Two models on one ring: `tasks` serves each connection by a future, `fibers` by a stack of its
//! own. Here is what they share.
//!
//! Nothing here is what the kernel touches. A routine that is dropped drops its [`Socket`], and
//! with it the `Conn`: the ring cancels, and keeps buffers until the kernel has finished with them.

#![allow(dead_code, unreachable_pub, reason = "a module of several examples, each of which uses its part")]

pub mod fibers;
mod hub;
pub mod tasks;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use sitar_io::{Config, Conn, Errno, Event, Key, ReadBuf as Target, Ring, SendBuf, Stats, Uring};

use self::hub::Hub;

/// A connection as its routine holds it. Dropping it closes it, whatever is in flight.
pub struct Socket {
    hub: Rc<RefCell<Hub>>,
    key: Key,
}

impl Socket {
    fn ask<T>(&self, poll: impl FnOnce(&mut Hub, Key) -> T) -> T {
        poll(&mut self.hub.borrow_mut(), self.key)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.ask(Hub::release);
    }
}

/// The routine of one connection. It may be dropped whenever it waits.
pub trait Routine {
    /// Goes on until it waits again (`false`) or has ended.
    fn resume(&mut self) -> bool;
}

/// One routine per connection, on one ring.
pub struct Server<R> {
    // Dropped first: the sockets in them let go of the hub.
    routines: Vec<Option<(Key, R)>>,
    begin: Box<dyn Fn(Socket) -> Option<R>>,
    hub: Rc<RefCell<Hub>>,
}

impl<R: Routine> Server<R> {
    fn new(
        config: &Config,
        socket: std::net::TcpListener,
        begin: impl Fn(Socket) -> Option<R> + 'static,
    ) -> std::io::Result<Server<R>> {
        let hub = Rc::new(RefCell::new(Hub::new(config, socket.into())?));
        Ok(Server { routines: Vec::new(), begin: Box::new(begin), hub })
    }

    /// Waits until something has happened or `until` has passed, and resumes the routines that it
    /// concerns.
    pub fn turn(&mut self, until: Option<Instant>) -> std::io::Result<()> {
        self.hub.borrow_mut().wait(until)?;
        loop {
            // The hub is borrowed for this statement only: routines use it, and drop sockets.
            let Some((key, new)) = self.hub.borrow_mut().next() else { return Ok(()) };
            let index = index(key);
            if self.routines.len() <= index {
                self.routines.resize_with(index + 1, || None);
            }
            if new {
                let socket = Socket { hub: Rc::clone(&self.hub), key };
                self.routines[index] = (self.begin)(socket).map(|routine| (key, routine));
            }
            if let Some((whose, routine)) = &mut self.routines[index]
                && *whose == key
                && routine.resume()
            {
                self.routines[index] = None;
            }
        }
    }

    /// Serves until the ring fails.
    pub fn run(mut self) -> std::io::Result<()> {
        loop {
            self.turn(None)?;
        }
    }

    /// Drops every routine that waits, as a deadline would.
    pub fn abort(&mut self) {
        self.routines.clear();
    }

    /// The ring's counters.
    pub fn stats(&self) -> Stats {
        self.hub.borrow().ring.stats()
    }
}

/// The lower half of a key is a place in the tables, the upper one tells its tenants apart.
fn index(key: Key) -> usize {
    (key.0 & 0xffff_ffff) as usize
}

/// A send or a read. It may outlive the call that began it; the next one waits for it then.
#[derive(Default)]
enum Op {
    #[default]
    Idle,
    InFlight,
    Done(Event),
}

/// Starts an operation; returns `false` when the ring refuses it.
pub trait Begin: FnOnce(&mut Ring<Uring>, &Conn, Key) -> bool {}
impl<F: FnOnce(&mut Ring<Uring>, &Conn, Key) -> bool> Begin for F {}

/// Bytes sent, and what was sent unless the ring has it back.
fn sent(event: Event) -> Result<(Option<SendBuf>, usize), Errno> {
    match event {
        Event::Sent { buf, result, .. } => result.map(|count| (buf, count)),
        _ => Err(Errno::BADF),
    }
}

/// Bytes read, and where to.
fn filled(event: Event) -> Result<(Target, usize), Errno> {
    match event {
        Event::Read { buf, result, .. } => result.map(|count| (buf, count)),
        _ => Err(Errno::BADF),
    }
}
