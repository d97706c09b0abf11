//! A fixed table of generational slots: the op table's bookkeeping, free of any I/O so that it can
//! be checked exhaustively.

use std::fmt;
use std::num::NonZeroU64;

/// Bits of an id that are the index of the entry. The others number the uses of that place.
const INDEX_BITS: u32 = 20;
/// Entries of a table at most.
pub(crate) const CAPACITY_MAX: u32 = 1 << INDEX_BITS;
/// The last use of a place: the one below all ones, so that no id is `u64::MAX`. At a million uses
/// a second it comes after half a year, where 32 bits would have begun again after 72 minutes.
const GENERATION_MAX: u64 = (1 << (64 - INDEX_BITS)) - 2;

/// Names an entry of a table: its index and the generation it was filled in. A stale id is inert,
/// for good: none is given twice.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntryId(NonZeroU64);

impl EntryId {
    /// Generation 0 names nothing.
    pub(crate) fn new(index: u32, generation: u64) -> EntryId {
        EntryId::from_bits(generation << INDEX_BITS | u64::from(index & (CAPACITY_MAX - 1)))
    }

    pub(crate) fn index(self) -> u32 {
        (self.0.get() & u64::from(CAPACITY_MAX - 1)) as u32
    }

    pub(crate) fn generation(self) -> u64 {
        self.0.get() >> INDEX_BITS
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn from_bits(bits: u64) -> EntryId {
        // Zero is no id; what stands for it here is of generation 0 and names nothing either.
        EntryId(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({}.{})", self.index(), self.generation())
    }
}

enum Slot<T> {
    Free { next: Option<u32> },
    Live(T),
}

/// A table that never grows and never forgets: an entry leaves it by [`remove`](Table::remove)
/// alone.
pub(crate) struct Table<T> {
    /// Reserved for `capacity`, filled as far as it was ever needed: memory that is never used is
    /// never touched.
    slots: Vec<(u64, Slot<T>)>,
    capacity: u32,
    free: Option<u32>,
    live: usize,
}

impl<T> Table<T> {
    pub(crate) fn new(capacity: u32) -> Table<T> {
        let capacity = capacity.min(CAPACITY_MAX);
        Table { slots: Vec::with_capacity(capacity as usize), capacity, free: None, live: 0 }
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Returns how many more entries there is room for.
    pub(crate) fn room(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.live)
    }

    /// Stores `value`, or hands it back when the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<EntryId, T> {
        let Some(index) = self.free else {
            let index = self.slots.len() as u32;
            if index == self.capacity {
                return Err(value);
            }
            self.slots.push((1, Slot::Live(value)));
            self.live += 1;
            return Ok(EntryId::new(index, 1));
        };
        let (generation, slot) = &mut self.slots[index as usize];
        let Slot::Free { next } = *slot else { unreachable!("the free list names free slots only") };
        self.free = next;
        *slot = Slot::Live(value);
        self.live += 1;
        Ok(EntryId::new(index, *generation))
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&T> {
        match self.slots.get(id.index() as usize) {
            Some((generation, Slot::Live(value))) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: EntryId) -> Option<&mut T> {
        match self.slots.get_mut(id.index() as usize) {
            Some((generation, Slot::Live(value))) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, id: EntryId) -> Option<T> {
        self.get(id)?;
        let (generation, slot) = &mut self.slots[id.index() as usize];
        let old = std::mem::replace(slot, Slot::Free { next: self.free });
        // A place that has been used up stays out of use: its next id would be an old one.
        if *generation < GENERATION_MAX {
            *generation += 1;
            self.free = Some(id.index());
        }
        self.live -= 1;
        match old {
            Slot::Live(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    /// Every sequence of up to nine steps over a table of two, against a list that never reuses
    /// anything. A step inserts, or removes the n-th id ever handed out (live or stale).
    #[test]
    fn every_short_sequence_agrees_with_a_naive_model() {
        const DEPTH: usize = 9;
        let mut sequences = 0_u64;
        let mut stack: Vec<Vec<usize>> = vec![vec![]];
        while let Some(steps) = stack.pop() {
            let inserted = check(&steps);
            sequences += 1;
            if steps.len() < DEPTH {
                // Choice 0 inserts; choice n > 0 removes the n-th id handed out so far.
                for choice in 0..=inserted {
                    let mut next = steps.clone();
                    next.push(choice);
                    stack.push(next);
                }
            }
        }
        assert!(sequences > 1000, "only {sequences} sequences");
    }

    fn check(steps: &[usize]) -> usize {
        let mut table: Table<Rc<usize>> = Table::new(2);
        let mut ids: Vec<(EntryId, Rc<usize>, bool)> = Vec::new();
        for &step in steps {
            if step == 0 {
                let value = Rc::new(ids.len());
                let live = ids.iter().filter(|(_, _, live)| *live).count();
                match table.insert(Rc::clone(&value)) {
                    Ok(id) => {
                        assert!(live < 2, "{steps:?}: inserted buf a full table");
                        assert!(
                            ids.iter().all(|(other, _, _)| *other != id),
                            "{steps:?}: id handed out twice"
                        );
                        ids.push((id, value, true));
                    }
                    Err(back) => {
                        assert_eq!(live, 2, "{steps:?}: refused although not full");
                        assert!(Rc::ptr_eq(&back, &value), "{steps:?}: another value came back");
                    }
                }
            } else {
                let (id, value, live) = ids[step - 1].clone();
                let removed = table.remove(id);
                assert_eq!(removed.is_some(), live, "{steps:?}: a stale id is inert, a live one is not");
                if let Some(removed) = removed {
                    assert!(Rc::ptr_eq(&removed, &value), "{steps:?}: another op's value");
                    ids[step - 1].2 = false;
                }
            }
            for (id, value, live) in &ids {
                assert_eq!(table.get(*id).is_some(), *live, "{steps:?}");
                assert_eq!(
                    Rc::strong_count(value),
                    if *live { 2 } else { 1 },
                    "{steps:?}: the table owns live values only"
                );
            }
            assert_eq!(table.live(), ids.iter().filter(|(_, _, live)| *live).count(), "{steps:?}");
        }
        ids.len()
    }

    /// Ids of a place that has been used 2³² times, and up to the last one that it can have.
    #[test]
    fn no_id_is_given_twice_however_often_a_place_is_used() {
        let mut table = Table::new(2);
        let first = table.insert('a').unwrap();
        assert_eq!(table.remove(first), Some('a'));
        table.slots[0].0 = 0xffff_ffff;
        let late = table.insert('b').unwrap();
        assert_eq!(table.remove(late), Some('b'));
        for letter in ['c', 'd'] {
            let next = table.insert(letter).unwrap();
            assert!(next != first && next != late);
            assert_eq!(table.remove(late), None);
            assert_eq!(table.get(first), None);
            assert_eq!(table.remove(next), Some(letter));
        }
        table.slots[0].0 = 0xfff_ffff_fffe;
        let last = table.insert('e').unwrap();
        assert_eq!(last.to_bits(), 0xffff_ffff_ffe0_0000);
        assert_eq!(table.remove(last), Some('e'));
        // The other place is left.
        let other = table.insert('f').unwrap();
        assert_eq!((other.index(), table.insert('g')), (1, Err('g')));
        assert_eq!((table.get(last), table.get(other), table.live()), (None, Some(&'f'), 1));
    }

    #[test]
    fn an_id_survives_the_trip_through_user_data() {
        let id = EntryId::new(0x1_0203, 0xffe_fdfc_fbfa);
        assert_eq!(id.to_bits(), 0xffef_dfcf_bfa1_0203);
        assert_eq!(EntryId::from_bits(0xffef_dfcf_bfa1_0203), id);
        assert_eq!((id.index(), id.generation()), (0x1_0203, 0xffe_fdfc_fbfa));
        let nothing = EntryId::from_bits(0);
        assert_eq!(nothing.generation(), 0);
        assert_eq!(size_of::<Option<EntryId>>(), 8);
    }
}
