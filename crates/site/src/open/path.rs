//! Names: a request's path becomes a key of the index, an archive's member name becomes one too,
//! and a key becomes a path again in `Location`.
//!
//! A **key** is a path below the root without slashes at its ends: `b""` is the root,
//! `b"css/x.css"` a file. The rules are those of RFC 3986 §6.2.2. They are applied in this order
//! and once, so nothing is decoded a second time:
//!
//! 1. percent escapes are decoded; a malformed one or `%00` is a [`PathFault::Malformed`] (400). An
//!    escaped slash (`%2F`) separates nothing and becomes an [`ESCAPED_SLASH`]: no file has such a
//!    name, but rules match it;
//! 2. empty segments are dropped, so `//a///b` is `a/b` (served, not redirected);
//! 3. `.` and `..` are removed, also when they were written as `%2e`; `..` at the root stays at the
//!    root (RFC 3986 §5.2.4);
//! 4. the rest is compared as bytes: case and Unicode form are kept as stored.

/// The key of a path, and whether it was written as a directory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The key to look up.
    pub key: &'a [u8],
    /// The path ended in `/`, `/.` or `/..`.
    pub slash: bool,
}

/// The reason why a path has no key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// Not a path: 400.
    Malformed,
    /// Longer than the buffer: 404.
    TooLong,
}

/// The key of a path that needs no work, borrowed from the request; `None` when [`resolve`] must
/// look at it.
pub(crate) fn plain(raw: &[u8]) -> Option<Resolved<'_>> {
    let (&b'/', key) = raw.split_first()? else { return None };
    let mut previous = b'/';
    for &byte in key {
        // A dot at the start of a segment may be a dot segment; anything else that starts so is
        // rare.
        if byte == b'%' || byte == 0 || (previous == b'/' && (byte == b'/' || byte == b'.')) {
            return None;
        }
        previous = byte;
    }
    match key.strip_suffix(b"/") {
        Some(key) => Some(Resolved { key, slash: true }),
        None => Some(Resolved { key, slash: key.is_empty() }),
    }
}

/// Returns the key of any path, built in `buffer`. A buffer as long as the path is always long
/// enough.
///
/// # Errors
/// It is no path, or its key is longer than the buffer.
pub fn resolve<'b>(raw: &[u8], buffer: &'b mut [u8]) -> Result<Resolved<'b>, PathFault> {
    let (b'/', rest) = raw.split_first().ok_or(PathFault::Malformed)? else {
        return Err(PathFault::Malformed);
    };
    // Malformed wins over too long, wherever it stands: the answer must not depend on what precedes
    // it.
    validate(rest)?;
    let mut len = 0;
    let mut slash = true;
    for segment in rest.split(|&byte| byte == b'/') {
        let start = if len == 0 { 0 } else { len + 1 };
        let mut end = start;
        let mut bytes = segment.iter();
        while let Some(&byte) = bytes.next() {
            let byte = match byte {
                b'%' => match escape(&mut bytes).ok_or(PathFault::Malformed)? {
                    b'/' => ESCAPED_SLASH,
                    byte => byte,
                },
                _ => byte,
            };
            *buffer.get_mut(end).ok_or(PathFault::TooLong)? = byte;
            end += 1;
        }
        slash = true;
        // An empty segment behind a name of full length starts one past the buffer's end.
        match buffer.get(start..end).unwrap_or_default() {
            b"" | b"." => {}
            b".." => len = buffer[..len].iter().rposition(|&byte| byte == b'/').unwrap_or(0),
            _ => {
                if start > 0 {
                    buffer[len] = b'/';
                }
                len = end;
                slash = false;
            }
        }
    }
    Ok(Resolved { key: &buffer[..len], slash })
}

fn validate(rest: &[u8]) -> Result<(), PathFault> {
    let mut bytes = rest.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'%' { escape(&mut bytes).ok_or(PathFault::Malformed)? } else { byte };
        if byte == 0 {
            return Err(PathFault::Malformed);
        }
    }
    Ok(())
}

