//! Several parts of a representation in one answer: `multipart/byteranges` (RFC 9110 §14.6).

use crate::answer::field_buf::FieldBuf;
use crate::answer::media::Media;
use sitar_http::semantics::RangeParts;
use std::ops::Range;

/// The parts of such a body: for each range some text and then bytes of the representation, and
/// text at the end. Small, and without references, so that it can be kept while parts of it are
/// sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    parts: RangeParts,
    media: Media,
    /// Bytes of the whole representation.
    length: u64,
    /// From its entity tag, so it does not stand in the representation itself but by a coincidence
    /// of 64 bits.
    boundary: u64,
}

/// One piece of the body.
#[derive(Clone, Debug)]
pub enum Piece<'t> {
    /// This text.
    Text(&'t [u8]),
    /// These bytes of the representation.
    Bytes(Range<usize>),
}

impl Plan {
    pub(crate) fn new(parts: RangeParts, media: Media, length: u64, hash: &[u8; 32]) -> Plan {
        let boundary = u64::from_be_bytes([24, 25, 26, 27, 28, 29, 30, 31].map(|at: usize| hash[at]));
        Plan { parts, media, length, boundary }
    }

    /// Returns the piece with this number, from 0; `None` behind the last one. Text is written into
    /// `text`.
    #[must_use]
    pub fn piece<'t>(&self, number: usize, text: &'t mut FieldBuf) -> Option<Piece<'t>> {
        text.clear();
        let parts = self.parts.as_slice();
        match parts.get(number / 2) {
            // Whatever is resident has a length that was a usize.
            Some(&(first, last)) if number % 2 == 1 => Some(Piece::Bytes(first as usize..last as usize + 1)),
            Some(&(first, last)) => {
                self.push_head(number == 0, first, last, text);
                Some(Piece::Text(text))
            }
            None if number == parts.len() * 2 => {
                self.push_end(text);
                Some(Piece::Text(text))
            }
            None => None,
        }
    }

    /// The value of Content-Length.
    pub(crate) fn content_length(&self) -> u64 {
        let mut length = 0;
        let mut number = 0;
        let mut text = FieldBuf::new();
        while let Some(piece) = self.piece(number, &mut text) {
            length += match piece {
                Piece::Text(text) => text.len() as u64,
                Piece::Bytes(range) => range.len() as u64,
            };
            number += 1;
        }
        length
    }

    /// Appends the header line that says what the body is.
    pub(crate) fn push_type(&self, out: &mut FieldBuf) {
        out.push(b"Content-Type: multipart/byteranges; boundary=");
        self.push_boundary(out);
        out.push(b"\r\n");
    }

    /// RFC 9110 §15.3.7.2: each part says which it is, and of what type.
    fn push_head(&self, is_first: bool, first: u64, last: u64, text: &mut FieldBuf) {
        // Some 200 bytes with the longest of all media types: fits.
        text.push(if is_first { b"--" } else { b"\r\n--" });
        self.push_boundary(text);
        text.push(b"\r\nContent-Type: ");
        text.push(self.media.essence.as_bytes());
        if self.media.utf8 {
            text.push(b"; charset=utf-8");
        }
        text.push(b"\r\n");
        text.push_content_range(first, last, self.length);
        text.push(b"\r\n");
    }

    fn push_end(&self, text: &mut FieldBuf) {
        text.push(b"\r\n--");
        self.push_boundary(text);
        text.push(b"--\r\n");
    }

    fn push_boundary(&self, out: &mut FieldBuf) {
        out.push(b"sitar");
        for shift in (0..16).rev() {
            out.push(&[crate::open::path::hex((self.boundary >> (shift * 4) & 15) as u8)]);
        }
    }
}
