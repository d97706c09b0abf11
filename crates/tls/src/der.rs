//! A reader of DER (X.690), as far as certificates and keys need it.
//!
//! It takes elements apart and judges nothing: what is read with it is compared or shown, never
//! believed.

/// Tag of INTEGER.
pub const INTEGER: u8 = 0x02;
/// Tag of BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// Tag of OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// Tag of OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// Tag of UTF8String.
pub const UTF8_STRING: u8 = 0x0c;
/// Tag of UTCTime.
pub const UTC_TIME: u8 = 0x17;
/// Tag of GeneralizedTime.
pub const GENERALIZED_TIME: u8 = 0x18;
/// Tag of SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// Tag of SET.
pub const SET: u8 = 0x31;

/// Returns the tag of `[number]` when it holds other elements, as in `[0] EXPLICIT`.
#[must_use]
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The rest of a sequence of DER elements.
#[derive(Clone, Copy, Debug)]
pub struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Returns a reader of the elements in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns whether every element has been taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next element and returns its tag and contents. Tags have one byte, lengths at most
    /// four. `None` if there is none, or not a whole one.
    #[expect(clippy::should_implement_trait, reason = "an element that cannot be read is not the end")]
    pub fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |all, &byte| all << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// Takes the next element and returns its contents, if it has that tag; otherwise `None`, and
    /// the element stays.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut after = *self;
        let (found, contents) = after.next()?;
        if found != tag {
            return None;
        }
        *self = after;
        Some(contents)
    }

    /// Takes the next element, which has that tag, and returns a reader of what is in it.
    pub fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.expect(tag).map(Der)
    }

    /// Takes a BIT STRING of whole bytes.
    pub fn bits(&mut self) -> Option<&'a [u8]> {
        self.expect(BIT_STRING)?.strip_prefix(&[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths() {
        for (bytes, contents) in [
            (&[4, 0][..], Some(&[][..])),
            (&[4, 1, 7], Some(&[7])),
            (&[4, 0x81, 1, 7], Some(&[7])),
            (&[4, 0x82, 0, 1, 7], Some(&[7])),
            (&[4, 0x83, 0, 0, 1, 7], Some(&[7])),
            (&[4, 0x84, 0, 0, 0, 1, 7], Some(&[7])),
            (&[4, 0x85, 0, 0, 0, 0, 1, 7], None),
            (&[4, 0x80, 0, 0], None),
            (&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 7], None),
            (&[4, 0x82, 0], None),
            (&[4, 2, 7], None),
            (&[4], None),
            (&[], None),
        ] {
            assert_eq!(Der::new(bytes).expect(OCTET_STRING), contents, "{bytes:?}");
        }
    }

    #[test]
    fn an_element_of_another_kind_stays() {
        let mut der = Der::new(&[2, 1, 5, 4, 1, 6]);
        assert_eq!(der.expect(OCTET_STRING), None);
        assert_eq!(der.expect(INTEGER), Some(&[5][..]));
        assert_eq!(der.next(), Some((OCTET_STRING, &[6][..])));
        assert!(der.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut der = Der::new(&noise);
            while der.next().is_some() {}
            let _ = (der.enter(SEQUENCE), der.bits());
        }
    }
}
