//! Frames, and the client that behaves.

use sitar_http::h2::PREFACE;
use sitar_http::h2::testing::frame;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

// RFC 9113 §6: types of frames, flags.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `:method GET, :scheme https, :path /1k.txt, :authority a`
pub(crate) const GET: &[u8] = b"\x82\x87\x04\x07/1k.txt\x41\x01a";
/// `:method POST, :scheme https, :path /1k.txt, :authority a`
pub(crate) const POST: &[u8] = b"\x83\x87\x04\x07/1k.txt\x41\x01a";

/// An answer that takes longer counts as none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Appends a frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&frame(kind, flags, stream, payload));
}

/// Returns the number of a client's stream, counted from 0.
pub(crate) fn stream_of(at: u32) -> u32 {
    2 * at + 1
}

/// Returns a preface, SETTINGS with this payload, and the acknowledgement of the server's SETTINGS,
/// which are on their way.
pub(crate) fn greeting(initial_window: &[u8]) -> Vec<u8> {
    let mut wire = PREFACE.to_vec();
    put(&mut wire, SETTINGS, 0, 0, initial_window);
    put(&mut wire, SETTINGS, ACK, 0, b"");
    // The largest window of the connection, less the window that it has from the start.
    put(&mut wire, WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    wire
}

/// A client that requests one file repeatedly.
pub(crate) struct Client {
    socket: TcpStream,
    held: Vec<u8>,
    next: u32,
    expected: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16, expected: &[u8]) -> io::Result<Client> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.write_all(&greeting(b""))?;
        Ok(Client { socket, held: Vec::new(), next: 0, expected: expected.to_vec() })
    }

    /// Requests the file and returns the time until its end.
    ///
    /// # Errors
    /// The connection failed, or the answer's status or content is wrong.
    pub(crate) fn ask(&mut self) -> io::Result<Duration> {
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
