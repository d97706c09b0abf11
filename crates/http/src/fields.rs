//! The field lines of a request that a response or a log may depend on.

/// See [`Fields::KEPT_MAX`].
const KEPT_MAX: usize = 16;

/// A request field that is kept. The parser consumes framing and connection fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `Host` (RFC 9110 §7.2), the line as sent. [`crate::Request::authority`] is the value that
    /// counts.
    Host,
    /// `Accept` (RFC 9110 §12.5.1).
    Accept,
    /// `Accept-Encoding` (RFC 9110 §12.5.3).
    AcceptEncoding,
    /// `If-Match` (RFC 9110 §13.1.1).
    IfMatch,
    /// `If-None-Match` (RFC 9110 §13.1.2).
    IfNoneMatch,
    /// `If-Modified-Since` (RFC 9110 §13.1.3).
    IfModifiedSince,
    /// `If-Unmodified-Since` (RFC 9110 §13.1.4).
    IfUnmodifiedSince,
    /// `If-Range` (RFC 9110 §13.1.5).
    IfRange,
    /// `Range` (RFC 9110 §14.2).
    Range,
    /// `Want-Repr-Digest` (RFC 9530 §4).
    WantReprDigest,
    /// `Authorization` (RFC 9110 §11.6.2).
    Authorization,
    /// `Forwarded` (RFC 7239 §4).
    Forwarded,
    /// `X-Forwarded-For`, which `Forwarded` was made after.
    XForwardedFor,
    /// `User-Agent` (RFC 9110 §10.1.5), for logs.
    UserAgent,
    /// `Referer` (RFC 9110 §10.1.3), for logs.
    Referer,
}

impl Field {
    /// Returns the field with this name, a token in any case; `None` for those that are not kept.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Field> {
        match name.len() {
            4 => Field::Host.named(name, b"host"),
            5 => Field::Range.named(name, b"range"),
            6 => Field::Accept.named(name, b"accept"),
            7 => Field::Referer.named(name, b"referer"),
            8 if name[3] | 0x20 == b'm' => Field::IfMatch.named(name, b"if-match"),
            8 => Field::IfRange.named(name, b"if-range"),
            9 => Field::Forwarded.named(name, b"forwarded"),
            10 => Field::UserAgent.named(name, b"user-agent"),
            13 if name[0] | 0x20 == b'a' => Field::Authorization.named(name, b"authorization"),
            13 => Field::IfNoneMatch.named(name, b"if-none-match"),
            15 if name[0] | 0x20 == b'a' => Field::AcceptEncoding.named(name, b"accept-encoding"),
            15 => Field::XForwardedFor.named(name, b"x-forwarded-for"),
            16 => Field::WantReprDigest.named(name, b"want-repr-digest"),
            17 => Field::IfModifiedSince.named(name, b"if-modified-since"),
            19 => Field::IfUnmodifiedSince.named(name, b"if-unmodified-since"),
            _ => None,
        }
    }

    /// Itself where `name` is `expected`, in any case.
    ///
    /// Each line of a head comes here. For a length that is known, and without an end at the first
    /// byte that differs, that is a few instructions: a loop over bytes takes seven for each.
    #[inline]
    fn named<const N: usize>(self, name: &[u8], expected: &[u8; N]) -> Option<Field> {
        let name: &[u8; N] = name.try_into().ok()?;
        let differs = |(byte, expected): (&u8, &u8)| (byte | 0x20) ^ expected;
        // Of two bytes that this bit alone tells apart, a token (RFC 9110 §5.6.2) has only letters:
        // `expected` has no other bytes but `-`, and its twin is CR.
        let all = name.iter().zip(expected).map(differs).fold(0, |all, one| all | one);
        (all == 0).then_some(self)
    }

    /// Returns whether a response may depend on this field, or a log has it. A request that is kept
    /// for later ([`h2::ParkedRequest`](crate::h2::ParkedRequest)) keeps these and no others.
    #[must_use]
    pub const fn is_needed_later(self) -> bool {
        // Each is named, so that this does not compile until a new one has been decided on.
        match self {
            Field::Accept
            | Field::AcceptEncoding
            | Field::IfMatch
            | Field::IfNoneMatch
            | Field::IfModifiedSince
            | Field::IfUnmodifiedSince
            | Field::IfRange
            | Field::Range
            | Field::WantReprDigest
            | Field::Authorization
            | Field::Forwarded
            | Field::XForwardedFor
            | Field::UserAgent
            | Field::Referer => true,
            // Of Host the authority counts, which a request has beside its fields.
            Field::Host => false,
        }
    }
}

/// Recognized field lines in the order of arrival, without allocation.
#[derive(Clone, Copy)]
pub struct Fields<'b> {
    values: [&'b [u8]; KEPT_MAX],
    names: [Field; KEPT_MAX],
    len: u8,
}

/// There are more recognized field lines than [`Fields`] keeps; the response is 431 (RFC 6585 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyFields;

impl<'b> Fields<'b> {
    /// The number of field lines that are kept. Clients send a few of the fields that are
    /// recognized, so this leaves room for lists split over lines.
    pub(crate) const KEPT_MAX: usize = KEPT_MAX;

