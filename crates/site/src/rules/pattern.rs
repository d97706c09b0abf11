//! Sources of rules: a path, with placeholders and one splat, and perhaps a host.
//!
//! A pattern is matched segment by segment, and the splat takes what the segments before and after
//! it leave: there is one way to match at most. The path is cut into its segments once for all
//! patterns ([`Asked`]), so that one takes time as its own length says, and no path is expensive,
//! whatever the rules are.

use super::captures::{CAPTURES_MAX, Captured, Captures, find_name};
use super::cost::looked_at;
use super::error::Fault;
use super::host::Host;
use super::pieces::{Cuts, HEAD_MAX, Pieces, TAIL_MAX};
use super::subject::Subject;
use crate::open::path::{NAME_MAX, resolve};

/// The source of a rule.
#[derive(Debug)]
pub(crate) struct Pattern {
    host: Option<Host>,
    /// The segments before the splat's, or all.
    head: Vec<Segment>,
    splat: Option<Splat>,
    slash: Slash,
    /// The source ends in its splat, so the slash at a path's end belongs to that.
    takes_slash: bool,
    /// The names of the captures: the host's, then in the order of the path.
    names: Vec<Box<str>>,
}

/// Whether the slash at the end of a path makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slash {
    Any,
    With,
    Without,
}

/// One segment of a path.
#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<[u8]>),
    /// `prefix:name` and `suffix`: one byte at least, in one segment.
    Capture {
        prefix: Box<[u8]>,
        suffix: Box<[u8]>,
    },
}

/// The segment with the `*`, and those behind it.
#[derive(Debug)]
struct Splat {
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
    tail: Vec<Segment>,
}

/// The same in segments and labels, for all patterns that it is tried on.
#[derive(Debug)]
pub(super) struct Asked<'c, 'k> {
    path: Pieces<'c, 'k>,
    slash: bool,
    /// `None`: the client named none, or no pattern asks for it.
    host: Option<Pieces<'c, 'k>>,
}

/// Room for where its segments and labels lie.
#[derive(Debug, Default)]
pub(super) struct Room {
    path: Option<Cuts>,
    host: Option<Cuts>,
}

impl<'c, 'k> Asked<'c, 'k> {
    /// `has_hosts`: some of the patterns name a host; there is room if they are many.
    #[inline]
    pub(super) fn of(subject: &Subject<'k>, has_hosts: bool, room: Option<&'c mut Room>) -> Asked<'c, 'k> {
        let (path, host) = room.map(|Room { path, host }| (path, host)).unzip();
        let authority = subject.authority.filter(|_| has_hosts);
        Asked {
            path: Pieces::of(subject.key, b'/', path),
            slash: subject.slash,
            host: authority.map(|authority| super::host::labels(authority, host)),
        }
    }

    /// The first segment of the path.
    pub(super) fn first(&self) -> Option<&'k [u8]> {
        self.path.first()
    }
}

