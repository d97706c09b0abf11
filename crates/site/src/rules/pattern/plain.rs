//! Matching in the plainest way, segment by segment in lists, as an oracle for tests.

use super::{Pattern, Segment, Slash, Subject};

/// Returns the values of the placeholders, if the source matches: the host's, then the path's.
pub(in crate::rules) fn captured(pattern: &Pattern, subject: &Subject<'_>) -> Option<Vec<Vec<u8>>> {
    let is_root = subject.key.is_empty();
    match pattern.slash {
        Slash::With if is_root || !subject.slash => return None,
        Slash::Without if is_root || subject.slash => return None,
        _ => {}
    }
    let mut captures = Vec::new();
    if let Some(host) = &pattern.host {
        captures.extend(host.captured_plainly(subject.authority?)?);
    }
    let mut segments: Vec<&[u8]> = subject.key.split(|&byte| byte == b'/').filter(|_| !is_root).collect();
    let head = pattern.head.len();
    if segments.len() < head {
        return None;
    }
    for (segment, text) in pattern.head.iter().zip(segments.drain(..head)) {
        captures.extend(of_segment(segment, text)?);
    }
    let Some(splat) = &pattern.splat else { return segments.is_empty().then_some(captures) };
    let tail = splat.tail.len();
    if segments.len() < tail + usize::from(tail > 0) {
        return None;
    }
    let behind = segments.split_off(segments.len() - tail);
    let inner = segments.join(&b'/');
    captures.push(inner.strip_prefix(&*splat.prefix)?.strip_suffix(&*splat.suffix)?.to_vec());
    for (segment, text) in splat.tail.iter().zip(behind) {
        captures.extend(of_segment(segment, text)?);
    }
    Some(captures)
}

fn of_segment(segment: &Segment, text: &[u8]) -> Option<Option<Vec<u8>>> {
    match segment {
        Segment::Literal(literal) => (**literal == *text).then_some(None),
        Segment::Capture { prefix, suffix } => {
            let inner = text.strip_prefix(&**prefix)?.strip_suffix(&**suffix)?;
            (!inner.is_empty()).then(|| Some(inner.to_vec()))
        }
    }
}