    /// Returns an empty list.
    #[must_use]
    pub const fn new() -> Fields<'b> {
        Fields { values: [&[]; KEPT_MAX], names: [Field::Host; KEPT_MAX], len: 0 }
    }

    /// Adds a field line; `value` comes without surrounding whitespace.
    ///
    /// # Errors
    /// [`TooManyFields`] when 16 lines are already kept.
    pub fn push(&mut self, field: Field, value: &'b [u8]) -> Result<(), TooManyFields> {
        let at = usize::from(self.len);
        if at == KEPT_MAX {
            return Err(TooManyFields);
        }
        self.names[at] = field;
        self.values[at] = value;
        self.len += 1;
        Ok(())
    }

    /// Returns the value of a field that is defined to occur once; `None` when it is absent *or
    /// sent more than once*. Several lines are one comma-separated value (RFC 9110 §5.3), which is
    /// not a valid value of such a field.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&'b [u8]> {
        let mut lines = self.all(field);
        let first = lines.next()?;
        lines.next().is_none().then_some(first)
    }

    /// Returns the first line of a field.
    #[inline]
    #[must_use]
    pub fn first(&self, field: Field) -> Option<&'b [u8]> {
        let at = self.names[..usize::from(self.len)].iter().position(|name| *name == field)?;
        Some(self.values[at])
    }

    /// Returns whether there is at least one line of this field.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.names[..usize::from(self.len)].contains(&field)
    }

    /// Returns all lines in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Field, &'b [u8])> {
        let len = usize::from(self.len);
        self.names[..len].iter().copied().zip(self.values[..len].iter().copied())
    }

    /// Returns all lines of a field in order.
    #[must_use]
    pub fn all(&self, field: Field) -> FieldLines<'_, 'b> {
        FieldLines { fields: self, field, at: 0 }
    }
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields::new()
    }
}

impl PartialEq for Fields<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (len, other_len) = (usize::from(self.len), usize::from(other.len));
        self.names[..len] == other.names[..other_len] && self.values[..len] == other.values[..other_len]
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = usize::from(self.len);
        let shown = |(name, value): (&Field, &&[u8])| {
            // Credentials are in no log.
            let value = if *name == Field::Authorization { b"..." } else { *value };
            (*name, value.escape_ascii().to_string())
        };
        let lines = self.names[..len].iter().zip(&self.values[..len]);
        f.debug_map().entries(lines.map(shown)).finish()
    }
}

/// An iterator over the lines of one field; see [`Fields::all`].
#[derive(Clone, Debug)]
pub struct FieldLines<'f, 'b> {
    fields: &'f Fields<'b>,
    field: Field,
    at: usize,
}

impl<'b> Iterator for FieldLines<'_, 'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        while self.at < usize::from(self.fields.len) {
            let at = self.at;
            self.at += 1;
            if self.fields.names[at] == self.field {
                return Some(self.fields.values[at]);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognized_in_any_case() {
        let all = [
            ("Host", Field::Host),
            ("Accept", Field::Accept),
            ("Accept-Encoding", Field::AcceptEncoding),
            ("If-Match", Field::IfMatch),
            ("If-None-Match", Field::IfNoneMatch),
            ("If-Modified-Since", Field::IfModifiedSince),
            ("If-Unmodified-Since", Field::IfUnmodifiedSince),
            ("If-Range", Field::IfRange),
            ("Range", Field::Range),
            ("Want-Repr-Digest", Field::WantReprDigest),
            ("Authorization", Field::Authorization),
            ("Forwarded", Field::Forwarded),
            ("X-Forwarded-For", Field::XForwardedFor),
            ("User-Agent", Field::UserAgent),
            ("Referer", Field::Referer),
        ];
        for (name, field) in all {
            assert_eq!(Field::from_name(name.as_bytes()), Some(field));
            assert_eq!(Field::from_name(name.to_ascii_lowercase().as_bytes()), Some(field));
            assert_eq!(Field::from_name(name.to_ascii_uppercase().as_bytes()), Some(field));
            assert_eq!(Field::from_name(format!("{name}x").as_bytes()), None);
            assert_eq!(Field::from_name(&name.as_bytes()[1..]), None);
            // All bytes that a name can have.
            for (at, byte) in (0..name.len()).flat_map(|at| (0x21..0x7F).map(move |byte| (at, byte))) {
                let mut other = name.as_bytes().to_vec();
                other[at] = byte;
                let expected = other.eq_ignore_ascii_case(name.as_bytes()).then_some(field);
                assert_eq!(Field::from_name(&other), expected, "{}", other.escape_ascii());
            }
        }
        assert_eq!(Field::from_name(b""), None);
        assert_eq!(Field::from_name(b"Hosts"), None);
    }

    #[test]
    fn credentials_are_not_shown() {
        let mut fields = Fields::new();
        fields.push(Field::Authorization, b"Basic Ym9iOnNlY3JldA==").unwrap();
        fields.push(Field::Accept, b"*/*").unwrap();
        assert_eq!(format!("{fields:?}"), "{Authorization: \"...\", Accept: \"*/*\"}");
    }

    #[test]
    fn a_single_value_is_not_one_of_several() {
        let mut fields = Fields::new();
        fields.push(Field::Range, b"bytes=0-1").unwrap();
        assert_eq!(fields.get(Field::Range), Some(&b"bytes=0-1"[..]));
        fields.push(Field::Range, b"bytes=2-3").unwrap();
        assert_eq!(fields.get(Field::Range), None);
        assert!(fields.has(Field::Range));
        assert!(!fields.has(Field::Host));
        assert_eq!(fields.all(Field::Range).collect::<Vec<_>>(), [b"bytes=0-1", b"bytes=2-3"]);
    }

    #[test]
    fn the_seventeenth_line_is_refused() {
        let mut fields = Fields::new();
        for _ in 0..16 {
            assert_eq!(fields.push(Field::IfMatch, b"x"), Ok(()));
        }
        assert_eq!(fields.push(Field::IfMatch, b"x"), Err(TooManyFields));
        assert_eq!(fields.all(Field::IfMatch).count(), 16);
    }
}
