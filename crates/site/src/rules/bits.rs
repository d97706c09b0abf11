//! A small set of numbers, without allocation.

/// Numbers below 64 times `WORDS`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Bits<WORDS> {
    pub(super) const EMPTY: Bits<WORDS> = Bits([0; WORDS]);

    /// Adds a number; one that is too large is left out.
    pub(super) fn add(&mut self, number: u16) {
        if let Some(word) = self.0.get_mut(usize::from(number / 64)) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn has(&self, number: u16) -> bool {
        self.0.get(usize::from(number / 64)).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// Returns whether some number is in both.
    pub(super) fn meets(&self, other: &Bits<WORDS>) -> bool {
        self.0.iter().zip(&other.0).any(|(own, its)| own & its != 0)
    }

    /// The numbers, the smallest one first. Takes as many steps as there are numbers and words.
    pub(super) fn numbers(self) -> impl Iterator<Item = usize> {
        (0..).zip(self.0).flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }
}
