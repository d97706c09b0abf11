//! Emptied buffers that connections lend each other, in two sizes: what a connection holds is what
//! it needs.

/// Buffers of each size that are kept.
const KEPT: usize = 64;

/// Emptied buffers of items. Most connections need a small one; a large one is lent to those that
/// outgrow it, so that a peer with little is not charged for what another one needed.
#[derive(Debug)]
pub(super) struct Spare<T> {
    small: Vec<Vec<T>>,
    large: Vec<Vec<T>>,
    small_len: usize,
    large_len: usize,
}

impl<T> Spare<T> {
    /// Keeps buffers for `small_len` and for `large_len` items; larger ones are not kept.
    pub(super) fn new(small_len: usize, large_len: usize) -> Spare<T> {
        let (small, large) = (Vec::with_capacity(KEPT), Vec::with_capacity(KEPT));
        Spare { small, large, small_len, large_len: large_len.max(small_len) }
    }

    /// Makes room for `more` items in `buffer`.
    #[inline]
    pub(super) fn grow(&mut self, buffer: &mut Vec<T>, more: usize) {
        let need = buffer.len().saturating_add(more);
        if buffer.capacity() == 0
            && need <= self.small_len
            && let Some(small) = self.small.pop()
        {
            *buffer = small;
        } else if need > buffer.capacity() {
            self.grow_to(buffer, need);
        }
    }

    fn grow_to(&mut self, buffer: &mut Vec<T>, need: usize) {
        let (kept, len) = if need <= self.small_len {
            (self.small.pop(), self.small_len)
        } else if need <= self.large_len {
            (self.large.pop(), self.large_len)
        } else {
            (None, need.next_multiple_of(self.large_len.max(1)))
        };
        let mut grown = kept.unwrap_or_else(|| Vec::with_capacity(len));
        grown.append(buffer);
        self.put(std::mem::replace(buffer, grown));
    }

    /// Takes the memory of a buffer that is done with.
    #[inline]
    pub(super) fn put(&mut self, mut buffer: Vec<T>) {
        buffer.clear();
        let kept = match buffer.capacity() {
            len if len == self.small_len => &mut self.small,
            len if len == self.large_len => &mut self.large,
            _ => return,
        };
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }

    /// Frees all that is kept.
    pub(super) fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_holds_what_it_needs() {
        let mut spare = Spare::new(4, 100);
        let mut few: Vec<u32> = Vec::new();
        spare.grow(&mut few, 1);
        assert_eq!(few.capacity(), 4);
        let mut many: Vec<u32> = Vec::new();
        spare.grow(&mut many, 2);
        many.extend([1, 2]);
        spare.grow(&mut many, 3);
        assert_eq!((many.capacity(), &many[..]), (100, &[1, 2][..]));
        let large = many.as_ptr();
        spare.put(std::mem::take(&mut many));
        // The large one is not for those that need little; the small one that was outgrown is.
        spare.grow(&mut many, 1);
        assert_eq!((many.capacity(), spare.small.len(), spare.large.len()), (4, 0, 1));
        spare.grow(&mut many, 5);
        assert_eq!((many.capacity(), many.as_ptr()), (100, large), "lent again");
        spare.grow(&mut many, 101);
        assert_eq!((many.capacity(), spare.large.len()), (200, 1));
        spare.put(std::mem::take(&mut many));
        assert_eq!((spare.small.len(), spare.large.len()), (1, 1), "larger ones are not kept");
        for _ in 0..KEPT + 1 {
            spare.put(Vec::with_capacity(4));
        }
        assert_eq!(spare.small.len(), KEPT);
        spare.clear();
        assert_eq!((spare.small.len(), spare.large.len()), (0, 0));
    }
}
