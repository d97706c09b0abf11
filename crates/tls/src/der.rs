//! A reader of DER (X.690), as far as certificates and keys need it.
//!
//! It takes elements apart and judges nothing. Text that is read with it is compared or shown,
//! never trusted.

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

    /// Takes the next element, which has that tag, and returns all of it: tag, length and contents.
    pub fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.expect(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// Takes the next element, which has that tag, and returns a reader of what is in it.
    pub fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.expect(tag).map(Der)
    }

    /// Takes a BIT STRING of whole bytes.
    pub fn bits(&mut self) -> Option<&'a [u8]> {
        self.expect(BIT_STRING)?.strip_prefix(&[0])
    }

    /// Takes a Time of RFC 5280 §4.1.2.5 and returns its seconds since 1970: `YYMMDDHHMMSSZ` for
    /// the years from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
    pub fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.next()?;
        let text = text.strip_suffix(b"Z")?;
        let pairs = text.chunks(2).map(two_digits).collect::<Option<Vec<i64>>>()?;
        let (year, rest) = match (tag, pairs.as_slice()) {
            (UTC_TIME, [year, rest @ ..]) => (year + if *year < 50 { 2000 } else { 1900 }, rest),
            (GENERALIZED_TIME, [century, year, rest @ ..]) => (century * 100 + year, rest),
            _ => return None,
        };
        let &[month @ 1..=12, day, hour @ 0..=23, minute @ 0..=59, second @ 0..=59] = rest else {
            return None;
        };
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 => 28 + i64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (1..=last).contains(&day).then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
    }
}

fn two_digits(digits: &[u8]) -> Option<i64> {
    match *digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

/// Returns the days from 1970 to a day of the Gregorian calendar. The year is taken to begin in
/// March, so that the leap day is its last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    /// From 0000-03-01 to 1970-01-01.
    const TO_1970: i64 = 719_468;
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - TO_1970
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
        assert_eq!(der.whole(INTEGER), None);
        assert_eq!({ der }.whole(OCTET_STRING), Some(&[4, 1, 6][..]));
        assert_eq!(der.next(), Some((OCTET_STRING, &[6][..])));
        assert!(der.is_empty());
    }

    fn read(tag: u8, text: &str) -> Option<i64> {
        let length = u8::try_from(text.len()).unwrap();
        Der::new(&[&[tag, length], text.as_bytes()].concat()).time()
    }

    #[test]
    fn times_of_both_forms() {
        for (text, expected) in [
            ("700101000000Z", 0),
            ("300101000000Z", 1_893_456_000),
            ("491231235959Z", 2_524_607_999),
            ("500101000000Z", -631_152_000),
            ("691231235959Z", -1),
            ("000229120000Z", 951_825_600),
        ] {
            assert_eq!(read(UTC_TIME, text), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("20500101000000Z", 2_524_608_000),
            ("99991231235959Z", 253_402_300_799),
            ("21000228235959Z", 4_107_542_399),
            ("00000101000000Z", -62_167_219_200),
        ] {
            assert_eq!(read(GENERALIZED_TIME, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "Z",
            "300101000000",
            "3001010000Z",
            "300101000000+0100",
            "300101000000z",
            "300001000000Z",
            "301301000000Z",
            "300100000000Z",
            "300132000000Z",
            "300431000000Z",
            "300229000000Z",
            "300101240000Z",
            "300101006000Z",
            "300101000060Z",
            "+00101000000Z",
            "20300101000000Z",
        ] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
        for text in ["300101000000Z", "20300101000000.5Z", "21000229000000Z", "120300101000000Z"] {
            assert_eq!(read(GENERALIZED_TIME, text), None, "{text}");
        }
        assert_eq!(read(INTEGER, "300101000000Z"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut der = Der::new(&noise);
            while der.next().is_some() {}
            let _ = (der.whole(INTEGER), der.time(), der.enter(SEQUENCE), der.bits());
        }
    }
}
