//! pax extended headers: `LENGTH KEY=VALUE\n`, again and again, where the length counts itself.

use super::sparse::Entries;

/// Fields that extended headers have in place of a member's own header. Of each, `None` means that
/// nothing was said and `Some(None)` that an earlier saying was taken back (an empty value).
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Option<Vec<u8>>>,
    pub(super) link: Option<Option<Vec<u8>>>,
    pub(super) size: Option<Option<u64>>,
    pub(super) mtime: Option<Option<u64>>,
    /// The member is sparse.
    pub(super) sparse: bool,
    pub(super) map: SparseRecords,
}

/// The records of GNU tar about a sparse member.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct SparseRecords {
    major: Option<u64>,
    minor: Option<u64>,
    /// The name of the file; that of the member is made up by its writer.
    pub(super) name: Option<Vec<u8>>,
    /// Bytes of the file, holes included.
    pub(super) size: Option<u64>,
    blocks: Option<u64>,
    pub(super) entries: Entries,
    /// Entries as they were counted by the writer: before neighbours became one.
    count: u64,
    /// A position whose length comes in the next record.
    at: Option<u64>,
    /// Records of another program than GNU tar.
    foreign: bool,
}

/// The form in which the map of a sparse member is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum MapForm {
    /// In these records.
    Records,
    /// Text in front of the data.
    Text,
    /// In a way that is not known.
    Unknown,
}

impl SparseRecords {
    pub(super) fn version(&self) -> MapForm {
        match (self.major, self.minor) {
            _ if self.foreign => MapForm::Unknown,
            (None | Some(0), None | Some(0 | 1)) => MapForm::Records,
            (Some(1), Some(0)) => MapForm::Text,
            _ => MapForm::Unknown,
        }
    }

    /// Whether the map in these records is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.at.is_none() && self.blocks.is_none_or(|blocks| blocks == self.count)
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const MALFORMED: &str = "a sparse file's map is malformed";
        let number = || decimal(value).ok_or(MALFORMED);
        match key {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"name" => self.name = (!value.is_empty()).then(|| value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"numblocks" => self.blocks = Some(number()?),
            b"offset" if self.at.is_none() => self.at = Some(number()?),
            b"offset" => return Err(MALFORMED),
            b"numbytes" => {
                let at = self.at.take().ok_or(MALFORMED)?;
                self.entries.push(at, number()?)?;
                self.count += 1;
            }
            b"map" if value.is_empty() => {}
            b"map" => {
                let mut numbers = value.split(|&byte| byte == b',').map(decimal);
                while let Some(at) = numbers.next() {
                    let len = numbers.next().flatten();
                    self.entries.push(at.ok_or(MALFORMED)?, len.ok_or(MALFORMED)?)?;
                    self.count += 1;
                }
            }
            _ => self.foreign = true,
        }
        Ok(())
    }
}

impl Overrides {
    /// The local saying, else the global one; the local one is taken out.
    pub(super) fn pick<T: Clone>(local: &mut Option<Option<T>>, global: &Option<Option<T>>) -> Option<T> {
        match local.take() {
            Some(local) => local,
            None => global.clone().flatten(),
        }
    }
}

/// Adds the records of one header to what was said before.
///
/// # Errors
/// What is malformed.
pub(super) fn apply(mut body: &[u8], to: &mut Overrides) -> Result<(), &'static str> {
    while !body.is_empty() {
        let (key, value, rest) = record(body).ok_or("a pax record is malformed")?;
        let empty = value.is_empty();
        match key {
            b"path" => to.path = Some((!empty).then(|| value.to_vec())),
            b"linkpath" => to.link = Some((!empty).then(|| value.to_vec())),
            b"size" if empty => to.size = Some(None),
            b"size" => to.size = Some(Some(decimal(value).ok_or("a pax size is not a number")?)),
            // A fraction is cut off: HTTP dates have whole seconds. Before the epoch there is none
            // (0: see Last-Modified).
            b"mtime" => {
                let whole = value.split(|&byte| byte == b'.').next().unwrap_or(value);
                to.mtime = Some((!empty).then(|| decimal(whole).unwrap_or(0)));
            }
            b"SCHILY.realsize" => (to.sparse, to.map.foreign) = (true, true),
            key => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    to.sparse = true;
                    to.map.apply(key, value)?;
                }
            }
        }
        body = rest;
    }
    Ok(())
}

/// The first record's key and value, and the records behind it.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // A length of more digits than this would not fit the header anyway.
    let space = body.iter().take(12).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&body[..space])?).ok()?;
    let content = body.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = content.iter().position(|&byte| byte == b'=')?;
    Some((&content[..equals], &content[equals + 1..], &body[length..]))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Overrides, &'static str> {
        let mut overrides = Overrides::default();
        apply(body, &mut overrides).map(|()| overrides)
    }

    #[test]
    fn records() {
        let said = parse(b"13 path=a=b\n\n23 mtime=1700000000.75\n18 size=123456789\n").unwrap();
        assert_eq!(said.path, Some(Some(b"a=b\n".to_vec())));
        assert_eq!(said.mtime, Some(Some(1_700_000_000)));
        assert_eq!(said.size, Some(Some(123_456_789)));
    }

    #[test]
    fn malformed_records() {
        for body in [
            b"path=a\n".as_slice(),
            b"9 path=a\n9",
            b"99 path=a\n",
            b"0 path=a\n",
            b"2 path=a\n",
            b"10 path=ab",
            b"8 patha\n\n",
            b"-9 path=a\n",
            b" 9 path=a\n",
            b"18446744073709551616 path=a\n",
            b"13 size=12x4\n",
            b"31 size=9999999999999999999999\n",
            b"\0\0\0",
        ] {
            assert!(parse(body).is_err(), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn an_empty_value_takes_back() {
        let mut local = parse(b"8 path=\n").unwrap();
        assert_eq!(Overrides::pick(&mut local.path, &Some(Some(b"global".to_vec()))), None);
        assert_eq!(Overrides::pick(&mut None, &Some(Some(7))), Some(7));
    }

    #[test]
    fn sparse_is_noticed() {
        assert!(parse(b"22 GNU.sparse.major=1\n").unwrap().sparse);
        assert!(!parse(b"20 LIBARCHIVE.x=abc\n").unwrap().sparse);
    }
}
