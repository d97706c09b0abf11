//! Accept (RFC 9110 §12.5.1), as far as it takes to choose between two media types.

use super::coding::weight;
use crate::chars::trim;
use crate::{Field, Request};

/// Returns whether the client gives `wanted` a greater weight than `usual`: two media types without
/// parameters, such as `application/json`. Without the field, both have the same weight.
///
/// Of several media ranges that match, the most specific one counts, and of equally specific ones
/// the last. Parameters of media ranges are ignored. A range that is malformed counts as absent.
#[must_use]
pub fn prefers(request: &Request<'_>, wanted: &str, usual: &str) -> bool {
    let (mut of_wanted, mut of_usual) = (Best::default(), Best::default());
    for line in request.fields.all(Field::Accept) {
        for member in line.split(|&byte| byte == b',') {
            let Some((range, quality)) = parse(member) else { continue };
            of_wanted.add(range, wanted, quality);
            of_usual.add(range, usual, quality);
        }
    }
    of_wanted.quality > of_usual.quality
}

/// The weight of a type, by the most specific range that has matched it.
#[derive(Default)]
struct Best {
    precision: u8,
    quality: u16,
}

impl Best {
    fn add(&mut self, range: &[u8], media: &str, quality: u16) {
        let precision = precision(range, media.as_bytes());
        if precision > 0 && precision >= self.precision {
            *self = Best { precision, quality };
        }
    }
}

/// Returns how precisely a range names a type: 3 by its name, 2 as `type/*`, 1 as `*/*`, 0 not.
fn precision(range: &[u8], media: &[u8]) -> u8 {
    if range.eq_ignore_ascii_case(media) {
        return 3;
    }
    match range.strip_suffix(b"/*") {
        Some(b"*") => 1,
        Some(kind) => match media.iter().position(|&byte| byte == b'/') {
            Some(slash) if media[..slash].eq_ignore_ascii_case(kind) => 2,
            _ => 0,
        },
        None => 0,
    }
}

/// Reads a media range and its weight in thousandths.
fn parse(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|&byte| byte == b';').map(trim);
    let range = parts.next()?;
    let is_weight = |part: &&[u8]| matches!(part, [b'q' | b'Q', b'=', ..]);
    let quality = parts.find(is_weight).map_or(Some(1000), weight)?;
    Some((range, quality))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, RequestTarget};

    fn prefers_json(lines: &[&str]) -> bool {
        let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
        for line in lines {
            request.fields.push(Field::Accept, line.as_bytes()).unwrap();
        }
        prefers(&request, "application/json", "text/html")
    }

    #[test]
    fn the_greater_weight_decides_and_the_usual_type_wins_ties() {
        for json in [
            &["application/json"][..],
            &["APPLICATION/Json"],
            &["application/*"],
            &["application/json, text/html;q=0.9"],
            &["text/html;q=0.5,application/json;q=0.501"],
            &["*/*;q=0.1, application/json"],
            &["text/html;q=0, */*"],
            &["application/json; charset=utf-8 ; q=1"],
            &["text/html;q=0.3", "application/json"],
            &["application/json;q=0, application/json"],
        ] {
            assert!(prefers_json(json), "{json:?}");
        }
        for html in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html, application/json"],
            &["application/json, */*"],
            &["application/json;q=0"],
            &["text/html;q=0,application/json;q=0"],
            &["text/*, application/*;q=0.9, application/json;q=0.2"],
            &["application/json;q=2"],
            &["application/json;q="],
            &["application/json/"],
            &["/*", "*", "/", ";q=1", ",,,"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
        ] {
            assert!(!prefers_json(html), "{html:?}");
        }
    }
}
