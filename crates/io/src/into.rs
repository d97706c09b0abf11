//! Where a read writes.

use std::array;
use std::ops::Range;

use crate::{RegionMut, TxBuf};

/// At most so many runs in one [`Runs`]: full TLS records in a send slot.
pub const RUNS_MAX: usize = 4;

/// Equal runs of bytes with gaps between them, such as the content of records whose headers and tags come later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Runs {
    /// Where the first one begins.
    pub start: usize,
    /// Bytes of each, but for the last, which may be shorter.
    pub each: usize,
    /// Bytes between two.
    pub gap: usize,
    /// Bytes of all together. What is beyond [`RUNS_MAX`] runs is cut off.
    pub len: usize,
}

/// Where a read writes. It moves into the ring and comes back with [`Event::Read`](crate::Event::Read).
#[derive(Debug)]
pub enum Into {
    /// Bytes `range` of a send slot. A range beyond its end is cut to it.
    Tx(TxBuf, Range<usize>),
    /// Runs of bytes of a send slot, filled one after the other. What is beyond its end is cut off.
    Runs(TxBuf, Runs),
    /// Bytes `range` of a region under construction. A range beyond its end is cut to it.
    Region(RegionMut, Range<usize>),
}

/// The places of a target in memory of `len` bytes, in order and apart from each other. Those behind the last one are empty.
fn places(target: &Into, len: usize) -> [Range<usize>; RUNS_MAX] {
    let mut places = array::from_fn(|_| len..len);
    match target {
        Into::Tx(_, range) | Into::Region(_, range) => {
            let end = range.end.min(len);
            places[0] = range.start.min(end)..end;
        }
        Into::Runs(_, runs) => {
            let (mut start, mut left) = (runs.start.min(len), runs.len);
            for place in &mut places {
                let end = start.saturating_add(runs.each.min(left)).min(len);
                *place = start..end;
                left -= end - start;
                start = end.saturating_add(runs.gap).min(len);
            }
        }
    }
    places
}

impl Into {
    fn memory_len(&self) -> usize {
        match self {
            Into::Tx(tx, _) | Into::Runs(tx, _) => tx.len(),
            Into::Region(region, _) => region.len(),
        }
    }

    /// How many bytes are to be filled.
    pub(crate) fn len(&self) -> usize {
        places(self, self.memory_len()).iter().map(Range::len).sum()
    }

    /// The bytes that are to be filled from byte `skip` on, `most` of them at most.
    pub(crate) fn runs_mut(&mut self, mut skip: usize, mut most: usize) -> [&mut [u8]; RUNS_MAX] {
        let places = places(self, self.memory_len());
        let mut rest: &mut [u8] = match self {
            Into::Tx(tx, _) | Into::Runs(tx, _) => &mut *tx,
            Into::Region(region, _) => &mut *region,
        };
        // What comes before `rest`.
        let mut before = 0;
        places.map(|place| {
            let skipped = skip.min(place.len());
            skip -= skipped;
            let start = place.start + skipped;
            let len = (place.end - start).min(most);
            most -= len;
            let (_, here) = std::mem::take(&mut rest).split_at_mut(start - before);
            let (run, behind) = here.split_at_mut(len);
            (rest, before) = (behind, start + len);
            run
        })
    }

    /// Calls `f` with the address and the length of each run that is to be filled.
    pub(crate) fn each_target(&mut self, mut f: impl FnMut(*mut u8, usize)) {
        let places = places(self, self.memory_len());
        let base = match self {
            Into::Tx(tx, _) | Into::Runs(tx, _) => tx.as_mut_ptr(),
            Into::Region(region, _) => region.addr(),
        };
        for place in places.iter().filter(|place| !place.is_empty()) {
            f(base.wrapping_add(place.start), place.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(into: &mut Into, skip: usize, most: usize) -> Vec<(usize, usize)> {
        let mut base = 0;
        into.each_target(|address, _| base = if base == 0 { address.addr() } else { base });
        let runs = into.runs_mut(skip, most);
        runs.iter().filter(|run| !run.is_empty()).map(|run| (run.as_ptr().addr() - base, run.len())).collect()
    }

    fn region(range: Range<usize>) -> Into {
        Into::Region(RegionMut::new(100).unwrap(), range)
    }

    #[test]
    fn a_range_is_one_run_cut_to_what_there_is() {
        assert_eq!(region(10..20).len(), 10);
        assert_eq!(filled(&mut region(10..20), 0, usize::MAX), [(0, 10)]);
        assert_eq!(filled(&mut region(10..20), 3, 4), [(3, 4)]);
        assert_eq!(filled(&mut region(90..200), 0, usize::MAX), [(0, 10)]);
        assert_eq!(region(200..300).len(), 0);
        assert_eq!(filled(&mut region(0..100), 100, usize::MAX), []);
    }
}
