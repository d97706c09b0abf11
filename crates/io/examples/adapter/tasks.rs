//! An `async fn` per connection.
//!
//! The executor needs no wakers: a task waits for its own connection only, and what has happened to
//! that carries its key.

use std::future::poll_fn;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Waker};

use sitar_io::{Config, Conn, Errno, Event, File, ReadBuf as Target, Ring, SendBuf, TxBuf, Uring};

use super::{Begin, Routine, Server, Socket, filled, sent};

/// A connection's future.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

impl Routine for Task {
    fn resume(&mut self) -> bool {
        self.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

impl Server<Task> {
    /// Serves each connection by a future that `serve` makes.
    pub fn tasks<F, T>(config: &Config, socket: TcpListener, serve: F) -> std::io::Result<Server<Task>>
    where
        F: Fn(Socket) -> T + 'static,
        T: Future<Output = ()> + 'static,
    {
        Server::new(config, socket, move |socket| Some(Box::pin(serve(socket)) as Task))
    }
}

impl Socket {
    /// Waits until [`recv`](Socket::recv) has an answer.
    pub async fn readable(&self) -> Result<(), Errno> {
        self.recv(&mut []).await.map(drop)
    }

    /// Received bytes, as many as there are and fit; 0 is the end.
    pub async fn recv(&self, out: &mut [u8]) -> Result<usize, Errno> {
        poll_fn(|_| self.ask(|hub, key| hub.poll_recv(key, out))).await
    }

    /// A send slot.
    pub async fn buffer(&self) -> TxBuf {
        poll_fn(|_| self.ask(|hub, key| hub.poll_tx(key))).await
    }

    /// Sends all of `buf`, which comes back unless the ring has it already. Dropping the future
    /// neither stops the send nor frees what is sent.
    pub async fn send(&self, buf: impl Into<SendBuf>) -> Result<Option<SendBuf>, Errno> {
        let (mut buf, mut done) = (buf.into(), 0);
        loop {
            let send = |ring: &mut Ring<Uring>, conn: &Conn, _| ring.send(conn, buf, done).is_ok();
            let (back, count) = sent(self.operate(send).await?)?;
            done += count;
            match back {
                Some(rest) if done < rest.len() => buf = rest,
                back => return Ok(back),
            }
        }
    }

    /// Reads from byte `at` of `file`; the number of bytes, 0 at its end.
    pub async fn read(&self, file: &File, at: u64, buf: Target) -> Result<(Target, usize), Errno> {
        let read = |ring: &mut Ring<Uring>, _: &Conn, key| ring.read(file, at, buf, key).is_ok();
        filled(self.operate(read).await?)
    }

    async fn operate(&self, begin: impl Begin) -> Result<Event, Errno> {
        let mut begin = Some(begin);
        poll_fn(|_| self.ask(|hub, key| hub.poll_op(key, &mut begin))).await
    }
}
