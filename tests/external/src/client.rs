//! A plain client of HTTP/1.1.

use std::io::{self, Read, Write};

/// Sends a request of HTTP/1.1 and reads its answer.
///
/// # Errors
/// The connection failed, or the answer is not 200.
pub(crate) fn request(
    wire: &mut (impl Read + Write + ?Sized),
    method: &str,
    path: &str,
    host: &str,
) -> io::Result<()> {
    wire.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    wire.flush()?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(body) = end.map(|end| end + 4) {
            let head = String::from_utf8_lossy(&answer[..body]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200 ") {
                return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other("no Content-Length"))?;
            if method == "HEAD" || answer.len() - body >= length {
                return Ok(());
            }
        }
        match wire.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => answer.extend(&chunk[..len]),
        }
    }
}
