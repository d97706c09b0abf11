//! Connections by index and generation.

use sitar_io::Key;

/// A fixed table of values under [`Key`]s. A key is never given out twice (2³² generations per
/// place), so an event about something long gone finds nothing.
pub(crate) struct Slab<T> {
    /// Reserved for `capacity`, filled as far as it was ever needed: memory that is never used is
    /// never touched.
    places: Vec<Place<T>>,
    capacity: u32,
    free: Vec<u32>,
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new(capacity: u32) -> Slab<T> {
        Slab {
            places: Vec::with_capacity(capacity as usize),
            capacity,
            free: Vec::with_capacity(capacity as usize),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Stores what `make` builds from its key; `None` when the slab is full.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Option<Key> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < self.capacity as usize => {
                self.places.push(Place { generation: 0, value: None });
                self.places.len() as u32 - 1
            }
            None => return None,
        };
        let place = &mut self.places[index as usize];
        let key = place.key(index as usize);
        place.value = Some(make(key));
        Some(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(index_of(key))?;
        if u64::from(place.generation) != key.0 >> 32 {
            return None;
        }
        place.value.as_mut()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let place = &mut self.places[index_of(key)];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index_of(key) as u32);
        place.value.take()
    }

    /// The key of the value at `index`, if there is one.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        let place = self.places.get(index as usize)?;
        place.value.as_ref()?;
        Some(place.key(index as usize))
    }

    /// Returns all entries, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(index, place)| {
            let key = place.key(index);
            Some((key, place.value.as_mut()?))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let value = place.value.as_ref()?;
            Some((place.key(index), value))
        })
    }

    /// Every key in use, in a list of its own: for the rare walks that change the slab on their
    /// way.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

impl<T> Place<T> {
    /// Returns the key of its value, which lies at `index`.
    fn key(&self, index: usize) -> Key {
        Key(u64::from(self.generation) << 32 | index as u64)
    }
}

/// The place that a key names.
pub(crate) fn index_of(key: Key) -> usize {
    (key.0 & 0xffff_ffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_value_only() {
        let mut slab = Slab::new(2);
        let a = slab.insert_with(|key| key.0 + 100).unwrap();
        let b = slab.insert_with(|_| 7).unwrap();
        assert!(slab.insert_with(|_| 8).is_none());
        assert_eq!(slab.get_mut(a), Some(&mut 100));
        assert_eq!(slab.remove(a), Some(100));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert_with(|_| 9).unwrap();
        assert_eq!((index_of(c), slab.get_mut(a)), (index_of(a), None));
        assert_eq!(slab.key_at(0), Some(c));
        assert_eq!((slab.keys(), slab.len()), (vec![c, b], 2));
        assert_eq!(slab.get_mut(Key(77)), None);
    }
}
