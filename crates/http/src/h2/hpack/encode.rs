//! Header blocks written (RFC 7541 §6): the status indexed where the static table has it, else
//! literals without indexing.
//!
//! Strings are not Huffman-coded: that saves 29 of 180 bytes of a usual head, and costs its reader
//! about 3 µs (nghttp2), more than all else that it does for an answer of a kilobyte.

use super::table::{STATIC, static_name};
use crate::Status;

/// `lines` (each `name: value` CR LF, as HTTP/1 has them) as a part of a header block, to be made
/// once and sent often. A line that is none is left out.
///
/// ```
/// assert_eq!(*sitar_http::h2::field_block(b"Vary: Accept-Encoding\r\n"),
/// *b"\x0f\x2c\x0fAccept-Encoding");
/// ```
#[must_use]
pub fn field_block(lines: &[u8]) -> Box<[u8]> {
    let mut room = vec![0; encoded_max(lines.len())];
    let mut out = Writer::new(&mut room);
    // There is room enough, so nothing is cut.
    let _ = write_lines(&mut out, lines);
    let len = out.len();
    room.truncate(len);
    room.into_boxed_slice()
}

/// Bytes that header lines of `len` bytes take as literals, at most. A line `n:v` CR LF of HTTP/1
/// has three bytes beside its name and value, and so has the literal (§6.2.2) as long as both
/// lengths (§5.1) take one byte. A length of 127 and more takes two, one of 255 and more three: one
/// byte for each 128 of the line is more than they add.
pub(crate) const fn encoded_max(len: usize) -> usize {
    len + len / 128 + 1
}

/// Writes a `:status` field; one byte for those of the static table.
pub(crate) fn write_status(out: &mut Writer<'_>, status: Status) -> Option<()> {
    let index: u8 = match status.code() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        code => {
            let digits = [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
            return write_literal(out, b":status", &digits);
        }
    };
    out.put(&[0x80 | index])
}

/// Writes a literal without indexing (§6.2.2). A name that the static table lacks is written in
/// lower case (RFC 9113 §8.2).
pub(crate) fn write_literal(out: &mut Writer<'_>, name: &[u8], value: &[u8]) -> Option<()> {
    write_name(out, name)?;
    write_string(out, value)?;
    Some(())
}

/// Writes a literal as far as its value.
fn write_name(out: &mut Writer<'_>, name: &[u8]) -> Option<()> {
    match static_name(name) {
        Some(index) => out.integer(index, 4, 0)?,
        None => {
            out.put(&[0])?;
            write_string(out, name)?.make_ascii_lowercase();
        }
    }
    Some(())
}

/// Writes a string (§5.2); returns where it stands.
fn write_string<'o>(out: &'o mut Writer<'_>, text: &[u8]) -> Option<&'o mut [u8]> {
    out.integer(text.len(), 7, 0)?;
    let place = out.take(text.len())?;
    place.copy_from_slice(text);
    Some(place)
}

/// Writes header lines of HTTP/1 as literals.
pub(crate) fn write_lines(out: &mut Writer<'_>, lines: &[u8]) -> Option<()> {
    split_lines(lines).try_for_each(|(name, value)| write_literal(out, name, value))
}

/// Writes header lines of HTTP/1 that lie in pieces: each piece is whole lines, or a part of one
/// line that ends with the first piece behind it that ends in LF.
pub(crate) fn write_pieces(out: &mut Writer<'_>, mut pieces: &[&[u8]]) -> Option<()> {
    while let Some((first, rest)) = pieces.split_first() {
        if first.is_empty() || first.ends_with(b"\n") {
            write_lines(out, first)?;
            pieces = rest;
            continue;
        }
        let behind = rest.iter().position(|piece| piece.ends_with(b"\n")).map_or(rest.len(), |end| end + 1);
        let (middle, rest) = rest.split_at(behind);
        write_joined(out, first, middle)?;
        pieces = rest;
    }
    Some(())
}

/// Writes one line that begins with `first`, its name and colon included. A line that is none is
/// left out.
fn write_joined(out: &mut Writer<'_>, first: &[u8], rest: &[&[u8]]) -> Option<()> {
    let Some(colon) = memchr::memchr(b':', first) else { return Some(()) };
    let beginning = first[colon + 1..].trim_ascii_start();
    let without_end = |piece: &&'_ [u8]| piece.strip_suffix(b"\r\n").map_or(piece.len(), <[u8]>::len);
    let len = beginning.len() + rest.iter().map(without_end).sum::<usize>();
    write_name(out, &first[..colon])?;
    out.integer(len, 7, 0)?;
    out.put(beginning)?;
    rest.iter().try_for_each(|piece| out.put(&piece[..without_end(piece)]))
}

fn split_lines(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Bytes written one behind the other, as long as there is room.
pub(crate) struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut [u8]) -> Writer<'o> {
        Writer { out, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.take(bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// The next `len` bytes, to be written.
    pub(crate) fn take(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.len;
        let taken = self.out.get_mut(start..start.checked_add(len)?)?;
        self.len = start + len;
        Some(taken)
    }

    /// The bytes that were written, to be completed.
    pub(crate) fn written(&mut self) -> &mut [u8] {
        &mut self.out[..self.len]
    }

    /// RFC 7541 §5.1, with a prefix of `prefix` bits under `flags`.
    fn integer(&mut self, value: usize, prefix: u32, flags: u8) -> Option<()> {
        let mask = (1_usize << prefix) - 1;
        if value < mask {
            return self.put(&[flags | value as u8]);
        }
        self.put(&[flags | mask as u8])?;
        let mut rest = value - mask;
        while rest >= 0x80 {
            self.put(&[0x80 | (rest & 0x7f) as u8])?;
            rest >>= 7;
        }
        self.put(&[rest as u8])
    }
}

const _: () = assert!(STATIC.len() == 61);
