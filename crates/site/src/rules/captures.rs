//! Placeholders: their names in a rule, and what they stand for in a request.

/// The values of the placeholders of a pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Captures<'k> {
    values: [Captured<'k>; CAPTURES_MAX],
    len: usize,
}

/// One capture, and what its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Captured<'k> {
    /// Decoded bytes of a path's key or a host.
    Plain(&'k [u8]),
    /// The same of a path, at whose end a slash follows.
    Folder(&'k [u8]),
    /// Bytes of a query as they came, escapes and all.
    Query(&'k [u8]),
}

impl<'k> Captures<'k> {
    pub(crate) fn new() -> Captures<'k> {
        Captures { values: [Captured::Plain(b""); CAPTURES_MAX], len: 0 }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn push(&mut self, value: Captured<'k>) {
        // Patterns have at most CAPTURES_MAX names.
        if let Some(place) = self.values.get_mut(self.len) {
            *place = value;
            self.len += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, at: usize) -> Captured<'k> {
        self.values[..self.len].get(at).copied().unwrap_or(Captured::Plain(b""))
    }
}

/// The first `:name` in a text: where it begins, and where it ends. A name begins with a letter, so
/// ports are none.
pub(super) fn find_name(text: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(colon) = text[from..].iter().position(|&byte| byte == b':').map(|at| from + at) {
        let name = &text[colon + 1..];
        let len = name.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_').count();
        if name.first().is_some_and(u8::is_ascii_alphabetic) {
            return Some((colon, colon + 1 + len));
        }
        from = colon + 1;
    }
    None
}

/// Placeholders of one rule, the splat, the host's and the query's included.
pub(super) const CAPTURES_MAX: usize = 16;
