//! Echo, with an `async fn` per connection: `cargo run -p sitar-io --example async_echo [ADDRESS]`.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a module of the tests as well")]

pub mod adapter;

use std::net::TcpListener;

use adapter::tasks::Task;
use adapter::{Server, Socket};
use sitar_io::{Config, Errno};

/// Sizes for a thousand connections: 4 MiB to receive into, 16 MiB of address space to send from.
pub const CONFIG: Config =
    Config { connections: 1000, rx_count: 1024, rx_len: 4096, tx_count: 1024, tx_len: 16 << 10 };

/// Sends back what comes, until the peer has finished.
pub async fn echo(socket: Socket) -> Result<(), Errno> {
    loop {
        // First there must be something to send: a connection that is silent holds no slot.
        socket.readable().await?;
        let mut tx = socket.buffer().await;
        match socket.recv(&mut tx).await? {
            0 => return Ok(()),
            len => tx.set_filled(len),
        }
        socket.send(tx).await?;
    }
}

/// A server for what connects to `listener`. A connection that failed is closed as one that has
/// finished: by dropping its socket.
pub fn server(config: &Config, listener: TcpListener) -> std::io::Result<Server<Task>> {
    Server::tasks(config, listener, |socket| async { _ = echo(socket).await })
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".into());
    let listener = TcpListener::bind(&address)?;
    println!("echo on {}, a future per connection", listener.local_addr()?);
    server(&CONFIG, listener)?.run()
}
