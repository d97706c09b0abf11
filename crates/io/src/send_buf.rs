//! Buffers and segments to send.

use std::ops::Range;

use crate::{Region, TxBuf};

/// Bytes that one operation moves at most (the kernel's MAX_RW_COUNT, linux/fs.h): every count of
/// them fits into a completion.
pub(crate) const OPERATION_MAX: usize = 0x7fff_f000;

/// Largest number of segments in one [`SendBuf::Gather`]: a head and a body. A `SendBuf` moves
/// through the op table with every send, so it is kept small.
pub const GATHER_MAX: usize = 2;

/// A run of bytes to send.
#[derive(Debug)]
pub enum Segment {
    /// The first [`filled`](TxBuf::filled) bytes of a send slot.
    Tx(TxBuf),
    /// A range of a region. A range beyond its end is cut to it.
    Shared(Region, Range<usize>),
}

impl Segment {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Segment::Tx(tx) => &tx[..tx.filled()],
            Segment::Shared(region, range) => part(region, range),
        }
    }
}

/// Returns a range of a region, cut to what there is.
fn part<'r>(region: &'r Region, range: &Range<usize>) -> &'r [u8] {
    let end = range.end.min(region.len());
    &region[range.start.min(end)..end]
}

/// The bytes of a send. They move into the ring and come back with
/// [`Event::Sent`](crate::Event::Sent).
#[derive(Debug)]
pub enum SendBuf {
    /// The first [`filled`](TxBuf::filled) bytes of a send slot.
    Tx(TxBuf),
    /// A range of a region. A range beyond its end is cut to it.
    Shared(Region, Range<usize>),
    /// Several segments, one after the other, in one operation.
    Gather([Option<Segment>; GATHER_MAX]),
    /// The first [`filled`](TxBuf::filled) bytes of a send slot as one record of this content type
    /// (RFC 8446 §5.1), such as an alert: for connections whose records the kernel seals
    /// ([`SockOpt::TlsTx`](crate::SockOpt::TlsTx)). On others the send ends with `EOPNOTSUPP`, and
    /// nothing is sent.
    Record(u8, TxBuf),
}

impl SendBuf {
    /// Returns the number of bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut len = 0;
        self.each(|bytes| len += bytes.len());
        len
    }

    /// Returns how many bytes one send from byte `offset` on sends at most.
    pub(crate) fn wanted(&self, offset: usize) -> usize {
        self.len().saturating_sub(offset).min(OPERATION_MAX)
    }

    /// Returns whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with the bytes of each segment, in order.
    pub(crate) fn each<'a>(&'a self, mut f: impl FnMut(&'a [u8])) {
        match self {
            SendBuf::Tx(tx) | SendBuf::Record(_, tx) => f(&tx[..tx.filled()]),
            SendBuf::Shared(region, range) => f(part(region, range)),
            SendBuf::Gather(pieces) => pieces.iter().flatten().for_each(|buf| f(buf.bytes())),
        }
    }
}

impl From<TxBuf> for SendBuf {
    fn from(tx: TxBuf) -> SendBuf {
        SendBuf::Tx(tx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegionMut;

    #[test]
    fn a_send_is_no_longer_than_the_rest_and_than_an_operation() {
        let region = Region::copy_of(&[1; 10]).unwrap();
        let buf = SendBuf::Gather([
            Some(Segment::Shared(region.clone(), 2..90)),
            Some(Segment::Shared(region, 0..4)),
        ]);
        assert_eq!((buf.len(), buf.wanted(0), buf.wanted(5), buf.wanted(12)), (12, 12, 7, 0));
        assert_eq!(buf.wanted(usize::MAX), 0);
        // None of it is touched.
        if let Ok(region) = RegionMut::new(3_000_000_000) {
            let buf = SendBuf::Shared(region.freeze(), 0..usize::MAX);
            assert_eq!((buf.wanted(0), buf.wanted(2_999_999_999)), (2_147_479_552, 1));
        }
    }
}
