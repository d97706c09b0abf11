//! The static table of RFC 7541 Appendix A, and the dynamic table (§2.3.2, §4).

/// A header field: name and value.
pub(super) type Pair<'t> = (&'t [u8], &'t [u8]);

/// Bytes that an entry counts beyond its name and value (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// The dynamic table: the fields that the peer has added, newest first from index 0 on.
///
/// They lie one behind the other in a buffer that is as large as they need: a connection that has
/// not used its table has none. Each entry is `name length, value length, name, value, length of
/// all that`, so that it can be passed in both directions; these six bytes are less than the 32
/// that the standard counts, so the buffer never needs more than the table's size.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// The offset of the oldest entry.
    start: usize,
    /// Bytes of all entries as §4.1 counts them.
    size: usize,
    max: usize,
}

impl Table {
    /// Creates an empty table of at most `max` bytes (RFC 7541 §4.2), below 64 KiB.
    pub(super) const fn new(max: usize) -> Table {
        assert!(max <= u16::MAX as usize);
        Table { bytes: Vec::new(), start: 0, size: 0, max }
    }

    /// Returns the nth newest entry.
    pub(super) fn get(&self, index: usize) -> Option<Pair<'_>> {
        let mut end = self.bytes.len();
        for _ in 0..index {
            end = self.before(end)?;
        }
        let start = self.before(end)?;
        let (name_len, value_len) = self.lengths(start)?;
        let name_end = start + 4 + name_len;
        Some((self.bytes.get(start + 4..name_end)?, self.bytes.get(name_end..name_end + value_len)?))
    }

    /// Adds an entry, for which older ones make room. One that is larger than the table empties it
    /// (§4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.shrink_to(self.max.saturating_sub(size));
        if size > self.max {
            return;
        }
        let need = name.len() + value.len() + 6;
        if self.bytes.len() + need > self.bytes.capacity() {
            self.bytes.drain(..self.start);
            self.start = 0;
            let room = self.bytes.len() + need;
            if room > self.bytes.capacity() {
                let room = room.next_power_of_two().clamp(128, self.max.max(128));
                self.bytes.reserve_exact(room - self.bytes.len());
            }
        }
        // Both are shorter than the table, which is shorter than 64 KiB.
        self.bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&(need as u16).to_be_bytes());
        self.size += size;
    }

    /// RFC 7541 §4.3: a smaller table loses its oldest entries.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max.min(usize::from(u16::MAX));
        self.shrink_to(self.max);
    }

    /// Returns the bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    fn shrink_to(&mut self, size: usize) {
        while self.size > size {
            let Some((name_len, value_len)) = self.lengths(self.start) else { break };
            self.start += name_len + value_len + 6;
            self.size -= name_len + value_len + OVERHEAD;
        }
        if self.size == 0 {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Returns the offset of the entry that ends at `end`.
    fn before(&self, end: usize) -> Option<usize> {
        if end <= self.start {
            return None;
        }
        let len = u16::from_be_bytes(*self.bytes.get(..end)?.last_chunk()?);
        end.checked_sub(usize::from(len))
    }

    fn lengths(&self, start: usize) -> Option<(usize, usize)> {
        let &[a, b, c, d] = self.bytes.get(start..)?.first_chunk()?;
        Some((usize::from(u16::from_be_bytes([a, b])), usize::from(u16::from_be_bytes([c, d]))))
    }
}

/// Returns the index of the first entry with this name in the static table, counted from 1.
pub(super) fn static_name(name: &[u8]) -> Option<usize> {
    let at =
        STATIC.iter().position(|(known, _)| known.len() == name.len() && known.eq_ignore_ascii_case(name))?;
    Some(at + 1)
}

/// RFC 7541 Appendix A; index 1 comes first.
pub(super) const STATIC: [Pair<'static>; 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn static_names() {
        assert_eq!(STATIC[1], (&b":method"[..], &b"GET"[..]));
        assert_eq!(STATIC[60], (&b"www-authenticate"[..], &b""[..]));
        assert_eq!(static_name(b"Content-Type"), Some(31));
        assert_eq!(static_name(b"date"), Some(33));
        assert_eq!(static_name(b":status"), Some(8));
        assert_eq!(static_name(b"x-content-type-options"), None);
    }

    // RFC 7541 §4.1, §4.4
    #[test]
    fn entries_leave_at_the_other_end() {
        let mut table = Table::new(100);
        assert_eq!((table.get(0), table.memory()), (None, 0));
        table.insert(b"a", b"1");
        table.insert(b"b", b"2");
        assert_eq!(table.get(0), Some((&b"b"[..], &b"2"[..])));
        assert_eq!(table.get(1), Some((&b"a"[..], &b"1"[..])));
        assert_eq!(table.get(2), None);
        table.insert(b"c", b"3");
        assert_eq!(table.get(1), Some((&b"b"[..], &b"2"[..])), "three times 34 is more than 100");
        assert_eq!(table.get(2), None);
        table.insert(&[b'n'; 30], &[b'v'; 38]);
        assert_eq!(table.get(0).map(|(name, value)| (name.len(), value.len())), Some((30, 38)), "fits alone");
        table.insert(&[b'n'; 30], &[b'v'; 39]);
        assert_eq!((table.get(0), table.size), (None, 0), "too large: nothing is left");
        table.insert(b"", b"");
        table.resize(31);
        assert_eq!(table.get(0), None);
    }

    proptest! {
        // A list of pairs, as the standard describes it, is the oracle.
        #[test]
        fn behaves_as_a_queue(steps in proptest::collection::vec((0..60_usize, 0..90_usize, 0..40_u8, 0..700_usize), 1..200)) {
            let mut table = Table::new(512);
            let (mut oracle, mut max) = (VecDeque::<(Vec<u8>, Vec<u8>)>::new(), 512);
            for (at, (name, value, what, size)) in steps.into_iter().enumerate() {
                let evict = |oracle: &mut VecDeque<(Vec<u8>, Vec<u8>)>, max: usize| {
                    while oracle.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > max {
                        oracle.pop_back();
                    }
                };
                if what == 0 {
                    max = size;
                    table.resize(size);
                    evict(&mut oracle, max);
                } else {
                    let (name, value) = (vec![at as u8; name], vec![what; value]);
                    table.insert(&name, &value);
                    oracle.push_front((name, value));
                    evict(&mut oracle, max);
                }
                for (index, (name, value)) in oracle.iter().enumerate() {
                    prop_assert_eq!(table.get(index), Some((&name[..], &value[..])));
                }
                prop_assert_eq!(table.get(oracle.len()), None);
                prop_assert!(table.memory() <= 1024);
            }
        }
    }
}
