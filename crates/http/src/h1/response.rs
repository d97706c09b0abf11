//! Response heads (RFC 9112 §4 and §5), copied together from prepared parts.

use super::Rejection;
use crate::{Decimal, Status, Version};

/// Bytes that a head needs beyond its `fields`, at most.
pub const HEAD_OVERHEAD_MAX: usize = 160;
/// Bytes that [`write_rejection`] needs, at most.
pub const REJECTION_MAX: usize = 512;

/// The head of a response. It is always sent as HTTP/1.1: RFC 9110 §2.5 wants our version, not the
/// client's.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The version of the request. A response to HTTP/1.0 has to say that the connection stays.
    pub version: Version,
    /// The status.
    pub status: Status,
    /// The value of Date, an IMF-fixdate; see [`crate::date::write_imf`].
    pub date: &'a [u8; 29],
    /// Field lines in pieces, each line ended by CR LF; neither Date nor Content-Length nor
    /// Connection. They are trusted.
    pub fields: &'a [&'a [u8]],
    /// Bytes of the body, also where it is not sent (HEAD). `None` for 204, and for 304 (RFC 9110
    /// §8.6).
    pub content_length: Option<u64>,
    /// Whether the connection is closed after this response.
    pub close: bool,
}

impl ResponseHead<'_> {
    /// Returns the bytes that [`write_head`] needs, at most.
    #[must_use]
    pub fn room(&self) -> usize {
        HEAD_OVERHEAD_MAX + self.fields.iter().map(|piece| piece.len()).sum::<usize>()
    }
}

/// Writes a response head with the empty line after it; returns its length, or `None` when `out` is
/// too small ([`ResponseHead::room`] always suffices).
#[must_use]
pub fn write_head(out: &mut [u8], answer: &ResponseHead<'_>) -> Option<usize> {
    let mut out = Writer { out, len: 0 };
    out.put(answer.status.line_and_date_name())?;
    out.put(answer.date)?;
    if let Some(length) = answer.content_length {
        out.put(b"\r\nContent-Length: ")?;
        out.put(Decimal::new(length).as_bytes())?;
    }
    // RFC 9112 §9.3, §9.6: by default an HTTP/1.1 connection stays and an HTTP/1.0 connection
    // closes.
    out.put(match (answer.close, answer.version) {
        (true, _) => b"\r\nConnection: close\r\n",
        (false, Version::Http10) => b"\r\nConnection: keep-alive\r\n",
        (false, Version::Http11) => b"\r\n",
    })?;
    for piece in answer.fields {
        out.put(piece)?;
    }
    out.put(b"\r\n")?;
    Some(out.len)
}

/// Writes a whole response that refuses a request: a head, and a line of text unless `head_only`,
/// which is for HEAD. It says `Connection: close`, and the caller closes. Returns its length, or
/// `None` when `out` is too small ([`REJECTION_MAX`] always suffices for the rejections of this
/// crate).
#[must_use]
pub fn write_rejection(
    out: &mut [u8],
    rejection: &Rejection,
    date: &[u8; 29],
    head_only: bool,
) -> Option<usize> {
    let Rejection { status, reason } = *rejection;
    let code = Decimal::new(u64::from(status.code()));
    let body: [&[u8]; 6] =
        [code.as_bytes(), b" ", status.reason().as_bytes(), b": ", reason.as_bytes(), b"\n"];
    let length = body.iter().map(|part| part.len() as u64).sum();

    let head = ResponseHead {
        version: Version::Http11,
        status,
        date,
        fields: &rejection.fields(),
        content_length: Some(length),
        close: true,
    };
    let len = write_head(out, &head)?;
    let mut out = Writer { out, len };
    if !head_only {
        for part in body {
            out.put(part)?;
        }
    }
    Some(out.len)
}

struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }
}

#[cfg(test)]
mod tests;
