//! Header lines that are written while a request is answered.

use sitar_http::Decimal;
use std::ops::Deref;

/// A few header lines without the heap.
#[derive(Clone)]
pub struct FieldBuf {
    len: usize,
    bytes: [u8; FieldBuf::CAPACITY],
}

impl FieldBuf {
    /// Bytes that fit.
    pub const CAPACITY: usize = 1016;

    /// No lines.
    #[must_use]
    pub const fn new() -> FieldBuf {
        FieldBuf { len: 0, bytes: [0; FieldBuf::CAPACITY] }
    }

    /// Appends all of `bytes`, or nothing and says so.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        match self.bytes.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = end;
                true
            }
            None => false,
        }
    }

    /// Takes back what was pushed since the length was `len`.
    pub(crate) fn cut(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes out the first occurrence of `line`.
    pub(crate) fn remove(&mut self, line: &[u8]) {
        let found = self.windows(line.len().max(1)).position(|lines| lines == line);
        if let Some(start) = found {
            self.bytes.copy_within(start + line.len()..self.len, start);
            self.len -= line.len();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn push_number(&mut self, number: u64) -> bool {
        self.push(Decimal::new(number).as_bytes())
    }

    /// The Content-Range line of a part.
    pub(crate) fn push_content_range(&mut self, first: u64, last: u64, length: u64) {
        // 27 bytes and three numbers of at most 20: every caller has room.
        self.push(b"Content-Range: bytes ");
        self.push_number(first);
        self.push(b"-");
        self.push_number(last);
        self.push(b"/");
        self.push_number(length);
        self.push(b"\r\n");
    }

    /// A key as the path of a URL.
    pub(crate) fn push_path(&mut self, key: &[u8]) -> bool {
        key.iter().all(|&byte| {
            if crate::open::path::stays(byte) {
                self.push(&[byte])
            } else {
                self.push(&crate::open::path::percent(byte))
            }
        })
    }

    /// A query as received, with everything escaped that could end a header line or a URL in a
    /// page.
    pub(crate) fn push_query(&mut self, query: &[u8]) -> bool {
        query.iter().all(|&byte| {
            if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte) {
                self.push(&[byte])
            } else {
                self.push(&[b'%', crate::open::path::hex(byte >> 4), crate::open::path::hex(byte & 15)])
            }
        })
    }
}

impl Default for FieldBuf {
    fn default() -> FieldBuf {
        FieldBuf::new()
    }
}

impl Deref for FieldBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Debug for FieldBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}
