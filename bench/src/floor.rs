//! The floor: the least that a server can do and still be measured.
//!
//! One thread and epoll. It accepts, does the handshake, opens the records that arrive, and for
//! each end of a request head sends the same answer, sealed. No request is parsed, nothing is
//! looked up, no clock is read, no limit is kept. A server's cost above this is the cost of its
//! HTTP, its files and its safety.
//!
//! Sealing is sitar's own record layer and not a `rustls::ServerConnection`: rustls copies the sent
//! bytes twice and allocates for each record, and a floor that does so would flatter the servers
//! that are held against it. epoll rather than io_uring because it takes no unsafe code. It costs
//! up to a tenth more than a ring here (bench/ENGINES.md).

mod connection;
mod heads;

use crate::Result;
use clap::Args;
use connection::{Answer, Connection, Next, Scratch};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use sitar_tls::{Config, Identity};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// The listener's mark among the events. A connection's mark is its place in the table.
const LISTENER: u64 = u64::MAX;
const EVENTS_MAX: usize = 512;

/// Arguments of `floor`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The file to answer with
    #[arg(long)]
    file: PathBuf,
    /// Only this number of its bytes
    #[arg(long)]
    length: Option<usize>,
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// A certificate, in PEM: TLS instead of plain TCP
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long)]
    key: Option<PathBuf>,
}

/// Answers every request with the same bytes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut body = std::fs::read(&arguments.file)?;
    if let Some(length) = arguments.length {
        body.truncate(length);
    }
    let tls = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => Some(config(cert, key)?),
        _ => None,
    };
    let answer = Answer::new(arguments.status, &body);
    drop(body);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listens {}", listener.local_addr()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    Floor { poll, listener, tls, answer, table: Vec::new(), free: Vec::new() }.serve()
}

fn config(cert: &Path, key: &Path) -> Result<Config> {
    let identity = Identity::from_pem(&std::fs::read(cert)?, &std::fs::read(key)?)?;
    Ok(Config::new(vec![identity], &[b"http/1.1"])?)
}

struct Floor {
    poll: OwnedFd,
    listener: TcpListener,
    tls: Option<Config>,
    answer: Answer,
    table: Vec<Option<Connection>>,
    /// Unused places in the table.
    free: Vec<usize>,
}

impl Floor {
    fn serve(mut self) -> Result<()> {
        let mut scratch = Scratch::new();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    place => self.turn(usize::try_from(place)?, &mut scratch)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or_else(|| {
                self.table.push(None);
                self.table.len() - 1
            });
            let data = epoll::EventData::new_u64(place as u64);
            epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN)?;
            self.table[place] = Some(Connection::new(stream, self.tls.as_ref())?);
        }
    }

    /// Serves a connection that has bytes, or room, or is gone.
    fn turn(&mut self, place: usize, scratch: &mut Scratch) -> Result<()> {
        let Some(connection) = self.table.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        let waited = connection.waits_for_room();
        match connection.turn(&self.answer, scratch) {
            Next::Wait => {
                let waits = connection.waits_for_room();
                if waits != waited {
                    // Requests that come meanwhile wait in the kernel.
                    let flags = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                    let data = epoll::EventData::new_u64(place as u64);
                    epoll::modify(&self.poll, connection.stream(), data, flags)?;
                }
            }
            // The kernel forgets a descriptor's events when it is closed.
            Next::Close => {
                self.table[place] = None;
                self.free.push(place);
            }
        }
        Ok(())
    }
}
