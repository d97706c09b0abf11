//! The content of an answer with several ranges, piece by piece.

use std::ops::Range;

use sitar_io::Region;
use sitar_site::{FieldBuf, Multipart, Piece, Plan};

use super::source::Run;

/// The rest of such content.
pub(crate) struct Parts {
    whole: Whole,
    plan: Plan,
    /// The piece that comes next, or that has been begun.
    piece: usize,
    /// Bytes of it that are done.
    done: usize,
}

/// The representation that the ranges are of.
enum Whole {
    Static(&'static [u8]),
    Region(Region),
}

impl Parts {
    pub(super) fn new(body: &Multipart<'_>) -> Parts {
        let (whole, plan) = match body {
            Multipart::Static(bytes, plan) => (Whole::Static(bytes), *plan),
            Multipart::Memory(region, plan) => (Whole::Region((*region).clone()), *plan),
        };
        Parts { whole, plan: *plan, piece: 0, done: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plan.piece(self.piece, &mut FieldBuf::new()).is_none()
    }

    /// Returns how many bytes are left.
    pub(super) fn left(&self) -> u64 {
        let mut text = FieldBuf::new();
        let mut sum = 0;
        for piece in self.piece.. {
            match self.plan.piece(piece, &mut text) {
                None => break,
                Some(Piece::Text(text)) => sum += text.len() as u64,
                Some(Piece::Bytes(range)) => sum += range.len() as u64,
            }
        }
        sum.saturating_sub(self.done as u64)
    }

    /// Offers what is left of the present piece to `take`. See
    /// [`Source::offer`](super::source::Source::offer).
    pub(super) fn offer<E>(&mut self, take: impl FnOnce(Run<'_>) -> Result<usize, E>) -> Result<usize, E> {
        let mut text = FieldBuf::new();
        let (taken, len) = match self.plan.piece(self.piece, &mut text) {
            None => return Ok(0),
            Some(Piece::Text(text)) => {
                (take(Run::Bytes(text.get(self.done..).unwrap_or_default()))?, text.len())
            }
            Some(Piece::Bytes(range)) => match &self.whole {
                Whole::Static(bytes) => {
                    let bytes = bytes_of(bytes, &range);
                    (take(Run::Bytes(bytes.get(self.done..).unwrap_or_default()))?, bytes.len())
                }
                Whole::Region(region) => {
                    (take(Run::Region(region, range.start + self.done..range.end))?, range.len())
                }
            },
        };
        self.go_on(taken, len);
        Ok(taken)
    }

    /// Moves its next bytes to `out`, as many as fit, and goes on behind them.
    pub(super) fn fill(&mut self, mut out: &mut [u8]) {
        let mut text = FieldBuf::new();
        while !out.is_empty() {
            let Some(piece) = self.plan.piece(self.piece, &mut text) else { return };
            let bytes = match (&piece, &self.whole) {
                (Piece::Text(text), _) => *text,
                (Piece::Bytes(range), Whole::Static(bytes)) => bytes_of(bytes, range),
                (Piece::Bytes(range), Whole::Region(region)) => &region[range.clone()],
            };
            let (rest, whole) = (bytes.get(self.done..).unwrap_or_default(), bytes.len());
            let len = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(len);
            now.copy_from_slice(&rest[..len]);
            out = later;
            self.go_on(len, whole);
        }
    }

    /// Goes on behind `count` bytes.
    pub(super) fn advance(&mut self, mut count: usize) {
        let mut text = FieldBuf::new();
        while count > 0
            && let Some(piece) = self.plan.piece(self.piece, &mut text)
        {
            let len = match (&piece, &self.whole) {
                (Piece::Text(text), _) => text.len(),
                (Piece::Bytes(range), Whole::Static(bytes)) => bytes_of(bytes, range).len(),
                (Piece::Bytes(range), Whole::Region(_)) => range.len(),
            };
            let now = count.min(len - self.done);
            count -= now;
            self.go_on(now, len);
        }
    }

    /// Goes on behind `taken` bytes of the present piece, which is `len` bytes long.
    fn go_on(&mut self, taken: usize, len: usize) {
        self.done += taken;
        if self.done >= len {
            self.piece += 1;
            self.done = 0;
        }
    }
}

/// The plan's ranges lie within what it was made for.
fn bytes_of<'b>(bytes: &'b [u8], range: &Range<usize>) -> &'b [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}
