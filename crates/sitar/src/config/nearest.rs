//! The nearest valid form of a word that is none.

/// Longer words are compared with nothing.
const WORD_MAX: usize = 64;

/// Returns the candidate that a word was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace(['-', ' '], "_");
    let score = |candidate: &str| {
        let plain = candidate.to_ascii_lowercase();
        let plural = |a: &str, b: &str| a.strip_suffix('s') == Some(b);
        let is_part = lower.len() >= 4 && plain.starts_with(&lower);
        if plain == lower || plural(&plain, &lower) || plural(&lower, &plain) {
            return Some(0);
        }
        let letters = crate::cli::distance(lower.as_bytes(), plain.as_bytes());
        // Of a word of three letters, one may be wrong, of a longer one two.
        let bound = (lower.len() / 3).clamp(1, 2);
        if letters <= bound { Some(letters) } else { is_part.then_some(3) }
    };
    let scored = candidates.into_iter().filter_map(|candidate| Some((score(candidate)?, candidate)));
    scored.min_by_key(|(score, _)| *score).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word() {
        let words = ["hosts", "root", "certificate", "redirect_to", "redirect_status", "hsts"];
        for (word, expected) in [
            ("host", Some("hosts")),
            ("Hosts", Some("hosts")),
            ("rot", Some("root")),
            ("redirect-to", Some("redirect_to")),
            ("certifcate", Some("certificate")),
            ("cert", Some("certificate")),
            ("redirect", Some("redirect_to")),
            ("hst", Some("hsts")),
            ("x", None),
            ("", None),
            ("listener", None),
            ("zzzz", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"h".repeat(1 << 20), words), None);
    }
}