impl Pattern {
    /// Reads the source of a rule: `/path` or `https://host/path`.
    pub(super) fn parse(text: &[u8]) -> Result<Pattern, Fault> {
        let (host, path) = split_host(text)?;
        if path.contains(&b'?') {
            return Err(Fault::new(
                "a source has no query",
                "name the parameters behind the path: /path id=:id /to 301",
            ));
        }
        // Browsers keep fragments to themselves, so a source's says nothing (as with Cloudflare).
        let path = path.split(|&byte| byte == b'#').next().unwrap_or_default();
        if path.first() != Some(&b'/') {
            return Err(Fault::new("a source begins with a slash", "write it from the site's root: /path"));
        }
        super::source::check(path)?;
        let mut names = Vec::new();
        let host = host.map(|host| Host::parse(host, &mut names)).transpose()?;
        let takes_slash = path.ends_with(b"*");
        let mut pattern =
            Pattern { host, head: Vec::new(), splat: None, slash: Slash::Any, takes_slash, names };
        for raw in path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()) {
            pattern.segment(raw)?;
        }
        if pattern.names.len() > CAPTURES_MAX {
            return Err(Fault::new("more than 16 placeholders", "use fewer, or a splat"));
        }
        if has_twice(&pattern.names) {
            return Err(Fault::new("a placeholder is named twice", "give each a name of its own"));
        }
        Ok(pattern)
    }

    fn segment(&mut self, raw: &[u8]) -> Result<(), Fault> {
        if let Some(star) = raw.iter().position(|&byte| byte == b'*') {
            if self.splat.is_some() || raw[star + 1..].contains(&b'*') {
                return Err(Fault::new(
                    "more than one splat (*)",
                    "keep one; placeholders stand for single segments",
                ));
            }
            if find_name(raw).is_some() {
                return Err(Fault::new(
                    "a splat and a placeholder in one segment",
                    "put a slash between them",
                ));
            }
            let (prefix, suffix) = (decode(&raw[..star])?, decode(&raw[star + 1..])?);
            self.names.push("splat".into());
            self.splat = Some(Splat { prefix, suffix, tail: Vec::new() });
            return Ok(());
        }
        let segment = match find_name(raw) {
            None => Segment::Literal(decode(raw)?),
            Some((start, end)) => {
                if find_name(&raw[end..]).is_some() {
                    return Err(Fault::new(
                        "two placeholders in one segment",
                        "take one for the whole segment, or put a slash between them",
                    ));
                }
                self.names.push(String::from_utf8_lossy(&raw[start + 1..end]).into());
                Segment::Capture { prefix: decode(&raw[..start])?, suffix: decode(&raw[end..])? }
            }
        };
        match &mut self.splat {
            Some(splat) if splat.tail.len() < TAIL_MAX => splat.tail.push(segment),
            Some(_) => {
                return Err(Fault::new("more than 16 segments behind the splat", "end the source sooner"));
            }
            None if self.head.len() < HEAD_MAX => self.head.push(segment),
            None => {
                return Err(Fault::new(
                    "more than 256 segments",
                    "end the source sooner; no folder of a site is that deep",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn set_slash(&mut self, slash: Slash) {
        self.slash = slash;
    }

    /// The capture of this name.
    pub(super) fn name(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|known| known.as_bytes() == name)
    }

    pub(super) fn add_name(&mut self, name: &[u8]) -> Result<(), Fault> {
        if self.name(name).is_some() {
            return Err(Fault::new("a placeholder is named twice", "give each a name of its own"));
        }
        if self.names.len() >= CAPTURES_MAX {
            return Err(Fault::new("more than 16 placeholders", "use fewer, or a splat"));
        }
        self.names.push(String::from_utf8_lossy(name).into());
        Ok(())
    }

    /// Whether the root's path is one that it matches.
    pub(super) fn may_be_root(&self) -> bool {
        self.head.is_empty()
    }

    pub(super) fn names_host(&self) -> bool {
        self.host.is_some()
    }

    /// The one key that it matches, if it is one: no placeholder, no splat, any host.
    pub(super) fn fixed(&self) -> Option<Vec<u8>> {
        if self.host.is_some() { None } else { self.fixed_path() }
    }

    /// The same, whether it names a host or not.
    pub(super) fn fixed_path(&self) -> Option<Vec<u8>> {
        if self.splat.is_some() {
            return None;
        }
        let mut key = Vec::new();
        for segment in &self.head {
            let Segment::Literal(literal) = segment else { return None };
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(literal);
        }
        Some(key)
    }

    /// Whether the end of a path's last segment is free: what a fallback for all addresses of an
    /// application looks like.
    pub(super) fn has_open_end(&self) -> bool {
        let last = match &self.splat {
            Some(Splat { suffix, tail, .. }) => match tail.last() {
                None => return suffix.is_empty(),
                Some(last) => Some(last),
            },
            None => self.head.last(),
        };
        matches!(last, Some(Segment::Capture { suffix, .. }) if suffix.is_empty())
    }

    /// The first segment, where it is fixed.
    pub(super) fn first_literal(&self) -> Option<&[u8]> {
        match self.head.first() {
            Some(Segment::Literal(literal)) => Some(literal),
            Some(Segment::Capture { .. }) | None => None,
        }
    }

    /// Whether it matches, and what its placeholders stand for.
    pub(super) fn matches<'k>(&self, subject: &Subject<'k>) -> Option<Captures<'k>> {
        let mut captures = Captures::new();
        self.takes(&Asked::of(subject, self.names_host(), None), &mut captures).then_some(captures)
    }

    /// Whether it matches. `captures` then holds what its placeholders stand for, and nothing of
    /// use otherwise.
    pub(super) fn takes<'k>(&self, asked: &Asked<'_, 'k>, captures: &mut Captures<'k>) -> bool {
        captures.clear();
        looked_at(1);
        self.take(asked, captures).is_some()
    }

    fn take<'k>(&self, asked: &Asked<'_, 'k>, captures: &mut Captures<'k>) -> Option<()> {
        match self.slash {
            Slash::Any => {}
            // The root is written with its slash, always: a rule about that would lead it to
            // itself.
            Slash::With | Slash::Without if asked.path.first().is_none() => return None,
            Slash::With if !asked.slash => return None,
            Slash::Without if asked.slash => return None,
            Slash::With | Slash::Without => {}
        }
        if let Some(host) = &self.host
            && !host.matches(asked.host.as_ref()?, captures)
        {
            return None;
        }
        self.take_path(asked, captures)
    }

    /// Whether its path matches a key, on some host and with a slash at its end or without.
    pub(super) fn takes_key(&self, key: &[u8]) -> bool {
        let asked = Asked::of(&Subject { key, slash: false, authority: None }, false, None);
        self.take_path(&asked, &mut Captures::new()).is_some()
    }

    #[inline]
    fn take_path<'k>(&self, asked: &Asked<'_, 'k>, captures: &mut Captures<'k>) -> Option<()> {
        let mut rest = asked.path.all();
        for segment in &self.head {
            segment.take(rest.next()?, captures)?;
        }
        let Some(splat) = &self.splat else { return rest.text().is_none().then_some(()) };
        let mut tail = [&b""[..]; TAIL_MAX];
        for place in tail.iter_mut().take(splat.tail.len()) {
            *place = rest.next_back()?;
        }
        let middle = match rest.text() {
            Some(middle) => middle,
            // `/blog/*` is `/blog` too; but `/a/*/b` wants something in the middle.
            None if splat.tail.is_empty() => b"",
            None => return None,
        };
        let inner = strip(middle, &splat.prefix, &splat.suffix)?;
        let is_folder = self.takes_slash && asked.slash && !inner.is_empty();
        captures.push(if is_folder { Captured::Folder(inner) } else { Captured::Plain(inner) });
        for (segment, text) in splat.tail.iter().zip(tail[..splat.tail.len()].iter().rev()) {
            segment.take(text, captures)?;
        }
        Some(())
    }

    /// Whether all that `other` matches is matched by this one: if it is not sure, it is not.
    pub(super) fn covers(&self, other: &Pattern) -> bool {
        if self.host.is_some() || (self.slash != Slash::Any && self.slash != other.slash) {
            return false;
        }
        let Some(heads) = other.head.get(..self.head.len()) else { return false };
        if !self.head.iter().zip(heads).all(|(own, its)| own.covers(its)) {
            return false;
        }
        match &self.splat {
            Some(splat) => splat.prefix.is_empty() && splat.suffix.is_empty() && splat.tail.is_empty(),
            None => other.splat.is_none() && other.head.len() == self.head.len(),
        }
    }

    /// Whether both can match one path: if it is not sure, they can.
    pub(super) fn may_meet(&self, other: &Pattern) -> bool {
        let lengths = (self.head.len(), other.head.len());
        let fixed = (self.splat.is_none(), other.splat.is_none());
        let fits = match (lengths, fixed) {
            ((own, its), (true, true)) => own == its,
            ((own, its), (true, false)) => own >= its,
            ((own, its), (false, true)) => own <= its,
            (_, (false, false)) => true,
        };
        let ends = match (&self.splat, &other.splat) {
            (Some(own), Some(its)) if own.tail.is_empty() && its.tail.is_empty() => {
                own.suffix.ends_with(&its.suffix) || its.suffix.ends_with(&own.suffix)
            }
            _ => true,
        };
        fits && ends
            && self.head.iter().zip(&other.head).all(|(own, its)| match (own, its) {
                (Segment::Literal(own), Segment::Literal(its)) => own == its,
                _ => true,
            })
    }
}