/// The two hexadecimal digits behind a `%` (RFC 3986 §2.1).
fn escape(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u8> {
    let high = char::from(*bytes.next()?).to_digit(16)?;
    let low = char::from(*bytes.next()?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// A member's name as a key: leading slashes and `.` segments stripped. `Ok(None)` is the root
/// itself.
///
/// # Errors
/// Why the member cannot be served.
pub(crate) fn normalize(name: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if name.len() > NAME_MAX {
        return Err("its name is longer than 4096 bytes");
    }
    if name.contains(&0) {
        return Err("its name contains a zero byte");
    }
    let mut key = Vec::with_capacity(name.len());
    let mut depth = 0;
    for segment in name.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => return Err("its name contains '..'"),
            _ => {
                depth += 1;
                if depth > 1 {
                    key.push(b'/');
                }
                key.extend_from_slice(segment);
            }
        }
    }
    if depth > DEPTH_MAX {
        return Err("it lies more than 256 folders deep");
    }
    Ok((depth > 0).then_some(key))
}

/// Whether a name is a key other than the root's: what [`normalize`] leaves as it is.
pub(crate) fn is_key(name: &[u8]) -> bool {
    let (mut start, mut depth) = (0, 1);
    for (at, &byte) in name.iter().enumerate() {
        if byte == 0 {
            return false;
        }
        if byte == b'/' {
            if is_dots(&name[start..at]) {
                return false;
            }
            (start, depth) = (at + 1, depth + 1);
        }
    }
    !is_dots(&name[start..]) && name.len() <= NAME_MAX && depth <= DEPTH_MAX
}

/// Segments that name no file.
fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"" | b"." | b"..")
}

/// Whether a key may be served at all: dotfiles are not, except below the root's `.well-known` (RFC
/// 8615), nor are the files that talk to the server itself.
#[must_use]
pub fn is_public(key: &[u8]) -> bool {
    match key.first() {
        Some(b'_') => {
            // `_headers.gz` would otherwise bring `_headers` back as its encoding.
            let mut stem = key;
            while let Some((original, _)) = crate::open::sidecar::sidecar(stem) {
                stem = original;
            }
            if stem == b"_headers" || stem == b"_redirects" {
                return false;
            }
        }
        Some(b'.') if key != b".well-known" && !key.starts_with(b".well-known/") => return false,
        _ => {}
    }
    !key.windows(2).any(|pair| pair == b"/.")
}

/// Appends a key as the path of a URL (RFC 3986 §3.3), without slashes at its ends.
pub fn encode(key: &[u8], out: &mut Vec<u8>) {
    for &byte in key {
        if stays(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&percent(byte));
        }
    }
}

/// Returns whether a key's byte stands in a URL as it is.
pub(crate) fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// Returns a key's byte as an escape of a URL (RFC 3986 §2.1).
pub(crate) fn percent(byte: u8) -> [u8; 3] {
    let byte = if byte == ESCAPED_SLASH { b'/' } else { byte };
    [b'%', hex(byte >> 4), hex(byte & 15)]
}

/// Returns the upper-case hexadecimal digit of the low four bits.
#[must_use]
pub fn hex(digit: u8) -> u8 {
    HEX[usize::from(digit & 15)]
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// Stands in a key for a slash that was escaped (`%2F`). A zero byte itself is never in one: `%00`
/// is refused.
pub(crate) const ESCAPED_SLASH: u8 = 0;
/// Bytes of the longest request target by default ([`sitar_http::h1::Limits`]).
pub(crate) const PATH_MAX: usize = 8192;
/// Longest name served, in bytes after decoding.
pub const NAME_MAX: usize = 4096;
/// Deepest nesting: the walk recurses, so it must end.
pub(crate) const DEPTH_MAX: usize = 256;

#[cfg(test)]
mod tests;
