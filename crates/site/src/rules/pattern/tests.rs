use super::*;
use crate::rules::template::{Sink, Template};
use proptest::prelude::*;

fn subject(path: &str) -> Subject<'_> {
    let key = path.strip_prefix('/').unwrap();
    match key.strip_suffix('/') {
        Some(key) => Subject { key: key.as_bytes(), slash: true, authority: Some(b"a.example:8443") },
        None => Subject { key: key.as_bytes(), slash: key.is_empty(), authority: Some(b"a.example:8443") },
    }
}

fn captured(source: &str, path: &str) -> Option<Vec<String>> {
    let pattern = Pattern::parse(source.as_bytes()).unwrap();
    pattern.matches(&subject(path)).map(|captures| {
        (0..pattern.names.len())
            .map(|at| match captures.get(at) {
                Captured::Plain(text) | Captured::Folder(text) | Captured::Query(text) => {
                    String::from_utf8(text.to_vec()).unwrap()
                }
            })
            .collect()
    })
}

#[test]
fn what_matches_and_what_is_captured() {
    for (source, path, expected) in [
        ("/", "/", Some(vec![])),
        ("/", "/a", None),
        ("/a", "/a", Some(vec![])),
        ("/a", "/a/", Some(vec![])),
        ("/a/", "/a", Some(vec![])),
        ("/a", "/A", None),
        ("/a", "/a/b", None),
        ("/a/b", "/a", None),
        ("/*", "/", Some(vec![""])),
        ("/*", "/a/b/c", Some(vec!["a/b/c"])),
        ("/blog/*", "/blog", Some(vec![""])),
        ("/blog/*", "/blog/", Some(vec![""])),
        ("/blog/*", "/blog/2004/01", Some(vec!["2004/01"])),
        ("/blog/*", "/blogs", None),
        ("/blog*", "/blogs/x", Some(vec!["s/x"])),
        ("/blog*", "/blog", Some(vec![""])),
        ("/x*", "/", None),
        ("/*.jpg", "/a/b.jpg", Some(vec!["a/b"])),
        ("/*.jpg", "/.jpg", Some(vec![""])),
        ("/*.jpg", "/a.png", None),
        ("/aa*aa", "/aaa", None),
        ("/aa*aa", "/aaaa", Some(vec![""])),
        ("/*/index.html", "/a/b/index.html", Some(vec!["a/b"])),
        ("/*/index.html", "/index.html", None),
        ("/a/*/:x/z", "/a/1/2/3/z", Some(vec!["1/2", "3"])),
        ("/a/*/:x/z", "/a/3/z", None),
        ("/:a/:b", "/x/y", Some(vec!["x", "y"])),
        ("/:a/:b", "/x", None),
        ("/:a/:b", "/x/y/z", None),
        ("/movies/:title", "/movies/", None),
        ("/v:major.json", "/v12.json", Some(vec!["12"])),
        ("/v:major.json", "/v.json", None),
        ("/caf%C3%A9", "/café", Some(vec![])),
        ("/café", "/café", Some(vec![])),
        ("/a#fragment", "/a", Some(vec![])),
        ("/a:8080", "/a:8080", Some(vec![])),
        ("https://a.example/*", "/x", Some(vec!["x"])),
        ("https://A.Example/*", "/x", Some(vec!["x"])),
        ("https://:sub.example/*", "/x", Some(vec!["a", "x"])),
        ("https://example/*", "/x", None),
        ("https://b.a.example/*", "/x", None),
        ("https://a.example.org/*", "/x", None),
    ] {
        let expected = expected.map(|values| values.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(captured(source, path), expected, "{source} {path}");
    }
    let host = Pattern::parse(b"https://a.example/*").unwrap();
    assert!(host.matches(&Subject { authority: None, ..subject("/x") }).is_none());
    assert!(host.matches(&Subject { authority: Some(b"[::1]:8443"), ..subject("/x") }).is_none());
}

#[test]
fn what_is_no_source() {
    for source in [
        "",
        "a",
        "*",
        "/a?b=c",
        "/*/*",
        "/a**",
        "/:a:b",
        "/:a-:b",
        "/:a*",
        "/:a/:a",
        "/../a",
        "/%2e/a",
        "/a/%2E%2e/b",
        "/%2e*",
        "/:a%2e",
        "/%",
        "/a%2F%00",
        "/a%00",
        "https://host",
        "https:///a",
        "https://host:8443/a",
        "https://*.example/a",
        "https://a..b/*",
        "https://x:y.example/*",
        "/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q",
        "/*/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
    ] {
        assert!(Pattern::parse(source.as_bytes()).is_err(), "{source}");
    }
    for (segments, is_source) in [(256, true), (257, false)] {
        for end in ["", "/*", "/*/b"] {
            let source = format!("{}{end}", "/a".repeat(segments));
            assert_eq!(Pattern::parse(source.as_bytes()).is_ok(), is_source, "{segments} segments, {end}");
        }
    }
}

#[test]
fn the_slash_counts_where_a_rule_is_about_it() {
    let mut pattern = Pattern::parse(b"/a").unwrap();
    pattern.set_slash(Slash::Without);
    assert!(pattern.matches(&subject("/a")).is_some() && pattern.matches(&subject("/a/")).is_none());
    pattern.set_slash(Slash::With);
    assert!(pattern.matches(&subject("/a")).is_none() && pattern.matches(&subject("/a/")).is_some());
}

#[test]
fn covering_and_meeting() {
    let pattern = |source: &str| Pattern::parse(source.as_bytes()).unwrap();
    for (first, second, covers, meets) in [
        ("/*", "/a/b", true, true),
        ("/*", "/*.jpg", true, true),
        ("/a/*", "/a", true, true),
        ("/a/*", "/a/:b/c", true, true),
        ("/a/*", "/b", false, false),
        ("/a/*", "/:b/c", false, true),
        ("/:a", "/b", true, true),
        ("/:a", "/b/c", false, false),
        ("/b", "/:a", false, true),
        ("/a/b", "/a/b", true, true),
        ("/*.jpg", "/*.png", false, false),
        ("/*.jpg", "/*", false, true),
        ("/v:x.json", "/v1.json", false, true),
        ("https://a.example/*", "/a", false, true),
        ("/*", "https://a.example/a", true, true),
    ] {
        assert_eq!(pattern(first).covers(&pattern(second)), covers, "{first} covers {second}");
        assert_eq!(pattern(first).may_meet(&pattern(second)), meets, "{first} meets {second}");
        assert_eq!(pattern(second).may_meet(&pattern(first)), meets, "{second} meets {first}");
    }
}

/// A source as a backtracking matcher would read it, character by character: `*` is anything,
/// `:name` anything without a slash. Slow, plain, and the first match with the longest splat and
/// placeholders, as a regular expression would find it.
fn oracle(source: &[char], path: &[char], captures: &mut Vec<String>) -> bool {
    let Some(&first) = source.first() else { return path.is_empty() };
    let name = source[1..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
    let is_name = first == ':' && source.get(1).is_some_and(char::is_ascii_alphabetic);
    if first == '*' || is_name {
        let rest = if is_name { &source[1 + name..] } else { &source[1..] };
        for end in (0..=path.len()).rev() {
            if is_name && (end == 0 || path[..end].contains(&'/')) {
                continue;
            }
            let mark = captures.len();
            captures.push(path[..end].iter().collect());
            if oracle(rest, &path[end..], captures) {
                return true;
            }
            captures.truncate(mark);
        }
        return false;
    }
    path.first() == Some(&first) && oracle(&source[1..], &path[1..], captures)
}

/// Written out: a slash at the end makes no difference, and `/a/*` is `/a` too.
fn by_oracle(source: &str, path: &str) -> Option<Vec<String>> {
    let trim =
        |text: &str| if text.len() > 1 { text.trim_end_matches('/').to_owned() } else { text.to_owned() };
    let (source, path) = (trim(source), trim(path));
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    let mut captures = Vec::new();
    if oracle(&chars(&source), &chars(&path), &mut captures) {
        return Some(captures);
    }
    let shorter = source.strip_suffix("/*")?;
    let shorter = if shorter.is_empty() { "/" } else { shorter };
    captures.clear();
    oracle(&chars(shorter), &chars(&path), &mut captures).then(|| {
        captures.push(String::new());
        captures
    })
}

struct Text(Vec<u8>);

impl Sink for Text {
    fn put(&mut self, byte: u8) -> bool {
        self.0.push(byte);
        true
    }
}

proptest! {
    #[test]
    fn patterns_match_as_a_backtracking_matcher_would(
        segments in prop::collection::vec("[ab]{1,2}|:[xyz]|a:[xyz]b|\\*|a\\*|\\*b|a\\*b", 0..5),
        path in "(/[ab]{1,3}){0,5}/?",
    ) {
        let source = format!("/{}", segments.join("/"));
        let path = if path.is_empty() { "/" } else { &path };
        if let Ok(pattern) = Pattern::parse(source.as_bytes()) {
            let own = captured(&source, path);
            prop_assert_eq!(&own, &by_oracle(&source, path), "{} {}", source, path);
            prop_assert_eq!(own.is_some(), pattern.matches(&subject(path)).is_some());
        }
    }

    #[test]
    fn what_covers_matches_all_that_is_covered(
        first in "(/([ab]|:x|\\*)){1,3}", second in "(/([ab]|:x|\\*)){1,3}", path in "(/[ab]{1,2}){0,4}",
    ) {
        let path = if path.is_empty() { "/" } else { &path };
        if let (Ok(one), Ok(other)) = (Pattern::parse(first.as_bytes()), Pattern::parse(second.as_bytes())) {
            let (by_one, by_other) = (one.matches(&subject(path)).is_some(), other.matches(&subject(path)).is_some());
            prop_assert!(!one.covers(&other) || !by_other || by_one, "{first} {second} {path}");
            prop_assert!(one.may_meet(&other) || !(by_one && by_other), "{first} {second} {path}");
        }
    }

    #[test]
    fn what_is_filled_in_stays_where_it_is(value in prop::collection::vec(any::<u8>(), 0..20)) {
        let pattern = Pattern::parse(b"/*").unwrap();
        let mut captures = Captures::new();
        captures.push(Captured::Plain(&value));
        let mut out = Text(Vec::new());
        assert!(Template::parse(b"/x/:splat?y=:splat", &pattern, true).unwrap().expand(&captures, &mut out));
        prop_assert!(out.0.iter().all(u8::is_ascii_graphic));
        prop_assert_eq!(out.0.iter().filter(|&&byte| byte == b'?' || byte == b'#').count(), 1);
        let text = String::from_utf8(out.0).unwrap();
        let (path, query) = text.split_once("?y=").unwrap();
        prop_assert!(!query.contains(['&', '+']));
        // A key has a zero byte for a slash that was escaped.
        let value: Vec<u8> = value.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
        prop_assert_eq!(unescape(path.strip_prefix("/x/").unwrap()), &*value);
        prop_assert_eq!(unescape(query), value);
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    bytes
}
