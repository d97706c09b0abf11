//! Just enough of Rust's lexical grammar to tell code from comments and literals, line by line.

/// The source with the contents of comments, strings and character literals blanked.
///
/// Newlines stay where they were, so line numbers agree with the file.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !continues_a_word(bytes, at) => match raw_string_end(bytes, at + 1) {
                Some(end) => end,
                None => keep(bytes, &mut code, at),
            },
            b'\'' => match char_literal_end(source, at) {
                Some(end) => end,
                None => keep(bytes, &mut code, at),
            },
            _ => keep(bytes, &mut code, at),
        };
        if code.len() == at {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        }
        at = end;
    }
    // Only whole literals and comments were blanked, and both begin and end at ASCII bytes.
    String::from_utf8_lossy(&code).into_owned()
}

/// How many lines are not inside a `#[cfg(test)]` module that is written out in the file.
pub(crate) fn lines_without_tests(source: &str) -> usize {
    let code = code_only(source);
    let lines: Vec<&str> = code.lines().collect();
    let mut counted = 0;
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() == "#[cfg(test)]"
            && let Some(end) = inline_module_end(&lines, at + 1)
        {
            at = end + 1;
        } else {
            counted += 1;
            at += 1;
        }
    }
    counted
}

/// Whether `word` stands in the line as a whole word.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn keep(bytes: &[u8], code: &mut Vec<u8>, at: usize) -> usize {
    code.push(bytes[at]);
    at + 1
}

fn continues_a_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` and `cr"…"` are raw strings too, so their prefix does not count as a word.
    let before = |back: usize| at.checked_sub(back).map(|i| bytes[i]);
    let word = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    match before(1) {
        Some(b'b' | b'c') => word(before(2)),
        other => word(other),
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n)
}

/// Block comments nest in Rust.
fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0usize;
    let mut i = at;
    while i < bytes.len() {
        match (bytes[i], bytes.get(i + 1)) {
            (b'/', Some(b'*')) => {
                depth += 1;
                i += 2;
            }
            (b'*', Some(b'/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `at` is behind the `r`; `None` when this is no raw string (a raw identifier, say).
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let mut i = at + hashes + 1;
    while i < bytes.len() {
        let tail = bytes[i + 1..].iter().take_while(|byte| **byte == b'#').take(hashes).count();
        if bytes[i] == b'"' && tail == hashes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(bytes.len())
}

/// `None` for a lifetime, which has no closing quote.
fn char_literal_end(source: &str, at: usize) -> Option<usize> {
    let rest = &source[at + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        let close = rest[2.min(rest.len())..].find('\'')?;
        return Some(at + 1 + 2 + close + 1);
    }
    rest[first.len_utf8()..].starts_with('\'').then(|| at + 1 + first.len_utf8() + 1)
}

/// The line with the brace that closes the module opened at `from`, if one is opened there.
fn inline_module_end(lines: &[&str], from: usize) -> Option<usize> {
    let opening =
        (from..lines.len()).find(|i| !lines[*i].trim().is_empty() && !lines[*i].trim().starts_with("#["))?;
    let head = lines[opening].trim();
    if !(has_word(head, "mod") && head.ends_with('{')) {
        return None;
    }
    let mut depth = 0usize;
    for (number, line) in lines.iter().enumerate().skip(opening) {
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
        if depth == 0 {
            return Some(number);
        }
    }
    Some(lines.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_code_stays() {
        assert_eq!(code_only("a // unsafe\nb"), "a          \nb");
        assert_eq!(code_only("a /* x /* y */ z */ b"), "a                   b");
        assert_eq!(code_only(r#"f("un\"safe") g"#), "f(          ) g");
        assert_eq!(code_only("r#\"a\"b\"# c"), "         c");
        assert_eq!(code_only("r#type br\"x\" var\"y\""), "r#type b     var   ");
        assert_eq!(code_only(r"'\'' '{' &'a x"), "         &'a x");
    }

    #[test]
    fn unfinished_input_ends_quietly() {
        assert_eq!(code_only("\"abc"), "    ");
        assert_eq!(code_only("\"abc\\"), "     ");
        assert_eq!(code_only("/* a"), "    ");
        assert_eq!(code_only("r##\"a\"#"), "       ");
        assert_eq!(code_only("'"), "'");
        assert_eq!(code_only("'\\"), "'\\");
    }

    #[test]
    fn a_test_module_does_not_count_as_length() {
        let source = "a\nb\n#[cfg(test)]\nmod tests {\n    fn f() { \"}\"; }\n}\nc\n";
        assert_eq!(lines_without_tests(source), 3);
        assert_eq!(lines_without_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
        assert_eq!(lines_without_tests("#[cfg(test)]\nfn f() {\n}\n"), 3);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("not_unsafe", "unsafe"));
    }
}
