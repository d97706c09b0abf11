//! A path or a host in pieces, which many rules look at.
//!
//! The places of the pieces are found once for all of them, so a rule costs what its own source is
//! long, and not what the request is. A few rules find it out for themselves, in less time.

use super::cost::looked_at;

/// A text and what separates its pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces<'c, 'k> {
    text: &'k [u8],
    separator: u8,
    /// `None`: each rule finds them for itself.
    cuts: Option<&'c Cuts>,
}

/// The places of the first and the last pieces.
#[derive(Debug)]
pub(super) struct Cuts {
    /// The ends of the first pieces.
    ends: [u16; ENDS],
    /// Number of those that are known.
    known: usize,
    /// The beginnings of the last pieces, the last one first.
    starts: [usize; STARTS],
}

impl<'c, 'k> Pieces<'c, 'k> {
    /// The pieces of a text; an empty one has none. Where there is room for it, they are found now.
    #[inline]
    pub(super) fn of(text: &'k [u8], separator: u8, room: Option<&'c mut Option<Cuts>>) -> Pieces<'c, 'k> {
        let cuts = room.map(|room| &*room.insert(Cuts::of(text, separator)));
        Pieces { text, separator, cuts }
    }

    /// All of them.
    pub(super) fn all(&self) -> Rest<'c, 'k> {
        let is_over = self.text.is_empty();
        Rest { pieces: *self, first: 0, last: 0, start: 0, end: self.text.len(), is_over }
    }

    /// The first one.
    pub(super) fn first(&self) -> Option<&'k [u8]> {
        self.all().next()
    }
}

/// The text between the pieces that have been taken from both its ends.
#[derive(Debug)]
pub(super) struct Rest<'c, 'k> {
    pieces: Pieces<'c, 'k>,
    /// Pieces taken from the front, and from the back.
    first: usize,
    last: usize,
    start: usize,
    end: usize,
    is_over: bool,
}

impl<'k> Rest<'_, 'k> {
    /// The text between; `None`: nothing is left, not even an empty piece.
    pub(super) fn text(&self) -> Option<&'k [u8]> {
        (!self.is_over).then(|| &self.pieces.text[self.start..self.end])
    }

    /// Takes the first piece.
    pub(super) fn next(&mut self) -> Option<&'k [u8]> {
        let text = self.text()?;
        let known = self.pieces.cuts.and_then(|cuts| cuts.ends[..cuts.known].get(self.first));
        let len = match known {
            Some(&end) => usize::from(end) - self.start,
            // Few rules, or a text that is longer than any path or host.
            None => find(text, self.pieces.separator).unwrap_or(text.len()),
        };
        self.first += 1;
        if len >= text.len() {
            self.is_over = true;
            return Some(text);
        }
        self.start += len + 1;
        Some(&text[..len])
    }

    /// Takes the last piece.
    pub(super) fn next_back(&mut self) -> Option<&'k [u8]> {
        let text = self.text()?;
        let known = self.pieces.cuts.and_then(|cuts| cuts.starts.get(self.last));
        let start = match known {
            Some(start) => start.saturating_sub(self.start),
            None => find_last(text, self.pieces.separator).map_or(0, |at| at + 1),
        };
        self.last += 1;
        if start == 0 {
            self.is_over = true;
        } else {
            self.end = self.start + start - 1;
        }
        Some(&text[start..])
    }
}

impl Cuts {
    #[inline(never)]
    fn of(text: &[u8], separator: u8) -> Cuts {
        let mut cuts = Cuts { ends: [0; ENDS], known: 0, starts: [0; STARTS] };
        let mut from = 0;
        for place in &mut cuts.ends {
            let found = find(&text[from..], separator).map(|at| from + at);
            let Ok(end) = u16::try_from(found.unwrap_or(text.len())) else { break };
            *place = end;
            cuts.known += 1;
            match found {
                Some(at) => from = at + 1,
                None => {
                    cuts.set_starts_from_ends();
                    return cuts;
                }
            }
        }
        // There are more pieces than ends are kept.
        let mut end = text.len();
        for start in &mut cuts.starts {
            *start = find_last(&text[..end], separator).map_or(0, |at| at + 1);
            end = start.saturating_sub(1);
        }
        cuts
    }

    fn set_starts_from_ends(&mut self) {
        let later = self.ends[..self.known - 1].iter().map(|&end| usize::from(end) + 1);
        let starts = std::iter::once(0).chain(later).skip(self.known.saturating_sub(STARTS));
        let places = &mut self.starts[..self.known.min(STARTS)];
        for (place, start) in places.iter_mut().rev().zip(starts) {
            *place = start;
        }
    }
}

fn find(text: &[u8], separator: u8) -> Option<usize> {
    let found = text.iter().position(|&byte| byte == separator);
    looked_at(found.map_or(text.len(), |at| at + 1));
    found
}

fn find_last(text: &[u8], separator: u8) -> Option<usize> {
    let found = text.iter().rposition(|&byte| byte == separator);
    looked_at(found.map_or(text.len(), |at| text.len() - at));
    found
}

/// First pieces whose ends are kept: as many segments as a source may have in front of its splat,
/// and more than a host has labels.
const ENDS: usize = HEAD_MAX;
/// Last pieces whose beginnings are kept: as many segments as a source may have behind its splat.
const STARTS: usize = TAIL_MAX;

/// Segments in front of a splat, or all: as deep as the folders of a site can be, and a bound for
/// what is found out once for all rules.
pub(super) const HEAD_MAX: usize = crate::open::path::DEPTH_MAX;

/// Segments behind a splat.
pub(super) const TAIL_MAX: usize = 16;

#[cfg(test)]
mod tests;
