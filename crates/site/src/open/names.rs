//! Many names in one piece of memory.

use crate::open::error::OpenFault;

/// Names, one behind the other: by the hundred thousand, a box for each takes longer to make than
/// the rest of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    /// The end of each.
    ends: Vec<u32>,
}

/// The first bytes of a name, or all of them.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Key {
    start: u32,
    len: u32,
}

/// The reason why bytes are not those of some names.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miscounted {
    Short,
    Long,
    Full,
}

impl Names {
    /// Names of these lengths that stand one behind the other already.
    ///
    /// # Errors
    /// There are fewer bytes, or more, or more names than there may be.
    pub(crate) fn cut(bytes: Vec<u8>, lengths: impl Iterator<Item = usize>) -> Result<Names, Miscounted> {
        let mut ends = Vec::with_capacity(lengths.size_hint().0);
        let mut end = 0;
        for length in lengths {
            end += length;
            if end > NAMES_BYTES_MAX || ends.len() >= FILES_MAX {
                return Err(Miscounted::Full);
            }
            if end > bytes.len() {
                return Err(Miscounted::Short);
            }
            // At most NAMES_BYTES_MAX.
            ends.push(end as u32);
        }
        if end == bytes.len() { Ok(Names { bytes, ends }) } else { Err(Miscounted::Long) }
    }

    /// Appends one.
    ///
    /// # Errors
    /// There are too many, or they are too long together.
    pub(crate) fn push(&mut self, name: &[u8]) -> Result<(), OpenFault> {
        if self.ends.len() >= FILES_MAX {
            return Err(OpenFault::TooMany { what: "files", limit: FILES_MAX as u64 });
        }
        if name.len() > NAMES_BYTES_MAX - self.bytes.len() {
            return Err(OpenFault::TooMany { what: "bytes of names", limit: NAMES_BYTES_MAX as u64 });
        }
        self.bytes.extend_from_slice(name);
        // At most NAMES_BYTES_MAX.
        self.ends.push(self.bytes.len() as u32);
        Ok(())
    }

    /// # Errors
    /// As for [`push`](Names::push).
    pub(crate) fn of<'n>(names: impl IntoIterator<Item = &'n [u8]>) -> Result<Names, OpenFault> {
        let mut all = Names::default();
        names.into_iter().try_for_each(|name| all.push(name))?;
        Ok(all)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        self.key(at).map(|key| self.bytes(key))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.len()).map_while(|at| self.get(at))
    }

    /// A whole name.
    pub(crate) fn key(&self, at: usize) -> Option<Key> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        Some(Key { start, len: end - start })
    }

    /// The bytes of a key out of these names.
    pub(crate) fn bytes(&self, key: Key) -> &[u8] {
        self.bytes.get(key.start as usize..).and_then(|rest| rest.get(..key.len as usize)).unwrap_or_default()
    }
}

impl Key {
    /// The key of no bytes at all: the root.
    pub(crate) const EMPTY: Key = Key { start: 0, len: 0 };

    /// The first `len` bytes of it.
    pub(crate) fn first(self, len: usize) -> Key {
        // No longer than before, so it fits.
        Key { len: (len as u32).min(self.len), ..self }
    }
}

/// Paths that lead to a file, links counted.
pub const FILES_MAX: usize = 1 << 20;
/// Bytes of all names together.
pub(crate) const NAMES_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_as_they_went_in() {
        let names = Names::of([&b"a"[..], b"", b"b/c.html"]).unwrap();
        assert_eq!(names.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"b/c.html"]);
        assert_eq!((names.len(), names.get(2), names.get(3)), (3, Some(&b"b/c.html"[..]), None));
        let key = names.key(2).unwrap();
        assert_eq!(names.bytes(key.first(1)), b"b");
        assert_eq!(names.bytes(key.first(99)), b"b/c.html");
        assert_eq!(names.bytes(Key::EMPTY), b"");
    }

    #[test]
    fn names_are_cut_from_bytes() {
        let cut = |lengths: &[usize]| Names::cut(b"abcde".to_vec(), lengths.iter().copied());
        assert_eq!(cut(&[1, 0, 4]), Names::of([&b"a"[..], b"", b"bcde"]).map_err(|_| Miscounted::Short));
        assert_eq!(cut(&[1, 5]), Err(Miscounted::Short));
        assert_eq!(cut(&[1, 3]), Err(Miscounted::Long));
    }

    #[test]
    fn there_is_a_limit() {
        // Zeros that have not been touched take no memory.
        let mut names = Names { bytes: Vec::new(), ends: vec![0; 1 << 20] };
        assert_eq!(names.push(b"x").unwrap_err().to_string(), "more than 1048576 files");
        let mut names = Names { bytes: vec![0; (256 << 20) - 1], ends: Vec::new() };
        assert_eq!(names.push(b"xy").unwrap_err().to_string(), "more than 268435456 bytes of names");
        let too_many = std::iter::repeat_n(0, (1 << 20) + 1);
        assert_eq!(Names::cut(Vec::new(), too_many), Err(Miscounted::Full));
    }
}
