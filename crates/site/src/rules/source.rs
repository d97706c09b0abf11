//! Sources that can never match, told apart from those that can: what was meant is known, and said.

use super::error::Fault;
use super::pattern::Pattern;
use crate::open::path::hex;

/// Whether a line of `_headers` is a path, well-formed or not.
pub(super) fn is_path(line: &[u8]) -> bool {
    line.starts_with(b"/") || scheme(line).is_some()
}

/// The path of a rule in `_headers`.
pub(super) fn of_headers(line: &[u8]) -> Result<Pattern, Fault> {
    if let Some(at) = line.iter().position(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(words(&line[..at], line[at..].trim_ascii_start(), line));
    }
    if let Some(at) = scheme(line) {
        let (scheme, rest) = line.split_at(at);
        if !matches!(scheme, b"http" | b"https") {
            let hint = format!("write https{}", String::from_utf8_lossy(rest));
            return Err(Fault::new("a host stands behind https:// or http://, in lower case", hint));
        }
    }
    for (mark, reason) in [
        (b'?', "a path has no query here: a rule applies whatever the query is"),
        (b'#', "a path has no fragment: browsers keep it to themselves"),
    ] {
        if let Some(at) = line.iter().position(|&byte| byte == mark) {
            return Err(Fault::new(reason, write(&line[..at])));
        }
    }
    Pattern::parse(line)
}

/// Returns the end of an absolute address's scheme: before `://`.
fn scheme(line: &[u8]) -> Option<usize> {
    let at = line.windows(3).position(|three| three == b"://")?;
    let is_scheme = line[..at].iter().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte));
    (at > 0 && is_scheme).then_some(at)
}

/// Explains why no words can follow a path.
fn words(path: &[u8], rest: &[u8], line: &[u8]) -> Fault {
    match rest.first() {
        Some(b'#') => Fault::new(
            "a comment behind a path",
            format!("write it on a line of its own, and here {}", String::from_utf8_lossy(path)),
        ),
        Some(b'/') => Fault::new("two paths in one line", "write a rule for each, with its own header lines"),
        _ if rest.windows(2).any(|two| two == b": ") => {
            Fault::new("a header line behind a path", "write it on the next line")
        }
        _ => Fault::new("a space in a path", write(&escaped(line, b" \t"))),
    }
}

/// Refuses what no address has, and what is written in another language of patterns.
pub(super) fn check(path: &[u8]) -> Result<(), Fault> {
    if path.starts_with(b"//") {
        let rest = String::from_utf8_lossy(path.trim_ascii_start());
        let rest = rest.trim_start_matches('/');
        return Err(Fault::new(
            "two slashes at the beginning of a path",
            format!("write /{rest}, or with a host https://{rest}"),
        ));
    }
    if let Some(start) = path.iter().position(|byte| matches!(byte, b'{' | b'}')) {
        return Err(braces(path, start));
    }
    for regex in [&b"(.*)"[..], b"(.+)"] {
        if let Some(at) = path.windows(regex.len()).position(|window| window == regex) {
            let glob = [&path[..at], b"*", &path[at + regex.len()..]].concat();
            return Err(Fault::new("a regular expression", write(&glob)));
        }
    }
    if let Some(at) = path.windows(3).position(|three| three == b"/.*") {
        let glob = [&path[..=at], &path[at + 2..]].concat();
        return Err(Fault::new("a regular expression", write(&glob)));
    }
    let is_range = |window: &[u8]| match window {
        [b'[', from, b'-', to, ..] => from.is_ascii_alphanumeric() && to.is_ascii_alphanumeric(),
        _ => false,
    };
    if path.windows(4).any(is_range) {
        return Err(Fault::new(
            "a regular expression",
            "write * for any text, or :name for one segment of the path",
        ));
    }
    if let Some(path) = path.strip_suffix(b"$") {
        return Err(Fault::new("a $ at the end of a path, as of a regular expression", write(path)));
    }
    match path.iter().find(|&&byte| is_of_no_address(byte)) {
        None => Ok(()),
        Some(b'\\') => {
            let slashed: Vec<u8> = path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
            Err(Fault::new("a backslash in a path", write(&slashed)))
        }
        Some(b'|') => Err(Fault::new("a | in a path", "write a rule for each path")),
        Some(&byte) if byte.is_ascii_control() => {
            Err(Fault::new("a control character in a path", write(&escaped(path, &[byte]))))
        }
        Some(_) => {
            Err(Fault::new("a character that no address has as it is", write(&escaped(path, b"\"<>^`"))))
        }
    }
}

/// Returns whether RFC 3986 allows a byte in no path, and browsers escape it. (They do not escape
/// `[` and `]`, which names of files may have.)
fn is_of_no_address(byte: u8) -> bool {
    byte.is_ascii_control() || b"\"<>\\^`|".contains(&byte)
}

/// `/*.{js,css}`: a rule for each.
fn braces(path: &[u8], start: usize) -> Fault {
    let reason = "braces in a path: there are no alternatives";
    let inner = path[start..].strip_prefix(b"{").and_then(|rest| {
        let end = rest.iter().position(|&byte| byte == b'}')?;
        Some((&rest[..end], &rest[end + 1..]))
    });
    match inner {
        Some((inner, rest)) if inner.contains(&b',') && !rest.contains(&b'{') => {
            let each = inner.split(|&byte| byte == b',').take(ALTERNATIVES_MAX);
            let each = each.map(|one| [&path[..start], one, rest].concat());
            let each: Vec<_> = each.map(|one| String::from_utf8_lossy(&one).into_owned()).collect();
            Fault::new(reason, format!("write a rule for each: {}", each.join(" and ")))
        }
        _ => Fault::new(reason, write(&escaped(path, b"{}"))),
    }
}

fn escaped(path: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if bytes.contains(&byte) {
            out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
        } else {
            out.push(byte);
        }
    }
    out
}

fn write(path: &[u8]) -> String {
    format!("write {}", crate::open::printable::printable(if path.is_empty() { b"/" } else { path }))
}

/// Alternatives that a hint lists.
const ALTERNATIVES_MAX: usize = 8;