impl Segment {
    fn take<'k>(&self, text: &'k [u8], captures: &mut Captures<'k>) -> Option<()> {
        match self {
            Segment::Literal(literal) => {
                looked_at(literal.len().min(text.len()));
                (**literal == *text).then_some(())
            }
            Segment::Capture { prefix, suffix } => {
                let inner = strip(text, prefix, suffix)?;
                if inner.is_empty() {
                    return None;
                }
                captures.push(Captured::Plain(inner));
                Some(())
            }
        }
    }

    fn covers(&self, other: &Segment) -> bool {
        match self {
            Segment::Literal(_) => self == other,
            Segment::Capture { prefix, suffix } => prefix.is_empty() && suffix.is_empty(),
        }
    }
}

fn strip<'k>(text: &'k [u8], prefix: &[u8], suffix: &[u8]) -> Option<&'k [u8]> {
    looked_at((prefix.len() + suffix.len()).min(text.len()));
    text.strip_prefix(prefix)?.strip_suffix(suffix)
}

/// Splits `https://host/path`; the scheme says nothing, as with Cloudflare.
fn split_host(text: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Fault> {
    let Some(rest) = text.strip_prefix(b"https://").or_else(|| text.strip_prefix(b"http://")) else {
        return Ok((None, text));
    };
    match rest.iter().position(|&byte| byte == b'/') {
        Some(slash) => Ok((Some(&rest[..slash]), &rest[slash..])),
        None => Err(Fault::new("a host without a path", "say which paths of it: https://host/*")),
    }
}

/// A literal part of a segment, as paths are compared: decoded.
fn decode(raw: &[u8]) -> Result<Box<[u8]>, Fault> {
    let mut path = Vec::with_capacity(raw.len() + 1);
    path.push(b'/');
    path.extend_from_slice(raw);
    let dots = || Fault::new("a source with '.' or '..'", "write the path that it stands for");
    if raw == b"." || raw == b".." {
        return Err(dots());
    }
    match resolve(&path, &mut [0; NAME_MAX]) {
        // The same, escaped.
        Ok(resolved) if resolved.key.is_empty() && !raw.is_empty() => Err(dots()),
        Ok(resolved) if !resolved.key.contains(&b'/') => Ok(resolved.key.into()),
        _ => Err(Fault::new("a segment is no valid path", "escape bytes as %20; %00 is in no path")),
    }
}

fn has_twice(names: &[Box<str>]) -> bool {
    names.iter().enumerate().any(|(at, name)| names[..at].contains(name))
}

#[cfg(test)]
pub(super) mod plain;
#[cfg(test)]
mod tests;
