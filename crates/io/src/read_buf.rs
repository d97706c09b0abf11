//! Buffers to be filled by a read.

use std::array;
use std::ops::Range;

use crate::send_buf::OPERATION_MAX;
use crate::{RegionMut, TxBuf};

/// Largest number of runs in one [`Runs`]: full TLS records in a send slot.
pub const RUNS_MAX: usize = 4;

/// Equal runs of bytes with gaps between them, such as the content of records whose headers and
/// tags come later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Runs {
    /// Offset of the first run.
    pub start: usize,
    /// Bytes of each, but for the last, which may be shorter.
    pub each: usize,
    /// Bytes between two.
    pub gap: usize,
    /// Bytes of all together. What is beyond [`RUNS_MAX`] runs is cut off.
    pub len: usize,
}

/// The buffer that a read fills. It moves into the ring and comes back with
/// [`Event::Read`](crate::Event::Read).
#[derive(Debug)]
pub enum ReadBuf {
    /// Bytes `range` of a send slot. A range beyond its end is cut to it.
    Tx(TxBuf, Range<usize>),
    /// Runs of bytes of a send slot, filled one after the other. What is beyond its end is cut off.
    Runs(TxBuf, Runs),
    /// Bytes `range` of a region under construction. A range beyond its end is cut to it.
    Region(RegionMut, Range<usize>),
}

/// Returns the places of a target in memory of `len` bytes, in order and apart from each other.
/// Those behind the last one are empty.
fn places(target: &ReadBuf, len: usize) -> [Range<usize>; RUNS_MAX] {
    let mut places = array::from_fn(|_| len..len);
    match target {
        ReadBuf::Tx(_, range) | ReadBuf::Region(_, range) => {
            let end = range.end.min(len);
            places[0] = range.start.min(end)..end;
        }
        ReadBuf::Runs(_, runs) => {
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

impl ReadBuf {
    fn memory_len(&self) -> usize {
        match self {
            ReadBuf::Tx(tx, _) | ReadBuf::Runs(tx, _) => tx.len(),
            ReadBuf::Region(region, _) => region.len(),
        }
    }

    /// Returns how many bytes one read is to fill.
    pub(crate) fn len(&self) -> usize {
        // None is longer than the memory, of which they are parts.
        let all: usize = places(self, self.memory_len()).iter().map(Range::len).sum();
        all.min(OPERATION_MAX)
    }

    /// Returns the bytes that are to be filled from byte `skip` on, `most` of them at most.
    pub(crate) fn runs_mut(&mut self, mut skip: usize, mut most: usize) -> [&mut [u8]; RUNS_MAX] {
        let places = places(self, self.memory_len());
        let mut rest: &mut [u8] = match self {
            ReadBuf::Tx(tx, _) | ReadBuf::Runs(tx, _) => &mut *tx,
            ReadBuf::Region(region, _) => &mut *region,
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
            ReadBuf::Tx(tx, _) | ReadBuf::Runs(tx, _) => tx.as_mut_ptr(),
            ReadBuf::Region(region, _) => region.addr(),
        };
        for place in places.iter().filter(|place| !place.is_empty()) {
            f(base.wrapping_add(place.start), place.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Faults, World};
    use crate::{Config, Ring};

    /// Fills what is to be filled with letters from `a` on, in a memory of dots, and shows that.
    fn filled(mut buf: ReadBuf, skip: usize, most: usize) -> String {
        let mut letters = b'a'..;
        for run in buf.runs_mut(skip, most) {
            run.fill_with(|| letters.next().unwrap());
        }
        let bytes: &[u8] = match &buf {
            ReadBuf::Tx(tx, _) | ReadBuf::Runs(tx, _) => tx,
            ReadBuf::Region(region, _) => region,
        };
        bytes.iter().map(|&byte| char::from(byte)).collect()
    }

    /// A target in twenty bytes.
    fn with<R>(work: impl FnOnce(&mut dyn FnMut(&dyn Fn(TxBuf) -> ReadBuf) -> ReadBuf) -> R) -> R {
        let world = World::with(1, Faults::none());
        let config = Config { connections: 1, rx_count: 1, rx_len: 1, tx_count: 1, tx_len: 20 };
        let mut ring = Ring::sim(&config, &world).unwrap();
        work(&mut |target| {
            let mut tx = ring.take_tx().unwrap();
            tx.fill(b'.');
            target(tx)
        })
    }

    #[test]
    fn a_range_is_one_run_cut_to_what_there_is() {
        with(|make| {
            for (range, skip, most, wanted) in [
                (3..9, 0, usize::MAX, "...abcdef..........."),
                (3..9, 2, 3, ".....abc............"),
                (3..9, 6, 3, "...................."),
                (3..9, 7, usize::MAX, "...................."),
                (17..90, 0, usize::MAX, ".................abc"),
                (50..90, 0, usize::MAX, "...................."),
            ] {
                assert_eq!(filled(make(&|tx| ReadBuf::Tx(tx, range.clone())), skip, most), wanted);
            }
            assert_eq!(make(&|tx| ReadBuf::Tx(tx, 17..90)).len(), 3);
            // More than one read fills. None of it is touched.
            if let Ok(region) = RegionMut::new(0x8000_0000_usize.saturating_add(1)) {
                assert_eq!(ReadBuf::Region(region, 0..usize::MAX).len(), 2_147_479_552);
            }
            let mut region = RegionMut::new(5).unwrap();
            region.fill(b'.');
            assert_eq!(filled(ReadBuf::Region(region, 1..9), 1, 2), "..ab.");
        });
    }

    #[test]
    fn runs_are_gone_on_with_wherever_it_was_stopped() {
        let runs = Runs { start: 1, each: 4, gap: 2, len: 10 };
        with(|make| {
            for (skip, most, wanted) in [
                (0, usize::MAX, ".abcd..efgh..ij....."),
                (0, 4, ".abcd..............."),
                (0, 5, ".abcd..e............"),
                (3, 3, "....a..bc..........."),
                (4, usize::MAX, ".......abcd..ef....."),
                (6, 3, ".........ab..c......"),
                (9, usize::MAX, "..............a....."),
                (10, usize::MAX, "...................."),
                (11, 5, "...................."),
                (usize::MAX, 5, "...................."),
                (0, 0, "...................."),
            ] {
                assert_eq!(filled(make(&|tx| ReadBuf::Runs(tx, runs)), skip, most), wanted, "{skip}, {most}");
            }
            assert_eq!(make(&|tx| ReadBuf::Runs(tx, runs)).len(), 10);
        });
    }

    /// The kernel is given the same runs that an engine in this process fills.
    #[test]
    fn addresses_are_those_of_the_runs() {
        with(|make| {
            let mut buf = make(&|tx| ReadBuf::Runs(tx, Runs { start: 3, each: 5, gap: 1, len: 99 }));
            let mut told = Vec::new();
            buf.each_target(|address, len| told.push((address.addr(), len)));
            let runs = buf.runs_mut(0, usize::MAX);
            let runs: Vec<_> = runs.iter().map(|run| (run.as_ptr().addr(), run.len())).collect();
            assert_eq!(told, runs[..3]);
            assert_eq!(runs.iter().map(|(_, len)| *len).collect::<Vec<_>>(), [5, 5, 5, 0]);
        });
    }
}
