//! What peers can take from others: memory that the server holds for them, and places in its table
//! of connections.

mod crowds;
mod memory;

use crate::common::Server;
use crate::common::client::{self, Client};
use rustls::ClientConfig;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

/// Addresses of clients; that of the server is 127.0.0.1.
const MANY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Size of the least receive buffer: the kernel takes its own minimum for it.
const NARROW: usize = 1;

/// Connects from an address, with a receive buffer of its own size.
fn connect(source: Ipv4Addr, server: SocketAddr, receive: Option<usize>) -> io::Result<TcpStream> {
    client::socket_from(Some(source), server, receive)
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A client that has sent the first half of its only request.
struct Half(Box<dyn Wire>);

/// A way to connect to a server.
#[derive(Clone)]
enum Way {
    Plain,
    Tls(Arc<ClientConfig>),
}

impl Way {
    fn of(server: &Server) -> Way {
        let is_tls = server.url("").starts_with("https");
        if is_tls { Way::Tls(client::config(server)) } else { Way::Plain }
    }

    fn begin(&self, source: Ipv4Addr, server: &Server, path: &str) -> io::Result<Half> {
        let socket = connect(source, server.address(), None)?;
        let mut wire: Box<dyn Wire> = match self {
            Way::Plain => Box::new(socket),
            Way::Tls(config) => Box::new(Client::over(config, socket)?.into_stream()),
        };
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Half: ");
        wire.write_all(head.as_bytes())?;
        wire.flush()?;
        Ok(Half(wire))
    }

    /// Sends a request over a connection of its own, and returns whether the answer was 200.
    fn is_served(&self, source: Ipv4Addr, server: &Server, path: &str) -> bool {
        self.begin(source, server, path).and_then(Half::finish).is_ok_and(|is_200| is_200)
    }
}

impl Half {
    /// Sends the rest, reads the answer to its end, and returns whether it was 200.
    fn finish(mut self) -> io::Result<bool> {
        self.0.write_all(b"whole\r\n\r\n")?;
        self.0.flush()?;
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200 OK\r\n"))
    }
}
