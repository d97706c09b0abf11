//! The text that a rule makes for a request: a target or a header's value, in which captures are
//! filled in.

use super::captures::{Captured, Captures, find_name};
use super::error::Fault;
use super::pattern::Pattern;
use crate::open::path::percent;

/// Text with places for captures.
#[derive(Debug)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(Box<[u8]>),
    /// The capture with this number, for a path.
    Path(usize),
    /// The same for a query, where `&` and the like would say more than they should.
    Query(usize),
}

/// Takes bytes, one after the other; `false`: there is no more room.
pub(crate) trait Sink {
    fn put(&mut self, byte: u8) -> bool;

    /// Whether the slash behind a path that was captured is written where the text's own path ends
    /// with it.
    fn keeps_slash(&self) -> bool {
        false
    }
}

impl Template {
    /// Reads a text whose bytes have been checked. `:name` stands for a capture if the pattern has
    /// it, else for itself.
    ///
    /// `strict`: a whole segment that looks like a placeholder has to be one.
    pub(super) fn parse(text: &[u8], pattern: &Pattern, strict: bool) -> Result<Template, Fault> {
        Template::parse_behind(b"", text, pattern, strict)
    }

    /// The same with `fixed` in front of it, where no capture is looked for.
    pub(super) fn parse_behind(
        fixed: &[u8],
        text: &[u8],
        pattern: &Pattern,
        strict: bool,
    ) -> Result<Template, Fault> {
        let mut pieces = Vec::new();
        let mut literal = fixed.to_vec();
        let mut rest = text;
        let mut in_query = false;
        while let Some((start, end)) = find_name(rest) {
            literal.extend_from_slice(&rest[..start]);
            in_query |= rest[..start].contains(&b'?');
            let name = &rest[start + 1..end];
            match pattern.name(name) {
                Some(at) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
                    }
                    pieces.push(if in_query { Piece::Query(at) } else { Piece::Path(at) });
                }
                None if strict && literal.ends_with(b"/") && !in_query => {
                    let name = String::from_utf8_lossy(name);
                    return Err(Fault::new(
                        "the target has a placeholder that the source has not",
                        format!(
                            "put :{name} into the source, or take it out of the target (a plain colon is %3A)"
                        ),
                    ));
                }
                None => literal.extend_from_slice(&rest[start..end]),
            }
            rest = &rest[end..];
        }
        literal.extend_from_slice(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Ok(Template { pieces })
    }

    /// The text, where there is nothing to fill in.
    pub(super) fn fixed(&self) -> Option<&[u8]> {
        match &self.pieces[..] {
            [] => Some(b""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text behind the last capture.
    pub(super) fn end(&self) -> Option<&[u8]> {
        match self.pieces.last() {
            Some(Piece::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Bytes of text, without the captures.
    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.len() } else { 0 }).sum()
    }

    /// Writes the text with the captures in it, escaped so that they stay what they are: nothing in
    /// them ends a header line, begins a query, or leaves the path. `false`: there was no room.
    pub(crate) fn expand(&self, captures: &Captures<'_>, out: &mut impl Sink) -> bool {
        self.pieces.iter().enumerate().all(|(at, piece)| match piece {
            Piece::Text(text) => text.iter().all(|&byte| out.put(byte)),
            Piece::Path(name) => {
                let value = captures.get(*name);
                let is_folder = matches!(value, Captured::Folder(_));
                escape(value, b"-._~!$'()*+,;=:@/&", out)
                    && (!is_folder || !out.keeps_slash() || !self.ends_path(at) || out.put(b'/'))
            }
            Piece::Query(name) => escape(captures.get(*name), b"-._~!$'()*,:@/", out),
        })
    }

    /// Whether the path of the text ends behind this piece.
    fn ends_path(&self, at: usize) -> bool {
        match self.pieces.get(at + 1) {
            None => true,
            Some(Piece::Text(text)) => text.starts_with(b"?"),
            Some(Piece::Path(_) | Piece::Query(_)) => false,
        }
    }
}

fn escape(value: Captured<'_>, kept: &[u8], out: &mut impl Sink) -> bool {
    let (bytes, is_query) = match value {
        Captured::Plain(bytes) | Captured::Folder(bytes) => (bytes, false),
        Captured::Query(bytes) => (bytes, true),
    };
    bytes.iter().enumerate().all(|(at, &byte)| {
        let stays = match byte {
            // Of a query, escapes stay; and a slash in a value is not one of the path's.
            b'%' => is_query && is_escape(&bytes[at..]),
            b'/' if is_query => false,
            _ => byte.is_ascii_alphanumeric() || kept.contains(&byte),
        };
        if stays { out.put(byte) } else { percent(byte).into_iter().all(|byte| out.put(byte)) }
    })
}

/// Whether a text begins with `%` and two hexadecimal digits.
pub(super) fn is_escape(text: &[u8]) -> bool {
    matches!(text, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}
