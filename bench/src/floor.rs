//! The floor: how little a server can do and still be measured.
//!
//! One thread and epoll. It accepts, does the handshake, opens what arrives, and for each end of a request head that it sees
//! sends the same answer, sealed. No request is parsed, nothing is looked up, no clock is read, no limit is kept. What a server needs
//! above this is what its HTTP, its files and its safety cost.
//!
//! Sealing is sitar's own record layer and not a `rustls::ServerConnection`: rustls copies
//! what is sent twice and allocates for each record, and a floor that does so would flatter whoever is held against it.
//! epoll rather than io_uring because it takes no unsafe code. It costs up to a tenth more than a ring here (bench/ENGINES.md).

mod connection;
mod heads;

use crate::Result;
use crate::arguments::Arguments;
use connection::{Answer, Connection, Next, Scratch};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use sitar_tls::{Config, Identity};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;

/// The listener's mark among the events; connections have their place in the table.
const LISTENER: u64 = u64::MAX;
const EVENTS_MAX: usize = 512;

/// `--file F [--length N] [--status N] [--cert C --key K]`: answers every request with the first N bytes of the file.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let status = arguments.optional("status")?.unwrap_or(200);
    let mut body = std::fs::read(arguments.needed::<PathBuf>("file")?)?;
    if let Some(length) = arguments.optional("length")? {
        body.truncate(length);
    }
    let tls = match arguments.text("cert") {
        Some(cert) => Some(config(cert, &arguments.needed::<String>("key")?)?),
        None => None,
    };
    let answer = Answer::new(status, &body);
    drop(body);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listens {}", listener.local_addr()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    Floor { poll, listener, tls, answer, table: Vec::new(), free: Vec::new() }.serve()
}

fn config(cert: &str, key: &str) -> Result<Config> {
    let identity = Identity::from_pem(&std::fs::read(cert)?, &std::fs::read(key)?)?;
    Ok(Config::new(vec![identity], &[b"http/1.1"])?)
}

struct Floor {
    poll: OwnedFd,
    listener: TcpListener,
    tls: Option<Config>,
    answer: Answer,
    table: Vec<Option<Connection>>,
    /// Places in the table that nobody has.
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

    /// One connection has bytes, or room, or is gone.
    fn turn(&mut self, place: usize, scratch: &mut Scratch) -> Result<()> {
        let Some(connection) = self.table.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        let waited = connection.waits_for_room();
        match connection.turn(&self.answer, scratch) {
            Next::Wait => {
                let waits = connection.waits_for_room();
                if waits != waited {
                    // What it asks for meanwhile waits in the kernel, as it cannot be answered.
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
