//! The body of an answer with several ranges, piece by piece.

use sitar_io::Region;
use sitar_site::{Multipart, Piece, Plan};
use sitar_tls::RecordError;

use crate::tcp::transport::output::{Layer, Output};

/// What is left of such a body.
pub(crate) struct Parts {
    source: Source,
    plan: Plan,
    /// The piece that comes next, or that has been begun.
    piece: usize,
    /// Bytes of it that are done.
    done: usize,
}

enum Source {
    Static(&'static [u8]),
    Region(Region),
}

impl Parts {
    pub(crate) fn new(body: &Multipart<'_>) -> Parts {
        let (source, plan) = match body {
            Multipart::Static(bytes, plan) => (Source::Static(bytes), plan),
            Multipart::Memory(region, plan) => (Source::Region((*region).clone()), plan),
        };
        Parts { source, plan: *plan, piece: 0, done: 0 }
    }

    /// Puts as much of it into `output` as fits, and returns what is left.
    pub(crate) fn write(
        mut self,
        output: &mut Output,
        layer: &mut Layer,
    ) -> Result<Option<Parts>, RecordError> {
        while let Some(piece) = self.plan.piece(self.piece) {
            let (taken, len) = match (piece, &self.source) {
                (Piece::Text(text), _) => (output.body(layer, &text)?, text.len()),
                (Piece::Bytes(range), Source::Static(bytes)) => {
                    // The plan's ranges lie within what it was made for.
                    let bytes = bytes.get(range).unwrap_or_default();
                    (output.body(layer, bytes.get(self.done..).unwrap_or_default())?, bytes.len())
                }
                (Piece::Bytes(range), Source::Region(region)) => {
                    let left = range.start + self.done..range.end;
                    (output.region(layer, region, &left)?, range.len())
                }
            };
            self.done += taken;
            if self.done < len {
                if taken == 0 {
                    return Ok(Some(self));
                }
                continue;
            }
            self.piece += 1;
            self.done = 0;
        }
        Ok(None)
    }

    /// Moves its next bytes to `out`, as many as fit, and goes on behind them.
    pub(crate) fn fill(&mut self, mut out: &mut [u8]) {
        while let Some(piece) = self.plan.piece(self.piece) {
            let bytes = match (&piece, &self.source) {
                (Piece::Text(text), _) => &text[..],
                (Piece::Bytes(range), Source::Static(bytes)) => bytes.get(range.clone()).unwrap_or_default(),
                (Piece::Bytes(range), Source::Region(region)) => &region[range.clone()],
            };
            let rest = bytes.get(self.done..).unwrap_or_default();
            let len = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(len);
            now.copy_from_slice(&rest[..len]);
            out = later;
            self.done += len;
            if len < rest.len() {
                return;
            }
            self.piece += 1;
            self.done = 0;
        }
    }
}
