//! A stack per connection: plain blocking code, suspended instead of blocked.
//!
//! `corosensei` switches stacks: maintained (0.3.4 of May 2026), four small dependencies (libc,
//! cfg-if, scopeguard, autocfg), unsafe by nature (assembly for each architecture) behind an
//! interface without `unsafe`. A suspended coroutine that is dropped is unwound, so that what lives
//! on its stack is dropped in order.

use std::net::TcpListener;
use std::rc::Rc;
use std::task::Poll::{self, Ready};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, Yielder};
use sitar_io::{Config, Conn, Errno, Event, File, Key, ReadBuf as Target, Ring, SendBuf, TxBuf, Uring};

use super::hub::Hub;
use super::{Begin, Routine, Server, Socket, filled, sent};

/// Bytes of a stack. A guard page is below it; pages are memory from their first use on.
const STACK: usize = 64 << 10;

/// A connection's stack, suspended.
pub type Stack = Coroutine<(), (), ()>;

impl Routine for Stack {
    fn resume(&mut self) -> bool {
        Coroutine::resume(self, ()).as_return().is_some()
    }
}

impl Server<Stack> {
    /// Serves each connection by a call of `serve` on a stack of its own.
    pub fn fibers(
        config: &Config,
        socket: TcpListener,
        serve: impl Fn(&Fiber<'_>) + 'static,
    ) -> std::io::Result<Server<Stack>> {
        let serve = Rc::new(serve);
        Server::new(config, socket, move |socket| {
            let serve = Rc::clone(&serve);
            // No memory for a stack: the connection is closed, by dropping its socket.
            let stack = DefaultStack::new(STACK).ok()?;
            Some(Coroutine::with_stack(stack, move |yielder, ()| serve(&Fiber { socket, yielder })))
        })
    }
}

/// A connection, as code on its own stack sees it.
pub struct Fiber<'a> {
    socket: Socket,
    yielder: &'a Yielder<(), ()>,
}

impl Fiber<'_> {
    fn wait<T>(&self, mut poll: impl FnMut(&mut Hub, Key) -> Poll<T>) -> T {
        loop {
            if let Ready(value) = self.socket.ask(&mut poll) {
                return value;
            }
            self.yielder.suspend(());
        }
    }

    /// Waits until [`recv`](Fiber::recv) has an answer.
    pub fn readable(&self) -> Result<(), Errno> {
        self.recv(&mut []).map(drop)
    }

    /// Received bytes, as many as there are and fit; 0 is the end.
    pub fn recv(&self, out: &mut [u8]) -> Result<usize, Errno> {
        self.wait(|hub, key| hub.poll_recv(key, out))
    }

    /// A send slot.
    pub fn buffer(&self) -> TxBuf {
        self.wait(Hub::poll_tx)
    }

    /// Sends all of `buf`, which comes back unless the ring has it already.
    pub fn send(&self, buf: impl Into<SendBuf>) -> Result<Option<SendBuf>, Errno> {
        let (mut buf, mut done) = (buf.into(), 0);
        loop {
            let send = |ring: &mut Ring<Uring>, conn: &Conn, _| ring.send(conn, buf, done).is_ok();
            let (back, count) = sent(self.operate(send)?)?;
            done += count;
            match back {
                Some(rest) if done < rest.len() => buf = rest,
                back => return Ok(back),
            }
        }
    }

    /// Reads from byte `at` of `file`; the number of bytes, 0 at its end.
    pub fn read(&self, file: &File, at: u64, buf: Target) -> Result<(Target, usize), Errno> {
        let read = |ring: &mut Ring<Uring>, _: &Conn, key| ring.read(file, at, buf, key).is_ok();
        filled(self.operate(read)?)
    }

    fn operate(&self, begin: impl Begin) -> Result<Event, Errno> {
        let mut begin = Some(begin);
        self.wait(|hub, key| hub.poll_op(key, &mut begin))
    }
}
