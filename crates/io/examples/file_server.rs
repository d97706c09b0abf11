//! A small file server in both models: `cargo run -p sitar-io --example file_server FOLDER
//! [tasks|fibers] [ADDRESS]`.
//!
//! A peer sends a file's name and a line feed, and gets the file's length in decimal, a line feed,
//! and the file; `-` and a line feed when there is no such file. Files are opened at the start: the
//! request's path makes no system call but the ring's.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a module of the tests as well")]

pub mod adapter;

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;

use adapter::{Server, Socket, fibers::Fiber, fibers::Stack, tasks::Task};
use sitar_io::{Config, Errno, File, ReadBuf as Target, TxBuf};

/// Sizes for a thousand connections: 1 MiB to receive into, 64 MiB to send from.
pub const CONFIG: Config =
    Config { connections: 1000, rx_count: 1024, rx_len: 1024, tx_count: 1024, tx_len: 64 << 10 };
/// Bytes of a name at most. A longer one ends the connection.
const NAME_MAX: usize = 255;

/// The files of one folder, by name, with their lengths.
pub struct Files(HashMap<Vec<u8>, (File, u64)>);

impl Files {
    /// Opens every file in `folder`, not those below it.
    pub fn open(folder: &Path) -> std::io::Result<Files> {
        let mut files = HashMap::new();
        for entry in std::fs::read_dir(folder)? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            if path.is_file() {
                let file = std::fs::File::open(path)?;
                let len = file.metadata()?.len();
                files.insert(name.into_encoded_bytes(), (file.into(), len));
            }
        }
        Ok(Files(files))
    }

    /// Returns the file that is asked for, and the answer's first line.
    fn find(&self, name: &[u8]) -> (Option<&(File, u64)>, String) {
        let found = self.0.get(name);
        (found, found.map_or_else(|| "-\n".into(), |(_, len)| format!("{len}\n")))
    }
}

/// A name that is still arriving.
#[derive(Default)]
struct Request(Vec<u8>);

impl Request {
    /// Takes the next name that is complete.
    fn name(&mut self) -> Option<Vec<u8>> {
        let end = self.0.iter().position(|&byte| byte == b'\n')?;
        Some(self.0.drain(..=end).take(end).collect())
    }

    /// Adds received bytes. No bytes are the end of the connection, and a name that is too long is
    /// treated as one.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let too_long = self.0.len() > NAME_MAX;
        self.0.extend_from_slice(bytes);
        if too_long || bytes.is_empty() { Err(Errno::PIPE) } else { Ok(()) }
    }
}

fn filled_with(mut tx: TxBuf, line: &str) -> TxBuf {
    tx[..line.len()].copy_from_slice(line.as_bytes());
    tx.set_filled(line.len());
    tx
}

/// Returns the slot of a read that gave `len` bytes. A read of 0 bytes is an error: the file has
/// become shorter than it was.
fn read_slot((buf, len): (Target, usize)) -> Result<TxBuf, Errno> {
    let Target::Tx(mut tx, _) = buf else { return Err(Errno::IO) };
    tx.set_filled(len);
    if len > 0 { Ok(tx) } else { Err(Errno::IO) }
}

/// Serves one connection: a future.
pub async fn serve_task(socket: Socket, files: Rc<Files>) -> Result<(), Errno> {
    let (mut request, mut chunk) = (Request::default(), [0; NAME_MAX]);
    loop {
        let Some(name) = request.name() else {
            let len = socket.recv(&mut chunk).await?;
            request.push(&chunk[..len])?;
            continue;
        };
        let (found, line) = files.find(&name);
        socket.send(filled_with(socket.buffer().await, &line)).await?;
        let Some((file, len)) = found else { continue };
        let mut at = 0;
        while at < *len {
            let buf = Target::Tx(socket.buffer().await, 0..(len - at) as usize);
            let tx = read_slot(socket.read(file, at, buf).await?)?;
            at += tx.filled() as u64;
            socket.send(tx).await?;
        }
    }
}

/// Serves one connection: the same on a stack of its own.
pub fn serve_fiber(fiber: &Fiber<'_>, files: &Files) -> Result<(), Errno> {
    let (mut request, mut chunk) = (Request::default(), [0; NAME_MAX]);
    loop {
        let Some(name) = request.name() else {
            let len = fiber.recv(&mut chunk)?;
            request.push(&chunk[..len])?;
            continue;
        };
        let (found, line) = files.find(&name);
        fiber.send(filled_with(fiber.buffer(), &line))?;
        let Some((file, len)) = found else { continue };
        let mut at = 0;
        while at < *len {
            let buf = Target::Tx(fiber.buffer(), 0..(len - at) as usize);
            let tx = read_slot(fiber.read(file, at, buf)?)?;
            at += tx.filled() as u64;
            fiber.send(tx)?;
        }
    }
}

/// A server in which each connection is a future.
pub fn tasks(config: &Config, listener: TcpListener, files: Files) -> std::io::Result<Server<Task>> {
    let files = Rc::new(files);
    Server::tasks(config, listener, move |socket| {
        let files = Rc::clone(&files);
        async { _ = serve_task(socket, files).await }
    })
}

/// A server in which each connection is a stack.
pub fn fibers(config: &Config, listener: TcpListener, files: Files) -> std::io::Result<Server<Stack>> {
    Server::fibers(config, listener, move |fiber| _ = serve_fiber(fiber, &files))
}

fn main() -> std::io::Result<()> {
    let argument = |n, default: &str| std::env::args().nth(n).unwrap_or_else(|| default.into());
    let files = Files::open(Path::new(&argument(1, ".")))?;
    let listener = TcpListener::bind(argument(3, "127.0.0.1:7008"))?;
    println!("{} files on {}", files.0.len(), listener.local_addr()?);
    match argument(2, "tasks").as_str() {
        "fibers" => fibers(&CONFIG, listener, files)?.run(),
        _ => tasks(&CONFIG, listener, files)?.run(),
    }
}
