//! The client's side: one request, one answer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::Value;

use super::{Request, document};
use crate::error::{Error, printable};
use crate::unix_socket::{self, Purpose};

/// Bytes of an answer, at most.
const ANSWER_MAX: u64 = 64 << 20;
/// Time to be accepted, where others ask at the same time.
const CONNECT: Duration = Duration::from_secs(30);

impl Request {
    /// Returns how long its answer may take. Another's reload may have to end first.
    fn patience(&self) -> Duration {
        match self {
            Request::Reload | Request::Drain => Duration::from_secs(600),
            Request::Upgrade { wait } => Duration::from_secs(600 + u64::from(*wait)),
            _ => Duration::from_secs(60),
        }
    }
}

/// Asks the server at a path, and returns its document.
///
/// # Errors
/// No sitar answers there, this user may not ask it, or it did not understand; with what helps.
pub fn ask(path: &Path, request: &Request) -> Result<Value, Error> {
    let failed = |error: io::Error| unanswered(path, &error, request);
    let stream = open(path, request)?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_MAX).read_to_end(&mut answer) {
        // It closed before it had read everything; what it said has come.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => {}
        other => {
            other.map_err(failed)?;
        }
    }
    read(path, request, &answer)
}

/// Connects to the server at a path, and sends a request.
///
/// # Errors
/// No sitar is there, or this user may not ask it.
pub(crate) fn open(path: &Path, request: &Request) -> Result<UnixStream, Error> {
    let address = unix_socket::address(Purpose::Admin, path)?;
    let socket = connect(&address).map_err(|errno| explain(path, errno))?;
    let failed = |error: io::Error| unanswered(path, &error, request);
    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(request.patience())).map_err(failed)?;
    match stream.write_all(format!("{}\n", request.line()).as_bytes()) {
        // It may have said why it closes.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.map_err(failed)?,
    }
    Ok(stream)
}

/// Reads the document that a server has answered with.
///
/// # Errors
/// It is none that this version understands, or the server has refused.
pub(crate) fn read(path: &Path, request: &Request, answer: &[u8]) -> Result<Value, Error> {
    let foreign = |why: &str| {
        Error::new(format!("what answers at {} is no sitar that this one understands", printable(path)))
            .cause(why)
    };
    if answer.is_empty() {
        return Err(unanswered(path, &ErrorKind::UnexpectedEof.into(), request));
    }
    let document: Value = serde_json::from_slice(answer).map_err(|_| foreign("its answer is no JSON"))?;
    if document.get("schema").is_none() {
        return Err(foreign("its answer has no schema"));
    }
    match document::read_error(&document) {
        Some(why) => Err(Error::new(format!("the sitar at {} refused", printable(path))).cause(why)),
        None => Ok(document),
    }
}

fn connect(address: &rustix::net::SocketAddrUnix) -> Result<std::os::fd::OwnedFd, Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // It holds for connect(2) where the queue is full, too.
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT))?;
    rustix::net::connect(&socket, address)?;
    Ok(socket)
}

fn no_sitar(path: &Path) -> Error {
    Error::new(format!("no sitar answers at {}", printable(path)))
}

fn explain(path: &Path, errno: Errno) -> Error {
    let running = "is it running? See: ps -C sitar -o pid,user,args";
    let socket =
        "it has a socket where its configuration says so ([admin]); if that is elsewhere: --socket PATH";
    match errno {
        Errno::NOENT | Errno::NOTDIR => {
            no_sitar(path).cause("there is no such file").hint(running).hint(socket)
        }
        Errno::CONNREFUSED if !is_socket(path) => {
            no_sitar(path).cause("it is no socket").hint("name the socket: --socket PATH")
        }
        Errno::CONNREFUSED => no_sitar(path)
            .cause("the socket is there, and no program listens on it: sitar has ended")
            .hint(running)
            .hint(socket),
        Errno::ACCESS | Errno::PERM => {
            Error::new(format!("this user may not ask the sitar at {}", printable(path)))
                .cause("only root and the user that it runs as may")
                .hint("type it as root: sudo sitar …")
        }
        Errno::PROTOTYPE => no_sitar(path).cause("it is another program's socket"),
        Errno::AGAIN => no_sitar(path).cause("too many others wait to ask it").hint("try again later"),
        other => no_sitar(path).cause(io::Error::from(other)),
    }
}

fn is_socket(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

/// The connection was made, and no answer came.
fn unanswered(path: &Path, error: &io::Error, request: &Request) -> Error {
    let error_of = |cause: String| {
        Error::new(format!("the sitar at {} did not answer '{}'", printable(path), request.word()))
            .cause(cause)
    };
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let seconds = request.patience().as_secs();
            error_of(format!("nothing came within {seconds} seconds; it may be busy with a reload"))
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            error_of("it closed the connection; it may be stopping".to_owned())
        }
        _ => error_of(error.to_string()),
    }
}
