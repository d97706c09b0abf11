//! Frames by hand, and the client that behaves.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
pub(super) const PRIORITY_UPDATE: u8 = 0x10;
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `:method GET, :scheme https, :path /1k.txt, :authority a`
pub(super) const GET: &[u8] = b"\x82\x87\x04\x07/1k.txt\x41\x01a";
/// `:method POST, :scheme https, :path /1k.txt, :authority a`
pub(super) const POST: &[u8] = b"\x83\x87\x04\x07/1k.txt\x41\x01a";

/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(&len.to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// The client's streams in the order of their numbers.
pub(super) fn stream_of(at: u32) -> u32 {
    2 * at + 1
}

/// A preface, SETTINGS with this initial window, and the acknowledgement of the server's, which are on their way.
pub(super) fn greeting(initial_window: &[u8]) -> Vec<u8> {
    let mut wire = PREFACE.to_vec();
    put(&mut wire, SETTINGS, 0, 0, initial_window);
    put(&mut wire, SETTINGS, ACK, 0, b"");
    // As much as the connection may have beyond what it has.
    put(&mut wire, WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    wire
}

/// A client that asks for one file again and again.
pub(super) struct Good {
    socket: TcpStream,
    held: Vec<u8>,
    next: u32,
    expected: Vec<u8>,
}

impl Good {
    pub(super) fn connect(port: u16, expected: &[u8]) -> io::Result<Good> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(&greeting(b""))?;
        Ok(Good { socket, held: Vec::new(), next: 0, expected: expected.to_vec() })
    }

    /// How long an answer took that is right in status and content.
    pub(super) fn ask(&mut self) -> io::Result<Duration> {
        let asked = stream_of(self.next);
        self.next += 1;
        let mut request = Vec::new();
        put(&mut request, HEADERS, END_HEADERS | END_STREAM, asked, GET);
        let start = Instant::now();
        self.socket.write_all(&request)?;
        let (mut is_200, mut body) = (false, Vec::<u8>::new());
        loop {
            let (kind, flags, stream, payload) = self.frame()?;
            match kind {
                // The first block declares an empty table (RFC 7541 §6.3).
                HEADERS if stream == asked => {
                    is_200 = payload.strip_prefix(b"\x20").unwrap_or(&payload).starts_with(b"\x88");
                }
                DATA if stream == asked => body.extend(&payload),
                RST_STREAM | GOAWAY => return Err(io::Error::other("the server does not want to go on")),
                _ => continue,
            }
            if flags & END_STREAM != 0 {
                break;
            }
        }
        if !is_200 || body != self.expected {
            return Err(io::Error::other("a wrong answer"));
        }
        Ok(start.elapsed())
    }

    fn frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        loop {
            if let Some((head, rest)) = self.held.split_first_chunk::<9>() {
                let [a, b, c, kind, flags, stream @ ..] = *head;
                let len = u32::from_be_bytes([0, a, b, c]) as usize;
                if let Some(payload) = rest.get(..len) {
                    let frame = (kind, flags, u32::from_be_bytes(stream), payload.to_vec());
                    self.held.drain(..9 + len);
                    return Ok(frame);
                }
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => self.held.extend(&chunk[..len]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_rfc_9113_draws_them() {
        let mut out = Vec::new();
        put(&mut out, PING, ACK, 0, b"12345678");
        put(&mut out, RST_STREAM, 0, stream_of(129), &[0, 0, 0, 8]);
        assert_eq!(out, b"\0\0\x08\x06\x01\0\0\0\x0012345678\0\0\x04\x03\0\0\0\x01\x03\0\0\0\x08");
    }
}
