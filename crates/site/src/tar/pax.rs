//! pax extended headers: `LENGTH KEY=VALUE\n`, again and again, where the length counts itself.

/// What extended headers say in place of a member's own header. Of each, `None` means that nothing was said and
/// `Some(None)` that an earlier saying was taken back (an empty value).
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Option<Vec<u8>>>,
    pub(super) link: Option<Option<Vec<u8>>>,
    pub(super) size: Option<Option<u64>>,
    pub(super) mtime: Option<Option<u64>>,
    /// The body is a map followed by fragments.
    pub(super) sparse: bool,
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
            // A fraction is cut off: HTTP dates have whole seconds. Before the epoch there is none (0: see Last-Modified).
            b"mtime" => {
                let whole = value.split(|&byte| byte == b'.').next().unwrap_or(value);
                to.mtime = Some((!empty).then(|| decimal(whole).unwrap_or(0)));
            }
            key if key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize" => to.sparse = true,
            _ => {}
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
