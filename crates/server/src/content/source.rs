//! The rest of an answer's content, for any version of HTTP.

use std::ops::Range;

use sitar_http::{Decimal, Status};
use sitar_io::Region;
use sitar_site::{Body, Place, Streamed};

use super::multipart::Parts;

/// The rest of an answer's content, and where it comes from.
pub(crate) enum Source {
    Static(&'static [u8]),
    /// The text of a refusal; the number says how much of it is done. It is written as it is sent,
    /// so that it holds no memory.
    Refusal(Status, &'static str, usize),
    Region(Region, Range<usize>),
    /// In place: a box would be an allocation for each such answer.
    Parts(Parts),
    /// A part of a file that is too large for memory. Its next bytes have to be read, unless they
    /// are a hole.
    File(Streamed, Range<u64>),
}

/// Next bytes of a [`Source`] that need not be read from a file.
pub(crate) enum Run<'s> {
    Bytes(&'s [u8]),
    Region(&'s Region, Range<usize>),
}

/// Bytes of a hole that are offered at a time.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

impl Source {
    /// The content of an answer. `None`: it has none.
    pub(crate) fn of(body: &Body<'_>) -> Option<Source> {
        Some(match body {
            Body::Empty => return None,
            Body::Static(bytes) => Source::Static(bytes),
            Body::Memory { region, range } => Source::Region((*region).clone(), range.clone()),
            Body::Multipart(body) => Source::Parts(Parts::new(body)),
            Body::File { file, range } => Source::File((*file).clone(), range.clone()),
        })
    }

    /// Returns `self` if something is left of it.
    pub(crate) fn if_any(self) -> Option<Source> {
        let is_empty = match &self {
            Source::Static(bytes) => bytes.is_empty(),
            Source::Refusal(status, reason, done) => *done >= refusal_len(*status, reason),
            Source::Region(_, range) => range.is_empty(),
            Source::Parts(parts) => parts.is_empty(),
            Source::File(_, range) => range.is_empty(),
        };
        (!is_empty).then_some(self)
    }

    /// Returns how many bytes are left of it.
    pub(crate) fn left(&self) -> u64 {
        match self {
            Source::Static(bytes) => bytes.len() as u64,
            Source::Refusal(status, reason, done) => (refusal_len(*status, reason) - done) as u64,
            Source::Region(_, range) => range.len() as u64,
            Source::Parts(parts) => parts.left(),
            Source::File(_, range) => range.end.saturating_sub(range.start),
        }
    }

    /// Returns how many of its next bytes are at hand.
    pub(crate) fn ready(&self) -> usize {
        match self {
            Source::Static(bytes) => bytes.len(),
            Source::Refusal(status, reason, done) => refusal_len(*status, reason) - done,
            Source::Region(_, range) => range.len(),
            // All of it is in memory; how much that is stands in the answer's length.
            Source::Parts(_) => usize::MAX,
            Source::File(file, range) => match file.place(range) {
                Place::File { .. } => 0,
                Place::Hole { len } => usize::try_from(len).unwrap_or(usize::MAX),
            },
        }
    }

    /// Returns the file that it keeps open, if it keeps one of its own.
    pub(crate) fn open_file(&self) -> Option<&Streamed> {
        if let Source::File(file, _) = self { Some(file).filter(|file| file.is_own()) } else { None }
    }

    /// Moves its next bytes to `out`, which is no longer than what is [`ready`](Source::ready).
    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        match self {
            Source::Static(bytes) => out.copy_from_slice(&bytes[..out.len()]),
            Source::Refusal(status, reason, done) => fill_refusal(*status, reason, *done, out),
            Source::Region(region, range) => {
                out.copy_from_slice(&region[range.start..range.start + out.len()]);
            }
            Source::Parts(parts) => return parts.fill(out),
            Source::File(..) => out.fill(0),
        }
        self.advance(out.len());
    }

    /// Goes on behind `count` bytes that have been sent otherwise, or read from the file.
    pub(crate) fn advance(&mut self, count: usize) {
        match self {
            Source::Static(bytes) => *bytes = bytes.get(count..).unwrap_or_default(),
            Source::Refusal(_, _, done) => *done += count,
            Source::Region(_, range) => range.start += count,
            Source::Parts(parts) => parts.advance(count),
            Source::File(_, range) => range.start += count as u64,
        }
    }

    /// Offers the next bytes to `take`, which returns how many it took. Returns that number; 0 as
    /// well where none are left, or where they have to be read first.
    pub(crate) fn offer<E>(&mut self, take: impl FnOnce(Run<'_>) -> Result<usize, E>) -> Result<usize, E> {
        let taken = match self {
            Source::Static(bytes) => take(Run::Bytes(bytes))?,
            Source::Refusal(status, reason, done) => {
                let mut piece = [0; 64];
                let len = (refusal_len(*status, reason) - *done).min(piece.len());
                fill_refusal(*status, reason, *done, &mut piece[..len]);
                take(Run::Bytes(&piece[..len]))?
            }
            Source::Region(region, range) => take(Run::Region(region, range.clone()))?,
            Source::Parts(parts) => return parts.offer(take),
            Source::File(_, range) if range.is_empty() => 0,
            Source::File(file, range) => match file.place(range) {
                Place::File { .. } => 0,
                Place::Hole { len } => {
                    let len = usize::try_from(len).unwrap_or(usize::MAX);
                    take(Run::Bytes(ZEROS.get(..len).unwrap_or(&ZEROS)))?
                }
            },
        };
        self.advance(taken);
        Ok(taken)
    }

    /// Returns the file that the next bytes have to be read from, where they are in it, and how
    /// many they are, at most `most`. `None`: they are at hand.
    pub(crate) fn next_read(&self, most: usize) -> Option<(&Streamed, u64, usize)> {
        let Source::File(file, range) = self else { return None };
        match file.place(range) {
            Place::File { offset, len } => {
                Some((file, offset, usize::try_from(len).unwrap_or(usize::MAX).min(most)))
            }
            Place::Hole { .. } => None,
        }
    }
}

/// Returns the length of a refusal's text.
pub(crate) fn refusal_len(status: Status, reason: &str) -> usize {
    refusal(status, reason, |pieces| pieces.iter().map(|piece| piece.len()).sum())
}

/// Writes the part of a refusal's text that begins at `start`.
fn fill_refusal(status: Status, reason: &str, start: usize, out: &mut [u8]) {
    refusal(status, reason, |pieces| {
        let bytes = pieces.iter().flat_map(|piece| piece.iter()).skip(start);
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
    });
}

/// Lends the pieces of a refusal's text.
fn refusal<R>(status: Status, reason: &str, read: impl FnOnce(&[&[u8]]) -> R) -> R {
    let code = Decimal::new(u64::from(status.code()));
    read(&[code.as_bytes(), b" ", status.reason().as_bytes(), b": ", reason.as_bytes(), b"\n"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_as_it_is_sent() {
        let text = b"404 Not Found: there is no such file\n";
        let mut source = Source::Refusal(Status::NOT_FOUND, "there is no such file", 0);
        assert_eq!(source.ready(), text.len());
        let mut out = [0; 10];
        source.fill(&mut out);
        assert_eq!(&out, &text[..10]);
        let mut rest = Vec::new();
        while let Some(next) = source.if_any() {
            source = next;
            let taken = source.offer(|run| match run {
                Run::Bytes(bytes) => {
                    rest.extend_from_slice(bytes);
                    Ok::<_, ()>(bytes.len())
                }
                Run::Region(..) => Err(()),
            });
            assert!(taken.unwrap() > 0);
        }
        assert_eq!(rest, &text[10..]);
    }
}
