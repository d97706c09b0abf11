use super::*;
use crate::rules::cost::steps;
use crate::rules::pattern::Pattern;
use crate::rules::pattern::plain;
use proptest::prelude::*;

fn compiled(text: &str) -> Headers {
    let mut faults = Faults::new("_headers");
    let headers = Headers::compile(text.as_bytes(), &mut faults);
    assert_eq!(faults.finish(), []);
    headers
}

/// The lines of the rules that match.
fn found(headers: &Headers, subject: &Subject<'_>) -> Vec<u32> {
    headers.find(subject).map_or(Vec::new(), |set| set.rules().map(|rule| rule.number).collect())
}

/// It took some 4,000,000 steps when each rule cut the path for itself.
#[test]
fn many_rules_look_at_a_long_path_once() {
    let headers = compiled(&(0..500).map(|n| format!("/:a/h{n}/*\n  X: y\n")).collect::<String>());
    let key = vec![b'a'; 8_000];
    let subject = Subject { key: &key, slash: false, authority: None };
    assert_eq!(steps(|| assert_eq!(found(&headers, &subject), [0; 0])), 8_500);
}

#[test]
fn rules_beyond_the_first_word_of_bits_are_listed_in_order() {
    let headers = compiled(
        &(0..200)
            .map(|n| format!("/{}\n  ! X-{n}\n", if n % 60 == 3 { "*" } else { "b/*" }))
            .collect::<String>(),
    );
    let subject = Subject { key: b"a", slash: false, authority: None };
    // Two lines to a rule.
    assert_eq!(found(&headers, &subject), [7, 127, 247, 367]);
}

/// The lines that a request for the root is answered with, behind the server's `own`.
fn lines(headers: &Headers, own: &str) -> String {
    let set = headers.find(&Subject { key: b"", slash: true, authority: None }).unwrap();
    let mut pieces = [&b""[..]; 80];
    let len = set.gather(Occasion::Content, own.as_bytes(), &mut pieces);
    String::from_utf8(pieces[..len].concat()).unwrap()
}

/// It took some 8,000,000 comparisons when each line was compared with each name that a later rule
/// takes away.
#[test]
fn many_names_that_are_taken_away_cost_a_request_nothing() {
    let kept = (0..64).map(|n| format!("  X-Line-{n}: y\n")).collect::<String>();
    let gone = (0..499).map(|n| {
        let names = (0..250).map(|name| format!("  ! {name:x}-{n:x}\n")).collect::<String>();
        format!("/*\n{names}")
    });
    let headers = compiled(&format!("/*\n{kept}{}", gone.collect::<String>()));
    let expected = (0..64).map(|n| format!("X-Line-{n}: y\r\n")).collect::<String>();
    // The rules, and the lines of those that match.
    assert_eq!(steps(|| assert_eq!(lines(&headers, ""), expected)), 500 + 64);
}

#[test]
fn a_line_is_taken_away_by_the_rules_behind_its_own() {
    let headers = compiled(
        "/*\n  A: 1\n  B: 1\n  C: 1\n/a\n  ! C\n/*\n  ! A\n  A: 2\n  ! a\n/*\n  ! B\n  ! Cache-Control\n/*\n  B: 2\n",
    );
    let own = "Content-Type: t\r\nCache-Control: c\r\n";
    assert_eq!(lines(&headers, own), "Content-Type: t\r\nC: 1\r\nA: 2\r\nB: 2\r\n");
}

proptest! {
    #[test]
    fn the_same_rules_match_as_if_each_were_tried(
        sources in prop::collection::vec("(https://(a|:h)\\.b)?(/([ab]{1,2}|:[xyz]|a:[xyz]b)){0,3}(/\\*|/a\\*b/c|/)", 1..20),
        path in "([ab]{1,3}/){0,4}[abc]", slash: bool, host in "[ab](\\.[ab]){0,2}(:1)?",
    ) {
        let is_source = |source: &&String| Pattern::parse(source.as_bytes()).is_ok();
        let text: String = sources.iter().filter(is_source).map(|source| format!("{source}\n  X: y\n")).collect();
        let headers = compiled(&text);
        let subject = Subject { key: path.as_bytes(), slash, authority: Some(host.as_bytes()) };
        let matching = headers.rules.iter().filter(|rule| plain::captured(&rule.source, &subject).is_some());
        let expected: Vec<u32> = matching.map(|rule| rule.number).collect();
        prop_assert_eq!(found(&headers, &subject), expected, "{}/{} of\n{}", host, path, text);
    }
}
